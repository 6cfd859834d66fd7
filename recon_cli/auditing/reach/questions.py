"""What code asks of a value: taken apart by position or by key, called, compared, added; and what the bytecode does next."""

from __future__ import annotations

import dis
import math
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from recon_cli.auditing.reach.vocabulary import LATENT, role_of

SIZES = (4, 5, 6, 7)  # of any tensor, while it is traced


@dataclass(eq=False)
class Node:
    """One value of the call and what was asked of it.

    names
        what variables hold it; uses: ``tensor``, ``number``, ``words``, ``labels``, ``index``, ``mask``, ``weight``.
    parts
        what was taken out of it: ("item", 0), ("attr", "mu"), ("call", "").
    constants
        the numbers and words that it was compared with; axes, at which positions it indexed; halves, what is taken of it
        along an axis in two: ("stacked", 0) and ("stacked", 1), or ("joined", axis); cuts, from where to where it is cut along
        an axis, (axis, 0, 1) and (axis, 1, None) say.
    """

    key: str
    names: list[str] = field(default_factory=list)
    uses: set[str] = field(default_factory=set)
    parts: dict[tuple[str, object], Node] = field(default_factory=dict)
    constants: set[object] = field(default_factory=set)
    axes: set[int] = field(default_factory=set)
    halves: set[tuple[object, int]] = field(default_factory=set)
    cuts: set[tuple[int, int, int | None]] = field(default_factory=set)
    listed: bool = False
    entry: str = ""  # the key that it is, where it comes of looping over a dictionary

    def part(self, kind: str, which: object) -> Node:
        """Return what is taken out of it, the same each time."""
        spelled = {"item": f"{self.key}[{which!r}]", "attr": f"{self.key}.{which}", "call": f"{self.key}(...)"}[kind]
        return self.parts.setdefault((kind, which), Node(spelled))

    @property
    def columns(self) -> tuple[int, int] | None:
        """The axis along which it is cut in two parts of one size, and that size; None where it is not."""
        parts = sorted(self.cuts, key=lambda cut: cut[1])
        if len(parts) != 2 or parts[0][0] != parts[1][0] or parts[0][1] != 0 or parts[0][2] != parts[1][1]:
            return None
        axis, size, end = parts[0][0], parts[1][1], parts[1][2]
        return (axis, size) if end in (None, 2 * size) else None

    def of(self, kind: str) -> dict[Any, Node]:
        """Return the parts of one kind that were used, or all of a tuple's."""
        return {which: node for (each, which), node in self.parts.items() if each == kind}

    @property
    def touched(self) -> bool:
        """Whether anything was asked of it."""
        return bool(self.uses or self.parts)

    @property
    def is_tuple(self) -> bool:
        """Whether it is taken apart by position: in one go, or at several positions and in no other way."""
        items = self.of("item")
        whole = [which for which in items if isinstance(which, int)]
        if not whole or "tensor" in self.uses or self.is_dictionary:
            return False
        return self.listed or len(whole) > 1 or not role_of(self.name) or self.name in ("batch", "data", "outputs", "output")

    @property
    def is_dictionary(self) -> bool:
        """Whether it is taken apart by keys."""
        return any(isinstance(which, str) for which in self.of("item"))

    @property
    def name(self) -> str:
        """Return its own name; of what has none, or one that says nothing, the first variable's that says something."""
        own = self.key.isidentifier()
        if own and role_of(self.key):
            return self.key
        telling = [name for name in self.names if role_of(name) and (not own or role_of(name) in LATENT)]
        return telling[0] if telling else self.names[0] if self.names else ""


class TracedSizes(tuple[int, ...]):
    """The sizes of a tensor while it is traced: as many as are unpacked."""

    def __iter__(self) -> Iterator[int]:
        count, _ = unpacking(sys._getframe(1))
        return iter((SIZES * (count // len(SIZES) + 1))[:count]) if count else super().__iter__()

    def __getitem__(self, which: Any) -> Any:
        return TracedSizes(tuple(SIZES)[which]) if isinstance(which, slice) else SIZES[which % len(SIZES)]

    def numel(self) -> int:
        """Return the number of elements."""
        return math.prod(SIZES)


def unpacking(frame: FrameType, ahead: bool = False) -> tuple[int, bool]:
    """Return into how many parts the frame takes apart what it has in hand, or will next; else 0. And whether with ``*rest``."""
    steps = dis.get_instructions(frame.f_code)
    for step in steps:
        if step.offset == frame.f_lasti:
            step = next(steps) if ahead else step
            if step.opname == "UNPACK_SEQUENCE":
                return int(step.argval), False
            if step.opname == "UNPACK_EX":
                return (int(step.argval) & 255) + (int(step.argval) >> 8), True
    return 0, False
