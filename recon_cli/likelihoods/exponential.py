"""Waiting times: the likelihood that x/mu + log mu is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.regions import POSITIVE, Interval

if TYPE_CHECKING:
    from torch import Generator, Tensor


class ExponentialLoss(Loss):
    """x/mu + log mu: the Itakura-Saito distance, but for what depends on x alone, and finite at x = 0."""

    name = "exponential"
    formula = "x/mu + log(mu)"
    torch = "x/mu + log(mu)"
    support = Interval(0)
    domain = POSITIVE

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return of_mean(x, prediction)


class ExponentialLossOfLog(ExponentialLoss):
    """The same of log mu."""

    name = "exponential-of-log"
    torch = "x*exp(-r) + r"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return x * (-prediction).where(x > 0, 0).exp() + prediction


@dataclass(frozen=True)
class Exponential(Likelihood):
    """-log p(x | mu) = x/mu + log mu, for x >= 0 and mu > 0.

    mu is the mean and the standard deviation, 1/mu the rate; the decoder's raw output is the logarithm of mu. Gamma
    at shape 1, zero included.

    >>> Exponential().nll(1.0, 0.5)
    tensor(1.3069, dtype=torch.float64)
    >>> Exponential().nll_raw(0.0, -2.0)
    tensor(-2., dtype=torch.float64)
    """

    loss = ExponentialLoss()
    raw_loss = ExponentialLossOfLog()
    density = "exp(-x/mu)/mu"
    calls = (
        "-distributions.Exponential(1/mu).log_prob(x)",
        "-stats.expon.logpdf(x, 0, mu)",
    )
    support = Interval(0)
    domain = POSITIVE
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return of_mean(x, mu)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return x * (-raw).where(x > 0, 0).exp() + raw

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu^2."""
        return mu, mu * mu

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Torch's own, times mu."""
        return mu * mu.new_empty(mu.shape).exponential_(generator=generator)


def of_mean(x: Tensor, mu: Tensor) -> Tensor:
    """Return x/mu + log mu, whose derivative (mu - x)/mu^2 keeps its digits where x is near mu."""
    from recon_cli.numerics.stable import with_derivatives

    return with_derivatives(x / mu + mu.log(), (lambda: (mu - x) / mu / mu, mu))
