"""Noise with outliers: the likelihood that the logarithm of a quadratic is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, number_of, positive
from recon_cli.identity.losses import Lorentzian, Loss, log_one_plus_square
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.tensors import standard_gamma

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class StudentT(Likelihood):
    """-log p(x | mu) = (df + 1)/2 log(1 + z^2/df) + log scale + log(2 pi)/2 - B(df/2), z = (x - mu)/scale.

    B(a) = log Gamma(a + 1/2) - log Gamma(a) - log(a)/2, for real x and mu; scale in units of x, df
    degrees of freedom. Cauchy at df = 1, Gaussian as df grows: Lange, Little and Taylor (1989).

    >>> StudentT(df=4.0, scale=0.5).nll(1.0, 0.5)
    tensor(0.8455, dtype=torch.float64)
    """

    df: float = parameter(4.0, "the degrees of freedom")
    scale: float = parameter(1.0, "the width of the middle")

    aliases = ("t", "student", "students-t")
    special = {"cauchy": "df=1"}
    loss = computed(lambda self: Lorentzian(width=self.scale * self.df**0.5))
    of_residual = ()
    density = "gamma((df + 1)/2)/(gamma(df/2)*sqrt(pi*df)*scale)*(1 + ((x - mu)/scale)**2/df)**(-(df + 1)/2)"
    calls = (
        "-distributions.StudentT(df, mu, scale).log_prob(x)",
        "-stats.t.logpdf(x, df, mu, scale)",
    )

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        z = (x - mu) / self.scale / self.df**0.5
        return self.slope * log_one_plus_square(z) + self.normaliser

    @property
    def slope(self) -> Number:
        return (self.df + 1) / 2

    @property
    def normaliser(self) -> Number:
        """log(scale sqrt(2 pi)) - B(df/2), in one logarithm: few digits are lost where it is near zero."""
        root = math.sqrt(2 * math.pi)
        if not isinstance(self.df, (int, float)):
            half = self.df / 2
            return log(self.scale * root) - ((half + 0.5).lgamma() - half.lgamma() - half.log() / 2)
        factor, series = gamma_ratio(self.df / 2)
        return log(self.scale * (root / factor)) - series

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> StudentT:
        """Return the one of df = 2 slope - 1, which must be positive; the loss's width is sqrt(df) times its own scale."""
        df = 2 * positive(slope) - 1
        return cls(df=df, scale=number_of(loss, "width", 1.0) / abs(df) ** 0.5)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mu and scale^2 df/(df - 2); none up to df = 2."""
        if self.df <= 2:
            return None
        return mu, mu.new_ones(mu.shape) * self.scale**2 * self.df / (self.df - 2)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from a Gaussian, over the root of a chi-squared draw over df."""

        normal = mu.new_empty(mu.shape).normal_(generator=generator)
        half = standard_gamma(mu.new_full(mu.shape, self.df / 2), generator)
        return mu + self.scale * normal * (self.df / 2 / half).sqrt()


def gamma_ratio(half: float) -> tuple[float, float]:
    """Gamma(a + 1/2)/(Gamma(a) sqrt a) at a = ``half`` as f e^g: stepped up to a > 32, where the series gives g.

    g = -1/(8a) + 1/(192a^3) - 1/(640a^5) + 17/(14336a^7), its rest under 1e-16; f is a product of ratios. Not
    scipy.special.poch, which is off by 5e-14 at a = 100 and by 2e-12 at 10,000, where this is right to the last bit.
    """
    product, top = 1.0, half
    while top < 32:
        product *= top / (top + 0.5)
        top += 1
    square = 1 / top / top
    series = -(1 / 8 - square * (1 / 192 - square * (1 / 640 - square * (17 / 14336)))) / top
    return product * math.sqrt(top / half), series
