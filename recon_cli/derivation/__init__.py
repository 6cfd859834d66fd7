"""Is it true? The identity proved in symbols, every step machine-checked.

``proof`` derives slope, offset and gap from density and loss; ``steps``, ``practice`` and ``counterexamples`` are the steps
of a derivation; ``notation`` spells formulas. The only folder that knows sympy.
``code`` runs torch, in a process beside this one; ``mass``, ``roundings`` and ``trial`` compare formulas and code at random
points.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from recon_cli import likelihoods
from recon_cli.derivation.case import Case
from recon_cli.derivation.code import Aside, Measured
from recon_cli.derivation.counterexamples import counterexamples
from recon_cli.derivation.deadlines import budget
from recon_cli.derivation.movable import Density, movable
from recon_cli.derivation.movable import charts as drawn
from recon_cli.derivation.notation import formula, in_numbers, spoken
from recon_cli.derivation.points import settings
from recon_cli.derivation.practice import parameters_of, practice
from recon_cli.derivation.proof import Proof, prove
from recon_cli.derivation.steps import foundation
from recon_cli.derivation.trial import Step
from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._columns import Product
from recon_cli.report import Detail, Formula, Report, Table, column
from recon_cli.runtime.torch_state import in_default_state


@dataclass(frozen=True)
class Derived:
    """One likelihood's identity with its proof and the steps of its derivation.

    values
        the numbers of the noise parameters; empty for symbols alone.
    """

    kind: type[Likelihood]
    proof: Proof
    steps: tuple[Step, ...]
    values: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether no step is false but the misprints, each of which must be."""
        return all(step.good for step in self.steps)

    @property
    def proved(self) -> bool | None:
        """Whether it holds and is proved; None where a step is known at points only."""
        is_open = any(step.checked is None and step.by != "choice" for step in self.steps)
        return self.holds and (None if is_open else True)

    @property
    def movable(self) -> Density | None:
        """What a page needs to move its data, mean and noise."""
        misprints = [step.statement for step in self.steps if step.misprint]
        return movable(self.kind, self.proof, self.values, misprints)

    @property
    def slope_value(self) -> float | None:
        """The slope as a number; None if it depends on noise parameters without numbers."""
        return in_numbers(self.proof.slope, self.values) if self.proof.slope.free_symbols else float(self.proof.slope)


