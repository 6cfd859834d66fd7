"""A formula by cases: each element by its own, and what is rare for the few that it is of."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recon_cli.identity.parametric import Number
from recon_cli.numerics.tables import in_kernel, places


def by_cases(
    rare: Tensor, of_rare: Callable[..., Tensor], usual: Callable[[], Tensor], *arguments: tuple[Number, float]
) -> Tensor:
    """Return what is usual, and where ``rare`` holds a function of the arguments there; of several elements one of each.

    For those elements alone, if it can be asked where they are. Else for all, those that are usual taking the number that
    stands with each argument: the function has a value and derivatives there, and so has what is usual where ``rare`` holds.
    A kernel is for the usual ones: see :meth:`Parametric.usual`.
    """
    if in_kernel():
        return usual()
    some, shape = places(rare), rare.shape
    if some is None:
        taken = (part.where(rare, at) if isinstance(part, torch.Tensor) else part for part, at in arguments)
        return of_rare(*taken).where(rare, usual())
    if len(some) == rare.numel():
        return of_rare(*(part for part, _ in arguments))
    values = usual()
    if not len(some):
        return values
    taken = (
        part.expand(shape).reshape(-1).index_select(0, some) if isinstance(part, torch.Tensor) and part.ndim else part
        for part, _ in arguments
    )
    return values.reshape(-1).index_copy(0, some, of_rare(*taken)).reshape(shape)


def nowhere(condition: Tensor) -> bool:
    """Return whether a condition holds nowhere; false where that cannot be asked, or takes long: of a GPU."""
    some = places(condition)
    return some is not None and not len(some)
