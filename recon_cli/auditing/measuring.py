"""Measuring: gradients of the loss over values, residuals and latents; what they amount to is for ``findings``."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.families import CLOSE, MATCH, DecoderScale, GivenWeights, Match, candidates, field_of, ratio, recognise
from recon_cli.auditing.links import FORMS, SQUASHING, link_of, scaled_name
from recon_cli.auditing.normalisation import Normalisation
from recon_cli.auditing.norms import Norm, QuadraticForm, bound, covariance, norm
from recon_cli.auditing.probes import (
    Elements,
    additivity,
    benign,
    data_of,
    domains,
    element_weights,
    gradients,
    sort_of,
    uniform,
    value_at,
)
from recon_cli.auditing.reach.roles import Pair
from recon_cli.identity.regions import REAL

SCALED = 6.0  # up to which data are as people scale them, to a deviation of 1 say
SPOTS, SECTIONS, ROUNDS = (-1.3, 0.4, 1.7), 28, 8  # outputs whose means are looked for, and how finely
LEAST = 1e-300  # a weight below which numbers lose their digits
WHOLE = (0.0, 1.0, 2.0, 3.0, 7.0, 12.0)
INSIDE, WIDE = 3.0, (10.0, 100.0, 1e4, 1e7)  # residuals of ``domains``, and beyond
FEW = 11  # points where one that is off would do
STEP = 1e-3  # within which few points have a bend
Fields: TypeAlias = Callable[[Sequence[tuple[Tensor, Tensor]]], Sequence[Tensor | None]]  # at sets of x and of predictions
TEMPERATURES = (1, *range(2, 21), 0.5, 0.1, 1.5, 2.5)
SIMPLEX = "only if x̂ adds up to 1"
MADE = "target made over"


@dataclass(frozen=True)
class ReconstructionTerm:
    """One reconstruction term as measured.

    curvature
        d2L/dx2 of one element at a residual of zero, from gradients on both sides; None where it has none.
    additive
        whether each element's gradient is its own affair; worst says how much of another's it takes.
    weights
        the least and the largest weight of an element, relative to the middle one, of those that count.
    counted
        the share of elements that have a gradient at all.
    domain
        where reconstructions could be: real, unit, positive, classes.
    centre
        in words, where the gradient vanishes, if that is not where reconstruction and target are the same.
    within
        in words, the residuals or targets within which it is that family, where it is another function beyond.
    normal
        of no known family, what e^-loss adds up to over the data.
    spread
        what an argument is that is a scale of every element.
    norm
        what it is the norm of, and no sum over elements.
    quadratic
        the matrix of a quadratic form of each sample's residuals, that is no sum over elements.
    bound
        in words, of how many samples it is an importance-weighted bound; empty of any other.
    given
        of which argument its elements have weights, where that only weighs them: its own weight is that where these are 1.
    aim
        in words, what its target is of several arguments; empty where it is one.
    """

    match: Match | None = None
    curvature: float | None = None
    additive: bool = True
    worst: float = 0.0
    weights: tuple[float, float] = (1.0, 1.0)
    counted: float = 1.0
    domain: str = "real"
    sign: int = 1
    location: bool = False
    centre: str = ""
    within: str = ""
    normal: Normalisation | None = None
    spread: DecoderScale | None = None
    norm: Norm | None = None
    quadratic: QuadraticForm | None = None
    bound: str = ""
    given: GivenWeights | None = None
    aim: str = ""

    @property
    def recognised(self) -> bool:
        """Whether it is a likelihood: one of the registry, two added that only move with the mean, or one of no name.

        Two others added, and what is of no name, are one where their integral does not depend on the mean.
        """
        if self.normal is not None:
            return self.normal.kind == "real"
        return self.match is not None and abs(self.match.weight) > LEAST and (not self.match.parts or self.location)


def reconstruction(problem: Problem, pair: Pair, latents: list[str]) -> ReconstructionTerm:
    """Return one reconstruction term as measured, once for each way of calling."""
    key = ("reconstruction", pair, *latents, problem.data is None, *sort_of(problem))
    if key not in problem.memo:
        problem.memo[key] = of_pair(problem, pair, latents)
    term: ReconstructionTerm = problem.memo[key]
    return term


def of_pair(problem: Problem, pair: Pair, latents: list[str]) -> ReconstructionTerm:
    """Measure one reconstruction term."""
    recon, target = pair
    base = benign(problem)
    loose = [key for key in latents if key in base]
    if problem.layout.classes:
        return classes(problem, pair, base, loose)
    worst = additivity(problem, base, recon.key, loose)
    weights, counted = element_weights(problem, base, pair)
    alive = weights != 0
    spread = (weights[alive].min().item(), weights[alive].max().item())
    if worst > 1e-7:
        of, sign = norm(problem, pair), sign_of(problem, base, pair)
        count = "" if of else bound(problem, pair)
        term = ReconstructionTerm(None, None, False, worst, spread, counted, "unit", sign, norm=of, bound=count)
        return term if of or count else of_vectors(term, covariance(problem, pair))
    even = max(abs(spread[0] - 1), abs(spread[1] - 1)) < 1e-6 and counted == 1
    elements = Elements(problem, base, recon.key, target.key if target else "", None if even else weights)
    points = domains()
    if problem.data is not None:  # a loss for data that lie nowhere else
        points["data"] = problem.data, problem.data + uniform(len(problem.data), -1, 1, 11) * problem.data.std()
        if is_wide(problem.data):  # of grey levels an output is made larger than it is
            points = {"raw": (problem.data, uniform(len(problem.data), -2.5, 2.5, 12)), **points}
    match, domain, used = recognised(elements, points)
    slope = bend(match) if match is not None and not match.parts else None if target is None else curvature(elements.fields)
    centre = ""
    if used is not None and (match is None or match.off > MATCH) and target is not None:
        shift = shifted(elements, used)
        match, centre = shift or (match, "")
    within, doubt = "", ""
    alone = not has_scale(problem)  # else ``auditing.noises`` looks at it
    if match is not None and not centre and alone:
        same, within, doubt = elsewhere(elements, match, domain)
        within = within or (limits(elements, match) if same else "")
        match = match if same else None
    location = alone and used is not None and target is not None and is_location(elements)
    sign = sign_of(problem, base, pair) if match is None else match.sign
    normal = Normalisation("unknown", "the data", (), 1.0, why=doubt) if doubt else None
    return ReconstructionTerm(match, slope, True, worst, spread, counted, domain, sign, location, centre, within, normal)


def recognised(elements: Elements, points: Mapping[str, tuple[Tensor, Tensor]]) -> tuple[Match | None, str, Any]:
    """Return what a field is at the points of some domain, of which, and the points there with it: the first that is exact."""
    match, domain, used = None, "unit", None
    for name, (x, raw) in points.items():
        x = x.clamp(0, 1).round() if elements.problem.layout.binary else x
        measured = elements.field(x, raw)
        if measured is None or not bool(measured.abs().max() > 0):
            continue
        best = recognise(x, raw, measured)
        if (best is None or best.off > MATCH) and (events := recognise_events(x[None], raw[None], measured[None])):
            best = replace(events, link=SIMPLEX)  # element by element: whether they add up to 1 is not for the loss to say
        if name == "raw" and (best is None or best.off > MATCH):
            best = rescaled(elements, (x, raw, measured)) or best
        if used is None or (best is not None and (match is None or best.off < match.off)):
            match, domain, used = best, "real" if name == "raw" else name, (x, raw, measured)
        if match is not None and match.off < MATCH:
            break
    return match, domain, used


def of_vectors(term: ReconstructionTerm, known: QuadraticForm | None) -> ReconstructionTerm:
    """Return a term whose pull is a matrix times a sample's residual: a Gaussian's of full covariance, if that is one."""
    if known is None or not known.definite:
        return replace(term, quadratic=known)
    match = Match("multivariate-gaussian", known.sign / (2 * known.variance), 0.0)
    return ReconstructionTerm(match, worst=term.worst, sign=known.sign, location=True, quadratic=known)


def has_scale(problem: Problem) -> bool:
    """Whether a decoder's own scale is in the loss: where nothing moves with it, it is an argument that is not read."""
    slots = problem.plan.role("spread")
    if not slots:
        return False
    values = benign(problem)
    _, grads = gradients(problem, values, [slots[0].key])
    moved = ({**values, slots[0].key: by * values[slots[0].key]} for by in (1.3, 40.0))  # beyond what a weight is clamped to
    return bool((grads[slots[0].key] != 0).any()) or any(value_at(problem, each) != value_at(problem, values) for each in moved)