@dataclass(frozen=True)
class Derivation(Presentable):
    """The result of :func:`derive`: one :class:`Derived` for each likelihood."""

    results: tuple[Derived, ...]
    shape: tuple[int, ...] | None = field(default=None)
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether no claim is refuted, and every misprint is."""
        return all(each.holds for each in self.results)

    def assert_holds(self) -> None:
        """Raise an AssertionError, for tests, with every step that is refuted, unless all likelihoods hold.

        ``recon_cli.derive(Mine).assert_holds()`` puts a likelihood of one's own under the laws: its density is one, its code
        gives it, slope, offset and gap are those of its loss, draws follow it.
        """
        wrong = [(each, step) for each in self.results for step in each.steps if not step.good]
        if not self.holds:
            lines = [f"{each.kind.name}: {step.statement.text}: {step.because}" for each, step in wrong]
            raise AssertionError("\n".join(lines))

    def report(self) -> Report:
        """Return the report that ``recon derive`` prints."""
        identity = [
            IdentityRow(
                likelihood=each.kind.name,
                loss=each.proof.likelihood.loss.name,
                nll=formula(each.proof.printed.nll),
                slope=formula(each.proof.slope),
                offset=formula(each.proof.printed.offset),
                gap=formula(each.proof.gap),
                exact=each.proof.exact,
                slope_value=each.slope_value,
                parameters=each.values,
            )
            for each in self.results
        ]
        steps = [
            StepRow(each.kind.name, number, step.statement, step.because, step.checked, step.by, each.values)
            for each in self.results
            for number, step in enumerate(each.steps, 1)
        ]
        verdict = summary([step for each in self.results for step in each.steps], self.holds)
        tables = [Table.of("steps", StepRow, steps, layout="steps"), Table.of("identity", IdentityRow, identity)]
        moved = [density for each in self.results[:MOVED] if (density := each.movable)]
        charts = [chart for density in moved for chart in drawn(density)]
        return Report("derive", tables, self.notes, verdict, self.holds, charts=charts, exhibits=moved)


def summary(steps: Sequence[Step], holds: bool) -> str:
    """Return how many statements are proved, checked at points, chosen and refuted, as a verdict."""
    proved = sum(step.checked is True and step.by == "symbols" for step in steps)
    points = sum(step.by == "points" and step.checked is not False for step in steps)
    choices = sum(step.by == "choice" for step in steps)
    wrong = sum(step.checked is False for step in steps)
    undecided = any(step.checked is None and step.by == "points" for step in steps)
    parts = [f"{proved} statements proved", f"{points} checked at points" * bool(points)]
    parts += [f"{choices} chosen" * bool(choices), f"{wrong} refuted{', a well-known misprint' * holds}" * bool(wrong)]
    word = ("checked" if undecided else "proved") if holds else "refuted"
    return f"{word}: {', '.join(filter(None, parts))}"


MOVED = 4  # likelihoods that a page lets its reader move
WRITTEN, WHAT, WHERE = "what people write", "what it is", "where"


@dataclass(frozen=True, kw_only=True)
class Listed:
    """A likelihood in ``recon derive --list``; ``where`` is what the letters of its loss in torch are."""

    likelihood: str = column("likelihood", "*")
    torch: str = column("its loss, in torch", WRITTEN)
    where: str = column("where", WRITTEN)
    slope: Formula = column("slope", WRITTEN)
    loss: str = column("loss", WHAT, brief=True)
    dropped: str = column("drops", WHAT)
    proved: bool | None = column("proved", WHAT)
    support: str = column("x in", WHERE)
    link: str = column("link", WHERE)
    gap: Formula = column("gap c(μ)", None)
    offset: Formula = column("b(x)", None)


@dataclass(frozen=True)
class Impostor:
    """A loss that is taken for a likelihood's, and why it is not."""

    loss: str = column("loss", None)
    likelihood: str = column("taken for", None)
    why: str = column("why not", None)


@dataclass(frozen=True)
class StepRow:
    """A numbered step of a derivation: as :class:`Step`."""

    likelihood: str = column("likelihood")
    step: int = column("step")
    statement: Formula = column("statement")
    because: str = column("because")
    checked: bool | None = column("checked")
    by: str = column("by")
    parameters: dict[str, float] = column("parameters")


@dataclass(frozen=True, kw_only=True)
class IdentityRow:
    """What is proved of a likelihood; ``exact`` is whether its loss leaves out nothing that depends on mu."""

    likelihood: str = column("likelihood", "*")
    loss: str = column("loss")
    nll: Formula = column("−log p(x|μ)")
    slope: Formula = column("slope")
    offset: Formula = column("offset")
    gap: Formula = column("gap")
    exact: bool = column("loss = likelihood")
    slope_value: float | None = column("slope here")
    parameters: dict[str, float] = column("noise", None)


@in_default_state
def derive(*choices: Likelihood | type[Likelihood] | str, shape: Sequence[int] | None = None) -> Derivation:
    """Prove -log p = slope * loss + offset + gap for each likelihood (gaussian, then bernoulli, if none is given).

    A class, or its name, is proved in symbols; for an instance, or ``laplace:scale=0.2``, its noise is put in
    as numbers too, and for a ``shape`` (of one sample) its number of elements. Raises ReconError for another shape
    or likelihood.

    >>> from recon_cli.likelihoods.laplace import Laplace
    >>> derive(Laplace(scale=0.2)).report().tables[1].rows[0]["slope_value"]
    5.0
    """
    sizes = None if shape is None else sizes_of(shape)
    unique = [*dict.fromkeys(map(likelihoods.as_family_or_likelihood, choices or ("gaussian", "bernoulli")))]
    for choice in unique:
        kind = choice if isinstance(choice, type) else type(choice)
        if issubclass(kind, Product):
            names = " ".join(dict.fromkeys(group.family.name for group in kind.groups))
            raise ReconError(
                f"{kind.name} is a product of families over columns, proved where each of them is: a logarithm makes it a sum.",
                f"Write recon derive {names}.",
            )
    return Derivation(tuple(derived(unique, sizes)), sizes, likelihoods.interpretations(choices))


