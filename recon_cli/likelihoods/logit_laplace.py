"""Shares between 0 and 1: the likelihood that absolute error of logits is."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import LOGIT, Loss
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.regions import SHARE
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods._shares import logit, logit_error

if TYPE_CHECKING:
    from torch import Generator, Tensor


class AbsoluteLogitError(Loss):
    """|logit x - logit mu|."""

    name = "absolute-logit-error"
    formula = "Abs(log(x/(1 - x)) - log(mu/(1 - mu)))"
    torch = "l1_loss(logit(mu), logit(x))"
    support = SHARE
    domain = SHARE

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Of the logarithm of the odds' ratio, which does not cancel."""
        return logit_error(x, prediction).abs()


class AbsoluteLogitErrorOfLogit(AbsoluteLogitError):
    """The same of the logit of mu."""

    name = "absolute-logit-error-of-logit"
    torch = "l1_loss(r, logit(x))"
    link = LOGIT

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """|logit x - r|."""
        return (logit(x) - prediction).abs()


@dataclass(frozen=True)
class LogitLaplace(Likelihood):
    """-log p(x | mu) = |logit x - logit mu|/scale + log(2 scale x (1 - x)), for x and mu between 0 and 1.

    mu is the median; the decoder's raw output is its logit. scale is the mean absolute deviation of logit x. Ramesh
    and others (2021), appendix A.3, for pixels moved off 0 and 1: x = 0.8 pixel + 0.1.

    >>> LogitLaplace(scale=0.5).nll(0.25, 0.5)
    tensor(0.5232, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the mean absolute deviation of logit x")

    loss = AbsoluteLogitError()
    raw_loss = AbsoluteLogitErrorOfLogit()
    density = "exp(-Abs(log(x/(1 - x)) - log(mu/(1 - mu)))/scale)/(2*scale*x*(1 - x))"
    calls = (
        "-distributions.TransformedDistribution(distributions.Laplace(r, scale), distributions.SigmoidTransform()).log_prob(x)",
    )
    support = SHARE
    domain = SHARE
    link = LOGIT
    best_noise = "the mean absolute error of logit x"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return (logit_error(x, mu) / self.scale).abs() + self._rest(x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return ((logit(x) - raw) / self.scale).abs() + self._rest(x)

    def _rest(self, x: Tensor) -> Tensor:
        return x.log() + (-x).log1p() + log(2 * self.scale)

    @property
    def slope(self) -> Number:
        return 1 / self.scale

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._rest(x)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> LogitLaplace:
        """Return the one whose scale is the mean absolute error of the logits."""
        return replace(self, scale=logit_error(wide(x), wide(mu)).abs().mean().item())

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> LogitLaplace:
        """Return the one of scale = 1/slope."""
        del loss  # it has no numbers of its own
        return cls(scale=1 / positive(slope))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the sigmoid of a Laplace draw, inside the interval."""
        import torch

        up, down = (mu.new_empty(mu.shape).exponential_(generator=generator) for _ in range(2))
        limits = torch.finfo(mu.dtype)
        return (mu.logit() + self.scale * (up - down)).sigmoid().clamp(limits.tiny, 1 - limits.eps / 2)
