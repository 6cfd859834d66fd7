"""Overdispersed counts with more zeros than the negative binomial's: some are zero whatever the mean."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.regions import COUNT, SHARE, Interval
from recon_cli.identity.tensors import standard_gamma
from recon_cli.likelihoods._counts import SENSIBLE, negative_binomial_of_log, negative_binomial_of_mean, trials
from recon_cli.likelihoods._zeros import inflated, mixed_moments, thinned

if TYPE_CHECKING:
    from torch import Generator, Tensor

NONE = "log(1 + dispersion*mu)/dispersion"
COUNTED = (
    "gamma(x + 1/dispersion)/(gamma(1/dispersion)*factorial(x))*(1/(1 + dispersion*mu))**(1/dispersion)"
    "*(dispersion*mu/(1 + dispersion*mu))**x"
)


def of_mean(x: Tensor, mu: Tensor, dispersion: Number, zeros: Number) -> Tensor:
    """Return the nll of counts ``x`` of mean ``mu``."""
    return inflated(x, negative_binomial_of_mean(x, mu, dispersion), (dispersion * mu).log1p() / dispersion, zeros)


def of_log(x: Tensor, raw: Tensor, dispersion: Number, zeros: Number) -> Tensor:
    """Return the nll of counts ``x`` of mean e^raw."""
    none = (dispersion * raw.clamp(max=700).exp()).log1p() / dispersion
    return inflated(x, negative_binomial_of_log(x, raw, dispersion), none, zeros)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomialNLL(Loss):
    """-log p itself: where x is 0 no term is left that depends on x and mu together and on nothing else."""

    dispersion: float = parameter(1.0, "what makes the variance mu + dispersion mu^2 of the rest", SENSIBLE)
    zeros: float = parameter(0.5, "the share that is zero whatever the mean", SHARE)

    name = "zero-inflated-negative-binomial-nll"
    aliases: ClassVar[tuple[str, ...]] = ("zinb-nll",)
    formula = (
        "Piecewise((-log(zeros + (1 - zeros)*(1/(1 + dispersion*mu))**(1/dispersion)), Eq(x, 0)), "
        "((x + 1/dispersion)*log(1 + dispersion*mu) - x*log(dispersion*mu) + log(gamma(1/dispersion)*factorial(x)) "
        "- log(gamma(x + 1/dispersion)) - log(1 - zeros), True))"
    )
    torch = (
        "where(x == 0, -log(zeros + (1 - zeros)*exp(-log1p(dispersion*mu)/dispersion)), (x + 1/dispersion)*log1p(dispersion*mu)"
        " - x*log(dispersion*mu) + lgamma(1/dispersion) + lgamma(x + 1) - lgamma(x + 1/dispersion) - log1p(-zeros))"
    )
    support = COUNT
    domain = Interval(0)

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return of_mean(x, prediction, self.dispersion, self.zeros)


class ZeroInflatedNegativeBinomialNLLOfLog(ZeroInflatedNegativeBinomialNLL):
    """The same of log mu."""

    name = "zero-inflated-negative-binomial-nll-of-log"
    aliases = ()
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return of_log(x, prediction, self.dispersion, self.zeros)


@dataclass(frozen=True)
class ZeroInflatedNegativeBinomial(Likelihood):
    """-log p(x | mu) = -log(zeros + (1 - zeros) p(0)) at x = 0, -log p(x) - log(1 - zeros) above, p the negative binomial's.

    For x = 0, 1, 2, ... A share ``zeros`` is 0 whatever mu, the rest has mean mu and variance mu + dispersion mu^2; the
    decoder's raw output is the logarithm of mu. Counts of genes in single cells: Lopez and others (2018), scVI.

    >>> ZeroInflatedNegativeBinomial(dispersion=0.5, zeros=0.4).nll([0.0, 2.0], [3.0, 3.0])
    tensor([0.7012, 2.2664], dtype=torch.float64)
    """

    dispersion: float = parameter(1.0, "what makes the variance mu + dispersion mu^2 of the rest", SENSIBLE)
    zeros: float = parameter(0.5, "the share that is zero whatever the mean", SHARE)

    aliases = ("zinb",)
    loss = computed(lambda self: ZeroInflatedNegativeBinomialNLL(self.dispersion, self.zeros))
    raw_loss = computed(lambda self: ZeroInflatedNegativeBinomialNLLOfLog(self.dispersion, self.zeros))
    density = f"Piecewise((zeros + (1 - zeros)*(1/(1 + dispersion*mu))**(1/dispersion), Eq(x, 0)), ((1 - zeros)*{COUNTED}, True))"
    calls = (
        "-torch.where(x == 0, torch.log(zeros + (1 - zeros)*(1 + dispersion*mu)**(-1/dispersion)), math.log1p(-zeros)"
        " + distributions.NegativeBinomial(1/dispersion, logits=(dispersion*mu).log()).log_prob(x))",
    )
    support = COUNT
    domain = Interval(0)
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return of_mean(x, mu, self.dispersion, self.zeros)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return of_log(x, raw, self.dispersion, self.zeros)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1 - zeros) mu and (1 - zeros) mu (1 + (dispersion + zeros) mu)."""
        return mixed_moments(mu, mu + (1 + self.dispersion) * mu * mu, self.zeros)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the negative binomial, and set a share to zero."""
        import torch

        gamma = standard_gamma(mu.new_ones(mu.shape) * trials(self.dispersion), generator)
        return thinned(torch.poisson(gamma * (self.dispersion * mu), generator=generator), self.zeros, generator)
