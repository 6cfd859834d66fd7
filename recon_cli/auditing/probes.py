"""Probes: the values that a loss is called with, what it is worth and its gradients there, each kept once it is measured.

Everything in float64. Reconstructions and targets are leaves of canonical shape (B, D), latents (B, K). Points are laid over the
elements of a batch, at equal weights.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.reach.roles import Pair
from recon_cli.errors import ReconError

REFUSALS = (RuntimeError, ValueError, LookupError, ArithmeticError, AssertionError)  # of a function that does not take values


def generator(number: int = 1) -> torch.Generator:
    """Return a generator of its own, so that no seed of anybody's moves."""
    return torch.Generator().manual_seed(number)


def uniform(shape: Any, low: float, high: float, number: int = 1) -> Tensor:
    """Return points between ``low`` and ``high``."""
    with torch._C.DisableTorchFunction():
        return low + (high - low) * torch.rand(shape, generator=generator(number), dtype=torch.float64)


def sort_of(problem: Problem) -> tuple[object, ...]:
    """Return what of a problem decides its values, and by which they are kept."""
    bent = (tuple(each.items()) for each in (problem.shapes, problem.follow, problem.literals))
    return (
        problem.sizes,
        problem.layout,
        problem.dtype,
        problem.noise,
        problem.prior,
        problem.picked,
        *bent,
        *problem.plan.slots(),
    )


def benign(problem: Problem, number: int = 1, spread: float = 0.3) -> dict[str, Tensor]:
    """Return values that any loss takes, the same tensors each time: what is measured at them is kept."""
    key = ("benign", number, spread, *sort_of(problem))
    if key not in problem.memo:
        problem.memo[key] = made_up(problem, number, spread)
    return dict(problem.memo[key])


def counted(problem: Problem, number: int = 1) -> dict[str, Tensor]:
    """Return data that are 0, 1 or 2, and between 0 and 1 all that goes with them: what a likelihood of counts takes."""
    values = benign(problem, number)
    targets = [slot.key for slot in problem.plan.role("target")]
    floats = {key: uniform(value.shape, 0.1, 0.9, number + i) for i, (key, value) in enumerate(values.items())}
    return {
        key: (floats[key] * 3.7).floor() if key in targets else floats[key] if value.is_floating_point() else value
        for key, value in values.items()
    }


def made_up(problem: Problem, number: int, spread: float) -> dict[str, Tensor]:
    """Return reconstructions and targets inside (0, 1), latents near their prior, positive scales."""
    B, sizes, classes = problem.sizes.batch, problem.sizes, problem.layout.classes
    values: dict[str, Tensor] = {}
    for i, slot in enumerate(problem.plan.slots()):
        named = problem.shapes.get(slot.key) or problem.shapes.get(slot.group)
        D = math.prod(named) if named else sizes.D
        n = number + 17 * i
        if slot.role in ("recon", "target", "decoder", "spread") and classes:
            V = sizes.shape[0] if classes.startswith("first") else sizes.shape[-1]
            events = D // V
            if slot.role == "target":
                there = problem.labels(V)
                labels = there[torch.randint(0, len(there), (B, events), generator=generator(n))]
                values[slot.key] = torch.nn.functional.one_hot(labels, V).double() if classes.endswith("hot") else labels
            else:
                logits = uniform((B, events, V), -1, 1, n)
                values[slot.key] = logits.softmax(-1) if "shares" in classes else logits.log_softmax(-1)
        elif slot.role in ("recon", "target", "decoder"):
            values[slot.key] = uniform((B, D), 0.5 - spread, 0.5 + spread, n)
            if slot.role == "target" and problem.layout.binary:
                values[slot.key] = values[slot.key].round()
        elif slot.role == "spread":
            values[slot.key] = uniform((B, 1 if problem.layout.spread == "batch" else D), 0.4, 0.9, n)
            if slot.meaning == "matrix" and named:  # lower triangular, symmetric and positive definite, whatever it is to be
                values[slot.key] *= torch.eye(named[-1], dtype=torch.float64).flatten()
        elif slot.role in WITHIN:
            values[slot.key] = uniform((B, sizes.K), *WITHIN[slot.role], n)
        elif slot.role == "unknown":
            values[slot.key] = uniform((B, D), 0.2, 0.8, n)
        elif slot.role == "probs":  # shares, which are logits too
            values[slot.key] = uniform((B, *(named or sizes.latent)), -1, 1, n).softmax(-1).flatten(1)
        elif slot.role in ("kl", "density"):
            values[slot.key] = uniform((B,), 1, 2, n)
        elif slot.role == "posterior":
            values[f"{slot.key}.mean"] = uniform((B, sizes.K), -0.9, 0.9, n)
            values[f"{slot.key}.logvar"] = uniform((B, sizes.K), -0.8, 0.8, n + 1)
    return values


