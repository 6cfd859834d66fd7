"""The latents' side: is it a KL, of what weight, and what does its scale mean, whatever it is called?"""

from __future__ import annotations

import contextlib
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.discrete import discrete, of_densities
from recon_cli.auditing.divergence import EPS, SAME, Latent, field, parallel, unlike
from recon_cli.auditing.latent_fields import DEVIATION, OTHER, PRIOR, SQUARED, LatentSide, Turn, averaged, turn_of
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.posteriors import divergence
from recon_cli.auditing.probes import REFUSALS, benign, gradients
from recon_cli.auditing.remainders import CROSSES, crosses

__all__ = ["DEVIATION", "PRIOR", "Latent", "averaged", "measure"]
TRIED = (0.02, 0.107, 0.313, 1.07, 2.03, 4.09, 8.0, 64.0, 1e3)  # sizes of means, of m^2/2 nats each
NEAR = (1.2, (0.3, 1.9))  # means and scales about the prior's
TURNS = "the two are not added, one of them counts at a time"


def measure(problem: Problem) -> Latent | None:
    """Return the latent term of a loss, or None where nothing of it depends on latents.

    Where the prior's mean and variance are arguments, it must be the KL to other priors too.
    """
    latent = term(problem)
    if latent is not None and latent.wrong and not latent.wrong.endswith(TURNS) and mixes(problem):
        return replace(latent, weight=None, wrong="", forms=None, unexplained=CROSSES)
    if latent is None or latent.wrong or not latent.weight or not problem.plan.role("prior") or problem.plan.role("z"):
        return latent
    mean, variance = ELSEWHERE
    other = term(problem.at(prior=ELSEWHERE))
    if other is not None and not other.wrong and abs(other.centre - mean) < SAME and abs(other.prior - variance) < 1e-4:
        return replace(latent, notes=(*latent.notes, "the prior's mean and scale are arguments"))
    return replace(latent, weight=None, wrong=f"to a prior of mean {mean:g} and variance {variance:g} it is no KL")


def mixes(problem: Problem) -> bool:
    """Whether moving some samples' latents changes the gradients of the others'."""
    base, drawn = benign(problem), [slot.key for slot in problem.plan.role("z")]
    values = {key: base[key] for key in (*latent_keys(problem), *drawn) if key in base and base[key].ndim == 2}
    for there in {problem.noise: problem, None: problem.at(noise=None)}.values():  # draws that are all alike may be none at all
        with contextlib.suppress(*REFUSALS):
            if crosses(lambda changed, there=there: averaged(there, {**base, **changed}, [*changed])[1], values):  # type: ignore[misc]
                return True
    return False


ELSEWHERE = (0.4, 1.7)  # mean and variance of a prior


def term(problem: Problem) -> Latent | None:
    """Return what ``measure`` does, at one prior."""
    base, plan = benign(problem), problem.plan
    terms: dict[str, Latent | None] = {}
    means = plan.role("mu")
    for mu, scale in itertools.zip_longest(means, plan.role("scale")[: len(means)]):
        terms[mu.key] = gaussian(problem, base, mu.key, scale.key if scale else "", scale.meaning if scale else None)
    for posterior in plan.role("posterior"):
        terms[posterior.key] = of_posterior(problem, base, posterior.key)
    for probs in plan.role("probs"):
        terms[probs.key] = discrete(problem, base, probs.key)
    if plan.role("density") and not any(terms.values()):
        terms["density"] = of_densities(problem, base)
    if plan.role("kl") and not any(terms.values()):
        terms["kl"] = passed_in(problem, base)
    known = {key: latent for key, latent in terms.items() if latent is not None}
    several = len(known) > 1
    for key, latent in known.items():
        wrong = latent.wrong
        if several and latent.meaning and latent.named not in (None, latent.meaning):
            wrong = f"its scale is named a {latent.named} and used as a {latent.meaning}".replace("_", " ")
        if wrong:
            return replace(latent, weight=None, wrong=f"of {key}, {wrong}") if several else latent
    weights = {key: latent.weight for key, latent in known.items() if latent.weight}
    first = next(iter(known.values()), None)
    if first is not None and several:
        notes = tuple(dict.fromkeys(note for latent in known.values() for note in latent.notes))
        first = replace(first, notes=notes, forms=next((each.forms for each in known.values() if each.forms), None))
    if first is not None and several and max(weights.values()) - min(weights.values()) > EPS * abs(max(weights.values())):
        each = ", ".join(f"{key} {weight:.6g}" for key, weight in weights.items())
        if any(latent.line for latent in known.values()):
            return replace(first, weight=None, unexplained=f"the KL of each weighs differently ({each}), so there is no one beta")
        return Latent(None, first.meaning, f"the latents weigh differently: {each}", named=first.named)
    return first


def of_posterior(problem: Problem, base: dict[str, Tensor], key: str) -> Latent | None:
    """Measure the KL of a posterior that is an argument: a pair, or an object, whose mean and variance are its own."""
    latent = gaussian(problem, base, f"{key}.mean", f"{key}.logvar", None)
    if problem.layout.posterior == "pair" or latent is None:
        return latent
    if latent.weight and (latent.link or latent.meaning not in (None, "log_variance")):
        return Latent(None, None, "of the mean and the variance that the posterior has it is no KL")
    return replace(latent, meaning=None)


