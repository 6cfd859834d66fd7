"""Noise that is Gaussian in the middle and Laplace in the tails, smoothly: the likelihood that pseudo-Huber's loss is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, computed, parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class PseudoHuber(Loss):
    """delta^2 (sqrt(1 + ((x - mu)/delta)^2) - 1): quadratic near zero, linear in the tails.

    Charbonnier's sqrt((x - mu)^2 + eps^2) is this over eps, and eps more: Charbonnier and others (1997).
    """

    delta: float = parameter(1.0, "where it turns from quadratic to linear, in units of x")

    name = "pseudo-huber"
    aliases = ("charbonnier",)
    formula = "delta**2*(sqrt(1 + ((x - mu)/delta)**2) - 1)"
    torch = "delta**2*(sqrt(1 + ((x - mu)/delta)**2) - 1)"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, it cancels where little is missed."""
        return rho(x - prediction, prediction, 1.0, self.delta)


@dataclass(frozen=True)
class Hyperbolic(Likelihood):
    """-log p(x | mu) = delta^2 (sqrt(1 + (z/delta)^2) - 1) + log(2 scale delta e^(delta^2) K_1(delta^2)), z = (x - mu)/scale.

    For real x and mu; K_1 is the modified Bessel function. The symmetric hyperbolic distribution of Barndorff-Nielsen
    (1977). scale is the size of the Gaussian middle, in units of x, delta where the tails begin, in units of scale:
    Gaussian of that sigma as delta grows, Laplace of scale/delta as it vanishes.

    >>> Hyperbolic(scale=0.5, delta=1.0).nll(1.0, 0.5)
    tensor(0.9066, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the standard deviation of the middle")
    delta: float = parameter(1.0, "where the tails begin, in units of scale")

    aliases = ("pseudo-huber",)
    loss = computed(lambda self: PseudoHuber(delta=self.delta * self.scale))
    of_residual = ()
    density = "exp(-delta**2*sqrt(1 + ((x - mu)/(scale*delta))**2))/(2*scale*delta*besselk(1, delta**2))"
    calls = (
        "delta*(torch.sqrt(delta**2 + ((x - mu)/scale)**2) - delta) + math.log(2*scale*delta)"
        " + torch.special.scaled_modified_bessel_k1(torch.tensor(delta**2, dtype=torch.float64)).log()",
        "-stats.genhyperbolic.logpdf(x, 1, delta**2, 0, mu, scale*delta)",
    )

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return rho(x - mu, mu, self.scale, self.delta) + self.normaliser

    @property
    def slope(self) -> Number:
        return 1 / self.scale / self.scale

    @property
    def normaliser(self) -> Number:
        return log(2 * self.scale) + log_bessel(self.delta)

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Hyperbolic:
        """Return the one of scale = 1/sqrt(slope); the loss's delta is in units of x."""
        scale = 1 / math.sqrt(positive(slope))
        return cls(scale=scale, delta=number_of(loss, "delta", 1.0) / scale)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and scale^2 K_2(delta^2)/K_1(delta^2)."""
        from scipy.special import kve

        square = self.delta**2
        return mu, mu.new_ones(mu.shape) * self.scale**2 * float(kve(2, square) / kve(1, square))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw below two tangents of the log density, a flat and a steep one, until it is right: Devroye (1986), VII.2."""
        import torch

        turn = 1 + 1 / self.delta**2  # where the exponent is one
        touch = self.delta * math.sqrt((turn - 1) * (turn + 1))
        steep = touch / turn
        flat = touch - 1 / steep
        size = torch.zeros_like(mu).flatten()
        left = torch.arange(len(size), device=size.device)
        while len(left):
            within, chance = (size.new_empty(left.shape).uniform_(generator=generator) for _ in range(2))
            beyond = size.new_empty(left.shape).exponential_(generator=generator)
            middle = size.new_full(left.shape, flat / (flat + 1 / steep)).bernoulli(generator=generator) == 1
            z = (flat * within).where(middle, flat + beyond / steep)
            under = beyond.where(~middle, 0) - rho(z, z, 1.0, self.delta)
            accepted = chance.log() <= under
            size[left[accepted]] = z[accepted]
            left = left[~accepted]
        sign = mu.new_full(mu.shape, 0.5).bernoulli(generator=generator) * 2 - 1
        return mu + self.scale * sign * size.reshape(mu.shape)


def rho(error: Tensor, mu: Tensor, scale: Number, delta: Number) -> Tensor:
    """Return delta^2 (sqrt(1 + (z/delta)^2) - 1) of z = error/scale, error = x - mu, without cancelling near zero."""
    import torch

    from recon_cli.numerics.stable import with_derivatives

    z = error / scale
    t = z / delta
    long = torch.hypot(t, t.new_ones(()))
    bent = t * (t / (1 + long))
    by_mu, by_scale = (lambda: -z / long / scale), (lambda: -z / long * (z / scale))
    return with_derivatives(z * (z / (1 + long)), (by_mu, mu), (by_scale, scale), (lambda: delta * bent * bent / long, delta))


def log_bessel(delta: Number) -> Number:
    """Return log(delta e^(delta^2) K_1(delta^2)), for any delta > 0: torch has no gradient of K_1."""
    import torch
    from torch.special import scaled_modified_bessel_k0, scaled_modified_bessel_k1

    if isinstance(delta, (int, float)):
        if delta < 1e-8:
            return -math.log(delta)
        if delta > 1e8:
            return math.log(math.pi / 2) / 2
        bessel: Tensor = scaled_modified_bessel_k1(torch.tensor(delta * delta, dtype=torch.float64))
        return (delta * bessel).log()

    from recon_cli.numerics.stable import with_derivatives

    square = delta.detach().square()
    first = scaled_modified_bessel_k1(square)
    slope = 2 * delta.detach() * (1 - scaled_modified_bessel_k0(square) / first) - 1 / delta.detach()
    return with_derivatives((delta * first).log(), (slope, delta))
