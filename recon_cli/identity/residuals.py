"""Many events as few, for a likelihood that depends on x - mu alone: residuals in cells as wide as a float's leading digits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

DIGITS = 6  # binary, of a residual: a cell is 1/64 as wide as it is far from zero
CELLS = 1 << (9 + DIGITS)  # signs, exponents and leading digits of float32
BLOCK = 1 << 17  # events at a time: what is computed of them stays in the core's cache


@dataclass(frozen=True)
class ResidualSums:
    """How many residuals x - mu there are in each cell, their sum and their sum of squares.

    sums
        (3, 1 + len(ends), cells), float64: of all data but the ``ends``, then of each of those.
    events
        of how many events that is.
    """

    sums: Tensor
    ends: tuple[float, ...]
    events: int

    def condensed(self, ends: Sequence[float], inner: float) -> tuple[Tensor, Tensor, Tensor]:
        """Return data, means and how many events each stands for, with the residuals' number, mean and variance in every cell.

        ends
            data, of those kept apart, that are to keep their x; all others get the x ``inner``.

        A cell's residuals become two, at their mean less and plus their standard deviation, so that a sum of f(e) is off by the
        third moment within a cell: of the order of 1e-10 of f, and nothing where f is a parabola. Zero is a border of cells, so
        that a kink there is exact.
        """
        import torch

        apart = [1 + self.ends.index(end) for end in ends]
        others = [group for group in range(1 + len(self.ends)) if group not in apart]
        grouped = [self.sums[:, others].sum(dim=1), *(self.sums[:, group] for group in apart)]
        xs, means, counts = [], [], []
        for place, (number, total, square) in zip((inner, *ends), grouped, strict=True):
            taken = number.nonzero()[:, 0]
            count, mean = number[taken], total[taken] / number[taken]
            spread = (square[taken] / count - mean * mean).clamp(min=0).sqrt()
            residuals = torch.cat([mean - spread, mean + spread])
            xs.append(torch.full_like(residuals, place))
            means.append(place - residuals)
            counts.append(count.repeat(2) / 2)
        return torch.cat(xs), torch.cat(means), torch.cat(counts)


def residuals(x: Tensor, mu: Tensor, ends: Sequence[float] = ()) -> ResidualSums | None:
    """Return the residuals of events in cells, those of data at the ``ends`` apart; None where one is not finite in float32."""
    import torch

    sums = torch.zeros(3, (1 + len(ends)) * CELLS, dtype=torch.float64, device=mu.device)
    ones = torch.ones(BLOCK, dtype=torch.float64, device=mu.device)
    for some, means in zip(x.flatten().split(BLOCK), mu.flatten().split(BLOCK), strict=True):
        residual = some.double() - means.double()
        cell = leading(residual, DIGITS)
        for group, end in enumerate(ends, 1):
            cell.add_(some == end, alpha=group * CELLS)
        for kind, power in zip(sums, (ones[: len(cell)], residual, residual.square()), strict=True):
            kind.index_add_(0, cell, power)
    largest = (0xFF << DIGITS) - 1  # of a finite number's cell, but for its sign
    cells = sums.view(3, 1 + len(ends), 2, CELLS // 2)
    if not bool(sums.isfinite().all()) or bool(cells[0, :, :, largest + 1 :].any()):
        return None
    return ResidualSums(sums.view(3, 1 + len(ends), CELLS), tuple(ends), mu.numel())


def leading(values: Tensor, digits: int) -> Tensor:
    """Return sign, exponent and so many digits of numbers in float32, as a whole number."""
    import torch

    return (values.float().view(torch.int32) >> (23 - digits)).bitwise_and_((1 << (9 + digits)) - 1)
