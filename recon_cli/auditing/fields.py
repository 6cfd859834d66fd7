"""The gradient field of a loss: at points laid over the elements of a batch, at equal weights."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.probes import generator, gradients, uniform
from recon_cli.auditing.reach.roles import Pair
from recon_cli.errors import ReconError

POINTS = 84


def field(problem: Problem, base: Values, pair: Pair, x: Tensor, raw: Tensor) -> Tensor | None:
    """Return dL/d reconstruction at each of a list of points (x, raw), laid over the elements; None where it is not finite."""
    recon, target = pair
    B, D = base[recon.key].shape[:2]
    fields = []
    for start in range(0, len(x), B * D):
        part = slice(start, start + B * D)
        reps = math.ceil(B * D / len(x[part]))
        values = dict(base)
        values[recon.key] = raw[part].repeat(reps)[: B * D].reshape(B, D)
        if target is not None and base[target.key].is_floating_point():
            values[target.key] = x[part].repeat(reps)[: B * D].reshape(B, D)
        loss, grads = gradients(problem, values, [recon.key])
        grad = grads[recon.key]
        if not math.isfinite(loss) or not bool(grad.isfinite().all()):
            return None
        fields.append(grad.flatten()[: len(x[part])])
    return torch.cat(fields)


def still(problem: Problem) -> float:
    """Return a target that is the same everywhere."""
    return 0.0 if problem.layout.binary else 0.3


def domains() -> dict[str, tuple[Tensor, Tensor]]:
    """Return points (x, prediction) to try, the widest first: reals, then (0, 1), then what is positive."""
    residual = torch.cat(
        [uniform(POINTS // 2, -3, 3, 5), uniform(POINTS // 4, -0.3, 0.3, 6), uniform(POINTS // 4, -0.02, 0.02, 7)]
    )
    x = uniform(POINTS, 0.02, 0.98, 4)
    return {
        "real": (x, x + residual),
        "unit": (uniform(POINTS, 0.03, 0.97, 8), uniform(POINTS, 0.03, 0.97, 9)),
        "positive": (uniform(POINTS, 0.1, 6, 10), uniform(POINTS, 0.1, 6, 11)),
    }


def element_weights(problem: Problem, base: Values, pair: Pair) -> tuple[Tensor, float]:
    """Return how much each element counts, 1 for the middle one, and the share that counts, by the field at equal points."""
    recon, target = pair
    values = dict(base)
    values[recon.key] = torch.full_like(base[recon.key], 0.7)
    if target is not None and base[target.key].is_floating_point():
        values[target.key] = torch.full_like(base[target.key], still(problem))
    grad = gradients(problem, values, [recon.key])[1][recon.key]
    counts = grad.abs() > 1e-12 * grad.abs().max()
    if not bool(counts.any()):
        return torch.ones_like(grad), 0.0
    return grad / grad[counts].median(), counts.double().mean().item()


def additivity(problem: Problem, base: Values, key: str, others: list[str]) -> float:
    """Return by how much gradients change where nothing changed, when half of the elements move; relative to the largest."""
    value = base[key]
    width = value.shape[:2]
    half = torch.rand(width, generator=generator(21)) < 0.5
    half.view(-1)[0], half.view(-1)[-1] = True, False
    moved = dict(base)
    step = uniform(value.shape, 0.02, 0.08, 22)
    moved[key] = value + step * (half if value.ndim == 2 else half.unsqueeze(-1))
    if "shares" in problem.layout.classes:
        moved[key] = moved[key] / moved[key].sum(-1, keepdim=True)
    before, after = (gradients(problem, values, [key, *others])[1] for values in (base, moved))
    worst = 0.0
    for name in (key, *others):
        size = before[name].abs().max().item()
        change = (after[name] - before[name]).abs()
        change = change[~half] if name == key else change
        if size and change.numel():
            worst = max(worst, change.max().item() / size)
    return worst


def spaced(problem: Problem, base: Values, pair: Pair, x: Tensor, raw: Tensor, weights: Tensor | None) -> Tensor | None:
    """Return the field, of elements that weigh differently at the middle one's weight; None where the points are refused."""
    try:
        return field(problem, base, pair, x, raw) if weights is None else weighed(problem, base, pair, x, raw, weights)
    except ReconError:  # of a likelihood of recon's: outside its domain
        return None


def at_sets(
    problem: Problem, base: Values, pair: Pair, weights: Tensor | None, sets: Sequence[tuple[Tensor, Tensor]]
) -> Sequence[Tensor | None]:  # fmt: skip
    """Return the field at several sets of points: of as few calls as they fill, set by set where one of them is refused."""
    x, raw = (torch.cat(each) for each in zip(*sets, strict=True))
    whole = spaced(problem, base, pair, x, raw, weights)
    if whole is not None:
        parts: Sequence[Tensor] = whole.split([len(x) for x, _ in sets])
        return parts
    return [spaced(problem, base, pair, *points, weights) for points in sets]


def weighed(problem: Problem, base: Values, pair: Pair, x: Tensor, raw: Tensor, weights: Tensor) -> Tensor | None:
    """Return the field at the middle element's weight, over the elements that have one."""
    order = weights.flatten().nonzero().flatten()
    recon, target = pair
    fields = []
    for start in range(0, len(x), len(order)):
        part = slice(start, start + len(order))
        at = order[: len(x[part])]
        values = dict(base)
        for slot, points in ((recon, raw), (target, x)):
            if slot is not None and base[slot.key].is_floating_point():
                full = base[slot.key].clone().flatten()
                full[at] = points[part]
                values[slot.key] = full.reshape(base[slot.key].shape)
        loss, grads = gradients(problem, values, [recon.key])
        if not math.isfinite(loss):
            return None
        fields.append((grads[recon.key].flatten() / weights.flatten())[at])
    whole = torch.cat(fields)
    return whole if bool(whole.isfinite().all()) else None
