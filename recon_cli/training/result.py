"""What a training run found."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.models._base import ACTIVE, Model
from recon_cli.report import Chart, Picture, Report, Table, column
from recon_cli.training import drawn, saying
from recon_cli.training.evaluation import bounds, predictions
from recon_cli.training.evaluation.mean_alone import Alone
from recon_cli.training.evaluation.predictions import Line, Prediction
from recon_cli.training.evaluation.residuals import Residuals
from recon_cli.training.experiments import optimum
from recon_cli.training.experiments.optimum import Optimum
from recon_cli.training.figures import VALIDATION, VALUES, Epoch, Figures, loss_beside
from recon_cli.training.settings import Settings

NARROW = 16  # characters: a longer title makes a table too wide
CODED = ("kl", "negative_elbo", "active")  # figures that only latents have
ERRORS = ("rmse", "r2")  # and those that only predictions have
TRAINING = "on the training rows, nats per sample"
COST = "cost"
UNITS = "error of the prediction, in the units of y"


@dataclass(frozen=True, kw_only=True)
class Result(Figures):
    """The figures on the held-out rows (on the training rows where none are held out), and what they cost.

    data says which; validation is of the validation rows, at the weights that are returned. bits_per_dimension is the negative
    ELBO of 8-bit data in bits an element, None of other data. The noise is that which training ended with, of the training rows.

    seconds is the time in the training loop, its measurements included; samples_per_second is of the
    training rows, over all epochs.

    mean_alone
        nll of the best constant for every row, of the training rows, with the best noise where that is free: no model at all.
    rmse, r2
        of a regression's y, see :class:`Prediction`; of several columns the root of the mean of all, and the mean.
    """

    data: str = column("data", "*")
    bits_per_dimension: float | None = column("bits/dim", VALUES, default=None, brief=True)
    mean_alone: float | None = column("mean alone", None, default=None)
    validation: float | None = column("−ELBO", VALIDATION, default=None)
    epoch: int = column("epochs", COST)
    rows_trained: int = column("rows trained", COST)
    rows_validation: int = column("rows for validation", COST, default=0)
    rows_held_out: int = column("rows held out", COST)
    seconds: float = column("seconds", COST, brief=True)
    samples_per_second: float = column("samples per second", COST)
    rmse: float | None = column("RMSE", UNITS, default=None, brief=True)
    r2: float | None = column("R²", UNITS, default=None, brief=True)


@dataclass(frozen=True)
class LatentRow:
    """The mean KL of a latent on the result's rows, in nats per sample."""

    latent: int = column("latent", "*")
    kl: float = column("KL")
    active: bool = column("active")


@dataclass(frozen=True)
class Training(Presentable):
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
    pictures
        by the names of their files; none where samples are no images.
    remarks
        what the data may be instead of what they were taken for.
    """

    settings: Settings
    likelihood: Likelihood
    whose: str
    described: str
    epochs: tuple[Epoch, ...]
    result: Result
    model: Model = field(repr=False, compare=False)
    width: float | None = None
    chosen: int | None = None
    calibration: Residuals | None = None
    latents: tuple[float, ...] = ()
    best: float | None = None
    grey: float = 0.0
    eigenvalue: float | None = None
    optimum: Optimum | None = None
    pca: tuple[float, float] | None = None
    answers: tuple[Prediction, ...] = ()
    line: Line | None = None
    bounds: tuple[tuple[int, float], ...] = ()
    bound_errors: tuple[float, ...] = ()
    folder: Path | None = None
    alone: Alone | None = None
    still: str = ""
    network: bool = False
    pictures: Mapping[str, Picture] = field(default_factory=dict, repr=False)
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
        return loss_beside(self.likelihood, self.settings)

    def report(self) -> Report:
        """Return what ``recon train`` prints. It holds unless nothing was learned, or the likelihood is none of these data."""
        hidden = [] if self.model.has_latents else [*CODED]
        hidden += [key for key in ("validation", "bits_per_dimension", "sigma") if getattr(self.result, key) is None]
        hidden += [] if self.result.rows_validation else ["rows_validation"]
        supervised = self.model.supervised
        tables = [
            self.table(Table.of("epochs", Epoch, self.epochs, most=12).details(), hidden, {VALUES: TRAINING}),
            self.table(without(Table.of("result", Result, [self.result], most=12), () if supervised else ERRORS), hidden),
        ]
        if self.answers:
            tables.append(predictions.table(self.answers))
        if self.calibration:
            tables.append(self.calibration.table(of_predictions=supervised))
        if any(self.latents):
            tables.append(latents(self.latents))
        if self.bounds:
            discrete = self.likelihood.discrete
            tables.append(bounds.table(self.bounds, self.bound_errors, self.model.elements, self.width, discrete))
        if self.optimum:
            tables.append(optimum.table([self.optimum]))
        return Report(
            "train", tables, list(self.notes()), self.verdict(), self.holds, [*self.pictures.values()], charts=[*self.charts()]
        )

    def charts(self) -> Iterator[Chart]:
        """Yield what is drawn of it."""
        yield from self.curves()
        if any(self.latents):
            yield drawn.latents(self.latents)

    def curves(self) -> Iterator[Chart]:
        """Yield its figures over the epochs."""
        yield from drawn.curves(self.epochs, self.likelihood.level_name or "sigma")

    def table(self, table: Table, hidden: Sequence[str], panels: Mapping[str, str | None] | None = None) -> Table:
        """Return a table of figures by the names that they have here, those that nothing has hidden, under other ``panels``."""
        loss = next((word for word in (self.loss.name, *self.loss.aliases) if len(word) <= NARROW), "loss")
        titles = {"loss": loss, "sigma": self.likelihood.level_name or "sigma"}
        word = "−ELBO" if self.model.has_kl else "nll"  # what the validation rows have
        word = "nll + KL" if self.model.has_kl and self.grey else word  # of no density, so no bound either
        columns = []
        for each in table.columns:
            panel = (panels or {}).get(each.panel or "", each.panel)
            panel = None if each.key in hidden or panel is None else panel.replace("−ELBO", word)
            title = titles.get(each.key, each.title).replace("−ELBO", word)
            columns.append(dataclasses.replace(each, title=title, panel=panel))
        return dataclasses.replace(table, columns=columns)

    def notes(self) -> Iterator[str]:
        """Yield what it means, a sentence or two each."""
        return saying.notes(self)

    def verdict(self) -> str:
        """Return the verdict in one line."""
        return saying.verdict(self)


def latents(kl: Sequence[float]) -> Table:
    """Return the KL of each latent, the largest first; those that are off in their order."""
    order = sorted(range(len(kl)), key=lambda latent: -kl[latent] if kl[latent] > ACTIVE else 0.0)
    rows = [LatentRow(latent, kl[latent], kl[latent] > ACTIVE) for latent in order]
    return Table.of("latents", LatentRow, rows, "KL of each latent, nats per sample", most=12)


def without(table: Table, keys: Sequence[str]) -> Table:
    """Return a table without some of its columns."""
    return dataclasses.replace(table, columns=[each for each in table.columns if each.key not in keys])
