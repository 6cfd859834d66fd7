"""Matching shapes and roles by trying: the first way of calling that runs, is finite and trains, without broadcasting."""

from __future__ import annotations

import contextlib
import itertools
from dataclasses import replace

import torch
from torch import Tensor

from recon_cli.auditing.answers import Detached, Unfit, fatal, picker, refusal
from recon_cli.auditing.calling import Layout, Problem
from recon_cli.auditing.limiting import Made
from recon_cli.auditing.measuring import reconstruction
from recon_cli.auditing.norms import bound, form, norm
from recon_cli.auditing.probes import additivity, benign, gradients, keep
from recon_cli.auditing.reach.call_plans import OBJECT, CallPlan, Pair, Slot, Stacked, substitute
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell


def layouts(problem: Problem) -> list[Layout]:
    """Return ways to lay out the tensors, the plainest first."""
    plan, shape = problem.plan, problem.sizes.shape
    data = [("image", "image", ""), ("flat", "flat", ""), ("flat", "image", ""), ("image", "flat", "")]
    if len(shape) == 1 or not pairs(plan):
        data = data[:1]
    if plan.role("target") and not problem.shapes:
        ways = ("last", "first", "last-hot", "first-hot", "last-shares-hot", "last-shares", "first-shares")
        data += [("image", "image", how) for how in ways if shape[0] > 1 or how[0] == "l"]
    if problem.layout.classes:
        data = [("image", "image", problem.layout.classes)]
    latent = ["flat", "one"] + (["joined"] if len(problem.sizes.latent) > 1 else [])
    pads = any("pad" in slot.key for slot in plan.role("mask"))
    masks = ["first", "batch", "image"] if pads else ["image", "batch", "first", "rows", "flat"]
    mask = masks if plan.role("mask") else ["image"]
    kl = ["batch", "scalar", "list"] if plan.role("kl") else ["batch"]
    kl = ["batch", "scalar", "latent", "data"] if plan.role("density") else kl
    posteriors = plan.role("posterior")
    posterior = ["object"] if any(slot.how == OBJECT for slot in posteriors) else ["pair", "object"] if posteriors else ["pair"]
    every = [Layout(r, t, z, m, k, p, c) for (r, t, c), z, m, k, p in itertools.product(data, latent, mask, kl, posterior)]
    if any("index" in problem.plan.trace.nodes[s.key].uses for s in plan.role("mask") if s.key in plan.trace.nodes):
        every += [replace(layout, long=True) for layout in every if layout.mask == mask[0]]
    if plan.role("spread") and not problem.shapes:
        every += [replace(layout, spread="batch") for layout in every if not layout.classes]
    coins = [replace(layout, binary=True) for layout in every if not layout.classes and plan.role("target")]
    first = ("last", "first") if labelled(plan) else ("",)  # labels are whole numbers
    return sorted([*every, *coins], key=lambda layout: (layout.classes not in first, bool(layout.classes), layout.binary))


def labelled(plan: CallPlan) -> bool:
    """Whether the code takes a target for the numbers of classes."""
    return any("labels" in plan.trace.nodes[slot.key].uses for slot in plan.role("target") if slot.key in plan.trace.nodes)


