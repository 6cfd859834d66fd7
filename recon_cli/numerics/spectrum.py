"""The eigenvalues of the data's covariance, from rows that come in blocks, and what follows from them.

Which latents live, what they cost, what they save, and how well any of it can do. For a linear decoder with Gaussian noise
all of it is closed form. Its optimum is probabilistic PCA (Tipping and Bishop, 1999; Lucas and others, 2019), where KL and
squared error are the rate R and the distortion D of Shannon's Gaussian rate-distortion function, with sigma^2 as the water
level. Nats per sample throughout.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy

from recon_cli.errors import ReconError
from recon_cli.report import column
from recon_cli.runtime.lazy_arrays import Array, Lazy

LOG_2PI = math.log(2 * math.pi)

EXACT = 4096  # up to so many dimensions, or samples, every eigenvalue
SMALL = 1024  # dimensions, of one thread's work
MOST = 128  # beyond, this many
SPARE = 32  # directions more than are asked for (Halko and others: at least 5 or 10)
POWER = 6  # passes over the data that sharpen them
SAMPLES = 1 << 19  # elements of a block in float64: what is held beside the covariance


@dataclass(frozen=True)
class Moments:
    """Of N samples: the mean, of shape (D,), the trace of the covariance and, unless D is too large, the covariance (1/N)."""

    samples: int
    mean: Array
    trace: float
    covariance: Array | None


@dataclass(frozen=True)
class Eigenvalues:
    """Of the covariance (1/N) of N samples of D dimensions, the largest first, in squared units of the data.

    values
        every one, or the largest.
    trace
        the sum of all of them, known in any case.
    error
        None where they are exact; else no true eigenvalue's place is taken by one further off than this.
    """

    values: Array
    dimensions: int
    samples: int
    trace: float
    error: float | None = None

    @property
    def exact(self) -> bool:
        """Whether every eigenvalue is known."""
        return len(self.values) == self.dimensions

    @property
    def rank(self) -> int:
        """How many of them are above 0."""
        return int((self.values > 0).sum())

    def above(self, level: float, most: int | None = None) -> int:
        """Return how many of the first ``most`` are above ``level`` by more than rounds a sum over the dimensions, and a solver.

        An eigenvalue at the level is not above it: its latent costs and saves nothing.
        """
        lost = 2 * self.dimensions * numpy.finfo(float).eps * float(self.values[0]) if len(self.values) else 0.0
        return int((self.values[:most] > level + lost).sum())

    def tail(self, count: int) -> float:
        """Return the sum of all but the ``count`` largest; the unknown ones by the trace."""
        rest = 0.0 if self.exact else max(0.0, self.trace - math.fsum(self.values))
        return math.fsum(self.values[count:]) + rest


@dataclass(frozen=True)
class Blocks:
    """``values``, (N, ...), as blocks of rows of (n, D), as often as they are gone through; of a file only one is in memory."""

    values: Array | Lazy

    def __iter__(self) -> Iterator[Array]:
        each = max(1, SAMPLES * len(self.values) // max(1, math.prod(self.values.shape)))
        for first in range(0, len(self.values), each):
            rows = self.values[first : first + each]
            yield rows.reshape(len(rows), -1)


def moments(blocks: Iterable[Array], exact: int = EXACT) -> Moments:
    """Return mean, trace and covariance in one pass over blocks of shape (n, D), in float64, whatever the mean is.

    Every block is centred before anything is squared, and two sets of samples are joined by their counts,
    means and scatters: Chan, Golub and LeVeque (1983). The covariance is left out above ``exact`` dimensions.
    Raises ReconError for values whose squares overflow.
    """
    count, shift = 0, numpy.empty(0)
    mean = square = scatter = numpy.empty(0)
    for block in blocks:
        rows = numpy.array(block, dtype=numpy.float64)
        if not len(rows):
            continue
        if not count:
            shift = rows.mean(axis=0)
            mean, square = numpy.zeros_like(shift), numpy.zeros_like(shift)
            scatter = numpy.zeros((len(shift),) * 2) if len(shift) <= exact else numpy.empty(0)
        with numpy.errstate(over="ignore", invalid="ignore"):
            rows -= shift
            middle = rows.mean(axis=0)
            rows -= middle
            step = middle - mean
            weight = count * len(rows) / (count + len(rows))
            if scatter.size:
                scatter += rows.T @ rows
                scatter += numpy.outer(weight * step, step)
            square += numpy.einsum("ij,ij->j", rows, rows) + weight * step * step
        count += len(rows)
        mean += step * (len(rows) / count)
    trace = math.fsum(square) / count if count and numpy.isfinite(square).all() else math.nan
    if not math.isfinite(trace):
        raise ReconError("The values are too large for a covariance: their squares overflow.", "Rescale the data.")
    return Moments(count, shift + mean, trace, scatter / count if scatter.size else None)


def eigenvalues(blocks: Iterable[Array], exact: int = EXACT, most: int = MOST, seed: int = 0) -> Eigenvalues:
    """Return the eigenvalues of the covariance of all rows of ``blocks``, each of shape (n, D).

    Exact where D or N is at most ``exact`` (of the smaller of the two, the covariance or the Gram matrix);
    beyond, the ``most`` largest by :func:`randomised`. One pass over the blocks where D is small, else several:
    they must then be something that can be gone through again. Raises ReconError for data without variance.
    """
    of_rows = moments(blocks, exact)
    if not of_rows.trace > 0:
        raise ReconError(
            f"The data have no variance: {'there is one sample' if of_rows.samples == 1 else 'all samples are alike'}.",
            "A spectrum takes samples that differ.",
        )
    dimensions = len(of_rows.mean)
    if of_rows.covariance is not None:
        values = spectrum_of(of_rows.covariance)
    elif of_rows.samples <= exact:
        values = spectrum_of(gram(blocks, of_rows))
    else:
        values, error = randomised(blocks, of_rows, most, seed)
        return Eigenvalues(values, dimensions, of_rows.samples, of_rows.trace, error)
    floor = max(dimensions, of_rows.samples) * numpy.finfo(float).eps * values[0]
    every = numpy.zeros(dimensions)
    few = values[: min(dimensions, max(1, of_rows.samples - 1))]  # centred, N samples span N - 1 dimensions
    every[: len(few)] = numpy.where(few > floor, few, 0)
    return Eigenvalues(every, dimensions, of_rows.samples, of_rows.trace)


def spectrum_of(matrix: Array) -> Array:
    """Return every eigenvalue of a symmetric matrix, the largest first; of a small one by a single thread.

    There a second thread gains nothing, and on a busy machine it costs a hundredfold: every step waits for its turn.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1 if len(matrix) <= SMALL else None, "blas"):
        return numpy.linalg.eigvalsh(matrix)[::-1]


