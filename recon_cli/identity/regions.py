"""Where a value may lie: an interval of numbers, the circle, and for vectors the sphere, the simplex and counts."""

from __future__ import annotations

import functools
import itertools
import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple, overload

from recon_cli.errors import ReconError
from recon_cli.identity.alike import double, epsilon, is_floating, least, most
from recon_cli.identity.some import all_whole, by_pieces, pieces

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Region(ABC):
    """Where the numbers of an event may lie: every one of them, or component of a vector, from ``low`` to ``high``.

    whole
        whether only whole numbers do.
    axes
        how many axes at the end are one event.
    unit
        what an event is called.
    inset
        where ``keep`` puts what lies outside.
    way_out
        what to do about values that lie outside.
    """

    low: float = -math.inf
    high: float = math.inf
    whole: bool = False

    axes: ClassVar[int] = 0
    unit: ClassVar[str] = "values"
    inset: ClassVar[str] = "0.001 from its ends"
    way_out: ClassVar[str] = "Scale the values, or choose a likelihood for real numbers (gaussian, laplace)."

    @abstractmethod
    def contains(self, values: Tensor) -> Tensor:
        """Return whether each event lies inside, as a mask; of an array of numpy's too, without torch."""

    def beyond(self, values: Tensor) -> Tensor:
        """Return where events are past an end: there a formula has no meaning. At an open end it has its limit."""
        return (values < self.low) | (values > self.high)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        """Return what ``values`` are instead, for an error; ``outside`` is a mask of the events that lie outside."""
        first = first_of(outside)
        return run_of(values.min().item(), values.max().item(), first, values[first].item())

    def holds(self, values: Tensor) -> bool:
        """Return whether every event lies inside; of an array of numpy's too."""
        parts = pieces(values) if values.ndim > self.axes else [values]
        return all(bool(self.contains(part).all()) for part in parts)

    def keep(self, values: Tensor) -> Tensor:
        """Return the values moved inside; as they are, where a region has no inside to move them to."""
        return values

    def hint(self, values: Tensor) -> str:
        """Return what to do about ``values`` that are not inside."""
        largest = values.max().item()
        if self.whole and self.high != math.inf and COUNT.holds(values):
            trials = f"Up to {largest:g} take as many trials, binomial:count={largest:g}"
            return f"{trials}, or one level more, ordinal:levels={largest + 1:g}."
        if self.whole and self.high != 1:
            return "Counts are whole numbers, not negative: round them, or choose a likelihood for real numbers (gaussian)."
        if self.low == 0 and self.high == math.inf:
            return (
                "Of means, give exp or softplus of the decoder's output; of data, recon data says which likelihoods allow them."
            )
        return self.way_out