def sizes_of(shape: object) -> tuple[int, ...]:
    """Return the sizes of one sample; raise ReconError if they are not whole numbers from 1 up."""
    items = tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    sizes = tuple(int(item) for item in items if isinstance(item, numbers.Integral))
    if len(sizes) < len(items) or not sizes or min(sizes) < 1:
        raise ReconError("A shape is the sizes of one sample, whole numbers from 1 up.", "Write shape=(1, 28, 28), say.")
    return sizes


def derived(choices: Sequence[Likelihood | type[Likelihood]], shape: tuple[int, ...] | None = None) -> Iterator[Derived]:
    """Yield the derivation of each likelihood, while another process runs its code at the points where it is compared."""
    kinds = [choice if isinstance(choice, type) else type(choice) for choice in choices]
    jobs = {kind: settings(kind) for kind in dict.fromkeys(kinds)}
    aside, measured = Aside([*jobs.values()]), dict[type[Likelihood], list[Measured]]()

    def measure(kind: type[Likelihood]) -> list[Measured]:
        if kind not in measured:
            measured[kind] = aside.next(jobs[kind])
        return measured[kind]

    try:
        for choice, kind in zip(choices, kinds, strict=True):
            values = {} if isinstance(choice, type) else {key: float(value) for key, value in choice.parameters.items()}
            with budget():
                proof = prove(kind, size=int(values[kind.sized_by]) if kind.sized_by and values else None)
                case = Case(kind, proof, values, shape, jobs[kind], functools.partial(measure, kind))
                steps = (*foundation(case), *practice(case), *counterexamples(case))
            yield Derived(kind, proof, steps, values)
    finally:
        aside.close()


def catalogue() -> Report:
    """Derive every likelihood of the registry, and list losses that are none's: the report of ``recon derive --list``."""
    rows: list[Listed] = []
    others: list[Impostor] = []
    for each in derived([*map(likelihoods.find, likelihoods.names())]):
        kind, proof = each.kind, each.proof
        likelihood, drops = proof.likelihood, "nothing" if proof.offset == 0 else "constant"
        drops = "b(x)" if proof.offset.free_symbols & {*proof.words.xs} else drops
        rows.append(
            Listed(
                likelihood=kind.name,
                torch=likelihood.loss.torch,
                where=", ".join(filter(None, [spoken(parameters_of(likelihood.loss)), likelihood.loss.condition])),
                slope=formula(proof.slope),
                loss=likelihood.loss.name,
                dropped=drops if proof.gap == 0 else "c(μ)",
                proved=each.proved,
                support=str(likelihood.support),
                link=likelihood.link.name,
                gap=formula(proof.gap),
                offset=formula(proof.printed.offset),
            )
        )
        if proof.gap != 0:
            why = f"it leaves out the gap {formula(proof.gap).unicode}, which depends on μ and moves the gradient"
            others.append(Impostor(likelihood.loss.name, kind.name, why))
        others += [Impostor(loss.name, kind.name, loss.reason) for loss in kind.impostors]
    refuted = [row.likelihood for row in rows if row.proved is False]
    proved = sum(row.proved is True for row in rows)
    verdict = f"{proved} of {len(rows)} identities proved"
    verdict += f", {len(rows) - proved - len(refuted)} checked at points" if proved + len(refuted) < len(rows) else ""
    verdict = f"refuted: {', '.join(refuted)}; {verdict}" if refuted else f"proved: {verdict.replace(' proved', '', 1)}"
    tables = [Table.of("likelihoods", Listed, rows), Table.of("impostors", Impostor, others)]
    notes = [Detail(f"{each.loss} is not {each.likelihood}'s loss, though taken for it: {each.why}.") for each in others]
    return Report("derive", tables, notes, verdict, not refuted)
