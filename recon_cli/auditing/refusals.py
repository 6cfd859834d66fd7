"""What a function said to every way of calling it, and what to pass instead."""

from __future__ import annotations

import ast
import re
from typing import Any

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.limiting import Lacking, worded
from recon_cli.auditing.reach.extracting import root_of
from recon_cli.auditing.reach.roles import is_setting, needed
from recon_cli.errors import ReconError


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
