"""The latents' side: a loss's gradients by means and scales, averaged over draws; free nats and capacities.

A KL may count from so many nats on: at how many its weight turns, and of what: a latent, a sample, the batch's mean. With every
scale at the prior's a latent's KL is m^2/2. Where all means are one size the weight turns at some m; which means turn it for one
that is small says over what the KL is added up before it is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
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


Weight: TypeAlias = Callable[[Tensor], float]  # of the first mean, with means of some values
HALVINGS = 35
SAME = 1e-6
FREE, DRIVEN, SQUARED, OTHER = "free nats", "a capacity", "a squared capacity", "another function"
FORMULAS = {FREE: "clamp(KL, min)", DRIVEN: "|KL − C|", SQUARED: "(KL − C)²"}
WHOSE = {  # whether other latents of the sample count, and whether other samples do
    (False, False): "of each latent of each sample",
    (True, False): "of each sample, summed over its latents",
    (False, True): "of each latent, the mean of the batch",
    (True, True): "of a sample, the mean of the batch",
}


@dataclass(frozen=True)
class Turn:
    """How the weight of a KL depends on how large the KL is.

    nats, whose
        at which it turns, and whether those of other latents and of other samples count beside.
    times
        of a square, what it is multiplied by: L = times (KL - nats)^2, summed over what is not within ``whose``.
    ends
        the least and the largest weight, relative to that far out.
    place
        in words, the sizes that ``nats`` moves with, and how; moves: whether the batch's is among them.
    """

    kind: str
    nats: float = 0.0
    whose: tuple[bool, bool] = (False, False)
    times: float = math.nan
    ends: tuple[float, float] = (0.0, 1.0)
    place: str = ""
    moves: bool = False

    @property
    def target(self) -> str:
        """At how many nats of what, in words."""
        return f"{round(self.nats, 6):.6g} nats {WHOSE[self.whose]}{self.place}"

    @property
    def words(self) -> str:
        """In words, what is done to the KL."""
        if self.kind == FREE:
            return f"free nats: the KL costs nothing up to {self.target}"
        if self.kind == DRIVEN:
            return f"a capacity: the KL is driven up to {self.target}, and down to that from above"
        if self.kind == SQUARED:
            return f"a capacity: the KL is driven to a target value of {self.target}, by the square of its distance"
        low, high = self.ends
        return (
            f"it is a function of the KL, and no number of KLs: its weight runs from {low:.4g} to {high:.4g} times that far out"
        )

    def summed(self, K: int) -> int:
        """Return how many latents are added up before they are compared, of K."""
        return K if self.whose[0] else 1


def turn_of(weight: Weight, shape: Sequence[int], slopes: Sequence[tuple[float, float]]) -> Turn | None:
    """Return how a weight depends on the size of all means, (size, weight) each; None where it does not."""
    weights = [weight for _, weight in slopes]
    far, most = weights[-1], max(map(abs, weights))
    if not most or all(abs(each - far) <= SAME * most for each in weights):
        return None
    free = all(abs(each) < 1e-12 * most or abs(each - far) <= SAME * most for each in weights)
    either = all(abs(abs(each) - abs(far)) <= SAME * most for each in weights)
    last = max((size for size, each in slopes if each * far <= 1e-12 * most * most), default=0.0)
    if (free or either) and last and far:
        beyond = next(size for size, _ in slopes if size > last)
        turn = Turn(FREE if free else DRIVEN, *threshold(weight, shape, (last, beyond)))
        size = math.sqrt(2 * turn.nats / turn.summed(int(torch.Size(shape[1:]).numel())))
        after = weight(torch.full(tuple(shape), 1.001 * size, dtype=torch.float64))
        if abs(after - far) <= SAME * most:  # at once, and not by and by
            return turn
    return squared(weight, shape, slopes) or Turn(
        OTHER, ends=(min(weights) / (far or most) + 0.0, max(weights) / (far or most) + 0.0)
    )


def squared(weight: Weight, shape: Sequence[int], slopes: Sequence[tuple[float, float]]) -> Turn | None:
    """Return what a mean's weight is of the square of the KL's distance from a target: a line in the KL, 0 at the target."""
    sizes, weights = (torch.tensor(each, dtype=torch.float64) for each in zip(*slopes, strict=True))
    line = torch.stack([sizes.square(), torch.ones_like(sizes)], dim=1) / weights.abs().clamp(min=1e-300)[:, None]
    rise, level = torch.linalg.lstsq(line, weights.sign()[:, None]).solution.flatten().tolist()
    off = (torch.tensor(rise) * sizes.square() + level - weights).abs()
    if not bool((off <= SAME * weights.abs() + SAME * abs(level)).all()) or level * rise > SAME * rise * rise:
        return None
    B, K = shape[0], int(torch.Size(shape[1:]).numel())
    whose = counts(weight, shape, 1.0, 3.0)
    times = rise * (B if whose[1] else 1) / (K if whose[0] else 1)
    nats = -level * (B if whose[1] else 1) / (2 * times)
    return Turn(SQUARED, nats if nats > SAME else 0.0, whose, times)


def counts(weight: Weight, shape: Sequence[int], size: float, other: float) -> tuple[bool, bool]:
    """Whether other latents of its sample, and other samples, move the weight of the first mean: from one size to another."""
    at = torch.full((shape[0], int(torch.Size(shape[1:]).numel())), size, dtype=torch.float64)
    weights = [weight(at.reshape(tuple(shape)))]
    for others in ((0, slice(1, None)), (slice(1, None), 0)):
        moved = at.clone()
        moved[others] = other
        weights.append(weight(moved.reshape(tuple(shape))) if moved[others].numel() else weights[0])
    before, *after = weights
    latents, samples = (abs(each - before) > SAME * max(abs(before), abs(each)) for each in after)
    return latents, samples


def threshold(weight: Weight, shape: Sequence[int], ends: tuple[float, float]) -> tuple[float, tuple[bool, bool]]:
    """Return at how many nats, and of what, a weight turns between two sizes of all means."""
    low, high = ends
    on = weight(torch.full(tuple(shape), high, dtype=torch.float64))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        off = weight(torch.full(tuple(shape), middle, dtype=torch.float64)) * on <= 1e-9 * on * on
        low, high = (middle, high) if off else (low, middle)
    whose = counts(weight, shape, low / 2, high * (8 * math.prod(shape)) ** 0.5)
    return high**2 / 2 * (math.prod(shape[1:]) if whose[0] else 1), whose
