"""What an object's ``__init__`` would set, read off its lines as far as its arguments are known; no object is made.

An argument is known by its default, or by an annotation that names a configuration which can be made of nothing. Of what is
set, values are kept (numbers, words, tuples of them, configurations, losses of torch); networks are left to whoever asks.
"""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import inspect
import re
import sys
import typing
from collections.abc import Iterable, Mapping

from recon_cli.auditing.reach.defining import Absence
from recon_cli.auditing.reach.extracting import Definition, calm, root_of
from recon_cli.auditing.reach.objects import Stand, assign, source

CONFIGURATION = re.compile(r"(?i).*(config|cfg|conf|args|arguments|opts?|options?|params|hparams|settings|hyper\w*|namespace)$")
SMALL = 64  # of a tuple or a dictionary that is a value


class Unknown:
    """Stands for a value that is not known."""


class Initial:
    """Goes through the lines of ``__init__`` and those that it calls of its bases, in their order.

    attributes, texts
        what was set on self, and the expression that gave it.
    """

    def __init__(self, kind: type, given: Mapping[str, object]) -> None:
        self.kind, self.given = kind, given
        self.attributes: dict[str, object] = {}
        self.texts: dict[str, str] = {}
        self.configurations = configurations(kind)
        self.run(kind.__mro__, (), {})

    def run(self, bases: Iterable[type], passed: Iterable[object], named: Mapping[str, object]) -> None:
        """Run the first ``__init__`` among the bases that is written here, with what is known of its arguments."""
        bases = [base for base in bases if "__init__" in vars(base)]
        code = vars(bases[0])["__init__"] if bases else None
        if (
            not inspect.isfunction(code)
            or bases[0].__module__.partition(".")[0] == "torch"
            or not isinstance(tree := source(code), Definition)
        ):
            return
        own, *parameters = inspect.signature(code).parameters.values()
        known = {p.name: value for p in parameters if (value := self.argument(p)) is not Unknown}
        known |= {p.name: value for p, value in zip(parameters, passed, strict=False) if value is not Unknown}
        known |= {name: value for name, value in named.items() if value is not Unknown}
        after = bases[0].__mro__[1:]
        Frame(self, own.name, dict(code.__globals__) | known, after).run(tree.body)

    def argument(self, parameter: inspect.Parameter) -> object:
        """Return what is known of an argument: its configuration, else its default, else Unknown."""
        name, default = parameter.name, parameter.default
        if name in self.configurations:
            with contextlib.suppress(Exception):
                value = self.configurations[name]()
                assign(value, {key.partition(".")[2]: own for key, own in self.given.items() if key.startswith(f"{name}.")})
                return value
        return Unknown if default is parameter.empty or isinstance(default, Absence) else default

    def said(self, code: object, given: Iterable[str]) -> list[str]:
        """Return a sentence for each value that a function reads of self, and that was not given."""
        tree, notes = source(code), list[str]()
        nodes = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)] if tree is not None else []
        for key, value in self.attributes.items():
            inner = sorted({node.attr for node in nodes if isinstance(node.value, ast.Attribute) and node.value.attr == key})
            if is_configuration(type(value)) or isinstance(value, Stand):
                places = {f"{key}.{part}": repr(getattr(value, part)) for part in inner if hasattr(value, part)}
                notes += [
                    f"self.{place} = {own}, as {type(value).__name__} has it"
                    for place, own in places.items()
                    if place not in given
                ]
            elif key not in given and any(node.attr == key for node in nodes):
                own = repr(value) if value is None or isinstance(value, (bool, int, float, str, tuple, list)) else self.texts[key]
                notes.append(f"self.{key} = {own}, as {self.kind.__name__} sets it")
        return notes


