"""Losses of a sample as a whole, no sums over its elements: norms, quadratic forms, importance-weighted bounds.

e^-||e||/b of what is left between a sample and its reconstruction has an integral that no mean moves, so it is a density, of the
sample as a whole: far from each sample its pull is the same, however many elements it has. The elements are not independent, so
none of them has a noise. A Gaussian of full covariance C pulls at a residual e by A e, A = a C^-1, whatever the data are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.probes import additivity, benign, data_of, gradients, pulled, uniform
from recon_cli.auditing.reach.call_plans import Slot

SAMPLE, WHOLE = "each sample", "the whole batch"
BY_LOGS = ", by their log-weights"
NEAR = 1e-4  # what an eps within a root makes of it
# Numbers, and ones further off, at which a weight is nothing: far below and far above, and as logits, rates and shares have it.
NOTHING = ((-1e3, -2e3), (1e3, 2e3), (40.0, 80.0), (-40.0, -80.0), (1e-12, 1e-13), (1 - 1e-12, 1 - 1e-13))


@dataclass(frozen=True)
class Norm:
    """A norm of residuals: of what, in words ("each sample", "the whole batch"), and how much it weighs in the loss."""

    of: str
    weight: float


def norm(problem: Problem, pair: tuple[Slot, Slot | None]) -> Norm | None:
    """Return the norm that a reconstruction is compared by; None where it is not by one."""
    (recon, _), base = pair, benign(problem)
    if (x := data_of(base, pair)) is None:
        return None
    residual = uniform(x.shape, 0.15, 0.2, 91) * (0.5 - x).sign()  # far above an eps, and no share leaves (0, 1)
    weights: list[Tensor] = []
    alike = torch.empty(0)
    for by in (1.0, 0.4):
        at = x + by * residual * uniform(x.shape, 0.7, 1.3, 93 + len(weights))
        e, g = at - x, gradients(problem, {**base, recon.key: at}, [recon.key])[1][recon.key]
        if not bool(g.isfinite().all()) or not bool(g.abs().max() > 0):
            return None
        ratio = (g / e).flatten()
        group = (ratio - ratio[0]).abs() <= NEAR * ratio[0].abs()
        if int(group.sum()) < 2 or len(weights) and not torch.equal(group, alike):
            return None
        alike = group
        weights.append(ratio[0] * e.flatten()[group].norm())
    count, D = int(alike.sum()), x[0].numel()
    if x.numel() % count or abs(weights[0] - weights[1]) > NEAR * abs(weights[0]) or falls(problem, base, pair):
        return None
    if count not in (D, x.numel()) and D % count:
        return None
    parts = SAMPLE if count == D else f"each {count:,} elements of a sample"
    return Norm(WHOLE if count == x.numel() and len(x) > 1 else parts, abs(float(weights[0])))


def falls(problem: Problem, base: Values, pair: tuple[Slot, Slot | None]) -> bool:
    """Whether a pull falls as all residuals grow, as that of a noise which a batch chooses, and of no norm."""
    recon, target = pair
    x, r = base[target.key], base[recon.key]  # type: ignore[union-attr]
    near, far = (
        gradients(problem, {**base, recon.key: x + by * (r - x)}, [recon.key])[1][recon.key].flatten()[0].item()
        for by in (1.0, 3.0)
    )
    return abs(near - far) > NEAR * abs(near)


def bound(problem: Problem, pair: tuple[Slot, Slot | None]) -> str:
    """Return of what a loss is an importance-weighted bound, -log mean of weights, in words; empty of any other.

    It pulls at each sample by its share of the weights. Where one number makes a weight nothing, its sample's pulls vanish, those
    of the samples beside which it counts grow by one factor, whatever the layout, and all others stay as they are.
    """
    recon, base = pair[0], benign(problem)
    value, compared = base[recon.key], data_of(base, pair) is not None
    if value.is_floating_point() and additivity(problem, base, recon.key, []) <= 1e-9:
        return ""
    before = gradients(problem, base, [recon.key])[1][recon.key].flatten()
    if not bool(before.isfinite().all()) or not bool(before.abs().max() > 0):
        return ""
    alive = before != 0
    at = int(alive.nonzero()[0])

    def after(by: float, *spots: int) -> Tensor:
        """Return by what pulls are multiplied where some numbers are another."""
        moved = value.clone().flatten()
        moved[[*spots]] = by
        there = pulled(problem, {**base, recon.key: moved.reshape(value.shape)}, [recon.key])[1][recon.key]
        return (there.flatten() / before)[alive]

    places = torch.arange(len(before))[alive]
    for near, far in NOTHING if compared else NOTHING[:2]:
        first, ratio = after(near, at), after(far, at)
        own, others = (ratio.abs() <= NEAR) | (places == at), places != at
        beside, width = ~own & ((ratio - 1).abs() > NEAR), int(own.sum())
        if not bool(ratio.isfinite().all()) or (width == 1 and float(ratio[own].abs()) > NEAR):
            continue
        if not bool(beside.any()) or len(places) % width or int(beside.sum()) % width:
            continue
        factor = ratio[beside].median()
        even = bool(((ratio[beside] - factor).abs() <= NEAR * factor).all())
        if not (factor > 1 and even and bool((first - ratio)[others].abs().max() <= NEAR * factor)):
            continue
        second = int(places[beside][0])
        alone = after(far, second)
        shares = 2 - float(1 / factor) - 1 / float(alone[places == at])  # of both; what is left has the others'
        rest = after(far, at, second)[beside & (alone.abs() > NEAR)]
        left = float(1 / rest.median()) if len(rest) else 0.0
        if abs(1 - shares - left) <= 10 * NEAR:
            by_logs = BY_LOGS * (width == 1 and (not compared or value.shape[1] > 1))
            return f"{int(beside.sum()) // width + 1} samples{by_logs}"
    return ""


def is_along(gradient: Tensor, output: Tensor, data: Tensor) -> bool:
    """Whether gradients are multiples of what is left, one for the batch, for each sample or along an axis, as a norm's are."""
    if output.numel() != data.numel() or output.ndim < 2:
        return False
    ratio = gradient / (output - data.reshape(output.shape))
    if not bool(ratio.isfinite().all()) or not bool(ratio.any()):
        return False
    ways = (ratio.flatten(1), ratio.movedim(1, -1))
    return any(bool(((each - each[..., :1]).abs() <= NEAR * each[..., :1].abs()).all()) for each in ways)


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
