"""What a file's top level binds, changes and needs, and whether running it does more than define things: read, not run."""

from __future__ import annotations

import ast
import builtins
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from recon_cli.auditing.reach.expressions import MODULES, names_read
from recon_cli.errors import ReconError

Definition = (ast.FunctionDef, ast.AsyncFunctionDef)


def own_nodes(tree: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a definition, not of those inside it."""
    for node in ast.iter_child_nodes(tree):
        if not isinstance(node, (*Definition, ast.Lambda, ast.ClassDef)):
            yield node
            yield from own_nodes(node)


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


CALM = {
    "torch", "nn", "F", "math", "np", "numpy", "namedtuple", "TypeVar", "dataclass", "field", "partial", "Path", "getLogger",
    "logging", "argparse", "ArgumentParser", "Namespace", "SimpleNamespace", "types", "functools", "collections", "OrderedDict",
    "defaultdict", "deepcopy", "copy",
}  # fmt: skip
PLAIN = {
    "dict", "list", "tuple", "set", "range", "float", "int", "str", "bool", "len", "min", "max", "sum", "abs", "zip", "enumerate",
    "setattr", "delattr", "vars", "round", "isinstance",
}  # fmt: skip
NOISY = {
    "backward", "step", "open", "load", "save", "savefig", "system", "run", "fit", "train", "urlopen", "download", "exit",
    "input", "makedirs", "mkdir", "write", "show", "DataLoader",
}  # fmt: skip  # what a function is called that does more than make a value


def untidy(tree: ast.Module) -> str:
    """Return why importing a file would do more than define things; empty where it would not."""
    for node in tree.body:
        fine = isinstance(node, (*Definition, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Pass))
        fine |= isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        fine |= is_main(node) or (isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test))
        fine |= isinstance(node, ast.Try) and all(isinstance(inner, (ast.Import, ast.ImportFrom)) for inner in node.body)
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            fine = node.value is None or calm(node.value)
        if not fine:
            return f"line {node.lineno} does more than define"
    return ""


def root_of(node: ast.AST) -> str:
    """Return the name with which ``a.b(c).d`` begins."""
    while isinstance(node, (ast.Attribute, ast.Call, ast.Subscript)):
        inside = isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id == "vars"
        node = node.args[0] if inside else node.func if isinstance(node, ast.Call) else node.value  # type: ignore[union-attr]
    return node.id if isinstance(node, ast.Name) else ""


def calm(value: ast.AST, own: Mapping[str, ast.AST] | None = None) -> bool:
    """Whether an expression only makes a value: constants, calls of a few libraries that do, and of the file's own that do."""
    if isinstance(value, ast.Lambda):
        return True
    calls = [node.func for node in ast.walk(value) if isinstance(node, ast.Call)]
    roots = {root_of(call) for call in calls}
    if any("load" in ast.unparse(call) for call in calls):
        return False
    return roots <= CALM or (own is not None and all(is_quiet(root, own) for root in roots))


def is_quiet(root: str, own: Mapping[str, ast.AST], seen: frozenset[str] = frozenset()) -> bool:
    """Whether calling what a name begins makes a value and no more, as far as the file tells."""
    node = own.get(root)
    if node is None or root in seen:
        return root in CALM | PLAIN or root in seen or not root
    if not isinstance(node, (*Definition, ast.ClassDef)):
        return not isinstance(node, (ast.Import, ast.ImportFrom, ast.Try)) or root in CALM
    calls = [each.func for each in ast.walk(node) if isinstance(each, ast.Call)]
    words = {call.attr if isinstance(call, ast.Attribute) else root_of(call) for call in calls}
    helpers = {root_of(call) for call in calls} & own.keys() - {root}
    defined = {name for name in helpers if isinstance(own[name], (*Definition, ast.ClassDef))}
    return not words & NOISY and all(is_quiet(name, own, seen | {root}) for name in defined)


def changes(node: ast.stmt, own: Mapping[str, ast.AST]) -> dict[str, set[str]]:
    """Return what values a top-level statement changes, by the names they begin with, and which attributes of each it sets.

    ``a.b = 1``, ``a["k"] *= 2``, ``a.f()``, ``setattr(a, "b", 1)``, ``patch(a, "b")``, and what a function of the file does so.
    """
    changed: dict[str, set[str]] = {}
    if isinstance(node, (*Definition, ast.ClassDef)):
        return {name: set() for each in node.decorator_list for name in filled_by(each, own)}
    if isinstance(node, (ast.Import, ast.ImportFrom)) or is_main(node):
        return changed
    for n in ast.walk(node):
        if isinstance(n, (ast.Attribute, ast.Subscript)) and isinstance(n.ctx, (ast.Store, ast.Del)):
            attributes = {n.attr} if isinstance(n, ast.Attribute) else words_in(n.slice)
            changed.setdefault(root_of(n), set()).update(attributes)
        elif isinstance(n, ast.Expr) and isinstance(n.value, ast.Call) and isinstance(n.value.func, ast.Attribute):
            changed.setdefault(root_of(n.value.func), set())
        if isinstance(n, ast.Call):
            for argument in n.args:
                if isinstance(argument, ast.Name) and (argument.id in MODULES or root_of(n) in ("setattr", "delattr")):
                    changed.setdefault(argument.id, set()).update(words_in(n))
            for path in words_in(n):
                if path.startswith("torch.") and path.rpartition(".")[2].isidentifier():
                    for name in ("torch", *MODULES):
                        changed.setdefault(name, set()).add(path.rpartition(".")[2])
            inner = own.get(n.func.id) if isinstance(n.func, ast.Name) else None
            for each in inner.body if isinstance(inner, ast.FunctionDef) and inner is not node else ():
                for name, attributes in changes(each, {}).items():
                    changed.setdefault(name, set()).update(attributes)
    return changed


def filled_by(decorator: ast.expr, own: Mapping[str, ast.AST]) -> set[str]:
    """Return what of the file a decorator puts what it decorates into, a registry: ``@add("mse")``, ``@LOSSES.register``."""
    root = root_of(decorator)
    if isinstance(made := own.get(root), (ast.Assign, ast.AnnAssign)):
        return {root}
    inside = [*ast.walk(made)] if isinstance(made, ast.FunctionDef) else []
    stores = [n for n in inside if isinstance(n, ast.Subscript) and isinstance(n.ctx, ast.Store)]
    calls = [n.value.func for n in inside if isinstance(n, ast.Expr) and isinstance(n.value, ast.Call)]
    return {name for each in (*stores, *calls) if isinstance(own.get(name := root_of(each)), (ast.Assign, ast.AnnAssign))}


def words_in(node: ast.AST) -> set[str]:
    """Return the words among the constants of an expression."""
    return {n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)}


