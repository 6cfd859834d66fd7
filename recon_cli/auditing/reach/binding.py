"""Binding: what each tensor is, in one search. Names say what to try first; structure and what is recognised decide.

A hypothesis gives every argument a role. Its cost is how far it is from what names say, from who meets whom, and, where these
do not settle it, from what derivatives say. The cheapest is taken as it is where names alone leave nothing open; else the first
under which all of the loss is recognised, or the one that is nearest.
"""

from __future__ import annotations

import contextlib
import heapq
import itertools
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.latents import measure
from recon_cli.auditing.limiting import Lacking, worded
from recon_cli.auditing.matching import TOKENS, bare, labelled, laid_out, latent_keys, of_classes, pairs, smaller, with_classes
from recon_cli.auditing.measuring import reconstruction
from recon_cli.auditing.probes import benign, counted, gradients
from recon_cli.auditing.reach.call_plans import OF_KL, CallPlan, Slot, substitute
from recon_cli.auditing.reach.structure import Structure, structures
from recon_cli.auditing.reach.vocabulary import DATA, DENSITY, LIKELY, PRIORS, READY, meaning_of
from recon_cli.auditing.remainders import CROSSES, SCORE
from recon_cli.errors import ReconError

# What an argument may be, by the role that its name has, and how far from its name that is.
COSTS: dict[str, dict[str, float]] = {
    "recon": {"recon": 0, "target": 2, "compared": 1, "probs": 1, "spread": 2},
    "target": {"target": 0, "recon": 2},
    "scale": {"scale": 0, "spread": 1, "prior": 2},
    "mu": {"mu": 0, "recon": 3, "prior": 2},
    "z": {"z": 0, "recon": 3, "target": 3, "compared": 1, "probs": 1},
    "unknown": {"recon": 1, "target": 1, "mu": 1, "scale": 1, "probs": 1, "spread": 2, "mask": 2, "compared": 2, "prior": 2},
}
SURE = {"recon": {"recon", "decoder"}, "mean": {"mu", "posterior"}, "latents": {"mu", "scale", "probs"}}
LIKE_DATA = {"recon", "target", "spread"}
CODES = re.compile(r"z(_|$|hat|q|e$)|\w*quanti|codes?(_|$)|\w*emb(ed|s|_|$)", re.I)  # what is called so is no data
STRANGE = 3.0  # the cost of what structure speaks against
LAST = 4.0  # and of what may be no more than not understood
MOST, ROWS = 12, 3000  # hypotheses that are tried, and ways to see one group of arguments


@dataclass(frozen=True)
class Fit:
    """A way of calling under which the loss runs: how good it is, the problem, what is odd, what it cost."""

    good: float
    problem: Problem
    odd: str
    exact: bool
    cost: float


def matched(problem: Problem, given: bool = True) -> tuple[Problem, str]:
    """Return the problem with a role for every argument, in the first layout that fits; and what is odd about it.

    Where nobody has ``given`` a shape and it takes no images, of rows, or of tokens.
    """
    try:
        return searched(of_classes(problem))
    except ReconError:
        others: list[tuple[int, ...]] = [] if given or len(problem.sizes.shape) < 2 else [(problem.sizes.D,)]
        others += [TOKENS] * (bool(others) and labelled(problem.plan))
        for shape in others:
            with contextlib.suppress(ReconError):
                return searched(problem.at(sizes=replace(problem.sizes, shape=shape)))
        raise


def searched(problem: Problem) -> tuple[Problem, str]:
    """Return what ``matched`` does, of samples of one shape."""
    plan = problem.plan
    named = {slot.key: slot.role for slot in plan.slots()}
    groups = plan.groups()
    if cost(named, plan, groups, None) == 0:
        return laid(problem.at(plan=with_roles(plan, named, groups)))
    errors: list[BaseException] = []
    seen = None
    for seen in structures(problem):
        if fits := fitting(problem, seen.groups if seen else groups, seen, errors):
            best = max(fits, key=lambda each: each.good)
            return smaller(best.problem), best.odd
    raise unmatched(problem, errors, seen)


