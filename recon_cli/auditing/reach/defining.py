"""Taking a function out of a file: the lines that define it and what it names are executed alone, not the file.

What those lines import from a file beside it that cannot be imported, a package's whose own imports are not there, is taken
out of that file in the same way.
"""

from __future__ import annotations

import ast
import builtins
import contextlib
import importlib
import linecache
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from recon_cli.auditing.limiting import from_outside, worded
from recon_cli.auditing.reach.expressions import MODULES, names_read
from recon_cli.auditing.reach.extracting import (
    Definition,
    bound_by,
    changes,
    filled_by,
    needed_by,
    owners,
    root_of,
    runs,
)
from recon_cli.auditing.reach.source_files import tree_of
from recon_cli.errors import ReconError
from recon_cli.runtime.user_code import OWN

TYPED: dict[str, Any] = {"type_params": []} if sys.version_info >= (3, 12) else {}
ALIKE: dict[str, object] = {"dataclass": dataclass, "field": field}  # those of other libraries do as much for a value
DEEP = 6  # folders above a file in which what it imports is looked for


@dataclass
class Extract:
    """Names taken out of a file; those that are not there, and the lines that would change some and were not run.

    done
        the lines that were executed.
    beside
        what was taken out of the files that it imports, and that they import, by their places.
    """

    names: dict[str, object]
    missing: set[str] = field(default_factory=set)
    left: dict[int, str] = field(default_factory=dict)
    done: set[int] = field(default_factory=set)
    beside: dict[Path, Extract] = field(default_factory=dict)


def extracted(tree: ast.Module, text: str, path: Path, wanted: str, bind: Mapping[str, object]) -> Extract:
    """Return ``wanted`` and all it names: definitions, imports that succeed, assignments of plain values and what changes them.

    Raises ReconError where ``wanted`` itself cannot be defined.
    """
    extract = Extract(scope(tree) | {key: value for key, value in bind.items() if "." not in key})
    sys.argv[:] = [str(path)]  # for a parser of the file's own
    extend(extract, tree, text, path, wanted, bind, f"<recon {path.name}>")
    extract.missing -= set(bind)
    return extract


def scope(tree: ast.Module) -> dict[str, object]:
    """Return the names with which a file's lines begin: those that everybody knows by one name and that it does not bind."""
    own = owners(tree)
    known = {key: importlib.import_module(module) for key, module in MODULES.items() if key not in own}
    module = sys.modules.setdefault(f"{OWN}extract", ModuleType(f"{OWN}extract"))  # where dataclasses look for it
    return {"__name__": module.__name__, "__builtins__": builtins, **known}


def extend(
    extract: Extract, tree: ast.Module, text: str, path: Path, wanted: str, bind: Mapping[str, object], label: str
) -> None:  # fmt: skip
    """Define ``wanted`` and all it names. Raises ReconError where it cannot be."""
    names, own = extract.names, owners(tree)
    fault: BaseException | None = None
    kept = needed_by(tree, wanted, bind)
    read = {n.attr for node in kept for n in ast.walk(node) if isinstance(n, ast.Attribute) and isinstance(n.ctx, ast.Load)}

    def leave(node: ast.stmt) -> None:
        """Note what a statement that was not run would have bound and changed. Raises ReconError for what torch's calls are."""
        extract.missing |= bound_by(node) - set(names)
        changed = changes(node, own)
        for name, attributes in changed.items():
            if name in MODULES and (replaced := sorted(attributes & read)):
                raise ReconError(
                    f"Line {node.lineno} of {path.name} may put something else in the place of {name}.{replaced[0]}, which "
                    f"{wanted} calls, and could not be run.",
                    "Make what it needs importable here, or audit a function that calls the other one by its name.",
                )
        if known := sorted((bound_by(node) | {*changed}) & set(names)):
            extract.left[node.lineno] = ", ".join(known)

    for node in kept:
        if node.lineno in extract.done:
            continue
        extract.done.add(node.lineno)
        if not runs(node, own):
            leave(node)
            continue
        try:
            define(node, text, label, names, wanted, own)
        except BaseException as error:
            if from_outside(error):
                raise
            if isinstance(node, ast.ImportFrom):
                names |= (there := taken(node, path, extract.beside))
                if there.keys() == bound_by(node):
                    continue
            fault = error if wanted in bound_by(node) else fault
            leave(node)
    read_by = [node for node in kept if isinstance(node, (*Definition, ast.ClassDef))]
    names |= {name: absent(name) for name in extract.missing - {*names, wanted} if is_idle(name, read_by)}
    if fault is not None and wanted not in names:
        lost = sorted(extract.missing - {wanted})
        isnt = f", where {' and '.join(lost)} {'is' if len(lost) == 1 else 'are'} not there" if lost else ""
        name = getattr(fault, "name", None) if isinstance(fault, NameError) else None
        raise ReconError(
            f"{wanted} of {path.name} cannot be defined alone{isnt}: {worded(fault)}.",
            f"Give it: --bind {name}=VALUE." if name else "Make what it imports importable here, or audit a function without it.",
        )


