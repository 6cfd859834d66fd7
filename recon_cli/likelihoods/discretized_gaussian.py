"""Gaussian noise, rounded to grey levels: the last step of a diffusion model, a likelihood of pictures as they are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from numpy.polynomial.legendre import leggauss

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import computed
from recon_cli.likelihoods._grey_levels import HIGH, LOW, A, B, GreyLevels, H
from recon_cli.numerics.compensated import two_product

if TYPE_CHECKING:
    from torch import Generator, Tensor

# The distribution function from the side where it is small.
BELOW, ABOVE = f"erfc((mu - x - {H})/(sqrt(2)*scale))", f"erfc((x - {H} - mu)/(sqrt(2)*scale))"
UNDER, OVER = f"erfc((mu - x + {H})/(sqrt(2)*scale))", f"erfc((x + {H} - mu)/(sqrt(2)*scale))"
DENSITY = f"Piecewise(({BELOW}/2, {LOW}), ({ABOVE}/2, {HIGH}), (({ABOVE} - {OVER})/2, x > mu), (({BELOW} - {UNDER})/2, True))"
PLACES, WEIGHTS = (list(map(float, part[4:])) for part in leggauss(8))  # of eight points on [-1, 1], the positive ones


@dataclass(frozen=True)
class DiscretizedGaussianLoss(GreyLevels, Loss):
    """-log(F(a) - F(b)), a and b the edges of x's bin, from mu, in units of scale; F the normal cdf, the end bins open."""

    name = "discretized-gaussian"
    aliases = ("discretised-gaussian",)
    formula = f"-log({DENSITY})"
    torch = "-log(ndtr(a) - ndtr(b))"
    condition = "a and b the edges of x's bin, less mu, over scale"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Over a narrow bin by eight points of the density, over others as the nll: a difference of cdfs has no digits."""
        distance, width, near, rest, closed = self.edges(x, prediction)
        reach, narrow, c, w = within(distance, width, closed)
        points = zip(PLACES, WEIGHTS, strict=True)
        mean = sum(weight * (c * w * at).cosh() * (-(w * at).square() / 2).exp() for at, weight in points)
        middle = c * (c / 2) - (math.sqrt(2 / math.pi) * w * mean).log()
        return middle.where(narrow, beyond(reach, width, near, rest, closed, narrow)[0])


@dataclass(frozen=True)
class DiscretizedGaussian(GreyLevels, Likelihood):
    """-log p(x | mu) = -log(F((x + h - mu)/scale) - F((x - h - mu)/scale)), F the normal cdf, h = 1/(2 (levels - 1)).

    x in [0, 1] is one of the ``levels`` values k/(levels - 1); the lowest stands for all that is less too and the
    highest for all that is more, so the probabilities add up to one. mu is real, scale (the standard deviation) in
    units of x: Ho and others (2020, DDPM), equation 13, where x runs from -1 to 1 and scale is twice this one.

    >>> DiscretizedGaussian(scale=0.1).nll(0.2, 0.25)
    tensor(4.2827, dtype=torch.float64)
    """

    aliases = ("discretised-gaussian",)
    loss = computed(lambda self: DiscretizedGaussianLoss(self.scale, self.levels))
    density = DENSITY
    calls = (
        "-torch.log((distributions.Normal(mu, scale).cdf(x + 0.5/(levels - 1)).where(x < 1, 1)"
        " - distributions.Normal(mu, scale).cdf(x - 0.5/(levels - 1)).where(x > 0, 0)).clamp(min=1e-12))",
        f"-torch.log(0.5*(torch.erf({A}/2**0.5) - torch.erf({B}/2**0.5)))",
        f"-torch.log((0.5*(torch.tanh((2/torch.pi)**0.5*({A} + 0.044715*({A})**3)).where(x < 1, 1)"
        f" - torch.tanh((2/torch.pi)**0.5*({B} + 0.044715*({B})**3)).where(x > 0, -1))).clamp(min=1e-12))",
        f"-special.xlogy(1, (x >= 1) + (x < 1)*stats.norm.cdf({A}) - (x > 0)*stats.norm.cdf({B}))",
    )
    source = "Ho and others 2020 (DDPM), equation 13"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        """Over a narrow bin by the density at x, over others by its tails: no difference of near numbers."""
        from recon_cli.numerics.stable import with_derivatives

        distance, width, near, rest, closed = self.edges(x, mu)
        reach, narrow, c, w = within(distance, width, closed)
        mean = over_bin(c, w)
        middle = c * (c / 2) - (math.sqrt(2 / math.pi) * w * mean).log()
        tail, edge, fall = beyond(reach, width, near, rest, closed, narrow)

        def by_distance() -> Tensor:
            level = c * sinhc(c * w) * ((-w * w / 2).exp() / mean)
            return level.where(narrow, edge * (-(-2 * reach * width).expm1()).where(closed, 1))

        def by_width() -> Tensor:
            return -((c * w).cosh() * ((-w * w / 2).exp() / mean) / w).where(narrow, edge * (1 + fall))

        return with_derivatives(middle.where(narrow, tail), (by_distance, distance), (by_width, width))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from a Gaussian, and round."""
        return self.rounded(mu + self.scale * mu.new_empty(mu.shape).normal_(generator=generator))


