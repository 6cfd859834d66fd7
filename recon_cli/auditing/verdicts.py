"""What the measurements amount to: a row for each reconstruction, defects with their evidence, a verdict."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from recon_cli import likelihoods
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import Match
from recon_cli.auditing.latents import PRIOR, Latent
from recon_cli.auditing.matching import labelled, latent_keys, pairs, strengths
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import benign, gradients, uniform, value_at
from recon_cli.auditing.roles import BoundNumber, Pair, content_of
from recon_cli.identity.regions import Interval

CODES = (
    "recon-mean", "kl-mean-latents", "kl-sum-batch", "half-missing", "batch-dependent", "bce-on-nonbinary",
    "latent-scale-misread", "kl-not-kl", "kl-sign", "recon-sign", "value-gradient-mismatch", "not-additive", "stateful",
    "stochastic", "overflow", "hard-coded-shape", "broadcast", "target-unused", "no-density", "gap",
)  # fmt: skip
BROKEN = {"kl-not-kl", "kl-sign", "recon-sign", "value-gradient-mismatch"}
SPOILING = {"overflow", "broadcast"}
LEAST = 1e-300  # a weight below which numbers lose their digits


@dataclass(frozen=True)
class Finding:
    """A defect: its code, the numbers that disagree, the line that mends it, and whether it alone makes the loss wrong.

    left
        what a term that does not compare with its target is a function of, as a formula.
    other
        what it compares with instead, where that is of the target.
    """

    code: str
    evidence: str
    fix: str
    broken: bool = False
    about: str = ""
    left: str = ""
    other: str = ""


@dataclass(frozen=True)
class Row:
    """One reconstruction term of the objective, as in the JSON contract; and by which argument it comes.

    own_scale, constant
        the noise that the loss itself carries, and whether it has all of the normaliser or only log of that noise.
    chosen
        in words, the noise that each batch chooses.
    link
        what stands between the prediction and the mean, or on what the family hangs.
    """

    family: str | None
    tradeoff: float | None
    tradeoff_batch: float | None
    tradeoff_dim: float | None
    tradeoff_latent: float | None
    sigma: float | None
    beta: float | None
    latent_scale: str | None
    direction: str
    verdict: str
    defects: tuple[str, ...]
    term: str
    parameters: dict[str, float]
    weight: float | None
    kl_weight: float | None
    own_scale: float | None = None
    constant: bool = False
    chosen: str = ""
    link: str = ""


@dataclass(frozen=True)
class Scaling:
    """Exponents in B, D and K: of the trade-off, of the reconstruction's weight and of the KL's; None where not measured.

    axes says which axis of a sample moves it, where they differ.
    """

    batch: tuple[float | None, float | None, float | None]
    dim: tuple[float | None, float | None, float | None]
    latent: tuple[float | None, float | None, float | None]
    axes: str = ""
    literal: Any = None
    length: int | None = None


@dataclass(frozen=True)
class Reading:
    """The two readings of one trade-off, and the likelihood at beta = 1."""

    family: str | None
    tradeoff: float | None
    sigma: float | None
    beta: float | None
    free: bool
    exact: bool


def power(new: float, old: float, by: float) -> float | None:
    """Return d log value / d log size, whole where it is to six digits."""
    if not (0 < new < math.inf and 0 < old < math.inf):
        return None
    exponent = (math.log(new) - math.log(old)) / math.log(by)
    return float(round(exponent)) if abs(exponent - round(exponent)) < 1e-6 else exponent


def exponents(base: tuple[list[float], float], other: Problem, by: float, index: int) -> Any:
    """Return the exponents of one size from two values of it; None where the function refuses the other."""
    try:
        recons, pull = strengths(other)
    except Exception:
        return None
    rec, kl = power(recons[index], base[0][index], by), power(pull, base[1], by)
    if rec is None:
        return None
    return (None if kl is None else kl - rec, rec, kl)


def scaling(problem: Problem, index: int) -> Scaling:
    """Return exponents from two sizes each of B, D (every axis of a sample apart) and K."""
    sizes, base = problem.sizes, strengths(problem)
    none = (None, None, None)
    batch = exponents(base, problem.at(sizes=replace(sizes, batch=2 * sizes.batch)), 2, index) or none
    latent = none
    if base[1] == base[1]:
        wider = (2 * sizes.latent[0], *sizes.latent[1:])
        follow = following(problem, {sizes.K: 2 * sizes.K, sizes.latent[0]: wider[0]}, r"lat|z|embed|hidden|code|n_?k$|^k$")
        latent = exponents(base, problem.at(sizes=replace(sizes, latent=wider), follow=follow), 2, index) or none
    dims, literal, growths = [], None, []
    for axis in axes(problem):
        powers, reshaped = stretched(problem, base, axis, index)
        literal = literal or reshaped
        if powers:
            dims.append((abs(powers[0] or 0), problem.sizes.shape[axis], powers))
            growths.append((axis, powers[0]))
    _, length, dim = max(dims, key=lambda d: d[0]) if dims else (0, None, none)
    differ = len({round(by, 6) for _, by in growths if by is not None}) > 1
    words = ", ".join(f"axis {axis + 1}: {by:g}" for axis, by in growths) if differ else ""
    return Scaling(batch, dim, latent, words, literal, length if differ else None)


def axes(problem: Problem) -> list[int]:
    """Return the axes of a sample to stretch: of an image one of its own, of a table both, of classes theirs and another."""
    shape = problem.sizes.shape
    if problem.layout.classes:
        classed = 0 if problem.layout.classes.startswith("first") else len(shape) - 1
        return [*[axis for axis in range(len(shape)) if axis != classed][-1:], *[classed] * labelled(problem)]
    return [len(shape) - 1] if len(shape) != 2 else [0, 1]


def stretched(problem: Problem, base: tuple[list[float], float], axis: int, index: int) -> tuple[Any, Any]:
    """Return the exponents along one axis, and the literal size that is in the way, if any: it is stretched as well."""
    sizes = problem.sizes
    shape = sizes.shape
    tried = [2.0] if sizes.D < 50_000 else [0.5, 2.0]
    for by in tried:
        if shape[axis] * by != int(shape[axis] * by):
            continue
        longer = tuple(int(n * by) if i == axis else n for i, n in enumerate(shape))
        now = replace(sizes, shape=longer)
        literals = {sizes.D: now.D, shape: longer}
        shapes = {key: (*named[:-1], int(named[-1] * by)) for key, named in problem.shapes.items()}
        follow = following(
            problem, {sizes.D: now.D, shape[axis]: longer[axis]}, r"in|dim|size|data|pix|feat|n[a-z]+|length|horizon|chunk|quer"
        )
        other = problem.at(sizes=now, shapes=shapes, follow=follow)
        powers = exponents(base, other, by, index)
        if powers:
            other(benign(other))
            return powers, None
        mended = other.at(literals=literals)
        powers = exponents(base, mended, by, index)
        if powers:
            mended.raw(benign(mended))
            return powers, next(iter(mended.watch.literals), None)
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


def reading(rec: ReconstructionTerm, b: float | None) -> Reading:
    """Return what a weight on the KL says beside what was measured of the reconstruction."""
    match = rec.match
    if match is None:
        weight = rec.curvature and b and abs(b / rec.curvature)
        return Reading(None, weight or None, None, None, False, rec.location)
    if b is None:
        return Reading(match.family, None, None, None, False, True)
    a = abs(match.weight)
    if match.parts:
        return mixed(match, b)
    likelihood, family = likelihood_of(match, a / b)
    kind = match.candidate.kind if match.candidate else None
    noise = {} if kind is None else kind().noise
    if not noise:  # scale-free: beta is b over the loss's own slope
        return Reading(family, b / a, None, b / a, True, abs(b / a - 1) < 1e-6)
    if likelihood is None:  # a loss of a width of its own, at a weight that no noise of it has
        tradeoff = b / abs(rec.curvature) if rec.curvature else b / a
        return Reading(family, tradeoff, math.sqrt(tradeoff) if rec.curvature else None, b / a * slope_of(match), True, False)
    scale = likelihood.noise.get("sigma", likelihood.noise.get("scale"))
    if "sigma" in likelihood.noise:
        return Reading(family, likelihood.sigma**2, likelihood.sigma, likelihood.sigma**2, False, True)
    tradeoff = b / abs(rec.curvature) if rec.curvature and not match.link else b / a
    return Reading(family, tradeoff, math.sqrt(tradeoff) if rec.curvature else scale, tradeoff, False, True)


def mixed(match: Match, b: float) -> Reading:
    """Return the reading of the part of a mixture that leads, the squared error where there is one."""
    tradeoff = b / (2 * abs(match.weight)) if "gaussian" in dict(match.parts) else b / abs(match.weight)
    free = not {name for name, _ in match.parts} <= {"gaussian", "laplace"}
    return Reading(match.family, tradeoff, None if free else math.sqrt(tradeoff), tradeoff, False, not free)


def slope_of(match: Match) -> float:
    """Return the slope that a loss has as its likelihood's own."""
    try:
        return float(match.candidate.kind().slope)  # type: ignore[union-attr]
    except Exception:
        return 1.0


