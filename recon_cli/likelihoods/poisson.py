"""Counts: the likelihood that the Poisson loss is, but for log x!."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.regions import COUNT, Interval
from recon_cli.identity.tensors import but_one, product
from recon_cli.likelihoods._counts import log_factorial, poisson_of_log, poisson_of_mean

if TYPE_CHECKING:
    from torch import Generator, Tensor


class PoissonLoss(Loss):
    """mu - x log mu."""

    name = "poisson"
    formula = "mu - x*log(mu)"
    torch = "poisson_nll_loss"
    condition = "given log_input=False (its default takes log mu), but for the 1e-8 that it then adds to mu in the logarithm"
    support = Interval(0)
    domain = Interval(0)

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own, with log_input=False, adds 1e-8 inside the logarithm."""
        return product(x, but_one(prediction, lambda: x <= 0).log(), prediction, -1)


class PoissonLossOfLog(PoissonLoss):
    """The same of log mu: what torch computes by default."""

    name = "poisson-of-log"
    link = LOG

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """exp(r) - x r."""
        return prediction.exp() - x * prediction


@dataclass(frozen=True)
class Poisson(Likelihood):
    """-log p(x | mu) = mu - x log mu + log x!, for x in 0, 1, 2, ... and mu >= 0.

    mu is the mean (and the variance) of the count; the decoder's raw output is its logarithm. Computed
    in the saddle-point form of Loader (2000), which does not cancel at large counts.

    >>> Poisson().nll(2.0, 2.0)
    tensor(1.3069, dtype=torch.float64)
    """

    loss = PoissonLoss()
    raw_loss = PoissonLossOfLog()
    density = "exp(-mu)*mu**x/factorial(x)"
    calls = (
        "-distributions.Poisson(mu).log_prob(x)",
        "F.poisson_nll_loss(mu, x, log_input=False, full=True, reduction='none')",
        "F.poisson_nll_loss(r, x, log_input=True, full=True, reduction='none')",
        "F.poisson_nll_loss(r, x, reduction='none')",
        "-stats.poisson.logpmf(x, mu)",
    )
    support = COUNT
    domain = Interval(0)
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return poisson_of_mean(x, mu)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return poisson_of_log(x, raw)

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return log_factorial(x)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu, twice."""
        return mu, mu

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Torch's own."""
        import torch

        return torch.poisson(mu, generator=generator)