class Frame:
    """One ``__init__`` that is gone through: its names, and the bases after its own."""

    def __init__(self, initial: Initial, own: str, names: dict[str, object], after: tuple[type, ...]) -> None:
        self.initial, self.own, self.names, self.after = initial, own, names, after

    def run(self, lines: list[ast.stmt]) -> bool:
        """Run lines; return whether the next may be run too: nothing was returned or raised."""
        return all(self.line(node) for node in lines)

    def line(self, node: ast.stmt) -> bool:
        """Run a line as far as it is known; what it sets otherwise is unknown."""
        match node:
            case ast.Assign(targets=[target], value=value) | ast.AnnAssign(target=target, value=ast.expr() as value):
                self.set(target, value)
            case ast.If(test=test, body=body, orelse=orelse):
                if (answer := self.value(test)) is not Unknown:
                    return self.run(body if answer else orelse)
                self.forget(node)
            case ast.With(body=body) | ast.Try(body=body):
                return self.run(body)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=base, attr="__init__")) as call):
                self.base(base, call)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=self.own), attr="save_hyperparameters"))):
                taken = inspect.signature(self.initial.kind.__init__).parameters  # type: ignore[misc]
                known = {name: self.names[name] for name in taken if name in self.names}
                self.initial.attributes.setdefault("hparams", Stand("hparams", **known))
            case ast.Return() | ast.Raise():
                return False
            case _:
                self.forget(node)
        return True

    def base(self, base: ast.expr, call: ast.Call) -> None:
        """Go through the ``__init__`` of a base that is called, with what is known of what is passed."""
        of_super = isinstance(base, ast.Call) and isinstance(base.func, ast.Name) and base.func.id == "super"
        kind = None if of_super else self.names.get(base.id) if isinstance(base, ast.Name) else None
        passed = [self.value(each) for each in call.args if not isinstance(each, ast.Starred)]
        named = {each.arg: self.value(each.value) for each in call.keywords if each.arg}
        if of_super:
            self.initial.run(self.after, passed, named)
        elif isinstance(kind, type):
            self.initial.run(kind.__mro__, passed[1:], named)

    def set(self, target: ast.expr, expression: ast.expr) -> None:
        """Set a name, or an attribute of self, to the value of an expression, if both are known."""
        if (value := self.value(expression)) is Unknown:
            self.forget(target)
        elif isinstance(target, ast.Name):
            self.names[target.id] = value
        elif isinstance(target, ast.Attribute) and isinstance(target.value, ast.Name) and target.value.id == self.own:
            self.initial.attributes[target.attr] = value
            self.initial.texts[target.attr] = ast.unparse(expression)

    def forget(self, node: ast.AST) -> None:
        """Forget what a line that is not run would set."""
        for each in ast.walk(node):
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store):
                self.names.pop(each.id, None)
            elif isinstance(each, ast.Attribute) and isinstance(each.ctx, ast.Store):
                self.initial.attributes.pop(each.attr, None)

    def value(self, expression: ast.expr) -> object:
        """Return the value of an expression that only makes one, and no layer; Unknown of any other."""
        scope = {**self.names, self.own: Stand(self.own, **self.initial.attributes)}
        nodes = [*ast.walk(expression)]
        own = any(isinstance(node, ast.Call) and root_of(node.func) == self.own for node in nodes)
        if own or not calm(expression, {}) or any(isinstance(n, (ast.Attribute, ast.Name)) and network(n) for n in nodes):
            return Unknown
        try:
            value: object = eval(compile(ast.Expression(expression), "<init>", "eval"), scope)
        except Exception:
            return Unknown
        return value if is_value(value) else Unknown


def network(node: ast.Attribute | ast.Name) -> bool:
    """Whether a word of an expression is a layer of torch's, which is dear to make and asked for as it is called."""
    name = node.attr if isinstance(node, ast.Attribute) else node.id
    layer = getattr(sys.modules.get("torch.nn"), name, None)
    return isinstance(layer, type) and not name.endswith("Loss")


def is_value(value: object) -> bool:
    """Whether something is a value that a loss reads: a number, a word, a few of them, a configuration, a loss of torch."""
    if value is None or isinstance(value, (bool, int, float, str)):
        return True
    if isinstance(value, (tuple, list, dict)):
        return len(value) <= SMALL and all(map(is_value, value.values() if isinstance(value, dict) else value))
    kind = type(value)
    if inspect.isfunction(value) or kind.__module__ == "torch.nn.modules.loss":
        return True
    return is_configuration(kind) or isinstance(value, Stand)


def is_configuration(kind: object) -> bool:
    """Whether a class only holds settings."""
    if not isinstance(kind, type) or isinstance(kind, Absence):
        return False
    holds = dataclasses.is_dataclass(kind) or any(hasattr(kind, word) for word in ("model_fields", "__attrs_attrs__", "_fields"))
    return (holds or CONFIGURATION.match(kind.__name__) is not None) and not hasattr(kind, "forward")


def configurations(kind: type) -> dict[str, type]:
    """Return the classes of settings that the arguments of a class are annotated with, by argument; the last derived's."""
    kinds: dict[str, type] = {}
    for base in reversed(kind.__mro__):
        code = vars(base).get("__init__")
        if not inspect.isfunction(code):
            continue
        for name, text in code.__annotations__.items():
            annotation = text
            if isinstance(text, str):
                with contextlib.suppress(Exception):
                    annotation = eval(text, code.__globals__)
            for each in (annotation, *typing.get_args(annotation)):
                if is_configuration(each):
                    kinds[name] = each
    return kinds
