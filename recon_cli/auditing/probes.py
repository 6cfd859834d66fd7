"""Probes: the values that a loss is called with, and what it is worth and its gradients there, each kept once it is measured.

Everything in float64. Reconstructions and targets are leaves of canonical shape (B, D), latents (B, K).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
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
            values[slot.key] = uniform((B, D), 0.4, 0.9, n)
            if slot.meaning == "matrix" and named:  # lower triangular, symmetric and positive definite, whatever it is to be
                values[slot.key] *= torch.eye(named[-1], dtype=torch.float64).flatten()
        elif slot.role == "z":
            values[slot.key] = uniform((B, sizes.K), -0.8, 0.8, n)
        elif slot.role == "unknown":
            values[slot.key] = uniform((B, D), 0.2, 0.8, n)
        elif slot.role == "mu":
            values[slot.key] = uniform((B, sizes.K), -0.9, 0.9, n)
        elif slot.role == "probs":  # shares, which are logits too
            values[slot.key] = uniform((B, *(named or sizes.latent)), -1, 1, n).softmax(-1).flatten(1)
        elif slot.role == "scale":
            values[slot.key] = uniform((B, sizes.K), 0.4, 1.2, n)
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
    key = (*sort_of(problem), *((name, value.shape, digest(value)) for name, value in values.items()))
    if key not in memo:
        if len(memo) >= KEPT:
            memo.pop(next(iter(memo)))
        memo[key] = ([], {})
    loss, grads = memo[key]
    return loss, grads


def digest(value: Tensor) -> int:
    """Return what tells the numbers of a tensor from others."""
    return hash(value.detach().numpy().tobytes())


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