def taken(node: ast.ImportFrom, path: Path, beside: dict[Path, Extract]) -> dict[str, object]:
    """Return what a line imports, as far as the file that it names is beside this one and can be read."""
    values = {each.asname or each.name: ALIKE[each.name] for each in node.names if each.name in ALIKE}
    if (place := imported_file(node, path)) is None:
        return values
    with contextlib.suppress(ReconError):
        tree, text = tree_of(place)
        extract = beside.setdefault(place, Extract(scope(tree), beside=beside))
        for each in node.names:
            with contextlib.suppress(ReconError):
                extend(extract, tree, text, place, each.name, {}, f"<recon {place}>")
            if each.name in extract.names and each.name in owners(tree):
                values[each.asname or each.name] = extract.names[each.name]
    return values


def imported_file(node: ast.ImportFrom, path: Path) -> Path | None:
    """Return the file that ``from a.b import c`` names, from its own folder or those above it; None where there is none."""
    folders = path.resolve().parents
    for folder in folders[node.level - 1 : node.level] if node.level else folders[:DEEP]:
        base = folder.joinpath(*(node.module or "").split("."))
        for place in (base.with_suffix(".py"), base / "__init__.py"):
            if place.is_file():
                return place
    return None


class Absence(type):
    """The kind of what stands for a class, a default, a base from a package that is not there; all of its parts are such too."""

    def __getattr__(cls, name: str) -> object:
        if name[:2] == "__" or "_absent" not in vars(cls):
            raise AttributeError(name)
        return absent(name)


for word in ("getitem", "add", "radd", "sub", "rsub", "mul", "rmul", "truediv", "rtruediv", "pow", "rpow", "neg", "or", "ror"):
    setattr(Absence, f"__{word}__", lambda cls, *_: absent(cls.__name__))  # of defaults, and annotations


def absent(name: str) -> Absence:
    """Return a stand-in, which may be a base, a default, an annotation."""

    def made(_self: object, *_args: object, **_keywords: object) -> None:
        """Take what the one that is not there takes."""

    return Absence(name, (), {"_absent": True, "__init__": made})


def is_idle(name: str, nodes: Iterable[ast.AST]) -> bool:
    """Whether code only asks or says what is one of a name's, or tells it something and takes no answer, as a log."""
    reads, idle = set[ast.AST](), set[ast.AST]()
    for node in (inner for each in nodes for inner in ast.walk(each)):
        if isinstance(node, ast.Name) and node.id == name:
            reads.add(node)
        elif isinstance(node, ast.Expr) and root_of(node.value) == name:
            idle.update(ast.walk(node.value.func if isinstance(node.value, ast.Call) else node.value))
        elif isinstance(node, ast.Call) and root_of(node.func) in ("isinstance", "issubclass"):
            idle.update(inner for argument in node.args[1:] for inner in ast.walk(argument))
        for annotation in (getattr(node, "annotation", None), getattr(node, "returns", None)):
            idle.update(ast.walk(annotation) if annotation is not None else ())
    return bool(reads) and reads <= idle


def define(
    node: ast.stmt, text: str, label: str, names: dict[str, object], wanted: str, own: Mapping[str, ast.AST]
) -> None:  # fmt: skip
    """Execute a top-level statement; a definition's bases, defaults and annotations that are not there are stand-ins for it."""
    definition = isinstance(node, (*Definition, ast.ClassDef))
    lacking = names_read(ast.unparse(node)) - {*names, *dir(builtins), *bound_by(node)} if definition else set()
    standing = {name: absent(name) for name in lacking}
    names |= standing
    try:
        run(node, text, label, names, own)
    except Exception:
        if not isinstance(node, ast.ClassDef) or node.name != wanted:
            raise
        bare = ast.ClassDef(node.name, [], [], [n for n in node.body if isinstance(n, Definition)], [], **TYPED)
        run(ast.copy_location(bare, node), text, label, names, own)  # a base that cannot be one: its methods will do
    finally:
        for name in standing:  # what the code itself reads of them is asked for
            names.pop(name, None)


def run(node: ast.stmt, text: str, label: str, names: dict[str, object], own: Mapping[str, ast.AST]) -> None:
    """Execute one top-level statement, decorators only of registries; its source stays readable, by its own lines."""
    for inner in ast.walk(node):
        if isinstance(inner, Definition):
            inner.decorator_list = [
                d for d in inner.decorator_list
                if ast.unparse(d) in ("staticmethod", "classmethod", "property") or (inner is node and filled_by(d, own))
            ]  # fmt: skip
        elif isinstance(inner, ast.ClassDef):
            there = {key for key, value in names.items() if not isinstance(value, Absence)}
            inner.decorator_list = [d for d in inner.decorator_list if root_of(d) in there]
    linecache.cache[label] = (len(text), None, text.splitlines(keepends=True), label)
    exec(compile(ast.Module([node], []), label, "exec"), names)
