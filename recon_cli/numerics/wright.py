"""The series of Tweedie's density, Wright's generalised Bessel function, summed about its largest term."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recon_cli.identity.parametric import Number

if TYPE_CHECKING:
    from torch import Tensor

NODES = 128  # places at which the terms are taken
BELOW, ABOVE = 9.5, 11.5  # standard deviations on either side of the largest term, beyond which nothing counts
PIECE = 1 << 14  # elements at a time
FIRST = 25  # terms that count however near the largest is to none
HALF_LOG_TAU = math.log(2 * math.pi) / 2


def log_series(largest: Tensor, shape: Number) -> Tensor:
    """Return the logarithm of sum_n exp(-(1 + a) bd0(n, N) - d(n) - d(a n)), n = 1, 2, ...: Dunn and Smyth (2005), section 4.

    N is the ``largest`` term's place and a the ``shape``; bd0(n, N) = n log(n/N) + N - n, d is Stirling's error. So the terms are
    taken relative to their largest, with nothing that cancels. Terms that are many lie on a curve so smooth that one in many of
    them is enough: the trapezoidal rule, whose error vanishes exponentially. A few elements at a time, equal ones once; the
    derivatives by N and by a, one for all, are means over the terms.
    """
    import torch

    from recon_cli.identity.tensors import asks_gradient
    from recon_cli.numerics.stable import with_derivatives

    at = largest.detach()
    a = torch.as_tensor(shape, dtype=at.dtype, device=at.device).detach()
    learned = any(isinstance(part, torch.Tensor) and asks_gradient(part) for part in (largest, shape))
    places, inverse = _once(at.reshape(-1))
    parts = [_summed(piece, a, learned) for piece in places.split(PIECE)] or [_summed(places, a, learned)]
    value, by_largest, by_shape = (torch.cat(each)[inverse].reshape(at.shape) for each in zip(*parts, strict=True))
    return with_derivatives(value, (by_largest, largest), (by_shape, shape))


def _once(at: Tensor) -> tuple[Tensor, Tensor | slice]:
    """Return the values that differ and where each is of them; all of them where that cannot be asked or saves nothing."""
    import torch

    if not torch.compiler.is_compiling() and len(at) > 1:
        try:
            differing, inverse = at.unique(return_inverse=True)
            if 2 * len(differing) <= len(at):
                return differing, inverse
        except RuntimeError:  # under vmap, and of tensors without values
            pass
    return at, slice(None)


def _summed(at: Tensor, a: Tensor, learned: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return the logarithm for each place of a largest term, and where these are to be ``learned`` its two derivatives."""
    import torch

    from recon_cli.numerics.stable import deviance, digamma_less_log, stirling_error

    wide = (at.clamp(min=1.0) / (1 + a)).sqrt()
    dense = (BELOW + ABOVE) * wide <= NODES - 2
    first = (at - BELOW * wide).floor().clamp(min=1.0).where(dense, (at - BELOW * wide).clamp(min=1.0))
    step = ((BELOW + ABOVE) / (NODES - 1) * wide).where(~dense, 1.0)
    needed = NODES
    try:
        if not torch.compiler.is_compiling() and len(at) and bool(dense.all()):
            needed = min(NODES, int((at - first + ABOVE * wide).max()) + FIRST)
    except RuntimeError:  # under vmap, and of tensors without values
        pass
    places = torch.arange(needed, dtype=at.dtype, device=at.device)
    off = (first - at).unsqueeze(-1) + step.unsqueeze(-1) * places  # from the largest: of many terms more exact than the place
    n = (first.unsqueeze(-1) + places).where(dense.unsqueeze(-1), at.unsqueeze(-1) + off)
    centre = at.unsqueeze(-1).expand_as(n)
    away = deviance(n, centre, off)
    logs = -((1 + a) * away + stirling_error(n.nan_to_num(1.0)) + _stirling(a * n))
    value = logs.logsumexp(dim=-1)
    if not learned:
        return value + step.log(), value, value
    shares = (logs - value.unsqueeze(-1)).exp()
    by_largest = ((1 + a) * off / centre * shares).sum(dim=-1)
    by_shape = -((away + n * (digamma_less_log(a * n) + 0.5 / (a * n))) * shares).sum(dim=-1)
    return value + step.log(), by_largest, by_shape


def _stirling(n: Tensor) -> Tensor:
    """Return Stirling's error of any n > 0 to 1e-15 beside 0: it is the logarithm of a factor here."""
    from recon_cli.numerics.stable import OF_STIRLING, polynomial

    small, large = n.clamp(max=8.0), n.clamp(min=8.0)
    near = small.lgamma() - (small - 0.5) * small.log() + small - HALF_LOG_TAU
    return near.where(n < 8, polynomial(1 / (large * large), OF_STIRLING) / large)


def excess(y: Tensor) -> Tensor:
    """Return e^y - 1 - y without cancelling where y is small."""
    from recon_cli.numerics.stable import with_derivatives

    small = y.abs() < 0.75
    near = y.where(small, 0)
    series = near.new_ones(near.shape)
    for n in range(19, 2, -1):
        series = 1 + near / n * series
    value = (near * near / 2 * series).where(small, y.expm1() - y)
    return with_derivatives(value, (lambda: y.expm1(), y))
