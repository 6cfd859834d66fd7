"""Noise between Gaussian and Laplace: the likelihood that log-cosh is."""

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
class HyperbolicSecant(Likelihood):
    """-log p(x | mu) = log cosh((x - mu)/scale) + log(pi scale), for real x and mu.

    scale is 2/pi of the standard deviation, in units of x; its tails are e^-|x - mu|/scale: Perks
    (1932); Johnson, Kotz and Balakrishnan (1995), section 23.11.

    >>> HyperbolicSecant(scale=0.5).nll(1.0, 0.5)
    tensor(0.8854, dtype=torch.float64)
    """

    scale: float = parameter(1.0, "the decay length of the tails")

    aliases = ("sech",)
    loss = computed(lambda self: LogCosh(scale=self.scale))
    of_residual = ()
    density = "1/(pi*scale*cosh((x - mu)/scale))"
    calls = (
        "torch.log(torch.cosh((x - mu)/scale)) + math.log(math.pi*scale)",
        "-stats.hypsecant.logpdf(x, mu, scale)",
    )

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return log_cosh((x - mu) / self.scale) + self.normaliser

    @property
    def normaliser(self) -> Number:
        return log(math.pi * self.scale)

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> HyperbolicSecant:
        """Return the one of the log-cosh's scale; the slope is 1 at any scale, and logistic noise has slope 2."""
        return cls(scale=number_of(loss, "scale", 1.0)) if positive(slope) == 1 else super().with_slope(slope)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and (pi scale/2)^2."""
        return mu, mu.new_ones(mu.shape) * (math.pi * self.scale / 2) ** 2

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """By the inverse of the distribution function, log tan(pi u/2)."""
        uniform = mu.new_empty(mu.shape).uniform_(generator=generator)
        return mu + self.scale * (uniform * (math.pi / 2)).tan().log()
