"""How the parts that a function returns are added where its file calls it: ``(loss_re + 0.1 * loss_kl).backward()``."""

from __future__ import annotations

import ast
import inspect
import linecache
from collections.abc import Iterator

from recon_cli.auditing.reach.callables import Reached
from recon_cli.auditing.reach.extracting import Definition
from recon_cli.auditing.reach.patterns import called
from recon_cli.auditing.reach.refusing import own_nodes
from recon_cli.auditing.reach.source_files import parsed
from recon_cli.errors import ReconError


def total_in_file(reached: Reached) -> tuple[str, int] | None:
    """Return the sum that the file derives of what the function returns, in ``r[0]``, ``r[1]``, and its line.

    None where no place in the file, or more than one sum, says it.
    """
    code = inspect.unwrap(reached.code)
    name, file = getattr(code, "__name__", ""), getattr(getattr(code, "__code__", None), "co_filename", "")
    try:
        tree = parsed("".join(linecache.getlines(file)), file)
    except ReconError:
        return None
    known = {key: value for key, value in getattr(code, "__globals__", {}).items() if type(value) in (int, float)}
    sums = {text: line for body in blocks(tree) for text, line in sums_of(body, name, known)}
    return next(iter(sums.items())) if len(sums) == 1 else None


def blocks(tree: ast.AST) -> Iterator[list[ast.stmt]]:
    """Yield the lines of the file and of each function in it, those inside loops and conditions with them, in their order."""
    for scope in (tree, *(node for node in ast.walk(tree) if isinstance(node, Definition))):
        yield [node for node in own_nodes(scope) if isinstance(node, ast.stmt)]


def sums_of(lines: list[ast.stmt], function: str, known: dict[str, float]) -> Iterator[tuple[str, int]]:
    """Yield what is derived of a call's parts, and where: an expression in them and in known numbers."""
    parts: dict[str, ast.expr] = {}
    for line in lines:
        match line:
            case ast.Assign(targets=[ast.Tuple(elts=names)], value=value) if called(value) == function:
                parts = {name.id: part(i) for i, name in enumerate(names) if isinstance(name, ast.Name)}
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if called(value) == function:
                parts = {name: ast.Name("r", ast.Load())}
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if parts:
                if (total := Spelled(parts, known).of(value)) is not None:
                    parts = {**parts, name: total}
            case ast.AugAssign(target=ast.Name(id=name), op=ast.Add() as plus, value=value) if name in parts:
                if (total := Spelled(parts, known).of(ast.BinOp(parts[name], plus, value))) is not None:
                    parts = {**parts, name: total}
            case (
                ast.Expr(value=ast.Call(func=ast.Attribute(value=value, attr="backward"))) | ast.Return(value=ast.expr() as value)
            ):
                if parts and (total := Spelled(parts, known).of(value)) is not None and isinstance(total, ast.BinOp):
                    yield ast.unparse(total), line.lineno


def part(i: int) -> ast.expr:
    """Return the expression for one part."""
    return ast.parse(f"r[{i}]", mode="eval").body


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