def is_wide(data: Tensor) -> bool:
    """Whether data have another range than people scale them to: grey levels, say."""
    return bool(data.abs().max() > SCALED)


def rescaled(elements: Elements, used: Any) -> Match | None:
    """Return what a loss is of a mean that is so many times an output, or what is made of it, and a number more.

    At the mean the gradient turns: the data at which it does are looked for at three outputs, between the ends of the data.
    """
    x, raw, measured = used
    spots, ends = torch.tensor(SPOTS, dtype=torch.float64), x.aminmax()
    width = ends.max - ends.min
    low, high = torch.full_like(spots, float(ends.min - width)), torch.full_like(spots, float(ends.max + width))
    share, rows = torch.linspace(0, 1, SECTIONS, dtype=torch.float64), torch.arange(len(spots))
    for _ in range(ROUNDS):
        at = low[:, None] + (high - low)[:, None] * share
        field = elements.field(at.flatten(), spots[:, None].expand_as(at).flatten())
        if field is None:
            return None
        sides = field.reshape(at.shape).sign()
        turns = (sides[:, :-1] != sides[:, 1:]) & (sides[:, :-1] != 0)
        if not bool((turns.sum(1) == 1).all()):
            return None
        first = turns.int().argmax(1)
        low, high = at[rows, first], at[rows, first + 1]
    middle = (low + high) / 2
    for form, (function, _) in FORMS.items():
        line = torch.stack([function(spots), torch.ones_like(spots)], dim=1)
        (times,), (more,) = torch.linalg.lstsq(line, middle[:, None]).solution.tolist()
        if times > 0 and bool((line @ torch.tensor([times, more], dtype=torch.float64) - middle).abs().max() <= 1e-7 * width):
            numbers = (float(f"{times:.7g}"), float(f"{more:.7g}") if abs(more) > 1e-6 * times else 0.0)
            return recognise(x, raw, measured, links=(scaled_name(numbers[0], form, numbers[1]),))
    return None


