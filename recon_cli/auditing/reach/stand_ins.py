"""What is passed in the place of an argument while a call is traced: it takes every operation and answers with another one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import torch
from torch.distributions import Distribution
from torch.distributions.kl import register_kl

from recon_cli.auditing.reach.objects import head_of
from recon_cli.auditing.reach.questions import SIZES, Node, TracedSizes, unpacking
from recon_cli.auditing.reach.vocabulary import role_of

if TYPE_CHECKING:
    from recon_cli.auditing.reach.tracing import Trace

KEPT = {"device": torch.device("cpu"), "dtype": torch.float64, "is_cuda": False, "requires_grad": True, "layout": torch.strided}
ENTRIES = ("first", "second")  # keys of a dictionary whose keys are only listed


def within(value: Any) -> Iterator[Traced]:
    """Yield the stand-ins in a structure of arguments."""
    if type(value) in (Traced, Method):
        yield value
    elif isinstance(value, (list, tuple)) and not isinstance(value, TracedSizes):
        for each in value:
            yield from within(each)
    elif type(value) is dict:
        yield from within([*value.values()])
    elif isinstance(value, slice):
        yield from within((value.start, value.stop, value.step))


def cuts_of(key: tuple[Any, ...]) -> set[tuple[int, int, int | None]]:
    """Return from where to where, along which axis, an index of several axes takes what it does of one of them alone."""
    whole = [each is Ellipsis or isinstance(each, slice) and each == slice(None) for each in key]
    if whole.count(False) != 1 or not whole[0]:
        return set()
    at = whole.index(False)
    axis, each = at - len(key) if key[0] is Ellipsis else at, key[at]
    if isinstance(each, int) and not isinstance(each, bool) and axis == 1 and each in (0, 1):
        return {(axis, each, each + 1)}
    start, stop = (each.start or 0, each.stop) if isinstance(each, slice) and each.step is None else (None, None)
    return {(axis, start, stop)} if isinstance(start, int) and start >= 0 and (stop is None or isinstance(stop, int)) else set()


class Traced(torch.Tensor):
    """A stand-in: an argument, or a part of one (``_node``), or what was calculated from some (``_origins``)."""

    _trace: Trace
    _node: Node | None
    _summed: bool
    _torch_made: bool
    _origins: list[Node]
    _given: Mapping[str, Any]

    def _use(self, how: str) -> None:
        """Record a use, and the variables that hold it."""
        if self._node is not None:
            self._node.uses.add(how)
            named(self._node, self)

    def _count(self) -> None:
        """Record that it, or what it is made of, is a size or a position."""
        for origin in self._origins:
            origin.uses.add("number")

    def _part(self, kind: str, which: Any) -> Any:
        """Return a stand-in for a part, or the value that is given for it."""
        if self._node is None:
            return stand_in(self._trace, None, [self], self._summed, self._torch_made)
        named(self._node, self)
        part = self._node.part(kind, which)
        if part.key in self._trace.given:
            part.uses.add("given")
            return self._trace.given[part.key]
        return stand_in(self._trace, part)

    def _meets(self, name: str, *others: Any) -> Traced:
        """Record an operation of Python."""
        if name == "invert":
            self._use("mask")
        trace, inside = self._trace, [self, *within(others)]
        torches = any(each._torch_made for each in inside) or any(isinstance(each, torch.Tensor) for each in others)
        for each in inside:
            each._use("met" if torches or len(inside) > 1 else "arithmetic")
            if len(each._origins) == 1 and len(inside) > 1 and not each._torch_made:
                sums = all(other._summed for other in inside if other is not each)
                each._origins[0].uses.add("weight" if sums and name in ("mul", "truediv") else "factor")
        trace.meet(inside)
        constants = [other for other in others if isinstance(other, (int, float, str)) and not isinstance(other, bool)]
        if len(self._origins) == 1 and name in COMPARING:
            self._origins[0].constants.update(constants)
            self._origins[0].uses |= {"words"} if any(isinstance(each, str) for each in constants) else set()
        summed = all(each._summed or (name in ("mul", "truediv") and weighs(each, inside)) for each in inside)
        return stand_in(trace, None, inside, summed and any(each._summed for each in inside), torches)

    def __getattribute__(self, name: str) -> Any:
        if name[0] == "_":
            return super().__getattribute__(name)
        if name in self.__dict__.get("_given", ()):
            return self._given[name]
        if name in ("shape", "ndim"):
            self._use("tensor")
            return TracedSizes(SIZES) if name == "shape" else len(SIZES)
        if name in KEPT:
            return KEPT[name]
        if name in ("keys", "items", "pop", "get") or (name == "values" and self._node is not None and self._node.is_dictionary):
            return lambda *args: self._dictionary(name, *args)
        if hasattr(torch.Tensor, name) or self._node is None:
            if name in ("T", "mT", "data", "grad", "real"):
                return self._trace.operate(name, (self,), {})
            node = self._node.part("attr", name) if self._node is not None else None
            parents = [self] if node is None else []
            return stand_in(self._trace, node, parents, self._summed, kind=Method, _owner=self, _method=name)
        return self._part("attr", name)

    def _dictionary(self, name: str, *args: Any) -> Any:
        """Return what a method of a dictionary does."""
        if name in ("get", "pop") and args:
            key, *default = args
            optional = bool(default) or name == "get"
            if optional and not (isinstance(key, str) and role_of(key)):
                return default[0] if default else None
            return self[key]
        node = self._node
        keys = [key for key in node.of("item") if isinstance(key, str)] if node is not None else []
        parts = {key: self._part("item", key) for key in keys or ENTRIES}
        return parts.keys() if name == "keys" else parts.items() if name == "items" else parts.values()

    def __setattr__(self, name: str, value: Any) -> None:
        pass

    def __getitem__(self, key: Any) -> Any:
        if isinstance(key, Traced) and key._node is not None and key._node.entry and self._node is not None:
            return self._part("item", key._node.entry)
        if isinstance(key, str) or (isinstance(key, int) and self._node is not None and not isinstance(key, bool)):
            return self._part("item", key)
        if self._node is not None and type(key) is slice and key.step is None and unpacking(sys._getframe(1), ahead=True)[0]:
            self._node.listed = True
            return stand_in(self._trace, self._node, _start=key.start or 0)
        if self._node is not None and isinstance(key, tuple) and key[0] is Ellipsis and key[1:] in ((0,), (1,)):
            self._node.halves.add(("stacked", key[1]))
        if self._node is not None and isinstance(key, tuple):
            self._node.cuts |= cuts_of(key)
        beside = [each for each in key if isinstance(each, (range, list, torch.Tensor))] if isinstance(key, tuple) else []
        for axis, each in enumerate(key if isinstance(key, tuple) else (key,)):
            for index in within(each):
                if isinstance(each, slice):
                    index._count()
                    continue
                index._use("labels" if len(beside) > 1 else "index")  # one of each row's, or these of every row
                for origin in index._origins:
                    origin.axes.add(axis)
        return self._trace.operate("__getitem__", (self, key), {})

    def __setitem__(self, key: Any, value: Any) -> None:
        self._trace.operate("__setitem__", (self, key, value), {})

    def __contains__(self, key: Any) -> bool:
        if self._node is None:
            return False
        if isinstance(key, str) and not self._node.is_dictionary and role_of(key) is None:
            return False
        return ("item", key) in self._node.parts or role_of(str(key)) is not None

    def __iter__(self) -> Iterator[Traced]:
        count, rest = unpacking(sys._getframe(1))
        if self._node is not None:
            if self._node.is_dictionary:
                return iter(self._dictionary("keys"))
            self._node.listed = True
        start = self.__dict__.get("_start", 0)
        parts = [self._part("item", start + i) for i in range((count or len(ENTRIES)) + rest)]
        if not count and self._node is not None:
            self._node.uses.add("looped")
            for part, entry in zip(parts, ENTRIES, strict=True):
                part._node.entry = entry
        return iter(parts)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        root = head_of(self._node.key.removeprefix("self.")) if self._node is not None else ""
        for each in within((args, kwargs)):
            each._use("tensor" if role_of(root) in ("posterior", "decoder") else "passed")
        nodes = [each._node for each in within((args, kwargs)) if each._node is not None]
        roles = {role_of(node.name or head_of(node.key)) for node in nodes}
        if {"recon", "target"} <= roles and self._node is not None:
            self._node.uses.add("loss")
        return self._part("call", "")

    def __len__(self) -> int:
        return 2 if self._node is not None and (self._node.listed or self._node.is_dictionary) else SIZES[0]

    def __bool__(self) -> bool:
        if not self._torch_made and len(self._origins) == 1:
            self._origins[0].uses.add("number")
        return self._trace.next_truth()

    def __index__(self) -> int:
        self._use("number")
        return 2

    def __float__(self) -> float:
        self._use("number")
        return 1.0

    __int__ = __index__

    def __enter__(self) -> Traced:
        return self

    def __exit__(self, *_: Any) -> None:
        return None

    def __hash__(self) -> int:
        return id(self)

    def __format__(self, _spec: str) -> str:
        return "1"

    def __repr__(self, **_: Any) -> str:  # type: ignore[override]
        return "a stand-in"


def weighs(each: Traced, inside: Sequence[Traced]) -> bool:
    """Whether a stand-in is nothing but an argument beside sums of others: a weight."""
    others = [origin for other in inside if other is not each for origin in other._origins]
    return not each._torch_made and len(each._origins) == 1 and each._origins[0] not in others


def stand_in(
    trace: Trace, node: Node | None, parents: Sequence[Traced] = (), summed: bool = False, torch_made: bool = False,
    kind: type[Traced] = Traced, **more: Any,
) -> Traced:  # fmt: skip
    """Return a stand-in, a tensor as far as ``isinstance`` and C know."""
    with torch._C.DisableTorchFunction():
        new: Traced = torch.Tensor._make_subclass(kind, torch.ones(()))
    origins = [*([node] if node is not None else []), *(origin for each in parents for origin in each._origins)]
    vars(new).update(
        _trace=trace, _node=node, _summed=summed, _torch_made=torch_made, _origins=list(dict.fromkeys(origins)), **more
    )
    return new


COMPARING = ("lt", "le", "gt", "ge", "eq", "ne")
BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and", "or", "xor")


def answering(name: str) -> Callable[..., Traced]:
    """Return the method for an operator."""
    return lambda self, *others: self._meets(name, *others)


for word in (*BINARY, *COMPARING, "neg", "abs", "invert", "pos", "round"):
    setattr(Traced, f"__{word}__", answering(word))
    if word in BINARY:
        setattr(Traced, f"__r{word}__", answering(word))


class Method(Traced):
    """A method of torch's tensors, until it is known whether it is one: else an attribute of some object."""

    _owner: Traced
    _method: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        owner: Traced = self._owner
        if owner._node is not None:
            part = owner._node.parts.get(("attr", self._method))
            if part is not None and not part.touched:
                del owner._node.parts["attr", self._method]
        return self._trace.operate(self._method, (owner, *args), kwargs)


LIBRARY = (torch.__path__[0], str(Path(__file__).parents[1]))  # what is not the audited code's own


def named(node: Node, value: Traced) -> None:
    """Record the variables of the calling code that hold a value, the outermost first."""
    frame: FrameType | None = sys._getframe(2)
    names: list[str] = []
    while frame is not None and frame.f_code.co_name != "traced":
        if not frame.f_code.co_filename.startswith(LIBRARY):
            names = [name for name, each in [*frame.f_locals.items()] if each is value and name != "self"] + names
        frame = frame.f_back
    node.names += [name for name in dict.fromkeys(names) if name not in node.names]


def kl_of(one: Any, other: Any) -> Any:
    """Return the stand-in of a KL between distributions of which some are stand-ins, and record what they are."""
    for each, use in ((one, "posterior"), (other, "prior")):
        for stand in within(each):
            stand._use(use)
    return stand_in(next(within((one, other)))._trace, None, [*within((one, other))], torch_made=True)


for kinds in ((Traced, Traced), (Traced, Distribution), (Distribution, Traced)):
    register_kl(*kinds)(kl_of)
