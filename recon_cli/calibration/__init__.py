"""For which noise? The one that data choose, what it makes of latents, and the KL weight that stands for it.

``noise`` fits every likelihood; ``covariance`` finds the eigenvalues of data that come in blocks, and ``waterfilling``
what follows from them; ``weights`` translates between conventions; ``reported`` judges published numbers.
"""

from __future__ import annotations

import importlib.util
import math
import numbers
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy

from recon_cli import sources
from recon_cli.calibration.choices import Choices
from recon_cli.calibration.noise import Noise, Progress, every_noise, remarks
from recon_cli.calibration.reported import Claim, Reported, read, reported
from recon_cli.calibration.result import Calibration, Model
from recon_cli.calibration.weights import Convention, Weight, implied, trade_off, weights
from recon_cli.errors import ReconError, not_installed
from recon_cli.identity.arrays import as_array
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.shapes import shapes_differ
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.numerics import spectrum
from recon_cli.numerics.spectrum import MOST, Blocks, Eigenvalues, Ppca, RateDistortion, eigenvalues, point, ppca
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources import _remarks

__all__ = [
    "Calibration", "Choices", "Claim", "Convention", "Eigenvalues", "Model", "Noise", "Ppca", "RateDistortion", "Reported",
    "Weight", "calibrate", "calibrate_sources", "eigenvalues", "point", "ppca", "reported", "weights",
]  # fmt: skip

USUAL = 16  # latents, where none are named
PICTURES = (".png", ".svg", ".pdf")


@in_default_state
def calibrate(
    x: Any = None,
    mu: Any = None,
    *,
    rate: float | None = None,
    clip: bool = False,
    seed: int = 0,
    progress: Progress | None = None,
    **choices: Any,
) -> Calibration:
    """Which noise, which weight, and will it collapse?

    x, mu
        data of shape (N, ...), N counting samples, and their reconstruction, in the same shape; either may be left out,
        and with it what follows from it.
    rate
        the measured KL of the model that made ``mu``, in nats per sample, averaged over samples.
    clip
        keep means just inside a likelihood's domain.
    choices
        latent, shape, batch_size, sigma, sigma2; loss, reduction, kl_weight, kl_reduction, keep: see :class:`Choices`.

    Raises ReconError for data without variance, more latents than dimensions, noises that are not positive, and
    conventions that there are not.

    >>> round(calibrate(shape=(3, 64, 64), loss="mse", reduction="mean", kl_weight=0.00025, kl_reduction="mean-batch").sigma, 3)
    1.239
    """
    asked = Choices(**choices)
    x, mu = (None if values is None else sources.numbers(as_array(values, word), word) for values, word in ((x, "x"), (mu, "mu")))
    if mu is not None and (x is None or x.shape != mu.shape):
        raise ReconError("There is a reconstruction, and no data.") if x is None else shapes_differ(x.shape, mu.shape)
    pair = None if mu is None else sources.Pair(x, mu, clip, "", "data")
    notes = [] if x is None else [*_remarks.array_remarks(x, mu, "x")]
    return found_in(asked, x, pair, rate, seed, progress or (lambda done, words: None), *notes)


