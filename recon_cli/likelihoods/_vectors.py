"""Gaussians of vectors whose components go together: squared lengths under a covariance, and its determinant."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.tensors import nobody_asks

if TYPE_CHECKING:
    from torch import Tensor

HALF_LOG_TAU = math.log(2 * math.pi) / 2  # what each component adds to -log p beside the loss


def whitened(e: Tensor, lower: Tensor) -> Tensor:
    """Return L^-1 e along the last axis, L the lower triangle of ``lower`` (..., D, D), which may be one for all."""
    import torch

    if lower.ndim == 2 and e.ndim > 1:
        rows: Tensor = torch.linalg.solve_triangular(lower.mT, e.reshape(-1, e.shape[-1]), upper=True, left=False)
        return rows.reshape(e.shape)
    column: Tensor = torch.linalg.solve_triangular(lower, e.unsqueeze(-1), upper=False)
    return column.squeeze(-1)


def factored_cost(e: Tensor, level: Tensor, unit: Tensor, factors: Tensor) -> Tensor:
    """Return (e' S^-1 e + log det S)/2, S = diag(e^level) + F F', ``factors`` = F (..., D, R), ``unit`` = e^(-level/2).

    In units of the components' own noise S is I + A A'. By Woodbury's identity, with no difference of large numbers: the square
    is the least of |u - A z|^2 + |z|^2, so that an error of z counts for nothing; and det S = det(I + A' A), of R rows only. The
    derivatives are those of the formula: by u what is left, u - A z.
    """
    import torch

    from recon_cli.numerics.stable import with_derivatives

    unit = unit.unsqueeze(-1)
    u, scaled = e.unsqueeze(-1) * unit, factors * unit
    known, few = scaled.detach(), factors.shape[-1]
    square_root = torch.eye(few, dtype=e.dtype, device=e.device).expand(*known.shape[:-2], few, few)
    above, upper = torch.linalg.qr(torch.cat([known, square_root], dim=-2))  # I + A' A is upper' upper, with no square of A
    solver, rows = upper.mT, above[..., : known.shape[-2], :]
    z, left = least(known, solver, u.detach())
    square = (left.square().sum(dim=-2) + z.square().sum(dim=-2)).squeeze(-1)
    size = level.sum(dim=-1) + 2 * upper.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)
    value: Tensor = (square + size) / 2
    if nobody_asks(e, level, factors):
        return value
    # as functions, each by one of Newton's steps from where it is
    z = z + torch.cholesky_solve(scaled.mT @ (u - scaled @ z) - z, solver)
    left = same_value(left, u - scaled @ z)
    inverse = torch.linalg.solve_triangular(upper, rows.mT, upper=True)  # (I + A' A)^-1 A', whose other side (I + A A')^-1 A is
    inverse = same_value(inverse, torch.cholesky_solve(scaled.mT - inverse - scaled.mT @ (scaled @ inverse), solver)).mT
    own = same_value(diagonal(1 - rows.square().sum(dim=-1), known, solver), -(scaled * inverse).sum(dim=-1))
    by_level = (own - left.squeeze(-1).square()) / 2  # own is the diagonal of (I + A A')^-1
    by_factor = (unit * (inverse - left * z.mT)).flatten(-2)
    return with_derivatives(value, (lambda: (unit * left).squeeze(-1), e), (by_level, level), (by_factor, factors.flatten(-2)))


def least(factor: Tensor, solver: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return z where |u - A z|^2 + |z|^2 is least, and u - A z; for every column of u (..., D, n).

    What is left is refined together with z, twice: Bjorck (1967), iterative refinement of least squares.
    """
    import torch

    z = torch.cholesky_solve(factor.mT @ u, solver)
    left = u - factor @ z
    for _ in range(2):
        missed, off = u - left - factor @ z, z - factor.mT @ left
        step = torch.cholesky_solve(factor.mT @ missed - off, solver)
        z, left = z + step, left + missed - factor @ step
    return z, left


def diagonal(own: Tensor, factor: Tensor, solver: Tensor) -> Tensor:
    """Return the diagonal of (I + A A')^-1, known as 1 less a share: the least of these anew, where that difference cancels.

    The shares add up to R at most, so no more than 2 R of them are above one half.
    """
    import torch

    few = own.topk(min(2 * factor.shape[-1], own.shape[-1]), dim=-1, largest=False).indices
    columns = few.unsqueeze(-2) == torch.arange(own.shape[-1], device=own.device).unsqueeze(-1)
    z, left = least(factor, solver, columns.to(own.dtype))
    anew = left.square().sum(dim=-2) + z.square().sum(dim=-2)
    return own.scatter(-1, few, anew)


def same_value(value: Tensor, function: Tensor) -> Tensor:
    """Return a value that moves as a function does."""
    return value + (function - function.detach())


def of_length(name: str, size: float, x: Tensor) -> None:
    """Raise ReconError unless the vectors ``x`` have so many components."""
    if x.shape[-1] != size:
        raise ReconError(
            f"{name} is of vectors of {size:g} components, and these have {x.shape[-1]}.", f"Write {name}:size={x.shape[-1]}."
        )
