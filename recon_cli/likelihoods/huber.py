"""Gaussian noise with Laplace tails: the likelihood that Huber's loss is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.tensors import times

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class HuberLoss(Loss):
    """(x - mu)^2/2 up to ``delta``, delta (|x - mu| - delta/2) beyond: Huber (1964)."""

    delta: float = parameter(1.0, "the threshold, in units of x")

    name = "huber"
    formula = "Piecewise(((x - mu)**2/2, Abs(x - mu) <= delta), (delta*(Abs(x - mu) - delta/2), True))"
    torch = "huber_loss"
    condition = "not its default of 1"


@dataclass(frozen=True)
class SmoothL1(Loss):
    """(x - mu)^2/(2 beta) up to ``beta``, |x - mu| - beta/2 beyond: Huber's loss over beta; Girshick (2015)."""

    beta: float = parameter(1.0, "the threshold, in units of x")

    name = "smooth-l1"
    formula = "Piecewise(((x - mu)**2/(2*beta), Abs(x - mu) <= beta), (Abs(x - mu) - beta/2, True))"
    torch = "smooth_l1_loss"

    def canonical(self) -> tuple[Loss, Number]:
        """Return Huber's loss, over beta."""
        return HuberLoss(delta=self.beta), 1 / self.beta


@dataclass(frozen=True)
class Huber(Likelihood):
    """-log p(x | mu) = rho((x - mu)/scale) + log Z, rho(z) = z^2/2 up to delta, delta (|z| - delta/2) beyond.

    Z = scale (sqrt(2 pi) erf(delta/sqrt 2) + 2 exp(-delta^2/2)/delta), for real x and mu. scale is the
    standard deviation of the middle, in units of x; delta the threshold in units of scale: Huber's
    least favourable density (1964). Gaussian as delta grows, Laplace as it vanishes.

    >>> Huber(scale=0.5, delta=1.0).nll(1.0, 0.5)
    tensor(0.8799, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the standard deviation of the middle")
    delta: float = parameter(1.0, "the threshold, in units of scale")

    aliases = ("smooth-l1",)
    loss = computed(lambda self: HuberLoss(delta=self.delta * self.scale))
    of_residual = ()
    density = (
        "exp(-Piecewise((((x - mu)/scale)**2/2, Abs(x - mu) <= delta*scale), (delta*(Abs(x - mu)/scale - delta/2), True)))"
        "/(scale*(sqrt(2*pi)*erf(delta/sqrt(2)) + 2*exp(-delta**2/2)/delta))"
    )
    calls = ("F.huber_loss(mu, x, delta=delta*scale, reduction='none')/scale**2",)

    @property
    def losses(self) -> dict[Loss, Number]:
        beta = self.delta * self.scale
        return {self.loss: self.slope, SmoothL1(beta=beta): beta * self.slope}

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        from recon_cli.numerics.stable import with_derivatives

        delta, z = self.delta, times(x - mu, 1 / self.scale)
        size = z.detach().abs()
        middle = size.clamp(max=delta)  # size^2/2 where that is size itself, delta (size - delta/2) beyond
        value = size.sub_(middle, alpha=0.5).mul_(middle)
        slopes = (lambda: z.clamp(-delta, delta), z), (lambda: z.abs() - z.abs().clamp(max=delta), delta)
        return with_derivatives(value, *slopes) + self.normaliser

    @property
    def slope(self) -> Number:
        return 1 / self.scale / self.scale

    @property
    def normaliser(self) -> Number:
        """In one logarithm: those of a small scale and of a small delta are large, and cancel; in two beyond the range."""
        delta = self.delta
        if isinstance(delta, (int, float)):
            middle, tail = math.erf(delta / math.sqrt(2)), math.exp(-delta * delta / 2)
        else:
            middle, tail = (delta / math.sqrt(2)).erf(), (-delta * delta / 2).exp()
        if isinstance(delta, (int, float)) and isinstance(self.scale, (int, float)) and math.isinf(self.scale / delta):
            return log(self.scale) - log(delta) + math.log(math.sqrt(2 * math.pi) * delta * middle + 2 * tail)
        return log(self.scale * math.sqrt(2 * math.pi) * middle + 2 * tail * (self.scale / delta))

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Huber:
        """Return the one of scale = 1/sqrt(slope); the loss's delta is in units of x. Smooth L1 is Huber's loss over its beta."""
        if isinstance(loss, SmoothL1):
            slope, loss = slope / loss.beta, HuberLoss(delta=loss.beta)
        scale = 1 / math.sqrt(positive(slope))
        return cls(scale=scale, delta=number_of(loss, "delta", 1.0) / scale)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and scale^2 (m + t (delta^2 + 2 + 2/delta^2))/(m' + t).

        m and m' are the middle's second moment and mass, t the tails' mass.
        """
        bell, tail = math.exp(-(self.delta**2) / 2), 2 * math.exp(-(self.delta**2) / 2) / self.delta
        mass = math.sqrt(2 * math.pi) * math.erf(self.delta / math.sqrt(2))
        whole = mass - 2 * self.delta * bell + tail * (self.delta**2 + 2 + 2 / self.delta**2)
        return mu, mu.new_ones(mu.shape) * self.scale**2 * whole / (mass + tail)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw a tail with its own weight, an exponential beyond delta; else a Gaussian draw cut at delta."""
        weight = math.sqrt(2 * math.pi) * math.erf(self.delta / math.sqrt(2))
        tail = 2 * math.exp(-(self.delta**2) / 2) / self.delta
        outer = mu.new_full(mu.shape, tail / (weight + tail)).bernoulli(generator=generator) == 1
        beyond = self.delta + mu.new_empty(mu.shape).exponential_(generator=generator) / self.delta
        edge = math.erf(self.delta / math.sqrt(2))
        within = math.sqrt(2) * (edge * mu.new_empty(mu.shape).uniform_(generator=generator)).erfinv()
        sign = mu.new_full(mu.shape, 0.5).bernoulli(generator=generator) * 2 - 1
        return mu + self.scale * sign * beyond.where(outer, within)