@in_default_state
def calibrate_sources(
    data: str | None = None,
    recon: str | None = None,
    *,
    scale: float | None = None,
    recon_scale: float | None = None,
    binarize: str | None = None,
    rate: float | None = None,
    seed: int = 0,
    trust: bool = False,
    progress: Progress | None = None,
    **choices: Any,
) -> Calibration:
    """``calibrate`` on sources named as on the command line.

    Without any data, and nothing that can be answered without: the digits, reconstructed by principal components. The
    rate of a model that recon trained is measured, with the distortion of its draws; with ``trust`` the code of
    its model may be run, where that is its own.
    """
    own = {name: choices.pop(name, None) for name in ("dim", "beta", "rounding")}
    refuse(own, "data", "It goes with --reported; the shape of a sample is --shape, a weight on the KL --kl-weight.")
    asked, advance = Choices(**choices), progress or (lambda done, words: None)
    if data is recon is None and not asked.weights_only:
        data, recon = "digits", "pca"
    if data is None and recon is not None:
        raise ReconError("There is a reconstruction, and no data.", "Give --data, what was reconstructed.")
    if rate is not None and recon is None:
        raise ReconError("--rate is a model's KL, and its reconstruction is missing.", "Give --recon, what it makes of the data.")
    if data is None:
        return found_in(asked, None, None, None, seed, advance)
    source = sources.parse(data, seed)
    known = _, x, about = source, *sources.prepared(source, data, scale, binarize)
    if recon is None:
        return found_in(asked, x, None, None, seed, advance, f"{about}.", *source.remarks)
    how = {"seed": seed, "binarize": binarize, "scale": scale, "recon_scale": recon_scale}
    pair = sources.pair(data, recon, known=known, trust=trust, **how)
    return found_in(asked, x, pair, rate, seed, advance, pair.described, *pair.remarks)


def found_in(
    asked: Choices,
    x: sources.Array | None,
    pair: sources.Pair | None,
    rate: float | None,
    seed: int,
    progress: Progress,
    *notes: str,
) -> Calibration:
    """The calibration of data and of a reconstruction, as far as there are any."""
    if rate is not None and not (isinstance(rate, numbers.Real) and 0 <= rate < math.inf):
        raise ReconError(f"--rate must be a number from 0 up; found {rate!r}.", "It is the KL in nats per sample, averaged.")
    sizes, side, beta, convention = asked.sizes(x), None, None, None
    if asked.read_back:
        loss, convention, weight = asked.in_code
        side, beta = implied(loss, convention, weight, sizes)
    latent, given = asked.latent, asked.sigma is not None or side is not None
    keep = asked.kept(convention, sizes) if convention is not None else None
    found = None if x is None else eigenvalues(Blocks(x), most=max(MOST, latent or 0), seed=seed)
    rows, left = every_noise(pair.x, pair.outputs, pair.fitted, progress) if pair is not None else ((), ())
    why = ""
    if side is None:
        side, why = chosen_noise(asked.sigma, rows, found, latent)
    return Calibration(
        found=found,
        latent=latent,
        noise=rows,
        left_out=left,
        points=tuple(point(found, value, latent) for value in noises(found, asked.sigma2, side if given else None))
        if found
        else (),
        ppca=tuple(ppca(found, size) for size in ([latent] if latent else powers(found))) if found else (),
        side=side,
        given=given,
        beta=beta,
        weights=every_weight(side, beta, convention, rows, sizes),
        convention=convention,
        kl_weight=asked.kl_weight,
        keep=keep,
        model=model(found, pair, rate) if found and pair is not None else None,
        notes=(*notes, *(remarks(rows, pair) if pair is not None else ()), *[why] * bool(why)),
    )


