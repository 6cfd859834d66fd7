"""The three ways to come by the noise."""

from __future__ import annotations

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
        self.claim = claim

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood of ``x`` given ``mu``, both (B, D)."""
        return self.claim


class Learned(nn.Module):
    """One shared noise, the logarithms of its parameters (logits, of shares) trained with the network."""

    def __init__(self, start: Likelihood) -> None:
        super().__init__()
        self.noise = Free(start)

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood as it is now, differentiable."""
        return self.noise()


class Optimal(nn.Module):
    """The maximum-likelihood noise of what is at hand: Rybkin, Daniilidis and Levine (2021), the sigma-VAE.

    It is the minimiser of the nll, so the gradient with it held constant is the gradient through it.
    """

    def __init__(self, claim: Likelihood) -> None:
        super().__init__()
        self.claim = claim

    def forward(self, x: Tensor, mu: Tensor) -> Likelihood:
        """The likelihood that fits ``x`` given ``mu`` best. Raises ReconError where none does (mu = x)."""
        return self.claim.refit(x, mu.detach())


def start(claim: Likelihood, whose: str, rows: Tensor) -> nn.Module:
    """The noise as training begins; a learned one begins at the best for the mean of the rows (of one number).

    Raises ReconError where the rows are all alike: the better the model, the smaller the noise, without end.
    """
    if whose == "fixed":
        return Fixed(claim)
    mean = typical(claim, rows)
    mean = mean.expand(len(rows), *mean.shape)
    if whose == "learned" and len(claim.noise) > 1:
        return Learned(fitting.start(type(claim), rows, mean, claim.design))
    try:
        best = claim.refit(rows, mean)
    except ReconError as error:
        if (rows != rows[0]).any():
            raise
        raise ReconError(
            f"The {len(rows):,} training samples are all alike, so no {claim.name} noise fits them best.",
            "Give samples that differ, or fix the noise, as in --sigma 0.1.",
        ) from error
    return Optimal(claim) if whose == "optimal" else Learned(best)
