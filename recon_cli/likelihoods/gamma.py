"""Positive data with a noise in proportion to their mean: the likelihood that the Itakura-Saito distance is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import Number, parameter
from recon_cli.identity.regions import POSITIVE
from recon_cli.identity.tensors import standard_gamma

if TYPE_CHECKING:
    from torch import Generator, Tensor


class ItakuraSaito(Loss):
    """x/mu - log(x/mu) - 1: half of the Gamma deviance; Itakura and Saito (1968)."""

    name = "itakura-saito"
    aliases: ClassVar[tuple[str, ...]] = ("is", "gamma-deviance")
    formula = "x/mu - log(x/mu) - 1"
    torch = "x/mu - log(x/mu) - 1"
    support = POSITIVE
    domain = POSITIVE

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, it cancels where x is near mu."""
        return itakura_saito(x, prediction)


class ItakuraSaitoOfLog(ItakuraSaito):
    """The same of log mu."""

    name = "itakura-saito-of-log"
    aliases = ()
    torch = "x*exp(-r) - log(x) + r - 1"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; by the ratio x e^-r."""
        return itakura_saito_of_log(x, prediction)


@dataclass(frozen=True)
class Gamma(Likelihood):
    """-log p(x | mu) = shape (x/mu - log(x/mu) - 1) + log x + log Gamma(shape) - shape log shape + shape, for x, mu > 0.

    mu is the mean, mu/sqrt(shape) the standard deviation, so that the noise is in proportion to the mean:
    powers, durations, rainfall; the decoder's raw output is the logarithm of mu. The shape is the inverse of a
    generalized linear model's dispersion: McCullagh and Nelder (1989), section 8.2. As the likelihood of a power
    spectrum, shape 1: Fevotte, Bertin and Durrieu (2009), equation 18.

    >>> Gamma(shape=3.0).nll(1.0, 2.0)
    tensor(0.9768, dtype=torch.float64)
    >>> Gamma(shape=3.0).slope
    3.0
    """

    shape: float = parameter(1.0, "the squared ratio of mean and standard deviation")

    loss = ItakuraSaito()
    raw_loss = ItakuraSaitoOfLog()
    density = "(shape/mu)**shape*x**(shape - 1)*exp(-shape*x/mu)/gamma(shape)"
    calls = (
        "-distributions.Gamma(shape, shape/mu).log_prob(x)",
        "-stats.gamma.logpdf(x, shape, 0, mu/shape)",
    )
    support = POSITIVE
    domain = POSITIVE
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return self.shape * itakura_saito(x, mu) + self._rest(x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return self.shape * itakura_saito_of_log(x, raw) + self._rest(x)

    def _rest(self, x: Tensor) -> Tensor:
        """Return the nll of mu = x."""
        return x.log() + self._peak(x)

    def _peak(self, x: Tensor) -> Tensor:
        """Return log Gamma(shape) - shape log shape + shape, which cancels at large shapes: by Stirling's error."""
        from recon_cli.numerics.stable import stirling_error

        return stirling_error(x.new_zeros(()), self.shape) + (math.log(2 * math.pi) - log(self.shape)) / 2

    @property
    def slope(self) -> Number:
        return self.shape

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._rest(x)

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Gamma:
        """Return the one whose shape is the slope."""
        del loss  # it has no numbers of its own
        return cls(shape=positive(slope))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu^2/shape."""
        return mu, mu * mu / self.shape

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the Gamma distribution, in units of mu/shape; never 0, to which the smallest draws round."""
        import torch

        unit = standard_gamma(mu.new_ones(mu.shape) * self.shape, generator) / self.shape
        return (mu * unit).clamp(min=torch.finfo(mu.dtype).tiny)


def itakura_saito(x: Tensor, mu: Tensor) -> Tensor:
    """Return x/mu - log(x/mu) - 1, without cancelling where they are near, and finite wherever it is."""
    from recon_cli.numerics.stable import deviance, with_derivatives

    ratio, normal = x / mu, (x / mu > 1e-300) & (x / mu < 1e300)
    near = deviance(1.0, ratio.where(normal, 1), ((mu - x) / mu).where(normal, 0))
    return with_derivatives(near.where(normal, ratio - 1 + (mu.log() - x.log())), (lambda: (mu - x) / mu / mu, mu))


def itakura_saito_of_log(x: Tensor, raw: Tensor) -> Tensor:
    """Return x e^-r - log(x e^-r) - 1, without cancelling where it is near zero."""
    from recon_cli.numerics.stable import deviance, with_derivatives

    ratio = x * (-raw).exp()
    over = ((x - 1) * (-raw).exp() + (-raw).expm1()).where(raw.abs() < 0.5, ratio - 1)
    small = over.abs() < 0.9
    near = deviance(1.0, ratio.where(small, 1), -over.where(small, 0))
    return with_derivatives(near.where(small, ratio - 1 + (raw - x.log())), (lambda: 1 - ratio, raw))
