"""What a loss adds beside its reconstruction and its KL: codes that are compared, scores, and what is not recognised."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.discrete import AGGREGATED, READY, aggregated
from recon_cli.auditing.divergence import Latent
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.probes import REFUSALS, benign, generator, gradients, value_at

Key = TypeVar("Key", str, int)
SMALL = 1e-9
CROSSES = "what it pulls one sample by depends on the other samples of the batch, so it is no KL of a sample"
MMD = "it is a discrepancy of the batch from draws of a prior, a sum over pairs of samples (an MMD), and no KL of a sample"
EVEN = (0.25, 0.75)  # labels between which nothing is a score's
OF_ITS_OWN = re.compile(r"vq|commit|codebook|quanti|embed|percept|lpips|adv|gan|disc|gen_|style|feat", re.I)  # and never a KL
SCORE = re.compile(r"(^|_)(d|disc\w*|crit\w*|fake|real|score\w*|valid\w*|adv\w*|judge\w*|pred\w*)(_|$|\d)|fake|real", re.I)


@dataclass(frozen=True)
class Remainder:
    """A term of a loss that is of no data and no KL: of which arguments, what is known of it in words, whether that is all.

    times
        of one that is given ready-made, what it is multiplied by; NaN where it is no number times it; None of any other.
    """

    arguments: tuple[str, ...]
    words: str
    explained: bool = False
    times: float | None = None


def remainders(problem: Problem, latent: Latent | None) -> tuple[Remainder, ...]:
    """Return the terms that are of arguments beside the data and the KL's."""
    return (*of_others(problem, latent), *ready_made(problem, latent))


def ready_made(problem: Problem, latent: Latent | None) -> Iterator[Remainder]:
    """Yield the terms that the loss is given ready-made: nobody knows what they are of, so with them it is no ELBO."""
    base = {**benign(problem), **{slot.key: torch.zeros(()) for slot in problem.plan.role("extra")}}
    moved = [slot.key for slot in problem.plan.slots() if slot.role in ("recon", "decoder", "mu")]
    for slot in problem.plan.role("extra"):
        (none, before), (once, after) = (gradients(problem, {**base, slot.key: torch.tensor(by)}, moved) for by in (0.0, 1.0))
        times = once - none
        beside = all(bool((before[key] - after[key]).abs().max() <= SMALL * before[key].abs().max()) for key in moved)
        twice = value_at(problem, {**base, slot.key: torch.tensor(2.0)}) - none
        if not abs(twice - 2 * times) <= 1e-7 * max(abs(times), 1e-7 * abs(none)) or not beside:
            times = math.nan
        if times:
            alone = beside and bool(OF_ITS_OWN.search(slot.key)) and latent is None
            yield Remainder((slot.key,), READY if beside else f"{READY}: it is no term, but weighs the others", alone, times)
    if keys := aggregated(problem, base):
        yield Remainder(tuple(keys), AGGREGATED)


def of_others(problem: Problem, latent: Latent | None) -> tuple[Remainder, ...]:
    """Return the terms in codes, scores and draws; what is drawn inside is drawn, for of draws that are all alike some vanish."""
    problem = problem.at(noise=None)
    base = {**benign(problem)}
    compared = [slot for slot in problem.plan.slots() if slot.role == "compared"]
    for slot in compared:
        base[slot.key] = problem.extra(slot, base).to(torch.float64)
    keys = [slot.key for slot in compared]
    drawn = [slot.key for slot in problem.plan.role("z") if bool((gradients(problem, base, [slot.key])[1][slot.key] != 0).any())]
    keys += [key for key in drawn if latent is None or not moves(problem, base, key, latent_keys(problem))]
    return tuple(known(problem, base, group) for group in grouped(problem, base, keys))


def moves(problem: Problem, base: Values, key: str, others: Sequence[str]) -> bool:
    """Whether moving a tensor changes the gradients by others."""
    keys = [other for other in others if other in base and other != key]
    before, after = (gradients(problem, values, keys)[1] for values in (base, {**base, key: base[key] * 0.7 + 0.1}))
    return any(bool((before[each] - after[each]).abs().max() > SMALL * before[each].abs().max()) for each in keys)


def grouped(problem: Problem, base: Values, keys: Sequence[str]) -> Iterator[tuple[str, ...]]:
    """Yield those of some tensors that stand in one term."""
    groups: list[tuple[str, ...]] = []
    for key in keys:
        joined = [
            group for group in groups if moves(problem, base, key, group) or any(moves(problem, base, o, [key]) for o in group)
        ]
        groups = [group for group in groups if group not in joined] + [(*(each for group in joined for each in group), key)]
    yield from groups


