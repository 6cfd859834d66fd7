"""What a function answers: which number of what it returns is its loss; what it said to every way of calling, and a way out."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy
import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.limiting import Lacking, from_outside, worded
from recon_cli.auditing.reach.extracting import root_of
from recon_cli.auditing.reach.roles import is_setting, needed
from recon_cli.auditing.reach.totals import total_in_file
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell

TOTALS = (
    "loss",
    "total_loss",
    "total",
    "loss_total",
    "objective",
    "overall_loss",
    "full_loss",
    "train_loss",
    "neg_elbo",
    "nelbo",
    "elbo",
)
Pick: TypeAlias = Callable[[object], object]  # from what a function returns to its loss


def parts_of(result: object) -> dict[str, Any] | None:
    """Return what came back by how to write it (``r[0]``, ``r['loss']``, ``r.loss``), or None for a tensor."""
    if isinstance(result, Tensor):
        return None
    if isinstance(result, Mapping):
        return {f"r[{key!r}]": value for key, value in result.items()}
    if isinstance(result, tuple) and (fields := getattr(result, "_fields", None)) is not None:
        return {f"r.{key}": getattr(result, key) for key in fields}
    if isinstance(result, (tuple, list)):
        return {f"r[{i}]": value for i, value in enumerate(result)}
    if hasattr(result, "__dict__") and vars(result):
        return {f"r.{key}": value for key, value in vars(result).items()}
    return {"r": result}


def picker(problem: Problem, result: Any, values: list[dict[str, Tensor]]) -> tuple[Pick, str]:
    """Return how to take the loss out of what the function returned for the first of ``values``, and how that was decided."""
    spelled = problem.reached.spelled
    if problem.total:
        return evaluating(problem.total), f"--total {problem.total}"
    if result is None:
        raise ReconError(f"{spelled} returns nothing.", "Return the loss, or write a wrapper that does.")
    parts = parts_of(result)
    if parts is not None:
        return part_picker(problem, values, result, parts)
    if result.ndim and result.numel() > 1:
        return (lambda result: result), f"the sum of the {spell(tuple(result.shape))} that is returned"
    return (lambda result: result), "what is returned"


def evaluating(code: str) -> Pick:
    """Return how to take the loss out by an expression of the user's (``--total``). Its faults become a ReconError."""

    def evaluate(result: object) -> object:
        names = {"r": result, "torch": torch, "math": math}
        if isinstance(result, Mapping):
            names |= {key: value for key, value in result.items() if str(key).isidentifier()}
        try:
            return eval(code, names)
        except BaseException as error:
            if from_outside(error):
                raise
            parts = ", ".join(parts_of(result) or {"r": result})
            raise ReconError(f"--total {code!r} fails: {worded(error)}.", f"There are {parts}.") from error

    return evaluate


def part_picker(problem: Problem, values: list[dict[str, Tensor]], result: object, parts: dict[str, object]) -> tuple[Pick, str]:
    """Return how to take the loss out of the parts of a result: by its name, or as the sum of the others; and how."""
    spelled = problem.reached.spelled
    floats = {key: part for key, part in parts.items() if isinstance(part, (Tensor, int, float)) and not isinstance(part, bool)}
    tensors = {key: part for key, part in floats.items() if isinstance(part, Tensor) and part.requires_grad}
    if not floats:
        kind = type(result).__name__
        raise ReconError(f"{spelled} returns a {kind} in which no number is.", "Return the loss, or choose it with --total.")
    for name in TOTALS:
        for key in floats:
            if re.fullmatch(rf"r(\[['\"]|\.){name}(['\"]\])?", key, re.I):
                return taking(key), f"{key}, by its name"
    if not tensors:
        kinds = " and ".join(sorted({type(part).__name__ for part in floats.values()}))
        raise ReconError(
            f"What {spelled} returns ({kinds}) has no gradient.", "Return tensors (no .item(), no float(), no detach())."
        )
    if len(tensors) == 1 and len(floats) == 1:
        (key,) = tensors
        return taking(key), f"{key}, the only number returned"
    others = [{**v, **of_other_terms(problem, v, i)} for i, v in enumerate(values[1:], 1)]
    every = [parts, *(parts_of(problem.raw(v)) or {} for v in others)]
    results = [{key: float(torch.as_tensor(part).sum()) for key, part in each.items() if key in floats} for each in every]
    both = by_both(problem, values[0], tensors)
    weights = {key: weights_of(results, key, [other for other in floats if other != key]) for key in [*both, *tensors]}
    sums = [key for key in weights if weights[key]]
    if sums:
        key = min(sums, key=lambda key: key not in both and min(weights[key]) < 0)  # rec = total - kl is one as well
        return taking(key), f"{key}, a weighted sum of the other {len(floats) - 1}"
    if len(both) == 1:
        return taking(both[0]), f"{both[0]}, the only part that depends on reconstruction and latents"
    if len(tensors) == 1:
        (key,) = tensors
        return taking(key), f"{key}, the only part with a gradient"
    if (total := total_in_file(problem.reached)) is not None:
        return evaluating(total[0]), f"{total[0]}, as line {total[1]} adds them"
    terms = " + ".join(tensors)
    raise Lacking(
        f"{spelled} returns {len(parts)} parts ({', '.join(parts)}), and none of them is a total of the others.",
        f'Say how they are added where the loss is used: --total "{terms}", say.',
    )


