"""Sums and products without a rounding error: what was rounded, and what the rounding lost."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from torch import Tensor


T = TypeVar("T", float, "Tensor")


def two_sum(a: T, b: T | float) -> tuple[T, T]:
    """Return a + b, and what rounding it lost: Knuth (1969)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def two_product(a: T, b: T | float) -> tuple[T, T]:
    """Return a b, and what rounding it lost: Dekker (1971), each number as the sum of two of half its digits."""
    (high, low), (top, rest) = halves(a), halves(b)
    product = a * b
    return product, ((high * top - product) + high * rest + low * top) + low * rest


def halves(number: Any) -> tuple[Any, Any]:
    """Return a number as the sum of two, of at most half its digits each: a float or a tensor, in float64 or float32."""
    size = number.element_size() if hasattr(number, "element_size") else 8
    wide = number * (2.0 ** (27 if size == 8 else 12) + 1)
    high = wide - (wide - number)
    return high, number - high


class Total(float):
    """A sum of floats that remembers what rounding lost of it: the same in any order, to the last bit or nearly always.

    Not math.fsum, which takes all terms at once: this one is added to as chunks come, from processes and devices too.

    >>> float(sum([Total(1e16), 1.0, -1e16]))
    1.0
    """

    rest: float

    def __new__(cls, value: float = 0.0, rest: float = 0.0) -> Total:
        total = super().__new__(cls, value)
        total.rest = rest
        return total

    def __reduce__(self) -> tuple[type[Total], tuple[float, float]]:
        return Total, (float(self), self.rest)

    def __add__(self, other: float) -> Total:
        if not other and not getattr(other, "rest", 0.0):
            return self
        total, lost = two_sum(float(self), float(other))
        if not math.isfinite(total):
            return Total(total)
        return Total(*two_sum(total, lost + self.rest + getattr(other, "rest", 0.0)))

    __radd__ = __add__