def likelihood_of(match: Match, weight: float) -> tuple[Any, str]:
    """Return the likelihood in the registry whose loss has this weight, and its name: of log-cosh, at 1 one and at 2 another."""
    candidate = match.candidate
    if candidate is None:
        return None, match.family
    own = match.own
    kinds = [likelihoods.find(name) for name in likelihoods.names()]
    for kind in [
        candidate.kind,
        *(k for k in kinds if k is not candidate.kind and not k.head and type(k().loss) is candidate.loss),
    ]:
        for near in (weight, float(round(weight)) if abs(weight - round(weight)) < 1e-6 else weight):
            try:
                return kind.with_slope(near, candidate.loss(**own) if own else None), kind.name
            except Exception:
                continue
    return None, candidate.family


def own_scale(problem: Problem, rec: ReconstructionTerm, pair: Pair) -> tuple[float, float, bool] | None:
    """Return the noise that a loss carries, its weight, and whether the value at a residual of zero is all of the normaliser.

    Tried for the natural weights 1, 1/B, 1/D and 1/(BD); None where none of them fits.
    """
    recon, target = pair
    if rec.match is None or rec.match.family not in ("gaussian", "laplace") or rec.match.link or target is None:
        return None
    values = benign(problem)
    if values[target.key].shape != values[recon.key].shape:
        return None
    values[recon.key] = values[target.key]
    for key in latent_keys(problem):
        meaning = next((slot.meaning for slot in problem.plan.slots() if slot.key == key), None)
        values[key] = torch.full_like(values[key], PRIOR[meaning] if meaning else 0.0)
    constant = value_at(problem, values)
    B, D = values[recon.key].shape
    if not math.isfinite(constant) or abs(constant) < 1e-12:
        return None
    gaussian, sign = rec.match.family == "gaussian", math.copysign(1, rec.match.weight)
    for a in (1.0, 1 / B, 1 / D, 1 / (B * D)):
        w = abs(rec.match.weight)
        s = math.sqrt(a / (2 * w)) if gaussian else a / w
        full = math.log(s) + (math.log(2 * math.pi) / 2 if gaussian else math.log(2))
        for each in (full, math.log(s)):
            expected = a * each * B * D
            if abs(expected) > 1e-9 and abs(sign * constant - expected) < 1e-7 * abs(expected):
                return s, a, each == full
    return None


