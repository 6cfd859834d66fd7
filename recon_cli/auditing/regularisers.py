"""A term in the reconstruction alone that couples its elements, total variation say, told apart from the likelihood beside it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import MATCH, Match, field_of, recognise
from recon_cli.auditing.measuring import ReconstructionTerm, bend
from recon_cli.auditing.probes import benign, data_of, generator, gradients
from recon_cli.auditing.reach.roles import Pair

SAME = 1e-8
LEVELS = {"real": (-2.0, 3.0), "unit": (0.04, 0.96), "positive": (0.1, 6.0)}  # of images that are the same everywhere
COUNT, EACH = 9, 60  # how many, and how many elements of each are looked at
WORDS = (
    "it is of {} alone and couples its elements, and pulls at none where all of them are alike: a prior on it (its total "
    "variation, say), and no likelihood"
)


def regularised(problem: Problem, pair: Pair) -> tuple[ReconstructionTerm, str] | None:
    """Return the likelihood that stands beside a term in the reconstruction alone, and in words what that is; None without one.

    What x pulls by is each element's own; where all elements of r are alike the pull is that of the likelihood; and what is left
    of the pull at other r is the same whatever x.
    """
    recon, target = pair
    base = benign(problem)
    x = data_of(base, pair)
    several = sum(slot.role in ("recon", "decoder") for slot in problem.plan.slots()) > 1
    if x is None or target is None or several or problem.layout.classes:
        return None

    def pull(r: Tensor, data: Tensor) -> Tensor:
        return gradients(problem, {**base, recon.key: r, target.key: data}, [recon.key])[1][recon.key]

    r = base[recon.key]
    half = torch.rand(x.shape, generator=generator(91)) < 0.5
    other = (1 - x).where(half, x)
    now, there = pull(r, x), pull(r, other)
    if not bool((now - there)[~half].abs().max() <= SAME * now.abs().max()) or not bool((now - there)[half].any()):
        return None
    for domain, ends in LEVELS.items():
        match = flat(pull, x, ends)
        if match is None or match.candidate is None:
            continue
        own = [field_of(match.candidate, match.numbers, data.flatten(), r.flatten(), match.link) for data in (x, other)]
        pulls = zip((now, there), own, strict=True)
        rest = [each - match.weight * field.reshape(x.shape) for each, field in pulls if field is not None]
        if len(rest) == 2 and bool((rest[0] - rest[1]).abs().max() <= SAME * now.abs().max()):
            sign = -1 if match.weight < 0 else 1
            return ReconstructionTerm(match, bend(match), domain=domain, sign=sign), WORDS.format(recon.key)
    return None


def flat(pull: Callable[[Tensor, Tensor], Tensor], x: Tensor, ends: tuple[float, float]) -> Match | None:
    """Return the family that the pull is where all elements of a reconstruction are alike, at some levels; None of none."""
    levels = torch.linspace(*ends, COUNT, dtype=torch.float64)
    spots = torch.randperm(x.numel(), generator=generator(92))[:EACH]
    pulls = [pull(torch.full_like(x, float(level)), x).flatten()[spots] for level in levels]
    measured = torch.cat(pulls)
    if not bool(measured.isfinite().all()) or not bool(measured.any()):
        return None
    match = recognise(x.flatten()[spots].repeat(len(levels)), levels.repeat_interleave(len(spots)), measured)
    return match if match is not None and match.off < MATCH and not match.parts else None
