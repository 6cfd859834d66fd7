"""Counts of which more, or fewer, are zero than a family of counts says: what becomes of its nll and of its moments."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recon_cli.identity.parametric import Number

if TYPE_CHECKING:
    from torch import Generator, Tensor


def inflated(x: Tensor, counted: Tensor, none: Tensor, zeros: Number) -> Tensor:
    """Return -log of zeros + (1 - zeros) p(0) at x = 0, of (1 - zeros) p(x) above.

    ``counted`` is -log p(x), ``none`` -log p(0).
    """
    from recon_cli.numerics.stable import with_derivatives

    less = -(-none).expm1()
    lost = less * (1 - zeros)  # one less the chance of a zero
    rest = (-none).exp() * (1 - zeros)
    chance, small = rest + zeros, lost < 0.5
    value = -(-lost.clamp(max=0.5)).log1p().where(small, chance.log())
    at_zero = with_derivatives(value, (lambda: rest / chance, none), (lambda: -less / chance, zeros))
    return (counted - log_of_rest(zeros)).where(x > 0, at_zero)


def truncated(x: Tensor, mu: Tensor, log_mu: Tensor, counted: Tensor, rest: Tensor) -> tuple[Tensor, Tensor]:
    """Return -log of Poisson's chance of x among counts above 0, and its derivative by mu; nothing at x = 0.

    ``counted`` is Poisson's own nll, or its loss, and ``rest`` the part of it that mu is not in. Where mu is small, the chance
    of a count is about mu, and log mu is taken out.
    """
    small = mu < 1
    near, far = mu.clamp(max=1), mu.clamp(min=1)
    some = near / 2 + sinh_over(near / 2).log1p()  # mu + log((1 - e^-mu)/mu)
    below = some - (x - 1) * log_mu.where(small, 0) + rest
    value = below.where(small, counted + (-(-far).exp()).log1p())
    slope = (0.5 - (x - 1) / near + langevin(near / 2) / 2).where(small, (far - x) / far + 1 / far.expm1())
    return value.where((x > 0) | mu.isnan(), 0), slope.where(x > 0, 0)


def sinh_over(y: Tensor) -> Tensor:
    """Return sinh(y)/y - 1 by its power series, for y up to 1/2."""
    square, series = y * y, y.new_ones(y.shape)
    for product in (156, 110, 72, 42, 20):
        series = 1 + square / product * series
    return square / 6 * series


def langevin(y: Tensor) -> Tensor:
    """Return coth y - 1/y by its continued fraction, for y up to 1/2."""
    below = y.new_full(y.shape, 19.0)
    for odd in range(17, 1, -2):
        below = odd + y * y / below
    return y / below


def log_of_rest(zeros: Number) -> Number:
    """Return log(1 - zeros)."""
    return math.log1p(-zeros) if isinstance(zeros, (int, float)) else (-zeros).log1p()


def mixed_moments(mean: Tensor, square: Tensor, zeros: Number) -> tuple[Tensor, Tensor]:
    """Return mean and variance of counts whose mean and mean square these are, of a share ``zeros`` nothing instead."""
    whole = (1 - zeros) * mean
    return whole, (1 - zeros) * square - whole * whole


def thinned(counts: Tensor, zeros: Number, generator: Generator | None) -> Tensor:
    """Return counts, a share ``zeros`` of them replaced by 0."""
    return counts * (counts.new_ones(counts.shape) * (1 - zeros)).bernoulli(generator=generator)
