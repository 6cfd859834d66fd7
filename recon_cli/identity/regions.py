"""Where a value may lie: an interval of numbers, the circle, and for vectors the sphere and the simplex."""

from __future__ import annotations

import functools
import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from recon_cli.errors import ReconError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, an infinite end always open; of a vector, every component.

    closed
        whether finite ends belong to it.
    whole
        whether only whole numbers do (``Interval(0, 1, whole=True)`` is {0, 1}).
    """

    low: float = -math.inf
    high: float = math.inf
    closed: bool = True
    whole: bool = False

    unit: ClassVar[str] = "values"
    kept: ClassVar[str] = "a thousandth from its ends"
    way_out: ClassVar[str] = "Scale the values, or choose a likelihood for real numbers (gaussian, laplace)."

    def contains(self, value: Any) -> Any:
        """Whether ``value`` lies inside: a bool for a number, a mask for a tensor (an entry for each event)."""
        inside = (value >= self.low) & (value <= self.high) & (abs(value) < math.inf)
        if not self.closed:
            inside = inside & (value > self.low) & (value < self.high)
        return inside & (value % 1 == 0) if self.whole else inside

    def beyond(self, values: Any) -> Any:
        """Where ``values`` are past an end, for each event: there a formula has no meaning. At an open end it has its limit."""
        return (values < self.low) | (values > self.high)

    def holds(self, values: Tensor) -> bool:
        """Whether every value lies inside."""
        if type(self) is not Interval or self.whole or not values.numel():
            return bool(self.contains(values).all())
        ends = values.aminmax()  # NaN if any is
        return bool(self.contains(ends.min) & self.contains(ends.max))

    def keep(self, values: Tensor) -> Tensor:
        """Values moved inside, a thousandth of the width from the ends; of a region with one end (of counts), a thousandth.

        No part of this depends on the values, so that pieces of data are kept as the whole is.
        """
        if self.low == -math.inf and self.high == math.inf:
            return values
        import torch

        width = self.high - self.low
        margin = width * max(1e-3, 4 * torch.finfo(values.dtype).eps) if math.isfinite(width) else 1e-3
        return values.clamp(self.low + margin, self.high - margin)

    def hint(self, values: Tensor) -> str:
        """What to do about ``values`` that are not inside."""
        most = values.max().item()
        if self.whole and self.high != math.inf and COUNT.contains(values).all():
            return f"Counts up to {most:g} take as many trials: binomial:count={most:g}, say."
        if self.whole and self.high != 1:
            return "Counts are whole numbers, not negative: round them, or choose a likelihood for real numbers (gaussian)."
        if self.low == 0 and self.high == math.inf:
            return "Give exp or softplus of the decoder's output, or choose a likelihood for real numbers (gaussian)."
        return self.way_out

    def found(self, values: Tensor, bad: Tensor) -> str:
        """What ``values`` are instead, where some are ``bad``, for an error."""
        first = first_of(bad)
        run = f"they run from {values.min().item():g} to {values.max().item():g}"
        return f"{run}, the first at index {first} is {values[first].item():g}."

    def __str__(self) -> str:
        if self.whole:
            if self.high == 1 and self.low == 0:
                return "{0, 1}"
            return f"the whole numbers from {plain(self.low)} {'up' if self.high == math.inf else f'to {plain(self.high)}'}"
        if self.low == -math.inf and self.high == math.inf:
            return "the real numbers"
        left = "[" if self.closed and self.low > -math.inf else "("
        right = "]" if self.closed and self.high != math.inf else ")"
        return f"{left}{plain(self.low)}, {plain(self.high)}{right}"


@dataclass(frozen=True)
class Lattice(Interval):
    """``levels`` values evenly spread over [0, 1], as 8-bit grey levels are: k/(levels - 1), to a rounding or two."""

    low: float = 0.0
    high: float = 1.0
    levels: float = 256.0

    way_out: ClassVar[str] = "Give the number of levels that the data have, as in levels=17; x/255 has 256."

    def contains(self, value: Any) -> Any:
        inside = Interval.contains(self, value)
        if not value.is_floating_point():
            return inside
        level = value.double() * (self.levels - 1)
        return inside & ((level - level.round()).abs() <= slack(value, 4) * level.clamp(min=1))

    def keep(self, values: Tensor) -> Tensor:
        return values

    def __str__(self) -> str:
        if isinstance(self.levels, (int, float)):
            return f"the {plain(self.levels)} levels 0, 1/{plain(self.levels - 1)}, ..., 1"
        return f"0, 1/({self.levels} - 1), ..., 1"


@dataclass(frozen=True)
class Circle(Interval):
    """Angles in radians, any turn of them; ``low`` and ``high`` are one turn."""

    low: float = -math.pi
    high: float = math.pi

    def contains(self, value: Any) -> Any:
        return abs(value) < math.inf

    def beyond(self, values: Any) -> Any:
        return abs(values) == math.inf

    def keep(self, values: Tensor) -> Tensor:
        return values

    def __str__(self) -> str:
        return "angles in radians"


@dataclass(frozen=True)
class Sphere(Interval):
    """Vectors of length one, along the last axis, of two components at least."""

    low: float = -1.0
    high: float = 1.0

    unit: ClassVar[str] = "vectors"
    kept: ClassVar[str] = "each divided by its length"
    way_out: ClassVar[str] = "Divide each vector by its length."

    def contains(self, value: Any) -> Any:
        return ((value.double().norm(dim=-1) - 1).abs() <= slack(value, 16)) & (value.shape[-1] > 1)

    def beyond(self, values: Any) -> Any:
        """Nowhere: a vector of another length stands for its direction."""
        return values[..., 0] != values[..., 0]

    def hint(self, values: Tensor) -> str:
        """What to do about vectors that are not inside."""
        return self.way_out if values.shape[-1] > 1 else "Give vectors of two components and more along the last axis."

    def keep(self, values: Tensor) -> Tensor:
        """Every vector's direction; the first axis for a zero vector, which has none."""
        size = values.norm(dim=-1, keepdim=True)
        first = values.new_zeros(values.shape[-1])
        first[0] = 1
        return (values / size).where(size > 0, first)

    def found(self, values: Tensor, bad: Tensor) -> str:
        size = values.double().norm(dim=-1)
        first = first_of(bad)
        if values.shape[-1] < 2:
            return "the last axis is the vector, and it has a single component."
        run = f"along the last axis, of {values.shape[-1]} components, their lengths run from {size.min():g} to {size.max():g}"
        return f"{run}, the first at index {first} is {size[first]:.9g} long, off by {abs(size[first] - 1):.3g}."

    def __str__(self) -> str:
        return "vectors of length 1"


