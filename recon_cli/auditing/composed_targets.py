"""A target that is made of several arguments, x1 - x0 of a flow say: what a prediction is pulled to, and how."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import MATCH, GivenWeights, Match, recognise
from recon_cli.auditing.given_weights import is_named_scale, plainly
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import additivity, benign, gradients, uniform, value_at
from recon_cli.auditing.reach.roles import Pair
from recon_cli.auditing.scaling import Scaling
from recon_cli.identity.regions import REAL

SAME = 1e-7
REACH = (1.0, 3.0, 40.0)  # how far from its target a prediction is tried


def composed(problem: Problem, pair: Pair, scaling: Scaling) -> ReconstructionTerm | None:
    """Return the reconstruction whose target is made of several arguments, with what it is; None of any other.

    Of a square the pull is a slope times what a prediction lacks; of any loss of a difference from a sum of so many times each
    argument, the pulls on these are so many times that on the prediction. The slope may be a weight that some argument gives,
    if it is not that of the data.
    """
    recon, target = pair
    base = benign(problem)
    keys = others(problem)
    if target is None or len(keys) < 2 or problem.layout.classes or not base[target.key].is_floating_point():
        return None
    shape = base[recon.key].shape
    if additivity(problem, base, recon.key, []) > SAME or any(base[key].numel() not in (shape[0], shape.numel()) for key in keys):
        return None
    points = [uniform(shape, -size, size, 81 + i) for i, size in enumerate(REACH)]
    line = straight(problem, base, recon.key, points)
    centre, slopes = line or (torch.zeros(shape), torch.ones(shape))
    if line is not None:
        if not is_elementwise(problem, base, recon.key, keys, points, centre):
            return None
        words, times = spelled(centre, {key: base[key].expand(shape) for key in keys})
    else:
        times = leaning(problem, base, recon.key, keys, points)
        centre = sum((by * base[key] for key, by in times.items()), centre)
        words = written(times, 0.0)
        if sum(by != 0 for by in times.values()) < 2:
            return None
    scales = [slot.key for slot in problem.plan.role("spread") if is_named_scale(slot)]
    if any(times.get(key) for key in scales):
        return None  # a scale is no part of a mean
    words += f", where {' and '.join(scales)} {'are' if scales[1:] else 'is'} given" if scales else ""
    even = bool((slopes - slopes.median()).abs().max() <= SAME * slopes.median().abs())
    if even:
        match = at_points(problem, base, recon.key, centre, points)
        return None if match is None else ReconstructionTerm(match, sign=match.sign, location=True, aim=words)
    whose = weighing(problem, base, pair, keys, points)
    if not whose or line is None:
        return None
    level = {**base, **{key: torch.full_like(base[key], 0.7) for key in whose}}
    there = straight(problem, level, recon.key, points)
    match = None if there is None else at_points(problem, level, recon.key, there[0], points)
    if match is None:
        return None
    own = plainly(problem, scaling)
    given = GivenWeights(" and ".join(whose), (), named=False)
    return ReconstructionTerm(replace(match, weight=match.sign * own), sign=match.sign, location=True, aim=words, given=given)


def others(problem: Problem) -> list[str]:
    """Return the target and what else is of its kind: other targets, and what a prediction's scale would be."""
    slots = problem.plan.slots()
    if sum(slot.role in ("recon", "decoder") for slot in slots) > 1:
        return []
    return [slot.key for slot in slots if slot.role == "target" or slot.role == "spread" and slot.meaning != "matrix"]


def pull(problem: Problem, base: Mapping[str, Tensor], recon: str, at: Tensor) -> Tensor:
    """Return the gradient by a prediction at some value."""
    return gradients(problem, {**base, recon: at}, [recon])[1][recon]


def straight(problem: Problem, base: Mapping[str, Tensor], recon: str, points: Sequence[Tensor]) -> tuple[Tensor, Tensor] | None:
    """Return where each element's pull vanishes and its slope, where that is a straight line; None where it is none."""
    first, second, third = (pull(problem, base, recon, at) for at in points)
    slopes = (third - first) / (points[2] - points[0])
    off = (second - first - slopes * (points[1] - points[0])).abs().max()
    if not bool(slopes.isfinite().all()) or not bool((slopes != 0).all()) or not bool(off <= SAME * second.abs().max()):
        return None
    return points[0] - first / slopes, slopes


