"""The ways to come by the noise; ``level`` is the name of the parameter that is its size, None without one.

``closed``: they compute it of their parameters and arguments, without reading a number back.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity import fitting
from recon_cli.identity.fitting import Free
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.models.vae import typical

if TYPE_CHECKING:
    from torch import Tensor


class Fixed(nn.Module):
    """The noise stays what it was given."""

    closed = True

    def __init__(self, claim: Likelihood) -> None:
        super().__init__()
        self.claim, self.level = claim, fitting.level(claim)

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood of ``x`` given ``mu``, both (B, D)."""
        return self.claim


class Learned(nn.Module):
    """One shared noise, the logarithms of its parameters (logits, of shares) trained with the network.

    Its level may be a tensor, one number for each element of the data.
    Above a ``floor`` it is the floor and the exponential of what is trained, so a gradient can always raise it again.
    """

    closed = True

    def __init__(self, start: Likelihood, floor: float = 0.0) -> None:
        super().__init__()
        self.floor, self.level = floor, fitting.level(start)
        self.noise = Free(
            dataclasses.replace(start, **{self.level: above(getattr(start, self.level) - floor, floor)}) if floor else start
        )

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood as it is now, differentiable."""
        claim = self.noise()
        level = getattr(claim, self.level) if self.level else None
        if level is not None and level.ndim:
            level = wide(level)
        elif not self.floor:
            return claim
        return dataclasses.replace(claim, **{self.level: level + self.floor})


class Optimal(nn.Module):
    """The maximum-likelihood noise of what is at hand: Rybkin, Daniilidis and Levine (2021), the sigma-VAE.

    It is the minimiser of the nll, so the gradient with it held constant is the gradient through it.
    """

    closed = False

    def __init__(self, claim: Likelihood, floor: float = 0.0) -> None:
        super().__init__()
        self.claim, self.floor, self.level = claim, floor, fitting.level(claim)

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood that fits ``x`` given ``mu`` best. Raises ReconError where none does (mu = x)."""
        best = self.claim.fit(x, mu.detach())
        return dataclasses.replace(best, **{self.level: max(getattr(best, self.level), self.floor)}) if self.floor else best


def still(claim: Likelihood, x: Tensor, floor: float) -> str:
    """What to do about elements of ``x`` that never change, where the decoder gives each a noise; empty where there are none."""
    if not claim.head or floor or claim.discrete or not (alike := int((x == x[0]).all(dim=0).sum())):
        return ""
    return (
        f"{alike:,} of the {x[0].numel():,} elements are the same in every training row, so the {claim.head[1]} that the decoder "
        f"gives them runs to 0, and the likelihood grows without end: keep it above a floor, as in --sigma-floor 0.01."
    )


def above(value: Any, floor: float) -> Any:
    """A number, or each of a tensor's, or the floor where that is more."""
    return max(value, floor) if isinstance(value, float) else value.clamp(min=floor)


def apart(best: Likelihood, rows: Tensor, mean: Tensor, floor: float) -> Likelihood:
    """``best``, its level one number for each element (column) of ``rows``: in proportion to the root mean square error there.

    Raises ReconError for an element that never changes: the likelihood of a density grows without end as its noise vanishes.
    """
    if (alike := int((rows == rows[0]).all(dim=0).sum())) and not (floor or best.discrete):
        raise ReconError(
            f"{alike:,} of the {rows.shape[1]:,} elements are the same in every training row, so a noise of their own would run "
            f"to 0.",
            "Keep it above a floor, as in --sigma-floor 0.01, or take one noise for all: --sigma learned.",
        )
    error = (wide(rows) - wide(mean)).square().mean(dim=0)
    name = fitting.level(best) or ""
    level = getattr(best, name) * (error / error.mean()).sqrt().clamp(min=1e-3)
    return dataclasses.replace(best, **{name: level})


def start(claim: Likelihood, whose: str, rows: Tensor, floor: float = 0.0) -> nn.Module:
    """The noise as training begins; a learned one begins at the best for the mean of the rows (of one number).

    Raises ReconError where the rows are all alike: the better the model, the smaller the noise, without end; and for a
    ``floor`` of a noise that is given, or is no sigma and no scale.
    """
    if floor and not claim.head and (whose == "fixed" or fitting.level(claim) not in ("sigma", "scale")):
        why = "is given" if claim.noise and whose == "fixed" else "is no sigma and no scale"
        raise ReconError(
            f"A floor keeps a sigma from running to 0, and the noise of {claim.name} {why}.", "Leave --sigma-floor out."
        )
    if whose == "fixed":
        return Fixed(claim)
    mean = typical(claim, rows)
    mean = mean.expand(len(rows), *mean.shape)
    if whose != "optimal" and len(claim.noise) > 1:
        best = fitting.start(type(claim)(**claim.design), rows, mean)
        return Learned(apart(best, rows, mean, floor) if whose == "per-element" else best, floor)
    try:
        best = claim.fit(rows, mean)
    except ReconError as error:
        if (rows != rows[0]).any():
            raise
        raise ReconError(
            f"The {len(rows):,} training samples are all alike, so no {claim.name} noise fits them best.",
            "Give samples that differ, or fix the noise, as in --sigma 0.1.",
        ) from error
    if whose == "per-element":
        best = apart(best, rows, mean, floor)
    return Optimal(claim, floor) if whose == "optimal" else Learned(best, floor)
