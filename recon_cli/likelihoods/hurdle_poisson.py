"""Counts of which a share is zero, the rest Poisson's without its zeros: a hurdle to be crossed before there is any."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import class_or_instance, parameter
from recon_cli.identity.regions import COUNT, POSITIVE, SHARE
from recon_cli.likelihoods._counts import log_factorial, poisson_of_log, poisson_of_mean
from recon_cli.likelihoods._zeros import log_of_rest, mixed_moments, thinned, truncated

if TYPE_CHECKING:
    from torch import Generator, Tensor


class ZeroTruncatedPoisson(Loss):
    """log(e^mu - 1) - x log mu where x > 0, nothing where it is 0."""

    name = "zero-truncated-poisson"
    formula = "Piecewise((0, Eq(x, 0)), (mu/2 + log(2*sinh(mu/2)) - x*log(mu), True))"
    torch = "where(x > 0, log(expm1(mu)) - x*log(mu), 0)"
    support = COUNT
    domain = POSITIVE

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, it is infinite beyond a mean of 89 in float32."""
        return truncated_at(x, prediction, prediction.log(), prediction - x * prediction.log(), x.new_zeros(x.shape), prediction)


class ZeroTruncatedPoissonOfLog(ZeroTruncatedPoisson):
    """The same of log mu."""

    name = "zero-truncated-poisson-of-log"
    torch = "where(x > 0, log(expm1(exp(r))) - x*r, 0)"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        mu = prediction.exp()
        return truncated_at(x, mu, prediction, mu - x * prediction, x.new_zeros(x.shape), prediction)


@dataclass(frozen=True)
class HurdlePoisson(Likelihood):
    """-log p(x | mu) = -log zeros at x = 0, log(e^mu - 1) - x log mu + log x! - log(1 - zeros) above, for x = 0, 1, 2, ...

    A share ``zeros`` is 0, more or fewer than Poisson's; the rest is Poisson without its zeros, of mean mu/(1 - e^-mu),
    mu > 0. The decoder's raw output is the logarithm of mu: Mullahy (1986).

    >>> HurdlePoisson(zeros=0.4).nll([0.0, 2.0], [3.0, 3.0])
    tensor([0.9163, 1.9557], dtype=torch.float64)
    """

    zeros: float = parameter(0.5, "the share that is zero", SHARE)

    aliases = ("hurdle",)
    loss = ZeroTruncatedPoisson()
    raw_loss = ZeroTruncatedPoissonOfLog()
    density = "Piecewise((zeros, Eq(x, 0)), ((1 - zeros)*exp(-mu/2)*mu**x/(2*factorial(x)*sinh(mu/2)), True))"
    calls = (
        "-torch.where(x == 0, math.log(zeros), math.log1p(-zeros) - torch.log(-torch.expm1(-mu))"
        " + distributions.Poisson(mu).log_prob(x))",
    )
    support = COUNT
    domain = POSITIVE
    link = LOG
    best_noise = "the share of zeros"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return truncated_at(x, mu, mu.log(), poisson_of_mean(x, mu), log_factorial(x), mu) + self._hurdle(x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return truncated_at(x, raw.exp(), raw, poisson_of_log(x, raw), log_factorial(x), raw) + self._hurdle(x)

    def _hurdle(self, x: Tensor) -> Tensor:
        """Return -log of the chance of a zero, or of none."""
        return (x.new_zeros(x.shape) - log_of_rest(self.zeros)).where(x > 0, x.new_zeros(x.shape) - log(self.zeros))

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._hurdle(x) + log_factorial(x)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> HurdlePoisson:
        """Return the one whose share of zeros is that of the data. Raises ReconError where that is none, or all."""
        del mu
        zeros = (x == 0).double().mean().item()
        if not 0 < zeros < 1:
            raise ReconError(
                f"No share of zeros between 0 and 1 makes these counts most likely: {'all' if zeros else 'none'} of them are 0.",
                "Choose poisson.",
            )
        return HurdlePoisson(zeros=zeros)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return (1 - zeros) m and (1 - zeros) m (1 + mu) less its square, m = mu/(1 - e^-mu)."""
        mean = mu / -(-mu).expm1()
        return mixed_moments(mean, mean * (1 + mu), self.zeros)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the first event of a Poisson process, if there is one in time, and those after it; set a share to zero."""
        import torch

        chance = mu.new_empty(mu.shape).uniform_(generator=generator)
        first = -(chance * (-mu).expm1()).log1p()
        return thinned(1 + torch.poisson((mu - first).clamp(min=0), generator=generator), self.zeros, generator)


def truncated_at(x: Tensor, mu: Tensor, log_mu: Tensor, counted: Tensor, rest: Tensor, point: Tensor) -> Tensor:
    """Return what :func:`truncated` does, as a function of ``point``: the mean itself, or its logarithm."""
    from recon_cli.numerics.stable import with_derivatives

    value, slope = truncated(x, mu, log_mu, counted, rest)
    return with_derivatives(value, (lambda: slope if point is mu else slope * mu, point))
