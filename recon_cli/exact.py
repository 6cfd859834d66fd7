"""Sums and products without a rounding error: what was rounded, and what the rounding lost."""

from __future__ import annotations

from typing import Any


def two_sum(a: Any, b: Any) -> tuple[Any, Any]:
    """a + b, and what rounding it lost: Knuth (1969)."""
    total = a + b
    other = total - a
    return total, (a - (total - other)) + (b - other)


def two_product(a: Any, b: Any) -> tuple[Any, Any]:
    """a b, and what rounding it lost: Dekker (1971), each number as the sum of two of half its digits."""
    (high, low), (top, rest) = halves(a), halves(b)
    product = a * b
    return product, ((high * top - product) + high * rest + low * top) + low * rest


def halves(number: Any) -> tuple[Any, Any]:
    """A number as the sum of two, of at most half its digits each: a float or a tensor, in float64 or float32."""
    size = number.element_size() if hasattr(number, "element_size") else 8
    wide = number * (2.0 ** (27 if size == 8 else 12) + 1)
    high = wide - (wide - number)
    return high, number - high
