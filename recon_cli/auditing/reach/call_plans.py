"""A plan of a call: what goes where, as slots in structures, and what is known of each slot."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from recon_cli.auditing.reach.objects import Stand
from recon_cli.auditing.reach.questions import SIZES
from recon_cli.auditing.reach.tracing import Trace

OBJECT = "it is a distribution"  # how what has a distribution's methods is known
OF_KL = {"mu", "scale", "prior", "probs", "posterior", "z", "mask", "skip", "extra"}  # all that a KL alone takes


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
    """What a model that is called inside answers with, and what else it has."""

    parts: object
    attributes: object = field(default_factory=dict)


@dataclass(frozen=True)
class Stacked:
    """Several slots along a last axis of one argument, a mean and its variance; side by side along the axis ``joined``."""

    parts: tuple[Slot, ...]
    joined: int | None = None


@dataclass
class CallPlan:
    """How to call: a structure for every argument, whose leaves are slots; what goes into the function's globals."""

    arguments: list[object] = field(default_factory=list)
    keywords: dict[str, object] = field(default_factory=dict)
    free: dict[str, object] = field(default_factory=dict)
    inner: dict[str, object] = field(default_factory=dict)
    taken: list[str] = field(default_factory=list)
    wanted: dict[str, object] = field(default_factory=dict)
    trace: Trace = field(default_factory=lambda: Trace(True))
    given: Mapping[str, object] = field(default_factory=dict)
    halved: dict[str, int | None] = field(default_factory=dict)
    columns: tuple[int, int] | None = None  # the axis along which, and the size at which, a prediction is cut in two
    kept: list[Slot] = field(default_factory=list, init=False)

    def slots(self) -> list[Slot]:
        """Return every slot in the order of the call; once there is any, the same until one is substituted."""
        for part in () if self.kept else (self.arguments, self.keywords, self.free, self.inner):
            mapped(part, lambda each: self.kept.append(each) if isinstance(each, Slot) else NotImplemented)
        return self.kept

    def groups(self) -> list[set[str]]:
        """Return the keys of slots that met before anything was summed, each with all that it met."""
        keys, groups = {slot.key for slot in self.slots()}, list[set[str]]()
        for pair in self.trace.met:
            if pair <= keys:
                joined = [group for group in groups if group & pair]
                groups = [group for group in groups if not group & pair] + [set(pair).union(*joined)]
        return groups

    def of_halves(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, tuple[int, ...]]:
        """Return shapes of arguments, of those that are taken apart in two the shape of one half."""
        own = {**shapes}
        for key, axis in self.halved.items():
            if (whole := own.get(key)) is not None:
                at = len(whole) - 1 if axis is None or axis < 0 else axis - 1
                own[key] = tuple(size // 2 if i == at else size for i, size in enumerate(whole) if axis is not None or i != at)
        return own

    def cut_to(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        """Return the shape of a sample with as many columns as the code, by a number of its own, takes for a mean."""
        if self.columns is None:
            return shape
        axis, size = self.columns
        at = len(shape) + axis if axis < 0 else axis - 1
        if not 0 <= at < len(shape) or size in (SIZES[axis], SIZES[axis] // 2):
            return shape
        return (*shape[:at], size, *shape[at + 1 :])

    @property
    def is_kl(self) -> bool:
        """Whether all that the function takes is of the latents."""
        roles = {slot.role for slot in self.slots()}
        return bool(roles & {"mu", "posterior", "probs"}) and roles <= OF_KL

    def role(self, role: str) -> list[Slot]:
        """Return the slots of one role."""
        return [slot for slot in self.slots() if slot.role == role]


def mapped(part: Any, of: Callable[[object], object]) -> Any:
    """Return a structure of a plan with what ``of`` makes of each part of it, where that is not NotImplemented."""
    if (made := of(part)) is not NotImplemented:
        return made
    if type(part) is dict:
        return {name: mapped(value, of) for name, value in part.items()}
    if type(part) in (list, tuple):
        return type(part)(mapped(value, of) for value in part)
    if isinstance(part, DecoderOutputs):
        return DecoderOutputs(mapped(part.parts, of), mapped(part.attributes, of))
    if isinstance(part, Stacked):
        return Stacked(mapped(part.parts, of), part.joined)
    if isinstance(part, Stand):
        return Stand(**{name: mapped(value, of) for name, value in vars(part).items() if name != "_about"})
    return part


def substitute(call: CallPlan, key: str, new: object) -> None:
    """Put ``new`` in the place of the slot called ``key``."""

    def of(part: object) -> object:
        return (new if part.key == key else part) if isinstance(part, Slot) else NotImplemented

    call.kept = []
    parts = (call.arguments, call.keywords, call.free, call.inner)
    call.arguments, call.keywords, call.free, call.inner = (mapped(part, of) for part in parts)
