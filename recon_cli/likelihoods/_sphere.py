"""The sphere: the logarithm of an integral over it, by Bessel functions, and what fits and draws directions on it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.parametric import Number
from recon_cli.identity.tensors import beside, standard_gamma

if TYPE_CHECKING:
    from torch import Generator, Tensor


def debye(count: int) -> list[list[float]]:
    """Return the coefficients of u_k(t)/t^k in t^2, k = 0, 1, ...: DLMF 10.41.9."""
    rows = [[1.0] + [0.0] * count]
    for k in range(count):
        rows.append([0.0] * (count + 1))
        for j, value in enumerate(rows[k][: k + 1]):
            power = k + 2 * j
            rows[-1][j] += value * (power / 2 + 1 / (8 * (power + 1)))
            rows[-1][j + 1] -= value * (power / 2 + 5 / (8 * (power + 3)))
    return rows


DEBYE = debye(18)


def log_integral(d: int, kappa: Number) -> Tensor:
    """Return the logarithm of the integral of exp(kappa (cos - 1)) over the unit sphere of d dimensions, for any kappa > 0.

    That is log((2 pi)^(nu + 1) I_nu(kappa) e^-kappa kappa^-nu), nu = d/2 - 1: by Debye's expansion where
    R = |(nu, kappa)| > 25 (its rest is under 1e-17), by the power series of I_nu where not. Not scipy.special.ive, which
    is 0 of 400 dimensions at kappa = 1, and through which torch has no gradient.
    """
    import torch

    kappa = kappa if isinstance(kappa, torch.Tensor) else torch.tensor(kappa, dtype=torch.float64)
    kappa = (kappa.cpu() if kappa.device.type == "mps" else kappa).double()
    if kappa.ndim and d == 2:  # one for each element, to a rounding or two of the integral
        integral: Tensor = 2 * math.pi * torch.special.i0e(kappa)
        return integral.log()
    nu = beside(kappa, d / 2 - 1)
    near = torch.hypot(nu, kappa) < 25
    far = kappa.where(~near, 25)
    size = torch.hypot(nu, far)
    table = beside(kappa, DEBYE)
    k = torch.arange(len(DEBYE), dtype=kappa.dtype, device=kappa.device)
    series = (table * nu ** (2 * k) * size ** -(k[:, None] + 2 * k)).sum()
    expansion = nu * (2 * math.pi / (nu + size)).log() + nu * nu / (size + far) + (2 * math.pi / size * series**2).log() / 2
    if d > 51:
        return expansion
    small = kappa.where(near, 1)
    area = (2 * math.pi) ** (d // 2) * (1 + d % 2) / math.prod(range(d - 2, 0, -2))
    area += area * (d // 2) * 1.2246467991473532e-16 / math.pi  # what the float pi lacks
    terms, product = [], 1
    for n in range(1, 64):
        product *= n * (d - 2 + 2 * n)
        terms.append(area * (2**n / product))
    powers = (small / 2) ** (2 * torch.arange(1, 64, device=kappa.device))
    return ((area + (powers * beside(kappa, terms)).sum()) * (-small).exp()).log().where(near, expansion)


def concentration(d: int, loss: float) -> float:
    """Return the kappa at which the mean of 1 - cos is ``loss``: Newton's steps from Sra's approximation (2012).

    Written out, because scipy.optimize takes longer to import than a calibration takes for all the rest of this family.
    """
    import torch

    if loss <= 0:
        raise ReconError("The directions are reconstructed exactly: the likelihood grows without end.", "Give kappa yourself.")
    if loss >= 1:
        raise ReconError(
            f"The directions are no nearer than by chance, their mean cosine is {1 - loss:g}: the best kappa is 0, no noise.",
            "Give kappa yourself, or a better reconstruction.",
        )
    cos = 1 - loss

    @torch.enable_grad()
    def missed(at: float) -> tuple[float, float]:
        kappa = torch.tensor(at, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(log_integral(d, kappa), kappa, create_graph=True)
        (curve,) = torch.autograd.grad(slope, kappa)
        return loss + slope.item(), curve.item()

    usual = kappa = cos * (d - cos * cos) / (loss * (1 + cos))
    for _ in range(50):
        value, slope = missed(kappa)
        if not value or not slope:
            break
        kappa, before = kappa - value / slope, kappa
        if abs(kappa - before) <= 1e-14 * usual:
            break
    return kappa


def draw(d: int, kappa: Number, like: Tensor, generator: Generator | None) -> Tensor:
    """Draw 1 - cos of the angle between a draw and mu, for each entry of ``like``: Wood (1994), rejected until it is right."""
    import torch

    half, distances = (d - 1) / 2, torch.zeros_like(like).flatten()
    every = torch.as_tensor(kappa, dtype=like.dtype, device=like.device).detach().expand(like.shape).flatten()
    left = torch.arange(len(distances), device=distances.device)
    while len(left):
        strength = every[left]
        b = half / (strength + strength.hypot(beside(strength, half)))
        edge = 2 * b / (1 + b)
        one, two = (standard_gamma(distances.new_full(left.shape, half), generator) for _ in range(2))
        off = 2 * b * one / (two + b * one)
        level = strength * (edge - off) + 2 * half * ((edge + off - edge * off) / (edge * (2 - edge))).log()
        accepted = level >= torch.empty_like(off).uniform_(generator=generator).log()
        distances[left[accepted]] = off[accepted]
        left = left[~accepted]
    return distances.reshape(like.shape)
