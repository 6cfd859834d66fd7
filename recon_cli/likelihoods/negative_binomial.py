"""Overdispersed counts: the likelihood that the negative binomial loss is, but for what depends on x alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import Number, class_or_instance, computed, parameter
from recon_cli.identity.regions import COUNT, Interval
from recon_cli.identity.tensors import standard_gamma
from recon_cli.likelihoods._counts import (
    SENSIBLE,
    negative_binomial_of_log,
    negative_binomial_of_mean,
    negative_binomial_rest,
    trials,
)

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class NegativeBinomialLoss(Loss):
    """(x + 1/dispersion) log(1 + dispersion mu) - x log mu."""

    dispersion: float = parameter(1.0, "what makes the variance mu + dispersion mu^2")

    name = "negative-binomial"
    formula = "(x + 1/dispersion)*log(1 + dispersion*mu) - x*log(mu)"
    torch = "(x + 1/dispersion)*log1p(dispersion*mu) - x*log(mu)"
    support = Interval(0)
    domain = Interval(0)

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, (x + 1/a) log(1 + a mu) - x log mu cancels at large counts."""
        return (self.dispersion * prediction).log1p() / self.dispersion + x * log_per(prediction.where(x > 0, 1), self.dispersion)


class NegativeBinomialLossOfLog(NegativeBinomialLoss):
    """The same of log mu."""

    name = "negative-binomial-of-log"
    torch = "(x + 1/a)*softplus(r + log(a)) - x*r"
    link = LOG

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; by the logit of the share dispersion mu/(1 + dispersion mu)."""
        from torch.nn.functional import logsigmoid

        shift = log(self.dispersion)
        logit = prediction + shift
        return x * (shift - logsigmoid(logit)) - logsigmoid(-logit) / self.dispersion


@dataclass(frozen=True)
class NegativeBinomial(Likelihood):
    """-log p(x | mu) = (x + n) log(1 + mu/n) - x log(mu/n) - log C(x + n - 1, x), n = 1/dispersion, for x in 0, 1, 2, ...

    mu >= 0 is the mean, mu + dispersion mu^2 the variance; the decoder's raw output is the logarithm of mu.
    A Poisson count whose mean is a Gamma draw: Greenwood and Yule (1920); Poisson as the dispersion vanishes.
    n is torch's total_count. Computed in the saddle-point form of Loader (2000), which does not cancel at
    large counts.

    >>> NegativeBinomial(dispersion=0.5).nll(2.0, 3.0)
    tensor(1.7556, dtype=torch.float64)
    """

    dispersion: float = parameter(1.0, "what makes the variance mu + dispersion mu^2", SENSIBLE)

    aliases = ("nb", "negbin", "neg-binomial")
    special = {"geometric": "dispersion=1"}
    density = (
        "gamma(x + 1/dispersion)/(gamma(1/dispersion)*factorial(x))*(1/(1 + dispersion*mu))**(1/dispersion)"
        "*(dispersion*mu/(1 + dispersion*mu))**x"
    )
    calls = (
        "-distributions.NegativeBinomial(1/dispersion, probs=dispersion*mu/(1 + dispersion*mu)).log_prob(x)",
        "-distributions.NegativeBinomial(1/dispersion, logits=(dispersion*mu).log()).log_prob(x)",
        "-stats.nbinom.logpmf(x, 1/dispersion, 1/(1 + dispersion*mu))",
    )
    loss = computed(lambda self: NegativeBinomialLoss(self.dispersion))
    raw_loss = computed(lambda self: NegativeBinomialLossOfLog(self.dispersion))
    support = COUNT
    domain = Interval(0)
    link = LOG

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return negative_binomial_of_mean(x, mu, self.dispersion)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return negative_binomial_of_log(x, raw, self.dispersion)

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        """Return log x! - sum over k < x of log(1 + dispersion k): the nll of mu = x less the loss."""
        from recon_cli.numerics.tables import looked_up

        return looked_up(_offset, x, self.dispersion)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> NegativeBinomial:
        """Return the one of the best dispersion, by L-BFGS on its logarithm. Raises ReconError where that is 0 or infinite."""
        best = super().fit(x, mu)
        if not x.any() or best.dispersion * mu.max() < 1e-6:
            why = "about their means they vary no more than Poisson's do" if x.any() else "they are all zero"
            raise ReconError(
                f"No dispersion makes these counts most likely: {why}.", "Choose poisson, or binomial where they vary less."
            )
        return best

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu + dispersion mu^2."""
        return mu, mu + self.dispersion * mu * mu

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from Poisson, of a mean that is a Gamma draw."""
        import torch

        gamma = standard_gamma(mu.new_ones(mu.shape) * trials(self.dispersion), generator)
        return torch.poisson(gamma * (self.dispersion * mu), generator=generator)


def log_per(mu: Tensor, dispersion: Number) -> Tensor:
    """Return log(1/mu + dispersion), exact where that is near one; a sum for the smallest mu, as 1/mu^2 is beyond the numbers."""
    small = mu < 1e-15
    least, clamped = mu.where(small, 1), mu.where(~small, 1)
    above = (1 + (dispersion - 1) * clamped) / clamped
    near = above.abs() < 0.5
    far = (1 + dispersion * clamped) / clamped
    usual = above.where(near, 0).log1p().where(near, far.where(~near, 1).log())
    return ((dispersion * least).log1p() - least.log()).where(small, usual)


def _offset(x: Tensor, dispersion: Number) -> Tensor:
    from recon_cli.numerics.stable import log1p_over

    count = x.where(x > 0, 1)
    return negative_binomial_rest(x, dispersion) - x * (log_per(count, dispersion) + log1p_over(dispersion * count))
