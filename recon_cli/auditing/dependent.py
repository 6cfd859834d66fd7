"""Likelihoods although their elements lean on one another; and a KL whose weight is 0 by default.

A noise is no number of the loss's own but what each batch chooses; or columns are of different kinds, each block its own.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import MATCH, Match
from recon_cli.auditing.latents import measure
from recon_cli.auditing.measuring import SIMPLEX, ReconstructionTerm, recognise_events, recognised
from recon_cli.auditing.probes import Elements, benign, data_of, domains, element_weights, generator, gradients, uniform
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
SPLITS = 5  # random halves of the columns that are moved to find those that lean on others
MOST = 12  # blocks


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
    fields: list[tuple[Tensor, Tensor]] = []
    for number, spread in BASES if pair[1] is not None and not problem.layout.classes else ():
        values, recon = benign(problem, number, spread), pair[0].key
        if (x := data_of(values, pair)) is None or x.ndim != 2:
            return None
        grad = gradients(problem, values, [recon])[1][recon]
        if not bool(grad.isfinite().all()) or not bool((grad != 0).any()):
            return None
        fields.append((values[recon] - x, grad))
    for (family, (pull, size)), (over, axes) in itertools.product(BEST.items(), OVER.items()) if fields else ():
        weights = []
        for e, grad in fields:
            each = (grad * size(e).mean(axes, keepdim=True) / pull(e))[e.abs() > 1e-3]
            middle = each.median().item()
            if middle and (each - middle).abs().max() <= ALIKE * abs(middle):
                weights.append(middle)
        off = max(abs(one / weights[0] - 1) for one in weights) if len(weights) == len(BASES) else math.inf
        if off < NEAR:
            return Chosen(family, over, weights[0], 0.0 if off < ALIKE else off)
    return None


def switch(problem: Problem) -> str:
    """Return the argument or attribute that is 0 and keeps a KL from being weighed at all; empty where there is none."""
    plan, owner, parameters = problem.plan, problem.reached.owner, parameters_of(problem.reached.code)

    def one_of(name: str) -> Problem:
        return problem.at(plan=replace(plan, keywords={**plan.keywords, name: 1.0}))

    candidates: list[tuple[str, Problem]] = []
    for i, (name, value) in enumerate(zip([*parameters][problem.reached.bound :], plan.arguments, strict=False)):
        if zero(value):
            arguments: list[object] = [*plan.arguments[:i], 1.0, *plan.arguments[i + 1 :]]
            candidates.append((name, problem.at(plan=replace(plan, arguments=arguments))))
    named = {**{name: each.default for name, each in parameters.items()}, **plan.keywords}
    candidates += [(name, one_of(name)) for name, value in named.items() if zero(value)]
    own = vars(owner) if owner is not None and hasattr(owner, "__dict__") else {}
    candidates += [(f"self.{n}", problem.at(follow={**problem.follow, n: 1.0})) for n, value in own.items() if zero(value)]
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


def product(problem: Problem, pair: Pair, rec: ReconstructionTerm) -> ReconstructionTerm:
    """Return a reconstruction of several blocks, each a likelihood, as their product; the same where it is none.

    Columns that lean on no other go element by element; those that lean on one another are classes of one event.
    """
    recon, target = pair
    base = benign(problem)
    if target is None or problem.layout.classes or data_of(base, pair) is None or base[recon.key].ndim != 2:
        return rec
    blocks = leaning(problem, base, recon.key)
    bound = [column for block in blocks for column in block]
    if not blocks:
        return rec
    matches = [of_event(problem, base, pair, block) for block in blocks]
    weights, _ = element_weights(problem, base, pair)
    weights[:, bound] = 0.0
    if bool((weights != 0).any()):
        weights = weights / weights[weights != 0].median()
        matches.append(recognised(Elements(problem, base, recon.key, target.key, weights), domains())[0])
    free = [match for match in matches if match is not None and (match.candidate is None or not match.candidate.kind().noise)]
    if not free or any(match is None or match.off > MATCH or match.link == SIMPLEX for match in matches):
        return rec
    if any(abs(match.weight / free[0].weight - 1) > 1e-6 for match in free):
        return rec  # of a beta each
    names = " + ".join(sorted({match.family for match in matches if match is not None}))
    alive = weights[weights != 0]
    spread = (alive.min().item(), alive.max().item()) if len(alive) else (1.0, 1.0)
    return replace(rec, match=Match(names, free[0].weight, 0.0), additive=True, weights=spread, counted=1.0, domain="real")


def leaning(problem: Problem, base: dict[str, Tensor], key: str) -> list[list[int]]:
    """Return the columns whose gradients others move, together with those; empty where that is all of them, or one block."""
    value = base[key]
    _, grads = gradients(problem, base, [key])
    before, columns = grads[key], value.shape[1]

    def moved(which: Tensor) -> Tensor:
        """Whether the gradients of each column change where these columns move."""
        after = gradients(problem, {**base, key: value + 0.05 * which}, [key])[1][key]
        return ((after - before).abs() > 1e-9 * before.abs().max()).any(0)

    bound = torch.zeros(columns, dtype=torch.bool)
    for number in range(SPLITS):
        half = torch.rand(columns, generator=generator(90 + number)) < 0.5
        bound |= moved(half) & ~half
    blocks: list[list[int]] = []
    left = bound.clone()
    while bool(left.any()) and len(blocks) < MOST:
        first = int(left.nonzero()[0])
        one = torch.zeros(columns, dtype=torch.bool)
        one[first] = True
        with_it = moved(one) | one
        blocks.append(with_it.nonzero().flatten().tolist())
        left &= ~with_it
    whole = bool(left.any()) or any(len(block) in (1, columns) for block in blocks)
    return [] if whole else blocks


def of_event(problem: Problem, base: dict[str, Tensor], pair: Pair, block: list[int]) -> Match | None:
    """Return which likelihood of vectors some columns are of one-hot data."""
    recon, target = (slot.key for slot in pair if slot is not None)
    rows, width = len(base[recon]), len(block)
    hot = torch.nn.functional.one_hot(torch.arange(rows) % width, width).double()
    for raw in (uniform((rows, width), -2, 2, 93), uniform((rows, width), -2, 2, 93).softmax(-1)):
        values = {**base, recon: base[recon].clone(), target: base[target].clone()}
        values[recon][:, block], values[target][:, block] = raw, hot
        grad = gradients(problem, values, [recon])[1][recon][:, block]
        if bool(grad.isfinite().all()) and (match := recognise_events(hot, raw, grad)) is not None:
            return match
    return None
