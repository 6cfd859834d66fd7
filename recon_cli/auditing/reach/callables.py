"""Reaching a function: imported where its file imports cleanly, else taken out of the source with the helpers it names."""

from __future__ import annotations

import ast
import contextlib
import copy
import functools
import importlib
import inspect
import os
import re
import sys
import types
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from recon_cli.auditing.limiting import explained, from_outside, worded
from recon_cli.auditing.reach.defining import extracted
from recon_cli.auditing.reach.expressions import Expression, resolved
from recon_cli.auditing.reach.extracting import Definition, bound_by, nested_error, owners, parsed, top_names, untidy
from recon_cli.auditing.reach.initial import Initial
from recon_cli.auditing.reach.objects import Stand, assign, methods_of, source, stand_in
from recon_cli.auditing.reach.source_files import is_file, tree_of
from recon_cli.errors import ReconError
from recon_cli.runtime.user_code import execute_file, importable_names, importing_from, no_such_name


@dataclass(frozen=True)
class Reached:
    """A function that can be called, on whose behalf, and what is known of its source.

    code
        the plain function, for its signature; owner the object it is called on (copied for every call), or None.
    method
        the name it is called by on its owner; None to call the owner itself.
    tree
        its definition, where there is source.
    names
        the globals it runs in, its own copy.
    notes
        what was done to reach it, for people.
    blank
        whether the owner is a stand-in that was never initialised.
    """

    code: Callable[..., object]
    owner: Any = None
    method: str | None = None
    tree: ast.AST | None = None
    names: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    spelled: str = "loss"
    blank: bool = False

    @property
    def bound(self) -> bool:
        """Whether the first parameter is the owner."""
        return self.owner is not None

    def told(self, spelled: str, *notes: str) -> Reached:
        """Return the same by another name, with what else was done to reach it."""
        return replace(self, notes=(*notes, *self.notes), spelled=spelled)

    def caller(self) -> Callable[..., object]:
        """Return what to call now, on a fresh copy of the owner."""
        if self.owner is None:
            return self.code
        owner: Callable[..., object] = copy.deepcopy(self.owner)
        if self.method is None:
            return owner
        method = getattr(owner, self.method, None)
        return method if method is not None and not isinstance(owner, Stand) else functools.partial(self.code, owner)


def live(loss: object, bind: Mapping[str, object], attributes: Mapping[str, object]) -> Reached:
    """Reach a callable as it is: a function, a method, a module, an object, a class that needs no arguments."""
    from recon_cli.auditing.reach import jax_bridge

    notes: list[str] = []
    if (written := getattr(loss, "_torchdynamo_inline", None)) is not None and not inspect.isclass(loss):
        loss = written  # what torch.compile or torch.jit.script was given
        notes.append("compiled: it ran as it is written")
    if inspect.isclass(loss):
        with explained(f"{loss.__name__} could not be made without arguments", "Give an object of it."):
            loss = loss()
        notes.append(f"{type(loss).__name__}() was called without arguments")
    if isinstance(loss, functools.partial):
        first = zip(parameters_of(loss.func), loss.args, strict=False)
        bound = {**dict(first), **loss.keywords}
        inner = live(loss.func, {**bind, **bound}, attributes)
        return replace(inner, names={**inner.names, **bound})
    if not callable(loss):
        raise ReconError(f"This is no function but {type(loss).__name__}.", "Give a function, a method or a torch module.")
    spelled = getattr(loss, "__qualname__", type(loss).__name__)
    if jax_bridge.library_of(loss) and jax_bridge.installed():
        inner = inspect.unwrap(loss)
        loss = jax_bridge.bridged(rebuilt(inner, bind) if bind and inspect.isfunction(inner) else loss)
        notes.append("a function of JAX arrays, called through a bridge")
        bind = {**jax_bridge.keys_of(parameters_of(loss)), **bind}
    if inspect.ismethod(loss):
        owner, method, code = loss.__self__, loss.__name__, loss.__func__
    elif inspect.isfunction(loss) or inspect.isbuiltin(loss):
        owner, method, code = None, None, loss
    else:
        method = "forward" if hasattr(type(loss), "forward") else "__call__"
        owner, code = loss, getattr(type(loss), method)
        method = None
    if owner is not None:
        with explained(f"{spelled}'s object cannot be copied", "Give a plain function of it."):
            owner = copy.deepcopy(owner)
        assign(owner, attributes)
    if inspect.isfunction(code) and owner is None and (code.__closure__ or bind):
        code = rebuilt(code, bind)
    return Reached(code, owner, method, source(code), dict(bind), tuple(notes), spelled)


