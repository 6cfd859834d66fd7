"""Roles: which argument is the reconstruction, the target, the mean and the scale of the latents; by name, and said."""

from __future__ import annotations

import ast
import builtins
import inspect
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from recon_cli.auditing.callables import Reached, Stand
from recon_cli.auditing.structures import assignments, keys_of, mentioned, outputs_of, spelled, structure, unpacked
from recon_cli.auditing.vocabulary import DATA, FLAGS, LATENT, NUMBERS, RECORDS, ROLES, meaning_of, role_of
from recon_cli.errors import ReconError


@dataclass(frozen=True)
class Slot:
    """One place that a tensor goes: its key in the call, its role, what its name says of a scale, and how that was found."""

    key: str
    role: str
    how: str
    meaning: str | None = None
    group: str = ""


Pair: TypeAlias = tuple[Slot, Slot | None]  # a reconstruction and its target


@dataclass(frozen=True)
class BoundNumber:
    """A whole number that was bound to an argument: it may be a size, and change with that."""

    name: str
    value: int


@dataclass(frozen=True)
class DecoderOutputs:
    """What a model that is called inside answers with."""

    parts: Any


@dataclass(frozen=True)
class Stacked:
    """Several slots along a last axis of one argument: a mean and its variance."""

    parts: tuple[Slot, ...]


@dataclass
class CallPlan:
    """How to call: a structure for every argument, whose leaves are slots; what goes into the function's globals."""

    arguments: list[Any] = field(default_factory=list)
    keywords: dict[str, Any] = field(default_factory=dict)
    free: dict[str, Any] = field(default_factory=dict)
    inner: dict[str, Any] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    taken: list[str] = field(default_factory=list)

    def slots(self) -> list[Slot]:
        """Return every slot in the order of the call."""
        slots: list[Slot] = []

        def visit(part: Any) -> None:
            if isinstance(part, Slot):
                slots.append(part)
            elif isinstance(part, Mapping):
                visit([*part.values()])
            elif isinstance(part, (list, tuple)):
                for value in part:
                    visit(value)
            elif isinstance(part, (DecoderOutputs, Stacked)):
                visit(part.parts)
            elif isinstance(part, Stand):
                visit({key: value for key, value in vars(part).items() if key != "_about"})

        for part in (self.arguments, self.keywords, self.free, self.inner):
            visit(part)
        return slots

    def role(self, role: str) -> list[Slot]:
        """Return the slots of one role."""
        return [slot for slot in self.slots() if slot.role == role]


def plan(reached: Reached, bind: Mapping[str, Any], order: str | None) -> CallPlan:
    """Match every argument to a role: as told by ``order``, else by name, the unknown ones left for a numerical test."""
    call = CallPlan()
    tree = reached.tree
    parameters = parameters_of(reached)
    words = roles_in(order)
    index = 0
    for parameter in parameters:
        name = parameter.name
        if parameter.kind is parameter.VAR_POSITIONAL:
            index += fill_positional(call, tree, name, words[index:])
            continue
        if parameter.kind is parameter.VAR_KEYWORD:
            fill_keywords(call, reached, name, bind)
            continue
        word = words[index] if words[index:] else None
        index += 1
        if name not in bind and parameter.default is not parameter.empty:
            if word in SKIPPED:
                break
            if word is None and not wanted(parameter):
                continue
        value = value_of(name, word, call, reached, bind)
        if (
            parameter.kind is parameter.KEYWORD_ONLY
            or len(call.arguments) < index - 1
            and not any(p.kind is p.VAR_POSITIONAL for p in parameters)
        ):
            call.keywords[name] = value
        else:
            call.arguments.append(value)
    if words[index:]:
        raise ReconError(f"--args names {len(words)} roles, and {reached.spelled} takes {index} arguments.", "Name one for each.")
    if tree is not None:
        around(call, reached, tree, bind)
    return call


SKIPPED = ("-", "_", "", "skip")  # words of --args for no role


def parameters_of(reached: Reached) -> list[inspect.Parameter]:
    """Return the parameters that a call fills. Raises ReconError where they cannot be read."""
    try:
        parameters = [*inspect.signature(reached.code).parameters.values()]
    except (TypeError, ValueError) as error:
        raise ReconError(
            f"The arguments of {reached.spelled} cannot be read: {error}.", "Wrap it in a function with named ones."
        ) from error
    return parameters[1:] if reached.bound else parameters


def roles_in(order: str | None) -> list[str]:
    """Return the words of ``--args``. Raises ReconError for one that is no role."""
    words = [word.strip() for word in order.split(",")] if order else []
    bad = [word for word in words if word not in ROLES and not meaning_of(word) and word not in ("", "-", "_")]
    if bad:
        raise ReconError(f"{bad[0]!r} is no role.", f"Roles: {', '.join(ROLES)}; in the order of the arguments.")
    return words