def chosen_noise(
    sigma: float | None, rows: Sequence[Noise], found: Eigenvalues | None, latent: int | None
) -> tuple[Likelihood | None, str]:
    """The Gaussian whose weights are shown, and why that: as given, or fitted to what there is."""
    if sigma is not None:
        return Gaussian(sigma=sigma), ""
    fitted = next((row for row in rows if row.likelihood == "gaussian"), None)
    if fitted is not None:
        return Gaussian(
            **fitted.parameters
        ), "The weights are those of the noise that fits the reconstruction; --sigma says otherwise."
    if found is None:
        return None, ""
    size = latent or min(USUAL, max(1, found.dimensions // 4))
    best = ppca(found, size).sigma2
    if best is None:
        return None, f"{size:,} latents leave no noise, so no weight follows: name one with --sigma."
    named = "" if latent else ", as --latent names none"
    return Gaussian(sigma=math.sqrt(best)), (
        f"The weights are those of sigma = {math.sqrt(best):.6g}, the best for a linear model of {size:,} latents{named}; "
        "--sigma says otherwise, and --recon fits the noise to a reconstruction."
    )


def noises(found: Eigenvalues, sigma2: Sequence[float] | None, side: Likelihood | None) -> list[float]:
    """The noises to look at, the largest first: as given, or of every decade and the one that was chosen."""
    own = {1 / (2 * side.slope)} if side is not None and side.name == "gaussian" else set()
    return list(sigma2) if sigma2 else sorted({*spectrum.sweep(found), *own}, reverse=True)


def powers(found: Eigenvalues) -> list[int]:
    """1, 2, 4, ... latents, as far as they leave a noise."""
    return [1 << power for power in range(11) if (1 << power) < min(found.rank, len(found.values))] or [1]


def every_weight(
    side: Likelihood | None,
    beta: float | None,
    convention: Convention | None,
    rows: Sequence[Noise],
    sizes: dict[str, int | None],
) -> tuple[Weight, ...]:
    """Of the noise that was chosen; and, where it was not read off a weight, of the Laplace noise beside it."""
    if side is None:
        return ()
    found = weights(side, sizes, beta)
    if convention is not None:
        return found
    fitted = next((row.parameters["scale"] for row in rows if row.likelihood == "laplace"), None)
    scale = fitted if fitted is not None and side.name == "gaussian" else math.sqrt(trade_off(side)) / 2
    return found + weights(Laplace(scale=scale), sizes)


def model(found: Eigenvalues, pair: sources.Pair, rate: float | None) -> Model:
    """A reconstruction's point, beside the Gaussian bound: the model's own where it can draw, else ``rate`` and squared error."""
    measured = pair.rate_and_distortion() if rate is None else None
    if measured is not None:
        rate, distortion = measured
    else:
        blocks = zip(Blocks(pair.x), Blocks(pair.mu), strict=True)
        total = math.fsum(numpy.square(numpy.subtract(x, mu, dtype=numpy.float64)).sum() for x, mu in blocks)
        distortion = total / len(pair.x)
    bound = spectrum.rate(found, distortion)
    distance = rate - bound if rate is not None and bound is not None else None
    return Model(distortion, bound, rate, distance, measured is not None)


def plot(found: Calibration, path: str | Path) -> None:
    """The calibration as a picture: png, svg or pdf. Raises ReconError as :func:`plottable` does, and where there is none."""
    from recon_cli.calibration import plots

    plottable(path)
    plots.save(found, Path(path))


def plottable(path: str | Path | None) -> None:
    """Raise ReconError, before any work, where matplotlib is missing or ``path`` is no picture that it could write."""
    if path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise not_installed("--plot draws with", "matplotlib", "plot")
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise ReconError(f"recon cannot draw {path.name!r}.", f"End its name in {', '.join(PICTURES)}.")
    if path.is_dir():
        raise ReconError(f"{str(path)!r} is a folder.", "Name a file in it.")
    if not path.resolve().parent.is_dir():
        raise ReconError(f"There is no folder {str(path.parent)!r} to draw into.", "Make it first.")


def judge(word: str, **options: Any) -> Reported:
    """``reported`` on what the command line says: a number or a csv, with dim, sigma, beta and rounding.

    Raises ReconError for an option that has no meaning there.
    """
    own = {name: options.pop(name, None) for name in ("dim", "sigma", "beta", "rounding")}
    refuse(options, f"--reported {word}", "It goes with --dim, --sigma, --beta and --rounding.")
    return reported(*read(word, **own))


def refuse(options: dict[str, Any], beside: str, hint: str) -> None:
    """Raise ReconError for the first option that was given, where it means nothing."""
    for name, value in options.items():
        if value is not None and value is not False and name not in ("seed", "progress"):
            raise ReconError(f"--{name.replace('_', '-')} means nothing beside {beside}.", hint)