def centred(blocks: Iterable[Array], of_rows: Moments) -> Iterator[Array]:
    """Yield the blocks in float64, without their common mean."""
    for block in blocks:
        yield numpy.asarray(block, dtype=numpy.float64) - of_rows.mean


def gram(blocks: Iterable[Array], of_rows: Moments) -> Array:
    """Return the inner products of all samples with one another, over N: (N, N), with the covariance's own eigenvalues."""
    lines = [numpy.hstack([a @ b.T for b in centred(blocks, of_rows)]) for a in centred(blocks, of_rows)]
    return numpy.vstack(lines) / of_rows.samples


def randomised(blocks: Iterable[Array], of_rows: Moments, most: int, seed: int) -> tuple[Array, float]:
    """Return the ``most`` largest eigenvalues, and how far off they may be.

    Subspace iteration from a random start, orthogonal between passes, then Rayleigh-Ritz: Halko, Martinsson and
    Tropp (2011), algorithms 4.4 and 5.3. Each value has a true eigenvalue within the norm of its residual. Not
    scipy.sparse.linalg.eigsh: for digits that nobody asks for it passes over the data, maybe files, 46 to 78 times as often.
    """

    def times(basis: Array) -> Array:
        product = numpy.zeros_like(basis)
        for rows in centred(blocks, of_rows):
            product += rows.T @ (rows @ basis)
        return product / of_rows.samples

    start = numpy.random.default_rng(seed).standard_normal((len(of_rows.mean), most + SPARE))
    basis = numpy.linalg.qr(times(start))[0]
    for _ in range(POWER):
        image = times(basis)
        ritz, turn = numpy.linalg.eigh(basis.T @ image)
        residual = numpy.linalg.norm(image @ turn - (basis @ turn) * ritz, axis=0)[::-1][:most]
        basis = numpy.linalg.qr(image)[0]
    return ritz[::-1][:most].clip(min=0), float(residual.max())


