"""What is measured of a loss beside its fields: repeated calls, values against gradients, float32, its noise, its lines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from types import FunctionType
from typing import TypeAlias

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.limiting import OURS
from recon_cli.auditing.matching import latent_keys, pairs
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import Elements, benign, data_of, gradients, uniform, value_at
from recon_cli.auditing.reach.asking import content_of
from recon_cli.auditing.reach.recording import TORCH, Operation, Recorder, operations, shortened
from recon_cli.auditing.reach.roles import BoundNumber, Pair
from recon_cli.auditing.restoring import folder
from recon_cli.identity.regions import Interval

Shapes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
REDUCING = frozenset({
    "mean", "sum", "mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "nll_loss_forward", "nll_loss2d_forward",
})  # fmt: skip


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
    values += [*torch.nn.Module.parameters(owner)] if isinstance(owner, torch.nn.Module) else []
    values += [content_of(cell) for cell in getattr(code, "__closure__", None) or ()]
    for inner in [v for v in values if type(v) is FunctionType]:
        values += [content_of(cell) for cell in inner.__closure__ or ()]
    values = [v.value if isinstance(v, BoundNumber) else v for v in values]
    plain = [v.item() if issubclass(type(v), torch.Tensor) and v.numel() == 1 else v for v in values]
    return [float(v) for v in plain if isinstance(v, (int, float)) and not isinstance(v, bool)]


def mismatch(problem: Problem) -> list[tuple[str, float, float]]:
    """Return arguments whose gradient is not the slope of the value: (argument, slope by differences, by autograd).

    All of them are moved at once first, each its own way, from where the gradients are known; one by one where that tells.
    """
    passed = {slot.key for slot in problem.plan.slots() if slot.role in ("kl", "density", "z")}
    wanted = [s.key for s in problem.plan.slots() if s.role in ("recon", "decoder", "spread")] + latent_keys(problem)
    values = benign(problem)
    keys = [key for key in wanted if key not in passed and values[key].is_floating_point()]
    grads = gradients(problem, values, keys)[1] if keys else {}
    steps = {key: step_of(values[key], 73 + i) for i, key in enumerate(keys)}
    sizes = [size for key, step in steps.items() if (size := float((grads[key] * step).abs().sum())) > 0]
    if sizes and apart(problem, values, steps, 1e-3 * min(sizes)) is None:
        return []
    values = benign(problem, 9)
    for recon, target in pairs(problem.plan):  # no residual near zero, where an absolute value bends
        if (x := data_of(values, (recon, target))) is not None and x.ndim == 2:
            side = (values[recon.key] - x).sign()
            values[recon.key] = x + side * uniform(side.shape, 0.05, 0.15, 72)
    each = ((key, apart(problem, values, {key: step_of(values[key], 71)})) for key in keys)
    return [(key, *slopes) for key, slopes in each if slopes is not None]


def step_of(value: Tensor, number: int) -> Tensor:
    """Return a random step from values, no longer than they are."""
    return uniform(value.shape, -1, 1, number) * value.abs().clamp(max=1)


def apart(problem: Problem, values: Values, steps: Mapping[str, Tensor], least: float = 0.0) -> tuple[float, float] | None:
    """Return the slopes of a loss along some steps, by differences and by autograd, where they differ, for ``least`` by that."""
    loss, grads = gradients(problem, values, [*steps])
    h, products = 1e-5, [grads[key] * step for key, step in steps.items()]
    ends = [{**values, **{key: values[key] + by * step for key, step in steps.items()}} for by in (h, -h)]
    up, down = (value_at(problem, end) for end in ends)
    measured, claimed = (up - down) / (2 * h), sum(float(each.sum()) for each in products)
    count = sum(each.numel() for each in products)
    rounded = torch.finfo(torch.float64).eps * count  # of gradients that are 0, as of a constant by way of its parts
    noise = 1e-15 * max(abs(up), abs(down)) / h * 20 + rounded
    bound = least or max(abs(measured), abs(claimed), 1e-3 * sum(float(each.abs().sum()) for each in products))
    off = abs(measured - claimed)
    if not math.isfinite(measured) or off <= 1e-5 * bound + noise:
        return None if math.isfinite(measured) or not least else (measured, claimed)
    bend = abs(up + down - 2 * loss) / h  # an absolute value that turned within the step
    return (measured, claimed) if bend < off or least else None


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
    if data_of(values, pair) is None:
        return ""
    narrowed = {key: value.float() if value.is_floating_point() else value for key, value in values.items()}
    elements = Elements(narrow, narrowed, recon.key, target.key)

    def fault(points: list[tuple[float, float]]) -> str:
        """Return what is not finite with these points laid over the elements; empty where all is."""
        x, r = torch.tensor(points[: shape.numel()], dtype=torch.float32).T
        finite, grads = elements.laid({recon.key: r, target.key: x}, [recon.key])
        return "its gradient is" if finite and not bool(grads[recon.key].isfinite().all()) else "" if finite else "the loss is"

    try:
        for x, r in spots if spots and fault(spots) else ():
            if what := fault([(x, r)]):
                value = {
                    **narrowed,
                    target.key: torch.full_like(narrowed[target.key], x),
                    recon.key: torch.full(shape, r).float(),
                }
                how = "not finite" if what[:3] == "its" else f"{value_at(narrow, value)}"
                return f"in float32 {what} {how} at a reconstruction of {r:g} and a target of {x:g}"
    except Exception:  # the function does not take float32, or values like these
        return ""
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


def favour(problem: Problem) -> str:
    """Return in words that a sample further off gets more weight for it, as from importance weights of the wrong sign."""
    (recon, target), values = pairs(problem.plan)[0], benign(problem)
    x = data_of(values, (recon, target))
    if x is None or x.ndim != 2:
        return ""
    shares = []
    for away in (0.02, 0.022):
        residual = torch.full_like(x, 0.02)
        residual[0] = away
        _, grads = gradients(problem, {**values, recon.key: x + residual}, [recon.key])
        weights = (grads[recon.key] / residual).mean(dim=1)
        shares.append((weights[0] / weights[1]).item())
    more = shares[1] / shares[0] if shares[0] else 0.0
    words = f"; a sample a tenth further off gets {more:.3g} times the weight: look at the sign of its importance"
    return words if more > 1.001 else ""


def followed(problem: Problem, files: Mapping[str, str]) -> tuple[tuple[Operation, ...], Shapes | None]:
    """Return the operations of one call in their order, none where it is refused; and shapes that are added although they differ.

    These are of a reconstruction and a latent term; None where there are none.
    """
    fixed = {slot.key for slot in problem.plan.role("target")}
    values = benign(problem).items()
    leaves = {key: value.clone().requires_grad_(value.is_floating_point() and key not in fixed) for key, value in values}
    recorder = Recorder(files)
    names = {recorder.number(leaf): key for key, leaf in leaves.items()}
    recorder.tape.parameters |= names.keys()
    try:
        with recorder:
            problem(leaves)
    except Exception:  # of the user's code: without lines the audit says the same
        recorder.forget()
    steps = (step for step in operations(recorder.tape.operations, names) if step.reads and step.site)
    return tuple(steps), next(iter(problem.watch.broadcasts), None)


def defined_at(code: object, files: Mapping[str, str]) -> str:
    """Return FILE:LINE of a function; empty where it has no source file."""
    plain = getattr(code, "__code__", None)
    file = "" if plain is None else plain.co_filename
    if plain is None or file.startswith((OURS, TORCH)) or file not in files and not Path(file).exists():
        return ""
    return f"{files.get(file) or shortened(file, folder())}:{plain.co_firstlineno}"
