"""A noise that is no number of the loss's own but what each batch chooses; and a KL whose weight is 0 by default."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import Match
from recon_cli.auditing.latents import measure
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.reach.callables import parameters_of
from recon_cli.auditing.reach.roles import Pair

Field = Callable[[Tensor], Tensor]
# d/dx̂ of -log p with the noise at its best is pull over mean size: of a Gaussian e/mean(e^2), of a Laplace sign e/mean|e|.
BEST: dict[str, tuple[Field, Field]] = {
    "gaussian": (lambda e: e, lambda e: e.square()),
    "laplace": (lambda e: e.sign(), lambda e: e.abs()),
}
OVER = {"the batch": (0, 1), "each sample": (1,), "each element over the batch": (0,)}
BASES = ((1, 0.3), (9, 0.2), (13, 0.1))  # seeds and spreads of the residuals that are tried
ALIKE, NEAR = 1e-6, 0.1  # of one batch's weights; of those of several, as where the noise is clipped softly


@dataclass(frozen=True)
class Chosen:
    """A reconstruction whose noise is the best of its own residuals: the family, over what, the weight, how far off that runs."""

    family: str
    over: str
    weight: float
    off: float

    @property
    def words(self) -> str:
        """The noise as a formula."""
        return f"{'sigma^2 = mean (x̂−x)²' if self.family == 'gaussian' else 'scale = mean |x̂−x|'} of {self.over}"

    def of(self, rec: ReconstructionTerm) -> ReconstructionTerm:
        """Return the reconstruction as that likelihood."""
        match = Match(self.family, self.weight, self.off, link=LINK)
        return replace(rec, match=match, additive=True, sign=int(math.copysign(1, self.weight)), location=True)


LINK = "noise chosen"


def chosen(problem: Problem, pair: Pair) -> Chosen | None:
    """Return the likelihood of a reconstruction whose noise is the best of its own residuals; None where it has none."""
    recon, target = pair
    if target is None or problem.layout.classes:
        return None
    fields: list[tuple[Tensor, Tensor]] = []
    for number, spread in BASES:
        values = benign(problem, number, spread)
        if values[recon.key].ndim != 2 or values[target.key].shape != values[recon.key].shape:
            return None
        e = values[recon.key] - values[target.key]
        grad = gradients(problem, values, [recon.key])[1][recon.key]
        if not bool(grad.isfinite().all()) or not bool((grad != 0).any()):
            return None
        fields.append((e, grad))
    for family, (pull, size) in BEST.items():
        for over, axes in OVER.items():
            weights = []
            for e, grad in fields:
                each = (grad * size(e).mean(axes, keepdim=True) / pull(e))[e.abs() > 1e-3]
                middle = each.median().item()
                if middle and (each - middle).abs().max() <= ALIKE * abs(middle):
                    weights.append(middle)
            if len(weights) < len(BASES):
                continue
            weight = weights[0]
            off = max(abs(one / weight - 1) for one in weights)
            if off < NEAR:
                return Chosen(family, over, weight, 0.0 if off < ALIKE else off)
    return None


def switch(problem: Problem) -> str:
    """Return the argument or attribute that is 0 and keeps a KL from being weighed at all; empty where there is none."""
    candidates: list[tuple[str, Problem]] = []
    plan, owner = problem.plan, problem.reached.owner
    parameters = parameters_of(problem.reached.code)
    for (i, name), value in zip(enumerate([*parameters][problem.reached.bound :]), plan.arguments, strict=False):
        if zero(value):
            arguments: list[object] = [*plan.arguments[:i], 1.0, *plan.arguments[i + 1 :]]
            candidates.append((name, problem.at(plan=replace(plan, arguments=arguments))))
    for name, value in {**{name: each.default for name, each in parameters.items()}, **plan.keywords}.items():
        if zero(value):
            candidates.append((name, problem.at(plan=replace(plan, keywords={**plan.keywords, name: 1.0}))))
    for name, value in vars(owner).items() if owner is not None and hasattr(owner, "__dict__") else ():
        if zero(value):
            candidates.append((f"self.{name}", problem.at(follow={**problem.follow, name: 1.0})))
    for name, other in candidates:
        try:
            latent = measure(other.at(memo={}))
        except Exception:  # the function does not take that: it is no weight
            continue
        if latent is not None and latent.weight:
            return name
    return ""


def zero(value: Any) -> bool:
    """Whether it is the number 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


__all__ = ["LINK", "Chosen", "chosen", "switch"]
