"""What a training run found."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from recon_cli.errors import ReconError
from recon_cli.fitting import level
from recon_cli.likelihood import Likelihood, wide
from recon_cli.losses import Loss
from recon_cli.report import Column, Picture, Report, Table
from recon_cli.training.bounds import table as bounds_table
from recon_cli.training.figures import ACTIVE, Epoch, shown
from recon_cli.training.optimum import Optimum
from recon_cli.training.regressing import Answer, Line
from recon_cli.training.regressing import table as answers_table
from recon_cli.training.residuals import Calibration
from recon_cli.training.settings import Settings
from recon_cli.vae import Vae

if TYPE_CHECKING:
    from torch import Tensor

NARROW = 16  # characters: a longer title makes a table too wide
SMALL = 64  # pixels: a wider image is no good in half-blocks
PARALLEL = 1e-5  # gradients whose cosine is nearer to 1 than this point one way, in float32


@dataclass(frozen=True, kw_only=True)
class Result(Epoch):
    """The figures on the held-out rows (on the training rows where none are held out), and what they cost.

    data says which; validation is of the validation rows, at the weights that are returned. bits_per_dimension is the negative
    ELBO of 8-bit data in bits an element, None of other data. The noise is that which training ended with, of the training rows.

    seconds is the time in the training loop, its measurements included; samples_per_second is of the
    training rows, over all epochs.

    rmse, r2
        of a regression's y, see :class:`Answer`; of several columns the root of the mean of all, and the mean.
    """

    data: str
    rows_trained: int
    rows_validation: int = 0
    rows_held_out: int
    bits_per_dimension: float | None = None
    seconds: float
    samples_per_second: float
    rmse: float | None = None
    r2: float | None = None


@dataclass(frozen=True)
class Training:
    """A trained model and what was measured on the way.

    likelihood
        with its noise as training left it.
    whose
        whose that noise is: ``fixed``, ``learned``, ``optimal`` or ``per-element``.
    width
        between two levels of 8-bit data, None of other data (and of grey levels taken for coin flips).
    chosen
        the epoch whose weights these are, where early stopping chose; None for the last.
    calibration
        of the noise, on the result's rows; None where x has no mean and variance.
    latents
        the mean KL of each, on the result's rows.
    best
        the noise that the training rows would choose for their reconstructions, None without one.
    grey
        the share of values at which a discrete likelihood is no density of the data.
    bounds
        on log p(x) of the result's rows: the number of samples of z, and nats per sample.
    optimum
        of a linear Gaussian model: what PPCA predicts of the training rows, and what was found.
    pca
        of a linear autoencoder: the least squared error a sample of the training rows, and its own.
    eigenvalue
        the largest of the training rows' covariance (1/N); measured only where a Gaussian collapsed.
    answers
        of a regression, how near its predictions come, for each column of y.
    line
        of linear regression under a Gaussian, the least nll of the training rows, and what was found.
    network
        whether the noise was asked of the network.
    folder
        where the run was written, None if it was not.
    """

    settings: Settings
    likelihood: Likelihood
    whose: str
    described: str
    epochs: tuple[Epoch, ...]
    result: Result
    model: Vae = field(repr=False, compare=False)
    width: float | None = None
    chosen: int | None = None
    calibration: Calibration | None = None
    latents: tuple[float, ...] = ()
    best: float | None = None
    grey: float = 0.0
    eigenvalue: float | None = None
    optimum: Optimum | None = None
    pca: tuple[float, float] | None = None
    answers: tuple[Answer, ...] = ()
    line: Line | None = None
    bounds: tuple[tuple[int, float], ...] = ()
    folder: Path | None = None
    network: bool = False
    picture: Picture | None = field(default=None, repr=False)

    @property
    def collapsed(self) -> bool:
        """Whether every latent is off: the model has learned to ignore z (an autoencoder's encoder, to ignore x)."""
        return self.result.active == 0

    @property
    def loss(self) -> Loss:
        """The one beside the nll."""
        return shown(self.likelihood, self.settings)

    def report(self) -> Report:
        """As ``recon train`` prints it. Holds unless the posterior collapsed."""
        loss, none = self.loss, () if self.settings.latent else CODED
        name = next((word for word in (loss.name, *loss.aliases) if len(word) <= NARROW), "loss")
        titles = {"loss": name, "sigma": level(self.likelihood) or "sigma"}

        def table(name: str, columns: Sequence[tuple[str, str, str]], rows: Sequence[Epoch]) -> Table:
            unseen = {*none} | {key for key in ("validation", "bits_per_dimension") if getattr(self.result, key) is None}
            unseen |= set() if self.result.rows_validation else {"rows_validation"}
            word = "nll" if none else "−ELBO"  # what the validation rows have
            told = [
                Column(
                    key, titles.get(key, title).replace("−ELBO", word), None if key in unseen else panel.replace("−ELBO", word)
                )
                for key, title, panel in columns
            ]
            return Table(name, told, [*map(vars, rows)], most=12)

        results = RESULTS if self.settings.latent else (*RESULTS, *ERRORS)
        tables = [table("epochs", EPOCHS, self.epochs), table("result", results, [self.result])]
        if self.answers:
            tables.append(answers_table(self.answers))
        if self.calibration:
            tables.append(self.calibration.table())
        if any(self.latents):
            tables.append(latents(self.latents))
        if self.bounds:
            tables.append(bounds_table(self.bounds, len(self.model.mean), self.width, self.likelihood.discrete))
        if self.optimum:
            tables.append(optima([self.optimum]))
        pictures = [self.picture] if self.picture and len(self.picture.rows[0][1][0][0]) <= SMALL else []
        return Report("train", tables, list(self.notes()), self.verdict(), not self.collapsed, pictures)

    def notes(self) -> Iterator[str]:
        """What it means, a sentence or two each."""
        result = self.result
        back = f"{result.rows_held_out:,} held out" if result.rows_held_out else "none held out: the result is on the same"
        checked = f"{result.rows_validation:,} for validation, " if result.rows_validation else ""
        yield f"{self.described}; {result.rows_trained:,} rows trained, {checked}{back}."
        if self.chosen:
            how = "Stopped" if self.chosen + self.settings.patience == len(self.epochs) else "Ended"
            yield (
                f"{how} after epoch {len(self.epochs)}, the best was {self.chosen}: there the validation rows are at "
                f"{short(result.validation or 0.0)} nats a sample, and the weights are those."
            )
        if self.settings.own_model:
            count = sum(part.numel() for part in self.model.parameters())
            yield f"The model is {self.settings.model}: {count:,} parameters and {self.settings.latent} latents."
        if self.grey:
            yield (
                f"{self.likelihood.name} is no likelihood of these data: {self.grey:.0%} of the values are neither 0 nor 1. "
                f"Binary cross-entropy on grey levels trains, but its negative ELBO is a bound on nothing. Either use "
                f"--likelihood {self.likelihood.relaxation}, which is normalised there, or make the data 0 or 1: "
                f"--binarize threshold, or --binarize sample."
            )
        if result.ratio is not None and result.cosine is not None:
            yield self.gradients(result.ratio, result.cosine)
        if result.sigma is not None:
            yield self.noise(result.sigma)
        if self.answers:
            yield self.error()
        if self.line:
            yield (
                f"The best that linear regression can do on the training rows (least squares) is an nll of {self.line.best:.6f}, "
                f"at sigma = {self.line.sigma:.4g}; this one is {self.line.gap:.3g} nats a sample above it."
            )
        if self.settings.loss:
            yield self.objective()
        if self.calibration:
            yield self.calibration.words(self.likelihood, "held-out" if result.rows_held_out else "training")
        if result.bits_per_dimension is not None:
            yield BITS
        if self.network:
            yield (
                f"--sigma network: for each element of each sample the decoder gives {' and '.join(self.likelihood.head)}, which "
                f"is the likelihood {self.likelihood.name}."
            )
        if self.settings.deterministic:
            yield (
                "With nothing on the KL the noise of q(z | x) would shrink to nothing, so this is a deterministic autoencoder: z "
                "is the encoder's mean, and nll alone is trained. It has no KL and no ELBO; active are the latents whose "
                "variance over the rows is above 0.01 of the largest one's."
            )
            if self.pca:
                yield (
                    f"The best that a linear autoencoder can do on the training rows (PCA) is a squared error of "
                    f"{self.pca[0]:.6g} a sample; this one's is {self.pca[1]:.6g}."
                )
        elif self.settings.beta != 1:
            yield self.weight()
        if self.bounds and self.width is None:
            yield (
                "Bits per dimension are of the density in the units of training (as dequantised data are); levels k/255 of 8 "
                "bits have log2 255 = 7.994 more. A discretized likelihood's are of the levels themselves."
            )
        if self.optimum:
            yield (
                f"The best that a linear model can do on the training rows (PPCA) is an ELBO of "
                f"{self.optimum.predicted.elbo:.6f}; this one is {self.optimum.gap:.3g} nats a sample below it."
            )
        if self.collapsed:
            yield self.why()
        if self.folder:
            yield f"Written to {self.folder}."

    def gradients(self, ratio: float, cosine: float) -> str:
        """Measured against predicted."""
        loss, name = self.loss.name, self.likelihood.name
        said = (
            f"At the decoder's parameters the {name} likelihood's gradient is {ratio:.6g} times that of the summed {loss}; "
            + (f"predicted {self.result.predicted:.6g}." if self.result.predicted is not None else "nothing is predicted.")
        )
        if self.whose == "per-element":
            return f"{said} Every element has a slope of its own, which no one weight on the loss is (cosine {cosine:.4f})."
        if 1 - cosine < PARALLEL:
            return said
        if self.loss not in self.likelihood.losses:
            return f"{said} They do not point one way (cosine {cosine:.4f})."
        return f"{said} They do not point one way (cosine {cosine:.4f}): the loss leaves out a gap that depends on μ."

    def noise(self, sigma: float) -> str:
        """The noise, where it comes from, and the one the data would choose."""
        name = level(self.likelihood)
        origin = {
            "fixed": "given",
            "learned": "learned with the network",
            "optimal": "the best of each batch in training, and here of the training rows",
            "per-element": "in root mean square, one for each element, learned with the network",
        }[self.whose]
        others = ", ".join(f"{key} = {float(value):.4g}" for key, value in self.likelihood.parameters.items() if key != name)
        if self.whose == "per-element":
            low, high = (float(value) for value in self.likelihood.parameters[name].aminmax())  # type: ignore[union-attr,index]
            origin += f": from {low:.4g} to {high:.4g}"
        said, rule = f"{name} = {sigma:.4g}{', ' * bool(others)}{others}, {origin}", self.likelihood.best_noise
        if not rule:
            return f"{said}."
        if self.whose == "per-element":
            return f"{said}; the best of each is {rule} of its element."
        if self.best is None or self.whose == "optimal":
            return f"{said}: {rule}."
        return f"{said}; {rule}, on the training rows, is {self.best:.4g}."

    def error(self) -> str:
        """How far off the predictions are."""
        result = self.result
        which = "held-out" if result.rows_held_out else "training"
        said = f"RMSE of the {which} rows = {result.rmse:.4g}, in the units of y"
        if self.likelihood.name != "gaussian":
            return f"{said}."
        return f"{said}; sigma is one for all of them, and at the best one nll = D (log sigma + 1.4189), sigma the RMSE."

    def objective(self) -> str:
        """What was trained on in place of the nll."""
        loss, name = self.loss, self.likelihood.name
        said = f"Trained on {self.settings.loss}{f' + {self.settings.beta:g} KL' * bool(self.settings.latent)}; nll is measured."
        if loss in self.likelihood.losses:
            return f"{said} It is {name}'s own, but for the slope and what does not depend on μ."
        return (
            f"{said} It is no likelihood: {loss.reason}." if loss.reason else f"{said} It is another likelihood's, not {name}'s."
        )

    def weight(self) -> str:
        """What the beta amounts to."""
        beta, claim = self.settings.beta, self.likelihood
        said = f"Trained on nll + {beta:g} KL; −ELBO above is nll + KL."
        if self.whose != "fixed":
            return said
        try:
            same = type(claim).with_slope(float(claim.slope) / beta, **claim.loss.parameters)
        except ReconError:  # there is no noise in the slope
            return said
        return f"{said} The trade-off is that of {same} at beta = 1."

    def why(self) -> str:
        """Why every latent is off, as far as that can be told."""
        said, beta = "Posterior collapse: every latent is off.", self.settings.beta
        if self.settings.deterministic:
            return "The encoder gives every row the same code: train with another --lr or --seed."
        if self.eigenvalue is None or self.result.sigma is None:
            noise = ", or a smaller noise," if self.likelihood.noise else ""
            return f"{said} The KL costs more than the latents save: a smaller --beta{noise} makes them pay."
        most, variance = self.eigenvalue, self.result.sigma * self.result.sigma
        if not most:
            return f"{said} The training samples are all alike: there is nothing for a latent to tell."
        words = f"{'beta ' if beta != 1 else ''}sigma^2 = {beta * variance:.3g}"
        said += f" The largest eigenvalue of the training data's covariance is {short(most)}"
        if most > beta * variance:
            return f"{said}, above {words}, so latents would pay: train longer, or with another --lr or --seed."
        way = f"--sigma learned, or a smaller sigma (well below {math.sqrt(most / beta):.2g})"
        if self.whose != "fixed":
            way = f"a smaller --beta (well below {most / variance:.2g})"
        return (
            f"{said}, below {words}: with a linear decoder (PPCA; Lucas and others 2019) even along that direction a latent "
            f"would cost more KL than it saves in nll. Use {way}."
        )

    def verdict(self) -> str:
        """In one line."""
        result, latent = self.result, self.settings.latent
        if self.collapsed:
            noise = "" if result.sigma is None else f" at {level(self.likelihood)} = {result.sigma:.4g}"
            if result.kl is None:
                return f"defective: 0 of {latent} latents vary{noise}, so the model ignores x"
            return f"defective by posterior collapse: 0 of {latent} latents active{noise}, so the model ignores z"
        what = "BCE + KL (on grey levels no ELBO)" if self.grey else "negative ELBO"
        sample = "held-out sample" if result.rows_held_out else "training sample"
        if result.negative_elbo is None:
            if self.settings.latent:
                return f"trained: nll {short(result.nll)} nats per {sample}, {result.active} of {latent} latents vary"
            near = "" if result.rmse is None else f", RMSE {result.rmse:.4g}"
            near += "" if result.r2 is None else f", R² {result.r2:.4f}"
            return f"trained: nll {short(result.nll)} nats per {sample}{near}"
        return f"trained: {what} {short(result.negative_elbo)} nats per {sample}, {result.active} of {latent} latents active"


def optima(found: Sequence[Optimum]) -> Table:
    """Predicted and found, a row each."""
    return Table("optimum", [Column(*one) for one in OPTIMUM], [one.row for one in found])


def latents(found: Sequence[float]) -> Table:
    """The KL of each, the largest first; those that are off in their order."""
    order = sorted(range(len(found)), key=lambda latent: -found[latent] if found[latent] > ACTIVE else 0.0)
    rows = [{"latent": latent, "kl": found[latent], "active": found[latent] > ACTIVE} for latent in order]
    return Table("latents", [Column(*one) for one in LATENTS], rows, "KL of each latent, nats per sample", most=12)


LATENTS = (("latent", "latent", "*"), ("kl", "KL", ""), ("active", "active", ""))
BITS = (
    "bits/dim are the negative ELBO of 8-bit levels over their number: of a probability as it is; of a density less log2 of a "
    "level's width (+ 7.99435 for x/255, + 8 for x/256), its value at the level taken for the whole bin."
)
VALIDATION = "−ELBO of the validation rows, nats per sample"
ERRORS = (
    ("rmse", "RMSE", "error of the prediction, in the units of y"),
    ("r2", "R²", "error of the prediction, in the units of y"),
)
CODED = ("kl", "negative_elbo", "active")  # figures that only latents have
TRAINING = "on the training rows, nats per sample"
RESULT = "nats per sample"
GRADIENTS = "d nll / d loss at the decoder's parameters (autograd)"
COST = "cost"


def figures(values: str) -> tuple[tuple[str, str, str], ...]:
    """The columns of figures: key, title, panel."""
    return (
        ("nll", "nll", values),
        ("loss", "loss", values),
        ("kl", "KL", values),
        ("negative_elbo", "−ELBO", values),
        ("sigma", "sigma", values),
        ("active", "active", values),
        ("ratio", "measured", GRADIENTS),
        ("predicted", "predicted", GRADIENTS),
        ("cosine", "cosine", GRADIENTS),
    )


EPOCHS = (("epoch", "epoch", "*"), *figures(TRAINING), ("validation", "validation", VALIDATION))
RESULTS = (
    ("data", "data", "*"),
    *figures(RESULT),
    ("bits_per_dimension", "bits/dim", RESULT),
    ("validation", "−ELBO", VALIDATION),
    ("epoch", "epochs", COST),
    ("rows_trained", "rows trained", COST),
    ("rows_validation", "rows for validation", COST),
    ("rows_held_out", "rows held out", COST),
    ("seconds", "seconds", COST),
    ("samples_per_second", "samples per second", COST),
)


def beside(key: str, panel: str) -> tuple[tuple[str, str, str], ...]:
    """A predicted figure and the one that was found."""
    return (f"{key}_predicted", "predicted", panel), (f"{key}_found", "found", panel)


BEST = "ELBO of the training rows, nats per sample, beside that of PPCA"
OPTIMUM = (
    ("sigma", "sigma", "*"),
    *beside("elbo", BEST),
    ("gap", "gap", BEST),
    *beside("active", "active latents"),
    *beside("kl", "KL, beside the rate of reverse water-filling"),
    *beside("distortion", "squared error expected of a sample, beside the distortion"),
    *beside("sigma", "sigma, beside the best"),
)


def short(value: float) -> str:
    """A number for a sentence: two decimals where they say something."""
    return f"{value:.2f}" if 0.1 <= abs(value) < 1e5 else f"{value:.3g}"


def largest_eigenvalue(rows: Tensor) -> float:
    """Of the covariance (1/N) of ``rows``, (N, D), in squared units of the data: by power iteration, to 1e-9."""
    centred = wide(rows) - wide(rows).mean(dim=0)
    generator = torch.Generator().manual_seed(0)
    direction = torch.randn(rows.shape[1], generator=generator).to(centred)
    value = 0.0
    for _ in range(1000):
        direction = centred.T @ (centred @ (direction / direction.norm())) / len(rows)
        before, value = value, direction.norm().item()
        if value == 0 or abs(value - before) <= 1e-9 * value:
            break
    return value
