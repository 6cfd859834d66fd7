"""How near the predictions of a regression come, beside least squares."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model
from recon_cli.models.regression import Regression
from recon_cli.report import Table, column

if TYPE_CHECKING:
    from torch import Tensor

WIDE = 2048  # columns
SURE = 2.0  # standard errors
ROUNDING = 1e-13  # of the variance: what rows in float32 leave of no error at all


@dataclass(frozen=True)
class Prediction:
    """How near the predictions of one column come, on the result's rows.

    rmse
        the root of the mean squared error of mu, in the units of y.
    r2
        1 - squared error / squared deviation from the mean of the same rows; None where that is 0.
    linear
        the rmse of least squares: linear in x, fitted to the training rows; None of more columns than 2,048.
    spread
        the standard deviation (1/N) of y.
    below, below_error
        of a likelihood whose mu is a quantile, the share of y below its prediction, and the standard error of that share where
        it is the quantile's (a half of a y that is met exactly counts); None of others.
    """

    target: str = column("y", brief=True)
    rmse: float = column("RMSE", brief=True)
    r2: float | None = column("R²", brief=True)
    linear: float | None = column("RMSE, linear", brief=True)
    spread: float = column("standard deviation")
    below: float | None = column("share below", default=None)
    below_error: float | None = column("its standard error", default=None)


def answers(
    model: Model, likelihood: Likelihood, train_rows: Tensor, rows: Tensor, names: Sequence[str]
) -> tuple[Prediction, ...]:
    """Return one for each column of y in ``rows``, trained on ``train_rows``.

    None for what is no regression, and where a difference from mu is no error (classes, angles).
    """
    if not isinstance(model, Regression) or likelihood.event or isinstance(likelihood.support, Circle):
        return ()
    with torch.no_grad():
        y, mu = wide(model.target(rows)), wide(model.reconstruct(rows))
        counts = model.counts(rows)
        line = least_squares(model, train_rows, rows) if counts is None else None
    weights = torch.ones_like(y) if counts is None else wide(counts.events)

    def mean(values: Tensor) -> Tensor:
        return (weights * values).sum(dim=0) / weights.sum(dim=0)

    middles = (mu, mean(y), y if line is None else line)
    errors = zip(*(mean((y - middle).square()).tolist() for middle in middles), strict=True)
    quantile = likelihood.parameters.get("quantile")
    below = mean((y < mu).double() + (y == mu).double() / 2).tolist()
    count = (weights.sum(dim=0).square() / weights.square().sum(dim=0)).tolist()  # Kish's effective number
    return tuple(
        Prediction(
            names[int(at)],
            math.sqrt(off),
            1 - off / all_ if all_ else None,
            None if line is None else math.sqrt(least),
            math.sqrt(all_),
            None if quantile is None else share,
            None if quantile is None else math.sqrt(float(quantile) * (1 - float(quantile)) / rows_),
        )
        for at, (off, all_, least), share, rows_ in zip(model.y_columns.tolist(), errors, below, count, strict=True)
    )


def coverage(answers: Sequence[Prediction], likelihood: Likelihood, rows: str) -> Iterator[str]:
    """Yield for each column of y whether as many lie below its prediction as the quantile says: what it is judged by."""
    quantile = likelihood.parameters.get("quantile")
    for row in answers if quantile is not None else ():
        share, error = row.below or 0.0, row.below_error or 0.0
        off = abs(share - float(quantile or 0.0)) / error if error else 0.0
        right = (
            "as it is right"
            if off <= SURE
            else f"{off:.1f} standard errors off: the prediction is no {float(quantile or 0.0):g} quantile"
        )
        yield (
            f"{share:.4f} of the {rows} {row.target} lie below the prediction (standard error {error:.4f}), and "
            f"{float(quantile or 0.0):g} where it is right: {right}."
        )


def least_squares(model: Regression, train_rows: Tensor, rows: Tensor) -> Tensor | None:
    """Return y of ``rows``, (N, T), by least squares in x from ``train_rows``, in float64; None of too many columns."""
    if len(model.x_columns) > WIDE:
        return None
    x, y = wide(train_rows[:, model.x_columns]), wide(train_rows[:, model.y_columns])
    middle, level = x.mean(dim=0), y.mean(dim=0)
    z, new = ((part - middle) / wide(model.scale) for part in (x, wide(rows[:, model.x_columns])))
    weights: Tensor = torch.linalg.pinv(z.T @ z, rtol=1e-12, hermitian=True)
    return new @ weights @ (z.T @ (y - level)) + level


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


def line(model: Model, likelihood: Likelihood, whose: str, train_rows: Tensor) -> Line | None:
    """Return the optimum beside what was found; None for a hidden layer, another likelihood, several sigmas, or no error left."""
    one = whose in ("fixed", "learned", "optimal")
    if not isinstance(model, Regression) or not model.is_linear or not one or likelihood.name != "gaussian":
        return None
    if (best := least_squares(model, train_rows, train_rows)) is None:
        return None
    with torch.no_grad():
        y, mu = wide(model.target(train_rows)), wide(model.reconstruct(train_rows))
        found, error = likelihood.nll(y, mu).sum().item() / len(train_rows), (y - best).square().mean().item()
    if whose != "fixed" and error <= ROUNDING * y.var(dim=0, unbiased=False).mean().item():
        return None
    variance = float(likelihood.parameters["sigma"]) ** 2 if whose == "fixed" else error
    nll = y.shape[1] / 2 * (math.log(2 * math.pi * variance) + error / variance)
    return Line(nll, math.sqrt(variance), found)


def overall(rows: Sequence[Prediction]) -> tuple[float | None, float | None]:
    """Return the root of the mean squared error over all columns of y, and the mean of their R^2; None without."""
    shares = [row.r2 for row in rows if row.r2 is not None]
    rmse = math.sqrt(sum(row.rmse**2 for row in rows) / len(rows)) if rows else None
    return rmse, sum(shares) / len(shares) if shares and len(shares) == len(rows) else None


def table(rows: Sequence[Prediction]) -> Table:
    """Return a row for each column of y."""
    table = Table.of("targets", Prediction, rows, "in the units of y")
    if any(row.below is not None for row in rows):
        return table
    columns = [replace(each, panel=None) if each.key.startswith("below") else each for each in table.columns]
    return replace(table, columns=columns)
