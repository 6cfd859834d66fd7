"""What the user gave beside the function, ``bind`` and ``attributes``: is it read at all?"""

from __future__ import annotations

import ast
import builtins
import dis
import inspect
import types
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from recon_cli.auditing.reach.callables import Reached, parameters_of
from recon_cli.auditing.reach.objects import head_of, source
from recon_cli.errors import ReconError
from recon_cli.runtime.user_code import nearest_names

EMPTY = types.CellType()
FOREIGN = ("torch", "numpy", "builtins", "math", "typing", "functools")


@dataclass
class Read:
    """The names that code reads: from around it, as attributes, and the strings that may be keys."""

    names: set[str] = field(default_factory=set)
    attributes: set[str] = field(default_factory=set)
    words: set[str] = field(default_factory=set)
    seen: set[Any] = field(default_factory=set)
    hands_on: bool = False  # whether keywords are handed on, as they are, to what is called inside

    def code(self, code: types.CodeType) -> None:
        """Record what one code object and those inside it read."""
        for step in dis.get_instructions(code):
            self.hands_on |= step.opname == "DICT_MERGE"
            if not isinstance(step.argval, str):
                continue
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME", "LOAD_DEREF", "LOAD_CLASSDEREF"):
                self.names.add(step.argval)
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD", "LOAD_SUPER_ATTR"):
                self.attributes.add(step.argval)
            elif step.opname == "LOAD_CONST":
                self.words.add(step.argval)
        for inner in code.co_consts:
            if isinstance(inner, types.CodeType):  # which may be what a factory returns
                self.words |= {*inner.co_varnames[: inner.co_argcount + inner.co_kwonlyargcount]}
                self.code(inner)
            elif isinstance(inner, tuple):
                self.words |= {each for each in inner if isinstance(each, str)}

    def function(self, function: Any, owner: Any = None) -> None:
        """Record a function, and the functions, classes and methods of its owner that it names."""
        function = inspect.unwrap(getattr(function, "__func__", function))
        if not hasattr(function, "__code__") or function in self.seen:
            return
        outer = not self.seen
        self.seen.add(function)
        self.code(function.__code__)
        if self.hands_on and not outer:
            self.words |= {*inspect.signature(function).parameters}
        cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=False)
        around = {**function.__globals__, **{name: cell.cell_contents for name, cell in cells if cell != EMPTY}}
        for name in self.names & around.keys():
            self.value(around[name])
        if owner is not None:
            tree = source(function)
            called = tree is not None and any(isinstance(n, ast.Call) and ast.unparse(n.func) == "self" for n in ast.walk(tree))
            for name in self.attributes | ({"forward", "__call__"} if called else set()):
                self.method(type(owner), name, owner)

    def value(self, value: Any) -> None:
        """Record what a name stands for, where it is somebody's own code."""
        kind = value if isinstance(value, (type, types.FunctionType)) else type(value)
        if str(getattr(kind, "__module__", None)).partition(".")[0] in FOREIGN or kind in self.seen:
            return
        if isinstance(kind, types.FunctionType):
            self.function(kind)
        elif not isinstance(value, types.ModuleType):
            self.seen.add(kind)
            for name in dir(kind):
                self.method(kind, name, None)

    def method(self, kind: type, name: str, owner: Any) -> None:
        """Record a method or a property of a class."""
        for base in kind.__mro__:  # super() reaches those of the bases too
            member = vars(base).get(name)
            member = getattr(member, "fget", getattr(member, "__func__", member))
            if isinstance(member, types.FunctionType) and (member.__module__ or "").partition(".")[0] not in FOREIGN:
                self.function(member, owner)


def check(reached: Reached, bind: Mapping[str, Any], attributes: Mapping[str, Any]) -> None:
    """Raise ReconError for a name in ``bind`` or ``attributes`` that the function never reads, with the nearest that it does."""
    code = inspect.unwrap(getattr(reached.code, "__func__", reached.code))
    if not (bind or attributes):
        return
    arguments = [*parameters_of(reached.code)][reached.bound :]
    read = Read()
    read.function(code, reached.owner)
    names = {*arguments, *read.names} - set(dir(builtins))
    for name in bind:
        if (head := head_of(name)) not in names | read.words:
            scope = getattr(code, "__globals__", {})  # of which a value may be given, or what is not there yet
            values = {n for n in names if not callable(scope.get(n)) and not isinstance(scope.get(n), types.ModuleType)}
            raise never(reached, "--bind", head, {*arguments, *values}, read.attributes if reached.bound else set())
    for name in attributes:
        if not reached.bound:
            meant = nearest_names(name, names)
            raise ReconError(
                f"{reached.spelled} has no self, so --self {name} sets nothing.",
                f"Did you mean --bind {meant[0]}?" if meant else "Give its arguments, and the names that it reads, with --bind.",
            )
        if hasattr(code, "__code__") and (head := head_of(name)) not in read.attributes | read.words:
            values = {
                n for n in read.attributes if not hasattr(torch.Tensor, n) and not callable(getattr(reached.owner, n, None))
            }
            nodes = [*ast.walk(reached.tree)] if reached.tree is not None else []
            own = {n.attr for n in nodes if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "self"} if nodes else values
            raise never(reached, "--self", head, values & own, names)


def never(reached: Reached, option: str, name: str, names: set[str], others: set[str]) -> ReconError:
    """Return the error for a name that is never read."""
    other = "--self" if option == "--bind" else "--bind"
    meant = nearest_names(name, names)
    hint = f"Did you mean {meant[0]}? " if meant else f"Did you mean {other} {name}? " if name in others else ""
    return ReconError(
        f"{reached.spelled} reads no {'self.' * (option == '--self')}{name}, so {option} {name} sets nothing.",
        f"{hint}It reads {', '.join(sorted(names)) or 'none that could be set'}.",
    )
