"""What follows from the eigenvalues: which latents live, what they cost, what they save, and how well any of it can do.

For a linear decoder with Gaussian noise all of it is closed form. Its optimum is probabilistic PCA (Tipping and
Bishop, 1999; Lucas and others, 2019), where KL and squared error are the rate R and the distortion D of Shannon's
Gaussian rate-distortion function, with sigma^2 as the water level. Nats per sample throughout.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy

from recon_cli.covariance import Eigenvalues

LOG_2PI = math.log(2 * math.pi)


@dataclass(frozen=True)
class Point:
    """The best that latents can do at a fixed noise; None where the eigenvalues that are known do not say.

    active
        how many of the eigenvalues l_j are above sigma2, at most the number of latents.
    rate
        the KL: sum of log(l_j/sigma2)/2 over the active ones.
    distortion
        the squared error: sigma2 for each active one, l_j for each other.
    log_likelihood
        log p(x), which the ELBO there equals: -rate - distortion/(2 sigma2) - D log(2 pi sigma2)/2.
    """

    sigma2: float
    active: int | None
    rate: float | None
    distortion: float | None
    log_likelihood: float | None


@dataclass(frozen=True)
class Ppca:
    """The maximum-likelihood noise of ``latent`` latents, and the log-likelihood: what a VAE with as many should beat.

    None where they leave no noise at all: the likelihood then grows without end.
    """

    latent: int
    sigma2: float | None
    log_likelihood: float | None


def point(found: Eigenvalues, sigma2: float, latent: int | None = None) -> Point:
    """The optimum at noise ``sigma2`` with at most ``latent`` latents (as many as there are dimensions, if None)."""
    active = found.above(sigma2, latent)
    if not found.exact and active == len(found.values) and (latent is None or latent > active):
        return Point(sigma2, None, None, None, None)
    logs = math.fsum(numpy.log(found.values[:active]))
    tail, d = found.tail(active), found.dimensions
    nll = d * LOG_2PI + logs + (d - active) * math.log(sigma2) + active + tail / sigma2
    return Point(sigma2, active, (logs - active * math.log(sigma2)) / 2, active * sigma2 + tail, -nll / 2)


def ppca(found: Eigenvalues, latent: int) -> Ppca:
    """sigma^2 is the mean of the eigenvalues that are left over: Tipping and Bishop (1999), section 3.2."""
    d, left = found.dimensions, found.dimensions - latent
    tail = found.tail(latent)
    if latent > len(found.values) or found.values[latent - 1] <= 0 or (left and tail <= 0):
        return Ppca(latent, None, None)
    sigma2 = tail / left if left else None
    logs = math.fsum(numpy.log(found.values[:latent])) + (left * math.log(sigma2) if sigma2 else 0)
    return Ppca(latent, sigma2, -(logs + d * LOG_2PI + d) / 2)


def rate(found: Eigenvalues, distortion: float) -> float | None:
    """Shannon's Gaussian R(D): the least nats in which a Gaussian of this covariance can be told to that squared error.

    Reverse water-filling (Cover and Thomas, theorem 10.3.3): the level at which sum of min(l_j, level) is D, then
    sum of log+(l_j/level)/2. Infinite at 0; None where the eigenvalues that are known do not reach so far down.
    """
    if distortion >= found.trace:
        return 0.0
    values = found.values[found.values > 0]
    tails = found.tail(len(values)) + numpy.append(numpy.cumsum(values[::-1])[::-1][1:], 0.0)
    count = int((numpy.arange(1, len(values) + 1) * values + tails >= distortion).sum())
    level = (distortion - tails[count - 1]) / count
    if level <= 0:
        return math.inf if found.exact else None
    if count == len(values) and not found.exact:
        return None
    return math.fsum(numpy.log(values[:count] / level)) / 2


def sweep(found: Eigenvalues, decades: int = 4) -> list[float]:
    """Noises to look at: 1, 2 and 5 in every decade, from above the largest eigenvalue downwards."""
    most = float(found.values[0])
    top = math.floor(math.log10(most)) + 1
    steps = [float(f"{lead}e{power}") for power in range(top, top - decades - 2, -1) for lead in (5, 2, 1)]
    above = [step for step in steps if step > most]
    return [above[-1], *(step for step in steps if most >= step > most * 10**-decades)]