def within(distance: Tensor, width: Tensor, closed: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return the distance from a closed bin; if it is narrow, w <= 1/2 and c w <= 1; and then distance c and half-width w."""
    reach = distance.where(closed, 0)
    narrow = closed & (width <= 0.5) & (reach * width <= 1)
    return reach, narrow, reach.where(narrow, 0), width.where(narrow, 0.25)


def over_bin(c: Tensor, w: Tensor) -> Tensor:
    """Return the density's mean over a narrow bin, in units of that at its middle.

    It is the sum of w^n He_n(c)/(n + 1)! over even n, in Hermite's polynomials; here to n = 20.
    """
    import torch

    turn, square = c * w, w * w
    one = torch.ones_like(turn)
    before, now, mean = one, turn, one
    for n in range(2, 21):
        before, now = now, (turn * now - square * before) / n
        mean = mean + now / (n + 1) if n % 2 == 0 else mean
    return mean


def sinhc(turn: Tensor) -> Tensor:
    """Return sinh(t)/t of t up to 1."""
    import torch

    value, square = torch.ones_like(turn), turn * turn
    for n in range(18, 0, -2):
        value = 1 + square / (n * (n + 1)) * value
    return value


def beyond(reach: Tensor, width: Tensor, near: Tensor, rest: Tensor, closed: Tensor, narrow: Tensor) -> tuple[Tensor, ...]:
    """-log p of a bin that is not narrow; the density at its near edge over p; and that at its far edge over that at its near."""
    outside = near > 0
    size, more = near.where(outside, -near).clamp(max=1e300), rest.where(outside, -rest)
    square, lost = two_product(size, size / 2)
    lost = (lost + size * more).detach()
    lost = lost.where(lost.abs() <= square, 0)
    fade, upper = (-square).exp() * (1 - lost), upper_tail(size)
    missed = (fade * upper).where(~outside, 0)
    edge = (1 / upper).where(outside, fade / (1 - missed))
    fall = (-2 * reach * width).exp().where(closed, 0)
    share = (fall * upper_tail(reach + width) * edge).where(~narrow, 0)  # of what lies beyond the near edge, beyond the far one
    whole = (square + lost - upper.log()).where(outside, -(-missed).log1p()) - (-share).log1p()
    return whole, edge / (1 - share) / math.sqrt(2 * math.pi), fall


def upper_tail(z: Tensor) -> Tensor:
    """e^(z^2/2) (1 - F(z)) for z >= 0. Its derivative is z times it less 1/sqrt(2 pi), a series where they cancel."""
    import torch

    from recon_cli.numerics.stable import with_derivatives

    y, square, top = z / math.sqrt(2), z.clamp(min=150).square(), 1 / math.sqrt(2 * math.pi)
    small = y.clamp(max=1)
    value = ((small * small).exp() * small.erfc()).where(y < 1, torch.special.erfcx(y)) / 2
    series = top * (3 / square * (1 - 5 / square) - 1) / square
    return with_derivatives(value, (lambda: (z * value - top).where(z < 150, series), z))
