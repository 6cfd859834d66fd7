"""The gradients of a loss by means and scales of the latents, near the prior and far out, averaged over draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.probes import gradients, uniform

NODES = ((0.0, 2 / 3), (math.sqrt(3), 1 / 6), (-math.sqrt(3), 1 / 6))  # Gauss-Hermite: exact for polynomials up to degree 5


Draw: TypeAlias = Callable[[Mapping[str, Tensor], float], Tensor]  # z at a node of the normal, of means and scales by key


Reach: TypeAlias = tuple[float, tuple[float, float]]  # how far out: of means, and of scales from one to another


Deviation: TypeAlias = Callable[[Tensor], Tensor]  # from a scale, whatever it means, to a standard deviation


SIZES = (8.0, 30.0, 6.0)  # how far out a KL is looked at: means, deviations up and down, logarithms


def averaged(
    problem: Problem, values: Mapping[str, Tensor], keys: list[str], deviation: Draw | None = None
) -> tuple[float, dict[str, Tensor]]:
    """Return the loss and its gradients; where a sample ``z`` is an argument or drawn inside, the mean over three nodes.

    The nodes are the normal's; ``deviation`` says how a draw depends on mean and scale, so that their gradients pass through it.
    """
    draws = problem.plan.role("z")
    if problem.noise is None and not (draws and deviation):
        return gradients(problem, values, keys)
    loss, sums = 0.0, {key: torch.zeros_like(values[key]) for key in keys}
    for node, share in NODES:
        live = {key: value.detach().clone() for key, value in values.items()}
        for key in keys:
            live[key].requires_grad_()
        for slot in draws:
            assert deviation is not None
            live[slot.key] = deviation(live, node)
        measured = problem.at(noise=node if problem.noise is not None else None)(live)
        grads = (
            torch.autograd.grad(measured, [live[key] for key in keys], allow_unused=True)
            if measured.requires_grad
            else [None] * len(keys)
        )
        loss += share * measured.item()
        for key, grad in zip(keys, grads, strict=True):
            if grad is not None:
                sums[key] += share * grad
    return loss, sums


@dataclass(frozen=True)
class Looked:
    """Means and scales of the latents (ones where there is no scale), and the loss's gradients there."""

    mean: Tensor
    scale: Tensor
    by_mean: Tensor
    by_scale: Tensor


def looked(
    problem: Problem, base: Values, mu: str, scale: str | None, deviation: Draw, reach: Reach, number: int = 51
) -> Looked | None:
    """Return the gradients at random means up to ``reach[0]`` and scales in ``reach[1]``; None where they are not finite.

    Far out both signs of every size, so that small and large are there alike.
    """
    most, (low, high) = reach
    values = dict(base)
    values[mu] = uniform(base[mu].shape, -most, most, number)
    if most > 2:
        values[mu] = values[mu].sign() * most ** (values[mu].abs() / most * 2 - 1)
    if scale:
        spread = uniform(base[scale].shape, 0, 1, number + 1)
        values[scale] = low * (high / low) ** spread if low > 0 and most > 2 else low + (high - low) * spread
    loss, grads = averaged(problem, values, [mu, *([scale] if scale else [])], deviation)
    by_scale = grads[scale] if scale else torch.zeros_like(values[mu])
    if not (math.isfinite(loss) and bool(grads[mu].isfinite().all()) and bool(by_scale.isfinite().all())):
        return None
    return Looked(values[mu], values[scale] if scale else torch.ones_like(values[mu]), grads[mu], by_scale)


def far(meaning: str | None, width: float = 1.0) -> Reach:
    """Return how far out to look: of logarithms symmetrically, of deviations and variances over decades."""
    if meaning in ("std", "variance"):
        return SIZES[0], ((1 / SIZES[1]) ** width, SIZES[1] ** width)
    return SIZES[0], (-SIZES[2] * width, SIZES[2] * width)


def slopes(deviate: Deviation, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the variance and what the logarithm of a KL give to the gradient by the scale."""
    leaf = s.detach().clone().requires_grad_()
    sigma = deviate(leaf)
    (first,) = torch.autograd.grad((sigma.square() / 2).sum(), leaf, retain_graph=True)
    (second,) = torch.autograd.grad(sigma.log().sum(), leaf)
    return first, second
