"""Asking: a function is called with stand-ins for what nobody gave, to learn what it asks of each.

What its keywords are, and what it reads around it.
"""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from recon_cli.auditing.reach.call_plans import CallPlan, Slot
from recon_cli.auditing.reach.callables import Reached, with_names
from recon_cli.auditing.reach.defining import Absence
from recon_cli.auditing.reach.expressions import Expression, names_read
from recon_cli.auditing.reach.tracing import Trace, traced
from recon_cli.auditing.reach.vocabulary import DATA, FLAGS, LATENT, RECORDS, meaning_of, role_of
from recon_cli.errors import ReconError

SKIPPED = ("-", "_", "", "skip")  # words of --args for no role


def asked(
    call: CallPlan, reached: Reached, parameters: list[inspect.Parameter], bind: Mapping[str, object], words: list[str],
    keys: dict[str, bool], given: Mapping[str, object],
) -> Trace:  # fmt: skip
    """Return what the function asks of its arguments, where each that is not ``given``, or part of one, is a stand-in.

    ``keys`` are those that it reads of its keywords, and whether they may be left out: those that are missed in the call are
    put to them.
    """

    def run(trace: Trace) -> object:
        def value(name: str, word: str | None) -> object:
            if name in bind or word in SKIPPED or (role_of(name) is None and name in FLAGS):
                part = bind.get(name, None if word in SKIPPED else FLAGS.get(name))
                names = {p.name for p in parameters} & part.names if isinstance(part, Expression) else ()
                return part.value({each: trace.stand_in(each) for each in names}) if isinstance(part, Expression) else part
            return defaultdict(list) if RECORDS.match(name) else trace.stand_in(name)

        def several(name: str, own: list[str]) -> list[object]:
            return [trace.stand_in(f"{name}[{i}]") for i in range(len(own) if words else trace.most)]

        arguments, keywords, _ = filled(parameters, bind, words, keys, reached.tree, value, several)
        function = reached.caller()
        owner = getattr(function, "__self__", None) or (function.args[0] if hasattr(function, "args") and function.args else None)
        trace.complete(owner if owner is not None else function if reached.bound else None, call.inner)
        if call.free:
            function = with_names(function, {name: trace.stand_in(name) for name in call.free})
        return function(*arguments, **keywords)

    trace = traced(run, given)
    while any(p.kind is p.VAR_KEYWORD for p in parameters) and (new := absent(trace.error) - keys.keys()):
        before = str(trace.error)
        keys |= dict.fromkeys(sorted(new), False)
        trace = traced(run, given)
        if str(trace.error) == before:  # it is not there that they were looked for
            for key in new:
                del keys[key]
            break
    return trace


def absent(error: BaseException | None) -> set[str]:
    """Return the keys, or the arguments of a function that was called inside, that an error says are not there."""
    if isinstance(error, KeyError):
        return {key for key in error.args if isinstance(key, str)}
    missing = (
        re.search(r"missing \d+ required [\w-]+(?: [\w-]+)* arguments?: (.*)", str(error))
        if isinstance(error, TypeError)
        else None
    )
    return {*re.findall(r"'(\w+)'", missing[1])} if missing else set()


def read(keys: Mapping[str, bool], bind: Mapping[str, object]) -> list[str]:
    """Return the keys that are passed: those that are given, that have a role, or that cannot be left out."""
    return [key for key, optional in keys.items() if key in bind or not optional or role_of(key) in (*DATA, *LATENT)]