def knobs(problem: Problem) -> list[float]:
    """Return numbers that the function is given: defaults, bound names, attributes of self."""
    code = problem.reached.code
    values = [
        *getattr(getattr(code, "__code__", None), "co_consts", ()),
        *(getattr(code, "__defaults__", None) or ()),
        *(getattr(code, "__kwdefaults__", None) or {}).values(),
        *problem.reached.names.values(),
    ]
    values += [*problem.plan.keywords.values(), *problem.plan.arguments]
    owner = problem.reached.owner
    values += [*vars(owner).values()] if owner is not None and hasattr(owner, "__dict__") else []
    values += [*owner.parameters()] if isinstance(owner, torch.nn.Module) else []
    values += [content_of(cell) for cell in getattr(code, "__closure__", None) or ()]
    for inner in [v for v in values if hasattr(v, "__closure__")]:
        values += [content_of(cell) for cell in inner.__closure__ or ()]
    values = [v.value if isinstance(v, BoundNumber) else v for v in values]
    plain = [v.item() if isinstance(v, torch.Tensor) and v.numel() == 1 else v for v in values]
    return [float(v) for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]


def stated(scale: float, numbers: Sequence[float]) -> bool:
    """Whether a scale is one of the numbers that the function was given, as it is or as a logarithm or square of it."""
    forms = [scale, math.log(scale), 2 * math.log(scale), scale * scale, 1 / scale]
    return any(
        abs(form - number) <= 1e-9 * max(1.0, abs(number)) for form in forms for number in numbers if number != 0 or scale == 1
    )


