"""Free nats and capacities: at how many nats the weight of a KL turns, and of what: a latent, a sample, the batch's mean.

With every scale at the prior's a latent's KL is m^2/2. Where all means are one size the weight turns at some m; which means turn
it for one that is small says over what the KL is added up before it is compared.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

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
