"""Data admitted to a likelihood piece by piece: encoded, of shapes that fit, inside its support; or refused in a sentence."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

import numpy

from recon_cli import likelihoods
from recon_cli.comparison.claim import Claim
from recon_cli.comparison.tally import CHUNK, PIECE, SAMPLE, Tally, chunks
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.presence import events_there
from recon_cli.identity.regions import REAL, check, inside
from recon_cli.identity.shapes import fitting_shapes, spell
from recon_cli.identity.tensors import as_tensor
from recon_cli.likelihoods._grey_levels import Grid
from recon_cli.runtime import devices
from recon_cli.runtime.lazy_arrays import Lazy, prefetch
from recon_cli.sources._split import scattered

if TYPE_CHECKING:
    import torch
    from torch import Tensor

GROUP = 16  # events that are sampled together, and copied in one go: they lie together in memory


class OutsideSupport(Exception):
    """Data outside the support of the likelihood that was asked for, and inside that of its relaxation."""


class Piece(NamedTuple):
    """Some samples of a case: data, means, how many were moved or are outside the support, and where they begin, in events.

    Of data that are not all there, or do not all count alike: the events that are, and the weight of each.
    """

    x: Tensor
    mu: Tensor
    admitted: Tally
    start: int
    weights: Tensor | None = None


@dataclass(frozen=True)
class ComparisonCase:
    """Data and means, the claim to be measured on them, and where and in which dtype.

    ``x`` and ``mu`` are tensors, or lie in files (:class:`Lazy`); ``data`` is what they are called. ``clip`` is whether means
    may be moved inside the domain, ``sample`` how many numbers the gradients are sampled at. ``partial`` is whether NaN in ``x``
    is a value that is not there, and ``weights`` is how much each value or sample counts. ``on`` are the levels of the data where
    they are brought to [0, 1] for a likelihood of levels there.
    """

    claim: Claim
    x: Tensor | Lazy
    mu: Tensor | Lazy
    device: torch.device
    dtype: torch.dtype
    data: str
    clip: bool
    sample: int = SAMPLE
    partial: bool = False
    weights: Tensor | None = None
    on: Grid | None = None

    @property
    def picked(self) -> bool:
        """Whether the events that count are picked from the samples, each with a weight of its own."""
        return self.partial or self.weights is not None

    @property
    def events(self) -> int:
        """How many events there are: elements, but for vectors."""
        shape = self.mu.shape[: len(self.mu.shape) - bool(self.claim.measured.head)]
        return math.prod(shape[: len(shape) - self.claim.measured.event])

    @property
    def numbers(self) -> int:
        """How many numbers the means are."""
        return math.prod(self.mu.shape)

    @property
    def block(self) -> int:
        """How many samples fill a chunk: what is shared out is counted in these, so that sums do not depend on the shares."""
        return max(1, CHUNK * devices.width(self.device) // (self.numbers // len(self.mu)))

    def parts(self, piece: Piece) -> Iterator[tuple[Tensor, Tensor, Tensor | None]]:
        """Yield a piece's events, and their weights if any, in chunks that fit the cache, each within a block."""
        at, step = 0, len(piece.mu) if self.picked else self.block
        for start in range(0, len(piece.mu), step):
            for x, mu in chunks(self.claim.measured, piece.x[start : start + step], piece.mu[start : start + step]):
                yield x, mu, None if piece.weights is None else piece.weights[at : at + len(mu)]
                at += len(mu)

    @property
    def stride(self) -> int:
        """Of how many events one is sampled, so that there are about ``sample`` numbers, or more."""
        return max(1, self.numbers // self.sample)

    def sampled(self, start: int, count: int) -> tuple[Tensor, int]:
        """Return which of ``count`` events from ``start`` on are in the sample: the places of runs, and of how many each is.

        Of each ``stride`` groups one is in it, which a hash chooses, so that no period in the data shows.
        """
        import torch

        if self.stride == 1:
            return torch.arange(1), count
        spans = numpy.arange(start // (self.stride * GROUP), -(-(start + count) // (self.stride * GROUP)))
        groups = spans * self.stride + (scattered(spans) % numpy.uint64(self.stride)).astype(numpy.int64)
        if start % GROUP == 0 == count % GROUP:
            run, places = GROUP, groups - start // GROUP
        else:
            run, places = 1, (groups[:, None] * GROUP + numpy.arange(GROUP)).reshape(-1) - start
        return torch.from_numpy(places[(places >= 0) & (places < count // run)]), run

    def pieces(self, start: int = 0, stop: int | None = None) -> Iterator[Piece]:
        """Yield samples ``start`` to ``stop``, a piece after the other; from files to a GPU they are copied ahead.

        Raises ReconError for what the likelihood does not take, OutsideSupport where its relaxation does.
        """
        stop = len(self.mu) if stop is None else stop
        read = isinstance(self.x, Lazy) or isinstance(self.mu, Lazy)
        most = PIECE if read else PIECE * devices.width(self.device)
        size = self.block * max(1, most // (self.block * (self.numbers // len(self.mu))))
        spans = ((first, min(first + size, stop)) for first in range(start, stop, size))
        parts = (self._read(*span) for span in spans)
        for first, x, mu in prefetch(parts) if read and self.device.type == "cuda" else parts:
            yield self._admitted(first, x, mu)

    def _read(self, start: int, stop: int) -> tuple[int, Tensor, Tensor]:
        """Read a piece as it is, to its device; from files to a GPU by way of pinned memory, so that copying overlaps."""

        def on_device(values: Tensor | Lazy) -> Tensor:
            if not isinstance(values, Lazy):
                return values[start:stop]
            part = as_tensor(values.unchecked(start, stop))
            return part.pin_memory().to(self.device, non_blocking=True) if self.device.type == "cuda" else part

        return start, on_device(self.x), on_device(self.mu)

    def _admitted(self, first: int, x: Tensor, mu: Tensor) -> Piece:
        """Encode and check the samples from ``first`` on, and move their means inside the domain where that is allowed."""
        likelihood, measured, loss = self.claim.likelihood, self.claim.measured, self.claim.loss
        weights, start = None, first * (self.events // len(self.mu))
        if self.picked:
            weights = None if self.weights is None else self.weights[first : first + len(x)]
            x, mu, weights = events_there(likelihood, x, mu, weights)
            if not len(mu):
                return Piece(x, mu, Tally(), start, weights)
        if self.on is not None:
            x, mu = self.on.to_unit(x), self.on.to_unit(mu)
        x = likelihood.encode(x, mu)
        x, mu = x.to(self.device, self.dtype), mu.to(self.device, self.dtype)
        weights = None if weights is None else weights.to(self.device)
        name = self.data
        if len(mu) < len(self.mu) and not self.picked:
            name += f", samples {first:,} to {first + len(mu) - 1:,}"
        try:
            if measured.support != REAL:  # of real numbers, what is not finite shows in the sums
                check(x, measured.mixtures or measured.support, f"the data ({name})", f"{measured.name} allows")
        except ReconError:
            relaxed = measured.relaxation and likelihoods.parse(measured.relaxation)
            if relaxed and measured is likelihood and relaxed.support.contains(x).all():
                raise OutsideSupport from None
            raise
        moved = 0
        for rule in (measured, loss):
            if rule is loss and loss.support != measured.support and not measured.mixtures:
                check(x, loss.support, f"the data ({name})", f"{loss.name} allows")
            if rule is loss and loss.domain == measured.domain:
                break
            if self.clip:
                mu, count = inside(mu, rule.domain)
                moved += count
            if rule.domain != REAL:
                check(mu, rule.domain, "the reconstruction", f"{rule.name}'s mean lies in")
        foreign = 0 if measured is likelihood else int((~likelihood.support.contains(x)).sum())
        return Piece(x, mu, Tally(moved=moved, foreign=foreign), start, weights)

    def whole(self) -> tuple[ComparisonCase, Piece]:
        """Return all of it in memory, as one piece, and the case that it is of: this one, or that of its relaxation."""
        import torch

        try:
            pieces = [piece for piece in self.pieces() if len(piece.mu)]
        except OutsideSupport:
            return self.relaxed().whole()
        if len(pieces) == 1:
            return self, pieces[0]
        x, mu = torch.cat([piece.x for piece in pieces]), torch.cat([piece.mu for piece in pieces])
        return self, Piece(x, mu, sum((piece.admitted for piece in pieces), Tally()), 0)

    def relaxed(self) -> ComparisonCase:
        """Return the case measured with the relaxation of the likelihood that was asked for."""
        relaxation = likelihoods.parse(str(self.claim.likelihood.relaxation)).admitted()
        return replace(self, claim=replace(self.claim, measured=relaxation), data=f"{self.data} (grey levels)")

    def notes(self, tally: Tally) -> tuple[str, ...]:
        """Return sentences on how the data were admitted."""
        measured, loss = self.claim.measured, self.claim.loss
        notes = []
        if self.on is not None:
            notes.append(f"{measured.name}: its levels, {self.on}, are taken to [0, 1], and its scale is in units of that.")
        if measured is not self.claim.likelihood:
            notes.append(_no_density(self.claim, tally.foreign / tally.elements))
        if tally.moved:
            rule = measured if measured.domain != REAL else loss
            where = f"{rule.name}'s {rule.domain}, {rule.domain.inset}"
            notes.append(f"{tally.moved:,} of {self.numbers:,} reconstructed means were kept inside {where}.")
        if loss.reason:
            notes.append(f"{loss.name} is no likelihood's loss: {loss.reason}.")
        return tuple(notes)


def admit(
    likelihood: Likelihood,
    loss: Loss | None,
    x: Tensor | Lazy,
    mu: Tensor | Lazy,
    device: torch.device,
    dtype: torch.dtype,
    data: str,
    clip: bool,
    partial: bool = False,
    weights: Tensor | None = None,
    on: Grid | None = None,
) -> ComparisonCase:
    """Return the case of ``likelihood`` and ``loss`` (its own, if None). Raises ReconError for shapes that they do not take."""
    likelihood, loss = likelihood.admitted(), loss or likelihood.loss
    shape = tuple(x.shape)
    if len(x.shape) and len(mu.shape) and len(x) == len(mu):
        shape = (len(x), *likelihood.encode(as_tensor(x[:1]), as_tensor(mu[:1])).shape[1:])
    elif not isinstance(x, Lazy):
        shape = likelihood.encode(x, as_tensor(mu[:1] if isinstance(mu, Lazy) else mu)).shape
    fitting_shapes(likelihood, shape, mu.shape)
    if (loss.event, loss.head) != (likelihood.event, likelihood.head):
        raise ReconError(
            f"{loss.name} takes other shapes than {likelihood.name}: one of them is of vectors, or of several numbers "
            "an element.",
            f"{likelihood.name}'s own loss is {likelihood.loss.name}.",
        )
    if len(mu.shape) - bool(likelihood.head) == likelihood.event:
        x, mu = (as_tensor(part[:] if isinstance(part, Lazy) else part).reshape(1, *part.shape) for part in (x, mu))
    if not likelihood.event and not likelihood.head and math.prod(mu.shape[1:]) > PIECE and not partial and weights is None:
        x, mu = _flat(x), _flat(mu)
    return ComparisonCase(Claim.of(likelihood, loss), x, mu, device, dtype, data, clip, partial=partial, weights=weights, on=on)


def _flat(values: Tensor | Lazy) -> Tensor | Lazy:
    """Return the same numbers along one axis, so that a sample larger than a piece can be cut."""
    if not isinstance(values, Lazy):
        return values.reshape(-1)
    flat = values.flat()
    if flat is None:
        raise ReconError(
            f"A sample of {spell(values.shape[1:])} numbers is too large to be read whole.", "Cut it into smaller ones."
        )
    return flat


def _no_density(claim: Claim, share: float) -> str:
    """Return what follows from a share of the data that is outside the support."""
    name = claim.measured.name
    gap, closes = f"; the gap is what {claim.loss.name} leaves out", ", which closes it"
    gap, closes = ("", "") if math.isnan(claim.slope) else (gap, closes)
    return (
        f"{claim.likelihood.no_density(share)}. The row measures {name}{gap}. Either minimise the nll of {name} (recon train "
        f"--likelihood {name}){closes}, or make the data 0 or 1: --binarize threshold, or --binarize sample."
    )
