"""Runs that are on disk, side by side: what they were asked to do and how far they came. Nothing of theirs is run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable
from recon_cli.report import Report, Table, column
from recon_cli.runtime import checksums
from recon_cli.runtime.files import read_file
from recon_cli.sources.run import settings_of
from recon_cli.training.figures import Epoch
from recon_cli.training.runs import METRICS, figures_of

RESULT = "result.json"
ROWS = ("data", "rows", "holdout", "scale", "binarize")  # what says which rows a result is of
LASTING = ("version", "shape", "rows", "device", "checkpoint_every", "tensorboard", "trust")  # what makes no other model


@dataclass(frozen=True, kw_only=True)
class ShownRun:
    """A run: its figures on the held-out rows where it ended, else on the training rows after its last whole epoch.

    figures
        the same as :class:`~recon_cli.training.figures.Figures`, in nats per sample.
    """

    run: str = column("run", "*", brief=True)
    likelihood: str = column("likelihood", brief=True)
    data: str = column("of", brief=True)
    epoch: int = column("epochs", brief=True)
    nll: float | None = column("nll", brief=True)
    kl: float | None = column("KL", brief=True)
    negative_elbo: float | None = column("−ELBO", brief=True)
    active: int | None = column("active", brief=True)
    sigma: float | None = column("sigma", default=None)
    loss: float | None = column("loss", default=None)
    bits_per_dimension: float | None = column("bits/dim", default=None)
    seconds: float | None = column("seconds", default=None)


@dataclass(frozen=True)
class Runs(Presentable):
    """Some runs: a row each, the epochs of each, and the options in which they differ."""

    rows: tuple[ShownRun, ...]
    epochs: tuple[tuple[Epoch, ...], ...]
    settings: tuple[Mapping[str, Any], ...] = field(repr=False)

    def report(self) -> Report:
        """Return the report that ``recon show`` prints: nothing in it is judged."""
        titles = [f"{row.run}, on the training rows, nats per sample" for row in self.rows]
        tables = [Table.of("runs", ShownRun, self.rows)]
        for number, (title, epochs) in enumerate(zip(titles, self.epochs, strict=True), 1):
            name = "epochs" if len(self.rows) == 1 else f"epochs_{number}"
            tables.append(Table.of(name, Epoch, epochs, title, most=12).details())
        return Report("show", tables, self.notes(), self.verdict(), None)

    def notes(self) -> list[str]:
        """Return in which options the runs differ, and how those that have not ended go on."""
        names = [name for name in self.settings[0] if name not in LASTING]
        differing = {name: [one.get(name) for one in self.settings] for name in names}
        differing = {name: values for name, values in differing.items() if len({repr(value) for value in values}) > 1}
        notes = [f"They differ in {name}: {', '.join(str(value) for value in values)}." for name, values in differing.items()]
        for row, asked in zip(self.rows, self.settings, strict=True):
            if not ended(row.run):
                behind = f"{row.epoch:,} of {asked['epochs']:,} epochs"
                notes.append(f"{row.run} has not ended: {behind}; recon train --resume {row.run} goes on.")
        return notes

    def verdict(self) -> str:
        """Return how many there are, and the best where they can be ranked: on the same rows, by the negative ELBO."""
        if len(self.rows) == 1:
            row = self.rows[0]
            return f"{row.likelihood}, {row.epoch:,} epochs of {self.settings[0]['model']} on {self.settings[0]['data']}"
        rows_of_data = {tuple(str(one[name]) for name in ROWS) for one in self.settings}
        ranked = [row for row in self.rows if row.negative_elbo is not None and ended(row.run)]
        if len(rows_of_data) == 1 and len(ranked) == len(self.rows):
            best = min(ranked, key=lambda row: row.negative_elbo or 0.0)
            return f"{len(self.rows)} runs; the least negative ELBO is {best.run}'s, {best.negative_elbo:.6g} nats per sample"
        return f"{len(self.rows)} runs, which are not of the same rows or not ended: their figures are not to be ranked"


def ended(folder: str) -> bool:
    """Return whether a run has left its result."""
    return (Path(folder) / RESULT).exists()


def show(folders: Sequence[str]) -> Runs:
    """Return runs as they lie on disk, none of whose code is run. Raises ReconError for a folder that holds none."""
    settings = tuple(settings_of(folder) for folder in folders)
    epochs = tuple(epochs_of(folder) for folder in folders)
    return Runs(tuple(row_of(*one) for one in zip(folders, settings, epochs, strict=True)), epochs, settings)


def row_of(folder: str, asked: Mapping[str, Any], epochs: Sequence[Epoch]) -> ShownRun:
    """Return the row of a run."""
    if ended(folder):
        path = str(Path(folder) / RESULT)
        result = read_file(path, lambda: checksums.parse_json(Path(path).read_bytes()))
        wanted = {name for name in ShownRun.__dataclass_fields__ if name != "run"}
        if not isinstance(result, dict) or not wanted <= {*result}:
            raise ReconError(f"{path} is not what recon wrote.", "Train it again, or give another run.")
        likelihood = re.sub(r"\d+\.\d+(?:e[+-]?\d+)?", lambda number: f"{float(number[0]):.6g}", result["likelihood"])
        return ShownRun(run=folder, **{**{name: result[name] for name in wanted}, "likelihood": likelihood})
    last = epochs[-1] if epochs else None
    figures = {name: getattr(last, name, None) for name in ("nll", "kl", "negative_elbo", "active", "sigma", "loss")}
    return ShownRun(run=folder, likelihood=asked["likelihood"], data="training rows", epoch=len(epochs), **figures)


def epochs_of(folder: str) -> tuple[Epoch, ...]:
    """Return the figures of every epoch that a run has behind it."""
    path = Path(folder) / METRICS
    if not path.exists():
        return ()

    def read() -> tuple[Epoch, ...]:
        lines = path.read_bytes().splitlines(keepends=True)
        whole = [line for line in lines if line.endswith(b"\n")]  # the last may be half written
        return tuple(Epoch(**figures_of(checksums.parse_json(line), at)) for at, line in enumerate(whole, 1))

    return read_file(str(path), read) if path.stat().st_size else ()
