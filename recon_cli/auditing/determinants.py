"""Whether log det C is in the loss of a Gaussian of full covariance C: its constant, or how it moves with what C is made of.

L = a (e'C^-1 e + log det(2 pi C))/2 of each sample's residual e. Where C moves, with a parameter or with what a decoder gives,
log det C moves by -tr(A^-1 dA), A = a C^-1 being the matrix of the pull: that gives a, from the loss where e is 0.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.elements import resting
from recon_cli.auditing.measuring import ReconstructionTerm, of_vectors
from recon_cli.auditing.norms import SAME, QuadraticForm, form, of_matrix
from recon_cli.auditing.probes import benign, data_of, uniform, value_at
from recon_cli.auditing.reach.roles import Pair
from recon_cli.auditing.scaling import Scaling, product
from recon_cli.auditing.trained_scales import Placed as Moved
from recon_cli.auditing.trained_scales import TrainedScale, fits, judged, parameters

STEP, ALIKE = 1e-4, 1e-4
DETERMINANT = "log det of its covariance"
Placed: TypeAlias = Callable[
    [Tensor], tuple[Problem, Mapping[str, Tensor]]
]  # a problem and rows, with another value of what C is of
WAYS: tuple[Callable[[Tensor], Tensor], ...] = (  # that numbers, and matrices laid flat, can go and stay what they are
    lambda change: change,
    lambda change: square(change).tril().flatten(1),
    lambda change: (square(change) + square(change).mT).flatten(1) / 2,
)


def square(flat: Tensor) -> Tensor:
    """Return matrices of what has them laid flat."""
    return flat.reshape(len(flat), math.isqrt(flat.shape[1]), -1)


def value_of_none(problem: Problem, pair: Pair, meaning: str | None, rows: Mapping[str, Tensor]) -> float:
    """Return the loss where no residual and no KL is left."""
    values = resting(problem, meaning)
    same = {key: row.expand(len(values[pair[0].key]), *row.shape[1:]) for key, row in rows.items()}
    return value_at(problem, {**values, **same, pair[0].key: values[pair[1].key if pair[1] else pair[0].key]})


def own_noise(
    problem: Problem, rec: ReconstructionTerm, pair: Pair, meaning: str | None, known: QuadraticForm | None = None
) -> tuple[float, float, bool] | None:
    """Return the noise that a loss carries (of a covariance the root of its mean variance), its weight, and whether all of the
    normaliser is there: for each element log of the noise and a constant.

    None where the value without residuals is not that for any natural weight: 1, 1/B, 1/D, 1/(BD).
    """
    match, (B, D) = rec.match, benign(problem)[pair[0].key].shape[:2]
    if known is not None:
        D, power, own, rest = known.size, 2, known.log_det / known.size, math.log(2 * math.pi) / 2
    elif match is None or match.link or match.family not in ("gaussian", "laplace") or data_of(benign(problem), pair) is None:
        return None
    else:
        power, rest = (2, math.log(2 * math.pi) / 2) if match.family == "gaussian" else (1, math.log(2))
        own = math.log(power * abs(match.weight))
    level = rec.sign * value_of_none(problem, pair, meaning, {})
    for a in (1.0, 1 / B, 1 / D, 1 / (B * D)):
        log = (math.log(a) - own) / power
        for full in (True, False):
            expected = a * B * D * (log + full * rest)
            if abs(expected) > 1e-9 and abs(level - expected) < 1e-7 * abs(expected):
                return math.exp(log) if known is None else math.sqrt(a * known.variance), a, full
    return None


def weights(pair: Pair, meaning: str | None, at: Placed, here: Tensor) -> Iterator[float]:
    """Yield what log det C/2 is multiplied by for each sample, along two ways that what C is made of can go.

    NaN where C is none there; nothing along ways that move neither.
    """
    (problem, rows), now = at(here), None
    for number in (101, 103):
        way = uniform(here.shape, -1, 1, number).to(here.dtype)
        ends = [at(here + by * STEP * way) for by in (1, -1)]
        up, down = (form(there, pair, rows) for there, rows in ends)
        if now is None:
            now = form(problem, pair, rows)
        if now is None or up is None or down is None:
            yield math.nan
            return
        change, B = (up - down) / (2 * STEP), problem.sizes.batch
        if float(change.abs().max()) <= SAME * float(now.abs().max()):
            return
        levels = [value_of_none(there, pair, meaning, rows) for there, rows in ends]
        rise, slope = -B * float(torch.linalg.solve(now, change).trace()) / 2, (levels[0] - levels[1]) / (2 * STEP)
        small = ALIKE * B * float(change.abs().max() / now.abs().max())
        if abs(rise) > small or abs(slope) > small:
            yield slope / rise if abs(rise) > small else math.nan


def agreed(found: list[float]) -> float:
    """Return one number that several are; 0 of none, NaN where they are not one."""
    even = bool(found) and max(found) - min(found) <= 10 * ALIKE * abs(found[0])
    return float(f"{sum(found) / len(found):.6g}") if even else math.nan if found else 0.0


def is_diagonal(problem: Problem, rec: ReconstructionTerm) -> bool:
    """Whether a Gaussian of independent elements may be one whose covariance, trained, is a diagonal matrix for now."""
    plain = rec.additive and rec.match is not None and rec.match.family == "gaussian" and not rec.match.link
    others = [each for each in parameters(problem) if not fits(each[1], problem)] if plain else []
    if not others or not isinstance(problem.reached.owner, torch.nn.Module):
        return bool(others)
    leaves, there = [torch.nn.Parameter(here.clone()) for _, here, _ in others], problem
    for leaf, (_, _, at) in zip(leaves, others, strict=True):
        there = at(there, leaf)
    loss = there(benign(problem))  # which reads some of them, or none
    read = torch.autograd.grad(loss, leaves, allow_unused=True) if loss.requires_grad else []
    return any(grad is not None for grad in read)


def trained_covariances(
    problem: Problem, pair: Pair, known: QuadraticForm | None, meaning: str | None, scaling: Scaling, every: bool = True
) -> tuple[TrainedScale, ...]:  # fmt: skip
    """Return the parameters that the covariance is made of, with how often the loss has log det of it.

    Of ``every`` parameter, or of those alone that are no scales of elements: a matrix begins as a diagonal one, often.
    """
    scales = []
    for name, here, at in parameters(problem):
        if known is None or not every and (fits(here, problem) or here.numel() > 4 * known.size**2):
            continue

        def counted(there: Problem, name: str = name, here: Tensor = here, at: Moved = at) -> TrainedScale | None:
            found = [*weights(pair, meaning, lambda value: (at(there, value), {}), here)]
            own = product((there.sizes.batch, known.size), (scaling.batch[1], scaling.dim[1]))
            return TrainedScale(name, known.sign * agreed(found) / own, 0, True, what=DETERMINANT) if found else None

        if (scale := judged(problem, counted)) is not None:
            scales.append(scale)
    return tuple(scales)


def by_decoder(problem: Problem, pair: Pair, meaning: str | None) -> tuple[ReconstructionTerm, tuple[TrainedScale, ...]]:
    """Return a Gaussian of the covariance that a decoder gives beside the mean, and where log det of it is not in the loss."""
    (spread, *_) = problem.plan.role("spread")
    unknown = ReconstructionTerm()
    every: list[float] = []
    first: QuadraticForm | None = None
    ways = WAYS if spread.meaning == "matrix" else WAYS[:1]
    for number in (0, 1):
        row = benign(problem)[spread.key][number : number + 1]
        matrix = form(problem, pair, {spread.key: row})
        if matrix is None or not (known := of_matrix(matrix)).definite:
            return unknown, ()
        first = first or known
        for way in ways:

            def at(
                value: Tensor, row: Tensor = row, way: Callable[[Tensor], Tensor] = way
            ) -> tuple[Problem, Mapping[str, Tensor]]:
                return problem, {spread.key: row + way(value - row)}

            found = [*weights(pair, meaning, at, row)]
            if not any(map(math.isnan, found)):
                break
        every += found
    assert first is not None
    if spread.meaning == "matrix" and miswritten(
        form(problem, pair, {spread.key: row}), square(row)[0].diagonal(), agreed(every)
    ):
        return unknown, ()
    weight = first.sign * agreed(every)
    term = of_vectors(unknown, replace(first, whose=spread.key, weight=weight))
    return term, () if weight > 0 else (TrainedScale(spread.key, weight, 0, True, what=DETERMINANT),)


def miswritten(pull: Tensor | None, written: Tensor, weight: float) -> bool:
    """Whether a diagonal matrix is a root, a covariance or an inverse as residuals have it, and log det is another's."""
    if pull is None:
        return False
    residuals = (pull.diagonal() * of for of in (written.square(), written, 1 / written))
    plain = [abs(float(each[0])) for each in residuals if bool((each - each[0]).abs().max() <= ALIKE * each[0].abs())]
    return bool(plain) and abs(weight) > 0 and not any(abs(each / abs(weight) - 1) < ALIKE for each in plain)


def is_of_elements(problem: Problem, pair: Pair) -> bool:
    """Whether what a decoder gives beside the mean is as many numbers, one for each element."""
    values = benign(problem)
    return any(values[slot.key].numel() == values[pair[0].key].numel() for slot in problem.plan.role("spread"))