def known(problem: Problem, base: Values, keys: tuple[str, ...]) -> Remainder:
    """Return what a term in some tensors is."""

    def gradient(changed: dict[str, Tensor]) -> dict[str, Tensor]:
        return gradients(problem, {**base, **changed}, [*keys])[1]

    if len(keys) == 2 and is_of_set(gradient, base[keys[0]], base[keys[1]], keys):
        return Remainder(keys, MMD if is_discrepancy(problem, base, keys) else CROSSES)
    if len(keys) == 2 and are_codes(gradient, base[keys[0]], base[keys[1]], keys):
        return Remainder(keys, "codes that are compared with one another", explained=True)
    role = next(slot.role for slot in problem.plan.slots() if slot.key == keys[0])
    one = len(keys) == 1 and role != "z"
    if one and is_score(lambda value: gradient({keys[0]: value})[keys[0]], base[keys[0]].shape, bool(SCORE.search(keys[0]))):
        return Remainder(keys, "a score", explained=True)
    if crosses(gradient, {key: base[key] for key in keys}):
        return Remainder(keys, MMD if is_discrepancy(problem, base, keys) else CROSSES)
    return Remainder(
        keys, form(lambda value: gradient({keys[0]: value})[keys[0]], base[keys[0]].shape) if len(keys) == 1 else OWN
    )


OWN = "it is each sample's own, and of no form that recon reads"


