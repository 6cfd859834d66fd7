"""Is it true? The identity proved in symbols, every step machine-checked.

``proof`` derives slope, offset and gap from density and loss; ``steps`` tells the way there;
``notation`` spells it. The only place that knows sympy; none of it knows torch.
"""

from __future__ import annotations

import numbers
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from recon_cli import likelihoods
from recon_cli.derivation.notation import formula
from recon_cli.derivation.proof import Proof, prove
from recon_cli.derivation.steps import Step, steps
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.report import Column, Report, Table
from recon_cli.surroundings import settled


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
        """Whether every step checks, but for the misprints, which must not."""
        wrong = [step for step in self.steps if not step.checked]
        return self.proof.holds and len(wrong) == len(self.kind.misprints)

    @property
    def slope_value(self) -> float | None:
        """The slope at the given noise."""
        if self.proof.noise and not self.values:
            return None
        return float(self.proof.slope.subs({self.proof.noise[name]: value for name, value in self.values.items()}))


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
            {"likelihood": each.kind.name, "parameters": each.values, "step": number, **vars(step)}
            for each in self.found
            for number, step in enumerate(each.steps, 1)
        ]
        count = sum(step.checked for each in self.found for step in each.steps)
        wrong = len(told) - count
        verdict = f"{'proved' if self.holds else 'refuted'}: {count} of {len(told)} statements check"
        verdict += f", {wrong} refuted" if wrong else ""
        verdict += " (misprinted, as it must be)" if wrong and self.holds else ""
        tables = [Table("steps", STEPS, told, layout="steps"), Table("identity", IDENTITY, identity)]
        return Report("derive", tables, self.notes, verdict, self.holds)


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
STEPS = tuple(Column(key, key) for key in ("likelihood", "step", "statement", "because", "checked", "parameters"))
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


@settled
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
    found = []
    for side in dict.fromkeys(map(likelihoods.kind_or_side, sides or ("gaussian", "bernoulli"))):
        kind = side if isinstance(side, type) else type(side)
        values = {} if isinstance(side, type) else {key: float(value) for key, value in side.parameters.items()}
        proof = prove(kind)
        found.append(Derived(kind, proof, tuple(steps(kind, proof, values, size)), values))
    return Derivation(tuple(found), size, likelihoods.taken(sides))


def catalogue() -> Report:
    """Every likelihood of the registry with its loss, proved afresh; and losses that are none's: ``recon derive --list``."""
    rows: list[dict[str, Any]] = []
    others: list[dict[str, Any]] = []
    for kind in map(likelihoods.find, likelihoods.names()):
        proof = prove(kind)
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
                "proved": proof.holds,
                "offset": formula(proof.shown.offset),
            }
        )
        if proof.gap != 0:
            why = f"it leaves out the gap {formula(proof.gap).unicode}, which depends on μ and moves the gradient"
            others.append({"loss": side.loss.name, "likelihood": kind.name, "why": why})
        others += [{"loss": loss.name, "likelihood": kind.name, "why": loss.reason} for loss in kind.impostors]
    good = sum(row["proved"] for row in rows)
    verdict = f"{'proved' if good == len(rows) else 'refuted'}: {good} of {len(rows)} identities"
    tables = [Table("likelihoods", LIST, rows), Table("impostors", IMPOSTORS, others)]
    notes = [f"{each['loss']} is not {each['likelihood']}'s loss, though taken for it: {each['why']}." for each in others]
    return Report("derive", tables, notes, verdict, good == len(rows))
