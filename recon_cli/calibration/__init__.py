"""For which noise? The one that data choose, what it makes of latents, and the KL weight that stands for it.

``noise`` fits every likelihood; ``covariance`` finds the eigenvalues of data that come in blocks, and ``waterfilling``
what follows from them; ``weights`` translates between conventions; ``reported`` judges published numbers.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy

from recon_cli import likelihoods, sources
from recon_cli.calibration import waterfilling
from recon_cli.calibration.covariance import MOST, Eigenvalues, blocks_of, eigenvalues
from recon_cli.calibration.noise import Noise, every_noise
from recon_cli.calibration.reported import Claim, Reported, read, reported
from recon_cli.calibration.result import Calibration, Model
from recon_cli.calibration.waterfilling import Point, Ppca, point, ppca
from recon_cli.calibration.weights import Convention, Weight, implied, kept, trade_off, weights
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss, spell

__all__ = [
    "Calibration", "Claim", "Convention", "Eigenvalues", "Model", "Noise", "Point", "Ppca", "Reported", "Weight",
    "calibrate", "calibrate_sources", "eigenvalues", "point", "ppca", "reported", "weights",
]  # fmt: skip

USUAL = 16  # latents, where none are named
PICTURES = (".png", ".svg", ".pdf")


def calibrate(
    x: Any = None,
    mu: Any = None,
    *,
    latent: int | None = None,
    shape: Sequence[int] | None = None,
    batch_size: int | None = None,
    sigma: float | None = None,
    sigma2: Sequence[float] | None = None,
    rate: float | None = None,
    loss: Loss | str | None = None,
    reduction: str | None = None,
    kl_weight: float | None = None,
    kl_reduction: str | None = None,
    keep: str | None = None,
    seed: int = 0,
    clip: bool = False,
    pair: sources.Pair | None = None,
    described: Sequence[str] = (),
    progress: Callable[[int, str], None] | None = None,
) -> Calibration:
    """Which noise, which weight, and will it collapse?

    x, mu
        data of shape (N, ...), N counting samples, and their reconstruction, in the same shape; either may be left out,
        and with it what follows from it.
    latent, batch_size, shape
        K, B and the shape of one sample (of ``x`` where there is any), for what depends on them.
    sigma
        the Gaussian noise whose weights are wanted; without it the one that a given weight assumes, or the one that fits
        the reconstruction, or that of probabilistic PCA.
    sigma2
        the noises to look at, in squared units of the data; 1, 2 and 5 of every decade unless given.
    rate
        the measured KL of the model that made ``mu``, in nats per sample, averaged over samples.
    loss, reduction, kl_weight, kl_reduction
        a trade-off as it stands in somebody's code, to be read as a noise.
    keep
        a convention, as in ``sum`` or ``mean,mean-batch``: what the weight becomes there.
    clip
        keep means just inside a likelihood's domain.

    Raises ReconError for data without variance, more latents than dimensions, noises that are not positive, and
    conventions that there are not.

    >>> round(calibrate(shape=(3, 64, 64), loss="mse", reduction="mean", kl_weight=0.00025, kl_reduction="mean-batch").sigma, 3)
    1.239
    """
    advance = progress or (lambda done, words: None)
    positive("--sigma", sigma), [positive("--sigma2", value) for value in sigma2 or ()]
    if rate is not None and not 0 <= rate < math.inf:
        raise ReconError(f"--rate must be a number from 0 up; found {rate!r}.", "It is the KL in nats per sample, averaged.")
    shape = sample_shape(x, shape)
    dimensions = math.prod(shape) if shape is not None else None
    for option, size, example in (("--latent", latent, 16), ("--batch-size", batch_size, 128)):
        if size is not None and size < 1:
            raise ReconError(f"{option} must be a whole number from 1 up; found {size}.", f"Try {option} {example}.")
    if latent is not None and dimensions is not None and latent > dimensions:
        raise ReconError(
            f"There are more latents than dimensions: {latent:,} of {dimensions:,}.", f"Choose --latent from 1 to {dimensions:,}."
        )
    sizes = {"B": batch_size, "D": dimensions, "K": latent}
    notes = [*described]
    side, beta, convention, weight = None, None, None, None
    if kl_weight is not None or loss is not None or reduction is not None or kl_reduction is not None:
        chosen, convention, weight = convention_of(loss, reduction, kl_weight, kl_reduction, sigma)
        side, beta = implied(chosen, convention, weight, sizes)
    elif keep is not None:
        raise ReconError(
            "--keep keeps a trade-off that stands in code.", "Give it: --loss, --reduction, --kl-weight, --kl-reduction."
        )
    found = None
    if x is not None:
        advance(0, "spectrum")
        found = eigenvalues(blocks_of(numpy.asarray(x)), most=max(MOST, latent or 0), seed=seed)
    rows, left = (), ()
    if pair is None and mu is not None:
        pair = sources.Pair(numpy.asarray(x), numpy.asarray(mu), clip, "", "data")
    if pair is not None:
        rows, left = every_noise(pair.x, pair.outputs, pair.fitted or clip, advance)
    given = sigma is not None or side is not None
    if side is None:
        side, why = chosen_noise(sigma, rows, found, latent)
        notes += [why] * bool(why)
    return Calibration(
        found=found,
        latent=latent,
        shape=tuple(shape) if shape is not None else None,
        batch_size=batch_size,
        noise=rows,
        left_out=left,
        points=tuple(point(found, value, latent) for value in noises(found, sigma2, side if given else None)) if found else (),
        ppca=tuple(ppca(found, size) for size in ([latent] if latent else powers(found))) if found else (),
        side=side,
        given=given,
        beta=beta,
        weights=every_weight(side, beta, convention, rows, sizes),
        convention=convention,
        kl_weight=weight,
        keep=keeping(convention, keep, weight, sizes) if keep is not None and convention is not None else None,
        model=model(found, pair, rate) if found and pair is not None else None,
        notes=tuple(notes),
    )


def calibrate_sources(
    data: str | None = None,
    recon: str | None = None,
    *,
    scale: float | None = None,
    recon_scale: float | None = None,
    binarize: str | None = None,
    seed: int = 0,
    rate: float | None = None,
    dim: int | None = None,
    beta: float | None = None,
    rounding: float | None = None,
    **settings: Any,
) -> Calibration:
    """``calibrate`` on sources named as on the command line.

    Without any data, and nothing that says which weights are wanted: the digits, reconstructed by principal components.
    A source may know the ``rate`` of the model behind it.
    """
    if (
        data is None
        and recon is None
        and settings.get("kl_weight") is None
        and not (settings.get("shape") and settings.get("sigma"))
    ):
        data, recon = "digits", "pca"
    if data is None:
        if recon is not None:
            raise ReconError("There is a reconstruction, and no data.", "Give --data, what was reconstructed.")
        return calibrate(seed=seed, rate=rate, **settings)
    source = sources.parse(data, seed)
    x, about = sources.samples(source, data, scale)
    x = sources.binarized(x, binarize, seed, data)
    described, pair = [f"{about}."], None
    if recon is not None:
        pair = sources.pair(data, recon, seed=seed, binarize=binarize, scale=scale, recon_scale=recon_scale)
        described = [pair.described]
        if rate is None:
            rate = getattr(sources.parse(recon, seed), "rate", None)
    elif rate is not None:
        raise ReconError(
            "--rate is the KL of a model, and there is no reconstruction of its.", "Give --recon, what it makes of the data."
        )
    return calibrate(x, pair=pair, rate=rate, seed=seed, described=described, **settings)


def positive(option: str, value: float | None) -> None:
    """Raise ReconError unless ``value`` is a positive number, or none."""
    if value is not None and not 0 < value < math.inf:
        raise ReconError(f"{option} must be a positive number; found {value!r}.", f"Try {option} 0.1, in units of the data.")


def sample_shape(x: Any, shape: Sequence[int] | None) -> Sequence[int] | None:
    """Of one sample: as given, which must hold as many elements as the data's do."""
    if x is None:
        return shape
    own = numpy.shape(x)[1:] or (1,)
    if shape is not None and math.prod(shape) != math.prod(own):
        raise ReconError(
            f"--shape {spell(tuple(shape))} has {math.prod(shape):,} elements, and a sample of the data {math.prod(own):,}, "
            f"{spell(own)}.",
            "Leave it out: it is read off the data.",
        )
    return shape or own


