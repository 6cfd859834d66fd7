"""How a function is used where its file calls it: what it is given, and how the parts that it returns are added."""

from __future__ import annotations

import ast
import builtins
import inspect
import linecache
import sys
from collections.abc import Iterable, Iterator

from recon_cli.auditing.reach.callables import Reached, parameters_of
from recon_cli.auditing.reach.expressions import MODULES, is_expression, names_read
from recon_cli.auditing.reach.extracting import Definition, is_main, own_nodes
from recon_cli.auditing.reach.patterns import assignments, called
from recon_cli.auditing.reach.source_files import parsed
from recon_cli.errors import ReconError

MOVING = ("to", "cuda", "cpu", "float", "double")  # what leaves a loss the one that it is
HOPS = 4  # names of names


def own_file(reached: Reached) -> ast.Module:
    """Return the tree of the file that a function is of; an empty one where that cannot be read."""
    file = getattr(getattr(inspect.unwrap(reached.code), "__code__", None), "co_filename", "")
    try:
        return parsed("".join(linecache.getlines(file)), file)
    except ReconError:
        return ast.Module([], [])


def given_in_file(reached: Reached, keys: Iterable[str]) -> dict[str, tuple[str, int]]:
    """Return what the file itself gives for arguments and attributes, and its line, as far as ``--bind`` can be told it.

    That is what it calls the function, or the class, with; else what it sets something of that name to.
    """
    tree, code = own_file(reached), inspect.unwrap(reached.code)
    takers = [(getattr(code, "__name__", ""), [*parameters_of(reached.code)][reached.bound :], "")]
    takers += [(type(reached.owner).__name__, [*parameters_of(type(reached.owner))], "self.")] if reached.bound else []
    assigned, passed = {ast.unparse(target): value for target, value in assignments(tree)}, dict[str, ast.AST]()
    for call in [node for node in ast.walk(tree) if isinstance(node, ast.Call)]:
        for _, names, prefix in [taker for taker in takers if taker[0] == called(call)]:
            given = [*zip(names, call.args, strict=False), *((each.arg, each.value) for each in call.keywords)]
            passed |= {f"{prefix}{name}": value for name, value in given}
    known = {key for key, value in getattr(code, "__globals__", {}).items() if callable(value) or inspect.ismodule(value)}
    result: dict[str, tuple[str, int]] = {}
    for key in keys:
        value = passed.get(key, assigned.get(key))
        if isinstance(value, ast.Name) and key.startswith("self."):  # an argument of __init__
            value = passed.get(f"self.{value.id}", value)
        for _ in range(HOPS):
            if isinstance(value, ast.Call) and isinstance(value.func, ast.Attribute) and value.func.attr in MOVING:
                value = value.func.value
            elif isinstance(value, (ast.Name, ast.Attribute)):
                value = assigned.get(ast.unparse(value), value)
        text, line = ast.unparse(value) if value is not None else "", getattr(value, "lineno", 0)
        if isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id.endswith("Loss"):
            text = f"nn.{text}" * hasattr(sys.modules["torch.nn"], value.func.id)  # imported by its own name
        if isinstance(value, ast.Constant) and isinstance(value.value, (int, float, str)):
            result[key] = str(value.value), line
        elif text and is_expression(text) and names_read(text) <= {*MODULES, *known, *dir(builtins)}:
            result[key] = text, line
    return result


def total_in_file(reached: Reached) -> tuple[str, int] | None:
    """Return the sum that the file derives of what the function returns, in ``r[0]``, ``r[1]``, and its line.

    None where no place in the file, or more than one sum, says it.
    """
    code, tree = inspect.unwrap(reached.code), own_file(reached)
    known = {key: value for key, value in getattr(code, "__globals__", {}).items() if type(value) in (int, float)}
    scopes = (tree, *(node for node in ast.walk(tree) if isinstance(node, Definition)))
    sums = {text: line for scope in scopes for text, line in sums_of(scope, getattr(code, "__name__", ""), known)}
    return next(iter(sums.items())) if len(sums) == 1 else None


def sums_of(scope: ast.AST, function: str, known: dict[str, float]) -> Iterator[tuple[str, int]]:
    """Yield what the lines of a scope derive of a call's parts, and where: an expression in them and in known numbers.

    What is set by a line that is no such expression, or under a condition, is known no longer.
    """
    parts: dict[str, ast.expr] = {}
    arguments = {node.arg for node in ast.walk(scope) if isinstance(node, ast.arg)}
    known = {name: value for name, value in known.items() if name not in arguments}
    unsure: set[str] = set()
    for line in own_nodes(scope):
        if not isinstance(line, ast.stmt):
            continue
        new: dict[str, ast.expr | None] = {}
        match line:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value) if called(value) == function:
                parted = {name.id: f"r[{i}]" for i, name in enumerate(names) if isinstance(name, ast.Name)}
                new = {name: ast.parse(text, mode="eval").body for name, text in parted.items()}
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                new = {name: ast.Name("r", ast.Load()) if called(value) == function else Spelled(parts, known).of(value)}
            case ast.AugAssign(target=ast.Name(id=name), op=op, value=value) if name in parts:
                new = {name: Spelled(parts, known).of(ast.BinOp(parts[name], op, value))}
            case ast.If() if not is_main(line):
                unsure |= stored(line)
            case (
                ast.Expr(value=ast.Call(func=ast.Attribute(value=value, attr="backward"))) | ast.Return(value=ast.expr() as value)
            ):
                total = Spelled(parts, known).of(value)
                if isinstance(total, ast.BinOp):
                    yield ast.unparse(total), line.lineno
        inside = isinstance(line, (ast.While, ast.With, ast.AsyncWith, ast.Try)) or (isinstance(line, ast.If) and is_main(line))
        set_here = set[str]() if inside else stored(line.target if isinstance(line, (ast.For, ast.AsyncFor)) else line)
        known = {name: value for name, value in known.items() if name not in set_here}
        kept = {name: value for name, value in parts.items() if name not in set_here}
        parts = kept | {name: value for name, value in new.items() if value is not None and name not in unsure}


def stored(node: ast.AST) -> set[str]:
    """Return the names that a line sets."""
    return {each.id for each in ast.walk(node) if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)}


class Spelled(ast.NodeTransformer):
    """Puts parts and known numbers in the place of names; what else is named makes it no expression of them."""

    def __init__(self, parts: dict[str, ast.expr], known: dict[str, float]) -> None:
        self.parts, self.known, self.good, self.count = parts, known, True, 0

    def of(self, expression: ast.expr) -> ast.expr | None:
        """Return an expression in the parts, or None where it speaks of something else, or of none of them."""
        copy = ast.parse(ast.unparse(expression), mode="eval").body
        result = self.visit(copy)
        return result if self.good and self.count else None

    def visit_Name(self, node: ast.Name) -> ast.expr:
        """Replace a name."""
        if node.id in self.parts:
            self.count += 1
            return self.parts[node.id]
        self.count += node.id == "r"  # a part already
        self.good &= node.id == "r" or node.id in self.known
        return ast.Constant(self.known[node.id]) if node.id in self.known else node
