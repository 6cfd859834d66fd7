"""Grey levels: bins of a lattice as a mean sees them, to the last digit."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from recon_cli.identity.alike import absent, as_type_of, choose, distinct, double, epsilon, is_floating
from recon_cli.identity.parametric import Number, Parametric, computed, parameter
from recon_cli.identity.regions import Interval, Lattice, Region
from recon_cli.identity.some import pieces
from recon_cli.numerics.compensated import two_product, two_sum

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from recon_cli.identity.alike import Numbers
    from recon_cli.identity.likelihood import Likelihood

RANGES = ((0.0, 1.0), (-1.0, 1.0), (-0.5, 0.5), (0.0, 255.0), (-128.0, 127.0))  # that 8-bit data are brought into
FEW = 16  # different values: fewer lie on a grid by chance
LOW, HIGH, H = "x < 1/(4*(levels - 1))", "x > 1 - 1/(4*(levels - 1))", "1/(2*(levels - 1))"
A, B = "(x - mu + 0.5/(levels - 1))/scale", "(x - mu - 0.5/(levels - 1))/scale"  # as in code


@dataclass(frozen=True)
class GreyLevels(Parametric):
    """Noise on values k/(levels - 1), each of which stands for all within h = 1/(2 (levels - 1)), the end ones for all beyond."""

    scale: float = parameter(0.1, "the size of the noise before it is rounded, in units of x")
    levels: float = parameter(256.0, "how many values x can have", Interval(2, whole=True))

    support: ClassVar[Region] = computed(lambda self: Lattice(levels=self.levels))
    of_residual: ClassVar[tuple[float, ...] | None] = (0.0, 1.0)

    def ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return where x is the lowest level, and where it is the highest."""
        quarter = 0.25 / (self.levels - 1)
        return x < quarter, x > 1 - quarter

    def edges(self, x: Tensor, mu: Tensor, scale: Number | None = None) -> tuple[Tensor, ...]:
        """Return mu's distance from x, half a bin, mu's distance from the bin (a sum of two), in units of scale; if it is closed.

        Distances are positive where mu is out of the bin, negative in it or, of an end bin, beyond it. Neither half
        a bin nor x - mu need be floats: both are kept as sums of two, or the edges of bins much wider than scale would blur.
        Of some elements ``scale`` is theirs.
        """
        steps = self.levels - 1
        half = 0.5 / steps
        whole, missed = two_product(half, steps)
        scale = self.scale if scale is None else scale
        return bin_edges(x, mu, scale, half, (0.5 - whole - missed) / steps, *self.ends(x))

    @classmethod
    def designed(cls, x: Tensor) -> Self:
        """Return the one with as many levels as the data have."""
        return cls(levels=levels(x) or 256.0)

    def rounded(self, x: Tensor) -> Tensor:
        """Return the nearest level."""
        return (x.clamp(0, 1) * (self.levels - 1)).round() / (self.levels - 1)


def bin_edges(x: Tensor, mu: Tensor, scale: Number, half: float, lost: float, low: Tensor, high: Tensor) -> tuple[Tensor, ...]:
    """Return :meth:`GreyLevels.edges` of bins of half-width ``half + lost`` about x, ``low`` and ``high`` of which are open."""
    import torch

    gap, below = two_sum(x, -mu)
    sign = torch.where(low | ~high & (gap < 0), -1.0, 1.0)
    edge, more = two_sum(sign * gap, -half)
    edge, more = two_sum(edge, more + sign * below - lost)
    near = edge / scale
    product, off = two_product(near, scale)
    rest = ((edge - product - off + more) / scale).detach()
    width = (x.new_full((), half) / scale).clamp(max=1e300)
    return sign * gap / scale, width, near, rest.where(rest.abs() <= near.abs(), 0), ~(low | high)


