"""Noise of its own for every element, the decoder giving mean and variance: the likelihood that Gaussian NLL is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss
from recon_cli.identity.parametric import parameter
from recon_cli.identity.regions import POSITIVE, REAL, Outputs

if TYPE_CHECKING:
    from torch import Generator, Tensor

HEAD = ("mu", "var")
MEAN_AND_VARIANCE = Outputs(parts=(("mu", REAL), ("var", POSITIVE)))


def _log_variance(mu: Tensor) -> Tensor:
    import torch

    return torch.stack([mu[..., 0], mu[..., 1].log()], dim=-1)


def _variance(raw: Tensor) -> Tensor:
    import torch

    return torch.stack([raw[..., 0], raw[..., 1].exp()], dim=-1)


LOG_VARIANCE = Link("log variance", "r, exp(s)", _log_variance, _variance)


class GaussianNLL(Loss):
    """(log var + (x - mu)^2/var)/2."""

    name = "gaussian-nll"
    formula = "(log(var) + (x - mu)**2/var)/2"
    torch = "gaussian_nll_loss"
    condition = "but that it raises a var below 1e-6 to that"
    head = HEAD
    domain = MEAN_AND_VARIANCE

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own clamps the variance at 1e-6, and not in the gradient."""
        mean, variance = prediction.unbind(dim=-1)
        return (variance.log() + ((x - mean) / variance.sqrt()).square()) / 2


class GaussianNLLOfLogVariance(GaussianNLL):
    """The same of mean and log variance, as most decoders give them."""

    name = "gaussian-nll-of-log-variance"
    torch = "(s + e**2*exp(-s))/2"
    link = LOG_VARIANCE

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """(s + (x - mu)^2 e^-s)/2, the square of (x - mu) e^(-s/2)."""
        mean, level = prediction.unbind(dim=-1)
        return (level + ((x - mean) * (-level / 2).exp()).square()) / 2


@dataclass(frozen=True)
class BetaNLL(Loss):
    """var^beta (log var + (x - mu)^2/var)/2, var^beta held constant: Seitzer and others (2022), equation 6."""

    beta: float = parameter(0.5, "the power of the variance; at 1 the mean learns as under squared error")

    name = "beta-nll"
    formula = "stop(var)**beta*(log(var) + (x - mu)**2/var)/2"
    torch = "var.detach()**beta * gaussian_nll_loss"
    head = HEAD
    domain = MEAN_AND_VARIANCE
    reason = "its weight var^beta is held constant in the gradient, so no function of mean and variance has its gradients"

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Gaussian NLL, weighted."""
        return prediction[..., 1].detach() ** self.beta * GaussianNLL().values(x, prediction)


class Faithful(Loss):
    """(x - mu)^2/2 + (log var + (x - mu)^2/var)/2, mu held constant in the second part: Stirn and others (2023)."""

    name = "faithful"
    formula = "(x - mu)**2/2 + (log(var) + (x - stop(mu))**2/var)/2"
    torch = "mse_loss/2 + gaussian_nll_loss(mu.detach())"
    head = HEAD
    domain = MEAN_AND_VARIANCE
    reason = "mean and variance are trained on two different losses, so no function of both has its gradients"

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Give the mean the gradient of half the squared error, to the bit."""
        import torch

        mean, variance = prediction.unbind(dim=-1)
        fixed = torch.stack([mean.detach(), variance], dim=-1)
        return (x - mean).square() / 2 + GaussianNLL().values(x, fixed)


@dataclass(frozen=True)
class HeteroscedasticGaussian(Likelihood):
    """-log p(x | mu, var) = ((x - mu)^2/var + log var + log(2 pi))/2, for real x, of shape (...).

    What the decoder gives is mu and var along a last axis, (..., 2); its raw output mu and log var. var is
    the variance of each element, in squared units of x: Nix and Weigend (1994), equation 5.

    >>> HeteroscedasticGaussian().nll([1.0], [[0.5, 0.25]])
    tensor([0.7258], dtype=torch.float64)
    >>> HeteroscedasticGaussian().nll_raw([0.0], [[0.0, -2.0]])
    tensor([-0.0811], dtype=torch.float64)
    """

    loss = GaussianNLL()
    raw_loss = GaussianNLLOfLogVariance()
    impostors = (BetaNLL(), Faithful())
    aliases = ("heteroscedastic-normal",)
    density = "exp(-(x - mu)**2/(2*var))/sqrt(2*pi*var)"
    calls = (
        "-distributions.Normal(mu, var.sqrt()).log_prob(x)",
        "F.gaussian_nll_loss(mu, x, var, full=True, reduction='none')",
        "F.gaussian_nll_loss(mu, x, var, reduction='none')",
        "-stats.norm.logpdf(x, mu, var**0.5)",
    )
    head = HEAD
    domain = MEAN_AND_VARIANCE
    link = LOG_VARIANCE

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        mean, variance = mu.unbind(dim=-1)
        z = (x - mean) / variance.sqrt()
        return z * z / 2 + (variance.log() / 2 + self.normaliser)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        mean, level = raw.unbind(dim=-1)
        e = x - mean
        z = e * (-level.where(e != 0, 0) / 2).exp()
        return z * z / 2 + (level / 2 + self.normaliser)

    @property
    def normaliser(self) -> float:
        return math.log(2 * math.pi) / 2

    def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return mean and variance."""
        import torch

        return torch.stack([mean, spread.square()], dim=-1)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return them as the decoder gives them."""
        mean, variance = mu.unbind(dim=-1)
        return mean, variance

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        mean, variance = mu.unbind(dim=-1)
        return mean + variance.sqrt() * mean.new_empty(mean.shape).normal_(generator=generator)
