"""Formulas whose gradient loses digits on the way through the chain rule, each with the one that keeps them."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor


class WithGradient(torch.autograd.Function):
    """``value``, whose derivative by ``point`` is ``slope``: both given. See :func:`given`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, slope: Tensor, point: Tensor) -> Tensor:
        """The value as it is."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the slope."""
        ctx.save_for_backward(inputs[1])
        ctx.shape = inputs[2].shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        """Times the slope."""
        (slope,) = ctx.saved_tensors
        moved = (grad.unsqueeze(-1) if slope.ndim > grad.ndim else grad) * slope
        return None, None, moved.sum_to_size(ctx.shape)


def given(value: Tensor, *slopes: tuple[Tensor, Any]) -> Tensor:
    """``value``, held, with these derivatives: pairs of a slope and the point that it is the derivative by.

    A point has the shape of the value, or an axis more (a vector for each value), or none (one noise for
    all; where that is a plain number there is nothing to differentiate). A slope may depend on its point
    through autograd, and then there are second derivatives too.
    """
    found = value = value.detach()
    for i, (slope, point) in enumerate(slopes):
        if isinstance(point, Tensor):
            part = WithGradient.apply(value if i == 0 else torch.zeros_like(value), slope, point)
            found = part if i == 0 else found + part
    return found


def power(base: Tensor, exponent: Any) -> Tensor:
    """base^exponent for base >= 0, its derivative exponent * base^exponent/base: exponent - 1 is never rounded."""
    value = base**exponent
    if not isinstance(exponent, (int, float)) or exponent == 1:
        return value
    at_zero = 0.0 if exponent > 1 else torch.inf
    slope = (exponent * value / base).where(base > 0, at_zero)
    return given(value, (slope, base))


def difference(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a - b as rounded, and what the rounding lost (held; 0 where that is not finite): Knuth's two-sum."""
    found = a - b
    moved = found - a
    lost = ((a - (found - moved)) - (b + moved)).detach()
    return found, lost.where(lost.isfinite(), 0)


def deviance(k: Tensor, mu: Tensor) -> Tensor:
    """k log(k/mu) + mu - k for k, mu > 0, without cancelling where they are near: Loader (2000), bd0.

    With v = (k - mu)/(k + mu) it is (k - mu) v + 2 k v (v^2/3 + v^4/5 + ...), to v^36 for |v| < 1/3.
    """
    v = (k - mu) / (k + mu)
    near = v.abs() < 1 / 3
    square = v.where(near, 0).square()
    series = square.new_zeros(square.shape)
    for n in range(18, 0, -1):
        series = square * (1 / (2 * n + 1) + series)
    return ((k - mu) * v + 2 * k * v * series).where(near, k * (k / mu).log() + (mu - k))


def stirling_error(k: Tensor) -> Tensor:
    """log k! - (k + 1/2) log k + k - log(2 pi)/2 for whole k >= 1: Loader (2000).

    From the factorial up to 15, by the series 1/(12k) - 1/(360k^3) + 1/(1260k^5) - ... above.
    """
    small = [0.0] + [
        math.log(math.factorial(n) * math.exp(n) / (math.sqrt(2 * math.pi * n) * float(n) ** n)) for n in range(1, 16)
    ]
    table = torch.tensor(small, dtype=k.dtype, device=k.device)
    inverse = 1 / k.clamp(min=15)
    square = inverse * inverse
    series = inverse * (1 / 12 - square * (1 / 360 - square * (1 / 1260 - square * (1 / 1680 - square / 1188))))
    return table[k.clamp(0, 15).long()].where(k <= 15, series)
