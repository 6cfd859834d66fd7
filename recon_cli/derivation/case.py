"""One likelihood with all that its steps are made of."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sympy import Expr

from recon_cli.derivation import trial
from recon_cli.derivation.code import Measured
from recon_cli.derivation.mass import mass
from recon_cli.derivation.points import Setting
from recon_cli.derivation.proof import Proof
from recon_cli.derivation.quadrature import Mass
from recon_cli.derivation.roundings import Formulas
from recon_cli.derivation.trial import Outcome, settle
from recon_cli.derivation.words import Words, words
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle, Lattice
from recon_cli.report import Formula

LONG = 60  # letters of a formula that is written once only
CLOSE = 1e-7  # how near to one an integral by number must be


@dataclass(frozen=True)
class Case:
    """One likelihood with all that its steps are made of.

    values, shape
        the numbers of the noise parameters, and the shape of one sample; empty and None for symbols alone.
    settings, measure
        the points at which its formulas are tried, and a function that returns the code's values there.
    """

    kind: type[Likelihood]
    proof: Proof
    values: dict[str, float]
    shape: tuple[int, ...] | None
    settings: Sequence[Setting]
    measure: Callable[[], list[Measured]]

    @functools.cached_property
    def symbols(self) -> dict[int, Words]:
        """The symbols for vectors of each size that is tried."""
        here = {self.proof.words.size: self.proof.words}
        return here | {each.size: words(self.kind, each.size) for each in self.settings if each.size not in here}

    @functools.cached_property
    def densities(self) -> dict[int, Expr]:
        """The density for vectors of each size."""
        here = {self.proof.words.size: self.proof.density}
        others = {size: symbols for size, symbols in self.symbols.items() if size not in here}
        return here | {size: symbols.read(symbols.likelihood.density) for size, symbols in others.items()}

    @functools.cached_property
    def formulas(self) -> dict[int, Formulas]:
        """The formulas for vectors of each size, as functions of numbers."""
        return {size: Formulas(symbols, self.densities[size]) for size, symbols in self.symbols.items()}

    @property
    def proof_formulas(self) -> Formulas:
        """The formulas for vectors of the size that the proof has."""
        return self.formulas[self.proof.words.size]

    @functools.cached_property
    def elements(self) -> int | None:
        """The number of events in a sample of this shape; the components of a vector are one event."""
        return None if self.shape is None else math.prod(self.shape[: len(self.shape) - self.proof.likelihood.event])

    @functools.cached_property
    def finding(self) -> Outcome:
        """Whether slope * loss + offset + gap is -log of the density."""
        return settle(lambda: self.proof.whole, trial.is_nll(self.proof_formulas, self.settings, self.proof.nll))

    @functools.cached_property
    def masses(self) -> list[tuple[Setting, Mass]]:
        """The mass of the density at the first event of each setting."""
        return [(each, mass(self.symbols[each.size], self.densities[each.size], each, 0)) for each in self.settings]

    def mass_around_mean(self, setting: Setting) -> Mass:
        """Return the mass of the density at the first event; of angles over the turn around their mean, where samples lie."""
        if isinstance(setting.likelihood.support, Circle):
            return mass(self.symbols[setting.size], self.densities[setting.size], setting, 0, around_mean=True)
        return next(whole for each, whole in self.masses if each is setting)

    @property
    def sized(self) -> str:
        """A sentence that says for which vectors, or mixtures, the identity is proved; empty for numbers."""
        if self.kind.sized_by and not self.proof.likelihood.event:
            return f" Proved for {self.proof.words.size} components."
        if not self.proof.likelihood.event:
            return ""
        here, written = self.proof.words, self.proof.likelihood.length is not None
        size = f", {here.likelihood.sized_by} {here.size}" if here.likelihood.sized_by and not written else ""
        if self.proof.any_size and not written:
            return f" Proved for any number of components{size}."
        return f" Proved for {len(here.xs)} components{size}."


def is_long(formula: Formula) -> bool:
    """Return whether a formula is so long that it is written once only, and named elsewhere."""
    return len(formula.unicode) > LONG


def is_discrete(proof: Proof) -> bool:
    """Return whether x is discrete: whole numbers, levels or classes."""
    return proof.likelihood.support.whole or isinstance(proof.likelihood.support, Lattice)


def total_name(proof: Proof) -> str:
    """Return the name of the density's sum or integral."""
    return "sum p" if is_discrete(proof) else "integral p dx"