def gradients(problem: Problem, values: Mapping[str, Tensor], keys: list[str]) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and its gradient by each of ``keys`` (zeros where it has none); NaN where the values are refused.

    One call gives the gradients by all that is no target, so that nothing is asked twice of the same values.
    """
    if not keys:
        return math.nan, {}
    known = kept(problem, values)
    if not {*keys} <= known[1].keys():
        fixed = {slot.key for slot in problem.plan.role("target")}
        others = [key for key in values if key not in fixed and values[key].is_floating_point()]
        wanted: list[str] = [*keys, *(key for key in others if key not in keys and not fixed & {*keys})]
        with torch._C.DisableTorchFunction():
            live = {key: value.detach().clone().requires_grad_(key in wanted) for key, value in values.items()}
        leaves = {key: live[key] for key in wanted}
        try:
            loss = problem(live)
        except REFUSALS:
            known[0][:] = [math.nan]
            known[1].update((key, torch.full_like(leaf, math.nan)) for key, leaf in leaves.items())
        else:
            known[0][:] = [loss.item()]
            known[1].update(derived(loss, leaves))
    return known[0][0], {key: known[1][key] for key in keys}


KEPT = 100  # measurements that are kept


def kept(problem: Problem, values: Mapping[str, Tensor]) -> tuple[list[float], dict[str, Tensor]]:
    """Return what was measured at these numbers: the loss, if it was, and gradients; to be filled."""
    memo = problem.memo.setdefault("measured", {})
    key = (*sort_of(problem), *((name, value.shape, hash(value.detach().numpy().tobytes())) for name, value in values.items()))
    if key not in memo:
        if len(memo) >= KEPT:
            memo.pop(next(iter(memo)))
        memo[key] = ([], {})
    loss, grads = memo[key]
    return loss, grads


def keep(problem: Problem, values: Mapping[str, Tensor], loss: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a loss by some leaves, of a call that was made at these values; both are kept."""
    known = kept(problem, values)
    known[0][:] = [loss.item()]
    known[1].update(derived(loss, leaves))
    return known[1]


def derived(loss: Tensor, leaves: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the gradients of a loss by each of some leaves, zeros where it has none."""
    grads = torch.autograd.grad(loss, [*leaves.values()], allow_unused=True) if loss.requires_grad else [None] * len(leaves)
    with torch._C.DisableTorchFunction():
        return {
            key: torch.zeros_like(leaf) if grad is None else grad for (key, leaf), grad in zip(leaves.items(), grads, strict=True)
        }


def value_at(problem: Problem, values: Mapping[str, Tensor], **how: object) -> float:
    """Return the loss as a number; NaN where the function refuses the values."""
    known = kept(problem, values)[0] if not how else []
    if known:
        return known[0]
    try:
        known.append(problem(values, **how).item())
    except (*REFUSALS, ReconError):
        known.append(math.nan)
    return known[0]


POINTS = 84
WITHIN = {"z": (-0.8, 0.8), "mu": (-0.9, 0.9), "scale": (0.4, 1.2)}  # where latents are benign


@dataclass(frozen=True)
class Elements:
    """The elements of a batch, each of which can be given data and predictions of its own, at one weight.

    recon, target, scales
        the arguments: the target empty where there is none, scales all that the decoder gives beside its mean.
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
    scales: tuple[str, ...] = ()
    times: float = 1.0

    @property
    def scale(self) -> str:
        """The first of what the decoder gives beside its mean; empty where it gives nothing."""
        return next(iter(self.scales), "")

    def laid(self, points: Mapping[str, Tensor], by: Sequence[str], every: bool = False) -> tuple[bool, dict[str, Tensor]]:
        """Return whether the loss is finite, and its gradients by some arguments at each of a list of points.

        These are laid over the elements that count, in as few calls as they fill, and the gradients are those of the middle
        element's weight: NaN where a likelihood of recon's own refuses them. Where a loss is not finite, no further call is
        made, unless ``every`` point is wanted.
        """
        base, shape = self.base, self.base[self.recon].shape
        with torch._C.DisableTorchFunction():  # nothing to overrule in our own arithmetic, at each of many calls
            each = torch.ones(shape.numel(), dtype=torch.float64) if self.weights is None else self.weights.flatten()
            order, finite = each.nonzero().flatten(), True
            width = len(order)
            split = [*zip(*(some.split(width) for some in points.values()), strict=True)]
        rows: dict[str, list[Tensor]] = {key: [] for key in by}
        for parts in split:
            values, count = dict(base), len(parts[0])
            with torch._C.DisableTorchFunction():
                for key, part in zip(points, parts, strict=True):
                    flat = base[key if base[key].shape == shape else self.recon].clone().flatten()
                    flat[order] = part.repeat(math.ceil(width / count))[:width]
                    values[key] = flat.reshape(shape)
            loss, grads = pulled(self.problem, values, by)
            finite = finite and math.isfinite(loss)
            with torch._C.DisableTorchFunction():
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
        """Return the loss of an element where all have these data, this prediction and scales: that of all there, shared out."""
        rows = {**dict(zip((self.recon, *self.scales), prediction, strict=True)), self.target: x}
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