def levels(x: Numbers) -> float | None:
    """Return the fewest levels k/(levels - 1) in [0, 1] that values lie on, up to 256 or of 10, 12 or 16 bits; None for none."""
    some = distinct(x.flatten()[: 1 << 20])
    if some[0] < 0 or some[-1] > 1:
        return None
    most = 0.5 / epsilon(x) if is_floating(x) else math.inf  # beyond, rounding alone is a quarter of a level
    candidates = (Lattice(levels=n) for n in (*range(2, 257), 1024, 4096, 65536) if n <= most)
    few = some[:: max(1, len(some) // 64)]  # which most candidates do not have
    return next((float(each.levels) for each in candidates if all(each.contains(part).all() for part in (few, some))), None)


class Grid(NamedTuple):
    """Evenly spaced values, from ``low`` to ``high``, ``step`` apart."""

    low: float
    high: float
    step: float

    @property
    def levels(self) -> int:
        """How many there are."""
        return round((self.high - self.low) / self.step) + 1

    def __str__(self) -> str:
        return f"{self.levels:,} from {self.low:.6g} to {self.high:.6g}"

    def to_unit(self, values: Numbers) -> Numbers:
        """Return values, or means, with the grid taken to [0, 1]; what lies on it to the nearest level's own float."""
        scaled = (double(values) - self.low) / (self.high - self.low)
        steps = self.levels - 1
        level = (scaled * steps).round() / steps
        near = abs(scaled - level) <= 1e-3 / steps
        return as_type_of(choose(near, level, scaled), values)


def grid(x: Numbers) -> Grid | None:
    """Return the evenly spaced values that data lie on: those of a usual range, [0, 1], [-1, 1], bytes, or from least to most.

    None where there are more than 65,536 of them, the data have fewer than ``FEW``, or there are none.
    Of a usual range all levels are meant,
    whether the data have them or not: 256 of x/255 and x/127.5 - 1; of x/256, 0 to 255/256.
    """
    some = x.flatten()[: 1 << 20]
    if len(distinct(some[:4096])) > 4000:
        return None
    values = double(distinct(some[~absent(some)]))
    if not FEW <= len(values) <= 1 << 16 or not (abs(values) < math.inf).all():
        return None
    least, most = values[0].item(), values[-1].item()
    rounding = 4 * epsilon(x) * max(abs(least), abs(most), most - least)

    def on(low: float, step: float) -> bool:
        places = (values - low) / step
        return bool((abs(places - places.round()) <= rounding / step + 1e-9).all()) and rounding < step / 8

    for low, high in RANGES:
        for count in (255, 256) if low <= least and most <= high and most - least > (high - low) / 2 else ():
            step = (high - low) / count
            if on(low, step) and (count == 255 or bool((((values - low) / step).round() % 2).any())):
                return Grid(low, low + 255 * step, step)
    step = (values[1:] - values[:-1]).min().item()
    count = round((most - least) / step)
    return Grid(least, most, (most - least) / count) if count < 1 << 16 and on(least, (most - least) / count) else None


def elsewhere(likelihood: Likelihood, x: Numbers) -> Grid | None:
    """Return the grid that data lie on where ``likelihood`` is of as many levels in [0, 1], and they are of others; else None."""
    if not isinstance(likelihood.support, Lattice) or 0 in x.shape:
        return None
    if all(likelihood.support.holds(part[~absent(part)]) for part in pieces(x)):
        return None
    on = grid(x)
    return on if on is not None and on.levels == likelihood.support.levels else None


def spacing(x: Tensor) -> float | None:
    """Return the distance between neighbouring levels of 8-bit data: 1 of bytes, 1/255 or 1/256 of them, 2/255 of [-1, 1], ...

    None for other data.
    """
    import torch

    if x.dtype == torch.uint8:
        return 1.0 if x.max() > 1 else None
    if not x.is_floating_point() or len(torch.unique(x.flatten()[:4096])) > 256:
        return None
    if levels(x) == 256:
        return 1 / 255
    on = grid(x)
    return on.step if on is not None and 128 < on.levels <= 256 else None


def bits_per_dimension(nll: float, width: float, discrete: bool) -> float:
    """Return the bits of an element of 8-bit data whose levels are ``width`` apart, from its nll in nats.

    nll/log 2 of a probability; of a density less log2 of the width, so that it is that of a level's bin to first
    order: 7.99435 bits more for x/255, 8 for x/256 (Theis, van den Oord and Bethge, 2016, section 3.1).
    """
    return nll / math.log(2) - (0 if discrete else math.log2(width))
