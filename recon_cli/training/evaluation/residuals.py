"""Whether sigma is right: standardised residuals, how they are spread, and how the likelihood says they should be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy
import torch

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import REAL, Lattice
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model
from recon_cli.report import Table, column
from recon_cli.training.figures import passes
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

WITHIN = (1, 2, 3)  # standard deviations
SOME = 1 << 20  # elements looked at; each level of a lattice counts as one
PANELS, NODES = 12, 16  # of Gauss and Legendre's rule on either side of mu
ALIKE = 1e-6  # densities of r at two places that are one function
NEAR = 0.02  # of sigma: as good as right
NEARLY = 0.1  # of sigma: near enough for the shape to be told from the size
FEW = 0.2  # of sigma: so few values that nothing is told by them
SHAPE = 0.03  # of a share: as good as the likelihood's


MOMENTS = "standardised residuals (x − E[x|z])/sd[x|z]"
GIVEN_X = "standardised residuals (y − E[y|x])/sd[y|x]"
SHARES = "share of them within so many standard deviations"


@dataclass(frozen=True, kw_only=True)
class ResidualsRow:
    """Residuals with a column for each share: as :class:`Residuals`."""

    data: str = column("data", "*")
    elements: int = column("elements", MOMENTS)
    mean: float = column("mean (0)", MOMENTS)
    variance: float = column("variance (1)", MOMENTS)
    within_1: float = column("within 1", SHARES)
    predicted_1: float = column("predicted of 1", SHARES)
    within_2: float = column("within 2", SHARES)
    predicted_2: float = column("predicted of 2", SHARES)
    within_3: float = column("within 3", SHARES)
    predicted_3: float = column("predicted of 3", SHARES)
    error: float = column("standard error of the predicted", SHARES)
    own_error: float = column("of the observed, if independent", SHARES)


@dataclass(frozen=True)
class Residuals:
    """Standardised residuals r = (x - E[x | z])/sd[x | z] at one z from q(z | x) a row, over ``elements``.

    mean, variance
        of r; 0 and 1 where the likelihood is right.
    within, predicted
        the share of |r| up to 1, 2 and 3, and what the likelihood gives it.
    error
        the largest standard error of ``predicted``: 0 where it is an integral, else of one draw of the model an element.
    """

    data: str
    elements: int
    mean: float
    variance: float
    within: tuple[float, ...]
    predicted: tuple[float, ...]
    error: float

    @property
    def own_error(self) -> float:
        """The largest standard error of ``within``, were the elements independent."""
        return max(math.sqrt(share * (1 - share) / max(1, self.elements)) for share in (*self.within, 0.0))

    @property
    def factor(self) -> float:
        """How many times too small the standard deviation is: the root of the mean of r^2."""
        return math.sqrt(self.variance + self.mean**2)

    def table(self, of_predictions: bool = False) -> Table:
        """Return one row. What predictions leave is of y, given x."""
        shares = {"within": self.within, "predicted": self.predicted}
        each = {f"{name}_{k}": share for name, every in shares.items() for k, share in zip(WITHIN, every, strict=True)}
        row = ResidualsRow(
            data=self.data, elements=self.elements, mean=self.mean, variance=self.variance, error=self.error,
            own_error=self.own_error, **each,
        )  # fmt: skip
        table = Table.of("calibration", ResidualsRow, [row])
        if not of_predictions:
            return table
        panels = {MOMENTS: GIVEN_X}
        return replace(table, columns=[replace(each, panel=panels.get(str(each.panel), each.panel)) for each in table.columns])

    def words(self, likelihood: Likelihood, rows: str) -> str:
        """Return what it says of the noise."""
        factor, name = self.factor, likelihood.level_name if not likelihood.head else None
        whose = name or "the spread that the model gives each element"
        if name and not (name in ("sigma", "scale") and likelihood.support is REAL):  # no scale
            whose = f"the standard deviation at this {name}"
        square = f"the standardised residuals have a mean square of {factor * factor:.3g}, and 1 where it is right"
        near = max(NEAR, math.sqrt(2 / max(1, self.elements)))  # two standard errors of a Gaussian's
        times = f"{factor:.3g} times too small" if factor > 1 else f"{1 / factor if factor else math.inf:.3g} times too large"
        begun = whose if whose == name else whose[0].upper() + whose[1:]
        if abs(factor - 1) <= NEARLY and (shape := self.shape(likelihood)):
            size = "" if abs(factor - 1) <= near else f", {times} by it"
            return f"{begun} has the second moment nearly right for the {rows} rows{size} ({square}), {shape}."
        if abs(factor - 1) <= near and near > FEW:
            return f"Whether {whose} is right cannot be told of {self.elements:,} values: {square}, within two standard errors."
        if abs(factor - 1) <= near:
            return f"Calibrated: {whose} is right for the {rows} rows to {near:.0%} ({square})."
        return f"{begun} is {times} for the {rows} rows: {square}."

    def shape(self, likelihood: Likelihood) -> str:
        """Return in words, where the size is right, that the shares are not the likelihood's, which no noise mends."""
        off = [abs(mine - theirs) for mine, theirs in zip(self.within, self.predicted, strict=True)]
        worst = max(range(len(off)), key=off.__getitem__, default=0)
        if not off or off[worst] <= max(SHAPE, 4 * (self.error + self.own_error)):
            return ""
        return (
            f"but {self.within[worst]:.0%} of them are within {WITHIN[worst]} standard deviation{'s' * (worst > 0)}, of which "
            f"the likelihood predicts {self.predicted[worst]:.0%}: their shape is not that of {likelihood.name}, whatever its "
            f"noise"
        )


