"""Constant heavy-tailed noise: the likelihood that absolute error assumes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import AbsoluteError, Loss
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor


@dataclass(frozen=True)
class Laplace(Likelihood):
    """-log p(x | mu) = |x - mu|/scale + log(2 scale), for real x and mu.

    scale is the mean absolute deviation, in units of x (the standard deviation is sqrt(2) scale);
    mu is the median and the mean. Laplace (1774), his first law of error.

    >>> Laplace(scale=0.2).nll(1.0, 0.5)
    tensor(1.5837, dtype=torch.float64)
    >>> Laplace(scale=0.2).slope
    5.0
    """

    scale: float = parameter(1.0, "the mean absolute deviation")

    loss = AbsoluteError()
    aliases = ("laplacian", "double-exponential")
    of_residual = ()
    density = "exp(-Abs(x - mu)/scale)/(2*scale)"
    calls = (
        "-distributions.Laplace(mu, scale).log_prob(x)",
        "-stats.laplace.logpdf(x, mu, scale)",
    )
    best_noise = "the mean absolute error"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return ((x - mu) / self.scale).abs() + self.normaliser

    @property
    def normaliser(self) -> Number:
        return log(2 * self.scale)

    @property
    def slope(self) -> Number:
        return 1 / self.scale

    def at_mean_loss(self, loss: Callable[[], float]) -> Laplace:
        """Return the one whose scale is the mean absolute error."""
        return replace(self, scale=loss())

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> Laplace:
        """Return the one whose scale is the mean absolute error."""
        return replace(self, scale=(wide(x) - wide(mu)).abs().mean().item())

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Laplace:
        """Return the one of scale = 1/slope."""
        del loss  # absolute error has no numbers of its own
        return cls(scale=1 / positive(slope))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and 2 scale^2."""
        return mu, mu.new_ones(mu.shape) * 2 * self.scale**2

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw the difference of two exponential draws, which is Laplace's."""
        up, down = (mu.new_empty(mu.shape).exponential_(generator=generator) for _ in range(2))
        return mu + self.scale * (up - down)