@dataclass(frozen=True)
class Simplex(Interval):
    """Shares that add up to one, along the last axis: probabilities of classes; where ``whole``, one class (one-hot)."""

    low: float = 0.0
    high: float = 1.0

    unit: ClassVar[str] = "vectors"
    kept: ClassVar[str] = "none below a thousandth, divided by their sum"
    way_out: ClassVar[str] = "Give a vector for each event: one-hot for the data (or whole-number labels), softmax for the means."

    def contains(self, value: Any) -> Any:
        off = (value.double().sum(dim=-1) - 1).abs()
        return Interval.contains(self, value).all(dim=-1) & (off <= (0 if self.whole else slack(value, 64, 64)))

    def beyond(self, values: Any) -> Any:
        return ~self.contains(values) & ~values.isnan().any(dim=-1)

    def keep(self, values: Tensor) -> Tensor:
        """Every share at least a thousandth, and all divided by their sum."""
        kept = values.clamp(min=1e-3)
        return kept / kept.sum(dim=-1, keepdim=True)

    def found(self, values: Tensor, bad: Tensor) -> str:
        total = values.double().sum(dim=-1)
        first = first_of(bad)
        run = f"along the last axis, of {values.shape[-1]} classes, the first at index {first}"
        return f"{run} runs from {values[first].min():g} to {values[first].max():g} and adds up to {total[first]:.9g}."

    def __str__(self) -> str:
        return "one-hot vectors" if self.whole else "probabilities that add up to 1"


@dataclass(frozen=True)
class Outputs(Interval):
    """What a decoder gives for one element, along the last axis, each number in a region of its own."""

    parts: tuple[tuple[str, Interval], ...] = ()

    unit: ClassVar[str] = "elements"
    way_out: ClassVar[str] = "Give every one of these numbers for each element, along a last axis."

    def contains(self, value: Any) -> Any:
        inside = [region.contains(value[..., i]) for i, (_, region) in enumerate(self.parts)]
        return math.prod(inside[1:], start=inside[0])

    def beyond(self, values: Any) -> Any:
        return functools.reduce(operator.or_, (region.beyond(values[..., i]) for i, (_, region) in enumerate(self.parts)))

    def keep(self, values: Tensor) -> Tensor:
        return values

    def unit_of(self, values: Tensor) -> Tensor:
        """What a derivative by each is multiplied with before it is set beside others: a positive number itself, else 1."""
        import torch

        numbers = [values[..., i] for i in range(len(self.parts))]
        scales = [region.low == 0 for _, region in self.parts]
        return torch.stack([n if scale else torch.ones_like(n) for n, scale in zip(numbers, scales, strict=True)], dim=-1)

    def found(self, values: Tensor, bad: Tensor) -> str:
        first = first_of(bad)
        shown = ", ".join(f"{name} = {values[first][i].item():g}" for i, (name, _) in enumerate(self.parts))
        return f"the first, at index {first}, has {shown}."

    def __str__(self) -> str:
        return ", ".join(f"{name} in {region}" for name, region in self.parts)


REAL = Interval()
POSITIVE = Interval(0, closed=False)
UNIT = Interval(0, 1)
SHARE = Interval(0, 1, closed=False)
BINARY = Interval(0, 1, whole=True)
COUNT = Interval(0, whole=True)
CIRCLE = Circle()
SPHERE = Sphere()
SIMPLEX = Simplex()
ONE_HOT = Simplex(whole=True)


def slack(values: Tensor, roundings: int, least: int = 4) -> float:
    """So many roundings of the dtype, but at least a few of float32; none of whole numbers.

    Data in float64 have mostly been float32 before, and are then no nearer to a level or to length one.
    """
    import torch

    return max(roundings * torch.finfo(values.dtype).eps, least * 2.0**-23) if values.is_floating_point() else 0.0


def check(values: Tensor, allowed: Interval, what: str, rule: str) -> None:
    """Raise ReconError unless every value is ``allowed``, saying how many are not and where the first is."""
    if not allowed.holds(values):
        bad = ~allowed.contains(values)
        raise ReconError(
            f"{int(bad.sum()):,} of {bad.numel():,} {allowed.unit} of {what} are outside what {rule}, {allowed}: "
            f"{allowed.found(values, bad)}",
            allowed.hint(values),
        )


def inside(mu: Tensor, domain: Interval) -> tuple[Tensor, int]:
    """Means moved inside a bounded domain, and how many numbers moved."""
    kept = domain.keep(mu)
    return kept, int((kept != mu).sum())


def first_of(bad: Tensor) -> tuple[int, ...]:
    """The index of the first true entry."""
    return tuple(bad.nonzero()[0].tolist())


def plain(value: object) -> str:
    """A number as people write it, or a symbol by its name."""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