def calibration(model: Model, likelihood: Likelihood, rows: Tensor, settings: Settings, data: str) -> Residuals | None:
    """Return the calibration of ``rows`` (N, D), or some of them, evenly spread, where they are many.

    None where x has no mean and variance.
    """
    levels = int(likelihood.support.levels) if isinstance(likelihood.support, Lattice) else 1
    every = max(1, rows.numel() * levels // SOME)
    generator = torch.Generator(rows.device).manual_seed(settings.seed + 4)
    real: list[Tensor] = []
    samples: list[Tensor] = []
    exact: tuple[float, ...] | None = None
    with torch.no_grad():
        for x, raw, _, weights in passes(model, rows[::every].contiguous(), settings):
            mu = model.link.inverse(wide(raw))
            mine = standardised(likelihood, wide(x), mu)
            if mine is None:
                return None
            exact = exact or shares(likelihood, mu)
            if exact is None:
                samples.append(standardised(likelihood, wide(likelihood.sample(mu, generator)), mu))  # type: ignore[arg-type]
            real.append(mine if weights is None else mine[weights > 0])
        r = torch.cat(real).flatten()
        predicted = exact or inside(torch.cat(samples).flatten())
    error = 0.0 if exact else max(math.sqrt(share * (1 - share) / r.numel()) for share in predicted)
    return Residuals(data, r.numel(), r.mean().item(), r.var(correction=0).item(), inside(r), predicted, error)


def standardised(likelihood: Likelihood, x: Tensor, mu: Tensor) -> Tensor | None:
    """Return (x - E[x])/sd[x]; 0 where x is certain and right. None where x has no mean and variance."""
    moments = likelihood.moments(mu)
    if moments is None:
        return None
    mean, variance = moments
    return ((x - mean) / variance.clamp(min=0).sqrt()).where(x != mean, 0)


def inside(r: Tensor) -> tuple[float, ...]:
    """Return the share of |r| up to 1, 2 and 3."""
    return tuple((r.abs() <= k).double().mean().item() for k in WITHIN)


def shares(likelihood: Likelihood, mu: Tensor) -> tuple[float, ...] | None:
    """Return what the likelihood gives |r| up to 1, 2 and 3: the integral of its density, by Gauss and Legendre's rule.

    None where that depends on mu (looked at in two rows), or x is not of the whole line: then its draws must say.
    """
    moments = likelihood.moments(mu[:2])
    if likelihood.support != REAL or likelihood.discrete or moments is None:
        return None
    mean, sd = moments[0], moments[1].sqrt()
    corner = (((mu[:2, ..., 0] if likelihood.head else mu[:2]) - mean) / sd)[0, 0].item()  # where a density may have one

    def density(r: Tensor) -> Tensor:
        """Return that of r, (n,), in each of the elements: (n, rows, elements)."""
        x = mean + r.reshape(-1, 1, 1) * sd
        flat = mu[:2].expand(len(r), *mu[:2].shape).flatten(0, 1)
        return (-likelihood.nll(x.flatten(0, 1), flat)).exp().reshape(x.shape) * sd

    densities = density(torch.linspace(-3, 3, 13, dtype=mu.dtype, device=mu.device)).flatten(1)
    if (densities.amax(dim=1) - densities.amin(dim=1) > ALIKE).any():
        return None
    node, weight = (torch.as_tensor(part, dtype=mu.dtype, device=mu.device) for part in numpy.polynomial.legendre.leggauss(NODES))
    u = (torch.arange(PANELS, dtype=mu.dtype, device=mu.device).unsqueeze(1) + (node + 1) / 2).flatten() / PANELS
    du = (weight / 2 / PANELS).repeat(PANELS)

    def mass(end: float) -> float:
        """Return that between the corner and ``end``: r = corner + (end - corner) u^4, dense where a corner is sharp."""
        r = corner + (end - corner) * u**4
        return abs(end - corner) * (density(r)[:, 0, 0] * 4 * u**3 * du).sum().item()

    return tuple(mass(-k) + mass(k) for k in WITHIN)