def crosses(gradient: Callable[[dict[Key, Tensor]], dict[Key, Tensor]], values: dict[Key, Tensor]) -> bool:
    """Whether moving some samples changes the gradients of the others."""
    if any(len(value) < 2 for value in values.values()):
        return False
    before = gradient(values)
    for times, more in ((0.6, 0.15), (-1.0, 0.0)):  # a little, and to the other side, where that is taken
        moved = {}
        for key, value in values.items():
            moved[key] = value.clone()
            moved[key][: len(value) // 2] = value[: len(value) // 2] * times + more
        after = gradient(moved)
        for key, value in values.items():
            change = (after[key] - before[key])[len(value) // 2 :].abs().max()
            if bool(change > SMALL * before[key].abs().max()):
                return True
    return False


def is_of_set(
    gradient: Callable[[dict[str, Tensor]], dict[str, Tensor]], one: Tensor, other: Tensor, keys: Sequence[str]
) -> bool:
    """Whether one tensor is compared with all samples of another, in whatever order they come: a distance of distributions."""
    if len(other) < 2 or one.ndim < 2:
        return False
    now, turned = (gradient({keys[0]: one, keys[1]: each})[keys[0]] for each in (other, other.roll(1, 0)))
    return bool(now.any()) and bool((now - turned).abs().max() <= SMALL * now.abs().max())


def are_codes(
    gradient: Callable[[dict[str, Tensor]], dict[str, Tensor]], one: Tensor, other: Tensor, keys: Sequence[str]
) -> bool:
    """Whether two tensors are compared sample by sample: where they are alike nothing pulls."""
    if one.shape != other.shape or crosses(gradient, {keys[0]: one, keys[1]: other}):
        return False
    alike, apart = gradient({keys[0]: other, keys[1]: other}), gradient({keys[0]: 2 * other + 0.1, keys[1]: other})
    # a commitment to codes and codes that follow: each alone may be detached
    return any(bool(apart[key].any()) for key in keys) and all(
        bool(alike[key].abs().max() <= SMALL * apart[key].abs().max()) for key in keys
    )


def is_score(gradient: Callable[[Tensor], Tensor], shape: Sequence[int], named: bool = False) -> bool:
    """Whether a tensor is pulled at as a discriminator's score is: its mean, or what compares it with a label near 0 or 1.

    By binary cross-entropy of logits, squares, or a hinge; where it is ``named`` one, of probabilities too, which latents are.
    """
    count = int(torch.Size(shape).numel())
    order = torch.randperm(max(count, 9), generator=generator(13))[:count]
    spread, share = (torch.linspace(*ends, max(count, 9), dtype=torch.float64)[order] for ends in ((-2.5, 2.5), (0.08, 0.92)))
    one = torch.ones_like(spread)
    pull = fair(gradient, spread.reshape(*shape))
    if pull is not None:
        if bool(((pull - pull[0]).abs() <= SMALL * pull.abs().max()).all()) or is_hinge(pull, spread):
            return True
        for basis in (spread.sigmoid(), spread):
            found = fitted(torch.stack([basis, one], dim=1), pull)
            if found is not None and found[0]:
                label = -found[1] / found[0]
                even = EVEN[0] < label < EVEN[1] if basis is not spread else abs(label) < SMALL
                return not even
    pull = fair(gradient, share.reshape(*shape)) if named else None
    if pull is None:
        return False
    found = fitted(torch.stack([1 / share, 1 / (1 - share)], dim=1), pull)  # a log p - b log (1 - p)
    return found is not None and not EVEN[0] < abs(found[0]) / (abs(found[0]) + abs(found[1])) < EVEN[1]


def fair(gradient: Callable[[Tensor], Tensor], value: Tensor) -> Tensor | None:
    """Return the pulls at some points, one after another; None where one's depends on where another is, or is no number."""
    try:
        here, there = gradient(value), gradient(value.flip(-1).flip(0))
    except REFUSALS:
        return None
    flat = here.flatten()
    same = (there.flip(0).flip(-1).flatten() - flat).abs().max() <= 1e-7 * flat.abs().max()
    return flat if bool(flat.isfinite().all()) and bool(flat.any()) and bool(same) else None


def fitted(basis: Tensor, pull: Tensor) -> list[float] | None:
    """Return how often each column of a basis is in a pull; None where it is something else."""
    weights = torch.linalg.lstsq(basis, pull[:, None]).solution.flatten()
    return weights.tolist() if bool((basis @ weights - pull).abs().max() <= 1e-6 * pull.abs().max()) else None


def is_hinge(pull: Tensor, at: Tensor) -> bool:
    """Whether a pull is one number up to some point and nothing beyond."""
    on = pull != 0
    level = pull[on]
    one_side = bool((at[on].max() < at[~on].min()) or (at[on].min() > at[~on].max())) if bool((~on).any()) else False
    return one_side and bool(((level - level[0]).abs() <= SMALL * level.abs().max()).all())


def form(gradient: Callable[[Tensor], Tensor], shape: Sequence[int]) -> str:
    """Return in words what a penalty of each element is."""
    count = int(torch.Size(shape).numel())
    spread = torch.linspace(-2.5, 2.6, max(count, 9), dtype=torch.float64)[:count]
    pull = fair(gradient, spread.reshape(*shape))
    if pull is None:
        return OWN
    if fitted(spread[:, None], pull) is not None:
        return "it is the sum of their squares: a normal prior's -log p without the posterior's entropy, which a KL has too"
    if fitted(spread.sign()[:, None], pull) is not None:
        return "it is the sum of their absolute values, a penalty that has no posterior"
    return OWN


def is_discrepancy(problem: Problem, base: Values, keys: tuple[str, ...]) -> bool:
    """Whether a term is a sum over pairs, of samples and of a prior's draws, that is least where all are alike: an MMD.

    The draws are the normal's that the loss makes, or the second of two tensors.
    """
    z = keys[0]
    if len(keys) > 2 or len(base[z]) < 3:
        return False

    def at(prior: float, value: Tensor) -> tuple[float, Tensor]:
        there = problem if len(keys) == 2 else problem.at(noise=prior)
        draws = {keys[1]: torch.full_like(base[keys[1]], prior)} if len(keys) == 2 else {}
        loss, grads = gradients(there, {**base, z: value, **draws}, [z])
        return loss, grads[z]

    flat = torch.zeros_like(base[z])
    far = at(0.0, flat + 0.5)[1]
    if not bool(far.any()) or bool(at(0.0, flat)[1].abs().max() > 1e-7 * far.abs().max()):
        return False
    rises = [at(prior, flat + prior + 0.5)[0] - at(prior, flat + prior)[0] for prior in (0.0, 0.7)]
    if not rises[0] > 0 or abs(rises[0] - rises[1]) > 1e-6 * rises[0]:
        return False
    moved = []
    for third in (0.0, 0.4):  # what the second does to the first does not depend on the third
        value = base[z].clone()
        value[2] += third
        other = value.clone()
        other[1] += 0.3
        moved.append((at(0.0, other)[1] - at(0.0, value)[1])[0])
    return bool(moved[0].any()) and bool((moved[0] - moved[1]).abs().max() <= 1e-6 * moved[0].abs().max())