def fitting(
    problem: Problem, groups: Sequence[set[str]], seen: Structure | None, errors: list[BaseException]
) -> list[Fit]:  # fmt: skip
    """Return the hypotheses that fit, the cheapest first, as far as they must be tried; ``errors`` gets what the first raises."""
    plan, fits, least = problem.plan, list[Fit](), math.inf
    named = {slot.key: slot.role for slot in plan.slots()}
    for by, roles in itertools.islice(hypotheses(plan, groups, seen), MOST):
        least = min(least, by)
        if seen and fits and by > fits[0].cost + 1:
            break  # what is much less likely is not needed
        new = {key: role for key, role in roles.items() if role != named[key]}
        if seen and by > least + STRANGE and (fits or "compared" not in new.values()):
            continue
        if fits and any(role == "compared" and {key} in groups for key, role in new.items()):
            continue
        there = problem.at(plan=with_roles(plan, roles, groups, seen))
        try:
            fit = tried(there, new, by)
        except Exception as error:
            errors += [] if errors else [bare(error)]
            continue
        fits += [fit] if fit is not None else []
        if fit is not None and fit.exact:
            break
    return fits


def laid(problem: Problem) -> tuple[Problem, str]:
    """Return the problem in the first layout that fits, its roles being known; and what is odd about it."""
    chosen, odd = with_classes(*laid_out(problem))
    chosen = smaller(chosen)
    if not problem.plan.role("probs") or len(problem.sizes.latent) < 2:
        return chosen, odd
    for how in ("joined", "flat"):  # all classes in one axis, or an axis of their own
        other = chosen.at(layout=replace(chosen.layout, latent=how))
        latent = measure(other)
        if latent is not None and not latent.wrong:
            return other, odd
    return chosen.at(layout=replace(chosen.layout, latent="joined")), odd


def hypotheses(plan: CallPlan, groups: Sequence[set[str]], seen: Structure | None) -> Iterator[tuple[float, dict[str, str]]]:
    """Yield roles for all arguments and their cost, the cheapest first: those of each group put together."""
    named = {slot.key: slot.role for slot in plan.slots()}
    loose = [{key} for key in named if not any(key in group for group in groups)]
    ways = [
        sorted(ways_of(keys, plan, seen), key=lambda way: way[0])
        for group in [*groups, *loose] if (keys := sorted(group & named.keys()))
    ]  # fmt: skip
    if seen and not all(ways):
        return  # of some group nothing goes together
    ways = [each for each in ways if each]  # who meets whom is seen on the way alone: names decide
    start: tuple[int, ...] = (0,) * len(ways)
    heap: list[tuple[float, tuple[int, ...]]] = [(sum(each[0][0] for each in ways), start)]
    known: set[tuple[int, ...]] = {start}
    for _ in range(ROWS):
        if not heap:
            return
        so_far, at = heapq.heappop(heap)
        roles = {key: role for each, i in zip(ways, at, strict=True) for key, role in each[i][1].items()}
        whole = cost(roles, plan, groups, seen)
        if whole < math.inf:
            yield whole, roles
        for axis in range(len(ways)):
            other = (*at[:axis], at[axis] + 1, *at[axis + 1 :])
            if other[axis] < len(ways[axis]) and other not in known:
                known.add(other)
                heapq.heappush(heap, (so_far - ways[axis][at[axis]][0] + ways[axis][other[axis]][0], other))


def ways_of(keys: Sequence[str], plan: CallPlan, seen: Structure | None) -> list[tuple[float, dict[str, str]]]:
    """Return the ways to see the arguments of one group, each with its cost."""
    slots = {slot.key: slot for slot in plan.slots()}
    options = [costs_of(slots[key], plan, seen) for key in keys]
    while math.prod(map(len, options)) > ROWS:
        longest = max(options, key=len)
        del longest[max(longest, key=lambda role: longest[role])]
    ways = []
    for roles in itertools.product(*options):
        each = dict(zip(keys, roles, strict=True))
        own = sum(option[role] for option, role in zip(options, roles, strict=True))
        ways.append((own + together(each, slots, seen, named_pair(plan, keys)), each))
    return [way for way in ways if way[0] < math.inf]


