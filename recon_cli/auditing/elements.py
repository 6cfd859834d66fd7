"""One element of an additive loss, a function of data and prediction, measured on whole batches: for ``normalisation`` to sum."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.coordinates import Array
from recon_cli.auditing.latent_fields import PRIOR
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.normalisation import Normalisation, judge, summed
from recon_cli.auditing.probes import Elements, benign, data_of, element_weights, pulled, value_at
from recon_cli.auditing.quadrature import Element
from recon_cli.auditing.reach.roles import Pair

# Predictions at which e^-loss is added up: means by where they may be, and scales beside them.
MEANS = {
    "real": (-5.0, -2.0, -0.7, 0.0, 0.4, 1.0, 2.2, 5.0),
    "positive": (0.05, 0.2, 0.5, 0.9, 1.0, 1.7, 3.0, 6.0),
    "unit": (0.02, 0.15, 0.35, 0.5, 0.7, 0.9, 0.98),
}
SCALES = ((0.3, 0.25), (0.3, 0.5), (0.3, 0.8), (0.3, 1.3), (0.3, 2.0), (0.8, 0.8))
SHARES = (  # beside positive means, where scales are shares of something, or are two
    (0.05, 0.25, 0.4), (0.3, 0.8, 0.2), (0.3, 0.25, 0.4), (0.5, 0.5, 0.7), (0.9, 0.3, 0.6), (1.7, 0.7, 0.45), (3.0, 0.3, 0.1),
    (6.0, 0.6, 0.8),
)  # fmt: skip
UNITS = tuple((mean / (1 + mean), *scales) for mean, *scales in SHARES)
SHIFTS = ((0.3, 0.5), (-4.0, 0.2), (0.0, 7.0))  # a residual's two ends, moved together by any number if that is all that counts
CROWD = 4096  # elements of a batch that is large enough to measure many points in one call
MUCH = 16 * CROWD  # and of one that costs more than it gives


def leans(elements: Elements) -> bool:
    """Whether data of other elements move an element's gradient, as a mean of them does."""
    recon, data, base = elements.recon, elements.target, elements.base
    half = torch.arange(base[data].numel()).reshape(base[data].shape) % 3 == 1
    other = 1 - base[data] if elements.problem.layout.binary else (base[data] + 0.31) % 1
    moved = torch.where(half, other, base[data])
    before, after = (pulled(elements.problem, {**base, data: x}, [recon])[1][recon] for x in (base[data], moved))
    return bool((after - before)[~half].abs().max() > 1e-9 * before.abs().max())


LOGITS = (-3.0, 0.0, 1.0)  # of the first class, beside zeros; and one at which it has about half of the mass
CLASSES = 1024  # the most that are summed over


def over_classes(problem: Problem, pair: Pair, meaning: str | None, weights: Sequence[float]) -> Normalisation | None:
    """Return what e^-loss of an event adds up to over its classes, at a few logits; None where there are too many of them."""
    recon, target = pair
    base = resting(problem, meaning)
    (rows, events, count), labels = base[recon.key].shape, base[target.key] if target else None
    if target is None or labels is None or count > CLASSES or "shares" in problem.layout.classes:
        return None

    firsts = (*LOGITS, max(4.0, float(round(math.log(count)))))

    @functools.cache
    def value(x: float, j: int) -> float:
        logits = torch.zeros_like(base[recon.key])
        logits[..., 0] = firsts[j]
        label = torch.full((rows, events), int(x), dtype=torch.long)
        hot = label if labels.ndim == 2 else torch.nn.functional.one_hot(label, count).to(labels.dtype)
        return value_at(problem, {**base, recon.key: logits, target.key: hot}) / (rows * events)

    def none(x: Array, _at: Array) -> Array:
        return np.full_like(x, math.nan)

    each = Element(tuple((logit,) for logit in firsts), none, none, value)
    attempts = [summed(replace(each, weight=weight), range(count), "the classes") for weight in weights]
    chosen = next((one for one in attempts if one.kind == "real"), attempts[0])
    if chosen.kind != "real" and labels.ndim == 2 and takes_fractions(problem, pair, base):
        return several(recon.key, target.key, count, weights[0])
    return chosen


def takes_fractions(problem: Problem, pair: Pair, base: dict[str, Tensor]) -> bool:
    """Whether a target that could be labels need not be: between whole numbers too the loss is a number, and another one."""
    key = pair[1].key if pair[1] else ""
    values = [value_at(problem, {**base, key: base[key] + more}) for more in (0.0, 0.25, 0.5)]
    return all(math.isfinite(value) for value in values) and len({*values}) == len(values)


def several(recon: str, target: str, count: int, weight: float) -> Normalisation:
    """Return that nothing is told of a reconstruction that has ``count`` numbers for each of the target's."""
    why = f"{recon} has {count} numbers for each of {target}, as a mixture's decoder gives them, and one alone is moved here; "
    why += "recon compare --likelihood gaussian-mixture takes them together"
    return Normalisation("unknown", "the real numbers", (), weight, why=why)


def resting(problem: Problem, meaning: str | None) -> dict[str, Tensor]:
    """Return benign values with the latents where a KL is 0."""
    base = benign(problem)
    means = {slot.key for slot in problem.plan.slots() if slot.role in ("mu", "kl")}
    for key in latent_keys(problem):
        base[key] = torch.full_like(base[key], PRIOR[meaning] if meaning and key not in means and "." not in key else 0.0)
    return base


