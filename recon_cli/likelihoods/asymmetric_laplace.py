"""Skewed noise: the likelihood that the pinball loss of quantile regression is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import AbsoluteError, Loss
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.regions import SHARE

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Pinball(Loss):
    """quantile (x - mu) where x >= mu, (quantile - 1)(x - mu) where not: Koenker and Bassett (1978)."""

    quantile: float = parameter(0.5, "the quantile of x that mu is", SHARE)

    name = "pinball"
    aliases = ("quantile",)
    formula = "Piecewise((quantile*(x - mu), x >= mu), ((quantile - 1)*(x - mu), True))"
    torch = "maximum(q*e, (q - 1)*e)"
    condition = "q the quantile and e = x - mu"

    def canonical(self) -> tuple[Loss, Number]:
        """Return half the absolute error at the median."""
        return (AbsoluteError(), 0.5) if self.quantile == 0.5 else (self, 1.0)

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it."""
        error = x - prediction
        return (self.quantile * error).maximum((self.quantile - 1) * error)


@dataclass(frozen=True)
class AsymmetricLaplace(Likelihood):
    """-log p(x | mu) = pinball(x - mu)/scale + log(scale/(quantile (1 - quantile))), for real x and mu.

    mu is the ``quantile``-th quantile of x, not its mean; scale in units of x: Koenker and Machado
    (1999); Yu and Moyeed (2001), equation 2.

    >>> AsymmetricLaplace(scale=0.2, quantile=0.9).nll(1.0, 0.5)
    tensor(3.0485, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the mean pinball loss")
    quantile: float = parameter(0.5, "the quantile of x that mu is", SHARE)

    aliases = ("quantile", "pinball")
    loss = computed(lambda self: Pinball(quantile=self.quantile))
    of_residual = ()
    density = "quantile*(1 - quantile)/scale*exp(-Piecewise((quantile*(x - mu), x >= mu), ((quantile - 1)*(x - mu), True))/scale)"
    calls = (
        "torch.maximum(quantile*(x - mu)/scale, (quantile - 1)*(x - mu)/scale) - math.log(quantile*(1 - quantile)/scale)",
        "-stats.laplace_asymmetric.logpdf(x, (quantile/(1 - quantile))**0.5, mu, scale/(quantile*(1 - quantile))**0.5)",
    )
    best_noise = "the mean pinball loss, at the quantile that fits best"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        z, q = (x - mu) / self.scale, self.quantile
        bent = ((q - 0.5) * z).where(z == 0, (q - 1) * z)  # where it bends, the middle of its subgradients, as torch's maximum
        return (q * z).where(z > 0, bent) + self.normaliser

    @property
    def slope(self) -> Number:
        return 1 / self.scale

    @property
    def normaliser(self) -> Number:
        return log(self.scale / (self.quantile * (1 - self.quantile)))

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> AsymmetricLaplace:
        """Return the one of the loss's quantile and scale = 1/slope."""
        return cls(scale=1 / positive(slope), quantile=number_of(loss, "quantile", 0.5))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of the two exponentials, q the quantile: mu + scale (1/q - 1/(1 - q)), scale^2 (1/q^2 + 1/(1 - q)^2)."""
        up, down = self.scale / self.quantile, self.scale / (1 - self.quantile)
        return mu + (up - down), mu.new_ones(mu.shape) * (up**2 + down**2)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the difference of two exponential draws, the one stretched by 1/quantile, the other by 1/(1 - quantile)."""
        up, down = (mu.new_empty(mu.shape).exponential_(generator=generator) for _ in range(2))
        return mu + self.scale * (up / self.quantile - down / (1 - self.quantile))
