"""Many numbers looked at some at a time, so that what is computed of them stays small."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from recon_cli.identity.alike import Numbers

if TYPE_CHECKING:
    from torch import Tensor, dtype

SOME = 1 << 17  # numbers looked at at a time


def pieces(values: Numbers) -> Iterator[Numbers]:
    """Yield values some rows at a time, so that what is computed of them stays small."""
    rows = max(1, SOME * len(values) // max(1, math.prod(values.shape))) if values.ndim else 1
    return (values[at : at + rows] for at in range(0, len(values), rows)) if values.ndim else iter([values])


def by_pieces(function: Callable[[Tensor], Tensor], values: Tensor, event: int, kind: dtype) -> Tensor:
    """Return what ``function`` gives of values, some rows at a time, where ``event`` trailing axes are one.

    Written into one result: small ones kept between large ones that are freed would leave holes that nothing fits into.
    """
    if values.ndim == event:
        return function(values)
    result = values.new_empty(values.shape[: values.ndim - event], dtype=kind)
    at = 0
    for part in pieces(values):
        result[at : at + len(part)] = function(part)
        at += len(part)
    return result


def all_whole(values: Tensor) -> bool:
    """Return whether every number is a whole one: by the sum of what is behind the points, which takes less than comparing."""
    parts = values.reshape(-1).split(SOME) if values.is_floating_point() else ()
    return all(float(part.frac().abs_().sum()) == 0 for part in parts)
