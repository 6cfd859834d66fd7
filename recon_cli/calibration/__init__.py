"""For which noise? The one that data choose, what it makes of latents, and the KL weight that stands for it.

``noise`` fits every likelihood; ``numerics.spectrum`` finds the eigenvalues of data that come in blocks, and what follows
from them; ``weights`` translates between conventions; ``reported`` judges published numbers.
"""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy

from recon_cli import likelihoods, sources
from recon_cli.calibration.choices import Choices
from recon_cli.calibration.noise import FittedNoise, Progress, every_noise, remarks
from recon_cli.calibration.reported import PublishedNll, Reported, read, reported
from recon_cli.calibration.result import Calibration, ModelPoint
from recon_cli.calibration.weights import Convention, Weight, implied, trade_off, weights
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.shapes import shapes_differ
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.numerics.missing import eigenvalues_of_present
from recon_cli.numerics.spectrum import MOST, Blocks, Eigenvalues, Ppca, RateDistortion, eigenvalues, point, ppca, sweep
from recon_cli.numerics.spectrum import rate as bound_of
from recon_cli.runtime.lazy_arrays import Array, Lazy
from recon_cli.runtime.plotting import plottable
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources import _remarks

__all__ = [
    "Calibration", "Choices", "Convention", "Eigenvalues", "FittedNoise", "ModelPoint", "Ppca", "PublishedNll", "RateDistortion",
    "Reported", "Weight", "calibrate", "calibrate_sources", "eigenvalues", "plottable", "point", "ppca", "reported", "weights",
]  # fmt: skip

USUAL = 16  # latents, where none are named


def no_progress(percent: int, words: str) -> None:
    """Show nothing of how far the work is."""
    del percent, words


@in_default_state
def calibrate(
    x: Any = None,
    mu: Any = None,
    *,
    rate: float | None = None,
    clip: bool = False,
    latent: int | None = None,
    shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    sigma: float | None = None,
    sigma2: Sequence[float] | None = None,
    loss: Loss | str | None = None,
    reduction: str | None = None,
    kl_weight: float | None = None,
    kl_reduction: str | None = None,
    keep: str | None = None,
    likelihood: Sequence[str] = (),
    seed: int = 0,
    missing: str | None = None,
    mask: Any = None,
    weights: Any = None,
    totals: Any = None,
    progress: Progress | None = None,
) -> Calibration:
    """Which noise, which weight, and will it collapse?

    x, mu
        data of shape (N, ...), N counting samples, and their reconstruction, in the same shape: arrays of anybody's, tables,
        data sets, loaders, paths, or words as on the command line (``"pca:16"``); either may be left out, and with it what
        follows from it.
    rate
        the measured KL of the model that made ``mu``, in nats per sample, averaged over samples.
    clip
        keep means just inside a likelihood's domain.
    missing, mask, weights
        ``nan``: NaN in ``x`` is a value that is not there. A mask, 0 where one is not there; a masked array's own is heeded.
        How much each value, sample or class counts. Sums, fits and the spectrum are of what is there.
    totals
        out of how many each value of ``x`` counts, for a binomial, ``mu`` being the share.
    latent, shape, batch_size, sigma, sigma2, loss, reduction, kl_weight, kl_reduction, keep, likelihood
        see :class:`Choices`.

    Raises ReconError for data without variance, more latents than dimensions, noises that are not positive, and
    conventions that there are not.

    >>> round(calibrate(shape=(3, 64, 64), loss="mse", reduction="mean", kl_weight=0.00025, kl_reduction="batch-mean").sigma, 3)
    1.239
    """
    choices = Choices(latent, shape, batch_size, sigma, sigma2, loss, reduction, kl_weight, kl_reduction, keep, likelihood)
    reading = sources.ReadOptions(missing=missing, mask=mask, weights=weights, totals=totals)
    if isinstance(x, (str, Path)) or isinstance(mu, (str, Path)):
        return calibrate_sources(x, mu, choices, rate=rate, seed=seed, reading=reading, progress=progress)
    given, other = sources.Given(x, "x", seed, reading), sources.Given(mu, "mu")
    data, means = (None if one.data is None else taken(one) for one in (given, other))
    pair = None
    if means is not None:
        if data is None:
            raise ReconError("There is a reconstruction, and no data.")
        sources.in_order(given, other)
        if totals is not None:
            means = sources.shares(means, data, other.word)
        if data.shape != means.shape:
            raise shapes_differ(data.shape, means.shape)
        pair = sources.Pair(data, means, clip, "", "data", partial=given.partial, weights=given.weights)
    notes = [] if data is None else [*given.remarks, *_remarks.array_remarks(data, means, "x")]
    return _calibration(choices, data, pair, rate, seed, progress or no_progress, notes, given)


def taken(given: sources.Given) -> Array | Lazy:
    """Return the numbers of an object as they are, and as finite ones, but for what is not there."""
    values = given.read()
    if given.partial or given.reading.partial or given.reading.totals is not None:
        return sources.observed(given, values, given.word, 1.0)[0]
    return values if isinstance(values, Lazy) else sources.numbers(values, given.word)