def trial(problem: Problem) -> tuple[Problem, str]:
    """Return a problem whose loss is chosen, and what is odd about calling it so. Raises what the call raises."""
    values = benign(problem)
    live = {key: value.clone().requires_grad_(value.is_floating_point()) for key, value in values.items()}
    others = [benign(problem, n) for n in (3, 5, 7, 11, 13)]
    for again in (False, True):
        try:
            result = problem.raw(live)
            uneven = problem.watch.uneven
            pick, how = picker(problem, result, [live, *({**live, **other} for other in others)])
            break
        except (RuntimeError, ReconError) as error:  # a likelihood of counts has no gradient by them
            words = str(error) if isinstance(error, RuntimeError) else "requires_grad"
            if again or "requires_grad" not in words and "not differentiable" not in words:
                raise
            live = {key: value.detach() if key in targets(problem) else value for key, value in live.items()}
    chosen = problem.at(pick=pick, picked=how)
    value = chosen.chosen(result)
    odd = " and ".join(spell(shape) for shape in uneven[0]) if uneven else ""
    recon = [slot.key for slot in problem.plan.slots() if slot.role in ("recon", "decoder")] or latent_keys(problem)
    if not value.requires_grad:
        raise ReconError(
            f"{how} of {problem.reached.spelled} has no gradient.", "Return the tensor itself (no .item(), no detach())."
        )
    leaves = {key: leaf for key, leaf in live.items() if leaf.requires_grad and key not in targets(problem)}
    grads = keep(chosen, values, value.sum(), leaves)
    if not bool(value.isfinite().all()):
        raise Unfit(f"the loss is {value.detach().flatten()[0].item()}")
    steepest = max((most for key in recon if (most := grads[key].abs().max().item()) > 0), default=0.0)
    if (
        1e-300 < steepest < torch.finfo(torch.float64).eps
    ):  # a rounding, as of a cosine along an axis of one: then nothing moves it
        elsewhere = [{**values, **{key: benign(problem, n)[key] for key in recon}} for n in (3, 5)]
        steepest *= any(chosen(each).item() != chosen(values).item() for each in elsewhere)
    if not steepest > 0:
        moved = {key: value + 0.01 if key in recon and value.is_floating_point() else value for key, value in values.items()}
        if chosen(moved).item() != chosen(values).item():
            raise Detached(chosen, odd)
        raise Unfit("no gradient reaches the reconstruction")
    labels = [key for key in targets(problem) if problem.layout.classes and not values[key].is_floating_point()]
    if labels and chosen({**values, **{key: values[key].roll(1, 0) for key in labels}}).item() == chosen(values).item():
        raise Unfit("the labels move nothing")
    if problem.layout.kl == "batch" and problem.plan.role("kl") and value.ndim:
        scalar = chosen.at(layout=replace(problem.layout, kl="scalar"))
        if scalar.chosen(scalar.raw(live)).ndim == 0:
            raise Unfit("the KL is one number")
    return chosen, odd


def targets(problem: Problem) -> set[str]:
    """Return the targets' keys."""
    return {slot.key for slot in problem.plan.role("target")}


def with_classes(problem: Problem, odd: str) -> tuple[Problem, str]:
    """Return the problem, of classes where its elements lean on one another as they do in an event; and what is odd."""
    if not problem.plan.role("target") or not pairs(problem.plan):
        return problem, odd
    if problem.layout.classes:
        return of_tokens(problem) or problem, odd
    if any(of(smaller(problem), pairs(problem.plan)[0]) for of in (norm, bound)):
        return problem, odd
    other = None if classed(in_rows(smaller(problem))) is None else classed(in_rows(problem))
    return (problem, odd) if other is None or form(problem, pairs(problem.plan)[0]) is not None else (other, "")


def of_tokens(problem: Problem) -> Problem | None:
    """Return the problem on tokens, not on images, where only tokens cost what they do whatever the others are."""
    (pair, *_), shape = pairs(problem.plan), problem.sizes.shape
    if len(shape) != 3 or problem.shapes or reconstruction(problem, pair, []).additive:
        return None
    with contextlib.suppress(Exception):
        chosen, odd = trial(problem.at(sizes=replace(problem.sizes, shape=TOKENS)))
        return chosen if not odd and reconstruction(chosen, pair, []).additive else None
    return None


def of_classes(problem: Problem) -> Problem:
    """Return the problem with the shape of its classes, where the shapes given by name say that the target has labels."""
    for recon, target in pairs(problem.plan) if problem.shapes else ():
        scores, labels = (problem.shapes.get(slot.key) if slot is not None else None for slot in (recon, target))
        labels = () if labels == (1,) and len(scores or ()) == 1 else labels  # one event of all classes
        how = "" if scores is None or labels is None else "last" * (scores[:-1] == labels) or "first" * (scores[1:] == labels)
        if scores and how:
            shapes = {key: shape for key, shape in problem.shapes.items() if key not in (recon.key, target and target.key)}
            sizes, layout = replace(problem.sizes, shape=scores), replace(problem.layout, classes=how)
            return problem.at(sizes=sizes, layout=layout, shapes=shapes)
    return problem


