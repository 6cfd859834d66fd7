"""What the source says of an argument: what it is taken apart into, which keys and attributes of it are read."""

from __future__ import annotations

import ast
from typing import Any

from recon_cli.auditing.callables import Stand
from recon_cli.auditing.vocabulary import DATA, LATENT, TENSOR_WORDS, role_of


def assignments(tree: ast.AST) -> list[tuple[ast.AST, ast.AST]]:
    """Return every ``target = value`` in a definition."""
    return [(node.targets[0], node.value) for node in ast.walk(tree) if isinstance(node, ast.Assign)]


def unpacked(tree: ast.AST, name: str) -> list[str]:
    """Return the names that ``a, b = args`` or ``a = args[0]`` give to the elements of ``name``."""
    names: dict[int, str] = {}
    for target, value in assignments(tree):
        whole = value.value if isinstance(value, ast.Subscript) and isinstance(value.slice, ast.Slice) else value
        if isinstance(whole, ast.Name) and whole.id == name and isinstance(target, (ast.Tuple, ast.List)):
            names |= {i: spelled(part) for i, part in enumerate(target.elts)}
        if (position := position_in(value, name)) is not None and isinstance(target, ast.Name):
            names[position] = target.id
    for node in ast.walk(tree):
        if (position := position_in(node, name)) is not None:
            names.setdefault(position, f"{name}[{position}]")
    return [names.get(i, "_") for i in range(max(names) + 1)] if names else []


def spelled(part: ast.AST) -> str:
    """Return a name in an unpacking; of a nested one, its text."""
    return part.id if isinstance(part, ast.Name) else ast.unparse(part)


def position_in(node: ast.AST, name: str) -> int | None:
    """Return 0 for a node that is ``name[0]``, with a whole number; None for any other."""
    match node:
        case ast.Subscript(value=ast.Name(id=who), slice=ast.Constant(value=int(position))) if who == name:
            return None if isinstance(position, bool) else position
    return None


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


def structure(tree: ast.AST | None, name: str) -> Any:
    """Return what the source takes an argument apart into: a list of names, a dict of keys, an object's attributes; or None."""
    if tree is None:
        return None
    if keys := keys_of(tree, name):
        return {key: key for key in keys}
    unpack = [
        target
        for target, value in assignments(tree)
        if isinstance(target, (ast.Tuple, ast.List)) and name in (named(value), named(getattr(value, "value", None)))
    ]
    names = unpacked(tree, name)
    roles = [role_of(inner) for inner in names if "[" not in inner]
    if unpack and names and not any(isinstance(v, ast.Attribute) and t in unpack for t, v in assignments(tree)):
        return names
    if names and any(role in (*DATA, *LATENT, "kl", "posterior") for role in roles) and len(names) > 1:
        return names
    import torch

    attributes = {
        node.attr for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == name
    }  # fmt: skip
    foreign = {attr for attr in attributes if not hasattr(torch.Tensor, attr) and attr not in TENSOR_WORDS}
    roles_there = {attr for attr in attributes if role_of(attr) in ("recon", "target", "mu", "scale", "kl", "posterior")}
    if foreign & roles_there and role_of(name) != "decoder":
        return Stand(
            **{
                attr: attr
                for attr in foreign | roles_there - {"mean", "var", "std"} | (roles_there if "logvar" in attributes else set())
            }
        )
    return None


def outputs_of(tree: ast.AST | None, name: str) -> list[str]:
    """Return the names that ``a, b = model(x)`` gives to what calling an argument returns, a reconstruction among them."""
    for target, value in assignments(tree) if tree is not None else ():
        if isinstance(value, ast.Call) and named(value.func) == name and isinstance(target, (ast.Tuple, ast.List)):
            names = [spelled(part) for part in target.elts]
            if "recon" in map(role_of, names):
                return names
    return []


def named(node: Any) -> str:
    """Return the name that a node is, or nothing."""
    return node.id if isinstance(node, ast.Name) else ""


def mentioned(tree: ast.AST, name: str) -> bool:
    """Whether the body reads a name."""
    return any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in ast.walk(tree))
