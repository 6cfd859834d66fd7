"""Logistic noise: the likelihood that twice log-cosh is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import LogCosh, Loss, log_cosh
from recon_cli.identity.parametric import Number, computed, parameter

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class Logistic(Likelihood):
    """-log p(x | mu) = 2 log cosh((x - mu)/(2 scale)) + log(4 scale), for real x and mu.

    scale is sqrt(3)/pi of the standard deviation, in units of x: Balakrishnan (1991). The density of
    the discretised one that PixelCNN++ (Salimans and others, 2017) integrates over bins.

    >>> Logistic(scale=0.5).nll(1.0, 0.5)
    tensor(0.9334, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the decay length of the tails")

    aliases = ("sech-squared",)
    loss = computed(lambda self: LogCosh(scale=2 * self.scale))
    of_residual = ()
    density = "1/(4*scale*cosh((x - mu)/(2*scale))**2)"
    calls = (
        "(x - mu)/scale + 2*F.softplus(-(x - mu)/scale) + math.log(scale)",
        "-stats.logistic.logpdf(x, mu, scale)",
    )

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return 2 * log_cosh((x - mu) / (2 * self.scale)) + self.normaliser

    @property
    def normaliser(self) -> Number:
        return log(4 * self.scale)

    @property
    def slope(self) -> Number:
        return 2.0

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Logistic:
        """Return the one whose scale is half the log-cosh's; the slope is 2 at any scale."""
        return cls(scale=number_of(loss, "scale", 1.0) / 2) if positive(slope) == 2 else super().with_slope(slope)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and (pi scale)^2/3."""
        return mu, mu.new_ones(mu.shape) * (math.pi * self.scale) ** 2 / 3

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """By the inverse of the distribution function, the logit."""
        return mu + self.scale * mu.new_empty(mu.shape).uniform_(generator=generator).logit()