def costs_of(slot: Slot, plan: CallPlan, seen: Structure | None) -> dict[str, float]:
    """Return what each role of an argument costs, by its name and by structure."""
    by_name = slot.how.startswith(("by its name", "not matched"))
    if by_name and seen and slot.key in seen.divergences:
        return {seen.divergences[slot.key][0]: 0.0}
    if not by_name or slot.role not in COSTS:
        return {slot.role: 0.0}
    key, node = slot.key, plan.trace.nodes.get(slot.key)
    costs = dict(COSTS[slot.role])
    other = {"target": "recon", "recon": "target"}.get(slot.role)
    if other and LIKELY[other].match(key.rpartition(".")[2]):
        costs[other] -= 0.5
    if node is not None and "labels" in node.uses:
        costs = {role: by + STRANGE * (role != "target") for role, by in costs.items()}
    score = slot.role == "unknown" and bool(SCORE.search(key))
    costs["compared"] = 0.5 if score else costs.get("compared", math.inf)
    if seen is None or not any(key in group for group in seen.groups):
        return costs
    if key in seen.unread and slot.role == "unknown" and not DENSITY.match(key):
        return {"skip": 0.0}
    if key in seen.flat and {key} in seen.groups and (DENSITY.match(key) or READY.match(key)):
        return {"density" if DENSITY.match(key) else "extra": 0.0}
    alone, flat, bent = {key} in seen.groups, key in seen.flat, key in seen.bent
    against = {
        "recon": alone or flat, "target": alone, "mu": flat or bent, "scale": not bent, "probs": not alone or not bent,
        "spread": alone or not bent, "mask": alone or not flat,
    }  # fmt: skip
    unlikely = {"target": 0.25 * (not flat), "compared": LAST * alone * (not score)}
    return {role: by + STRANGE * against.get(role, False) + unlikely.get(role, 0.0) for role, by in costs.items()}


def together(roles: Mapping[str, str], slots: Mapping[str, Slot], seen: Structure | None, other_pair: bool) -> float:
    """Return what the roles of arguments that lean on one another cost; infinity where they do not go together.

    Of several reconstructions, or targets, none leans on another, and all have names that say so.
    """
    inside, named, sure = [*roles.values()], [slots[key].role for key in roles], seen is not None
    recons = [key for key, role in roles.items() if role in SURE["recon"]]
    targets = [key for key, role in roles.items() if role == "target"]
    one = sure and [slots[key].role for key in recons] == ["recon"]
    for alike in (recons, targets):
        leaning = seen is None or any({*pair} in seen.leaning for pair in itertools.combinations(alike, 2))
        told = all(slots[key].how == "given by --args" or one for key in alike)  # of which one target may be made
        if alike[1:] and not told and (leaning or any(slots[key].role != roles[key] for key in alike)):
            return math.inf
    if "compared" in inside and {*inside} != {"compared"}:
        return math.inf
    if any(role in ("spread", "mask") and role != was for role, was in zip(inside, named, strict=True)) and not recons:
        return math.inf
    total, data = 0.0, bool(LIKE_DATA & {*inside})
    if "prior" in inside and (data or "mask" in inside or not {"mu", "scale"} & {*inside}):
        return math.inf
    if sure and len(inside) > 1 and {"mu", "scale"} & {*inside} and not {"prior", "z"} & {*inside}:
        total += STRANGE  # by itself neither leans on anything
    if data and SURE["latents"] & {*inside}:
        if inside != named and sure:
            return math.inf
        total += 2 * (inside != named or not {"mu", "probs"} & {*inside})
    if len(inside) > 1 and data:
        if sure and inside != named and not {"recon", "target"} <= {*inside, *("recon" for _ in recons)}:
            return math.inf
        total += 2 * (not recons) + 2 * ("target" not in inside)
    if other_pair and data and "target" not in named and named.count("recon") != 1 and len(inside) > 1:
        total += LAST
    return total + 5 * ("compared" in inside and not other_pair)


def named_pair(plan: CallPlan, keys: Iterable[str]) -> bool:
    """Whether a reconstruction and a target are known by name, or were told, beside these arguments; or two that may be."""
    others = [slot.role for slot in plan.slots() if slot.key not in keys]
    return {"recon", "target"} <= {*others} or others.count("target") == 2


