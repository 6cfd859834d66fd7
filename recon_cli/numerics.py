"""Formulas whose gradient loses digits on the way through the chain rule, each with the one that keeps them."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


class WithGradient(torch.autograd.Function):
    """``value``, whose derivative by ``point`` is ``slope``: both given, elementwise.

    ``slope`` may depend on ``point`` through autograd, and then there are second derivatives too.
    """

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, slope: Tensor, point: Tensor) -> Tensor:
        """The value as it is."""
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the slope."""
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        """Times the slope."""
        (slope,) = ctx.saved_tensors
        return None, None, grad * slope


def power(base: Tensor, exponent: Any) -> Tensor:
    """base^exponent for base >= 0, its derivative exponent * base^exponent/base: exponent - 1 is never rounded."""
    value = base**exponent
    if not isinstance(exponent, (int, float)) or exponent == 1:
        return value
    at_zero = 0.0 if exponent > 1 else torch.inf
    slope = (exponent * value / base).where(base > 0, at_zero)
    return WithGradient.apply(value.detach(), slope, base)
