"""The three ways to come by the noise; ``level`` is the name of the parameter that is its size, None without one."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from torch import nn

from recon_cli import fitting
from recon_cli.errors import ReconError
from recon_cli.fitting import Free
from recon_cli.likelihood import Likelihood
from recon_cli.vae import typical

if TYPE_CHECKING:
    from torch import Tensor


class Fixed(nn.Module):
    """The noise stays what it was given."""

    def __init__(self, claim: Likelihood) -> None:
        super().__init__()
        self.claim, self.level = claim, fitting.level(claim)

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood of ``x`` given ``mu``, both (B, D)."""
        return self.claim


class Learned(nn.Module):
    """One shared noise, the logarithms of its parameters (logits, of shares) trained with the network.

    Above a ``floor`` it is the floor and the exponential of what is trained, so a gradient can always raise it again.
    """

    def __init__(self, start: Likelihood, floor: float = 0.0) -> None:
        super().__init__()
        self.floor, self.level = floor, fitting.level(start)
        self.noise = Free(
            dataclasses.replace(start, **{self.level: max(getattr(start, self.level) - floor, floor)}) if floor else start
        )

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood as it is now, differentiable."""
        claim = self.noise()
        return dataclasses.replace(claim, **{self.level: getattr(claim, self.level) + self.floor}) if self.floor else claim


class Optimal(nn.Module):
    """The maximum-likelihood noise of what is at hand: Rybkin, Daniilidis and Levine (2021), the sigma-VAE.

    It is the minimiser of the nll, so the gradient with it held constant is the gradient through it.
    """

    def __init__(self, claim: Likelihood, floor: float = 0.0) -> None:
        super().__init__()
        self.claim, self.floor, self.level = claim, floor, fitting.level(claim)

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood that fits ``x`` given ``mu`` best. Raises ReconError where none does (mu = x)."""
        best = self.claim.refit(x, mu.detach())
        return dataclasses.replace(best, **{self.level: max(getattr(best, self.level), self.floor)}) if self.floor else best


def start(claim: Likelihood, whose: str, rows: Tensor, floor: float = 0.0) -> nn.Module:
    """The noise as training begins; a learned one begins at the best for the mean of the rows (of one number).

    Raises ReconError where the rows are all alike: the better the model, the smaller the noise, without end; and for a
    ``floor`` of a noise that is given, or is no sigma and no scale.
    """
    if floor and (whose == "fixed" or fitting.level(claim) not in ("sigma", "scale")):
        why = "is given" if claim.noise and whose == "fixed" else "is no sigma and no scale"
        raise ReconError(
            f"A floor keeps a sigma from running to 0, and the noise of {claim.name} {why}.", "Leave --sigma-floor out."
        )
    if whose == "fixed":
        return Fixed(claim)
    mean = typical(claim, rows)
    mean = mean.expand(len(rows), *mean.shape)
    if whose == "learned" and len(claim.noise) > 1:
        return Learned(fitting.start(type(claim), rows, mean, claim.design), floor)
    try:
        best = claim.refit(rows, mean)
    except ReconError as error:
        if (rows != rows[0]).any():
            raise
        raise ReconError(
            f"The {len(rows):,} training samples are all alike, so no {claim.name} noise fits them best.",
            "Give samples that differ, or fix the noise, as in --sigma 0.1.",
        ) from error
    return Optimal(claim, floor) if whose == "optimal" else Learned(best, floor)