def filled(
    parameters: list[inspect.Parameter], bind: Mapping[str, object], words: list[str], keys: Mapping[str, bool],
    tree: ast.AST | None, value: Callable[[str, str | None], object], several: Callable[[str, list[str]], list[object]],
) -> tuple[list[object], dict[str, object], int]:  # fmt: skip
    """Return the arguments and the keywords of a call, and how many words of ``--args`` there may be.

    ``value`` gives what is passed for an argument and the word for it, ``several`` the parts of ``*parts``. After the first
    that is left out by its default the others go by their names.
    """
    values: dict[str, object] = {}
    rest: list[object] = []
    index = 0
    for parameter in parameters:
        name, word = parameter.name, words[index] if words[index:] else None
        if parameter.kind is parameter.VAR_POSITIONAL:
            rest, index = several(name, words[index:]), max(index, len(words))
        elif parameter.kind is parameter.VAR_KEYWORD:
            values |= {key: value(key, None) for key in read(keys, bind)}
        else:
            index += 1
            asked_for = wanted(parameter, tree) if word is None else word not in SKIPPED
            if name in bind or parameter.default is parameter.empty or asked_for:
                values[name] = value(name, word)
    arguments: list[object] = []
    for parameter in parameters:
        by_place = parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD)
        if not by_place or parameter.name not in values and not rest:
            break
        arguments += [values.pop(parameter.name)] if parameter.name in values else []
    return [*arguments, *rest], values, index


def keys_of(tree: ast.AST | None, name: str) -> dict[str, bool]:
    """Return the keys that ``name['key']`` reads, and whether they may be left out (``name.get``)."""
    keys: dict[str, bool] = {}
    for node in ast.walk(tree) if tree is not None else ():
        match node:
            case ast.Subscript(value=ast.Name(id=who), slice=ast.Constant(value=str(key)), ctx=ast.Load()) if who == name:
                keys[key] = False
            case ast.Call(
                func=ast.Attribute(value=ast.Name(id=who), attr="get" | "pop" as how), args=[ast.Constant(value=str(key)), *rest]
            ):
                if who == name:
                    keys.setdefault(key, bool(rest) or how == "get")
    return keys


def handed_on(tree: ast.AST | None, parameters: list[inspect.Parameter], given: Iterable[str]) -> list[str]:
    """Return what is given and neither an argument nor a name that is read, where all keywords are handed on to others."""
    every = {p.name for p in parameters if p.kind is p.VAR_KEYWORD}
    nodes = [*ast.walk(tree)] if tree is not None else []
    passes = [n.value for n in nodes if isinstance(n, ast.keyword) and n.arg is None]
    if not any(isinstance(value, ast.Name) and value.id in every for value in passes):
        return []
    names = {p.name for p in parameters} | {n.id for n in nodes if isinstance(n, ast.Name)}
    return [name for name in given if name not in names]


def wanted(parameter: inspect.Parameter, tree: ast.AST | None) -> bool:
    """Whether an argument with a default is one that the audit fills: a tensor that may be left out, or that only seems to be."""
    if parameter.default is not None:
        return False
    role = role_of(parameter.name)
    data = role in ("recon", "target", "mu", "scale", "posterior", "kl")
    return "pad" in parameter.name or data or role is not None and takes_apart(tree, parameter.name)


def takes_apart(tree: ast.AST | None, name: str) -> bool:
    """Whether code reads a part of what a name holds, and nowhere asks whether it is there."""
    nodes = [*ast.walk(tree)] if tree is not None else []
    parts = any(isinstance(n, (ast.Attribute, ast.Subscript)) and is_name(n.value, name) for n in nodes)
    asks = any(isinstance(n, ast.Compare) and is_name(n.left, name) for n in nodes)
    tests = [n.test for n in nodes if isinstance(n, (ast.If, ast.IfExp, ast.Assert))]
    return parts and not asks and not any(is_name(n, name) for test in tests for n in ast.walk(test))


def is_name(node: ast.AST, name: str) -> bool:
    """Whether a node is that name alone."""
    return isinstance(node, ast.Name) and node.id == name


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
    for name in sorted(names_read(ast.unparse(tree)) - {*dir(builtins)}):
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
    known = [each.replace(default=each.empty) if isinstance(each.default, Absence) else each for each in parameters]
    return known[1:] if reached.bound else known