def shifted(elements: Elements, used: Any) -> tuple[Match, str] | None:
    """Return a Gaussian about what the loss makes of the target (its gradient has one slope everywhere), and in words what."""
    x, raw, measured = used
    later = elements.field(x, raw + STEP)
    if later is None:
        return None
    slopes = (later - measured) / STEP
    middle = slopes.median().item()
    if middle == 0 or (slopes - middle).abs().max() > 1e-6 * abs(middle):
        return None
    centre = raw - measured / middle
    match = recognise(centre, raw, measured)
    return None if match is None else (replace(match, link=MADE), centred(x, centre, elements.target or "x"))


def centred(x: Tensor, centre: Tensor, name: str) -> str:
    """Return in words what a centre is of a target: so many times it and a number more, or its value at one of the target."""
    line = torch.stack([x, torch.ones_like(x)], dim=1)
    slope, more = torch.linalg.lstsq(line, centre[:, None]).solution.flatten().tolist()
    if float((line @ torch.tensor([slope, more], dtype=x.dtype) - centre).abs().max()) > 1e-7:
        at = int((centre - x).abs().argmax())
        return f"{round(centre[at].item(), 9) + 0.0:.3g} where {name} is {x[at].item():.3g}"
    times = "" if abs(slope - 1) < 1e-7 else "-" if abs(slope + 1) < 1e-7 else f"{slope:.6g} "
    return f"{times}{name}" + (f" {'+' if more > 0 else '-'} {abs(more):.6g}" if abs(more) > 1e-7 else "")


def elsewhere(elements: Elements, match: Match, domain: str) -> tuple[bool, str, str]:
    """Whether a loss is what was recognised at whole numbers, 0 and 1 among them, and at the data's own values.

    Else, in words, within which targets it is that family. Of whole data each has a mass of its own: another function there is
    another likelihood. Where it is another at values that the data have, which those are, in words.
    """
    each, problem, name = match.candidate, elements.problem, elements.target
    if each is None or match.off > CLOSE or link_of(match.link) is None or not name:
        return True, "", ""
    support, own = each.kind().support, problem.data
    x = torch.tensor(WHOLE, dtype=torch.float64).repeat(4)
    x = torch.cat([x, *([] if own is None else [own])])
    of_data = torch.arange(len(x)) >= 4 * len(WHOLE)
    inside = support.contains(x) & ((x == x.round()) & (x >= 0) & (x <= 1) if problem.layout.binary else x == x)
    x, of_data = x[inside], of_data[inside]
    low, high = {"unit": (0.05, 0.95), "positive": (0.1, 6.0)}.get(domain, (-3.0, 3.0))
    raw = uniform(len(x), low, high, 35) + (x if domain == "real" and support == REAL else 0.0)
    measured = elements.field(x, raw) if len(x) else None
    field_there = None if measured is None else field_of(each, match.numbers, x, raw, match.link)
    if measured is None or field_there is None:
        return True, "", ""
    off = (measured - match.weight * field_there).abs() > CLOSE * measured.abs().max()
    odd = x[off].unique()
    if not len(odd) or support.whole:
        return not len(odd), "", ""
    if bool((there := off & of_data & (measured != 0)).any()):  # where nothing pulls, they are left out
        values = ", ".join(f"{value:.6g}" for value in x[there].unique()[:4].tolist())
        return False, "", f"at {name} = {values}, which the data have, it is another function than {match.family}"
    fine = x[~torch.isin(x, odd)]
    if len(fine) and bool((fine < odd.min()).all()):
        return True, f"{name} up to {fine.max().item():.6g}", ""
    return True, f"{name} other than {', '.join(f'{value:.6g}' for value in odd[:4].tolist())}", ""


