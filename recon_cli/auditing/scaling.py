"""How weights move with the sizes: exponents in the batch B, the elements D of a sample and the latents K."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.divergence import Latent
from recon_cli.auditing.latent_fields import PRIOR, Turn
from recon_cli.auditing.latents import measure
from recon_cli.auditing.matching import latent_keys, pairs
from recon_cli.auditing.probes import benign, gradients, still
from recon_cli.auditing.reach.roles import BoundNumber

Powers: TypeAlias = tuple[float | None, float | None, float | None]  # of the trade-off, the reconstruction and the KL
Strengths: TypeAlias = tuple[list[float], float]  # of one element of each reconstruction, and of one latent
NONE: Powers = (None, None, None)


@dataclass(frozen=True)
class Scaling:
    """Exponents in B, D and K of one reconstruction beside the KL; None where not measured.

    axes
        which axis of a sample moves the trade-off, where they differ; length is then the size of those that move it most.
    literal
        the size that is written into a reshape, if one is.
    rooted
        whether a pull falls with the root of an axis, as by a norm along it.
    """

    batch: Powers = NONE
    dim: Powers = NONE
    latent: Powers = NONE
    axes: str = ""
    literal: Any = None
    length: int | None = None
    rooted: bool = False

    @property
    def tradeoff(self) -> Powers:
        """The exponents of the trade-off, in B, D and K."""
        return self.batch[0], self.dim[0], self.latent[0]

    @property
    def moves(self) -> bool:
        """Whether the trade-off is another one at other sizes."""
        return any(abs(exponent or 0) > 1e-6 for exponent in self.tradeoff)


def power(new: float, old: float, by: float) -> float | None:
    """Return d log value / d log size, whole where it is to six digits."""
    if not (0 < new < math.inf and 0 < old < math.inf):
        return None
    exponent = (math.log(new) - math.log(old)) / math.log(by)
    return float(round(exponent)) if abs(exponent - round(exponent)) < 1e-6 else exponent


def product(sizes: Sequence[float], powers: Sequence[float | None]) -> float:
    """Return sizes to powers, multiplied: without those whose power was not measured."""
    return float(math.prod(size ** (exponent or 0.0) for size, exponent in zip(sizes, powers, strict=True)))


def exponents(base: Strengths, other: Problem, by: float, turn: Turn | None = None) -> list[Powers] | None:
    """Return the exponents of one size for every term, from two values of it; None where the function refuses the other."""
    try:
        recons, pull = strengths(other, turn)
    except Exception:
        return None
    kl, powers = power(pull, base[1], by), []
    for new, old in zip(recons, base[0], strict=True):
        rec = power(new, old, by)
        powers.append(NONE if rec is None else (None if kl is None else kl - rec, rec, kl))
    return None if all(each == NONE for each in powers) else powers


def scalings(problem: Problem, turn: Turn | None = None) -> list[Scaling]:
    """Return the exponents of every term from two sizes each of B, D (every axis of a sample apart) and K.

    Those of the square of a KL's distance from a target, ``turn``, are of its pull one nat above.
    """
    sizes, base = problem.sizes, strengths(problem, turn)
    nothing = [NONE] * len(base[0])
    batch = exponents(base, problem.at(sizes=replace(sizes, batch=2 * sizes.batch)), 2, turn) or nothing
    latent = nothing
    if not math.isnan(base[1]):
        wider = (2 * sizes.latent[0], *sizes.latent[1:])
        follow = following(problem, {sizes.K: 2 * sizes.K, sizes.latent[0]: wider[0]}, r"lat|z|embed|hidden|code|n_?k$|^k$")
        latent = exponents(base, problem.at(sizes=replace(sizes, latent=wider), follow=follow), 2, turn) or nothing
    along = {axis: stretched(problem, base, axis, turn) for axis in axes(problem)}
    return [Scaling(batch[i], latent=latent[i], **of_a_sample(sizes.shape, along, i)) for i in range(len(nothing))]


def of_a_sample(shape: Sequence[int], along: Mapping[int, tuple[list[Powers] | None, object]], index: int) -> dict[str, Any]:
    """Return what stretching each axis of a sample says of one term: its exponents in D, and which axis they are of."""
    powers = {axis: each[index] for axis, (each, _) in along.items() if each is not None and each[index] != NONE}
    literal = next((literal for _, literal in along.values() if literal), None)
    if not powers:
        return {"literal": literal}
    most = max(powers, key=lambda axis: abs(powers[axis][0] or 0))
    differ = len({round(by, 6) for by, _, _ in powers.values() if by is not None}) > 1
    length = math.prod(shape[axis] for axis, each in powers.items() if each == powers[most])
    words = ", ".join(f"axis {axis + 1}: {by or 0:g}" for axis, (by, _, _) in powers.items()) if differ else ""
    rooted = any(by is not None and abs(by % 1 - 0.5) < 1e-6 for _, by, _ in powers.values())
    return {"dim": powers[most], "axes": words, "literal": literal, "length": length if differ else None, "rooted": rooted}


def axes(problem: Problem) -> list[int]:
    """Return the axes of a sample to stretch: of an image one of its own, of a table both, of classes theirs and another.

    All of them where the code counts the axes of what is compared.
    """
    shape = problem.sizes.shape
    if problem.plan.is_kl:
        return []
    if problem.layout.classes:
        classed = 0 if problem.layout.classes.startswith("first") else len(shape) - 1
        return [*[axis for axis in range(len(shape)) if axis != classed][-1:], *[classed] * labelled(problem)]
    counted = problem.plan.trace.reduced & {slot.key for pair in pairs(problem.plan) for slot in pair if slot is not None}
    return [*range(len(shape))] if counted or len(shape) == 2 else [len(shape) - 1]


def stretched(problem: Problem, base: Strengths, axis: int, turn: Turn | None) -> tuple[list[Powers] | None, Any]:
    """Return the exponents along one axis, and the literal size that is in the way, if any: it is stretched as well."""
    sizes, shape = problem.sizes, problem.sizes.shape
    for by in [2.0] if sizes.D < 50_000 else [0.5, 2.0]:
        if shape[axis] * by != int(shape[axis] * by):
            continue
        longer = tuple(int(n * by) if i == axis else n for i, n in enumerate(shape))
        now = replace(sizes, shape=longer)
        shapes = {key: (*named[:-1], int(named[-1] * by)) for key, named in problem.shapes.items()}
        numbers = {sizes.D: now.D, shape[axis]: longer[axis]}
        follow = following(problem, numbers, r"in|dim|size|data|pix|feat|n[a-z]+|length|horizon|chunk|quer")
        other = problem.at(sizes=now, shapes=shapes, follow=follow)
        for each in (other, other.at(literals={sizes.D: now.D, shape: longer})):
            powers = exponents(base, each, by, turn)
            if powers:
                return powers, next(iter(each.watch.literals), None) if each is not other else None
    return None, None


def following(problem: Problem, sizes: dict[int, int], words: str) -> dict[str, int]:
    """Return numbers on self, or bound to arguments, that are a size by value and by name, as they would be at another."""
    owner, sizes_there = problem.reached.owner, {}
    numbers = dict(vars(owner)) if owner is not None and hasattr(owner, "__dict__") else {}
    bound = [part for part in (*problem.plan.arguments, *problem.plan.keywords.values()) if isinstance(part, BoundNumber)]
    for name, value in {**numbers, **{part.name: part.value for part in bound}}.items():
        if type(value) is int and value > 1 and value in sizes and re.search(words, name, re.I) and "batch" not in name:
            sizes_there[name] = sizes[value]
    return sizes_there


def middle(value: Tensor) -> float:
    """Return the middle of the sizes that are not zero."""
    sizes = value.abs().flatten()
    sizes = sizes[sizes > 0]
    return sizes.median().item() if len(sizes) else math.nan


def of_label(problem: Problem, grad: Tensor) -> float:
    """Return how strongly the right one of equally likely classes pulls, however many there are."""
    most, share = middle(grad.abs().amax(-1)), 1 / grad.shape[-1]
    if "shares" in problem.layout.classes:
        return most * share
    return most / (1 - share) if middle(grad.abs().sum(-1)) > (1 + 1e-9) * most else most


def labelled(problem: Problem) -> bool:
    """Whether the axis of classes is one: predictions are pulled at where the label is alone, or by softmax less label."""
    recon = pairs(problem.plan)[0][0]
    values = benign(problem)
    grad = gradients(problem, values, [recon.key])[1][recon.key]
    at = grad.abs().amax(-1, keepdim=True)
    others = grad[(grad.abs() < at) & (at > 0)]
    share = values[recon.key].exp()[(grad.abs() < at) & (at > 0)]
    ratio = others / share
    return not bool((others != 0).any()) or bool((ratio - ratio.median()).abs().max() < 1e-6 * ratio.abs().max())


def at_nats(problem: Problem, values: Mapping[str, Tensor], nats: float) -> Latent:
    """Return how much KLs that are passed in weigh where each is so many nats."""
    keys = [slot.key for slot in problem.plan.role("kl")]
    _, grads = gradients(problem, {**values, **{key: torch.full_like(values[key], nats) for key in keys}}, keys)
    return Latent(sum(grads[key].mean().item() for key in keys) / len(keys) if keys else None)


def strengths(problem: Problem, turn: Turn | None = None) -> tuple[list[float], float]:
    """Return how strongly one element of each reconstruction pulls, and one latent, at points that are the same at all sizes."""
    values = benign(problem)
    recons = []
    for recon, target in pairs(problem.plan):
        if values[recon.key].ndim == 3:
            share = 1 / values[recon.key].shape[-1]
            even = share if "shares" in problem.layout.classes else math.log(share)
            values[recon.key] = torch.full_like(values[recon.key], even)
        if values[recon.key].ndim == 2:
            values[recon.key] = torch.full_like(values[recon.key], 0.7)
            for each in problem.plan.role("target") if target is not None else ():  # a target may be made of several
                if values[each.key].is_floating_point():
                    values[each.key] = torch.full_like(values[each.key], still(problem))
        recons.append(recon.key)
    for slot in problem.plan.role("spread"):
        flat = torch.full_like(values[slot.key], 0.7)
        values[slot.key] = flat if slot.meaning != "matrix" else flat * (values[slot.key] != 0)
    latent = latent_keys(problem)
    mean = 8.0 if turn is None else math.sqrt(2 * (turn.nats + 1) / turn.summed(problem.sizes.K))
    for key in latent:
        if values[key].ndim == 2 and not problem.plan.role("probs"):
            meaning = next((slot.meaning for slot in problem.plan.slots() if slot.key == key), None)
            rest = 0.8 if turn is None else PRIOR[meaning or "log_variance"]
            values[key] = torch.full_like(values[key], mean if key == latent[0] else rest)  # far out, beyond free nats
    _, grads = gradients(problem, values, [*recons, *latent])
    pull = middle(grads[latent[0]]) / (1.0 if turn is None else mean) if latent else math.nan
    if any(map(problem.plan.role, ("kl", "density", "probs", "z"))):
        latent_term = measure(problem) if turn is None else at_nats(problem, values, turn.nats + 1)
        pull = abs(latent_term.weight) if latent_term and latent_term.weight else math.nan
    if not recons:  # a KL alone, beside a number that does not move
        return [1.0], pull
    return [of_label(problem, grads[key]) if grads[key].ndim == 3 else grads[key].abs().max().item() for key in recons], pull
