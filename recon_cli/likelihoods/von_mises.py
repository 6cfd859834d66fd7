"""Angles: the likelihood that one minus the cosine of the error is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, positive
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.regions import CIRCLE
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods._sphere import concentration, draw, log_integral
from recon_cli.numerics.compensated import two_sum

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor


class AngularCosine(Loss):
    """1 - cos(x - mu), of angles in radians."""

    name = "angular-cosine"
    formula = "1 - cos(x - mu)"
    torch = "1 - cos(x - mu)"
    support = CIRCLE
    domain = CIRCLE

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; written as people write it, it loses the digits of small angles."""
        import torch

        return angular_distance(wide(x), wide(prediction)).to(torch.promote_types(x.dtype, prediction.dtype))


@dataclass(frozen=True)
class VonMises(Likelihood):
    """-log p(x | mu) = kappa (1 - cos(x - mu)) + log(2 pi I_0(kappa) e^-kappa), for angles x and mu in radians, any turn.

    I_0 is the modified Bessel function; kappa is the concentration, 1/sigma^2 of nearly Gaussian noise as it
    grows. Von Mises (1918); von-mises-fisher on the circle.

    >>> VonMises(kappa=4.0).nll(1.0, 0.5)
    tensor(0.7525, dtype=torch.float64)
    """

    kappa: float = parameter(1.0, "the concentration")

    loss = AngularCosine()
    aliases = ("circular-normal",)
    of_residual = ()
    density = "exp(kappa*cos(x - mu))/(2*pi*besseli(0, kappa))"
    calls = ("-distributions.VonMises(mu, kappa).log_prob(x)", "-stats.vonmises.logpdf(x, kappa, mu)")
    support = CIRCLE
    domain = CIRCLE
    best_noise = "the concentration at which the mean cosine is that of the data"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return self.kappa * angular_distance(x, mu) + self.normaliser

    @property
    def normaliser(self) -> Number:
        return log_integral(2, self.kappa)

    @property
    def slope(self) -> Number:
        return self.kappa

    def at_mean_loss(self, loss: Callable[[], float]) -> VonMises:
        """Return the one whose mean of 1 - cos is that of the data. Raises ReconError where that is 0, or 1 and more."""
        return replace(self, kappa=concentration(2, loss()))

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> VonMises:
        """Return the one whose mean of 1 - cos is that of the data. Raises ReconError where that is 0, or 1 and more."""
        return self.at_mean_loss(lambda: self.loss(wide(x), wide(mu)).mean().item())

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> VonMises:
        """Return the one whose kappa is the slope."""
        del loss  # angular cosine has no numbers of its own
        return cls(kappa=positive(slope))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw an angle of von-mises-fisher's in two dimensions, either way."""
        angle = 2 * (draw(2, self.kappa, wide(mu), generator) / 2).sqrt().asin()
        sign = mu.new_full(mu.shape, 0.5).bernoulli(generator=generator) * 2 - 1
        return mu + sign * angle.to(mu.dtype)


def angular_distance(x: Tensor, mu: Tensor) -> Tensor:
    """1 - cos(x - mu) = 2 sin^2((x - mu)/2), the rounding of x - mu kept: Knuth's exact sum."""
    from recon_cli.numerics.stable import with_derivatives

    x, mu = x / 2, mu / 2
    high, low = two_sum(x, -mu)
    sin = high.sin() * low.cos() + high.cos() * low.sin()

    def slope() -> Tensor:
        return 4 * sin * (high.cos() * low.cos() - high.sin() * low.sin())

    return with_derivatives(2 * sin * sin, (lambda: -slope(), mu), (slope, x))