def cost(roles: Mapping[str, str], plan: CallPlan, groups: Sequence[set[str]], seen: Structure | None) -> float:
    """Return what a hypothesis costs, 0 where names leave nothing open; infinity where it is none."""
    every = {*roles.values()}
    if "unknown" in every or ("scale" in every and not every & SURE["mean"]):
        return math.inf
    if not every & SURE["recon"] and not (every & {*SURE["mean"], "probs"} and every <= OF_KL):
        return math.inf if len(every) else 0.0
    slots = {slot.key: slot for slot in plan.slots()}
    new = [key for key, role in roles.items() if role != slots[key].role]
    whole = [group for group in groups if {"recon", "target"} <= {roles.get(key) for key in group}]
    nameless = len(roles) == 2 and not any(slot.role in DATA for slot in slots.values())  # two that do not meet
    turned = {(slots[key].role, roles[key]) for key in new}
    if {("recon", "target"), ("target", "recon")} <= turned:
        return math.inf  # names that tell are not turned
    for key in new:
        counts = [*roles.values()].count(roles[key])
        if roles[key] in ("mu", "scale") and counts > 1:
            return math.inf
        bare_role = slots[key].role == "unknown" and roles[key] in ("recon", "target") and not any(key in g for g in whole)
        if bare_role and groups and len(roles) > 2:
            return math.inf
        if bare_role and nameless and (seen or plan.trace.error is None):
            return math.inf
    data = [key for key in new if roles[key] in ("recon", "target")]
    if data and all(CODES.match(key.rpartition(".")[2]) for key in data):
        return math.inf  # codes that are compared with one another
    total = sum(costs_of(slots[key], plan, seen).get(role, math.inf) for key, role in roles.items())
    total += seen is None and [*roles.values()].count("mu") > 1  # of two means one may be the prior's
    total += bool(whole) and any(role == "recon" and not any(key in group for group in whole) for key, role in roles.items())
    for group in groups:
        inside = {key: roles[key] for key in sorted(group) if key in roles}
        total += together(inside, slots, seen, named_pair(plan, inside))
    return total


def tried(problem: Problem, new: Mapping[str, str], by: float) -> Fit | None:
    """Return how well a hypothesis fits; None where what it says of an argument is not so. Raises what the call raises."""
    chosen, odd = with_classes(*laid_out(problem))
    recons, latent = pairs(chosen.plan), measure(chosen)
    latents = [role for role in new.values() if role in ("mu", "scale", "probs")]
    if latents and (latent is None or latent.wrong and not apart(chosen)):
        return None
    if "prior" in new.values() and not chosen.plan.role("scale") and (latent is None or latent.wrong):
        return None
    if "mu" in new.values() and not chosen.plan.role("scale"):
        return None  # a square about some number is no posterior's, where no name says so
    if any(role in ("mask", "spread") and not weighs(chosen, key, role, recons[0][0]) for key, role in new.items()):
        return None
    known = all(reconstruction(chosen, pair, latent_keys(chosen)).match is not None for pair in recons)
    if not known and sum(new.get(recon.key) == "recon" for recon, _ in recons) > 1:
        return None  # of one alone it may be a likelihood of no name
    if not recons and (latent is None or (latents and latent.wrong)):
        return None
    whole = latent is not None and (latent.weight or latent.unexplained not in ("", CROSSES)) and not latent.wrong
    good = bool(whole and latent and (latent.meaning or "scale" not in new.values()))
    exact = known and not odd and (good or not latents and "prior" not in new.values() and bool(recons))
    worth = 4 * known + 2 * (not odd) + good * (1 + bool(latents)) - 10 * bool(latents and not good)
    return Fit(worth, chosen, odd, exact, by)


def apart(problem: Problem) -> bool:
    """Whether means and scales of latents each have gradients of their own, as in a KL, misprinted or not."""
    keys, values = latent_keys(problem), benign(problem)
    if len(keys) != 2:
        return False
    moved = {**values, keys[1]: values[keys[1]] + 0.1}
    before, after = (gradients(problem, each, keys[:1])[1][keys[0]] for each in (values, moved))
    return bool((after - before).abs().max() <= 1e-9 * before.abs().max())