@dataclass(frozen=True)
class Interval(Region):
    """From ``low`` to ``high``, an infinite end always open; ``Interval(0, 1, whole=True)`` is {0, 1}.

    closed
        whether finite ends belong to it.
    """

    closed: bool = True

    @overload
    def contains(self, values: float) -> bool: ...

    @overload
    def contains(self, values: Tensor) -> Tensor: ...

    def contains(self, values: float | Tensor) -> bool | Tensor:
        return _between(self, values) if self.closed else (values > self.low) & (values < self.high)

    def holds(self, values: Tensor) -> bool:
        if not hasattr(values, "numel") or not values.numel():  # of numpy's, or none
            return super().holds(values)
        ends = self.contains(values.amin()) & self.contains(values.amax())  # NaN if any is; both at once take longer
        return bool(ends) and (not self.whole or all_whole(values))

    def keep(self, values: Tensor) -> Tensor:
        """Return the values moved inside, a thousandth of the width from the ends; a thousandth from a single end.

        No part of this depends on the values, so that pieces of data are kept as the whole is.
        """
        if self.low == -math.inf and self.high == math.inf:
            return values
        import torch

        width = self.high - self.low
        margin = width * max(1e-3, 4 * torch.finfo(values.dtype).eps) if math.isfinite(width) else 1e-3
        return values.clamp(self.low + margin, self.high - margin)

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Both ends, where they are finite and open: between them lies what a logit is of, stretched; None of any other."""
        finite = math.isfinite(self.low) and math.isfinite(self.high)
        return (self.low, self.high) if finite and not self.closed and not self.whole else None

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
class Lattice(Region):
    """``levels`` values evenly spread over [0, 1], as 8-bit grey levels are: k/(levels - 1), to a rounding or two."""

    low: float = 0.0
    high: float = 1.0
    levels: float = 256.0

    way_out: ClassVar[str] = "Give the number of levels that the data have, as in levels=17; x/255 has 256."

    def contains(self, values: Tensor) -> Tensor:
        inside = _between(self, values)
        if not is_floating(values):
            return inside
        level = double(values) * (self.levels - 1)
        near: Tensor = abs(level - level.round()) <= slack(values, 4) * level.clip(min=1)
        return inside & near

    def __str__(self) -> str:
        if isinstance(self.levels, (int, float)):
            return f"the {plain(self.levels)} levels 0, 1/{plain(self.levels - 1)}, ..., 1"
        return f"0, 1/({self.levels} - 1), ..., 1"


@dataclass(frozen=True)
class Circle(Region):
    """Angles in radians, any turn of them; ``low`` and ``high`` are one turn."""

    low: float = -math.pi
    high: float = math.pi

    def contains(self, values: Tensor) -> Tensor:
        return abs(values) < math.inf

    def beyond(self, values: Tensor) -> Tensor:
        return abs(values) == math.inf

    def __str__(self) -> str:
        return "angles in radians"


@dataclass(frozen=True)
class Sphere(Region):
    """Vectors of length one, along the last axis, of two components at least."""

    low: float = -1.0
    high: float = 1.0

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "vectors"
    inset: ClassVar[str] = "each divided by its length"
    way_out: ClassVar[str] = "Divide each vector by its length."

    def contains(self, values: Tensor) -> Tensor:
        size: Tensor = (double(values) ** 2).sum(-1) ** 0.5
        return (abs(size - 1) <= slack(values, 16)) & (values.shape[-1] > 1)

    def beyond(self, values: Tensor) -> Tensor:
        """Return false throughout: a vector of another length stands for its direction."""
        return values[..., 0] != values[..., 0]

    def hint(self, values: Tensor) -> str:
        return self.way_out if values.shape[-1] > 1 else "Give vectors of two components and more along the last axis."

    def keep(self, values: Tensor) -> Tensor:
        """Return every vector's direction; the first axis for a zero vector, which has none."""
        size: Tensor = values.norm(dim=-1, keepdim=True)
        first = values.new_zeros(values.shape[-1])
        first[0] = 1
        return (values / size).where(size > 0, first)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        import torch

        size = by_pieces(lambda part: part.double().norm(dim=-1), values, 1, torch.float64)
        first = first_of(outside)
        if values.shape[-1] < 2:
            return "the last axis is the vector, and it has a single component."
        run = f"along the last axis, of {values.shape[-1]} components, their lengths run from {size.min():g} to {size.max():g}"
        return f"{run}, the first at index {first} is {size[first]:.9g} long, off by {abs(size[first] - 1):.3g}."

    def __str__(self) -> str:
        return "vectors of length 1"