@dataclass(frozen=True)
class RateDistortion:
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

    sigma2: float = column("sigma²", "*")
    active: int | None = column("active", brief=True)
    rate: float | None = column("rate R", brief=True)
    distortion: float | None = column("distortion D", brief=True)
    log_likelihood: float | None = column("log p(x)", brief=True)


@dataclass(frozen=True)
class Ppca:
    """The maximum-likelihood noise of ``latent`` latents, and the log-likelihood: what a VAE with as many should beat.

    None where they leave no noise at all: the likelihood then grows without end.
    """

    latent: int = column("latents", "*")
    sigma2: float | None = column("best sigma²")
    log_likelihood: float | None = column("log p(x)")


def point(spectrum: Eigenvalues, sigma2: float, latent: int | None = None) -> RateDistortion:
    """Return the optimum at noise ``sigma2`` with at most ``latent`` latents (as many as there are dimensions, if None)."""
    active = spectrum.above(sigma2, latent)
    if not spectrum.exact and active == len(spectrum.values) and (latent is None or latent > active):
        return RateDistortion(sigma2, None, None, None, None)
    logs = math.fsum(numpy.log(spectrum.values[:active]))
    tail, d = spectrum.tail(active), spectrum.dimensions
    nll = d * LOG_2PI + logs + (d - active) * math.log(sigma2) + active + tail / sigma2
    return RateDistortion(sigma2, active, (logs - active * math.log(sigma2)) / 2, active * sigma2 + tail, -nll / 2)


def ppca(spectrum: Eigenvalues, latent: int) -> Ppca:
    """Return the best noise, the mean of the eigenvalues left over: Tipping and Bishop (1999), section 3.2."""
    d, left = spectrum.dimensions, spectrum.dimensions - latent
    tail = spectrum.tail(latent)
    if latent > len(spectrum.values) or spectrum.values[latent - 1] <= 0 or (left and tail <= 0):
        return Ppca(latent, None, None)
    sigma2 = tail / left if left else None
    logs = math.fsum(numpy.log(spectrum.values[:latent])) + (left * math.log(sigma2) if sigma2 else 0)
    return Ppca(latent, sigma2, -(logs + d * LOG_2PI + d) / 2)


def rate(spectrum: Eigenvalues, distortion: float) -> float | None:
    """Return Shannon's Gaussian R(D): the least nats in which a Gaussian of this covariance can be told to that squared error.

    Reverse water-filling (Cover and Thomas, theorem 10.3.3): the level at which sum of min(l_j, level) is D, then
    sum of log+(l_j/level)/2. Infinite at 0; None where the eigenvalues that are known do not reach so far down.
    """
    if distortion >= spectrum.trace:
        return 0.0
    values = spectrum.values[spectrum.values > 0]
    tails = spectrum.tail(len(values)) + numpy.append(numpy.cumsum(values[::-1])[::-1][1:], 0.0)
    count = int((numpy.arange(1, len(values) + 1) * values + tails >= distortion).sum())
    level = (distortion - tails[count - 1]) / count
    if level <= 0:
        return math.inf if spectrum.exact else None
    if count == len(values) and not spectrum.exact:
        return None
    return math.fsum(numpy.log(values[:count] / level)) / 2


def sweep(spectrum: Eigenvalues, decades: int = 4) -> list[float]:
    """Return noises to look at: 1, 2 and 5 in every decade, from above the largest eigenvalue downwards."""
    most = float(spectrum.values[0])
    top = math.floor(math.log10(most)) + 1
    steps = [float(f"{lead}e{power}") for power in range(top, top - decades - 2, -1) for lead in (5, 2, 1)]
    above = [step for step in steps if step > most]
    return [above[-1], *(step for step in steps if most >= step > most * 10**-decades)]