@in_default_state
def calibrate_sources(
    data: Any = None,
    recon: Any = None,
    choices: Choices | None = None,
    *,
    scale: float | None = None,
    recon_scale: float | None = None,
    recon_offset: float = 0.0,
    binarize: str | None = None,
    rate: float | None = None,
    seed: int = 0,
    trust: bool = False,
    reading: sources.ReadOptions | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Return ``calibrate`` on sources named as on the command line.

    Without any data, and nothing that can be answered without: the digits, reconstructed by principal components. The
    rate of a model that recon trained is measured, with the distortion of its draws; with ``trust`` the code of
    its model may be run, where that is its own.
    """
    choices, progress = choices or Choices(), progress or no_progress
    if data is recon is None and not choices.weights_only:
        data, recon = "digits", "pca"
    if data is None and recon is not None:
        raise ReconError("There is a reconstruction, and no data.", "Give --data, what was reconstructed.")
    if rate is not None and recon is None:
        raise ReconError("--rate is a model's KL, and its reconstruction is missing.", "Give --recon, what it makes of the data.")
    if data is None:
        return _calibration(choices, None, None, None, seed, progress)
    source, word = sources.source_of(data, "data", seed, reading)
    x, about = sources.prepared(source, word, scale, binarize)
    if recon is None:
        return _calibration(choices, x, None, None, seed, progress, [f"{about}.", *source.remarks], source)
    pair = sources.pair(
        word, recon, seed=seed, binarize=binarize, scale=scale, recon_scale=recon_scale, recon_offset=recon_offset,
        known=(source, x, about), trust=trust, reading=reading,
    )  # fmt: skip
    return _calibration(choices, x, pair, rate, seed, progress, [pair.described, *pair.remarks], source)


def _calibration(
    choices: Choices,
    x: Array | Lazy | None,
    pair: sources.Pair | None,
    rate: float | None,
    seed: int,
    progress: Progress,
    notes: Sequence[str] = (),
    source: sources.Source | None = None,
) -> Calibration:
    """Return the calibration of data and of a reconstruction, as far as there are any; ``source`` says which values count."""
    if rate is not None and not (isinstance(rate, numbers.Real) and 0 <= rate < math.inf):
        raise ReconError(f"--rate must be a number from 0 up; found {rate!r}.", "It is the KL in nats per sample, averaged.")
    sizes, beta, convention, likelihood = choices.sizes(None if x is None else x.shape[1:]), None, None, None
    if choices.in_code is not None:
        loss, convention, weight = choices.in_code
        likelihood, beta = implied(loss, convention, weight, sizes)
    is_asked_for = choices.sigma is not None or likelihood is not None
    keep = choices.kept_trade_off(convention, sizes) if convention is not None else None
    partly = source is not None and (source.partial or source.weights is not None)
    has_totals = source is not None and source.reading.totals is not None
    spectrum, come_by = None, ""
    if x is not None and not has_totals:
        spectrum, come_by = spectrum_by(x, choices.latent or 0, seed, source if partly else None)
    notes = (*notes, *[f"The spectrum is {come_by}."] * bool(come_by))
    rows: tuple[FittedNoise, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()
    if pair is not None:
        asked = [one.name for one in likelihoods.with_totals(choices.likelihood)] if has_totals else choices.likelihood
        rows, left_out = every_noise(pair.x, pair.outputs, pair.fitted, progress, pair.weights, pair.partial, asked)
    why = ""
    if likelihood is None:
        likelihood, why = shown_noise(choices, rows, spectrum)
    points, best = list[RateDistortion](), list[Ppca]()
    if spectrum is not None:
        levels = noise_levels(spectrum, choices.sigma2, likelihood if is_asked_for else None)
        points = [point(spectrum, level, choices.latent) for level in levels]
        best = [ppca(spectrum, latent) for latent in ([choices.latent] if choices.latent else powers(spectrum))]
    return Calibration(
        eigenvalues=spectrum,
        latent=choices.latent,
        noise=rows,
        left_out=left_out,
        points=tuple(points),
        ppca=tuple(best),
        likelihood=likelihood,
        is_asked_for=is_asked_for,
        beta=beta,
        weights=every_weight(likelihood, beta, convention, rows, sizes),
        convention=convention,
        kl_weight=choices.kl_weight,
        keep=keep,
        model=model(spectrum, pair, rate) if spectrum is not None and pair is not None and not partly else None,
        notes=(*notes, *(remarks(rows, pair) if pair is not None else ()), *[why] * bool(why)),
        sizes=sizes,
    )


def spectrum_by(x: Array | Lazy, latent: int, seed: int, source: sources.Source | None) -> tuple[Eigenvalues, str]:
    """Return the eigenvalues of the data, and of those that are not all there, or do not count alike, how, in words."""
    if source is None:
        return eigenvalues(Blocks(x), most=max(MOST, latent), seed=seed), ""
    rows = numpy.asarray(x, dtype=numpy.float64).reshape(len(x), -1)
    shares, said = source.weights, ""
    if shares is not None and shares.ndim > 1:
        flat = shares.reshape(len(x), -1)
        rows, shares = numpy.where(flat > 0, rows, numpy.nan), None
        said = "; it takes every weight above 0 for 1" if len(numpy.unique(flat[flat > 0])) > 1 else ""
    spectrum, words = eigenvalues_of_present(rows, shares, latent)
    return spectrum, words + said


def shown_noise(choices: Choices, rows: Sequence[FittedNoise], spectrum: Eigenvalues | None) -> tuple[Likelihood | None, str]:
    """Return the Gaussian whose weights are shown, as chosen, or fitted to what there is; and in a sentence why that."""
    if choices.sigma is not None:
        return Gaussian(sigma=choices.sigma), ""
    fitted = next((row for row in rows if row.likelihood == "gaussian"), None)
    if fitted is not None:
        why = "The weights are for the noise that fits the reconstruction; set another with --sigma."
        return Gaussian(**fitted.parameters), why
    if spectrum is None:
        return None, ""
    latent = choices.latent or min(USUAL, max(1, spectrum.dimensions // 4))
    best = ppca(spectrum, latent).sigma2
    if best is None:
        return None, f"{latent:,} latents leave no noise, so no weight follows: name one with --sigma."
    named = "" if choices.latent else ", as --latent names none"
    return Gaussian(sigma=math.sqrt(best)), (
        f"The weights are those of sigma = {math.sqrt(best):.6g}, the best for a linear model of {latent:,} latents{named}. "
        "Set another with --sigma; --recon fits the noise to a reconstruction."
    )


def noise_levels(spectrum: Eigenvalues, sigma2: Sequence[float] | None, likelihood: Likelihood | None) -> list[float]:
    """Return the noises to look at, the largest first: as chosen, or of every decade and the one that was asked for."""
    if sigma2:
        return list(sigma2)
    own = {1 / (2 * float(likelihood.slope))} if likelihood is not None and likelihood.name == "gaussian" else set()
    return sorted({*sweep(spectrum), *own}, reverse=True)


def powers(spectrum: Eigenvalues) -> list[int]:
    """Return 1, 2, 4, ... latents, as far as they leave a noise."""
    return [1 << power for power in range(11) if (1 << power) < min(spectrum.rank, len(spectrum.values))] or [1]


def every_weight(
    likelihood: Likelihood | None,
    beta: float | None,
    convention: Convention | None,
    rows: Sequence[FittedNoise],
    sizes: dict[str, int | None],
) -> tuple[Weight, ...]:
    """Return the weights of the noise that is shown; and, where a weight did not imply it, of the Laplace noise beside it."""
    if likelihood is None:
        return ()
    own = weights(likelihood, sizes, beta)
    if convention is not None:
        return own
    fitted = next((row.parameters["scale"] for row in rows if row.likelihood == "laplace"), None)
    scale = fitted if fitted is not None and likelihood.name == "gaussian" else math.sqrt(trade_off(likelihood)) / 2
    return own + weights(Laplace(scale=scale), sizes)


def model(spectrum: Eigenvalues, pair: sources.Pair, rate: float | None) -> ModelPoint:
    """Return a reconstruction's point beside the Gaussian bound: its model's own if it can draw, else of ``rate`` and ``mu``."""
    measured = pair.rate_and_distortion() if rate is None else None
    if measured is not None:
        rate, distortion = measured
    else:
        blocks = zip(Blocks(pair.x), Blocks(pair.mu), strict=True)
        total = math.fsum(numpy.square(numpy.subtract(x, mu, dtype=numpy.float64)).sum() for x, mu in blocks)
        distortion = total / len(pair.x)
    bound = bound_of(spectrum, distortion)
    distance = rate - bound if rate is not None and bound is not None else None
    return ModelPoint(distortion=distortion, rate=rate, bound=bound, distance=distance, of_draws=measured is not None)


def plot(calibration: Calibration, path: str | Path) -> None:
    """Draw a calibration: png, svg or pdf. Raises ReconError as :func:`plottable` does, and where there are no data."""
    from recon_cli.calibration import plots

    plottable(path)
    plots.save(calibration, Path(path))


def judge(
    word: str,
    *,
    dim: int | None = None,
    sigma: float | None = None,
    beta: float | None = None,
    rounding: float | None = None,
    **others: object,
) -> Reported:
    """Return ``reported`` on what the command line says: a number or a csv.

    Raises ReconError for any of the ``others``, the command's options that mean nothing there.
    """
    reject(others, f"--reported {word}", "It goes with --dim, --sigma, --beta and --rounding.")
    return reported(*read(word, dim, sigma, beta, rounding))


def reject(options: Mapping[str, object], beside: str, hint: str) -> None:
    """Raise ReconError for the first option that has a value, where it means nothing."""
    for name, value in options.items():
        if value is not None and value is not False:
            raise ReconError(f"--{name.replace('_', '-')} means nothing beside {beside}.", hint)