def limits(elements: Elements, match: Match) -> str:
    """Return in words within what a loss of real numbers is the one that was recognised; empty where as far as was tried."""
    each = match.candidate
    if each is None or match.off > MATCH or elements.problem.layout.binary or each.kind().support.low != -math.inf:
        return ""
    x, residual = uniform(FEW, 0.02, 0.98, 33), uniform(FEW, -1, 1, 34)
    residual[0], residual[-1] = -1.0, 1.0
    points = [(side * x, side * x + size * residual) for side, size in ((-1, INSIDE), *((1, size) for size in WIDE))]
    strays = [off(match, *spots, field) for spots, field in zip(points, elements.fields(points), strict=True)]
    if (strays[0] or 0) > CLOSE:
        return f"{elements.target or 'x'} from 0 up"
    for inside, worst in zip((INSIDE, *WIDE), strays[1:], strict=False):
        if worst is None:
            return ""
        if worst > CLOSE:
            return f"residuals up to {inside:g}"
    return ""


def off(match: Match, x: Tensor, raw: Tensor, measured: Tensor | None) -> float | None:
    """Return by how much a field is off what was recognised, relative to the larger of both; None where there is none."""
    own = None if match.candidate is None else field_of(match.candidate, match.numbers, x, raw, match.link)
    if measured is None or own is None or not (size := max(float(each.abs().max()) for each in (measured, match.weight * own))):
        return None
    return float((measured - match.weight * own).abs().max() / size)


def is_location(elements: Elements) -> bool:
    """Whether only the residual counts: moving both sides together moves no gradient."""
    x, raw = uniform(FEW, 0.2, 0.6, 31), uniform(FEW, 0.2, 0.6, 32)
    one, two = elements.fields([(x, raw), (x + 0.25, raw + 0.25)])
    return one is not None and two is not None and bool((one - two).abs().max() <= 1e-9 * one.abs().max())


def curvature(at: Fields) -> float | None:
    """Return d2L/dx2 where the residual vanishes, of a gradient at sets of points; None where it has none."""
    x, steps = torch.full((FEW,), 0.5, dtype=torch.float64), (1e-4, 1e-5)
    fields = at([(x, x + side * h) for h in steps for side in (1, -1)])
    slopes = [each.median().item() for each in fields if each is not None]
    if len(slopes) < len(fields):
        return None
    coarse, fine = ((above - below) / (2 * h) for above, below, h in zip(slopes[::2], slopes[1::2], steps, strict=True))
    return (100 * fine - coarse) / 99 if fine and abs(fine - coarse) < 1e-3 * max(abs(coarse), abs(fine)) else None


def bend(match: Match) -> float | None:
    """Return d2L/dx2 of a recognised loss where the residual vanishes: its own times its weight; None where it has none."""
    each = match.candidate
    if each is None or each.kind().support.low != -math.inf:
        return None
    own = curvature(lambda sets: [field_of(each, match.numbers, *points) for points in sets])
    return None if own is None else match.weight * own


def sign_of(problem: Problem, base: Values, pair: Pair) -> int:
    """Return +1 where the loss grows as a reconstruction leaves its target, -1 where it falls, 0 where neither or not known.

    It falls or grows to both sides: of one that is pulled to another target it falls on one and grows on the other.
    """
    recon, x = pair[0], None if problem.layout.classes else data_of(base, pair)
    x = torch.full_like(base[recon.key], 0.5) if x is None else x
    inward = (0.5 - x).sign()
    changes = []
    for near, far in ((0.05, 0.2), (-0.05, -0.15)):
        moved = [value_at(problem, {**base, recon.key: x + by * inward}) for by in (near, far)]
        changes.append(moved[1] - moved[0])
    first, other = (0 if not math.isfinite(by) or by == 0 else int(math.copysign(1, by)) for by in changes)
    return first if other in (first, 0) else 0


