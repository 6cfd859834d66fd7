"""Gaussians of vectors whose components go together: squared lengths under a covariance, and its determinant."""

from __future__ import annotations

import functools
import math
import operator
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


def half_square(e: Tensor, lower: Tensor) -> Tensor:
    """Return |L^-1 e|^2/2 by substitution, one component after another; its first derivatives are constants.

    So a kernel makes it, for which there is no triangular solver: each of its lanes has a vector.
    """
    import torch

    from recon_cli.numerics.stable import with_derivatives

    rows = [row.unbind(dim=-1) for row in lower.detach().unbind(dim=-2)]
    white: list[Tensor] = []
    for k, rest in enumerate(e.detach().unbind(dim=-1)):
        for j, part in enumerate(white):
            rest = rest - rows[k][j] * part
        white.append(rest / rows[k][k])
    back: list[Tensor] = []  # L'^-1 L^-1 e, the last component first
    for k, rest in reversed([*enumerate(white)]):
        for j, part in enumerate(back):
            rest = rest - rows[-1 - j][k] * part
        back.append(rest / rows[k][k])
    value = functools.reduce(operator.add, [part.square() for part in white]) / 2
    by_e = torch.stack(back[::-1], dim=-1)
    by_row = [torch.stack([-part * white[j] if j <= k else torch.zeros_like(part) for j in range(len(white))], dim=-1)
              for k, part in enumerate(back[::-1])]  # fmt: skip
    return with_derivatives(value, (by_e, e), (torch.cat(by_row, dim=-1), lower.flatten(-2)))


def factored_cost(e: Tensor, level: Tensor, unit: Tensor, factors: Tensor) -> Tensor:
    """Return (e' S^-1 e + log det S)/2, S = diag(e^level) + F F', ``factors`` = F (..., D, R), ``unit`` = e^(-level/2).

    In units of the components' own noise S is I + A A'. By Woodbury's identity, with no difference of large numbers: the square
    is the least of |u - A z|^2 + |z|^2, so that an error of z counts for nothing; and det S = det(I + A' A), of R rows only. The
    derivatives are those of the formula: by u what is left, u - A z.
    """
    from recon_cli.numerics.stable import with_derivatives

    unit = unit.unsqueeze(-1)
    u, scaled = e.unsqueeze(-1) * unit, factors * unit
    known = scaled.detach()
    rows, upper = unit_and_size(known)
    solver = upper.mT
    z, left = least(known, solver, u.detach())
    square = (left.square().sum(dim=-2) + z.square().sum(dim=-2)).squeeze(-1)
    size = level.sum(dim=-1) + 2 * upper.diagonal(dim1=-2, dim2=-1).abs().log().sum(dim=-1)
    value: Tensor = (square + size) / 2
    if nobody_asks(e, level, factors):
        return value
    # as functions, each by one of Newton's steps from where it is
    z = z + solved(along(scaled, u - over(scaled, z)) - z, solver)
    left = same_value(left, u - over(scaled, z))
    inverse = half_solved(upper, rows.mT)  # (I + A' A)^-1 A', whose other side (I + A A')^-1 A is
    inverse = same_value(inverse, solved(scaled.mT - inverse - along(scaled, over(scaled, inverse)), solver)).mT
    own = same_value(diagonal(rows, known, solver), -(scaled * inverse).sum(dim=-1))
    by_level = (own - left.squeeze(-1).square()) / 2  # own is the diagonal of (I + A A')^-1
    by_factor = (unit * (inverse - left * z.mT)).flatten(-2)
    return with_derivatives(value, (lambda: (unit * left).squeeze(-1), e), (by_level, level), (by_factor, factors.flatten(-2)))


def unit_and_size(factor: Tensor) -> tuple[Tensor, Tensor]:
    """Return Q and R, R upper triangular: I + A' A is R' R, with no square of A, and A is Q R."""
    import torch

    if factor.shape[-1] == 1:
        size = (factor.square().sum(dim=-2, keepdim=True) + 1).sqrt()
        return factor / size, size
    root = torch.eye(factor.shape[-1], dtype=factor.dtype, device=factor.device)
    above, upper = torch.linalg.qr(torch.cat([factor, root.expand(*factor.shape[:-2], *root.shape)], dim=-2))
    return above[..., : factor.shape[-2], :], upper


def over(factor: Tensor, z: Tensor) -> Tensor:
    """Return A z; of one column element by element, so that a kernel makes it on its way."""
    return factor * z if factor.shape[-1] == 1 else factor @ z


def along(factor: Tensor, u: Tensor) -> Tensor:
    """Return A' u; of one column element by element."""
    return (factor * u).sum(dim=-2, keepdim=True) if factor.shape[-1] == 1 else factor.mT @ u


def solved(right: Tensor, solver: Tensor) -> Tensor:
    """Return (L L')^-1 of columns, L = ``solver``; of one row by dividing, which a kernel can."""
    import torch

    return right / solver / solver if solver.shape[-1] == 1 else torch.cholesky_solve(right, solver)


def half_solved(upper: Tensor, right: Tensor) -> Tensor:
    """Return R^-1 of columns, R upper triangular; of one row by dividing."""
    import torch

    return right / upper if upper.shape[-1] == 1 else torch.linalg.solve_triangular(upper, right, upper=True)


def least(factor: Tensor, solver: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
    """Return z where |u - A z|^2 + |z|^2 is least, and u - A z; for every column of u (..., D, n).

    What is left is refined together with z, twice: Bjorck (1967), iterative refinement of least squares.
    """
    z = solved(along(factor, u), solver)
    left = u - over(factor, z)
    for _ in range(2):
        missed, off = u - left - over(factor, z), z - along(factor, left)
        step = solved(along(factor, missed) - off, solver)
        z, left = z + step, left + missed - over(factor, step)
    return z, left


def diagonal(rows: Tensor, factor: Tensor, solver: Tensor) -> Tensor:
    """Return the diagonal of (I + A A')^-1, which is 1 less a share: the least of these anew, where that difference cancels.

    The shares add up to R at most, so no more than 2 R of them are above one half.
    """
    import torch

    shares = rows.square().sum(dim=-1)
    own = 1 - shares
    if factor.shape[-1] == 1:  # anew is what the other shares, and the 1, leave
        others = shares.where(shares <= 0.5, 0).sum(dim=-1, keepdim=True) + solver.squeeze(-1).square().reciprocal()
        return own.where(shares <= 0.5, others)
    few = own.topk(min(2 * factor.shape[-1], own.shape[-1]), dim=-1, largest=False).indices
    columns = few.unsqueeze(-2) == torch.arange(own.shape[-1], device=own.device).unsqueeze(-1)
    z, left = least(factor, solver, columns.to(own.dtype))
    anew = left.square().sum(dim=-2) + z.square().sum(dim=-2)
    return own.scatter(-1, few, anew)


def same_value(value: Tensor, function: Tensor) -> Tensor:
    """Return a value that moves as a function does; in a kernel, which takes no second derivatives, one that stays."""
    from recon_cli.numerics.tables import in_kernel

    return value if in_kernel() else value + (function - function.detach())


def of_length(name: str, size: float, x: Tensor) -> None:
    """Raise ReconError unless the vectors ``x`` have so many components."""
    if x.shape[-1] != size:
        raise ReconError(
            f"{name} is of vectors of {size:g} components, and these have {x.shape[-1]}.", f"Write {name}:size={x.shape[-1]}."
        )
