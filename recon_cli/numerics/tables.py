"""Functions of a count alone: computed once for each number there is, and looked up for each element."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple, TypeVar
from weakref import ReferenceType, ref

import numpy
import torch
from torch import Tensor

from recon_cli.identity.parametric import Number
from recon_cli.identity.some import all_whole

FEW = 1 << 16  # a table is of counts below
SPARSE = 4  # times as many counts as are not zero
MOST = 32  # tables that are kept, of half a megabyte each at most
Function = Callable[..., Tensor]  # of counts, and of numbers
Result = TypeVar("Result")
kept: dict[tuple[Function, torch.dtype, tuple[Number, ...]], Tensor] = {}


class Tables:
    """The tables that an expression asks for, in that order: made as it asks, or given."""

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        self.made: list[Tensor] = []
        self.given = None if given is None else iter(given)
        self.known: dict[Function, Tensor] = {}
        self.results: dict[tuple[Callable[..., Any], Tensor], Any] = {}

    def next(self, function: Function, x: Tensor, *numbers: Number) -> Tensor:
        """Return the next one, of ``function`` in the dtype of ``x``; of a function without numbers the same again."""
        if not numbers and function in self.known:
            return self.known[function]
        if self.given is not None:
            table = next(self.given)
        else:
            table = function(torch.arange(FEW, dtype=x.dtype, device=x.device), *numbers).detach()
            self.made.append(table)
        self.known[function] = table
        return table


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


def in_kernel() -> bool:
    """Return whether an expression is traced for a kernel, which takes values and first derivatives, on a CPU."""
    return not torch.compiler.is_compiling() and current.get() is not None


def looked_up(function: Function, x: Tensor, *numbers: Number, beyond: bool = False) -> Tensor:
    """Return ``function`` of every element of ``x``, from a table where these are whole numbers, many more than differ.

    The function is elementwise, of ``x`` and of ``numbers``: one for all elements each, or there is no table. ``beyond`` is
    whether some may be beyond a table where the data are not: sums of them.
    """
    if torch.compiler.is_compiling():  # which knows no context, and no numbers
        return function(x, *numbers)
    if (known := current.get()) is not None:
        if beyond:
            return function(x, *numbers)
        return known.next(function, x, *numbers)[x.int()]
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


class OfData(NamedTuple):
    """What was computed of some data, by function, until they change: nll and offset ask the same of them."""

    x: ReferenceType[Tensor]
    version: int
    results: dict[Callable[[Tensor], Any], Any]


last = threading.local()  # the data that this thread asked of last


def once(function: Callable[[Tensor], Result], x: Tensor) -> Result:
    """Return ``function`` of ``x``; of counts that are the last data that this thread looked up, what it gave before.

    Of what is traced too: then it is computed once in the expression.
    """
    if not torch.compiler.is_compiling() and (tables := current.get()) is not None:
        if (function, x) not in tables.results:
            tables.results[function, x] = function(x)
        return tables.results[function, x]  # type: ignore[no-any-return]
    plain = not (torch.compiler.is_compiling() or x.device.type != "cpu" or x.requires_grad) and counted(x)
    known: OfData | None = getattr(last, "known", None)
    if not plain or known is None or known.x() is not x:
        return function(x)
    if function not in known.results:
        known.results[function] = function(x)
        last.known = known  # not what the function looked up on its way
    return known.results[function]  # type: ignore[no-any-return]


def places(condition: Tensor) -> Tensor | None:
    """Return where a condition holds, counted along all axes; None where that cannot be asked, or takes long: of a GPU."""
    if torch.compiler.is_compiling() or condition.device.type != "cpu":
        return None
    try:
        return torch.from_numpy(numpy.flatnonzero(condition.numpy()))  # a third of the time that torch's own takes
    except RuntimeError:  # within torch.func's transforms, and of tensors without values
        return None


def present(x: Tensor) -> Tensor | None:
    """Return the places of the counts that are not zero, of all in one row; None where they are many, or it cannot be told."""
    if torch.compiler.is_compiling() or current.get() is not None or x.device.type != "cpu" or x.requires_grad:
        return None
    some = None if (counts := counted(x)) is None else places(counts[0] > 0)
    return None if some is None or SPARSE * len(some) > x.numel() else some


def counted(x: Tensor) -> Counts:
    """Return ``x`` as whole numbers in one row, and the largest; None where they are none, or not many more than differ."""
    known: OfData | None = getattr(last, "known", None)
    if known is not None and known.x() is x and known.version == x._version:
        return known.results[counted]  # type: ignore[no-any-return]
    counts = None
    try:
        low, high = (float(end) for end in x.aminmax()) if x.numel() > 1 else (0.0, float(FEW))
        if low >= 0 and high < min(FEW, x.numel() // 2) and all_whole(x):
            counts = x.int().reshape(-1), int(high)
    except RuntimeError:  # under vmap, and of tensors without values
        return None
    if type(x) is Tensor and not x.is_inference():
        last.known = OfData(ref(x), x._version, {counted: counts})
    return counts
