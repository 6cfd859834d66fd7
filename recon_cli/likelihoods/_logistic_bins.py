"""Logistic noise, rounded: -log of the chance of a bin, from where its edges are as :meth:`GreyLevels.edges` says them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def logistic_bin(distance: Tensor, width: Tensor, near: Tensor, rest: Tensor, closed: Tensor) -> Tensor:
    """Return softplus(near) + softplus(-far) - log(1 - e^(near - far)), the edges as seen from mu: no term is negative."""
    from recon_cli.numerics.stable import with_derivatives

    outside, twice = near > 0, 2 * distance.where(closed, 0)
    fade = (-near.where(outside, -near)).exp() * (1 + (-rest).where(outside, rest))  # e^-|near|
    fall = (fade * (-(2 * width).where(outside, twice)).exp()).where(closed, 0)  # e^-far
    whole = near.clamp(min=0) + fade.log1p() + fall.log1p() - log_complement(2 * width).where(closed, 0)

    def reach() -> Tensor:
        return (1 / (1 + fade)).where(outside, fade / (1 + fade))

    def pull() -> Tensor:
        return fall / (1 + fall) - 2 * (-2 * width).exp() / (-2 * width).expm1()

    by_distance = (lambda: reach() / (1 + fall) * (-(-twice).expm1()).where(closed, 1)), distance
    return with_derivatives(whole, by_distance, (lambda: -reach() - pull().where(closed, 0), width))


def logistic_bin_by_sigmoids(distance: Tensor, width: Tensor, near: Tensor, rest: Tensor, closed: Tensor) -> Tensor:
    """Return the same by another way: sigmoid(a) sigmoid(-b) (1 - e^(b - a)), of edges a and b."""
    from torch.nn.functional import logsigmoid

    far = (2 * distance - near).where(closed & (distance < math.inf), math.inf)
    moved = rest * (near.sigmoid() + (-far).sigmoid())
    return moved - logsigmoid(-near) - logsigmoid(far) - log_complement(2 * width).where(closed, 0)


def log_complement(t: Tensor) -> Tensor:
    """Return log(1 - e^-t) for t > 0."""
    small = t < 0.7
    near, far = t.clamp(max=0.7), t.clamp(min=0.7)
    return (-(-near).expm1()).log().where(small, (-(-far).exp()).log1p())