def passed_in(problem: Problem, base: dict[str, Tensor]) -> Latent | None:
    """Return the term of KLs that are passed in, by the mean of their gradients (balanced weights are detached, 1 on average)."""
    keys = [slot.key for slot in problem.plan.role("kl")]

    def pull(nats: Tensor) -> Tensor:
        return sum(gradients(problem, {**base, **dict.fromkeys(keys, nats)}, keys)[1].values(), torch.zeros(())) / len(keys)

    def weight(means: Tensor) -> float:  # as of latents of such means
        return pull(means.flatten().square() / 2)[0].item()

    one = torch.ones(problem.sizes.batch, 1, dtype=torch.float64)
    slopes = bent(lambda sizes: [(size, weight(size * one)) for size in sizes if math.isfinite(weight(size * one))])
    turn = turn_of(weight, one.shape, slopes) if slopes else None
    if turn is not None and turn.kind == OTHER:
        return Latent(None, unexplained=turn.words)
    if turn is not None:
        return Latent(slopes[-1][1], forms=replace(turn, whose=(True, turn.whose[1])))
    slope = pull(base[keys[0]]).mean().item()  # of one number, the mean of the batch, a share each
    return Latent(slope) if slope else None


def gaussian(problem: Problem, base: Values, mu: str, scale: str, named: str | None) -> Latent | None:
    """Measure a KL between Gaussians by its field over means and scales, or by one sample z that is passed in.

    What is added of z alone is another term, where the KL is whole without it, and all that there is where nothing else is read.
    """
    side = LatentSide(problem, base, mu, scale, named)
    if problem.plan.role("z") and not is_read(side):
        return None
    drawn = latent = sampled(side) if scale else None
    if drawn is None or drawn.wrong:
        closed = in_closed_form(side if drawn is None else replace(side, z=problem.plan.role("z")[0].key))
        latent = drawn if drawn is not None and (closed is None or closed.wrong) else closed
    if scale and latent is not None and latent.wrong and drawn is None and not latent.wrong.endswith(TURNS):
        with contextlib.suppress(*REFUSALS):
            latent = divergence(side, side.looked(NEAR)) or latent
    return latent and replace(latent, named=named)


def is_read(side: LatentSide) -> bool:
    """Whether a mean or a scale has a gradient of its own beside a sample z that is passed in, near the prior or far out."""
    keys = [key for key in (side.mu, side.scale) if key]
    for there in {side.problem.noise: side.problem, None: side.problem.at(noise=None)}.values():
        for times in (1.0, 9.0):
            loss, grads = gradients(there, {**side.base, side.mu: times * side.base[side.mu]}, keys)
            if not math.isfinite(loss) or any(bool((grads[key] != 0).any()) for key in keys):
                return True
    return False


def in_closed_form(side: LatentSide) -> Latent | None:
    """Measure a KL between Gaussians by its field over means and scales."""
    scale, named = side.scale, side.named
    try:
        near = side.looked(NEAR)
    except REFUSALS:
        return Latent(None, None, "it cannot be computed at means and scales near the prior's")
    if near is None:
        return Latent(None, None, "it is not finite at means and scales near the prior's")
    unmoved = not bool(near.by_mean.abs().max() > 0)
    latent = None if unmoved else field(side, near)
    if latent is not None and (not latent.weight or latent.centre):
        return latent
    turn, offset = turning(side)  # near its least a KL may be held up, or driven away
    if latent is not None and turn is None:
        return latent
    known = turn is not None and turn.kind != OTHER
    if known and in_turns(side):
        return Latent(None, None, f"the more the means weigh, the less the reconstruction does: {TURNS}")
    if unmoved and turn is None:
        if not scale or not bool(near.by_scale.abs().max() > 0):
            return None
        return Latent(None, None, "it does not depend on the means of the latents", dead=True)
    if turn is not None:
        ways = [named] if named else [*DEVIATION]
        meaning = next((way for way in ways if parallel(side, way, near)), None)
        meaning = meaning or (latent.meaning if latent is not None else None)
        if known and (meaning or not scale and turn.nats):
            return Latent(offset, meaning, "", turn)
        if meaning or latent is not None or unmoved:
            return Latent(None, meaning, named=named, unexplained=turn.words)
    return Latent(None, None, unlike(near, scale))


