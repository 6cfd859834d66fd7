"""What a function reads that is no argument of it: models on self, and names around it."""

from __future__ import annotations

import ast
import builtins
import inspect
from collections.abc import Mapping
from typing import Any

from recon_cli.auditing.reach.call_plans import CallPlan, Slot
from recon_cli.auditing.reach.callables import Reached
from recon_cli.auditing.reach.vocabulary import meaning_of, role_of
from recon_cli.errors import ReconError


def around(call: CallPlan, reached: Reached, tree: ast.AST, bind: Mapping[str, object]) -> None:
    """Find what is no argument: models on self whose outputs are named, and names that are read from around the function."""
    code = inspect.unwrap(reached.code)
    for node in ast.walk(tree):
        if not isinstance(node, ast.Assign) or not isinstance(node.value, ast.Call):
            continue
        target, called = node.targets[0], ast.unparse(node.value.func)
        attribute = "forward" if called == "self" else called[5:] if called.startswith("self.") else ""
        roles = {role_of(n.id) for n in ast.walk(target) if isinstance(n, ast.Name)}
        if not attribute or "." in attribute or attribute == reached.method or not isinstance(target, (ast.Tuple, ast.List)):
            continue
        if "recon" in roles and roles & {"mu", "scale", "posterior"}:
            able = callable(vars(reached.owner).get(attribute)) or method_of(reached.owner, attribute) and not reached.blank
            if not able:
                call.inner[attribute] = None
    have = {role_of(parameter.name) for parameter in parameters_of(reached)}
    plain = getattr(code, "__code__", None)
    free = set(plain.co_freevars) if plain else set()
    cells = dict(zip(plain.co_freevars, code.__closure__ or (), strict=True)) if plain else {}
    free -= {
        name for name, cell in cells.items() if isinstance(content_of(cell), (int, float, str)) or callable(content_of(cell))
    }
    scope = {**getattr(code, "__globals__", {}), **getattr(reached.code, "__globals__", {})}
    assigned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    arguments = {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    for name in sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - assigned - arguments - {*dir(builtins)}):
        around_it, role = name in free or (name not in scope and name not in cells), role_of(name)
        if around_it and name not in bind and role in ("mu", "scale", "recon", "target", "kl") and role not in have:
            call.free[name] = Slot(name, role, f"by its name, {name}, read from around the function", meaning_of(name))


def content_of(cell: Any) -> object:
    """Return what is in a closure's cell; None where nothing is."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def method_of(owner: object, name: str) -> bool:
    """Whether an object can do ``name`` already: a method of its own class, or a submodule."""
    return hasattr(type(owner), name) or name in getattr(owner, "_modules", {})


def parameters_of(reached: Reached) -> list[inspect.Parameter]:
    """Return the parameters that a call fills. Raises ReconError where they cannot be read."""
    try:
        parameters = [*inspect.signature(reached.code).parameters.values()]
    except (TypeError, ValueError) as error:
        raise ReconError(
            f"The arguments of {reached.spelled} cannot be read: {error}.", "Wrap it in a function with named ones."
        ) from error
    return parameters[1:] if reached.bound else parameters