@dataclass(frozen=True)
class Simplex(Region):
    """Shares that add up to one, along the last axis: probabilities of classes; where ``whole``, one class (one-hot)."""

    low: float = 0.0
    high: float = 1.0

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "vectors"
    inset: ClassVar[str] = "none below a thousandth, divided by their sum"
    way_out: ClassVar[str] = "Give a vector for each event: one-hot for the data (or whole-number labels), softmax for the means."

    def contains(self, values: Tensor) -> Tensor:
        off: Tensor = abs(double(values).sum(-1) - 1)
        return _all_between(self, values) & (off <= (0 if self.whole else slack(values, 64, 64)))

    def holds(self, values: Tensor) -> bool:
        """Return whether every event lies inside: all numbers looked at together, and then the sums of each vector."""
        if not hasattr(values, "numel") or not values.numel():  # of numpy's, or none
            return super().holds(values)
        if not (BINARY if self.whole else UNIT).holds(values):
            return False
        parts = pieces(values) if values.ndim > self.axes else [values]
        off = max(float(double(part).sum(-1).sub_(1).abs_().max()) for part in parts)
        return off <= (0 if self.whole else slack(values, 64, 64))

    def beyond(self, values: Tensor) -> Tensor:
        return ~self.contains(values) & ~values.isnan().any(dim=-1)

    def keep(self, values: Tensor) -> Tensor:
        """Return every share, a thousandth at least, divided by their sum."""
        shares = values.clamp(min=1e-3)
        return shares / shares.sum(dim=-1, keepdim=True)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        first = first_of(outside)
        run, vector = f"along the last axis, of {values.shape[-1]} classes, the first at index {first}", values[first]
        return f"{run} runs from {vector.min():g} to {vector.max():g} and adds up to {vector.double().sum():.9g}."

    def __str__(self) -> str:
        return "one-hot vectors" if self.whole else "probabilities that add up to 1"


@dataclass(frozen=True)
class CountVector(Region):
    """How often each of several kinds was counted: whole numbers, not negative, along the last axis, of any total."""

    low: float = 0.0
    whole: bool = True

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "vectors"
    way_out: ClassVar[str] = "Give whole numbers, not negative: weighted counts, as of tf-idf, are no counts."

    def contains(self, values: Tensor) -> Tensor:
        return _all_between(self, values)

    def holds(self, values: Tensor) -> bool:
        """Return whether every event lies inside: all numbers looked at together."""
        return COUNT.holds(values) if values.shape[-1] else super().holds(values)

    def hint(self, values: Tensor) -> str:
        del values
        return self.way_out

    def fault(self, values: Tensor, outside: Tensor) -> str:
        first = first_of(outside)
        run = f"along the last axis, of {values.shape[-1]} kinds, the first at index {first}"
        return f"{run} runs from {values[first].min():g} to {values[first].max():g} and adds up to {values[first].sum():g}."

    def __str__(self) -> str:
        return "vectors of counts"


@dataclass(frozen=True)
class Outputs(Region):
    """What a decoder gives for one element, along the last axis, each number in a region of its own."""

    parts: tuple[tuple[str, Region], ...] = ()

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "elements"
    way_out: ClassVar[str] = "Give every one of these numbers for each element, along a last axis."

    def contains(self, values: Tensor) -> Tensor:
        return functools.reduce(operator.and_, (region.contains(values[..., i]) for i, (_, region) in enumerate(self.parts)))

    def beyond(self, values: Tensor) -> Tensor:
        return functools.reduce(operator.or_, (region.beyond(values[..., i]) for i, (_, region) in enumerate(self.parts)))

    def unit_of(self, values: Tensor) -> Tensor:
        """Return what the derivative by each number is scaled by, to be comparable: a positive number itself, else 1."""
        import torch

        numbers = [values[..., i] for i in range(len(self.parts))]
        scales = [region.low == 0 for _, region in self.parts]
        return torch.stack([n if scale else torch.ones_like(n) for n, scale in zip(numbers, scales, strict=True)], dim=-1)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        first = first_of(outside)
        numbers = [f"{name} = {values[first][i].item():g}" for i, (name, region) in enumerate(self.parts)
                   if len(self.parts) <= MANY or not bool(region.contains(values[first][i]))]  # fmt: skip
        return f"the first, at index {first}, has {', '.join(numbers)}."

    def __str__(self) -> str:
        groups = [(region, [name for name, _ in parts]) for region, parts in itertools.groupby(self.parts, lambda part: part[1])]
        return ", ".join(f"{listed(names)} in {region}" for region, names in groups)


