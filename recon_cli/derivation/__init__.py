"""Is it true? The identity proved in symbols, every step machine-checked.

``proof`` derives slope, offset and gap from density and loss; ``steps`` tells the way there;
``notation`` spells it. The only place that knows sympy.
``code`` runs torch, in a process beside this one; ``mass``, ``roundings`` and ``trial`` set formulas and code against each
other at random points.
"""

from __future__ import annotations

import functools
import numbers
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from recon_cli import likelihoods
from recon_cli.derivation.code import Aside
from recon_cli.derivation.counterexamples import counterexamples
from recon_cli.derivation.limits import budget
from recon_cli.derivation.notation import formula, in_numbers
from recon_cli.derivation.points import settings
from recon_cli.derivation.practice import practice
from recon_cli.derivation.proof import Proof, prove
from recon_cli.derivation.steps import Case, foundation
from recon_cli.derivation.trial import Step
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import Column, Report, Table
from recon_cli.runtime.torch_state import in_default_state


@dataclass(frozen=True)
class Derived:
    """One likelihood's identity, proved, and the steps that lead to it.

    values are the noise parameters to put in as numbers, empty for symbols alone.
    """

    kind: type[Likelihood]
    proof: Proof
    steps: tuple[Step, ...]
    values: dict[str, float]

    @property
    def holds(self) -> bool:
        """Whether no step is false, but for the misprints, each of which must be."""
        return all(step.good for step in self.steps)

    @property
    def proved(self) -> bool | None:
        """Whether that is proved; None where a step is known at points only."""
        open_ones = [step for step in self.steps if step.checked is None and step.by != "choice"]
        return self.holds and (None if open_ones else True)

    @property
    def slope_value(self) -> float | None:
        """The slope at the given noise."""
        if self.proof.noise and not self.values:
            return None
        return in_numbers(self.proof.slope, self.values) if self.proof.slope.free_symbols else float(self.proof.slope)


@dataclass(frozen=True)
class Derivation:
    """What ``derive`` found, one :class:`Derived` a likelihood."""

    found: tuple[Derived, ...]
    shape: tuple[int, ...] | None = field(default=None)
    notes: tuple[str, ...] = ()

    @property
    def holds(self) -> bool:
        """Whether everything that is claimed was proved, and every misprint refuted."""
        return all(each.holds for each in self.found)

    def report(self) -> Report:
        """As ``recon derive`` prints it."""
        identity = [
            {
                "likelihood": each.kind.name,
                "parameters": each.values,
                "loss": each.proof.side.loss.name,
                "nll": formula(each.proof.shown.nll),
                "slope": formula(each.proof.slope),
                "offset": formula(each.proof.shown.offset),
                "gap": formula(each.proof.gap),
                "exact": each.proof.exact,
                "slope_value": each.slope_value,
            }
            for each in self.found
        ]
        told = [
            {"likelihood": each.kind.name, "parameters": each.values, "step": number, **shown(step)}
            for each in self.found
            for number, step in enumerate(each.steps, 1)
        ]
        verdict = said([step for each in self.found for step in each.steps], self.holds)
        tables = [Table("steps", STEPS, told, layout="steps"), Table("identity", IDENTITY, identity)]
        return Report("derive", tables, self.notes, verdict, self.holds)


def shown(step: Step) -> dict[str, Any]:
    """A step's cells."""
    return {"statement": step.statement, "because": step.because, "checked": step.checked, "by": step.by}


def said(steps: Sequence[Step], holds: bool) -> str:
    """How many statements are proved, how many known at points, chosen, refuted."""
    proved = sum(step.checked is True and step.by == "symbols" for step in steps)
    points = sum(step.by == "points" and step.checked is not False for step in steps)
    choices = sum(step.by == "choice" for step in steps)
    wrong = sum(step.checked is False for step in steps)
    undecided = any(step.checked is None and step.by == "points" for step in steps)
    parts = [f"{proved} statements proved", f"{points} checked at points" * bool(points)]
    parts += [f"{choices} chosen" * bool(choices), f"{wrong} refuted{' (misprinted, as it must be)' * holds}" * bool(wrong)]
    word = ("checked" if undecided else "proved") if holds else "refuted"
    return f"{word}: {', '.join(filter(None, parts))}"


