"""What the fits of many likelihoods ask of the same many events, answered once: their levels, their cells, what lies outside."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from recon_cli.identity.joint import Events, Levels, joint, levels
from recon_cli.identity.regions import REAL, Lattice, Region, Violation, first_of, run_of, violation
from recon_cli.identity.residuals import ResidualSums, residuals
from recon_cli.identity.some import pieces

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.likelihood import Likelihood

Answer = TypeVar("Answer")
CLOSE = 1e-7  # nats an event, or a part of them
ENDS = (0.0, 1.0)  # of grey levels


class Condensed(NamedTuple):
    """Few events that stand for many: data, means and how many events each stands for; of the same in cells twice as wide too.

    moved
        how many means were moved inside the domain.
    """

    events: Events
    cells: str
    wider: Events | None = None
    moved: int = 0

    def is_near(self, nll: Callable[[Events], float]) -> bool:
        """Return whether a mean nll is good to 1e-7, by what cells twice as wide make of it: 16 times the error."""
        if self.wider is None:
            return True
        here = nll(self.events)
        return abs(nll(self.wider) - here) / 15 <= CLOSE * max(1.0, abs(here))


class ManyEvents:
    """Of many events what several likelihoods ask, in several threads: each looked at once."""

    def __init__(self, x: Tensor, mu: Tensor) -> None:
        self.x, self.mu = x, mu
        self.answers: dict[Hashable, Any] = {}
        self.locks: dict[Hashable, Lock] = {}

    def once(self, question: Hashable, answer: Callable[[], Answer]) -> Answer:
        """Return the answer to a question, found at its first asking; who asks meanwhile waits for it."""
        with self.locks.setdefault(question, Lock()):
            if question not in self.answers:
                self.answers[question] = answer()
            known: Answer = self.answers[question]
            return known

    @property
    def residuals(self) -> ResidualSums | None:
        """The residuals in cells, those of the end levels apart; None where they are beyond float32."""
        same = self.x.shape == self.mu.shape
        return self.once("residuals", lambda: residuals(self.x, self.mu, ENDS) if same else None)

    @property
    def levels(self) -> Levels | None:
        """The different values of the data, where they are few."""
        return self.once("levels", lambda: levels(self.x))

    @property
    def sample(self) -> Tensor:
        """Data for what depends on which values there are: each of them once, where they are few."""
        return self.x if self.levels is None else self.levels.values

    def violation(self, values: Tensor, allowed: Region) -> Violation | None:
        """Return what of the data, or of the means, lies outside a region."""
        known = self.levels
        if values is self.x and allowed.unit == "values" and known is not None:
            return self.once(("x", allowed), lambda: violation_of_levels(values, known, allowed))
        if values is not self.x and values is not self.mu:
            return violation(values, allowed)
        return self.once(("x" if values is self.x else "mu", allowed), lambda: violation(values, allowed))

    def condensed(self, likelihood: Likelihood, move: bool) -> Condensed | None:
        """Return few events for a likelihood of residuals alone, or of single numbers where data have few levels; or None.

        With ``move`` means are moved inside the domain.
        """
        if likelihood.event or likelihood.head or self.x.shape != self.mu.shape:
            return None
        if likelihood.of_residual is None:
            if self.levels is None and not likelihood.noise:  # whose nll is asked for once
                return None
            support = REAL if self.levels else likelihood.support
            return self.once((support, likelihood.domain, move), lambda: self.in_cells(support, likelihood.domain, move))
        if self.residuals is None:
            return None
        inner = 1 / (likelihood.support.levels - 1) if isinstance(likelihood.support, Lattice) else 0.0
        return Condensed(self.residuals.condensed(likelihood.of_residual, inner), "residuals")

    def in_cells(self, support: Region, domain: Region, move: bool) -> Condensed | None:
        """Return the events in cells of data and means; of means alone where the data have few levels."""
        sums = joint(self.x, self.mu, self.levels, support, domain, move)
        if sums is None:
            return None
        return Condensed(sums.condensed(), "means" if sums.few else "both", sums.coarser().condensed(), sums.moved)


def violation_of_levels(values: Tensor, known: Levels, allowed: Region) -> Violation | None:
    """Return :func:`violation` of values whose levels are known, in a region of single numbers."""
    good = allowed.contains(known.values)
    if bool(good.all()):
        return None
    place = 0
    for part in pieces(values):
        outside = ~allowed.contains(part)
        if bool(outside.any()):
            break
        place += len(part)
    first = first_of(outside)
    index = (first[0] + place, *first[1:])
    fault = run_of(known.values[0].item(), known.values[-1].item(), index, values[index].item())
    return Violation(int(known.counts[~good].sum()), values.numel(), fault, allowed.hint(known.values))
