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
from recon_cli.identity.tensors import largest
from recon_cli.likelihoods._grey_levels import HIGH, LOW, A, B, GreyLevels, H
from recon_cli.numerics.compensated import two_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    from recon_cli.identity.parametric import Number

# The distribution function from the side where it is small.
BELOW, ABOVE = f"erfc((mu - x - {H})/(sqrt(2)*scale))", f"erfc((x - {H} - mu)/(sqrt(2)*scale))"
UNDER, OVER = f"erfc((mu - x + {H})/(sqrt(2)*scale))", f"erfc((x + {H} - mu)/(sqrt(2)*scale))"
DENSITY = f"Piecewise(({BELOW}/2, {LOW}), ({ABOVE}/2, {HIGH}), (({ABOVE} - {OVER})/2, x > mu), (({BELOW} - {UNDER})/2, True))"
PLACES, WEIGHTS = (list(map(float, part[4:])) for part in leggauss(8))  # of eight points on [-1, 1], the positive ones


@dataclass(frozen=True)
class NormalBins(GreyLevels):
    """Bins of a Gaussian, of which some are narrow, w <= 1/2 and |c| w <= 1: c its middle, from mu, and w half of it."""

    def usual(self, x: Tensor, mu: Tensor) -> Tensor:
        """Return which bins are narrow and not open."""
        half, (low, high) = 0.5 / (self.levels - 1), self.ends(x)
        most = self.scale * (self.scale / half) if half <= 0.5 * self.scale else -1.0
        return ((x - mu).abs_() <= most).logical_and_((low | high).logical_not_())

    def in_bin(self, x: Tensor, mu: Tensor, narrow: Callable[[Tensor, Tensor], Tensor], tails: Callable[..., Tensor]) -> Tensor:
        """Return what ``narrow`` gives of c and w, and of a bin that is open or not narrow ``tails`` of its edges."""
        from recon_cli.numerics.cases import by_cases

        scale = self.scale
        distance, width = (x - mu) / scale, (x.new_full((), 0.5 / (self.levels - 1)) / scale).clamp(max=1e300)
        low, high = self.ends(x)
        turn, other = distance.detach() * width.detach(), low | high | (width > 0.5)
        if not largest(turn) <= 1:
            other = other | (turn.abs() > 1)
            distance = distance.masked_fill(other, 0)

        def by_tails(x: Tensor, mu: Tensor, scale: Number) -> Tensor:
            return tails(*self.edges(x, mu, scale))

        return by_cases(other, by_tails, lambda: narrow(distance, width.clamp(max=0.5)), (x, 0.0), (mu, 0.0), (scale, 1.0))


@dataclass(frozen=True)
class DiscretizedGaussianLoss(NormalBins, Loss):
    """-log(F(a) - F(b)), a and b the edges of x's bin, from mu, in units of scale; F the normal cdf, the end bins open."""

    name = "discretized-gaussian"
    aliases = ("discretised-gaussian",)
    formula = f"-log({DENSITY})"
    torch = "-log(ndtr(a) - ndtr(b))"
    condition = "a and b the edges of x's bin, less mu, over scale"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Over a narrow bin by eight points of the density, over others as the nll: a difference of cdfs has no digits."""

        from recon_cli.numerics.stable import polynomial

        def narrow(c: Tensor, w: Tensor) -> Tensor:
            turn = c * w
            moments = moments_at_points(w, terms_of(turn))
            return c * (c / 2) - (polynomial(turn * turn, moments) * (math.sqrt(2 / math.pi) * w)).log()

        return self.in_bin(x, prediction, narrow, lambda *edges: beyond(*edges)[0])


@dataclass(frozen=True)
class DiscretizedGaussian(NormalBins, Likelihood):
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
        return self.in_bin(x, mu, over_bin, over_tails)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from a Gaussian, and round."""
        return self.rounded(mu + self.scale * mu.new_empty(mu.shape).normal_(generator=generator))


def over_bin(c: Tensor, w: Tensor) -> Tensor:
    """Return -log p of a narrow bin: by the density at its middle, and its mean over the bin in units of that.

    The mean is e^(-w^2/2) times the sum of (c w)^2n/(2n)! r_n: see :func:`moments`.
    """
    from recon_cli.numerics.stable import polynomial, with_derivatives

    known, half = c.detach(), w.detach()
    turn = known * half
    terms = terms_of(turn)
    mean = polynomial(turn * turn, moments(half, terms))
    value = (known * known).add_(half * half).mul_(0.5).sub_(mean.mul_(math.sqrt(2 / math.pi) * half).log_())

    def by_distance() -> Tensor:
        square = (c * w).square()
        sinhc = polynomial(square, [1 / math.factorial(2 * n + 1) for n in range(terms + 1)])
        return c * sinhc / polynomial(square, moments(w, terms))

    def by_width() -> Tensor:
        turn = c * w
        return -turn.cosh() / (w * polynomial(turn.square(), moments(w, terms)))

    return with_derivatives(value, (by_distance, c), (by_width, w))


