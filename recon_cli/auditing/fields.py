"""The gradient field of a loss: at points laid over the elements of a batch, at equal weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.probes import generator, gradients, uniform, value_at
from recon_cli.auditing.reach.roles import Pair
from recon_cli.errors import ReconError

POINTS = 84


@dataclass(frozen=True)
class Elements:
    """The elements of a batch, each of which can be given data and predictions of its own, at one weight.

    recon, target, scale
        the arguments; empty where there is none.
    weights
        how much each element counts, 1 for the middle one; None where all count alike.
    times
        what gradients are multiplied by to be those of the problem as it was given.
    """

    problem: Problem
    base: Values
    recon: str
    target: str
    weights: Tensor | None = None
    scale: str = ""
    times: float = 1.0

    def laid(self, points: Mapping[str, Tensor], by: Sequence[str], every: bool = False) -> tuple[bool, dict[str, Tensor]]:
        """Return whether the loss is finite, and its gradients by some arguments at each of a list of points.

        These are laid over the elements that count, in as few calls as they fill, and the gradients are those of the middle
        element's weight: NaN where a likelihood of recon's own refuses them. Where a loss is not finite, no further call is
        made, unless ``every`` point is wanted.
        """
        base, shape = self.base, self.base[self.recon].shape
        each = torch.ones(shape.numel(), dtype=torch.float64) if self.weights is None else self.weights.flatten()
        order, finite = each.nonzero().flatten(), True
        rows: dict[str, list[Tensor]] = {key: [] for key in by}
        for parts in zip(*(some.split(len(order)) for some in points.values()), strict=True):
            values, count = dict(base), len(parts[0])
            for key, part in zip(points, parts, strict=True):
                flat = base[key if base[key].shape == shape else self.recon].clone().flatten()
                flat[order] = part.repeat(math.ceil(len(order) / count))[: len(order)]
                values[key] = flat.reshape(shape)
            loss, grads = pulled(self.problem, values, by)
            finite = finite and math.isfinite(loss)
            for key in by:
                rows[key].append((grads[key].flatten() / each)[order[:count]] * self.times)
            if not (finite or every):
                break
        return finite, {key: torch.cat(some) for key, some in rows.items()}

    def field(self, x: Tensor, raw: Tensor) -> Tensor | None:
        """Return dL/d reconstruction at each of a list of points (x, raw); None where it is not finite."""
        has_data = self.target and self.base[self.target].is_floating_point()
        finite, grads = self.laid({self.recon: raw} | ({self.target: x} if has_data else {}), [self.recon])
        return grads[self.recon] if finite and bool(grads[self.recon].isfinite().all()) else None

    def fields(self, sets: Sequence[tuple[Tensor, Tensor]]) -> Sequence[Tensor | None]:
        """Return the field at several sets of points: of as few calls as they fill, set by set where one of them is refused."""
        whole = self.field(*(torch.cat(each) for each in zip(*sets, strict=True)))
        return [self.field(*points) for points in sets] if whole is None else whole.split([len(x) for x, _ in sets])

    def value(self, x: float, *prediction: float) -> float:
        """Return the loss of an element where all have these data, this prediction and scale: that of all there, shared out."""
        rows = {**dict(zip((self.recon, self.scale), prediction, strict=False)), self.target: x}
        values = {**self.base, **{key: torch.full_like(self.base[key], number) for key, number in rows.items()}}
        count = self.base[self.recon].numel() if self.weights is None else self.weights.sum().item()
        return value_at(self.problem, values) / count * self.times


def pulled(problem: Problem, values: Values, by: Sequence[str]) -> tuple[float, dict[str, Tensor]]:
    """Return what ``gradients`` does; NaN where a likelihood of recon's own refuses the values."""
    try:
        return gradients(problem, values, [*by])
    except ReconError:
        return math.nan, {key: torch.full_like(values[key], math.nan) for key in by}


def data_of(base: Values, pair: Pair) -> Tensor | None:
    """Return the data that a reconstruction of their shape is compared with; None where there are none."""
    recon, target = pair
    x = base[target.key] if target is not None else None
    return x if x is not None and x.shape == base[recon.key].shape and x.is_floating_point() else None


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
