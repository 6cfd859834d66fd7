"""What a training run found."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from recon_cli.identity.fitting import level
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.models.vae import Vae
from recon_cli.report import Column, Picture, Report, Table
from recon_cli.training import saying
from recon_cli.training.columns import CODED, EPOCHS, ERRORS, RESULTS, latents, optima
from recon_cli.training.evaluation.bounds import table as bounds_table
from recon_cli.training.evaluation.mean_alone import Alone
from recon_cli.training.evaluation.residuals import Calibration
from recon_cli.training.experiments.optimum import Optimum
from recon_cli.training.figures import Epoch, shown
from recon_cli.training.regressing import Answer, Line
from recon_cli.training.regressing import table as answers_table
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    pass

NARROW = 16  # characters: a longer title makes a table too wide
SMALL = 64  # pixels: a wider image is no good in half-blocks


@dataclass(frozen=True, kw_only=True)
class Result(Epoch):
    """The figures on the held-out rows (on the training rows where none are held out), and what they cost.

    data says which; validation is of the validation rows, at the weights that are returned. bits_per_dimension is the negative
    ELBO of 8-bit data in bits an element, None of other data. The noise is that which training ended with, of the training rows.

    seconds is the time in the training loop, its measurements included; samples_per_second is of the
    training rows, over all epochs.

    mean_alone
        nll of the best constant for every row, of the training rows, with the best noise where that is free: no model at all.
    rmse, r2
        of a regression's y, see :class:`Answer`; of several columns the root of the mean of all, and the mean.
    """

    data: str
    rows_trained: int
    rows_validation: int = 0
    rows_held_out: int
    bits_per_dimension: float | None = None
    mean_alone: float | None = None
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
        on log p(x) of the result's rows, estimated: the number of samples of z, and nats per sample; ``bound_errors`` are
        the standard errors.
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
    alone
        the mean alone beside the model, on the result's rows.
    still
        what to do about elements that never change, where the decoder gives each a noise; empty where there are none.
    network
        whether the noise was asked of the network.
    folder
        where the run was written, None if it was not.
    remarks
        what the data may be instead of what they were taken for.
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
    bound_errors: tuple[float, ...] = ()
    folder: Path | None = None
    alone: Alone | None = None
    still: str = ""
    network: bool = False
    picture: Picture | None = field(default=None, repr=False)
    remarks: tuple[str, ...] = ()

    @property
    def collapsed(self) -> bool:
        """Whether every latent is off: the model has learned to ignore z (an autoencoder's encoder, to ignore x)."""
        return self.result.active == 0

    @property
    def worse(self) -> bool:
        """Whether the mean of the training rows alone, without any model, does better."""
        return self.alone is not None and self.alone.worse

    @property
    def holds(self) -> bool:
        """Whether something was learned: by a likelihood of these data, with latents in use, better than the mean alone."""
        return not (self.grey or self.collapsed or self.worse)

    @property
    def loss(self) -> Loss:
        """The one beside the nll."""
        return shown(self.likelihood, self.settings)

    def report(self) -> Report:
        """As ``recon train`` prints it: holds unless nothing was learned, or the likelihood is none of these data."""
        loss, none = self.loss, () if self.settings.latent else CODED
        name = next((word for word in (loss.name, *loss.aliases) if len(word) <= NARROW), "loss")
        titles = {"loss": name, "sigma": level(self.likelihood) or "sigma"}

        def table(name: str, columns: Sequence[tuple[str, str, str | None]], rows: Sequence[Epoch]) -> Table:
            unseen = {*none} | {key for key in ("validation", "bits_per_dimension") if getattr(self.result, key) is None}
            unseen |= set() if self.result.rows_validation else {"rows_validation"}
            word = "−ELBO" if self.settings.bounded else "nll"  # what the validation rows have
            told = [
                Column(
                    key,
                    titles.get(key, title).replace("−ELBO", word),
                    None if key in unseen or panel is None else panel.replace("−ELBO", word),
                )
                for key, title, panel in columns
            ]
            return Table(name, told, [*map(vars, rows)], most=12)

        results = RESULTS if self.settings.latent else (*RESULTS, *ERRORS)
        tables = [table("epochs", EPOCHS, self.epochs), table("result", results, [self.result])]
        if self.answers:
            tables.append(answers_table(self.answers))
        if self.calibration:
            tables.append(self.calibration.table(regression=not self.settings.latent))
        if any(self.latents):
            tables.append(latents(self.latents))
        if self.bounds:
            size, discrete = len(self.model.mean), self.likelihood.discrete
            tables.append(bounds_table(self.bounds, self.bound_errors, size, self.width, discrete))
        if self.optimum:
            tables.append(optima([self.optimum]))
        pictures = [self.picture] if self.picture and len(self.picture.rows[0][1][0][0]) <= SMALL else []
        return Report("train", tables, list(self.notes()), self.verdict(), self.holds, pictures)

    def notes(self) -> Iterator[str]:
        """What it means, a sentence or two each."""
        return saying.notes(self)

    def verdict(self) -> str:
        """In one line."""
        return saying.verdict(self)