def classes(problem: Problem, pair: Pair, base: Values, latents: list[str]) -> ReconstructionTerm:
    """Measure a prediction of classes against labels: the field of the categorical, of logits or of log-probabilities."""
    recon, target = pair
    worst = additivity(problem, base, recon.key, latents)
    raw = uniform(base[recon.key].shape, -2, 2, 41)
    labels = base[target.key]  # type: ignore[union-attr]
    hot = labels if labels.ndim == 3 else torch.nn.functional.one_hot(labels, raw.shape[-1]).double()
    match, share, aim = None, 1.0, ""
    for kind, value in (("logits", raw), ("log-probabilities", raw.log_softmax(-1)), ("probabilities", raw.softmax(-1))):
        if "shares" in problem.layout.classes and kind != "probabilities":
            continue
        grad = gradients(problem, {**base, recon.key: value}, [recon.key])[1][recon.key]
        if not bool(grad.isfinite().all()) or not bool(grad.abs().max() > 0):
            continue
        if kind == "log-probabilities":
            weight = (grad * hot).sum() / hot.sum()
            if (grad - weight * hot).abs().max() < MATCH * grad.abs().max():
                match = Match("categorical", -weight.item(), 0.0, None, (), kind)
                break
            continue
        alive = (grad != 0).any(-1)  # the others are padding
        share = alive.double().mean().item()
        match = recognise_events(hot[alive], value[alive], grad[alive], ("", *SQUASHING) if kind == "logits" else ("",))
        if kind == "probabilities" and match is not None and match.candidate is not None and match.candidate.link == "softmax":
            match = None  # it was none of logits; and small shares taken for logits are all but equal ones
        if match is None and kind == "logits" and labels.ndim == 3:
            match, aim = of_softmaxes(problem, base, pair, raw, grad)
        if match is not None:
            break
    sign, additive = 0 if match is None else match.sign, worst < 1e-7
    count = "" if additive or match is not None else bound(problem, pair)  # of several samples, each as long as the data
    return ReconstructionTerm(
        match, additive=additive, worst=worst, counted=share, domain="classes", sign=sign, bound=count, aim=aim
    )


def of_softmaxes(problem: Problem, base: Values, pair: Pair, raw: Tensor, measured: Tensor) -> tuple[Match | None, str]:
    """Return the categorical of soft labels where a target too is logits, and these: the pull is softmax(raw) less theirs.

    Each may be divided by a temperature, one for both as a rule.
    """
    keys = recon, target = [slot.key for slot in pair if slot is not None]
    others = (uniform(raw.shape, -2, 2, 42), uniform(raw.shape, -1.5, 1.5, 43))
    grads = gradients(problem, {**base, **dict(zip(keys, others, strict=True))}, [recon])[1][recon]
    kind = next((each for each in candidates(1) if each.family == "categorical" and each.link == "softmax"), None)
    sides = zip((raw, base[target]), others, strict=True)
    students, teachers = ({T: torch.stack([(each / T).softmax(-1) for each in side]) for T in TEMPERATURES} for side in sides)
    for T, U in sorted(itertools.product(TEMPERATURES, TEMPERATURES), key=lambda pair: pair[0] != pair[1]):
        weight, off = ratio(students[T] - teachers[U], torch.stack([measured, grads]))
        if off < MATCH:
            link, labels = scaled_name(1 / T, "r", 0.0) if T != 1 else "", f"{target} / {U:g}" if U != 1 else target
            return Match("categorical", weight * T, off, kind, link=link), f"softmax({labels}), whose entropy is b(x)"
    return None, ""


def recognise_events(x: Tensor, raw: Tensor, measured: Tensor, links: Sequence[str] = ("",)) -> Match | None:
    """Return what ``recognise`` does, of vectors; of logits also behind what squashes them a second time.

    An eps inside a logarithm tilts the gradient by every class a little of its own size; smoothed labels add as much to each,
    which is far below the largest gradient where there are many classes, and far above what those far off have.
    """
    for link, each in itertools.product(links, candidates(1)):
        if not each.own and (not link or each.link == "softmax"):
            own = field_of(each, (), x, raw, link)
            weight, off = ratio(own, measured)
            if off < (MATCH if link else CLOSE) and own is not None:
                apart = (measured - weight * own).abs().amax(0)
                if bool((apart <= CLOSE * measured.abs().amax(0) + MATCH**2 * measured.abs().max()).all()):
                    return Match(each.family, weight, off, each, link=link)
    return None
