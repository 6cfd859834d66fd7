"""Constant noise: the likelihood that squared error assumes."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import Loss, SquaredError
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import line, product, times, wide

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor


@dataclass(frozen=True)
class Gaussian(Likelihood):
    """-log p(x | mu) = ((x - mu)/sigma)^2 / 2 + log sigma + log(2 pi)/2, for real x and mu.

    sigma is the standard deviation, in units of x, one for all elements: Kingma and Welling (2014),
    appendix C.2, with the network giving the mean alone.

    >>> Gaussian(sigma=0.5).nll(1.0, 0.5)
    tensor(0.7258, dtype=torch.float64)
    >>> Gaussian(sigma=0.5).slope
    2.0
    """

    sigma: float = parameter(1.0, "the standard deviation")

    loss = SquaredError()
    aliases = ("normal", "gauss")
    of_residual = ()
    density = "exp(-((x - mu)/sigma)**2/2)/(sigma*sqrt(2*pi))"
    calls = (
        "-distributions.Normal(mu, sigma).log_prob(x)",
        "F.gaussian_nll_loss(mu, x, torch.full_like(mu, sigma**2), full=True, reduction='none')",
        "F.gaussian_nll_loss(mu, x, torch.full_like(mu, sigma**2), reduction='none')",
        "-stats.norm.logpdf(x, mu, sigma)",
    )
    source = "the Gaussian decoder of Kingma and Welling 2014, appendix C.2, equation 12, its variance held constant"
    misprints = ("exp(-(x - mu)/sigma**2/2)/(sigma*sqrt(2*pi))",)
    prints = (r"\frac{1}{\sigma\sqrt{2\pi}} e^{-\frac{1}{2}\frac{x-\mu}{\sigma}^2}",)
    best_noise = "the root of the mean squared error"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        z = times(x - mu, 1 / self.sigma)
        return product(z, z, self.normaliser, 0.5)

    def total(self, x: Tensor, raw: Tensor) -> Tensor:
        """By the sum of squared errors, which is all that one sigma for all elements needs of them.

        While sigma is being learned, they are added in the precision of what came in, a third of the time that float64 takes:
        value and gradient are good to two of its roundings.
        """
        if getattr(self.sigma, "ndim", 0):
            return super().total(x, raw)
        fitting_shapes(self, x.shape, raw.shape)
        from torch.nn.functional import mse_loss

        if isinstance(self.sigma, (int, float)):
            squares = mse_loss(wide(raw), wide(x), reduction="sum")  # one pass each way
            return squares * (0.5 / self.sigma / self.sigma) + x.numel() * self.normaliser
        squares, precision = wide(mse_loss(raw, x, reduction="sum")), self.sigma**-2
        return line(squares * precision - x.numel() * precision.log(), 0.5, x.numel() * math.log(2 * math.pi) / 2)

    @property
    def normaliser(self) -> Number:
        return log(self.sigma) + math.log(2 * math.pi) / 2

    @property
    def slope(self) -> Number:
        return 0.5 / self.sigma / self.sigma

    def at_mean_loss(self, loss: Callable[[], float]) -> Gaussian:
        """Return the one whose sigma^2 is the mean squared error."""
        return replace(self, sigma=math.sqrt(loss()))

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> Gaussian:
        """Return the one whose sigma^2 is the mean squared error."""
        return replace(self, sigma=(wide(x) - wide(mu)).square().mean().sqrt().item())

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Gaussian:
        """Return the one of sigma^2 = 1/(2 slope)."""
        del loss  # squared error has no numbers of its own
        return cls(sigma=math.sqrt(0.5 / positive(slope)))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and sigma^2."""
        return mu, mu.new_ones(mu.shape) * self.sigma**2

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        return mu + self.sigma * mu.new_empty(mu.shape).normal_(generator=generator)
