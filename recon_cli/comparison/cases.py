"""Data admitted to a likelihood piece by piece: encoded, of shapes that fit, inside its support; or refused in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli import likelihoods
from recon_cli.comparison.tally import CHUNK, PIECE, SAMPLE, Tally, chunks
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import REAL, check, inside
from recon_cli.identity.shapes import fitting_shapes, spell
from recon_cli.identity.tensors import as_tensor
from recon_cli.runtime.lazy_arrays import Lazy, prefetch
from recon_cli.sources._split import scattered

if TYPE_CHECKING:
    from torch import Tensor

GROUP = 16  # events that are sampled together: they lie together in memory


class Refused(ReconError):
    """Data that are none of a likelihood's own."""


class Foreign(Exception):
    """Data outside the support of the likelihood that was asked for, and inside that of its relaxation."""


@dataclass(frozen=True)
class Case:
    """Data and means for a likelihood, and where and in which dtype they are measured.

    claim is the likelihood that was asked for, side the one that the data are measured with: its relaxation,
    where they leave the claim's own support. ``x`` and ``mu`` are tensors, or lie in files (:class:`Lazy`).
    """

    claim: Likelihood
    side: Likelihood
    loss: Loss
    x: Tensor | Lazy
    mu: Tensor | Lazy
    device: Any
    dtype: Any
    data: str
    clip: bool
    sample: int = SAMPLE

    @property
    def events(self) -> int:
        """How many events there are: elements, but for vectors."""
        shape = self.mu.shape[: len(self.mu.shape) - bool(self.side.head)]
        return math.prod(shape[: len(shape) - self.side.event])

    @property
    def numbers(self) -> int:
        """How many numbers the means are."""
        return math.prod(self.mu.shape)

    @property
    def block(self) -> int:
        """How many samples fill a chunk: what is shared out is counted in these, so that sums do not depend on the shares."""
        return max(1, CHUNK // (self.numbers // len(self.mu)))

    def parts(self, x: Tensor, mu: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
        """A piece's events in chunks that fit the cache, each within a block."""
        for at in range(0, len(mu), self.block):
            yield from chunks(self.side, x[at : at + self.block], mu[at : at + self.block])

    @property
    def stride(self) -> int:
        """Of how many events one is sampled, so that there are about ``sample`` numbers, or more."""
        return max(1, self.numbers // self.sample)

    def sampled(self, start: int, count: int) -> Tensor:
        """Which of ``count`` events from ``start`` on are in the sample: in each run of ``stride`` groups of them one group.

        Which group is told by a hash, so that no period in the data shows.
        """
        import torch

        if self.stride == 1:
            return torch.arange(count)
        run = self.stride * GROUP
        runs = numpy.arange(start // run, -(-(start + count) // run))
        groups = runs * run + (scattered(runs) % numpy.uint64(self.stride)).astype(numpy.int64) * GROUP
        found = (groups[:, None] + numpy.arange(GROUP)).reshape(-1) - start
        return torch.from_numpy(found[(found >= 0) & (found < count)])

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[tuple[Tensor, Tensor, Tally, int]]:
        """Samples ``start`` to ``stop``, a piece after the other; from files to a GPU they are copied ahead.

        Each is its data, its means, what was moved or is foreign in it, and the place of its first event. Raises
        ReconError for what the likelihood does not take, Foreign where its relaxation does.
        """
        stop = len(self.mu) if stop is None else stop
        each = self.block * max(1, PIECE // (self.block * (self.numbers // len(self.mu))))
        spans = ((at, min(at + each, stop)) for at in range(start, stop, each))
        parts = (self._read(*span) for span in spans)
        copied = self.device.type == "cuda" and (isinstance(self.x, Lazy) or isinstance(self.mu, Lazy))
        for at, x, mu in prefetch(parts) if copied else parts:
            yield *self._admitted(at, x, mu), at * (self.events // len(self.mu))

    def _read(self, start: int, stop: int) -> tuple[int, Tensor, Tensor]:
        """A piece as it is, on its device; from files to a GPU by way of pinned memory, so that copying overlaps."""

        def moved(values: Tensor | Lazy) -> Tensor:
            if not isinstance(values, Lazy):
                return values[start:stop]
            part = as_tensor(values.unchecked(start, stop))
            return part.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else part

        return start, moved(self.x), moved(self.mu)

    def _admitted(self, at: int, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tally]:
        x = self.claim.encode(x, mu)
        x, mu = x.to(self.device, self.dtype), mu.to(self.device, self.dtype)
        which = self.data if len(mu) == len(self.mu) else f"{self.data}, samples {at:,} to {at + len(mu) - 1:,}"
        try:
            if self.side.support != REAL:  # of real numbers, what is not finite shows in the sums
                check(x, self.side.support, f"the data ({which})", f"{self.side.name} allows")
        except ReconError:
            relaxed = self.side.relaxation and likelihoods.parse(self.side.relaxation)
            if relaxed and self.side is self.claim and relaxed.support.contains(x).all():
                raise Foreign from None
            raise
        kept = 0
        for rule in (self.side, self.loss):
            if rule is self.loss and rule.support != self.side.support:
                check(x, rule.support, f"the data ({which})", f"{rule.name} allows")
            if rule is self.loss and rule.domain == self.side.domain:
                continue
            if self.clip:
                mu, moved = inside(mu, rule.domain)
                kept += moved
            if rule.domain != REAL:
                check(mu, rule.domain, "the reconstruction", f"{rule.name}'s mean lies in")
        foreign = 0 if self.side is self.claim else int((~self.claim.support.contains(x)).sum())
        return x, mu, Tally(kept=kept, foreign=foreign)

    def whole(self) -> tuple[Case, Tensor, Tensor, Tally]:
        """All of it in memory: the case, or that of its relaxation, with its data, means, and what was moved or is foreign."""
        import torch

        try:
            pieces = [*self.pieces()]
        except Foreign:
            return self.relaxed().whole()
        x, mu = (pieces[0][i] if len(pieces) == 1 else torch.cat([piece[i] for piece in pieces]) for i in (0, 1))
        return self, x, mu, sum((piece[2] for piece in pieces), Tally())

    def relaxed(self) -> Case:
        """Measured with the relaxation of the likelihood that was asked for."""
        return replace(self, side=likelihoods.parse(str(self.claim.relaxation)).admitted(), data=f"{self.data} (grey levels)")

    def notes(self, tally: Tally) -> tuple[str, ...]:
        """What to say of how the data were admitted."""
        notes = []
        if self.side is not self.claim:
            notes.append(_no_density(self.claim, self.side, self.loss, tally.foreign / tally.elements))
        if tally.kept:
            rule = self.side if self.side.domain != REAL else self.loss
            where = f"{rule.name}'s {rule.domain}, {rule.domain.inset}"
            notes.append(f"{tally.kept:,} of {self.numbers:,} reconstructed means were kept inside {where}.")
        if self.loss.reason:
            notes.append(f"{self.loss.name} is no likelihood's loss: {self.loss.reason}.")
        return tuple(notes)


def admit(claim: Likelihood, loss: Loss | None, x: Any, mu: Any, device: Any, dtype: Any, data: str, clip: bool) -> Case:
    """The case of ``claim`` and ``loss`` (its own, if None). Raises ReconError for shapes that they do not take."""
    claim, loss = claim.admitted(), loss or claim.loss
    if len(x.shape) and len(mu.shape) and len(x) == len(mu):
        encoded = claim.encode(as_tensor(x[:1]), as_tensor(mu[:1])).shape[1:]
        fitting_shapes(claim, (len(x), *encoded), mu.shape)
    else:
        fitting_shapes(claim, claim.encode(x, mu).shape if not isinstance(x, Lazy) else x.shape, mu.shape)
    if (loss.event, loss.head) != (claim.event, claim.head):
        raise ReconError(
            f"{loss.name} takes other shapes than {claim.name}: one of them is of vectors, or of several numbers an element.",
            f"{claim.name}'s own loss is {claim.loss.name}.",
        )
    if len(mu.shape) - bool(claim.head) == claim.event:
        x, mu = (as_tensor(part[:] if isinstance(part, Lazy) else part).reshape(1, *part.shape) for part in (x, mu))
    if not claim.event and not claim.head and math.prod(mu.shape[1:]) > PIECE:
        x, mu = _flat(x), _flat(mu)
    return Case(claim, claim, loss, x, mu, device, dtype, data, clip)


def _flat(values: Tensor | Lazy) -> Tensor | Lazy:
    """The same numbers along one axis, so that a sample larger than a piece can be cut."""
    if not isinstance(values, Lazy):
        return values.reshape(-1)
    flat = values.flat()
    if flat is None:
        raise ReconError(
            f"A sample of {spell(values.shape[1:])} numbers is too large to be read whole.", "Cut it into smaller ones."
        )
    return flat


def _no_density(claim: Likelihood, relaxed: Likelihood, loss: Loss, share: float) -> str:
    gap = f"; the gap is what {loss.name} leaves out" if claim.slope_of(loss) else ""
    return (
        f"{claim.no_density(share)}. The row measures {relaxed.name}{gap}. "
        f"Either minimise the nll of {relaxed.name} (recon train --likelihood {relaxed.name}), which closes it, "
        f"or make the data 0 or 1: --binarize threshold, or --binarize sample."
    )