def elements_of(problem: Problem, pair: Pair, meaning: str | None) -> Elements | None:
    """Return a problem as the elements of a batch; None where reconstruction and target are not element by element."""
    recon, target = pair
    base = resting(problem, meaning)
    scales = tuple(slot.key for slot in problem.plan.role("spread"))
    if target is None or data_of(base, pair) is None or any(base[scale].shape != base[recon.key].shape for scale in scales):
        return None
    base |= {scale: torch.full_like(base[scale], 0.8) for scale in scales}
    weights = element_weights(problem, base, pair)[0]
    if not bool(weights.isfinite().all()) or not bool(weights.any()):
        return None
    return Elements(problem, base, recon.key, target.key, weights, scales)


def resized(elements: Elements, pair: Pair, meaning: str | None) -> Elements:
    """Return the same of more samples, where a call would give few points; of smaller ones, where it gives far too many.

    Its gradients are those of the problem as it was given; the same where the function does not take that.
    """
    size, sizes = elements.base[elements.recon].numel(), elements.problem.sizes
    if CROWD / 2 <= size <= MUCH or (size > MUCH and elements.problem.shapes):
        return elements
    most = CROWD // 4 if len(sizes.shape) == 1 else 32
    other = replace(sizes, batch=min(4, sizes.batch), shape=tuple(min(n, most) for n in sizes.shape))
    other = other if size > MUCH else replace(sizes, batch=sizes.batch * math.ceil(CROWD / size))
    try:
        new = elements_of(elements.problem.at(sizes=other), pair, meaning)
    except Exception:  # of the user's function, which has a size of its own
        return elements
    if new is None:
        return elements
    point = {elements.recon: 0.7, elements.target: 0.2, **dict.fromkeys(elements.scales, 0.8)}
    points = {key: torch.tensor([at], dtype=torch.float64) for key, at in point.items()}
    ours, theirs = (each.laid(points, [new.recon, new.target], True)[1] for each in (elements, new))
    by = new.recon if theirs[new.recon] else new.target  # of a detached reconstruction there is no gradient
    times = float(ours[by] / theirs[by])
    return replace(new, times=times) if math.isfinite(times) and times else elements


def normalisation(
    problem: Problem, pair: Pair, location: bool, meaning: str | None, weights: Sequence[float]
) -> Normalisation | None:
    """Return what e^-loss of an element adds up to over its data; None where that cannot be measured.

    ``weights`` are what the loss is multiplied by in turn until that is one number.
    """
    recon, target = (0 if slot is None else benign(problem)[slot.key].numel() for slot in pair)
    if pair[1] and recon > target and recon % target == 0 and not problem.layout.long:
        return several(pair[0].key, pair[1].key, recon // target, weights[0])
    few = elements_of(problem, pair, meaning)
    if few is None:
        return None
    many = resized(few, pair, meaning)
    few = many if many.base[many.recon].numel() < few.base[few.recon].numel() else few
    if leans(few):
        why = "what an element costs depends on the data of others"
        return Normalisation("unknown", "the real numbers", (), weights[0], why=why)

    def laid(of: Elements, rows: Sequence[Sequence[float]], x: Array, at: Array, every: bool = True) -> tuple[bool, list[Array]]:
        """Return whether the loss is finite at points x, each of the prediction of a number, and its gradients by both ends."""
        ends = [of.target, of.recon, *of.scales]
        points = dict(zip(ends, map(torch.from_numpy, (x, *np.array(rows)[at].T)), strict=True))
        finite, grads = of.laid(points, ends[:2], every)  # by both: neither is asked again
        return finite, [grads[key].numpy() for key in ends[:2]]

    def is_finite(rows: Sequence[Sequence[float]], x: Sequence[float]) -> bool:
        """Whether the loss is finite at each x, of each prediction: their sum is."""
        return laid(few, rows, np.repeat(x, len(rows)), np.tile(np.arange(len(rows)), len(x)), every=False)[0]

    domain: str = "real"
    ways = [tuple(row[: 1 + len(few.scales)] for row in rows) for rows in (SHARES, UNITS)]
    ways = [(*SCALES, *ways[0]), *ways] if len(few.scales) == 1 else ways
    predictions: tuple[tuple[float, ...], ...] = ways[0]
    if few.scales:
        predictions = next((rows for rows in ways if is_finite(rows, [0.6])), ways[0])
    else:
        domain = next((name for name, means in MEANS.items() if is_finite([(mean,) for mean in means], [1.0])), "unit")
        predictions = tuple((mean,) for mean in MEANS[domain])
    residual = location and not few.scales and all(
        math.isclose(few.value(x, r), few.value(x + by, r + by), rel_tol=1e-9, abs_tol=1e-12)
        for x, r in SHIFTS
        for by in (6.0, -3.0)
    )  # fmt: skip
    predictions = ((0.0,),) if residual else predictions
    if few.scales and all(
        math.isclose(few.value(x, *row), few.value(x + 2 * math.pi, *row), rel_tol=1e-9, abs_tol=1e-12)
        for row in predictions[:2]
        for x in (0.3, 1.1)
    ):  # fmt: skip
        why = "it is the same again 2 pi further, as a density of angles is"
        return Normalisation("unknown", "the real numbers", (), weights[0], why=why)

    @functools.cache
    def value(x: float, j: int) -> float:
        return few.value(x, *predictions[j])

    element = Element(
        predictions,
        lambda x, at: laid(many, predictions, x, at)[1][0],
        lambda x, at: laid(many, predictions, x, at)[1][1],
        value,
        finite=lambda x: is_finite(predictions, x),
    )
    sums = judge(element, residual, problem.layout.binary, domain, weights)
    alone = len([slot for slot in problem.plan.slots() if slot.role in ("recon", "decoder")]) == 1
    return replace(sums, absolute=alone)