def rebuilt(code: Any, bind: Mapping[str, object]) -> Any:
    """Return the same function in a copy of its globals with ``bind`` in them and in its closure, so that nothing leaks."""
    scope = {**code.__globals__, **{key: value for key, value in bind.items() if "." not in key}}
    cells = tuple(
        types.CellType(bind[name]) if name in bind else cell
        for name, cell in zip(code.__code__.co_freevars, code.__closure__ or (), strict=True)
    )
    new = types.FunctionType(code.__code__, scope, code.__name__, code.__defaults__, cells or None)
    new.__kwdefaults__, new.__qualname__, new.__module__ = code.__kwdefaults__, code.__qualname__, code.__module__
    new.__dict__["__wrapped__"] = code
    return new


def with_names(call: Any, names: Mapping[str, object]) -> Callable[..., object]:
    """Return a function, or a method of an object, with values for names that it reads from around it."""
    bound = call.args if hasattr(call, "args") else ((call.__self__,) if hasattr(call, "__self__") else ())
    new = rebuilt(call.func if hasattr(call, "func") else getattr(call, "__func__", call), names)
    return lambda *args, **keywords: new(*bound, *args, **keywords)


@contextlib.contextmanager
def around(loss: object) -> Iterator[None]:
    """Put on the import path what a word for a function may name: its file's folder, this one, its package's."""
    if not isinstance(loss, str):
        yield
        return
    place = loss.rpartition(":")[0]
    here = [Path.cwd()] if os.access(".", os.F_OK) else []
    if is_file(Path(place)):
        first = Path(place).parent
    else:
        top = place.partition(".")[0]
        first = next((Path(each) for each in (*map(str, here), *sys.path) if top in importable_names(Path(each))), Path())
    with importing_from(first, *here):
        yield


def from_word(word: str, bind: Mapping[str, object], attributes: Mapping[str, object], make: str | None = None) -> Reached:
    """Reach ``FILE.py:function``, ``FILE.py:Class.method``, ``FILE.ipynb:function`` or ``package.module:name``.

    make
        how the object is made whose method it is, an expression.
    """
    place, _, name = word.rpartition(":")
    path = Path(place)
    if is_file(path):
        return from_file(path, name, bind, attributes, make)
    with explained(f"{place} cannot be imported", "Write FILE.py:function to read a file."):
        module = importlib.import_module(place)
    return from_names(vars(module), name, word, bind, attributes, (), make)


def from_names(
    names: Mapping[str, object], name: str, word: str, bind: Mapping[str, object], attributes: Mapping[str, object],
    notes: tuple[str, ...], make: str | None = None,
) -> Reached:  # fmt: skip
    """Return the function called ``name`` among ``names``; of a class, on a stand-in where it cannot be made."""
    bind, attributes = resolved(bind, names, "--bind"), resolved(attributes, names, "--self")
    head, *rest = name.split(".")
    target = names.get(head)
    if head not in names:
        raise no_such_name(head, [key for key, value in names.items() if callable(value)], word)
    if inspect.isclass(target):
        method = rest[0] if rest else next((m for m in ("forward", "__call__") if m in dir(target)), "__call__")
        if not hasattr(target, method):
            raise no_such_name(method, methods_of(target), word)
        if make is not None:
            owner = Expression(make, f"--make {make}").value({key: names[key] for key in names if key[:2] != "__"})
            if not isinstance(owner, target):
                raise ReconError(f"--make {make} makes a {type(owner).__name__}, and {name} is of {head}.", f"Make a {head}.")
            return live(getattr(owner, method), bind, attributes).told(f"{head}.{method}", *notes, f"self is {make}")
        return of_class(target, method, bind, attributes, notes)
    if make is not None:
        raise ReconError(
            f"--make makes the object of a method, and {name} is none.", "Leave it out, or name FILE.py:Class.method."
        )
    for part in rest:
        if not hasattr(target, part):
            raise no_such_name(part, dir(target), word)
        target = getattr(target, part)
    return live(target, bind, attributes).told(name, *notes)