def convention_of(
    loss: Loss | str | None, reduction: str | None, weight: float | None, kl_reduction: str | None, sigma: float | None
) -> tuple[Loss, Convention, float]:
    """A trade-off as it stands in code. Raises ReconError where a part of it is missing, or a noise is given too."""
    if sigma is not None:
        raise ReconError("The noise is given twice: by --sigma and by --kl-weight.", "Leave one of them out.")
    parts = {"--kl-weight": weight, "--loss": loss, "--reduction": reduction, "--kl-reduction": kl_reduction}
    if missing := [option for option, value in parts.items() if value is None]:
        raise ReconError(
            f"What a weight means depends on the whole loss; missing: {', '.join(missing)}.",
            "Write --loss mse --reduction mean --kl-weight 0.00025 --kl-reduction mean-batch, say.",
        )
    chosen = likelihoods.loss(loss) if isinstance(loss, str) else loss
    return chosen, Convention.parse(reduction, kl_reduction), weight  # type: ignore[return-value, arg-type]


def chosen_noise(
    sigma: float | None, rows: Sequence[Noise], found: Eigenvalues | None, latent: int | None
) -> tuple[Likelihood | None, str]:
    """The Gaussian whose weights are shown, and why that: as given, or fitted to what there is."""
    from recon_cli.likelihoods.gaussian import Gaussian

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
    return list(sigma2) if sigma2 else sorted({*waterfilling.sweep(found), *own}, reverse=True)


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
    from recon_cli.likelihoods.laplace import Laplace

    if side is None:
        return ()
    found = weights(side, sizes, beta)
    if convention is not None:
        return found
    fitted = next((row.parameters["scale"] for row in rows if row.likelihood == "laplace"), None)
    scale = fitted if fitted is not None and side.name == "gaussian" else math.sqrt(trade_off(side)) / 2
    return found + weights(Laplace(scale=scale), sizes)


