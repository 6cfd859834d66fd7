"""Whether two functions of the mean are one but for a factor and what does not depend on it: measured, where data lie."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from torch import Tensor

    Function = Callable[[Tensor, Tensor], Tensor]

ROUNDINGS = 64.0  # gradients are proportional if they are off by fewer of them than this
SOME = 1 << 16  # events, about, whose means are moved
WAYS = (0.9, 0.61, 0.37, 0.13, 0.02)  # how far of the way from the data


@dataclass(frozen=True)
class Proportion:
    """``left = slope * right + what does not depend on the mean``; ``worst`` is by how many roundings of the terms it is off."""

    slope: float
    worst: float


def proportion(left: Function, right: Function, likelihood: Likelihood, x: Tensor, mu: Tensor) -> Proportion | None:
    """Return the slope of one function of data and means against another, where they are proportional; else None.

    Both gradients by the mean are set side by side in float64: at every mean that is given, to find the slope, and
    where the means of some are moved towards their data: two functions may be alike at a point, or at residuals of
    one size, and not be one. So it is told of the data at hand, and of all errors up to theirs.
    """
    import torch

    eps = torch.finfo(x.dtype if x.dtype.itemsize >= 4 else torch.float32).eps
    x, mu = (values.detach().reshape(-1, *values.shape[values.ndim - likelihood.event :]) for values in (x, mu))
    x, mu = wide(x), wide(mu)
    mine, theirs = slopes(left, x, mu), slopes(right, x, mu)
    slope = ((mine * theirs).sum() / theirs.square().sum()).item()
    if not 0 < slope < math.inf or not even(mine, theirs, slope, eps):
        return None
    every = -(-len(x) // SOME)
    few, means = x[::every], mu[::every]
    rest = left(few, means) - slope * right(few, means)
    worst = 0.0
    for way in WAYS:
        near = few + way * (means - few)
        near = likelihood.domain.keep(near) if likelihood.event else near
        if not even(slopes(left, few, near), slopes(right, few, near), slope, eps):
            return None
        one, other = left(few, near), slope * right(few, near)
        size = one.abs() + other.abs() + rest.abs()
        worst = max(worst, ((one - other - rest).abs() / size.clamp(min=torch.finfo(size.dtype).tiny)).max().item() / eps)
    return Proportion(slope, worst)


def of_loss(loss: Loss) -> Function:
    """Return a loss as a function of data and mean, whatever it takes."""
    return lambda x, mu: loss(x, loss.link.forward(mu))


def slopes(function: Function, x: Tensor, mu: Tensor) -> Tensor:
    """Return the derivative by each mean."""
    import torch

    with torch.enable_grad():
        point = mu.detach().requires_grad_()
        return torch.autograd.grad(function(x, point).sum(), point)[0]


def even(mine: Tensor, theirs: Tensor, slope: float, eps: float) -> bool:
    """Return whether derivatives are ``slope`` times others, to what rounding takes, and finite."""
    off = (mine - slope * theirs).abs()
    lost = 2.0**-52 * mine.square().mean().sqrt()  # where they are small differences of large terms
    return bool((off <= ROUNDINGS * (eps * mine.abs() + lost)).all())