def in_rows(problem: Problem) -> Problem:
    """Return the problem on samples of one axis, where that is how they are passed."""
    if (problem.layout.recon, problem.layout.target) != ("flat", "flat"):
        return problem
    return problem.at(sizes=replace(problem.sizes, shape=(problem.sizes.D,)))


def smaller(problem: Problem) -> Problem:
    """Return the problem on a smaller image where a large one is not taken element by element: no number is read off it."""
    sizes = problem.sizes
    small = problem.at(sizes=replace(sizes, shape=tuple(min(n, 64) for n in sizes.shape)))
    recon = [slot.key for slot in problem.plan.role("recon")]
    if sizes.D < LARGE or problem.shapes or not recon:
        return problem
    try:
        worst = additivity(small, benign(small), recon[0], [])
    except Exception:
        return problem
    return small if worst > 1e-7 else problem


LARGE = 50_000  # elements
TOKENS = (12, 40)  # how many, and of how many kinds


def classed(problem: Problem) -> Problem | None:
    """Return the layout in which elements that lean on one another are classes of one event each; None if there is none."""
    (pair, *_) = pairs(problem.plan)
    if pair[0].role == "decoder" or not together(problem, pair[0].key):
        return None
    of_no_name = None
    for layout in layouts(problem):
        if layout.classes:
            try:
                chosen, odd = trial(problem.at(layout=replace(layout, latent=problem.layout.latent, mask=problem.layout.mask)))
                measured = reconstruction(chosen, pair, [])
                if not odd and measured.match is not None and measured.additive:
                    return chosen
                if not odd and measured.additive and "shares" not in layout.classes and of_logits(chosen, pair[0].key):
                    of_no_name = of_no_name or chosen
            except Exception:
                continue
    return of_no_name


def of_logits(problem: Problem, key: str) -> bool:
    """Whether gradients of each event add up to 0, as those of logits do, and not because its length alone does not count."""
    values = benign(problem)
    grad = gradients(problem, values, [key])[1][key]
    most = grad.abs().max()
    return bool(grad.sum(-1).abs().max() <= 1e-9 * most) and bool((grad * values[key]).sum(-1).abs().max() > 1e-6 * most)


def together(problem: Problem, key: str) -> bool:
    """Whether moving one element changes the gradients of those in line with it, along the first or last axis, and no others.

    Or those of other samples too: all that is in a batch may have been taken for one event.
    """
    base, shape = benign(problem), problem.sizes.shape
    if base[key].shape[1] != problem.sizes.D or len(shape) < 1 or additivity(problem, base, key, []) <= 1e-9:
        return False
    moved = base[key].clone()
    moved[0, 0] += 0.1
    before, after = (gradients(problem, {**base, key: value}, [key])[1][key] for value in (base[key], moved))
    changed = ((after - before).abs() > 1e-9 * before.abs().max()).reshape(-1, *shape)
    others = int(changed.sum()) - int(changed.flatten()[0])
    corner = (0,) * (len(shape) - 1)
    lines = (changed[(0, *corner)], changed[0].flatten(1)[:, 0] if corner else changed[0])
    return bool(changed[1:].any()) or others > 0 and any(int(line.sum()) == others + int(changed.flatten()[0]) for line in lines)


