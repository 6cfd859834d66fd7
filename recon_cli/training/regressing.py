"""What a regression needs beside its network: which columns are y, and how near the predictions come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy
import torch
from torch import nn

from recon_cli.errors import ReconError, unknown
from recon_cli.identity.arrays import as_array
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.parametric import as_whole
from recon_cli.identity.regions import Circle
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import wide
from recon_cli.models.regression import Regression
from recon_cli.report import Column, Table
from recon_cli.sources._base import Array
from recon_cli.training.settings import Settings, option

if TYPE_CHECKING:
    from torch import Tensor

WIDE = 2048  # columns
ROUNDING = 1e-13  # of the variance: what rows in float32 leave of no error at all
WITHOUT = {"latent": 0, "beta": 1.0, "kl_warmup": 0, "free_bits": 0.0, "iwae": 0, "exact": False}


@dataclass(frozen=True)
class Answer:
    """How near the predictions of one column come, on the result's rows.

    rmse
        the root of the mean squared error of mu, in the units of y.
    r2
        1 - squared error / squared deviation from the mean of the same rows; None where that is 0.
    linear
        the rmse of least squares: linear in x, fitted to the training rows; None of more columns than 2,048.
    spread
        the standard deviation (1/N) of y.
    """

    target: str
    rmse: float
    r2: float | None
    linear: float | None
    spread: float


def answers(model: Any, claim: Likelihood, kept: Tensor, rows: Tensor, names: Sequence[str]) -> tuple[Answer, ...]:
    """One for each column of y in ``rows``, trained on those ``kept``.

    None for what is no regression, and where a difference from mu is no error (classes, angles).
    """
    if not isinstance(model, Regression) or claim.event or isinstance(claim.support, Circle):
        return ()
    with torch.no_grad():
        y, mu = wide(model.target(rows)), wide(model.reconstruct(rows))
        line = least_squares(model, kept, rows)
    middles = (mu, y.mean(dim=0), y if line is None else line)
    errors = zip(*((y - middle).square().mean(dim=0).tolist() for middle in middles), strict=True)
    return tuple(
        Answer(
            names[at],
            math.sqrt(off),
            1 - off / all_ if all_ else None,
            None if line is None else math.sqrt(least),
            math.sqrt(all_),
        )
        for at, (off, all_, least) in zip(model.y_columns.tolist(), errors, strict=True)
    )


def least_squares(model: Regression, kept: Tensor, rows: Tensor) -> Tensor | None:
    """y of ``rows``, (N, T), by least squares in x from the rows ``kept``, in float64; None of too many columns."""
    if len(model.x_columns) > WIDE:
        return None
    x, y = wide(kept[:, model.x_columns]), wide(kept[:, model.y_columns])
    middle, level = x.mean(dim=0), y.mean(dim=0)
    z, known = ((part - middle) / wide(model.scale) for part in (x, wide(rows[:, model.x_columns])))
    return known @ torch.linalg.pinv(z.T @ z, rtol=1e-12, hermitian=True) @ (z.T @ (y - level)) + level


@dataclass(frozen=True)
class Line:
    """Linear regression under a Gaussian, on its training rows: nats per sample, and the noise.

    best, sigma
        the least nll that there is and its noise, in closed form: of least squares, sigma (unless given) being its RMSE.
    found
        that of the model.
    """

    best: float
    sigma: float
    found: float

    @property
    def gap(self) -> float:
        """How far above the least nll the model is."""
        return self.found - self.best


def line(model: Any, claim: Likelihood, whose: str, kept: Tensor) -> Line | None:
    """The optimum beside what was found; None for a hidden layer, another likelihood, several sigmas, or no error left."""
    linear = isinstance(model, Regression) and all(isinstance(part, nn.Linear) for part in model.decoder)
    one = whose in ("fixed", "learned", "optimal")
    if not linear or not one or claim.name != "gaussian" or (best := least_squares(model, kept, kept)) is None:
        return None
    with torch.no_grad():
        y, mu = wide(model.target(kept)), wide(model.reconstruct(kept))
        found, error = claim.nll(y, mu).sum().item() / len(kept), (y - best).square().mean().item()
    if whose != "fixed" and error <= ROUNDING * y.var(dim=0, unbiased=False).mean().item():
        return None
    variance = float(claim.parameters["sigma"]) ** 2 if whose == "fixed" else error
    nll = y.shape[1] / 2 * (math.log(2 * math.pi * variance) + error / variance)
    return Line(nll, math.sqrt(variance), found)


def overall(found: Sequence[Answer]) -> dict[str, float | None]:
    """The root of the mean squared error over all columns of y, and the mean of their R^2; None without."""
    shares = [one.r2 for one in found if one.r2 is not None]
    rmse = math.sqrt(sum(one.rmse**2 for one in found) / len(found)) if found else None
    return {"rmse": rmse, "r2": sum(shares) / len(shares) if shares and len(shares) == len(found) else None}


def table(found: Sequence[Answer]) -> Table:
    """A row for each column of y."""
    columns = (
        Column("target", "y"),
        Column("rmse", "RMSE"),
        Column("r2", "R²"),
        Column("linear", "RMSE, linear"),
        Column("spread", "standard deviation"),
    )
    return Table("targets", columns, [*map(vars, found)], "in the units of y")


def joined(data: tuple[Any, ...], asked: str | None) -> tuple[Array, str]:
    """(x, y) as the columns of one table, and which of them are y. Raises ReconError where they are not as many."""
    if len(data) != 2:
        raise ReconError(f"A regression takes (x, y), and this tuple has {len(data)} parts.", "Give two arrays, or one table.")
    parts = [as_array(part, "data") for part in data]
    x, y = (part.reshape(len(part), -1) if part.ndim else part.reshape(1, 1) for part in parts)
    if len(x) != len(y):
        raise ReconError(f"x has {len(x):,} samples and y {len(y):,}.", "Give a y for every x, and an x for every y.")
    targets = ",".join(str(x.shape[1] + column) for column in range(y.shape[1]))
    if asked not in (None, targets):
        raise ReconError(f"y is given, and --target {asked} too.", "Leave target out, or give one table and no y.")
    return numpy.concatenate([x, y], axis=1), targets


def checked(settings: Settings) -> None:
    """Raise ReconError for what means nothing to a regression, or to anything else."""
    if settings.model != "regression":
        if settings.target is not None:
            raise ReconError(
                f"--target names what a regression predicts, and {settings.model} is none.", "Add --model regression."
            )
        return
    for name, none in WITHOUT.items():
        if getattr(settings, name) != none:
            raise ReconError(f"A regression has no latents, so {option(name)} means nothing to it.", f"Leave {option(name)} out.")


def target(asked: str | None, names: Sequence[str], values: Array, word: str) -> tuple[int, ...]:
    """The places of the columns ``asked`` for, by name or counted from 0; of the last one, where none is.

    Raises ReconError for rows that are no table, for a column that is not there, and where no x is left or all are alike.
    """
    if values.ndim != 2 or values.shape[1] < 2:
        raise ReconError(
            f"A regression takes a table, x and y in each row; {word} has samples of shape {spell(values.shape[1:] or (1,))}.",
            "Give at least two columns, as in --data table.csv --target price.",
        )
    count = values.shape[1]
    words = [str(count - 1)] if asked is None else [asked] if asked in names else [part.strip() for part in asked.split(",")]
    places = [place(one, names, count, word) for one in words]
    if len({*places}) < len(places):
        raise ReconError(f"--target {asked} names a column twice.", "Name each column of y once.")
    if len(places) == count:
        raise ReconError(f"--target takes all {count} columns of {word}, and leaves no x.", "Leave a column to predict from.")
    known = numpy.delete(values, places, axis=1)
    if len(known) > 1 and (known == known[0]).all():
        raise ReconError(
            f"All {len(values):,} rows of {word} have the same x.", "Give rows that differ in what is predicted from."
        )
    return tuple(places)


def place(one: str, names: Sequence[str], count: int, word: str) -> int:
    """Where a column is, by its name or counted from 0."""
    if one in names:
        return [*names].index(one)
    if (number := as_whole(one)) is not None and number < count:
        return number
    if not names:
        raise ReconError(
            f"{word} has no column {one!r}: it has {count}, and no names for them.", f"Count them from 0 to {count - 1}."
        )
    raise unknown(f"column of {word}", one, names)


def labels(names: Sequence[str], count: int) -> list[str]:
    """A name for every column: its own, or its number."""
    return [*names] or [f"column {at}" for at in range(count)]


def others(names: Sequence[str], targets: Sequence[int]) -> str:
    """What it is predicted from, in words."""
    return listed([name for at, name in enumerate(names) if at not in targets])


def listed(names: Sequence[str]) -> str:
    """A few names, and how many more there are."""
    few = ", ".join(names[:4])
    return few if len(names) <= 4 else f"{few} and {len(names) - 4} more"