def terms_of(turn: Tensor) -> int:
    """Return how many terms of a series count of which the n-th is below turn^2n/(2n + 1)!: eight, where turn is up to 1."""
    most = largest(turn)
    return next((n for n in range(1, 8) if most ** (2 * n + 2) <= 1e-17 * math.factorial(2 * n + 3)), 8)


def moments(w: Tensor, terms: int) -> list[Tensor]:
    """Return r_n/(2n)!, r_n = e^(w^2/2) times the integral of u^2n e^(-(w u)^2/2) for u from 0 to 1, for n = 0, ..., terms.

    By parts, r_n = (1 + w^2 r_(n + 1))/(2n + 1): downwards, so that all is added.
    """
    square, rest = w * w, w.new_full((), 1 / 21)
    every = [rest := (square * rest + 1) / (2 * n + 1) for n in range(9, -1, -1)]
    return [each / math.factorial(2 * n) for n, each in enumerate(every[: -terms - 2 : -1])]


def moments_at_points(w: Tensor, terms: int) -> list[Tensor]:
    """Return the same integrals over (2n)! without the factor, from eight points."""
    points = [(weight * (-(w * at).square() / 2).exp(), at) for at, weight in zip(PLACES, WEIGHTS, strict=True)]
    one, *others = points
    moments = []
    for n in range(terms + 1):
        moment = one[0] * (one[1] ** (2 * n) / math.factorial(2 * n))
        for height, at in others:
            moment = moment + height * (at ** (2 * n) / math.factorial(2 * n))
        moments.append(moment)
    return moments


def over_tails(distance: Tensor, width: Tensor, near: Tensor, rest: Tensor, closed: Tensor) -> Tensor:
    """Return -log p of a bin that is not narrow, by how much of the density lies beyond its edges."""
    from recon_cli.numerics.stable import with_derivatives

    tail, edge, fall = beyond(distance, width, near, rest, closed)

    def by_distance() -> Tensor:
        return edge * (-(-2 * distance.where(closed, 0) * width).expm1()).where(closed, 1)

    return with_derivatives(tail, (by_distance, distance), (lambda: -edge * (1 + fall), width))


def beyond(distance: Tensor, width: Tensor, near: Tensor, rest: Tensor, closed: Tensor) -> tuple[Tensor, ...]:
    """-log p of a bin that is not narrow; the density at its near edge over p; and that at its far edge over that at its near."""
    import torch

    from recon_cli.numerics.cases import nowhere

    outside = near > 0
    size, more = near.where(outside, -near).clamp(max=1e300), rest.where(outside, -rest)
    square, lost = two_product(size, size / 2)
    lost = (lost + size * more).detach()
    lost = lost.where(lost.abs() <= square, 0)
    fade, upper = (-square).exp() * (1 - lost), upper_tail(size)
    missed = (fade * upper).where(~outside, 0)
    edge = (1 / upper).where(outside, fade / (1 - missed))
    whole = (square + lost - upper.log()).where(outside, -(-missed).log1p())
    unit = 1 / math.sqrt(2 * math.pi)
    if nowhere(closed):
        return whole, edge * unit, torch.zeros_like(edge)
    reach = distance.where(closed, 0)
    fall = (-2 * reach * width).exp().where(closed, 0)
    share = fall * upper_tail(reach + width) * edge  # of what lies beyond the near edge, beyond the far one
    return whole - (-share).log1p(), edge / (1 - share) * unit, fall


def upper_tail(z: Tensor) -> Tensor:
    """e^(z^2/2) (1 - F(z)) for z >= 0. Its derivative is z times it less 1/sqrt(2 pi), a series where they cancel."""
    import torch

    from recon_cli.numerics.stable import with_derivatives

    y, square, top = z / math.sqrt(2), z.clamp(min=150).square(), 1 / math.sqrt(2 * math.pi)
    small = y.clamp(max=1)
    value = ((small * small).exp() * small.erfc()).where(y < 1, torch.special.erfcx(y)) / 2
    series = top * (3 / square * (1 - 5 / square) - 1) / square
    return with_derivatives(value, (lambda: (z * value - top).where(z < 150, series), z))
