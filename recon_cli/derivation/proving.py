"""Derivations: the proof and the steps of each likelihood, while its code runs in a process beside this one."""

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
from recon_cli.derivation.movable import Density
from recon_cli.derivation.notation import formula, in_numbers, spoken
from recon_cli.derivation.points import settings
from recon_cli.derivation.practice import parameters_of, practice
from recon_cli.derivation.proof import Proof, prove
from recon_cli.derivation.records import IdentityRow, Impostor, Listed, Record, StepRow, catalogue_of, report_of
from recon_cli.derivation.steps import foundation
from recon_cli.derivation.trees import movable
from recon_cli.derivation.trial import Step
from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._columns import Product
from recon_cli.report import Report
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
    def slope_value(self) -> float | None:
        """The slope as a number; None if it depends on noise parameters without numbers."""
        return in_numbers(self.proof.slope, self.values) if self.proof.slope.free_symbols else float(self.proof.slope)

    @property
    def record(self) -> Record:
        """What is kept of it: plain data."""
        rows = [
            StepRow(self.kind.name, number, step.statement, step.because, step.checked, step.by, self.values)
            for number, step in enumerate(self.steps, 1)
        ]
        return Record(self.identity, tuple(rows), self.holds, self.listed, tuple(self.impostors), self.movable)

    @property
    def movable(self) -> Density | None:
        """What a page needs to move its data, mean and noise."""
        misprints = [step.statement for step in self.steps if step.misprint]
        return movable(self.kind, self.proof, self.values, misprints)

    @property
    def identity(self) -> IdentityRow:
        """What is proved."""
        return IdentityRow(
            likelihood=self.kind.name,
            loss=self.proof.likelihood.loss.name,
            nll=formula(self.proof.printed.nll),
            slope=formula(self.proof.slope),
            offset=formula(self.proof.printed.offset),
            gap=formula(self.proof.gap),
            exact=self.proof.exact,
            slope_value=self.slope_value,
            parameters=self.values,
        )

    @property
    def listed(self) -> Listed:
        """Its row of ``recon derive --list``."""
        proof, likelihood = self.proof, self.proof.likelihood
        drops = "nothing" if proof.offset == 0 else "constant"
        drops = "b(x)" if proof.offset.free_symbols & {*proof.words.xs} else drops
        return Listed(
            likelihood=self.kind.name,
            torch=likelihood.loss.torch,
            where=", ".join(filter(None, [spoken(parameters_of(likelihood.loss)), likelihood.loss.condition])),
            slope=formula(proof.slope),
            loss=likelihood.loss.name,
            dropped=drops if proof.gap == 0 else "c(μ)",
            proved=self.proved,
            support=str(likelihood.support),
            link=likelihood.link.name,
            gap=formula(proof.gap),
            offset=formula(proof.printed.offset),
        )

    @property
    def impostors(self) -> Iterator[Impostor]:
        """The losses that are taken for its own: the one without its gap, and those that the likelihood names."""
        if self.proof.gap != 0:
            why = f"it leaves out the gap {formula(self.proof.gap).unicode}, which depends on μ and moves the gradient"
            yield Impostor(self.proof.likelihood.loss.name, self.kind.name, why)
        yield from (Impostor(loss.name, self.kind.name, loss.reason) for loss in self.kind.impostors)


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
        return report_of([each.record for each in self.results], self.notes)


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
    return catalogue_of([each.record for each in derived([*map(likelihoods.find, likelihoods.names())])])