def sampled(side: LatentSide) -> Latent | None:
    """Measure a KL by one sample z that is passed in, log q(z) - log p(z), whatever p: log q's own gradients at a fixed z.

    They are b (z - mu)/v by a mean and b ((z - mu)^2/v - 1)/2 times dv/v by a scale. None where z is not used.
    """
    slots, mu, scale = side.problem.plan.role("z"), side.mu, side.scale
    if not slots:
        return None
    keys = [mu, scale, slots[0].key]
    _, grads = gradients(side.problem, side.base, keys)
    if not bool(grads[keys[2]].abs().max() > 0):
        return None
    m, s, z = (side.base[key] for key in keys)
    best = (math.inf, "", 0.0)
    for meaning, deviate in DEVIATION.items():
        leaves = [m.clone().requires_grad_(), s.clone().requires_grad_()]
        sigma = deviate(leaves[1])
        log_q = -sigma.log() - ((z - leaves[0]) / sigma).square() / 2
        both = torch.cat([grad.flatten() for grad in torch.autograd.grad(log_q.sum(), leaves)])
        measured = torch.cat([grads[mu].flatten(), grads[scale].flatten()])
        weight = ((both * measured).sum() / (both * both).sum()).item()
        off = ((measured - weight * both).abs().max() / measured.abs().max()).item()
        best = min(best, (off, meaning, weight))
    if best[0] > SAME:
        reason = (
            f"its log q(z) is no normal density's: its gradients at a fixed z are off by {best[0]:.3g} of the largest at best"
        )
        return Latent(None, None, reason)
    return Latent(best[2], best[1], notes=("the KL is of one sample z; its prior is not looked into",))


def turning(side: LatentSide) -> tuple[Turn | None, float]:
    """Return how the weight of a KL depends on how large the KL is, None where it does not, and the weight far out."""
    slopes = bent(lambda sizes: weights_at(side, sizes))
    found = turn_at(side, slopes) if slopes else None
    if found is None or found.kind == OTHER or not found.nats:
        return found, slopes[-1][1] if slopes else 0.0
    sizes, moved = side.problem.sizes, []
    others = {"B": replace(sizes, batch=2 * sizes.batch), "K": replace(sizes, latent=(2 * sizes.latent[0], *sizes.latent[1:]))}
    for name, other in others.items():
        there = side.problem.at(sizes=other)
        try:
            larger = replace(side, problem=there, base=benign(there))
            same = math.sqrt(2 * found.nats / found.summed(there.sizes.K))
            ends = weights_at(larger, (0.9999 * same, 1.0001 * same)) if found.kind != SQUARED else []
            if len(ends) == 2 and ends[1][1] and ends[0][1] * ends[1][1] <= 1e-9 * ends[1][1] ** 2:
                continue
            again = turn_at(larger, weights_at(larger, TRIED))
        except Exception:  # of the user's function, which has sizes of its own
            continue
        if again is not None and again.kind == found.kind and abs(again.nats / found.nats - 1) > 1e-4:
            moved.append((name, f"at {name} = {sizes.batch if name == 'B' else sizes.K}, {again.nats:.6g} at twice that"))
    place = f" ({'; '.join(words for _, words in moved)})" if moved else ""
    return replace(found, place=place, moves=any(name == "B" for name, _ in moved)), slopes[-1][1]


def bent(weights: Callable[[Sequence[float]], list[tuple[float, float]]]) -> list[tuple[float, float]]:
    """Return the weight of the first mean where all have one size, of several sizes; nothing where both ends are alike."""
    few = weights((TRIED[0], TRIED[6]))
    if len(few) == 2 and few[0][1] <= 0:  # held up, or driven away, further than that
        few += weights(TRIED[-1:])
    if len(few) > 1 and all(abs(few[0][1] - weight) <= SAME * abs(few[0][1]) for _, weight in few[1:]):
        return []
    return weights(TRIED if any(weight <= 0 for _, weight in few) else TRIED[:7])


def turn_at(side: LatentSide, slopes: Sequence[tuple[float, float]]) -> Turn | None:
    """Return how the weight depends on how large the KL is, (size of all means, weight) each."""

    def weight(means: Tensor) -> float:
        return next((weight for _, weight in weights_at(side, (means,))), math.nan)

    return turn_of(weight, side.base[side.mu].shape, slopes)


def weights_at(side: LatentSide, sizes: Sequence[float | Tensor]) -> list[tuple[float, float]]:
    """Return how much the first mean weighs where all of them have one size, for each size at which that is finite.

    Or where they have some values; the scales are the prior's.
    """
    slopes, mu, scale = [], side.mu, side.scale
    for size in sizes:
        still = side.filled(size)
        for at in (0.0, 1.0) if scale else ():  # a logarithm's prior, else a deviation's
            still = side.filled(size, at)
            try:
                loss, grads = side.averaged(still, [mu, scale])
            except REFUSALS:
                continue
            if math.isfinite(loss) and bool(grads[scale].isfinite().all()):
                break
        try:
            pull = side.averaged(still, [mu])[1][mu]
        except REFUSALS:
            continue
        if bool(pull.isfinite().all()):
            first = still[mu].flatten()[0].item()
            slopes.append((first, pull.flatten()[0].item() / first))
    return slopes


def in_turns(side: LatentSide) -> bool:
    """Whether the reconstruction's gradient is another where the means are large: of a maximum of it and a KL, none."""
    keys = [slot.key for slot in side.problem.plan.role("recon")]
    few, many = (gradients(side.problem, side.filled(size), keys)[1] for size in (0.02, 8.0))
    return any(bool((few[key] - many[key]).abs().max() > SAME * few[key].abs().max()) for key in keys)