def mismatch(problem: Problem) -> list[tuple[str, float, float]]:
    """Return arguments whose gradient is not the slope of the value: (argument, slope by differences, by autograd)."""
    values = benign(problem, 9)
    for recon, target in pairs(problem.plan):  # no residual near zero, where an absolute value bends
        if target is not None and values[target.key].shape == values[recon.key].shape and values[recon.key].ndim == 2:
            side = (values[recon.key] - values[target.key]).sign()
            values[recon.key] = values[target.key] + side * uniform(side.shape, 0.05, 0.15, 72)
    passed = {slot.key for slot in problem.plan.role("kl")} | {slot.key for slot in problem.plan.role("z")}
    wanted = [s.key for s in problem.plan.slots() if s.role in ("recon", "decoder", "spread")] + latent_keys(problem)
    differences = []
    for key in (k for k in wanted if k not in passed and values[k].is_floating_point()):
        step = uniform(values[key].shape, -1, 1, 71)
        h = 1e-5
        up, down = (value_at(problem, {**values, key: values[key] + by * step}) for by in (h, -h))
        _, grads = gradients(problem, values, [key])
        measured, claimed = (up - down) / (2 * h), (grads[key] * step).sum().item()
        noise = 1e-15 * max(abs(up), abs(down)) / h * 20
        size = (grads[key] * step).abs().sum().item()
        if math.isfinite(measured) and abs(measured - claimed) > 1e-5 * max(abs(measured), abs(claimed), 1e-3 * size) + noise:
            differences.append((key, measured, claimed))
    return differences


def repeated(problem: Problem) -> tuple[bool, bool, tuple[float, float]]:
    """Whether a second call on the same object, and a call at another seed, give another number; and the two numbers."""
    values = benign(problem, 9)
    once = value_at(problem, values)
    again = value_at(problem, values, again=True) if problem.reached.bound else once
    other = value_at(problem, values, seeded=1)
    differ = [math.isfinite(once - new) and not math.isclose(once, new, rel_tol=1e-12) for new in (again, other)]
    return differ[0] and not differ[1], differ[1], (once, again if differ[0] and not differ[1] else other)


