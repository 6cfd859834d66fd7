"""Functions of a count alone: computed once for each number there is, and looked up for each element."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

from recon_cli.identity.parametric import Number

FEW = 1 << 16  # a table is of counts below
Function = Callable[[Tensor], Tensor]


class Tables:
    """The tables that an expression asks for, in that order: made as it asks, or given."""

    def __init__(self, given: Sequence[Tensor] | None = None) -> None:
        self.made: list[Tensor] = []
        self.given = None if given is None else iter(given)

    def next(self, function: Function, x: Tensor) -> Tensor:
        """Return the next one, of ``function`` in the dtype of ``x``."""
        if self.given is not None:
            return next(self.given)
        self.made.append(function(torch.arange(FEW, dtype=x.dtype, device=x.device)).detach())
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

    The function is elementwise, and may depend on ``numbers``: one for all elements each, or there is no table.
    """
    if torch.compiler.is_compiling():  # which knows no context, and no numbers
        return function(x)
    if (known := current.get()) is not None:
        return known.next(function, x).index_select(0, x.long().reshape(-1)).reshape(x.shape)
    if x.device.type != "cpu" or any(getattr(number, "ndim", 0) for number in numbers):
        return function(x)
    try:
        low, high = (float(x.amin()), float(x.amax())) if x.numel() > 1 else (0.0, float(FEW))
        if not (low >= 0 and high < min(FEW, x.numel() // 2)):
            return function(x)
        whole = x.long()
        if not torch.equal(whole.to(x.dtype), x):
            return function(x)
    except RuntimeError:  # under vmap, and of tensors without values
        return function(x)
    table = function(torch.arange(int(high) + 1, dtype=x.dtype))
    return table.index_select(0, whole.reshape(-1)).reshape(x.shape)
