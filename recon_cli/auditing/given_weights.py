"""Weights that are a function of an argument, 1/sigma^2 of a noise level say: the family that they weigh.

Of L = w(s) rho(x, r) at a given s nothing is missing: each element is of that family, weighed. Where a network gives s, the
logarithm of the scale that w makes is missing, which holds it: the loss falls without end as w does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import GivenWeights
from recon_cli.auditing.measuring import ReconstructionTerm, reconstruction
from recon_cli.auditing.noises import made_of
from recon_cli.auditing.probes import benign, data_of, gradients, value_at
from recon_cli.auditing.reach.call_plans import Slot, substitute
from recon_cli.auditing.reach.roles import Pair
from recon_cli.auditing.reach.vocabulary import role_of
from recon_cli.auditing.scaling import Scaling, product
from recon_cli.auditing.trained_scales import POWERS, TrainedScale

LEVELS = (0.02, 0.1, 0.3, 0.7, 1.0, 1.9, 4.0, 7.0, 30.0, 200.0)
MIDDLE = 0.7
SAME = 1e-7
LEAST = 1e-2  # what is added to a scale, and still it is one


def weighed(
    problem: Problem, pair: Pair, latents: list[str], scaling: Scaling
) -> tuple[ReconstructionTerm, tuple[TrainedScale, ...]] | None:
    """Return the reconstruction that an argument only weighs, its weight that of w = 1, and the scale it is if it is trained.

    None where the argument does more than that: moves the mean, or the loss without errors.
    """
    slots = problem.plan.role("spread")
    if len(slots) != 1 or slots[0].meaning == "matrix" or problem.layout.classes:
        return None
    slot, base = slots[0], benign(problem)
    rec = reconstruction(fixed(problem, slot, base), pair, latents)
    if rec.match is None or not rec.recognised or rec.centre or not rec.additive:
        return None
    times = shares(problem, base, pair[0].key, slot.key)
    if times is None or not alone(problem, base, pair, slot.key, [*times]):
        return None
    middle, match = abs(rec.match.weight) / plainly(problem, scaling), rec.match
    moved = any(abs(share - 1) > SAME for share in times.values())
    samples = tuple((level, middle * times[level]) for level in (0.3, 1.0, 7.0) if level in times) if moved else ()
    match = replace(match, weight=match.weight / middle, parts=tuple((name, by / middle) for name, by in match.parts))
    given = GivenWeights(slot.key, samples, named=is_named_scale(slot))
    curvature = rec.curvature and rec.curvature / middle
    known = replace(rec, match=match, curvature=curvature, given=given)
    each = base[slot.key].shape == base[pair[0].key].shape
    return known, trained(slot.key, match.family, times) if each and moved else ()


def is_named_scale(slot: Slot) -> bool:
    """Whether an argument has the name of a scale."""
    return role_of(slot.key.rpartition(".")[2]) in ("scale", "spread")


def plainly(problem: Problem, scaling: Scaling) -> float:
    """Return what an element of weight 1 weighs: one over the sizes of means."""
    return product((problem.sizes.batch, scaling.length or problem.sizes.D), (scaling.batch[1], scaling.dim[1]))


def fixed(problem: Problem, slot: Slot, base: Mapping[str, Tensor]) -> Problem:
    """Return the problem with one number everywhere in the place of an argument."""
    plan = replace(problem.plan)
    substitute(plan, slot.key, problem.place(slot, torch.full_like(base[slot.key], MIDDLE)))
    return problem.at(plan=plan, memo={})


def shares(problem: Problem, base: Mapping[str, Tensor], recon: str, key: str) -> dict[float, float] | None:
    """Return by what every element's pull is multiplied at each level of an argument, 1 in the middle; None if by no number."""

    def pull(level: float) -> Tensor:
        return gradients(problem, {**base, key: torch.full_like(base[key], level)}, [recon])[1][recon]

    middle, times = pull(MIDDLE), dict[float, float]()
    for level in LEVELS:
        there = pull(level)
        if not bool(there.isfinite().all()):
            continue
        share = float((there * middle).sum() / middle.square().sum())
        if not share >= 0 or bool((there - share * middle).abs().max() > SAME * max(share, 1e-3) * middle.abs().max()):
            return None
        times[level] = share
    if len(times) < 3:
        return None
    moved = any(abs(share - 1) > SAME for share in times.values())
    return times if moved or bool((gradients(problem, base, [recon])[1][recon] - middle).any()) else None


def alone(problem: Problem, base: Mapping[str, Tensor], pair: Pair, key: str, levels: list[float]) -> bool:
    """Whether without the errors nothing moves with an argument: what it adds grows with them, by the same at every level.

    So it is where errors of none cost nothing; of others two sets of them have one ratio.
    """
    recon, x = pair[0].key, data_of(base, pair)
    sets = [base[recon], benign(problem, 3)[recon], *([x] if x is not None else [])]
    worth = [
        torch.tensor([value_at(problem, {**base, recon: at, key: torch.full_like(base[key], level)}) for level in levels])
        for at in sets
    ]
    rises = [(each - each[len(each) // 2]).double() for each in worth]
    most = rises[0].abs().max()
    if x is not None and bool(rises[2].abs().max() <= SAME * max(float(most), float(worth[0].abs().max()) * 1e-6)):
        return True
    ratio = (rises[0] @ rises[1]) / (rises[1] @ rises[1])
    off = (rises[0] - ratio * rises[1]).abs()
    return bool(most > 0) and bool((off <= 1e-6 * rises[0].abs() + 1e-9 * worth[0].abs()).all())


def trained(key: str, family: str, times: Mapping[float, float]) -> tuple[TrainedScale, ...]:
    """Return the scale that weights make where they are those of a noise that is plainly made of an argument; else nothing."""
    power = POWERS.get(family, 0)
    some = {level: share for level, share in times.items() if share > 0}
    if not power or len(some) < 5:
        return ()
    levels = torch.tensor([*some], dtype=torch.float64)
    sigma = torch.tensor([share ** (-1 / power) for share in some.values()], dtype=torch.float64)
    made = made_of(key, levels, sigma, torch.ones_like(levels, dtype=torch.bool))
    if made.link is None or abs(made.more) > LEAST:
        return ()
    return (TrainedScale(key, 0.0, power, grows=bool(sigma[-1] > sigma[0]), argument=True),)
