"""Taking a function out of a file: read, not run, unless all that the file does is define things."""

from __future__ import annotations

import ast
import builtins
import importlib
import linecache
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from recon_cli.auditing.limiting import from_outside, worded
from recon_cli.errors import ReconError

Definition = (ast.FunctionDef, ast.AsyncFunctionDef)
TYPED: dict[str, Any] = {"type_params": []} if sys.version_info >= (3, 12) else {}


def bound_by(node: ast.AST) -> set[str]:
    """Return the names that a top-level statement binds."""
    if isinstance(node, (*Definition, ast.ClassDef)):
        return {node.name}
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        return {alias.asname or alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.For, ast.With, ast.Try, ast.If, ast.While)):
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | {
            name for inner in ast.iter_child_nodes(node) for name in (bound_by(inner) if isinstance(inner, ast.stmt) else ())
        }
    return set()


def top_names(tree: ast.Module) -> list[str]:
    """Return the functions and classes, with their methods, at the top level."""
    names = []
    for node in tree.body:
        if isinstance(node, Definition):
            names.append(node.name)
        elif isinstance(node, ast.ClassDef):
            names += [
                f"{node.name}.{inner.name}" for inner in node.body if isinstance(inner, Definition) and inner.name[0] != "_"
            ]
    return names


CALM = {"torch", "nn", "math", "np", "numpy", "namedtuple", "TypeVar", "dataclass", "partial", "Path", "getLogger", "logging"}


def untidy(tree: ast.Module) -> str:
    """Return why importing a file would do more than define things; empty where it would not."""
    for node in tree.body:
        fine = isinstance(node, (*Definition, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass))
        fine |= isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        fine |= isinstance(node, ast.If) and ("__name__" in ast.unparse(node.test) or "TYPE_CHECKING" in ast.unparse(node.test))
        fine |= isinstance(node, ast.Try) and all(isinstance(inner, (ast.Import, ast.ImportFrom)) for inner in node.body)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            fine = node.value is None or calm(node.value)
        if not fine:
            return f"line {node.lineno} does more than define"
    return ""


def calm(value: ast.AST) -> bool:
    """Whether an expression only makes a value: constants, and calls of a few libraries that do."""
    calls = [node.func for node in ast.walk(value) if isinstance(node, ast.Call)]
    roots = {ast.unparse(call).split(".")[0] for call in calls}
    return roots <= CALM and not any("load" in ast.unparse(call) for call in calls)


def parsed(tree: ast.Module) -> dict[str, Any]:
    """Return the defaults of ``add_argument("--batch-size", default=128)``, by the attribute they become."""
    defaults: dict[str, Any] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[*words], keywords=keywords):
                texts = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
                options = [text for text in texts if text.startswith("--")]
                default = [k.value.value for k in keywords if k.arg == "default" and isinstance(k.value, ast.Constant)]
                if options and default:
                    defaults[options[0][2:].replace("-", "_")] = default[0]
    return defaults


def needed_by(tree: ast.Module, wanted: str, known: Iterable[str] = ()) -> list[ast.stmt]:
    """Return the top-level statements that bind ``wanted`` and all that it names, in the order of the file."""
    binders: dict[str, list[ast.stmt]] = {}
    for node in tree.body:
        for key in bound_by(node):
            binders.setdefault(key, []).append(node)
    keep: set[int] = set()
    todo, visited = [wanted], set(known)
    while todo:
        key = todo.pop()
        if key in visited:
            continue
        visited.add(key)
        for node in binders.get(key, []):
            keep.add(id(node))
            todo += [n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return [node for node in tree.body if id(node) in keep]


def extracted(tree: ast.Module, text: str, path: Path, wanted: str, bind: Mapping[str, Any]) -> tuple[dict[str, Any], set[str]]:
    """Return a namespace with ``wanted`` and all it names: definitions, imports that succeed, assignments of plain values.

    Beside it the names that are not there. Raises ReconError where ``wanted`` itself cannot be defined.
    """
    import torch

    names: dict[str, Any] = {"__name__": "_audited", "__builtins__": builtins, "torch": torch, "nn": torch.nn}
    names |= {"F": torch.nn.functional, "math": importlib.import_module("math"), "np": importlib.import_module("numpy")}
    names |= {key: value for key, value in bind.items() if "." not in key}
    missing: set[str] = set()
    fault: BaseException | None = None
    for node in needed_by(tree, wanted, bind):
        plain = isinstance(node, (*Definition, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Try))
        if not plain and not (isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None and calm(node.value)):
            missing |= bound_by(node) - set(names)
            continue
        tries: list[ast.stmt] = [node]
        if isinstance(node, ast.ClassDef) and node.name == wanted:  # a base that is not there: its methods will do
            bare = ast.ClassDef(node.name, [], [], [n for n in node.body if isinstance(n, Definition)], [], **TYPED)
            tries.append(ast.copy_location(bare, node))
        for each in tries:
            try:
                run(each, text, path, names)
                break
            except BaseException as error:
                if from_outside(error):
                    raise
                fault = error if wanted in bound_by(node) else fault
        else:
            missing |= bound_by(node) - set(names)
    if fault is not None and wanted not in names:
        absent = f", where {' and '.join(sorted(missing - {wanted}))} is not there" if missing - {wanted} else ""
        name = getattr(fault, "name", None) if isinstance(fault, NameError) else None
        raise ReconError(
            f"{wanted} of {path.name} cannot be defined alone{absent}: {worded(fault)}.",
            f"Give it: --bind {name}=VALUE." if name else "Make what it imports importable here, or audit a function without it.",
        )
    return names, missing - set(bind)


def run(node: ast.stmt, text: str, path: Path, names: dict[str, Any]) -> None:
    """Execute one top-level statement, no decorators; its source stays readable, by its own lines."""
    for inner in ast.walk(node):
        if isinstance(inner, Definition):
            inner.decorator_list = [
                d for d in inner.decorator_list if ast.unparse(d) in ("staticmethod", "classmethod", "property")
            ]
    label = f"<recon {path.name}>"
    linecache.cache[label] = (len(text), None, text.splitlines(keepends=True), label)
    exec(compile(ast.Module([node], []), label, "exec"), names)


def nested_error(word: str, node: Any, tree: ast.Module) -> ReconError:
    """Return the error for a closure, with the wrapper to write filled in as far as can be."""
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    inside = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)} | set(arguments)
    top = {name for statement in tree.body for name in bound_by(statement)} | set(dir(builtins))
    free = sorted({n.id for n in ast.walk(node) if isinstance(n, ast.Name)} - inside - top)
    body = ast.unparse(ast.Module(node.body, [])).splitlines()
    lines = [f"def {node.name}({', '.join(arguments)}):", *(f"    {name} = ...  # from around it" for name in free)]
    lines += [f"    {line}" for line in body[: max(1, 5 - len(lines))]]
    if len(body) + len(free) + 1 > len(lines):
        lines.append(f"    ...  # the rest of lines {node.lineno} to {node.end_lineno}")
    return ReconError(
        f"{node.name} in {word.rpartition(':')[0]} is inside another function (line {node.lineno}), where no import reaches.",
        "Write a wrapper at the top level of a file and audit that:\n\n" + "\n".join(lines) + "\n",
    )