def of_other_terms(problem: Problem, values: Mapping[str, Tensor], number: int) -> dict[str, Tensor]:
    """Return what no probe changes and other terms are made of (a codebook's loss, codes that are compared), for one call."""
    numbers = {s.key: torch.tensor(0.5 + number**2 + i) for i, s in enumerate(problem.plan.role("extra"))}
    codes = {s.key: problem.extra(s, values) for s in problem.plan.role("compared")}
    return numbers | {key: code * (1 + number / (8 + i)) for i, (key, code) in enumerate(codes.items())}


def taking(key: str) -> Pick:
    """Return the part called ``key``."""
    return lambda result: parts_of(result)[key]  # type: ignore[index]


def weights_of(results: list[dict[str, float]], key: str, others: list[str]) -> list[float]:
    """Return with which fixed weights one part is the sum of two or more others, over several calls; none where it is not."""
    rows = numpy.array([[row[other] for other in others] for row in results])
    wanted = numpy.array([row[key] for row in results])
    keep = [i for i in range(rows.shape[1]) if numpy.ptp(rows[:, i]) > 0]
    if len(keep) < 2:
        return []
    weights = numpy.linalg.lstsq(rows[:, keep], wanted, rcond=None)[0]
    near = numpy.abs(rows[:, keep] @ weights - wanted).max() <= 1e-9 * max(1e-300, numpy.abs(wanted).max())
    return [*map(float, weights)] if near and (weights != 0).all() else []


def by_both(problem: Problem, values: Mapping[str, Tensor], tensors: Mapping[str, Tensor]) -> list[str]:
    """Return the parts whose gradient reaches a reconstruction and a latent."""
    fixed = {slot.key for slot in problem.plan.role("target")}
    wanting = {key: value.is_floating_point() and key not in fixed for key, value in values.items()}
    live = {key: value.clone().requires_grad_() if wanting[key] else value for key, value in values.items()}
    parts = parts_of(problem.raw(live)) or {}
    roles = {slot.key: slot.role for slot in problem.plan.slots()}
    keys = []
    for key in tensors:
        names = [name for name, value in live.items() if value.requires_grad]
        grads = torch.autograd.grad(parts[key].sum(), [live[n] for n in names], allow_unused=True, retain_graph=True)
        reached = {roles.get(name, "mu") for name, grad in zip(names, grads, strict=True) if grad is not None}
        if reached & {"recon", "spread", "decoder"} and reached - {"recon", "spread", "decoder", "target"}:
            keys.append(key)
    return keys


def fatal(error: BaseException) -> bool:
    """Whether no other shape would help."""
    return isinstance(error, (NameError, KeyError, AttributeError, ImportError, TypeError)) and not re.search(
        r"unpack|tuple|subscript", str(error)
    )


SIZES = re.compile(
    r"siz|shape|dim|broadcast|channel|length|unpack|bound|range|numel|element|ndarray|batch|width|height|mat[12]|\d-?d\b|\binput\b",
    re.I,
)