def is_main(node: ast.AST) -> bool:
    """Whether it is what a file does when it is run."""
    return isinstance(node, ast.If) and "__name__" in ast.unparse(node.test)


def runs(node: ast.stmt, own: Mapping[str, ast.AST]) -> bool:
    """Whether a top-level statement is run: it defines, imports, or makes values."""
    if isinstance(node, (*Definition, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Try)):
        return True
    if isinstance(node, (ast.If, ast.For)) and not is_main(node):
        head = node.test if isinstance(node, ast.If) else node.iter
        return calm(head, own) and all(runs(inner, own) for inner in (*node.body, *node.orelse))
    if isinstance(node, (ast.Assign, ast.AnnAssign, ast.AugAssign)):
        return node.value is not None and calm(node.value, own)
    return isinstance(node, (ast.Pass, ast.Assert)) or (isinstance(node, ast.Expr) and calm(node.value, own))


def parsed(tree: ast.Module) -> dict[str, object]:
    """Return the defaults of ``add_argument("--batch-size", default=128)``, by the attribute they become."""
    defaults: dict[str, object] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(attr="add_argument"), args=[*words], keywords=keywords):
                texts = [word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)]
                options = [text for text in texts if text.startswith("--")]
                default = [k.value.value for k in keywords if k.arg == "default" and isinstance(k.value, ast.Constant)]
                if options and default:
                    defaults[options[0][2:].replace("-", "_")] = default[0]
    return defaults


def owners(tree: ast.Module) -> dict[str, ast.AST]:
    """Return the top-level statement that binds each name."""
    return {key: node for node in tree.body for key in bound_by(node)}


def needed_by(tree: ast.Module, wanted: str, known: Iterable[str] = ()) -> list[ast.stmt]:
    """Return the top-level statements that bind ``wanted`` and all that it names, in the order of the file."""
    binders: dict[str, list[ast.stmt]] = {}
    own = owners(tree)
    for node in tree.body:
        for key in bound_by(node) | {*changes(node, own)}:
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
            todo += sorted(names_read(ast.unparse(node)))
    return [node for node in tree.body if id(node) in keep]


def nested_error(word: str, node: Any, tree: ast.Module) -> ReconError:
    """Return the error for a closure, with the wrapper to write filled in as far as can be."""
    arguments = [a.arg for a in (*node.args.posonlyargs, *node.args.args)]
    free = sorted(names_read(ast.unparse(node)) - owners(tree).keys() - {*dir(builtins), node.name})
    body = ast.unparse(ast.Module(node.body, [])).splitlines()
    lines = [f"def {node.name}({', '.join(arguments)}):", *(f"    {name} = ...  # from around it" for name in free)]
    lines += [f"    {line}" for line in body[: max(1, 5 - len(lines))]]
    if len(body) + len(free) + 1 > len(lines):
        lines.append(f"    ...  # the rest of lines {node.lineno} to {node.end_lineno}")
    return ReconError(
        f"{node.name} in {word.rpartition(':')[0]} is inside another function (line {node.lineno}), where no import reaches.",
        "Write a wrapper at the top level of a file and audit that:\n\n" + "\n".join(lines) + "\n",
    )
