"""The covariance of data that are not all there, or do not all count alike: probabilistic PCA by expectation and maximisation."""

from __future__ import annotations

import math

import numpy

from recon_cli.errors import ReconError
from recon_cli.numerics.spectrum import Eigenvalues, spectrum_of
from recon_cli.runtime.lazy_arrays import Array

FACTORS = 32  # of the covariance, unless more latents are asked for: as good as all up to 33 dimensions
ROUNDS, CLOSE = 1000, 1e-11  # at most; and the share of the log-likelihood that a round must gain
BLOCK = 1 << 21  # numbers of the samples' own matrices at a time


def eigenvalues_of_present(x: Array, weights: Array | None = None, latent: int = 0) -> tuple[Eigenvalues, str]:
    """Return the eigenvalues of the covariance of ``x`` (N, D) where NaN is not there, and how they were come by, in words.

    Where all is there, of the covariance that is weighted by ``weights``, (N,). Else of the most likely covariance of
    min(D - 1, 32) factors (``latent``, if more) and one noise: W W' + s2 I by EM, each value that is not there integrated
    out (Tipping and Bishop, 1999, section 3.3; Ilin and Raiko, 2010, section 2.4). Elements that are
    never there are left out. Raises ReconError for values without variance.
    """
    gone = numpy.isnan(x).all(axis=0)
    if gone.all():
        raise ReconError("No value of the data is there.", "A spectrum takes samples.")
    x, without = x[:, ~gone], f"; {int(gone.sum()):,} elements that are there in no sample are left out" * bool(gone.any())
    count, dimensions = x.shape
    share = numpy.ones(count) if weights is None else weights * (count / weights.sum())
    there = ~numpy.isnan(x)
    weighted = (share[:, None] * there).sum(axis=0)
    mean = (share[:, None] * numpy.where(there, x, 0)).sum(axis=0) / weighted
    apart = numpy.where(there, x - mean, 0.0)
    pairs = (share[:, None] * there).T @ there
    start = (share[:, None] * apart).T @ apart / numpy.maximum(pairs, 1)
    if not numpy.trace(start) > 0:
        raise ReconError("The data have no variance: all samples are alike.", "A spectrum takes samples that differ.")
    if there.all():
        values = spectrum_of(start)
        floor = max(count, dimensions) * numpy.finfo(float).eps * values[0]
        known = numpy.where(values > floor, values, 0)
        return Eigenvalues(known, dimensions, count, float(numpy.trace(start))), f"that of the weighted covariance{without}"
    factors = max(1, min(dimensions - 1, max(FACTORS, latent)))
    loadings, noise, rounds = fitted(x, there, mean, start, share, factors)
    own = spectrum_of(loadings.T @ loadings) + noise
    values = numpy.concatenate([own, numpy.full(dimensions - factors, noise)])
    words = f"that of the most likely covariance of {factors:,} factors and one noise, by EM in {rounds:,} rounds{without}"
    return Eigenvalues(values, dimensions, count, math.fsum(values)), words


def fitted(x: Array, there: Array, mean: Array, start: Array, share: Array, factors: int) -> tuple[Array, float, int]:
    """Return loadings (D, K) and noise of the most likely factors, and how many rounds it took.

    From the covariance ``start`` of what is there. The mean is found with the loadings, as that of a factor that is always 1.
    """
    value, vector = numpy.linalg.eigh(start)
    value, vector = value[::-1], vector[:, ::-1]
    noise = max(float(value[factors:].mean()) if factors < len(value) else 0.0, 1e-3 * float(value[0]))
    loadings = vector[:, :factors] * numpy.sqrt(numpy.maximum(value[:factors] - noise, 1e-3 * noise))
    filled, last, each = numpy.where(there, x, 0.0), -math.inf, max(1, BLOCK // (factors + 1) ** 2)
    parts = [slice(at, at + each) for at in range(0, len(x), each)]
    total, square = (share[:, None] * there).sum(), (share[:, None] * filled**2).sum()
    rounds = 0
    while rounds < ROUNDS:
        rounds += 1
        squares, cross, likelihood = 0.0, 0.0, 0.0
        products = (loadings[:, :, None] * loadings[:, None, :]).reshape(len(loadings), -1)
        for part in parts:
            codes, second, nats = expected(filled[part], there[part], mean, loadings, products, noise)
            squares = squares + (share[part, None] * there[part]).T @ second.reshape(len(codes), -1)
            cross = cross + (share[part, None] * filled[part]).T @ codes
            likelihood += float(share[part] @ nats)
        size = factors + 1
        both = numpy.linalg.solve(numpy.reshape(squares, (-1, size, size)), numpy.asarray(cross)[:, :, None])[:, :, 0]
        noise = max(float((square - (both * cross).sum()) / total), 1e-12 * float(value[0]))
        loadings, mean = both[:, :factors], both[:, factors]
        if abs(likelihood - last) < CLOSE * max(1.0, abs(likelihood)):
            break
        last = likelihood
    return loadings, noise, rounds


def expected(
    x: Array, there: Array, mean: Array, loadings: Array, products: Array, noise: float
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Return the means of the factors and a 1, of each sample (n, K + 1), of their products, and the log-likelihood (n,)."""
    factors = loadings.shape[1]
    rest = numpy.where(there, x - mean, 0.0)
    matrices = (there @ products).reshape(-1, factors, factors) + noise * numpy.eye(factors)
    inverses, projected = numpy.linalg.inv(matrices), rest @ loadings
    codes = (inverses @ projected[:, :, None])[:, :, 0]
    counts = there.sum(axis=1)
    logs = numpy.linalg.slogdet(matrices)[1] + (counts - factors) * math.log(noise) + counts * math.log(2 * math.pi)
    nats = -((rest**2).sum(axis=1) - (projected * codes).sum(axis=1)) / (2 * noise) - logs / 2
    codes = numpy.hstack([codes, numpy.ones((len(codes), 1))])
    second = codes[:, :, None] * codes[:, None, :]
    second[:, :factors, :factors] += noise * inverses
    return codes, second, nats