def refusal(problem: Problem, refused: list[tuple[str, BaseException]]) -> ReconError:
    """Return the error for a function that takes none of the layouts: what it said, and what to pass."""
    spelled, (shapes, error) = problem.reached.spelled, refused[0]
    words = worded(error)
    said_so = next((e for _, e in refused if isinstance(e, NameError)), None)
    if said_so is not None:
        error = said_so
    if isinstance(error, ImportError):
        return Lacking(f"{spelled} imports when it is called, and cannot: {words}.", "Make that importable here.")
    if isinstance(error, NameError):
        return unnamed(problem, getattr(error, "name", None) or (re.findall(r"'(\w+)'", str(error)) or ["name"])[0])
    if isinstance(error, AttributeError):
        name = (re.findall(r"no (?:attribute )?'(\w+)'", str(error)) or ["name"])[0]
        if settings := [key for key in problem.plan.trace.nodes if is_setting(problem.plan, key, problem.reached.tree)]:
            return needed(settings, problem.plan, problem.reached)
        if problem.reached.bound and type(getattr(error, "obj", None)) is type(problem.reached.owner):
            return Lacking(
                f"{spelled} reads self.{name}, which the stand-in does not have ({words}).", f"Give it: --self {name}=VALUE."
            )
    if isinstance(error, KeyError):
        return Lacking(
            f"{spelled} needs a key that is not among what was passed ({words}).",
            f"Give it: --bind {str(error).strip(chr(39))}=VALUE." if len(str(error)) < 50 else "Give it with --bind.",
        )
    if isinstance(error, Unfit):
        return ReconError(f"{spelled} runs, but {error} ({shapes}).", "Check the roles: --args recon,target,mu,logvar.")
    own = [n for n in re.findall(r"\d+", str(error)) if int(n) > 3 and n not in re.findall(r"\d+", shapes)]
    if own and "must match" in str(error):
        return ReconError(
            f"{spelled} raises {words} (passed: {shapes}).",
            f"The code has a fixed size, {own[0]}: give the shape of one sample that goes with it, --shape {own[0]} or "
            f"--shape 5x{own[0]}, say.",
        )
    classes = " (20x10: of classes each)" * bool(problem.plan.role("probs"))
    return ReconError(
        f"{spelled} raises {words} (passed: {shapes}).",
        f"Say the shape of one sample with --shape, of the latents with --latent{classes}, or the roles with --args."
        if SIZES.search(str(error)) or not str(error).strip()
        else "No shape is named in that, so it is no matter of sizes: give what it meets with --bind, or roles with --args.",
    )


def unnamed(problem: Problem, name: str) -> Lacking:
    """Return the error for a name that is nowhere: with its attributes that are read, or the file's own defaults of them."""
    spelled, tree = problem.reached.spelled, problem.reached.tree or ast.Module([], [])
    options = getattr(problem.reached.code, "__globals__", {}).get("__parsed__", {})
    called = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    of_it = [n for n in ast.walk(tree) if isinstance(n, ast.Attribute) and re.fullmatch(rf"{name}(\.\w+)+", ast.unparse(n))]
    whole = [n for n in of_it if n not in called and not any(n is other.value for other in of_it)]
    read = list(dict.fromkeys(ast.unparse(n).removeprefix(f"{name}.") for n in whole))
    if defaults := " ".join(f"--bind {name}.{attr}={options[attr]}" for attr in read if attr in options):
        return Lacking(f"{spelled} reads {name}, which is not there.", f"By the file's own defaults: {defaults}")
    if any(root_of(node) == name for node in called):
        return Lacking(
            f"{spelled} calls {name}, which is not there.",
            f'Make what it is imported from importable here, or give another in its place: --bind "{name}=EXPRESSION".',
        )
    each = " ".join(f"--bind {name}.{attr}=1" for attr in read) or f"--bind {name}=1"
    return Lacking(f"{spelled} reads {name}, which is not there.", f"Give it: {each}, say.")


class Unfit(Exception):
    """A way of calling that runs but cannot be meant."""


class Detached(Unfit):
    """One whose value moves with the reconstruction and whose gradient does not: meant where nothing else fits."""

    def __init__(self, *attempt: Any) -> None:
        super().__init__("no gradient reaches the reconstruction")
        self.attempt = attempt
