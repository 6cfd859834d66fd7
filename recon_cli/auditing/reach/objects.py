"""Objects on whose behalf a function is called: made without their own __init__, with what they are known to have."""

from __future__ import annotations

import ast
import inspect
import re
import sys
import textwrap
from collections.abc import Mapping
from typing import Any

from recon_cli.auditing.limiting import explained
from recon_cli.auditing.reach.extracting import Definition


class Stand:
    """Stands in for ``self``, or for a namespace such as parsed arguments: has what it was given, and methods of a class."""

    def __init__(self, about: str = "self", **values: object) -> None:
        self.__dict__.update(values, _about=about)

    def __getattr__(self, name: str) -> object:
        raise AttributeError(f"{self.__dict__.get('_about', 'self')} has no {name!r}")


def source(code: Any) -> ast.AST | None:
    """Return the definition of a function, or None where there is no source to read."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(code))))
    except (OSError, TypeError, SyntaxError, ValueError, IndentationError):
        return None
    return next((node for node in ast.walk(tree) if isinstance(node, (*Definition, ast.Lambda))), None)


def head_of(key: str) -> str:
    """Return the name with which ``a.b['c']`` begins."""
    return re.split(r"[.(\[]", key, maxsplit=1)[0]


def assign(owner: object, attributes: Mapping[str, object]) -> None:
    """Set attributes, dotted ones on stand-ins made on the way; items of one in a dictionary that is made of them."""
    for name, value in attributes.items():
        if (items := re.split(r"\[|\]\[?", name))[1:]:
            name, value = items[0], {ast.literal_eval(item): value for item in items[1:2]}
            value = {**(vars(owner).get(name) or {}), **value}
        at, *rest = name.split(".")
        target = owner
        for part in rest:
            inner = vars(target).get(at) if hasattr(target, "__dict__") else None
            inner = getattr(target, at, None) if inner is None else inner
            if inner is None:
                inner = Stand(at)
                setattr(target, at, inner)
            target, at = inner, part
        with explained(f"{at} of {type(target).__name__} cannot be set", "Give an object, or a function, whose can."):
            if isinstance(getattr(type(target), at, None), property):
                replace_attribute(target, at, value)
            else:
                setattr(target, at, value)


def replace_attribute(owner: object, name: str, value: object) -> None:
    """Set an attribute; a property without a setter too, on an object of a class of its own then."""
    kind = type(owner)
    if isinstance(was := getattr(kind, name, None), property) and was.fset is None:
        owner.__class__ = type(kind.__name__, (kind,), {name: value, "__module__": kind.__module__})
    else:
        object.__setattr__(owner, name, value)


def stand_in(kind: Any) -> Any:
    """Return an object of a class without its ``__init__``; a module gets what torch needs of one."""
    with explained(f"No {kind.__name__} can be made", "Give an object of it, or a function."):
        owner = kind.__new__(kind)
    module = sys.modules.get("torch.nn")
    if module is not None and isinstance(owner, module.Module):
        module.Module.__init__(owner)
    return owner


def methods_of(kind: type) -> list[str]:
    """Return the public methods of a class, without those that every object and every torch module has."""
    common = [base for base in kind.__mro__ if (base.__module__, base.__name__) == ("torch.nn.modules.module", "Module")]
    plain = {*dir(object), *(key for base in common for key in vars(base))} - {"forward"}
    return [key for key in dir(kind) if key not in plain and key[0] != "_" and callable(inspect.getattr_static(kind, key))]
