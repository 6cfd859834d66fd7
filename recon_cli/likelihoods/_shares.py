"""Shares between 0 and 1: their logits, and differences of those, to the last digits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def logit(x: Tensor) -> Tensor:
    """Return log(x/(1 - x)): torch's own takes the logarithm of a quotient that rounds to one in the middle."""
    off = (2 * x - 1) / (1 - x)
    small = off.abs() < 0.5
    return off.clamp(-0.5, 0.5).log1p().where(small, x.log() - (-x).log1p())


def logit_error(x: Tensor, mu: Tensor) -> Tensor:
    """Return logit x - logit mu without cancelling where they are near; its derivative by mu is -1/(mu (1 - mu))."""
    from recon_cli.numerics.stable import with_derivatives

    off = (x - mu) / mu / (1 - x)
    small = off.abs() < 0.5
    ratio = (x / mu) * ((1 - mu) / (1 - x))
    normal = (ratio > 1e-300) & (ratio < 1e300)
    far = ratio.where(normal, 1).log().where(normal, logit(x) - logit(mu))
    return with_derivatives(off.clamp(-0.5, 0.5).log1p().where(small, far), (lambda: -1 / mu / (1 - mu), mu))
