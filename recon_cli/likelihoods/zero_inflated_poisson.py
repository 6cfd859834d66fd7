"""Counts with more zeros than Poisson's: some are zero whatever the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import computed, parameter
from recon_cli.identity.regions import COUNT, SHARE, Interval
from recon_cli.likelihoods._counts import poisson_of_log, poisson_of_mean
from recon_cli.likelihoods._zeros import inflated, mixed_moments, thinned

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class ZeroInflatedPoissonNLL(Loss):
    """-log p itself: where x is 0 no term is left that depends on x and mu together and on nothing else."""

    zeros: float = parameter(0.5, "the share that is zero whatever the mean", SHARE)

    name = "zero-inflated-poisson-nll"
    aliases: ClassVar[tuple[str, ...]] = ("zip-nll",)
    formula = (
        "Piecewise((-log(zeros + (1 - zeros)*exp(-mu)), Eq(x, 0)), (mu - x*log(mu) + log(factorial(x)) - log(1 - zeros), True))"
    )
    torch = "where(x == 0, -log(zeros + (1 - zeros)*exp(-mu)), mu - x*log(mu) + lgamma(x + 1) - log1p(-zeros))"
    support = COUNT
    domain = Interval(0)

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return inflated(x, poisson_of_mean(x, prediction), prediction, self.zeros)


class ZeroInflatedPoissonNLLOfLog(ZeroInflatedPoissonNLL):
    """The same of log mu."""

    name = "zero-inflated-poisson-nll-of-log"
    aliases = ()
    torch = "where(x == 0, -log(zeros + (1 - zeros)*exp(-exp(r))), exp(r) - x*r + lgamma(x + 1) - log1p(-zeros))"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return inflated(x, poisson_of_log(x, prediction), prediction.exp(), self.zeros)


@dataclass(frozen=True)
class ZeroInflatedPoisson(Likelihood):
    """-log p(x | mu) = -log(zeros + (1 - zeros) e^-mu) at x = 0, mu - x log mu + log x! - log(1 - zeros) above, x = 0, 1, 2, ...

    A share ``zeros`` is 0 whatever mu, the rest is Poisson of mean mu, so that the mean of x is (1 - zeros) mu; the
    decoder's raw output is the logarithm of mu: Lambert (1992).

    >>> ZeroInflatedPoisson(zeros=0.4).nll([0.0, 2.0], [3.0, 3.0])
    tensor([0.8443, 2.0067], dtype=torch.float64)
    """

    zeros: float = parameter(0.5, "the share that is zero whatever the mean", SHARE)

    aliases = ("zip",)
    loss = computed(lambda self: ZeroInflatedPoissonNLL(self.zeros))
    raw_loss = computed(lambda self: ZeroInflatedPoissonNLLOfLog(self.zeros))
    density = "Piecewise((zeros + (1 - zeros)*exp(-mu), Eq(x, 0)), ((1 - zeros)*exp(-mu)*mu**x/factorial(x), True))"
    calls = (
        "-torch.where(x == 0, torch.log(zeros + (1 - zeros)*torch.exp(-mu)), math.log1p(-zeros)"
        " + distributions.Poisson(mu).log_prob(x))",
    )
    support = COUNT
    domain = Interval(0)
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return inflated(x, poisson_of_mean(x, mu), mu, self.zeros)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return inflated(x, poisson_of_log(x, raw), raw.exp(), self.zeros)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1 - zeros) mu and (1 - zeros) mu (1 + zeros mu)."""
        return mixed_moments(mu, mu + mu * mu, self.zeros)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from Poisson, and set a share to zero."""
        import torch

        return thinned(torch.poisson(mu, generator=generator), self.zeros, generator)
