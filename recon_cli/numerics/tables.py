"""Functions of a count alone: computed once for each number there is, and looked up for each element."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from weakref import ReferenceType, ref

import torch
from torch import Tensor

from recon_cli.identity.parametric import Number

FEW = 1 << 16  # a table is of counts below
MOST = 32  # tables that are kept, of half a megabyte each at most
Function = Callable[..., Tensor]  # of counts, and of numbers
kept: dict[tuple[Function, torch.dtype, tuple[Number, ...]], Tensor] = {}


class Tables:
    """The tables that an expression asks for, in that order: made as it asks, or given."""

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        self.made: list[Tensor] = []
        self.given = None if given is None else iter(given)

    def next(self, function: Function, x: Tensor, *numbers: Number) -> Tensor:
        """Return the next one, of ``function`` in the dtype of ``x``."""
        if self.given is not None:
            return next(self.given)
        self.made.append(function(torch.arange(FEW, dtype=x.dtype, device=x.device), *numbers).detach())
        return self.made[-1]


current: ContextVar[Tables | None] = ContextVar("current", default=None)


@contextmanager
def tables(given: Sequence[Tensor] | None = None) -> Iterator[Tables]:
    """Have every function of counts looked up in whole tables meanwhile: ``given`` ones, or those that are made and yielded.

    For who knows that the counts are whole numbers below FEW, and traces an expression that cannot look at them.
    """
    token = current.set(Tables(given))
    try:
        yield current.get() or Tables()
    finally:
        current.reset(token)


def looked_up(function: Function, x: Tensor, *numbers: Number) -> Tensor:
    """Return ``function`` of every element of ``x``, from a table where these are whole numbers, many more than differ.

    The function is elementwise, of ``x`` and of ``numbers``: one for all elements each, or there is no table.
    """
    if torch.compiler.is_compiling():  # which knows no context, and no numbers
        return function(x, *numbers)
    if (known := current.get()) is not None:
        return known.next(function, x, *numbers).index_select(0, x.long().reshape(-1)).reshape(x.shape)
    if x.device.type != "cpu" or any(getattr(number, "ndim", 0) for number in numbers) or (counts := counted(x)) is None:
        return function(x, *numbers)
    whole, high = counts
    return table(function, high, x.dtype, numbers).index_select(0, whole).reshape(x.shape)


def table(function: Function, high: int, dtype: torch.dtype, numbers: tuple[Number, ...]) -> Tensor:
    """Return ``function`` of the counts from 0 to ``high`` at least: kept for the next chunk, unless a number is learned."""
    if any(isinstance(number, Tensor) for number in numbers):
        return function(torch.arange(high + 1, dtype=dtype), *numbers)
    key = (function, dtype, numbers)
    values = kept.get(key)
    if values is None or len(values) <= high:
        if len(kept) >= MOST:
            kept.clear()
        values = kept[key] = function(torch.arange(1 << high.bit_length(), dtype=dtype), *numbers)
    return values


Counts = tuple[Tensor, int] | None
last = threading.local()  # the data that this thread asked of last, and what they are: nll and offset are of the same


def counted(x: Tensor) -> Counts:
    """Return ``x`` as whole numbers in one row, and the largest; None where they are none, or not many more than differ."""
    known: tuple[ReferenceType[Tensor], int, Counts] | None = getattr(last, "counted", None)
    if known is not None and known[0]() is x and known[1] == x._version:
        return known[2]
    try:
        low, high = (float(x.amin()), float(x.amax())) if x.numel() > 1 else (0.0, float(FEW))
        whole = x.long() if low >= 0 and high < min(FEW, x.numel() // 2) else None
        counts = (whole.reshape(-1), int(high)) if whole is not None and torch.equal(whole.to(x.dtype), x) else None
    except RuntimeError:  # under vmap, and of tensors without values
        return None
    if type(x) is Tensor and not x.is_inference():
        last.counted = ref(x), x._version, counts
    return counts