def weighs(problem: Problem, key: str, role: str, recon: Slot) -> bool:
    """Whether a mask or a spread moves the reconstruction's gradient, as it must to be one; at a mask of 0 there is none."""
    slot = next(slot for slot in problem.plan.slots() if slot.key == key)
    spreads = role == "spread"
    for made in (benign, counted) if spreads else (benign,):  # a share of zeros does where some data are 0
        values = made(problem)
        now = values[key] if key in values else problem.extra(slot, values)
        if not now.is_floating_point():
            return True
        by = (1.0, 0.6, 40.0 if spreads else 0.0)  # a weight may be clamped to some number
        pulls = (gradients(problem, {**values, key: share * now}, [recon.key])[1][recon.key] for share in by)
        if not bool((before := next(pulls)).any()):
            return spreads  # of a reconstruction that is detached
        if bool((next(pulls) - before).abs().max() > 1e-9 * before.abs().max()):
            return spreads or not bool(next(pulls).any())
        if spreads and bool((next(pulls) - before).abs().max() > 1e-9 * before.abs().max()):
            return True
    return False


def with_roles(plan: CallPlan, roles: Mapping[str, str], groups: Sequence[set[str]], seen: Structure | None = None) -> CallPlan:
    """Return the plan with these roles; of several pairs each in a group of its own, and those of no data said to be so."""
    new, slots = replace(plan, taken=[*plan.taken]), {slot.key: slot for slot in plan.slots()}
    paired = [group for group in groups if {"recon", "target"} <= {roles.get(key) for key in group}]
    for key, role in roles.items():
        slot = slots[key]
        group = next((group for group in paired if key in group), None) if len(paired) > 1 and role in DATA else None
        own = min(each for each in group if roles.get(each) == "recon") if group and not slot.group else slot.group
        others = sorted(next((each for each in groups if key in each), {key}) - {key})
        how = slot.how if role == slot.role else why(slot, role, others)
        told = seen.divergences.get(key, ("", None))[1] if seen else None
        told = told or meaning_of(PRIORS.sub("", key))
        meaning = slot.meaning if role in ("scale", slot.role) else told if role == "prior" else None
        substitute(new, key, Slot(key, role, how, meaning, own))
    for keys in [[key for key in sorted(group) if roles.get(key) == "compared" != slots[key].role] for group in groups]:
        if keys:
            are = "are compared with one another" if len(keys) > 1 else "is compared with neither data nor latents"
            new.taken.append(f"{' and '.join(keys)} {are}: a term of its own, of no data")
    return new


def why(slot: Slot, role: str, others: Sequence[str]) -> str:
    """Return how a role was found that is not the one of a name."""
    with_whom = " and ".join(others)
    if role == "spread" and slot.role == "scale":
        return f"{slot.how}, beside the data" if others else f"{slot.how}, with no mean of latents beside it"
    if role == "prior":
        return "by trying: as the prior's it makes a KL"
    if role in ("density", "extra"):
        return f"by its name, {slot.key}, and in proportion to it"
    if role == "compared":
        return f"compared with {with_whom or 'no argument'}"
    if slot.role == "unknown":
        return f"by trying: as {role} the call runs and is recognised"
    return f"{slot.how} beside {with_whom}" if others else f"{slot.how}, as nothing else is"


def unmatched(problem: Problem, errors: Sequence[BaseException], seen: Structure | None) -> ReconError:
    """Return the error for arguments of which no hypothesis runs."""
    plan, spelled = problem.plan, problem.reached.spelled
    unknown = [slot.key for slot in plan.role("unknown")]
    first = [e.message.rstrip(".") if isinstance(e, ReconError) else worded(e) for e in errors[:1]]
    if errors and isinstance(errors[0], ReconError) and (not unknown or isinstance(errors[0], Lacking)):
        return errors[0]
    if not unknown and not errors:
        others = ", ".join(f"{slot.key} ({slot.role})" for slot in plan.slots()) or "no arguments"
        return ReconError(
            f"No argument of {spelled} could be matched to the reconstruction; found {others}.",
            "Name the roles in the order of the arguments: --args recon,target,mu,logvar.",
        )
    if seen and not errors and all({key} in seen.groups for key in unknown):
        are = "are compared with no argument" if unknown[1:] else "is compared with no argument"
        return ReconError(
            f"{' and '.join(unknown)} of {spelled} {are}, nor with one another: scores, perhaps, and no reconstruction.",
            "Audit the function that compares a reconstruction with data, or say which argument is one: --args recon,target.",
        )
    tries = "".join(f"; the first try ended with: {words}" for words in first)
    return ReconError(
        f"These arguments of {spelled} could not be matched: {', '.join(unknown)}{tries}",
        "Name the roles in the order of the arguments (--args recon,target,mu,logvar; skip for none), or give values: "
        "--bind name=value.",
    )