def keeping(before: Convention, word: str, weight: float, sizes: dict[str, int | None]) -> str:
    """The sentence of ``--keep``: the weight in another convention, as a formula in B, D and K and as a number."""
    reduction, _, divergence = word.partition(",")
    after = Convention.parse(reduction.strip(), divergence.strip() or "sum")
    formula, number = kept(before, after, weight, sizes)
    value = f" = {number:.6g}" if number is not None and formula != f"{number:.12g}" else ""
    return f"To keep today's trade-off after switching from {before} to {after}, set beta = {formula}{value}."


def model(found: Eigenvalues, pair: sources.Pair, rate: float | None) -> Model:
    """The squared error of a reconstruction, its rate where that was measured, and the Gaussian bound there."""
    total = 0.0
    for x, mu in zip(blocks_of(pair.x), blocks_of(pair.mu), strict=True):
        total += float(numpy.square(numpy.subtract(x, mu, dtype=numpy.float64)).sum())
    distortion = total / len(pair.x)
    bound = waterfilling.rate(found, distortion)
    return Model(distortion, bound, rate, rate - bound if rate is not None and bound is not None else None)


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
        raise ReconError(
            "--plot draws with matplotlib, which is not installed.", "pip install matplotlib (or 'recon-cli[plot]')."
        )
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise ReconError(f"recon cannot draw {path.name!r}.", f"End its name in {', '.join(PICTURES)}.")
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
        if value is not None and name not in ("seed", "progress"):
            raise ReconError(f"--{name.replace('_', '-')} means nothing beside {beside}.", hint)
