"""Shares between 0 and 1 of any spread: the likelihood that the divergence of mu from x is, but for what depends on mu alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, positive
from recon_cli.identity.losses import LOGIT, Loss
from recon_cli.identity.parametric import Number, parameter
from recon_cli.identity.regions import SHARE
from recon_cli.identity.tensors import standard_gamma
from recon_cli.likelihoods._shares import logit, logit_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

    Derivative = Callable[[], Tensor]  # which is costly, and asked for where somebody differentiates


class ReverseDivergence(Loss):
    """mu log(mu/x) + (1 - mu) log((1 - mu)/(1 - x)): of a coin of chance mu from one of chance x."""

    name = "reverse-divergence"
    aliases: ClassVar[tuple[str, ...]] = ("reverse-bce",)
    formula = "mu*log(mu) + (1 - mu)*log(1 - mu) - mu*log(x) - (1 - mu)*log(1 - x)"
    torch = "mu*log(mu/x) + (1 - mu)*log((1 - mu)/(1 - x))"
    support = SHARE
    domain = SHARE

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none (its kl_div is not symmetric in the classes); as people write it, it cancels where x is near mu."""
        from recon_cli.numerics.stable import with_derivatives

        value = divergence(x, prediction, 1 - prediction, prediction - x)
        return with_derivatives(value, (lambda: -logit_error(x, prediction), prediction))


class ReverseDivergenceOfLogit(ReverseDivergence):
    """The same of the logit of mu."""

    name = "reverse-divergence-of-logit"
    aliases = ()
    torch = "mu*(r - logit(x)) + logsigmoid(-r) - log(1 - x), mu = sigmoid(r)"
    link = LOGIT

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        from recon_cli.numerics.stable import with_derivatives

        mu, rest = prediction.sigmoid(), (-prediction).sigmoid()
        return with_derivatives(
            divergence(x, mu, rest, excess(x, mu, rest)), (lambda: mu * rest * (prediction - logit(x)), prediction)
        )


@dataclass(frozen=True)
class Beta(Likelihood):
    """-log p(x | mu) = -(precision mu - 1) log x - (precision (1 - mu) - 1) log(1 - x) + log B(precision mu, precision (1 - mu)).

    For x and mu between 0 and 1, both open. mu is the mean, mu (1 - mu)/(1 + precision) the variance; the decoder's raw
    output is the logit of mu. precision is a count of observations, in no unit: Ferrari and Cribari-Neto (2004),
    equation 4. B depends on mu, so no loss that is a function of x and mu together is the whole of it.

    >>> Beta(precision=10.0).nll(0.25, 0.5)
    tensor(0.2502, dtype=torch.float64)
    """

    precision: float = parameter(2.0, "how many observations the spread is that of: mu (1 - mu)/variance, less 1")

    loss = ReverseDivergence()
    raw_loss = ReverseDivergenceOfLogit()
    density = (
        "gamma(precision)/(gamma(precision*mu)*gamma(precision*(1 - mu)))*x**(precision*mu - 1)*(1 - x)**(precision*(1 - mu) - 1)"
    )
    calls = (
        "-distributions.Beta(precision*mu, precision*(1 - mu)).log_prob(x)",
        "-stats.beta.logpdf(x, precision*mu, precision*(1 - mu))",
    )
    support = SHARE
    domain = SHARE
    link = LOGIT

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        from recon_cli.numerics.stable import with_derivatives

        value, pull, by_precision = self._nll(x, mu, 1 - mu, mu - x, lambda: -logit_error(x, mu))
        return with_derivatives(value, (lambda: self.precision * pull(), mu), (by_precision, self.precision))

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        from recon_cli.numerics.stable import with_derivatives

        mu, rest = raw.sigmoid(), (-raw).sigmoid()
        value, pull, by_precision = self._nll(x, mu, rest, excess(x, mu, rest), lambda: raw - logit(x))
        return with_derivatives(value, (lambda: self.precision * (mu * rest) * pull(), raw), (by_precision, self.precision))

    def _nll(self, x: Tensor, mu: Tensor, rest: Tensor, over: Tensor, above: Derivative) -> tuple[Tensor, Derivative, Derivative]:
        """Return the nll, and functions of no argument: its derivative by mu over the precision, and that by the precision.

        ``rest`` is 1 - mu, ``over`` mu - x, ``above`` logit mu - logit x.
        """
        from recon_cli.numerics.stable import digamma_less_log

        off = divergence(x, mu, rest, over)
        value = self.precision * off + (x.log() + (-x).log1p()) + self._gap(mu, rest)

        known: list[Tensor] = []  # which both derivatives need: once, where both are asked for

        def digammas() -> list[Tensor]:
            known.extend(digamma_less_log(self.precision * share) for share in (mu, rest) if len(known) < 2)
            return known

        def pull() -> Tensor:
            one, two = digammas()
            return above() + one - two

        def by_precision() -> Tensor:
            one, two = digammas()
            return off + mu * one + rest * two - digamma_less_log(mu.new_ones(()) * self.precision)

        return value, pull, by_precision

    def _gap(self, mu: Tensor, rest: Tensor) -> Tensor:
        """Return log B less the entropy of mu times the precision, which cancel where that is large: by Stirling's errors."""
        from recon_cli.numerics.stable import stirling_error_of

        all_of = mu.new_ones(()) * self.precision
        one, two, both = (stirling_error_of(part) for part in (self.precision * mu, self.precision * rest, all_of))
        return one + two - both + (math.log(2 * math.pi) - all_of.log() - mu.log() - rest.log()) / 2

    @property
    def slope(self) -> Number:
        return self.precision

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return x.log() + (-x).log1p()

    @elementwise
    def gap(self, mu: Tensor) -> Tensor:
        """Return log B(precision mu, precision (1 - mu)) - precision (mu log mu + (1 - mu) log(1 - mu))."""
        return self._gap(mu, 1 - mu)

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Beta:
        """Return the one whose precision is the slope."""
        del loss  # it has no numbers of its own
        return cls(precision=positive(slope))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu (1 - mu)/(1 + precision)."""
        return mu, mu * (1 - mu) / (1 + self.precision)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the share of one Gamma draw in two, inside the interval."""
        import torch

        one, two = (standard_gamma(self.precision * share, generator) for share in (mu, 1 - mu))
        limits = torch.finfo(mu.dtype)
        return (one / (one + two)).clamp(limits.tiny, 1 - limits.eps / 2)


def divergence(x: Tensor, mu: Tensor, rest: Tensor, over: Tensor) -> Tensor:
    """Return mu log(mu/x) + rest log(rest/(1 - x)), rest = 1 - mu and over = mu - x, without cancelling where x is near mu."""
    from recon_cli.numerics.stable import deviance

    return deviance(mu, x, over) + deviance(rest, 1 - x, -over)


def excess(x: Tensor, mu: Tensor, rest: Tensor) -> Tensor:
    """Return mu - x of a mean that was rounded: by what is left of one, where that is the smaller."""
    return (mu - x).where(mu < rest, (1 - x) - rest)