def fill_positional(call: CallPlan, tree: ast.AST | None, name: str, words: list[str]) -> int:
    """Add to the plan what goes into ``*name``, as told or as the source unpacks it; return how many that are."""
    names = unpacked(tree, name) if tree is not None else []
    if words:
        names = [names[i] if i < len(names) else f"{name}[{i}]" for i in range(len(words))]
    for i, inner in enumerate(names):
        call.arguments.append(leaf(inner, call, words[i] if words[i:] else None, f"{name}[{i}]"))
    return len(names)


def fill_keywords(call: CallPlan, reached: Reached, name: str, bind: Mapping[str, Any]) -> None:
    """Add to the plan what goes into ``**name``: the keys that the source reads. Raises ReconError for one that is missing."""
    keys = keys_of(reached.tree, name)
    for key, optional in keys.items():
        if key in bind:
            call.keywords[key] = bind[key]
        elif role_of(key) in (*DATA, *LATENT):
            call.keywords[key] = leaf(key, call, None, f"{name}[{key!r}]")
        elif not optional:
            raise needed(key, reached)
    call.keywords |= {key: value for key, value in bind.items() if key in keys}


def value_of(name: str, word: str | None, call: CallPlan, reached: Reached, bind: Mapping[str, Any]) -> Any:
    """Return what the plan passes for an argument: what is bound, as ``word`` tells, else by the source and by the name."""
    if name in bind:
        return BoundNumber(name, bind[name]) if type(bind[name]) is int else bind[name]
    if word in SKIPPED:
        return None
    return leaf(name, call, word, name) if word is not None else value_by_name(name, call, reached)


def value_by_name(name: str, call: CallPlan, reached: Reached) -> Any:
    """Return what the plan passes for an argument of which nothing was told. Raises ReconError for a number to be given."""
    tree, role = reached.tree, role_of(name)
    if answers := outputs_of(tree, name):
        return DecoderOutputs(filled(answers, f"{name}(...)", call))
    if not RECORDS.match(name) and (inside := structure(tree, name)) is not None:
        return filled(inside, name, call)
    if name in FLAGS:
        call.taken.append(f"{name} = {FLAGS[name]!r} was assumed")
        return FLAGS[name]
    if RECORDS.match(name):
        return defaultdict(list)
    if NUMBERS.match(name) and role is None:
        raise needed(name, reached)
    if set(name) <= {"_"} or (tree is not None and not mentioned(tree, name) and role is None):
        return None
    return leaf(name, call, None, name)


def wanted(parameter: inspect.Parameter) -> bool:
    """Whether an argument with a default is one that the audit fills: a tensor that may be left out."""
    if parameter.default is None and "pad" in parameter.name:
        return True
    return parameter.default is None and role_of(parameter.name) in ("recon", "target", "mu", "scale", "posterior", "kl")


def leaf(name: str, call: CallPlan, word: str | None, key: str) -> Any:
    """Return a slot by what was told, or by its name; an unknown one is noted."""
    if not word and set(name) <= {"_"}:
        return None
    if word in ("-", "_", ""):
        return None
    if word:
        return Slot(
            key,
            "scale" if meaning_of(word) else word,
            "told by --args",
            meaning_of(name) or (meaning_of(word) if word != "scale" else None),
        )
    role = role_of(name)
    if role is None:
        call.unknown.append(key)
        return Slot(key, "unknown", "not matched")
    return Slot(key, role, f"by its name, {name}", meaning_of(name), stem(name, role))


def needed(name: str, reached: Reached) -> ReconError:
    """Return the error for a number that only the user knows."""
    return ReconError(f"{reached.spelled} needs {name}, which has no default.", f"Pass it: --bind {name}=1, say.")


def stem(name: str, role: str) -> str:
    """Return what pairs ``tnf_in`` with ``tnf_out``."""
    match = re.match(r"(\w+?)_(in|out)$", name)
    return match[1] if match and role in DATA else ""


def change(call: CallPlan, slot: Slot, role: str, how: str) -> None:
    """Give a slot another role, wherever it is."""
    new = Slot(slot.key, role, how, slot.meaning if role == "scale" else None, slot.group)
    substitute(call, slot.key, new)


def substitute(call: CallPlan, key: str, new: Slot | Stacked) -> None:
    """Put ``new`` in the place of the slot called ``key``."""

    def visit(part: Any) -> Any:
        if isinstance(part, Slot):
            return new if part.key == key else part
        if isinstance(part, dict):
            return {name: visit(value) for name, value in part.items()}
        if isinstance(part, (list, tuple)):
            return type(part)(visit(value) for value in part)
        if isinstance(part, (DecoderOutputs, Stacked)):
            return type(part)(visit(part.parts))
        if isinstance(part, Stand):
            return Stand(**{name: visit(value) for name, value in vars(part).items() if name != "_about"})
        return part

    call.arguments, call.keywords, call.free, call.inner = map(visit, (call.arguments, call.keywords, call.free, call.inner))


