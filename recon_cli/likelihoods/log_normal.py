"""Positive data with a noise in proportion to their median: the likelihood that squared error of logarithms is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.regions import POSITIVE
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from torch import Generator, Tensor


class SquaredLogError(Loss):
    """(log x - log mu)^2."""

    name = "squared-log-error"
    aliases: ClassVar[tuple[str, ...]] = ("log-mse", "sle")
    formula = "(log(x) - log(mu))**2"
    torch = "mse_loss(log(mu), log(x))"
    condition = "which is not MSLE, of log(1 + x)"
    support = POSITIVE
    domain = POSITIVE
    convention = 0.5

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Of the logarithm of the ratio, which does not cancel."""
        return squared(log_ratio(x, prediction), prediction, 1.0)


class SquaredLogErrorOfLog(SquaredLogError):
    """The same of log mu."""

    name = "squared-log-error-of-log"
    aliases = ()
    torch = "mse_loss(r, log(x))"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """(log x - r)^2."""
        return (x.log() - prediction).square()


@dataclass(frozen=True)
class LogNormal(Likelihood):
    """-log p(x | mu) = (log x - log mu)^2/(2 sigma^2) + log x + log(sigma sqrt(2 pi)), for x and mu > 0.

    mu is the median, mu exp(sigma^2/2) the mean; the decoder's raw output is the logarithm of mu. sigma is the
    standard deviation of log x, so a share of the median and in no unit. What a Gaussian on log x leaves out is
    log x, which is offset: Galton (1879); Aitchison and Brown (1957).

    >>> LogNormal(sigma=0.3).nll(1.0, 1.5)
    tensor(0.6283, dtype=torch.float64)
    """

    sigma: float = parameter(1.0, "the standard deviation of log x")

    loss = SquaredLogError()
    raw_loss = SquaredLogErrorOfLog()
    aliases = ("lognorm", "log-gaussian")
    density = "exp(-(log(x) - log(mu))**2/(2*sigma**2))/(x*sigma*sqrt(2*pi))"
    calls = (
        "-distributions.LogNormal(mu.log(), sigma).log_prob(x)",
        "-distributions.LogNormal(r, sigma).log_prob(x)",
        "-stats.lognorm.logpdf(x, sigma, 0, mu)",
    )
    support = POSITIVE
    domain = POSITIVE
    link = LOG
    best_noise = "the root mean squared error of log x"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return squared(log_ratio(x, mu) / self.sigma, mu, self.sigma) / 2 + self._rest(x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return ((x.log() - raw) / self.sigma).square() / 2 + self._rest(x)

    def _rest(self, x: Tensor) -> Tensor:
        return x.log() + log(self.sigma * math.sqrt(2 * math.pi))

    @property
    def slope(self) -> Number:
        return 0.5 / self.sigma / self.sigma

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._rest(x)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> LogNormal:
        """Return the one whose sigma is the root mean squared error of the logarithms."""
        return replace(self, sigma=log_ratio(wide(x), wide(mu)).square().mean().sqrt().item())

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> LogNormal:
        """Return the one of sigma = 1/sqrt(2 slope)."""
        del loss  # it has no numbers of its own
        return cls(sigma=1 / math.sqrt(2 * positive(slope)))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu e^(sigma^2/2) and its square times e^(sigma^2) - 1."""
        spread = wide(mu.new_ones(()) * self.sigma).square()
        mean = (mu * (spread / 2).exp()).to(mu.dtype)
        return mean, mean * mean * spread.expm1()

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw e to a Gaussian draw, times mu; inside the range of numbers."""
        import torch

        limits = torch.finfo(mu.dtype)
        z = mu.new_empty(mu.shape).normal_(generator=generator)
        return (mu * (self.sigma * z).exp()).clamp(limits.tiny, limits.max)


def squared(z: Tensor, mu: Tensor, sigma: Number) -> Tensor:
    """Return the square of z = log(x/mu)/sigma, its derivatives by mu and sigma without squares on the way."""
    from recon_cli.numerics.stable import with_derivatives

    return with_derivatives(z * z, (lambda: -2 * (z / sigma) / mu, mu), (lambda: -2 * z * (z / sigma), sigma))


def log_ratio(x: Tensor, mu: Tensor) -> Tensor:
    """Return log(x/mu) without cancelling where they are near, and finite where their ratio is not."""
    off, ratio = (x - mu) / mu, x / mu
    small, normal = off.abs() < 0.5, (ratio > 1e-300) & (ratio < 1e300)
    far = ratio.where(normal, 1).log().where(normal, x.where(~normal, 1).log() - mu.where(~normal, 1).log())
    return off.clamp(-0.5, 0.5).log1p().where(small, far)