MANY = 3  # names, of which more are not all written


def listed(names: Sequence[str]) -> str:
    """Return names side by side, for a sentence: all of a few; of many the first and the last."""
    if len(names) > MANY:
        return f"{names[0]}, ..., {names[-1]}"
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))


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
COUNT_VECTORS = CountVector()


@overload
def _between(region: Region, values: float) -> bool: ...


@overload
def _between(region: Region, values: Tensor) -> Tensor: ...


def _between(region: Region, values: float | Tensor) -> bool | Tensor:
    """Return whether each number lies between the ends of ``region``, is finite and, in a region of whole numbers, whole."""
    above = values > region.low if region.low == -math.inf else values >= region.low
    inside = above & (values < region.high if region.high == math.inf else values <= region.high)
    if not region.whole:
        return inside
    return inside & (values % 1 == 0 if isinstance(values, (int, float)) else values.round() == values)


def _all_between(region: Region, vectors: Tensor) -> Tensor:
    """Return whether that holds for every number of each vector: by the least and the largest, and the furthest from whole."""
    if not vectors.shape[-1]:
        return _between(region, vectors).all(-1)
    inside: Tensor = (least(vectors) >= region.low) & (most(vectors) <= region.high) & (most(vectors) < math.inf)
    return inside & (most(abs(vectors.round() - vectors)) == 0) if region.whole else inside


def slack(values: Tensor, roundings: int, least: int = 4) -> float:
    """Return the size of so many roundings of the dtype, but at least of a few of float32; none of whole numbers.

    Data in float64 have mostly been float32 before, and are then no nearer to a level or to length one.
    """
    return max(roundings * epsilon(values), least * 2.0**-23) if is_floating(values) else 0.0


class Violation(NamedTuple):
    """How many of all events lie outside a region, where the first is and what to do about it, in words."""

    outside: int
    events: int
    fault: str
    hint: str


def violation(values: Tensor, allowed: Region) -> Violation | None:
    """Return what of the values lies outside a region; None where nothing does."""
    if allowed.holds(values):
        return None
    import torch

    outside = by_pieces(lambda part: ~allowed.contains(part), values, allowed.axes, torch.bool)
    return Violation(int(outside.count_nonzero()), outside.numel(), allowed.fault(values, outside), allowed.hint(values))


def run_of(low: float, high: float, first: tuple[int, ...], value: float) -> str:
    """Return in words what values are that lie outside, for an error."""
    return f"they run from {low:g} to {high:g}, the first at index {first} is {value:g}."


def check(values: Tensor, allowed: Region, what: str, rule: str, look: Callable[..., Violation | None] = violation) -> None:
    """Raise ReconError unless every value is ``allowed``, saying how many are not and where the first is.

    ``look`` finds that out, where the same is asked of the same values again.
    """
    if (wrong := look(values, allowed)) is not None:
        raise ReconError(
            f"{wrong.outside:,} of {wrong.events:,} {allowed.unit} of {what} are outside what {rule}, {allowed}: {wrong.fault}",
            wrong.hint,
        )


def inside(mu: Tensor, domain: Region) -> tuple[Tensor, int]:
    """Return means moved inside a bounded domain, and how many numbers moved."""
    moved = domain.keep(mu)
    return moved, 0 if moved is mu else sum(int((a != b).count_nonzero()) for a, b in zip(pieces(moved), pieces(mu), strict=True))


def first_of(mask: Tensor) -> tuple[int, ...]:
    """Return the index of the first true entry."""
    place, index = int(mask.flatten().byte().argmax()), list[int]()
    for size in reversed(mask.shape):
        place, index = place // size, [place % size, *index]
    return tuple(index)


def plain(value: object) -> str:
    """Return a number as people write it, or a symbol by its name."""
    return f"{value:g}" if isinstance(value, (int, float)) else str(value)