def overflow(problem: Problem, rec: ReconstructionTerm, pair: Pair) -> str:
    """Return where a loss is infinite or NaN in float32, at residuals up to 10, logits up to 100, probabilities of 0 and 1."""
    recon, target = pair
    if target is None or problem.layout.classes:
        return ""
    narrow = problem.at(dtype=torch.float32)
    values = benign(narrow)
    shape = values[recon.key].shape
    logits = bool(rec.match and rec.match.candidate and rec.match.candidate.link == "logit")
    if rec.domain == "unit":
        domain = rec.match.candidate.kind().domain if rec.match and rec.match.candidate else None
        ends = not isinstance(domain, Interval) or domain.closed
        spots = [(0.0, 0.0), (1.0, 1.0)] if ends else []  # where the exact loss is zero
    elif rec.domain == "positive" or (rec.match and rec.match.family not in FAR) or rec.match is None:
        spots = [(1.0, 1.0 + e) for e in (-100.0, -30.0, 30.0, 100.0)] if logits else []
    else:
        sizes = (0.25, 0.5, 1.0, 2.0, 5.0, 10.0)
        spots = [(0.0, side * e) for e in sizes for side in (1.0, -1.0)]
    if not values[target.key].is_floating_point() or values[target.key].shape != shape:
        return ""
    for x, r in spots:
        point = {**values, target.key: torch.full(shape, x), recon.key: torch.full(shape, r)}
        try:
            loss, grads = gradients(narrow, {k: v.float() if v.is_floating_point() else v for k, v in point.items()}, [recon.key])
        except Exception:
            return ""
        if not math.isfinite(loss):
            return f"in float32 the loss is {loss} at a reconstruction of {r:g} and a target of {x:g}"
        if not bool(grads[recon.key].isfinite().all()):
            return f"in float32 its gradient is not finite at a reconstruction of {r:g} and a target of {x:g}"
    return ""


FAR = (
    "gaussian",
    "laplace",
    "huber",
    "hyperbolic-secant",
    "logistic",
    "student-t",
    "asymmetric-laplace",
    "generalized-gaussian",
    "elastic-net",
    "bernoulli",
)


def broadcasts(problem: Problem) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the shapes of a reconstruction and a latent term that are added although they differ; None if there are none."""
    values = benign(problem)
    fixed = {slot.key for slot in problem.plan.role("target")}
    wanting = {key: value.is_floating_point() and key not in fixed for key, value in values.items()}
    problem.raw({key: value.clone().requires_grad_(wanting[key]) for key, value in values.items()})
    return problem.watch.broadcasts[0] if problem.watch.broadcasts else None


def recognised(rec: ReconstructionTerm) -> bool:
    """Whether a reconstruction is a likelihood: one of the registry, two added that only move with the mean, or one of no name.

    Two others added, and what is of no name, are one where their integral does not depend on the mean.
    """
    if rec.normal is not None:
        return rec.normal.kind == "real"
    return rec.match is not None and abs(rec.match.weight) > LEAST and (not rec.match.parts or rec.location)


def verdict_of(rec: ReconstructionTerm, reading: Reading, scale: Scaling, latent: Latent | None, codes: Sequence[Finding]) -> str:
    """Return the verdict of one row, the gravest first: a pass is for what was recognised alone."""
    defects = {finding.code for finding in codes}
    if "not-additive" in defects:
        return "not-factorised"
    if defects & BROKEN or any(finding.broken for finding in codes):
        return "defective"
    spoiled = bool(defects & SPOILING)
    if not recognised(rec):
        return "defective" if "broadcast" in defects else "unrecognised"
    if latent is None:
        return "defective" if spoiled else "reconstruction-only"
    if any(abs(part[0] or 0) > 1e-6 for part in (scale.batch, scale.dim, scale.latent)):
        return "shape-dependent"
    if spoiled:
        return "defective"
    exact = reading.exact if rec.normal is None else rec.normal.beta is None or abs(rec.normal.beta - 1) < 1e-6
    return "elbo" if exact and not latent.forms else "beta-elbo"