def leaning(
    problem: Problem, base: Mapping[str, Tensor], recon: str, keys: Sequence[str], points: Sequence[Tensor]
) -> dict[str, float]:
    """Return how many times each argument is in what a prediction is compared with; nothing where that varies."""
    times = dict[str, float]()
    for key in keys:
        ratios = []
        for at in points:
            values = {**base, recon: at}
            pulls = {one: gradients(problem, values, [one])[1][one] for one in (recon, key)}
            if pulls[key].shape != pulls[recon].shape or not bool(pulls[recon].all()):
                return {}
            ratios.append(-(pulls[key] / pulls[recon]).flatten())
        each = torch.cat(ratios)
        if not bool((each - each.median()).abs().max() <= SAME * each.abs().max()):
            return {}
        times[key] = float(f"{each.median().item():.7g}")
    return times


def weighing(
    problem: Problem, base: Mapping[str, Tensor], pair: Pair, keys: Sequence[str], points: Sequence[Tensor]
) -> list[str]:
    """Return the arguments that the slope moves with, which weigh an element; none where the data do, or it costs something.

    What a prediction that is right costs may not move with a weight: of a noise that would be its logarithm.
    """
    recon, found = pair[0].key, list[str]()
    before = straight(problem, base, recon, points)
    for key in keys if before else ():
        moved = {**base, key: base[key] * 0.7 + 0.1}
        after = straight(problem, moved, recon, points)
        if before is None or after is None:
            return []
        if bool((after[1] - before[1]).abs().max() <= SAME * before[1].abs().max()):
            continue
        levels = [value_at(problem, {**values, recon: line[0]}) for values, line in ((base, before), (moved, after))]
        cost = abs(value_at(problem, {**base, recon: points[0]}))
        if pair[1] is None or key == pair[1].key or not abs(levels[0] - levels[1]) <= SAME * cost:
            return []
        found.append(key)
    return found


def at_points(problem: Problem, base: Mapping[str, Tensor], recon: str, centre: Tensor, points: Sequence[Tensor]) -> Match | None:
    """Return the family that the pull is about a centre, of a residual that may be any number; None of any other."""
    raw = torch.cat([at.flatten() for at in points])
    measured = torch.cat([pull(problem, base, recon, at).flatten() for at in points])
    match = recognise(centre.flatten().repeat(len(points)), raw, measured)
    if match is None or match.off > MATCH or match.link or match.family == "student-t":  # which may have no integral
        return None
    return match if match.parts or match.candidate is not None and match.candidate.kind().support == REAL else None


def is_elementwise(
    problem: Problem, base: Mapping[str, Tensor], recon: str, keys: Sequence[str], points: Sequence[Tensor], centre: Tensor
) -> bool:  # fmt: skip
    """Whether a centre moves with two arguments at least, each element with its own element of them, or its sample's number."""
    movers = 0
    for key in keys:
        value, at = base[key].clone(), base[key].numel() // 2 + 1
        value.view(-1)[at] += 0.31
        line = straight(problem, {**base, key: value}, recon, points)
        if line is None:
            return False
        moved = ((line[0] - centre).abs() > SAME * centre.abs().max()).flatten().nonzero().flatten()
        movers += len(moved) > 0
        if bool((moved * value.numel() // centre.numel() != at).any()):
            return False
    return movers > 1


def spelled(centre: Tensor, arguments: Mapping[str, Tensor]) -> tuple[str, dict[str, float]]:
    """Return in words what a centre is of some arguments, and how many times each it is a sum of; none where it is another."""
    columns = [*(value.flatten() for value in arguments.values()), torch.ones(centre.numel(), dtype=torch.float64)]
    line = torch.stack(columns, dim=1)
    times = torch.linalg.lstsq(line, centre.flatten()[:, None]).solution.flatten()
    if bool((line @ times - centre.flatten()).abs().max() > SAME * centre.abs().max()):
        return f"a function of {', '.join([*arguments][:-1])} and {[*arguments][-1]}", {}
    each = [float(f"{by:.7g}") if abs(by) > SAME else 0.0 for by in times.tolist()]
    sums = dict(zip(arguments, each[:-1], strict=True))
    return written(sums, each[-1]), sums


def written(times: Mapping[str, float], more: float) -> str:
    """Return a sum of so many times each argument and a number, those that are added first."""
    terms = sorted(((by, key) for key, by in times.items() if by), key=lambda each: each[0] < 0)
    parts = [(by, key if abs(by) == 1 else f"{abs(by):.6g} {key}") for by, key in terms]
    parts += [(more, f"{abs(more):.6g}")] if more else []
    text = "".join(f" {'-' if by < 0 else '+'} {part}" for by, part in parts)
    return text.removeprefix(" + ").replace(" - ", "-", 1) if text.startswith(" - ") else text.removeprefix(" + ")
