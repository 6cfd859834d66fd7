"""Columns of different kinds in one reconstruction: which of them lean on one another, and what each block of them is."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import MATCH, Match, recognise
from recon_cli.auditing.fields import domains, element_weights, spaced
from recon_cli.auditing.measuring import ReconstructionTerm, recognise_events
from recon_cli.auditing.probes import benign, generator, gradients, uniform
from recon_cli.auditing.reach.roles import Pair

SPLITS = 5  # random halves of the columns that are moved to find those that lean on others
MOST = 12  # blocks


def product(problem: Problem, pair: Pair, rec: ReconstructionTerm) -> ReconstructionTerm:
    """Return a reconstruction of several blocks, each a likelihood, as their product; the same where it is none.

    Columns that lean on no other go element by element; those that lean on one another are classes of one event.
    """
    recon, target = pair
    base = benign(problem)
    if target is None or problem.layout.classes or base[target.key].shape != base[recon.key].shape:
        return rec
    if not base[target.key].is_floating_point() or base[recon.key].ndim != 2:
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
        matches.append(of_elements(problem, base, pair, weights))
    free = [match for match in matches if match is not None and (match.candidate is None or not match.candidate.kind().noise)]
    if not free or any(match is None or match.off > MATCH for match in matches):
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


def of_elements(problem: Problem, base: dict[str, Tensor], pair: Pair, weights: Tensor) -> Match | None:
    """Return which likelihood the columns are that lean on no other, at the weight of the middle one."""
    for x, raw in domains().values():
        measured = spaced(problem, base, pair, x, raw, weights)
        if measured is not None and bool(measured.abs().max() > 0) and (match := recognise(x, raw, measured)) is not None:
            return match
    return None
