"""From a formula in tensors to a public method: what people give becomes tensors, and an nll knows where it has a meaning."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, overload

from recon_cli.errors import ReconError
from recon_cli.identity.regions import REAL, Region, check
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import Values, as_tensor, asks_gradient, wide

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.likelihood import Likelihood

Owner = TypeVar("Owner")


@overload
def elementwise(method: Callable[[Owner, Tensor], Tensor]) -> Callable[[Owner, Values], Tensor]:
    """Of one tensor."""


@overload
def elementwise(method: Callable[[Owner, Tensor, Tensor], Tensor]) -> Callable[[Owner, Values, Values], Tensor]:
    """Of two tensors."""


def elementwise(method: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Make a formula in ``x`` and ``mu`` a public method on tensors, arrays and numbers.

    The shapes must fit (no broadcasting, ever: ReconError). The formula is evaluated in float64
    and rounded once, to the floating dtype that its arguments promote to: in float32 that is
    correctly rounded wherever the formula is good to a few units of float64, values and gradients
    alike. An nll is then looked at where its data and means lie: :func:`supported`.
    """

    @functools.wraps(method)
    def evaluated(self: Likelihood, *values: Values) -> Tensor:
        import torch

        tensors = [as_tensor(value) for value in values]
        for other in tensors[1:]:
            fitting_shapes(self, tensors[0].shape, other.shape)
        if all(tensor.dtype is torch.float64 for tensor in tensors):
            return method(self, *tensors)
        dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        if not dtype.is_floating_point:
            dtype = torch.get_default_dtype()
        return method(self, *map(wide, tensors)).to(dtype)

    @functools.wraps(method)
    def checked(self: Likelihood, x: Values, mu: Values) -> Tensor:
        return supported(self, evaluated, x, mu, REAL if "raw" in method.__name__ else self.domain)

    return checked if method.__name__ in ("nll", "nll_raw") else evaluated


def supported(likelihood: Likelihood, nll: Callable[..., Tensor], x: Values, mu: Values, domain: Region) -> Tensor:
    """Return ``nll`` of ``x`` and ``mu``, infinite where ``x`` is outside the support: no chance at all, never a finite number.

    What is NaN stays NaN. Nothing is looked at for a likelihood that is ``admitted``. Raises ReconError for means beyond
    the ends of the ``domain`` (where values cannot be asked for, as in a compiled graph, the nll is NaN there), and for
    counts that ask for a gradient.
    """
    import torch

    if likelihood.admits or likelihood.support == REAL == domain:
        return nll(likelihood, x, mu)
    x, mu = as_tensor(x), as_tensor(mu)
    if likelihood.discrete and asks_gradient(x):
        raise ReconError(
            f"{likelihood.name} is of {likelihood.support}, and its nll has no gradient by such data: x asks for one.",
            "Give x.detach(); the gradient is the mean's.",
        )
    value = nll(likelihood, x, mu)
    if domain != REAL:
        beyond = domain.beyond(mu)
        try:
            outside = torch.compiler.is_compiling() or bool(beyond.any())
        except RuntimeError:  # under vmap, and of tensors without values
            outside = True
        else:
            if outside and not torch.compiler.is_compiling():
                check(mu, domain, "the means", f"{likelihood.name}'s mean lies in")
        if outside:
            value = value.where(~beyond, math.nan)
    if likelihood.support == REAL:
        return value
    missing = x.isnan()
    for _ in range(likelihood.event):
        missing = missing.any(dim=-1)
    return value.where(likelihood.support.contains(x), math.inf).where(~missing, math.nan)
