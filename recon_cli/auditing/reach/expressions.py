"""Values that users write as expressions: ``torch.ones_like(x).bool()`` for an argument, ``Elbo(nn.BCELoss())`` for an object."""

from __future__ import annotations

import ast
import builtins
import importlib
import symtable
import types
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from recon_cli.auditing.limiting import explained
from recon_cli.errors import ReconError

MODULES = {"torch": "torch", "nn": "torch.nn", "F": "torch.nn.functional", "np": "numpy", "numpy": "numpy", "math": "math"}
HINT = "It may name torch, nn, F, np, math, what the file defines, and the arguments of the call."


def names_read(source: str) -> set[str]:
    """Return the names that lines read from around them: not those that a function within sets or takes itself."""

    def names(table: symtable.SymbolTable) -> set[str]:
        top = table.get_type() == "module"
        own = {each.get_name() for each in table.get_symbols() if each.is_referenced() and (top or each.is_global())}
        return own.union(*map(names, table.get_children()))

    return names(symtable.symtable(source.strip(), "<read>", "exec"))


@dataclass(frozen=True)
class Expression:
    """An expression in names of the call, evaluated at each call, and the option that gave it."""

    text: str
    option: str

    @property
    def names(self) -> set[str]:
        """Return the names that it reads."""
        return names_read(self.text) - {*dir(builtins)}

    def value(self, names: Mapping[str, object]) -> object:
        """Return its value among names. Raises ReconError where it has none."""
        scope = {key: importlib.import_module(module) for key, module in MODULES.items()} | dict(names)
        if absent := sorted(self.names - scope.keys()):
            raise ReconError(f"{self.option} speaks of {', '.join(absent)}, which is not there.", HINT)
        with explained(f"{self.option} cannot be evaluated", HINT):
            return eval(self.text, scope)


def is_expression(text: str, names: Collection[str] = tuple(MODULES)) -> bool:
    """Whether a word is to be evaluated: it calls something, or reads something of torch, numpy or math, or of ``names``."""
    try:
        nodes = [*ast.walk(ast.parse(text, mode="eval"))]
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    rooted = any(isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id in names for n in nodes)
    return rooted or any(isinstance(n, ast.Call) for n in nodes)


def resolved(values: Mapping[str, object], names: Mapping[str, object], option: str) -> dict[str, object]:
    """Return values with expressions evaluated, as far as ``names``, of a file, go; the others are left for the call."""
    kinds = (type, types.FunctionType, types.ModuleType, types.BuiltinFunctionType)
    known = {key: value for key, value in names.items() if isinstance(value, kinds)}
    new: dict[str, object] = {}
    for key, value in values.items():
        if isinstance(value, str) and is_expression(value, {*MODULES, *known}):
            value = Expression(value, f"{option} {key}={value}")
        if isinstance(value, Expression) and (option == "--self" or value.names <= {*MODULES, *known}):
            value = value.value(known)
        new[key] = value
    return new
