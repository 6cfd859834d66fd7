"""A Gaussian of vectors with a full covariance: its pull on a sample is a positive definite matrix times that sample's residual.

Of a likelihood's weight a the pull on a residual e is A e, A = a C^-1, whatever the data are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.fields import data_of
from recon_cli.auditing.probes import benign, gradients, uniform
from recon_cli.auditing.reach.call_plans import Slot

MANY = 1024  # elements of a sample whose matrix is looked at
SAME, WIDE = 1e-7, 1e4
SINGULAR = 1e-10  # of the largest eigenvalue: a smaller one is rounding's


@dataclass(frozen=True)
class QuadraticForm:
    """What a quadratic form of each sample's residuals is, by its matrix A.

    ends
        its least and its largest eigenvalue; of a log-likelihood those of -A.
    log_det
        of A.
    variance, variances, correlation
        of A^-1: the mean of the variances, the least and the largest, and the largest correlation by size.
    size, sign
        elements of a sample, and -1 of a log-likelihood.
    whose
        what it is made of, where a decoder gives it; weight: then what the likelihood is multiplied by, NaN where it is none.
    """

    ends: tuple[float, float]
    size: int
    sign: int
    log_det: float = math.nan
    variance: float = math.nan
    variances: tuple[float, float] = (math.nan, math.nan)
    correlation: float = math.nan
    whose: str = ""
    weight: float = math.nan

    @property
    def definite(self) -> bool:
        """Whether it is a density's."""
        return self.ends[0] > SINGULAR * self.ends[1]


def covariance(problem: Problem, pair: tuple[Slot, Slot | None]) -> QuadraticForm | None:
    """Return what a quadratic form of each sample's residuals is; None of what is none."""
    matrix = form(problem, pair)
    return None if matrix is None else of_matrix(matrix)


def of_matrix(matrix: Tensor) -> QuadraticForm:
    """Return what a symmetric matrix says of those elements that it moves at all: others are masked."""
    alive = matrix.abs().amax(0) > 0
    matrix = matrix[alive][:, alive]
    sign = -1 if float(matrix.trace()) < 0 else 1  # a log-likelihood's pull is the other way
    values = torch.linalg.eigvalsh(sign * matrix)
    known = QuadraticForm((float(values[0]), float(values[-1])), len(matrix), sign)
    if not known.definite:
        return known
    inverse = torch.linalg.inv(sign * matrix)
    variances = inverse.diagonal()
    apart = inverse / variances.outer(variances).sqrt() - torch.eye(len(matrix), dtype=matrix.dtype)
    return replace(
        known, log_det=float(values.log().sum()), variance=float(variances.mean()),
        variances=(float(variances.min()), float(variances.max())), correlation=float(apart.abs().max()),
    )  # fmt: skip


def form(problem: Problem, pair: tuple[Slot, Slot | None], rows: Mapping[str, Tensor] | None = None) -> Tensor | None:
    """Return the symmetric matrix that times a sample's own residual is the pull on it, whatever the data are; None of no such.

    ``rows`` are of arguments that are the same in every sample. Its columns are measured of as many samples as a batch can have.
    """
    (recon, target), base = pair, benign(problem)
    if target is None or (data := data_of(base, pair)) is None or not 1 < (D := data[0].numel()) <= MANY or len(data) < 2:
        return None

    def pull(there: Problem, residual: Tensor, by: Callable[[Tensor], Tensor] = lambda x: x) -> Tensor:
        values = benign(there)
        same = {key: row.expand(len(values[recon.key]), *row.shape[1:]) for key, row in (rows or {}).items()}
        x = by(values[target.key])
        values |= {**same, target.key: x, recon.key: x + residual.reshape(x.shape)}
        return gradients(there, values, [recon.key])[1][recon.key].flatten(1)

    residual = uniform((len(data), D), -0.2, 0.2, 97)
    residual[0] = 0  # a sample's own alone
    near = pull(problem, residual)
    further = pull(problem, WIDE * residual, lambda x: 0.25 + x / 2)  # and beyond where another function begins
    alike = (further - WIDE * near).abs().max() <= SAME * WIDE * near.abs().max()
    if not bool(near.isfinite().all()) or not bool(near.any()) or not bool(alike):
        return None
    many = problem.at(sizes=replace(problem.sizes, batch=D))
    matrix = (
        pull(many, torch.eye(D, dtype=data.dtype)) if benign(many)[recon.key].numel() == D * D else data.new_full((1,), math.nan)
    )
    if not bool(matrix.isfinite().all()):
        each = torch.eye(D, dtype=data.dtype)[torch.arange(math.ceil(D / len(data)) * len(data)) % D].split(len(data))
        matrix = torch.cat([pull(problem, some) for some in each])[:D]
    size = float(matrix.abs().max())
    if not bool(matrix.isfinite().all()) or bool(((matrix - matrix.T).abs() > SAME * size).any()):
        return None
    wanted = residual @ matrix
    factor = float((wanted * near).sum() / (wanted * wanted).sum())  # of a mean over a batch of another size
    return factor * (matrix + matrix.T) / 2 if bool((near - factor * wanted).abs().max() <= SAME * near.abs().max()) else None