LIST = (
    Column("likelihood", "likelihood", "*"),
    Column("torch", "its loss, in torch", "what people write"),
    Column("slope", "slope", "what people write"),
    Column("loss", "loss", "what it is"),
    Column("dropped", "drops", "what it is"),
    Column("proved", "proved", "what it is"),
    Column("support", "x in", "where"),
    Column("link", "link", "where"),
    Column("gap", "gap c(μ)", None),
    Column("offset", "b(x)", None),
)
IMPOSTORS = (Column("loss", "loss", None), Column("likelihood", "taken for", None), Column("why", "why not", None))
STEPS = tuple(Column(key, key) for key in ("likelihood", "step", "statement", "because", "checked", "by", "parameters"))
IDENTITY = (
    Column("likelihood", "likelihood", "*"),
    Column("loss", "loss"),
    Column("nll", "−log p(x|μ)"),
    Column("slope", "slope"),
    Column("offset", "offset"),
    Column("gap", "gap"),
    Column("exact", "loss = likelihood"),
    Column("slope_value", "slope here"),
    Column("parameters", "noise", None),
)


@in_default_state
def derive(*sides: Likelihood | type[Likelihood] | str, shape: Sequence[int] | None = None) -> Derivation:
    """Prove -log p = slope * loss + offset + gap for each likelihood (gaussian, then bernoulli, if none is given).

    A class, or its name, is proved in symbols; an instance, or ``laplace:scale=0.2``, has its noise put in
    as numbers too, and ``shape`` (of one sample) its number of elements.

    >>> from recon_cli.likelihoods.laplace import Laplace
    >>> derive(Laplace(scale=0.2)).report().tables[1].rows[0]["slope_value"]
    5.0
    """
    size = None if shape is None else tuple(shape) if isinstance(shape, Sequence) and not isinstance(shape, str) else (shape,)
    if size is not None and not (size and all(isinstance(one, numbers.Integral) and one > 0 for one in size)):
        raise ReconError("A shape is the sizes of one sample, whole numbers from 1 up.", "Write shape=(1, 28, 28), say.")
    kinds = [*dict.fromkeys(map(likelihoods.as_family_or_likelihood, sides or ("gaussian", "bernoulli")))]
    return Derivation(tuple(derived(kinds, size)), size, likelihoods.interpretations(sides))


def derived(sides: Sequence[Likelihood | type[Likelihood]], shape: tuple[int, ...] | None = None) -> Iterator[Derived]:
    """Each with its proof and its steps, while another process runs the code at the points where it is set against them."""
    kinds = [side if isinstance(side, type) else type(side) for side in sides]
    jobs = {kind: settings(kind) for kind in dict.fromkeys(kinds)}
    aside, measured = Aside([*jobs.values()]), {}

    def measure(kind: type[Likelihood]) -> list[Any]:
        if kind not in measured:
            measured[kind] = aside.next(jobs[kind])
        return measured[kind]

    try:
        for side, kind in zip(sides, kinds, strict=True):
            values = {} if isinstance(side, type) else {key: float(value) for key, value in side.parameters.items()}
            with budget():
                proof = prove(kind)
                case = Case(kind, proof, values, shape, jobs[kind], functools.partial(measure, kind))
                steps = (*foundation(case), *practice(case), *counterexamples(case))
            yield Derived(kind, proof, steps, values)
    finally:
        aside.close()


def catalogue() -> Report:
    """Every likelihood of the registry with its loss, proved afresh; and losses that are none's: ``recon derive --list``."""
    rows: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for each in derived([*map(likelihoods.find, likelihoods.names())]):
        kind, proof = each.kind, each.proof
        side, drops = proof.side, "nothing" if proof.offset == 0 else "constant"
        drops = "b(x)" if proof.offset.free_symbols & {*proof.words.xs} else drops
        rows.append(
            {
                "likelihood": kind.name,
                "loss": side.loss.name,
                "torch": side.loss.torch,
                "slope": formula(proof.slope),
                "dropped": drops if proof.gap == 0 else "c(μ)",
                "support": str(side.support),
                "gap": formula(proof.gap),
                "link": side.link.name,
                "proved": each.proved,
                "offset": formula(proof.shown.offset),
            }
        )
        if proof.gap != 0:
            why = f"it leaves out the gap {formula(proof.gap).unicode}, which depends on μ and moves the gradient"
            others.append({"loss": side.loss.name, "likelihood": kind.name, "why": why})
        others += [{"loss": loss.name, "likelihood": kind.name, "why": loss.reason} for loss in kind.impostors]
    wrong = [row["likelihood"] for row in rows if row["proved"] is False]
    good = sum(row["proved"] is True for row in rows)
    verdict = f"{good} of {len(rows)} identities proved"
    verdict += f", {len(rows) - good - len(wrong)} checked at points" if good + len(wrong) < len(rows) else ""
    verdict = f"refuted: {', '.join(wrong)}; {verdict}" if wrong else f"proved: {verdict.replace(' proved', '', 1)}"
    tables = [Table("likelihoods", LIST, rows), Table("impostors", IMPOSTORS, others)]
    notes = [f"{each['loss']} is not {each['likelihood']}'s loss, though taken for it: {each['why']}." for each in others]
    return Report("derive", tables, notes, verdict, not wrong)
