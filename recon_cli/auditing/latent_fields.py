"""The gradients of a loss by means and scales of the latents, near the prior and far out, averaged over draws."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.links import MEANINGS
from recon_cli.auditing.probes import REFUSALS, gradients, uniform

NODES = ((0.0, 2 / 3), (math.sqrt(3), 1 / 6), (-math.sqrt(3), 1 / 6))  # Gauss-Hermite: exact for polynomials up to degree 5


Draw: TypeAlias = Callable[[Mapping[str, Tensor], float], Tensor]  # z at a node of the normal, of means and scales by key


Reach: TypeAlias = tuple[float, tuple[float, float]]  # how far out: of means, and of scales from one to another


Deviation: TypeAlias = Callable[[Tensor], Tensor]  # from a scale, whatever it means, to a standard deviation


SIZES = (8.0, 30.0, 6.0)  # how far out a KL is looked at: means, deviations up and down, logarithms


DEVIATION: dict[str, Deviation] = {name: each.deviate for name, each in MEANINGS.items() if each.kl}
PRIOR = {name: float(MEANINGS[name].of(torch.ones(()))) for name in DEVIATION}  # where the posterior's variance is 1


@dataclass(frozen=True)
class Looked:
    """Means and scales of the latents (ones where there is no scale), and the loss's gradients there."""

    mean: Tensor
    scale: Tensor
    by_mean: Tensor
    by_scale: Tensor


@dataclass(frozen=True)
class LatentSide:
    """The latents' side of a loss at some values, ``base``: the arguments that are their mean and scale, empty without one.

    named
        what the scale is by its name.
    z
        the argument that is a sample of them, empty where the loss reads none.
    """

    problem: Problem
    base: Values
    mu: str
    scale: str = ""
    named: str | None = None
    z: str = ""

    def draw(self, live: Mapping[str, Tensor], node: float) -> Tensor:
        """Return z at a node of the normal, so that gradients by mean and scale pass through it; as given where it is read."""
        if self.z:
            return live[self.z]
        return live[self.mu] + node * (DEVIATION[self.named or "log_variance"](live[self.scale]) if self.scale else 1.0)

    def averaged(self, values: Values, keys: list[str]) -> tuple[float, dict[str, Tensor]]:
        """Return the loss and its gradients, the mean over draws where there are any."""
        return averaged(self.problem, values, keys, self.draw)

    def filled(self, mean: float | Tensor, scale: float | None = None) -> dict[str, Tensor]:
        """Return the values with every mean, and every scale, one number, or with means of some values."""
        own = self.base[self.mu]
        means = mean.reshape(own.shape) if isinstance(mean, Tensor) else torch.full_like(own, mean)
        scales = {self.scale: torch.full_like(self.base[self.scale], scale)} if self.scale and scale is not None else {}
        return {**self.base, self.mu: means, **scales}

    def looked(self, reach: Reach, number: int = 51) -> Looked | None:
        """Return the gradients at random means up to ``reach[0]`` and scales in ``reach[1]``; None where they are not finite.

        Far out both signs of every size, so that small and large are there alike.
        """
        most, (low, high) = reach
        values = dict(self.base)
        mean = uniform(self.base[self.mu].shape, -most, most, number)
        mean = mean.sign() * most ** (mean.abs() / most * 2 - 1) if most > 2 else mean
        values[self.mu] = mean
        if self.scale:
            spread = uniform(self.base[self.scale].shape, 0, 1, number + 1)
            values[self.scale] = low * (high / low) ** spread if low > 0 and most > 2 else low + (high - low) * spread
        keys = [self.mu, self.scale] if self.scale else [self.mu]
        loss, grads = self.averaged(values, keys)
        if not math.isfinite(loss) or not all(bool(grads[key].isfinite().all()) for key in keys):
            return None
        scales, by_scale = values.get(self.scale, torch.ones_like(mean)), grads.get(self.scale, torch.zeros_like(mean))
        return Looked(mean, scales, grads[self.mu], by_scale)

    def outside(self, meaning: str | None, width: float) -> Looked | None:
        """Return the gradients far out, of logarithms symmetrically, else over decades; None where that is not taken."""
        most, decades, log = SIZES
        linear = meaning in (None, "std", "variance")
        ends = (decades**-width, decades**width) if linear else (-log * width, log * width)
        try:
            return self.looked((most, ends), 57)
        except REFUSALS:
            return None

    def pull_at(self, at: float) -> float:
        """Return the gradient by one scale where the means are 0 and the scales ``at``."""
        return self.averaged(self.filled(0.0, at), [self.scale])[1][self.scale].flatten()[0].item()


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


def slopes(deviate: Deviation, s: Tensor) -> tuple[Tensor, Tensor]:
    """Return what the variance and what the logarithm of a KL give to the gradient by the scale."""
    leaf = s.detach().clone().requires_grad_()
    sigma = deviate(leaf)
    (first,) = torch.autograd.grad((sigma.square() / 2).sum(), leaf, retain_graph=True)
    (second,) = torch.autograd.grad(sigma.log().sum(), leaf)
    return first, second
