"""Directions: the likelihood that cosine distance is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, positive
from recon_cli.identity.losses import IDENTITY, Link, Loss
from recon_cli.identity.parametric import Number, class_or_instance, parameter
from recon_cli.identity.regions import SPHERE
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods._sphere import concentration, draw, log_integral
from recon_cli.numerics.compensated import two_product

if TYPE_CHECKING:
    from torch import Generator, Tensor


def direction(raw: Tensor) -> Tensor:
    """Every vector over its length, of any length; a zero vector, which has no direction, stays."""
    scaled = tamed(raw)
    square = (scaled * scaled).sum(-1, keepdim=True)
    return scaled / square.where(square > 0, 1).sqrt()


DIRECTION = Link("direction", "r[k]/sqrt(Sum(r[j]**2, (j, 1, K)))", IDENTITY.forward, direction)


class CosineLoss(Loss):
    """1 - cos(x, mu), the cosine of the angle between two vectors."""

    name = "cosine"
    aliases = ("cosine-embedding", "cosine-similarity")
    formula = "1 - Sum(x[k]*mu[k], (k, 1, K))"
    torch = "1 - cosine_similarity(mu, x)"
    support = SPHERE
    domain = SPHERE
    event = 1

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own clamps the product of the lengths at 1e-8, and 1 - cos loses the digits of small angles."""
        import torch

        return cosine_distance(wide(x), wide(prediction)).to(torch.promote_types(x.dtype, prediction.dtype))


@dataclass(frozen=True)
class VonMisesFisher(Likelihood):
    """-log p(x | mu) = kappa (1 - cos(x, mu)) + log((2 pi)^(d/2) I_(d/2-1)(kappa) e^-kappa kappa^(1-d/2)), for unit vectors.

    I is the modified Bessel function, d >= 2 the length of the last axis, x and mu of shape (..., d), the
    nll of shape (...). kappa is the concentration: on unit vectors |x - mu|^2/2 = 1 - cos(x, mu), so a squared
    error of noise sigma is this at kappa = 1/sigma^2. A mean of another length stands for its direction, the
    decoder's raw output among them; a zero vector has none, and is at a right angle to all, without a
    gradient. Data of another length have no chance. Fisher (1953), d = 3; Mardia and Jupp (2000), section 9.3.

    >>> VonMisesFisher(kappa=4.0).nll([1.0, 0.0, 0.0], [0.6, 0.8, 0.0])
    tensor(2.0512, dtype=torch.float64)
    >>> VonMisesFisher(kappa=4.0).nll_raw([1.0, 0.0, 0.0], [3.0, 4.0, 0.0])
    tensor(2.0512, dtype=torch.float64)
    """

    kappa: float = parameter(1.0, "the concentration")

    loss = CosineLoss()
    aliases = ("vmf",)
    density = "kappa**(K/2 - 1)/((2*pi)**(K/2)*besseli(K/2 - 1, kappa))*exp(kappa*Sum(x[k]*mu[k], (k, 1, K)))"
    calls = ("kappa*(1 - F.cosine_similarity(mu, x, dim=-1))",)
    event = 1
    support = SPHERE
    domain = SPHERE
    link = DIRECTION
    best_noise = "the concentration at which the mean cosine is that of the data"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return self.kappa * cosine_distance(x, mu) + log_integral(x.shape[-1], self.kappa)

    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return self.nll(x, raw)

    @property
    def slope(self) -> Number:
        return self.kappa

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return x.new_zeros(x.shape[:-1]) + log_integral(x.shape[-1], self.kappa)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> VonMisesFisher:
        """Return the one whose mean of 1 - cos is that of the data. Raises ReconError where that is 0, or 1 and more."""
        return replace(self, kappa=concentration(x.shape[-1], self.loss(wide(x), wide(mu)).mean().item()))

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> VonMisesFisher:
        """Return the one whose kappa is the slope."""
        del loss  # cosine distance has no numbers of its own
        return cls(kappa=positive(slope))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw an angle to mu, towards any side with equal chance."""
        mean = direction(wide(mu))
        off = draw(mean.shape[-1], self.kappa, mean[..., 0], generator)[..., None]
        across = mean.new_empty(mean.shape).normal_(generator=generator)
        across = direction(across - (across * mean).sum(-1, keepdim=True) * mean)
        return direction((1 - off) * mean + (off * (2 - off)).sqrt() * across).to(mu.dtype)


def tamed(vectors: Tensor) -> Tensor:
    """Every vector over a power of two, which is exact, so that its largest component is of size one."""
    import torch

    limits = torch.finfo(vectors.dtype)
    size = vectors.detach().abs().amax(-1, keepdim=True).clamp(limits.tiny, limits.max / 2)
    return vectors / size.log2().floor().exp2()


def cosine_distance(x: Tensor, mu: Tensor) -> Tensor:
    """1 - cos(x, mu) along the last axis, to the last digits for vectors of any length and as near as they come.

    By the part of x across mu, of length |x| sin: sin^2/(1 + cos) does not cancel. The part along mu is taken
    off with what rounding takes from its product, and what is left of it twice more. A zero vector counts as
    infinitely long: at a right angle to all, without a gradient.
    """
    from recon_cli.numerics.stable import with_derivatives

    def dot(a: Tensor, b: Tensor) -> Tensor:
        return (a * b).sum(-1, keepdim=True)

    x, mu = tamed(x), tamed(mu)
    square, size = (part.where(part > 0, math.inf) for part in (dot(x, x), dot(mu, mu)))
    along = dot(x, mu)
    share = along / size
    across = x - share * mu - two_product(share.detach(), mu.detach())[1]
    for _ in range(2):
        across = across - dot(across, mu) / size * mu
    length, size = square.sqrt(), size.sqrt()
    cos, sin, square = along / length / size, across / length, dot(across, across) / square
    value = (square / (1 + cos)).where(cos > 0, 1 - cos).squeeze(-1)
    return with_derivatives(value, (lambda: -sin / size, mu), (lambda: (cos * sin - square / size * mu) / length, x))
