"""Noise of any tail from spikes to boxes: the likelihood that |x - mu|^power is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import AbsoluteError, Loss, SquaredError
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.tensors import standard_gamma
from recon_cli.numerics.compensated import two_product, two_sum

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class PowerError(Loss):
    """|x - mu|^power: absolute error at 1, squared error at 2."""

    power: float = parameter(2.0, "the exponent", exponent=True)

    name = "power-error"
    aliases = ("lp",)
    formula = "Abs(x - mu)**power"
    torch = "abs(x - mu)**power"

    def canonical(self) -> tuple[Loss, Number]:
        """Return absolute error at power 1, squared error at 2."""
        named = {1.0: AbsoluteError(), 2.0: SquaredError()}
        return (named.get(self.power, self) if isinstance(self.power, (int, float)) else self), 1.0

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, its gradient below power 1 is NaN where nothing is missed."""
        from recon_cli.numerics.stable import power

        return power((x - prediction).abs(), self.power)


@dataclass(frozen=True)
class GeneralizedGaussian(Likelihood):
    """-log p(x | mu) = |(x - mu)/scale|^power + log(2 scale Gamma(1 + 1/power)), for real x and mu.

    Laplace at power 1, Gaussian of sigma = scale/sqrt(2) at power 2, a box as it grows: Subbotin
    (1923); Nadarajah (2005), equation 1. scale in units of x.

    >>> GeneralizedGaussian(scale=0.5, power=3.0).nll(1.0, 0.75)
    tensor(0.0118, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the distance at which the exponent is one")
    power: float = parameter(2.0, "the exponent", exponent=True)

    aliases = ("generalised-gaussian", "generalized-normal", "generalised-normal")
    loss = computed(lambda self: PowerError(power=self.power))
    of_residual = ()
    density = "power/(2*scale*gamma(1/power))*exp(-(Abs(x - mu)/scale)**power)"
    calls = (
        "(torch.abs(x - mu)/scale)**power + math.log(2*scale) + math.lgamma(1 + 1/power)",
        "-stats.gennorm.logpdf(x, power, mu, scale)",
    )

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        from recon_cli.numerics.stable import power

        if not isinstance(self.scale, (int, float)) or not isinstance(self.power, (int, float)) or self.power <= 4:
            return power(((x - mu) / self.scale).abs(), self.power) + self.normaliser
        e, lost = two_sum(x, -mu)  # a high power takes what rounding took from z so many times over
        z = e / self.scale
        product, low = two_product(z.detach(), self.scale)
        rest = (e.detach() - product - low + lost.detach()) / self.scale
        share = (rest / z.detach()).where(rest.abs() < 1e-15 * z.detach().abs(), 0)
        return power(z.abs(), self.power) * (1 + self.power * share) + self.normaliser

    @property
    def slope(self) -> Number:
        slope: Number = self.scale**-self.power
        return slope

    @property
    def normaliser(self) -> Number:
        """In one logarithm where the gamma function is in range: those of scale and gamma may be large, and cancel."""
        power = self.power
        if not isinstance(power, (int, float)):
            return log(2 * self.scale) + (1 + 1 / power).lgamma()
        rest = 1 / power
        at = 1 + rest
        product, lost = two_product(rest, power)
        off = (1 - product - lost) / power + (rest - (at - 1))  # what rounding took from 1 + 1/power
        moved = off * (math.log(at) - 1 / (2 * at) - 1 / (12 * at * at))
        if at > 140 or not isinstance(self.scale, (int, float)):
            return log(2 * self.scale) + (math.lgamma(at) + moved)
        return log(2 * self.scale * math.gamma(at)) + moved

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> GeneralizedGaussian:
        """Return the one of the loss's power and scale = slope^(-1/power)."""
        power = number_of(loss, "power", 2.0)
        return cls(scale=positive(slope) ** (-1 / power), power=power)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and scale^2 Gamma(3/power)/Gamma(1/power)."""
        ratio = math.lgamma(3 / self.power) - math.lgamma(1 / self.power)
        return mu, mu.new_ones(mu.shape) * self.scale**2 * math.exp(ratio)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the power-th root of a Gamma(1/power) draw, of either sign."""

        shape = mu.new_full(mu.shape, 1 / self.power)
        size = standard_gamma(shape, generator) ** (1 / self.power)
        sign = mu.new_full(mu.shape, 0.5).bernoulli(generator=generator) * 2 - 1
        return mu + self.scale * sign * size