def laid_out(problem: Problem) -> tuple[Problem, str]:
    """Return the first layout that fits. Raises ReconError with what the function said to the plainest."""
    if not pairs(problem.plan) and not problem.plan.is_kl:
        others = ", ".join(f"{slot.key} ({slot.role})" for slot in problem.plan.slots()) or "no arguments"
        raise ReconError(
            f"No argument of {problem.reached.spelled} could be matched to the reconstruction; found {others}.",
            "Name the roles in the order of the arguments: --args recon,target,mu,logvar.",
        )
    refused: list[tuple[str, BaseException]] = []
    stated: list[ReconError] = []
    doubtful: list[tuple[Problem, str]] = []
    detached: list[tuple[Problem, str]] = []
    for layout in layouts(problem):
        there = problem.at(layout=layout)
        try:
            chosen, odd = trial(there)
        except (Made, KeyboardInterrupt):
            raise
        except ReconError as error:  # recon's own likelihoods refuse shapes and values by one too
            stated.append(error)
        except Exception as error:
            refused.append((shapes_passed(there), bare(error)))
            if isinstance(error, Detached):
                detached.append(error.attempt)
            if fatal(error):
                break
        else:
            if not odd and not of_other_samples(chosen):
                return chosen, ""
            doubtful.append((chosen, odd))
    if doubtful or detached:
        return (doubtful + detached)[0]
    if stated and (stacked := with_variances(problem)) is not None:
        with contextlib.suppress(ReconError):
            return laid_out(stacked)
    if stated:
        raise stated[0]
    raise refusal(problem, refused)


def of_other_samples(problem: Problem) -> bool:
    """Whether one sample's scale moves the pull on others: as where one number for each sample is meant, and it broadcasts."""
    slots, pair = problem.plan.role("spread"), next(iter(pairs(problem.plan)), None)
    if not slots or slots[0].meaning == "matrix" or pair is None or problem.layout.spread == "batch" or problem.layout.classes:
        return False
    base, key = benign(problem), slots[0].key
    moved = base[key].clone()
    moved[0] *= 1.3
    before, after = (gradients(problem, each, [pair[0].key])[1][pair[0].key] for each in (base, {**base, key: moved}))
    return bool((after - before)[1:].abs().max() > 1e-9 * before.abs().max()) if len(before) > 1 else False


def with_variances(problem: Problem) -> Problem | None:
    """Return the problem whose reconstruction has a variance beside each mean, along a last axis; None where there is one."""
    slots = problem.plan.role("recon")
    if len(slots) != 1 or problem.plan.role("spread"):
        return None
    key = slots[0].key
    variance = Slot(f"{key}[..., 1]", "spread", "by trying: means alone are refused", "variance", slots[0].group)
    plan = replace(problem.plan)
    substitute(plan, key, Stacked((slots[0], variance)))
    return problem.at(plan=plan)


def shapes_passed(problem: Problem) -> str:
    """Return the shapes that are passed."""
    values = benign(problem)
    slots = [slot for slot in problem.plan.slots() if slot.key in values]
    placed = ((slot.key, problem.place(slot, values[slot.key])) for slot in slots)

    def spelled(value: Tensor | list[Tensor]) -> str:
        return f"[{', '.join(map(spelled, value))}]" if isinstance(value, list) else spell(tuple(value.shape))

    return ", ".join(f"{key} {spelled(value)}" for key, value in placed)


def bare(error: Exception) -> Exception:
    """Return an exception without the frames it came through, whose tensors would stay."""
    error.__context__ = error.__cause__ = None
    return error.with_traceback(None)


def pairs(plan: CallPlan) -> list[Pair]:
    """Return each reconstruction with its target."""
    targets, recons = plan.role("target"), [slot for slot in plan.slots() if slot.role in ("recon", "decoder")]
    own = ([target for target in targets if target.group == recon.group] or targets for recon in recons)
    return [(recon, next(iter(some), None)) for recon, some in zip(recons, own, strict=True)]


def latent_keys(problem: Problem) -> list[str]:
    """Return the leaves of the latents' side."""
    keys = [slot.key for slot in problem.plan.slots() if slot.role in ("mu", "scale", "probs", "kl", "density")]
    return keys + [f"{slot.key}.{part}" for slot in problem.plan.role("posterior") for part in ("mean", "logvar")]
