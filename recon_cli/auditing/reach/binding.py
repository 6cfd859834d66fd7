"""Binding: what each tensor is, in one search: names say what to try first; what runs and is recognised decides."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.latents import measure
from recon_cli.auditing.limiting import worded
from recon_cli.auditing.matching import bare, laid_out, latent_keys, of_classes, pairs, smaller, with_classes
from recon_cli.auditing.measuring import reconstruction
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.reach.call_plans import CallPlan, Slot, change, substitute
from recon_cli.auditing.reach.roles import compared
from recon_cli.auditing.reach.vocabulary import DATA
from recon_cli.errors import ReconError


def settled(call: CallPlan) -> CallPlan:
    """Settle names that mean one thing beside another: ``y`` is the data beside ``y_pred``, the reconstruction beside ``t``."""
    if not any(slot.role in ("mu", "posterior") for slot in call.slots()):
        for slot in [s for s in call.slots() if s.role == "scale" and s.how.startswith("by its name")]:
            change(call, slot, "spread", f"{slot.how}, with no mean of latents beside it")
    groups = {slot.group for slot in call.slots() if slot.role in DATA}
    for group in groups:
        recon = [s for s in call.slots() if s.role == "recon" and s.group == group]
        target = [s for s in call.slots() if s.role == "target" and s.group == group]
        if not recon and len(target) == 2:
            first, second = (slot.key.rpartition(".")[2].lower() for slot in target)
            as_recon = {"input": 0, "inputs": 0, "y": 0, "output": 0, "x": 1, "t": 1}
            if {first, second} in (
                {"input", "target"},
                {"y", "t"},
                {"y", "target"},
                {"input", "y"},
                {"x", "y"},
                {"input", "label"},
            ):
                chosen = target[min((0, 1), key=lambda i: (as_recon.get((first, second)[i], 1), i))]
                if {first, second} == {"x", "y"}:
                    chosen = target[(first, second).index("y")]
                change(
                    call,
                    chosen,
                    "recon",
                    f"by its name, {chosen.key} beside {(target[1] if chosen is target[0] else target[0]).key}",
                )
        if len(recon) > 1 and not target and not group:
            for slot in recon:
                if re.match(r"(out|outputs?|generated)$", slot.key):
                    change(call, slot, "target", f"by its name, {slot.key}")
                    break
    return call


def matched(problem: Problem) -> tuple[Problem, str]:
    """Return the problem in the first layout that fits, its unknown arguments matched by trying; and what is odd about it."""
    problem = of_classes(problem)
    if problem.plan.unknown:
        return by_trying(problem)
    chosen, odd = with_classes(*laid_out(problem))
    chosen = smaller(chosen)
    if problem.plan.role("probs") and len(problem.sizes.latent) > 1:  # all classes in one axis, or an axis of their own
        for how in ("joined", "flat"):
            other = chosen.at(layout=replace(chosen.layout, latent=how))
            latent = measure(other)
            if latent is not None and not latent.wrong:
                return other, odd
        chosen = chosen.at(layout=replace(chosen.layout, latent="joined"))
    return chosen, odd


def by_trying(problem: Problem) -> tuple[Problem, str]:
    """Return the problem with roles for arguments that no name tells: those under which it runs and is recognised."""
    for group in [group for group in problem.plan.groups if len(group) == 2 and group <= {*problem.plan.unknown}]:
        if equals(problem, *sorted(group)):
            compared(problem.plan, group)
            if not problem.plan.unknown:
                return matched(problem)
    unknown = problem.plan.unknown
    have = {slot.role for slot in problem.plan.slots()}
    missing = [role for role in ("recon", "target", "mu", "scale", "spread", "mask") if role not in have]
    fits: list[tuple[int, Problem, str]] = []
    errors: list[BaseException] = []
    for roles in itertools.permutations(missing[:5], len(unknown)) if len(unknown) <= 4 else ():
        if "recon" not in have and "recon" not in roles or not together_in(problem.plan, dict(zip(unknown, roles, strict=True))):
            continue
        there = problem.at(plan=with_roles(problem.plan, dict(zip(unknown, roles, strict=True))))
        try:
            chosen, odd = with_classes(*laid_out(there))
            (pair, *_) = pairs(chosen.plan)
            rec, lat = reconstruction(chosen, pair, latent_keys(chosen)), measure(chosen)
        except Exception as error:
            errors = errors or [bare(error)]
            continue
        latent_roles = [r for r in roles if r in ("mu", "scale")]
        if any(role in ("mask", "spread") and not weighs(chosen, key, pair[0]) for key, role in zip(unknown, roles, strict=True)):
            continue
        if latent_roles and (lat is None or lat.wrong and not apart(chosen)):
            continue
        good = (
            (rec.match is not None) * 4
            + (not odd) * 2
            + bool(lat and not lat.wrong and (lat.meaning or "scale" not in roles)) * (1 + bool(latent_roles))
            - 10 * bool(latent_roles and lat and lat.wrong)  # where nothing else fits, a KL that is none
        )
        fits.append((good, chosen, odd))
        if good >= 6 + 2 * bool(latent_roles):
            break
    loose = {key for key in unknown if not any(key in group for group in problem.plan.groups)}
    if not fits and loose and problem.plan.role("recon") and problem.plan.role("target"):
        for key in loose:
            compared(problem.plan, {key})
        return matched(problem)
    if not fits:
        first = [f"{e}" if isinstance(e, ReconError) else worded(e) for e in errors[:1]]
        tried = "".join(f"; the first try ended with: {words}" for words in first)
        raise ReconError(
            f"These arguments of {problem.reached.spelled} could not be matched: {', '.join(unknown)}{tried}",
            "Name the roles in the order of the arguments (--args recon,target,mu,logvar; skip for none), "
            "or give values: --bind name=value.",
        )
    _, chosen, odd = max(fits, key=lambda fit: fit[0])
    return chosen, odd


def equals(problem: Problem, one: str, other: str) -> bool:
    """Whether only the difference of two arguments counts, beside a reconstruction that is known by other names."""
    rest = {key: "extra" for key in problem.plan.unknown if key not in (one, other)}
    there = problem.at(plan=with_roles(replace(problem.plan), {one: "mu", other: "scale", **rest}))
    try:
        chosen, _ = laid_out(there)
        grads = gradients(chosen, benign(chosen), [one, other])[1]
    except Exception:
        return False
    return bool((grads[one] + grads[other]).abs().max() <= 1e-9 * grads[one].abs().max())


def together_in(plan: CallPlan, roles: dict[str, str]) -> bool:
    """Whether roles go with what meets what: data with data, latents with latents."""
    having = {slot.key: slot.role for slot in plan.slots()} | roles
    groups = [{having[key] for key in group} for group in plan.groups]
    return not any({"mu", "scale"} & group and {"recon", "target"} & group for group in groups)


def apart(problem: Problem) -> bool:
    """Whether means and scales of latents each have gradients of their own, as in a KL, misprinted or not."""
    keys, values = latent_keys(problem), benign(problem)
    if len(keys) != 2:
        return False
    moved = {**values, keys[1]: values[keys[1]] + 0.1}
    before, after = (gradients(problem, each, keys[:1])[1][keys[0]] for each in (values, moved))
    return bool((after - before).abs().max() <= 1e-9 * before.abs().max())


def weighs(problem: Problem, key: str, recon: Slot) -> bool:
    """Whether a mask or a spread moves the reconstruction's gradient, as it must to be one."""
    values = benign(problem)
    slot = next(slot for slot in problem.plan.slots() if slot.key == key)
    now = values[key] if key in values else problem.extra(slot, values)
    if not now.is_floating_point():
        return True
    before, after = (gradients(problem, {**values, key: by * now}, [recon.key])[1][recon.key] for by in (1.0, 0.6))
    return bool((after - before).abs().max() > 1e-9 * before.abs().max())


def with_roles(plan: CallPlan, roles: dict[str, str]) -> CallPlan:
    """Return the plan with roles for arguments that had none."""
    new = replace(plan, unknown=[])
    for key, role in roles.items():
        substitute(new, key, Slot(key, role, f"by trying: as {role} the call runs and is recognised"))
    return new