def of_class(
    kind: type, method: str, bind: Mapping[str, object], attributes: Mapping[str, object], notes: tuple[str, ...]
) -> Reached:
    """Reach a method on an object of its class that was never initialised, with the attributes that are known."""
    raw, spelled = inspect.getattr_static(kind, method), f"{kind.__name__}.{method}"
    code = getattr(raw, "__func__", raw)
    if isinstance(raw, staticmethod):
        return live(code, bind, {}).told(spelled, *notes, "a static method")
    needs = [p for p in parameters_of(kind).values() if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)]
    if all(p.default is not p.empty for p in needs):
        try:
            owner = kind()
        except BaseException as error:
            if from_outside(error):
                raise
        else:
            note = f"{kind.__name__}() was called without arguments"
            return live(getattr(owner, method), bind, attributes).told(spelled, *notes, note)
    owner, initial = stand_in(kind), Initial(kind, attributes)
    for key, value in {"training": True, "device": "cpu", **initial.attributes}.items():
        with contextlib.suppress(ReconError):  # a property says it itself
            assign(owner, {key: value})
    assign(owner, attributes)
    if inspect.isfunction(code) and bind:
        code = rebuilt(code, bind)
    notes = (*notes, "self is a stand-in", *initial.said(code, attributes))
    return Reached(code, owner, method, source(code), dict(bind), notes, spelled, blank=True)


def parameters_of(code: Any) -> dict[str, inspect.Parameter]:
    """Return the parameters of something that can be called, none where it does not tell."""
    try:
        return {**inspect.signature(code).parameters}
    except (TypeError, ValueError):
        return {}


def from_file(
    path: Path, name: str, bind: Mapping[str, object], attributes: Mapping[str, object], make: str | None = None
) -> Reached:
    """Reach a function of a file: imported where the top level only defines things and its imports succeed, else extracted."""
    tree, text = tree_of(path)
    word = f"{path}:{name}"
    head, *rest = name.split(".")
    top = owners(tree).get(head)
    if top is None or (rest and isinstance(top, Definition)):
        wanted, scope = (rest[0], top) if top is not None else (head, tree)
        nested = [node for node in ast.walk(scope) if isinstance(node, Definition) and node.name == wanted]
        raise (
            nested_error(word, nested[0], tree) if nested else no_such_name(wanted, top_names(tree) if top is None else [], word)
        )
    why = "its notebook" if path.suffix == ".ipynb" else untidy(tree)
    if not why:
        try:
            names = execute_file(path)
        except BaseException as error:
            if from_outside(error):
                raise
            why = f"importing {path.name} raised {worded(error)}"
        else:
            bind = resolved(bind, names, "--bind")
            names.update({key: value for key, value in bind.items() if not callable(names.get(key))})  # helpers read them too
            return from_names(names, name, word, bind, attributes, (f"imported from {path.name}",), make)
    extract = extracted(tree, text, path, head, bind)
    names = extract.names
    note = f"taken out of {path.name} without running it ({why})"
    if extract.beside:
        count = len(extract.beside)
        note += f", with what it imports from {count} {'files' if count > 1 else 'file'} beside it"
    if extract.missing:
        note += f"; not there: {', '.join(sorted(extract.missing))}"
    for line, changed in extract.left.items():
        note += f"; line {line}, which may change {changed}, was not run"
    spaces = [name for name, value in names.items() if type(value).__name__ == "Namespace" and name not in bind]
    parser = [name for name in spaces if any("parse_" in ast.unparse(node) for node in tree.body if name in bound_by(node))]
    note += "".join(f"; {name} is what the file's parser makes of no arguments" for name in parser)
    names["__parsed__"] = parsed(tree)
    bind = resolved(bind, names, "--bind")
    names.update({key: value for key, value in bind.items() if "." not in key})
    return from_names(names, name, word, bind, attributes, (note,), make)


def batch_number(reached: Reached) -> int | None:
    """Return the batch size that the function reads by name: ``args.batch_size``, ``BATCH_SIZE``, ``self.batch_size``."""
    code = getattr(reached.code, "__code__", None)
    words = {*getattr(code, "co_names", ()), *getattr(code, "co_freevars", ())}
    places = [getattr(reached.code, "__globals__", {}), getattr(reached.owner, "__dict__", {})]
    spaces = [value for value in [*places[0].values()] if type(value).__name__ in ("Namespace", "Stand", "SimpleNamespace")]
    places += [vars(value) for value in spaces if hasattr(value, "__dict__")]
    wanted = [word for word in words if re.fullmatch(r"(batch_?size|bs|n_?batch|batch|mb_?size)", word, re.I)]
    return next((int(place[word]) for word in wanted for place in places if isinstance(place.get(word), int)), None)
