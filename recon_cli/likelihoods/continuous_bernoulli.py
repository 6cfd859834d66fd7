"""Grey levels: the density that binary cross-entropy forgets to normalise."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import LOGIT, BinaryCrossEntropy, BinaryCrossEntropyWithLogits
from recon_cli.identity.regions import UNIT, Interval

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class ContinuousBernoulli(Likelihood):
    """-log p(x | mu) = -x log mu - (1 - x) log(1 - mu) - log C(mu), for x in [0, 1] and mu in (0, 1).

    C(mu) = log(mu/(1 - mu))/(2 mu - 1), and 2 at mu = 1/2: Loaiza-Ganem and Cunningham (2019),
    equation 5. mu is their lambda, the sigmoid of the decoder's raw output, and *not* the mean of x.
    Binary cross-entropy leaves out the gap, -log C(mu), which moves the gradient.

    >>> ContinuousBernoulli().nll(0.5, 0.5)
    tensor(0., dtype=torch.float64)
    >>> ContinuousBernoulli().gap(0.5)
    tensor(-0.6931, dtype=torch.float64)
    """

    loss = BinaryCrossEntropy()
    raw_loss = BinaryCrossEntropyWithLogits()
    aliases = ("cb", "cbernoulli")
    density = "mu**x*(1 - mu)**(1 - x)*log(mu/(1 - mu))/(2*mu - 1)"
    calls = (
        "-distributions.ContinuousBernoulli(probs=mu).log_prob(x)",
        "-distributions.ContinuousBernoulli(logits=r).log_prob(x)",
    )
    support = UNIT
    domain = Interval(0, 1, closed=False)
    link = LOGIT

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return _nll(x, natural(mu))

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return _nll(x, raw)

    @elementwise
    def gap(self, mu: Tensor) -> Tensor:
        """log((2 mu - 1)/logit mu) = -log 2 + log(tanh(u)/u), u half the logit."""
        half = (natural(mu) / 2).abs().clamp(min=1e-9)  # where the quotient is 1 to rounding, and log 2 beside its logarithm
        return (half.tanh() / half).log() - math.log(2)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return those of e^(k x) on [0, 1], k the logit of mu: near 0 by series.

        They are 1/2 + coth(k/2)/2 - 1/k and 1/k^2 - 1/(4 sinh^2(k/2)).
        """
        k = natural(mu)
        flat = k.abs() < 0.05
        small, large = k.where(flat, 0), k.where(~flat, 1)
        near = 0.5 + small / 12 - small**3 / 720, 1 / 12 - small**2 / 240 + small**4 / 6048
        far = 0.5 + 1 / (2 * (large / 2).tanh()) - 1 / large, 1 / large**2 - 1 / (2 * (large / 2).sinh()) ** 2
        return near[0].where(flat, far[0]), near[1].where(flat, far[1])

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """By the inverse of the distribution function, on the side where it loses no digits."""
        level = -natural(mu).abs()
        flat = level > -1e-8
        uniform = mu.new_empty(mu.shape).uniform_(generator=generator)
        steep = level.where(~flat, -1)
        draw = uniform.where(flat, (uniform * steep.expm1()).log1p() / steep)
        return draw.where(mu < 0.5, 1 - draw)


def natural(mu: Tensor) -> Tensor:
    """Return the logit of mu, near 1/2 through the inverse hyperbolic tangent: no digits lost there."""
    middle = (mu - 0.5).abs() < 0.25
    return (2 * (2 * mu.clamp(0.25, 0.75) - 1).atanh()).where(middle, mu.log() - (-mu).log1p())


def _nll(x: Tensor, logit: Tensor) -> Tensor:
    """From the natural parameter: log(sinh(u)/u) - logit (x - 1/2), u = logit/2; away from zero by its tail."""
    small = logit.abs() < 2
    near, size = logit.clamp(-2, 2), logit.abs().clamp(min=2)
    middle = _log_sinhc(near / 2) - near * (x - 0.5)
    tail = size * ((logit >= 0).to(x.dtype) - x).abs() - size.log() + (-(-size).exp()).log1p()
    return middle.where(small, tail)


def _log_sinhc(u: Tensor) -> Tensor:
    """log(sinh(u)/u) for |u| <= 1, by the series of sinh(u)/u - 1 to u^20 (its rest is under 1e-21)."""
    from recon_cli.numerics.stable import polynomial

    square = u * u
    return (square * polynomial(square, [1 / math.factorial(2 * n + 1) for n in range(1, 11)])).log1p()
