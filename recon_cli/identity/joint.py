"""Many events as few, for a likelihood of single numbers: data of few different values, or in cells, and their means in cells."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from recon_cli.identity.residuals import BLOCK, DIGITS, leading

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.regions import Region

FEW = 1 << 12  # different values of data
MOST = 1 << 21  # sums of one kind that are kept
FULL = 8  # events to a cell, at least: with fewer, there is nothing to gain
LEADING = 9  # binary digits of a value, and its sign and exponent, by which its place among few is looked up
COARSE = DIGITS - 1  # binary digits of both data and means, where both are in cells
Events = tuple["Tensor", "Tensor", "Tensor"]  # data, means, and how many events each stands for


class Levels(NamedTuple):
    """The different values of data in order, how many of each there are, and where each is found by its leading digits.

    table
        None where two of them have the same leading digits.
    """

    values: Tensor
    counts: Tensor
    table: Tensor | None

    def places(self, x: Tensor) -> Tensor:
        """Return the place of each value of ``x`` among the levels."""
        import torch

        if self.table is None:
            return torch.searchsorted(self.values, x.to(self.values.dtype), out_int32=True)
        return self.table.index_select(0, leading(x, LEADING))


def levels(x: Tensor) -> Levels | None:
    """Return the different values of data; None where they are many, or not numbers."""
    import numpy
    import torch

    if x.device.type != "cpu" or not x.numel() or x.dtype in (torch.float16, torch.bfloat16):
        return None
    counts: dict[float, int] = {}
    for part in x.detach().flatten().split(BLOCK):
        some, each = numpy.unique(part.numpy(), return_counts=True)
        if len(some) > FEW:
            return None
        for value, count in zip(some.tolist(), each.tolist(), strict=True):
            counts[value] = counts.get(value, 0) + count
        if len(counts) > FEW:
            return None
    if not all(math.isfinite(value) for value in counts):
        return None
    ordered = torch.tensor(sorted(counts), dtype=x.dtype)
    keys = leading(ordered, LEADING)
    table = None
    if len(keys.unique()) == len(ordered):
        table = torch.zeros(1 << (9 + LEADING), dtype=torch.int32)
        table[keys.long()] = torch.arange(len(ordered), dtype=torch.int32)
        table[1 << (8 + LEADING)] = table[0]  # of -0
    return Levels(ordered, torch.tensor([counts[value] for value in sorted(counts)]), table)


class Axis:
    """Numbers of a region in cells, each 2^-digits as wide as it is far from the nearer end of it; from zero without one.

    Of a probability near 1 it is 1 - p that has the digits.
    """

    def __init__(self, region: Region, digits: int) -> None:
        self.digits, self.half = digits, 1 << (8 + digits)
        self.low = region.low if math.isfinite(region.low) else 0.0
        self.bounded = math.isfinite(region.high) and math.isfinite(region.low)
        self.high = region.high if self.bounded else self.low

    def cells(self, values: Tensor) -> tuple[Tensor, Tensor]:
        """Return the cell of each number, and how far it is from the end that it is counted from."""
        import torch

        away = values if values.dtype in (torch.float32, torch.float64) else values.double()
        away = away - self.low if self.low else away
        if not self.bounded:
            return leading(away, self.digits), away
        far = signs((self.high - self.low) / 2 - away)  # arithmetic of bits: a comparison takes three times as long
        away = torch.add(away, far.to(away.dtype), alpha=self.high - self.low)
        return leading(away, self.digits).bitwise_and_(self.half - 1).sub_(far, alpha=self.half), away

    def used(self, values: Tensor, keep: Region | None) -> tuple[Tensor, int] | None:
        """Return which cells numbers lie in, and how many were moved to ``keep`` them inside; None where one is not finite."""
        import torch

        counts, moved = torch.zeros(2 * self.half, dtype=torch.int64), 0
        for part in values.flatten().split(BLOCK):
            inside = part if keep is None else keep.keep(part)
            moved += 0 if keep is None else int((inside != part).count_nonzero())
            counts += torch.bincount(self.cells(inside)[0], minlength=2 * self.half)
        endless = bool(counts.view(2, -1)[:, 0xFF << self.digits :].any())
        return None if endless else (counts.nonzero()[:, 0], moved)

    def places(self, taken: Tensor) -> Tensor:
        """Return the place of each cell among those that are taken."""
        import torch

        place = torch.zeros(2 * self.half, dtype=torch.int32)
        place[taken] = torch.arange(len(taken), dtype=torch.int32)
        return place

    def ends(self, taken: Tensor) -> Tensor:
        """Return the end that the numbers of each cell are counted from."""
        import torch

        return torch.where(taken >= self.half, self.high, self.low).double()


def signs(values: Tensor) -> Tensor:
    """Return -1 for each number below zero, and 0 for any other, as a whole number in 32 bits."""
    import torch

    narrow = values.dtype == torch.float32
    return (values.view(torch.int32) >> 31) if narrow else (values.view(torch.int64) >> 63).int()


@dataclass(frozen=True)
class JointSums:
    """How many events there are in each cell of data and means, and the sums of their distances and of those's products.

    sums
        (6, cells of data, cells of means), float64: of 1, s, t, s^2, s t and t^2, data s and means t away from their ends.
    data, means
        which cells these are; of data with few levels those's places.
    starts, ends
        what s and t are counted from, in each cell.
    moved
        how many means were moved inside the domain.
    """

    sums: Tensor
    data: Tensor
    means: Tensor
    starts: Tensor
    ends: Tensor
    few: bool
    moved: int

    def condensed(self) -> Events:
        """Return data, means and how many events each stands for, with number, mean and covariance in every cell.

        The events of a cell become four, along the axes of their covariance; two where their data are alike. A sum of f is
        then off by f's fourth derivatives within a cell.
        """
        import torch

        row, column = self.sums[0].nonzero(as_tuple=True)
        count, *moments = self.sums[:, row, column]
        s, t, ss, st, tt = (moment / count for moment in moments)
        start, end = self.starts[row] + s, self.ends[column] + t
        along = (tt - t * t).clamp(min=0)
        if self.few:
            off = along.sqrt()
            return torch.cat([start, start]), torch.cat([end - off, end + off]), count.repeat(2) / 2
        across, skew = (ss - s * s).clamp(min=0), st - s * t
        turn = 0.5 * torch.atan2(2 * skew, across - along)  # the axes of the covariance
        middle, apart = (across + along) / 2, torch.hypot((across - along) / 2, skew)
        xs, means = [], []
        for size, cosine, sine in (
            ((middle + apart).sqrt(), turn.cos(), turn.sin()),
            ((middle - apart).clamp(min=0).sqrt(), -turn.sin(), turn.cos()),
        ):
            for step in (-math.sqrt(2) * size, math.sqrt(2) * size):
                xs.append(start + step * cosine)
                means.append(end + step * sine)
        return torch.cat(xs), torch.cat(means), count.repeat(4) / 4

    def coarser(self) -> JointSums:
        """Return the same in cells twice as wide, for what that changes."""
        sums, data, means, starts, ends = self.sums, self.data, self.means, self.starts, self.ends
        if not self.few:
            data, starts, sums = halved(data, starts, sums, 1)
        means, ends, sums = halved(means, ends, sums, 2)
        return JointSums(sums, data, means, starts, ends, self.few, self.moved)


def halved(cells: Tensor, ends: Tensor, sums: Tensor, axis: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return cells of twice the width along an axis, what they are counted from, and their sums."""
    wide, place = (cells // 2).unique(return_inverse=True)
    shape = list(sums.shape)
    shape[axis] = len(wide)
    new_ends = ends.new_zeros(len(wide))
    new_ends[place] = ends
    return wide, new_ends, sums.new_zeros(shape).index_add_(axis, place, sums)


def joint(x: Tensor, mu: Tensor, known: Levels | None, support: Region, domain: Region, move: bool) -> JointSums | None:
    """Return the sums of events in cells of data and means; None where they are too many, or not finite.

    Data whose levels are ``known`` are taken as they are. With ``move`` means are first moved inside the domain.
    """
    import torch

    digits, keep = COARSE if known is None else DIGITS, domain if move else None
    across, along = Axis(support, digits), Axis(domain, digits)
    data = (torch.arange(len(known.values)), 0) if known is not None else across.used(x, None)
    means = along.used(mu, keep)
    if data is None or means is None:
        return None
    shape = len(data[0]), len(means[0])
    if math.prod(shape) > MOST or math.prod(shape) * FULL > x.numel():
        return None
    columns = along.places(means[0])
    rows = columns if known is not None else across.places(data[0])
    sums = torch.zeros(6, math.prod(shape), dtype=torch.float64)
    ones = torch.ones(BLOCK, dtype=torch.float64)
    for some, others in zip(x.flatten().split(BLOCK), mu.flatten().split(BLOCK), strict=True):
        cell, away = along.cells(others if keep is None else keep.keep(others))
        at, t = columns.index_select(0, cell), away.double()
        powers = {0: ones[: len(t)], 2: t, 5: t.square()}
        if known is not None:
            at.add_(known.places(some), alpha=shape[1])
        else:
            cell, away = across.cells(some)
            at.add_(rows.index_select(0, cell), alpha=shape[1])
            s = away.double()
            powers |= {1: s, 3: s.square(), 4: s * t}
        for kind, power in powers.items():
            sums[kind].index_add_(0, at, power)
    starts = across.ends(data[0]) if known is None else known.values.double()
    return JointSums(sums.view(6, *shape), data[0], means[0], starts, along.ends(means[0]), known is not None, means[1])