def filled(inside: Any, name: str, call: CallPlan) -> Any:
    """Return the structure with slots for its names."""
    if isinstance(inside, list):
        one = len(inside) == 1
        return tuple(
            leaf(role_name(name, inner, one), call, None, f"{name}[{i}]") if "," not in inner else
            tuple(leaf(deep.strip(), call, None, f"{name}[{i}][{j}]") for j, deep in enumerate(inner.strip("()").split(",")))
            for i, inner in enumerate(inside)
        )  # fmt: skip
    if isinstance(inside, dict):
        return {key: leaf(inner, call, None, f"{name}[{key!r}]") for key, inner in inside.items()}
    parts = {key: leaf(key, call, None, f"{name}.{key}") for key in vars(inside) if key != "_about"}
    return Stand(name, **parts)


def role_name(name: str, inner: str, one: bool) -> str:
    """Return an element by the name it is given; by its tuple's, where it is alone in it and its own says nothing."""
    return name if (one and role_of(inner) is None) or "[" in inner else inner


def around(call: CallPlan, reached: Reached, tree: ast.AST, bind: Mapping[str, Any]) -> None:
    """Give roles to what is no argument: outputs of a model that runs inside, and names read from around the function."""
    code = inspect.unwrap(reached.code)
    for target, value in assignments(tree):
        if not isinstance(value, ast.Call) or not isinstance(value.func, (ast.Attribute, ast.Name)):
            continue
        called = ast.unparse(value.func)
        owner, _, attribute = called.partition(".")
        attribute = attribute or "forward" * (called == "self")
        inside = (
            owner == "self" and "." not in attribute and attribute != reached.method and isinstance(target, (ast.Tuple, ast.List))
        )
        names = [spelled(part) for part in target.elts] if isinstance(target, (ast.Tuple, ast.List)) else []
        flat = [deep.strip("() []") for inner in names for deep in inner.split(",")]
        model = inside and "recon" in map(role_of, flat) and {"mu", "scale", "posterior"} & {*map(role_of, flat)}
        able = (
            callable(vars(reached.owner).get(attribute)) or (method_of(reached.owner, attribute) and not reached.blank)
            if model
            else False
        )
        if model and not able:
            call.inner[attribute] = filled(names, f"self.{attribute}(...)", call)
    if call.inner:
        calls = [
            node
            for node in ast.walk(tree)
            if isinstance(node, ast.Call) and (ast.unparse(node.func)[5:] or "forward") in call.inner
        ]
        inside_them = {id(n) for node in calls for n in ast.walk(node)}
        for slot in [s for s in call.slots() if s.role in ("target", "unknown") and s.key.isidentifier()]:
            reads = [n for n in ast.walk(tree) if isinstance(n, ast.Name) and n.id == slot.key and isinstance(n.ctx, ast.Load)]
            if all(id(n) in inside_them for n in reads):
                change(call, slot, "skip", "only the model inside reads it")
                call.unknown = [key for key in call.unknown if key != slot.key]
    have = {slot.role for slot in call.slots()}
    plain = getattr(code, "__code__", None)
    free = set(plain.co_freevars) if plain else set()
    cells = dict(zip(plain.co_freevars, code.__closure__ or (), strict=True)) if plain else {}
    free -= {
        name for name, cell in cells.items() if isinstance(content_of(cell), (int, float, str)) or callable(content_of(cell))
    }
    scope = getattr(reached.code, "__globals__", {})
    assigned = {n.id for n in ast.walk(tree) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    arguments = {a.arg for a in ast.walk(tree) if isinstance(a, ast.arg)}
    for name in sorted({n.id for n in ast.walk(tree) if isinstance(n, ast.Name)} - assigned - arguments - {*dir(builtins)}):
        around_it, role = name in free or (name not in scope and name not in cells), role_of(name)
        if around_it and name not in bind and role in ("mu", "scale", "recon", "target", "kl") and role not in have:
            call.free[name] = Slot(name, role, f"by its name, {name}, read from around the function", meaning_of(name))


def content_of(cell: Any) -> Any:
    """Return what is in a closure's cell; None where nothing is."""
    try:
        return cell.cell_contents
    except ValueError:
        return None


def method_of(owner: Any, name: str) -> bool:
    """Whether an object can do ``name`` already: a method of its own class, or a submodule."""
    return hasattr(type(owner), name) or name in getattr(owner, "_modules", {})
