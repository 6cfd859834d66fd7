"""The ways to come by the noise."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor, nn

from recon_cli.errors import ReconError
from recon_cli.identity import fitting
from recon_cli.identity.fitting import Free, resized
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.parametric import Number
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods._by_decoder import PRECISE
from recon_cli.models._base import typical


class NoiseRule(nn.Module, ABC):
    """A way to come by the noise, whose size is ``floor`` at least.

    level
        the name of the parameter that is its size; None without one.
    closed
        whether it computes the noise of its parameters and arguments alone, without reading a number back.
    """

    closed: bool = True

    def __init__(self, likelihood: Likelihood, floor: float = 0.0) -> None:
        super().__init__()
        self.floor, self.level = floor, likelihood.level_name

    @abstractmethod
    def forward(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Likelihood:
        """Return the likelihood of ``x`` given ``mu``, both (B, D); ``weights`` is what each event counts, if not all alike."""


class Fixed(NoiseRule):
    """The noise stays what it was given."""

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__(likelihood)
        self.likelihood = likelihood

    def forward(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Likelihood:
        """Return the likelihood that was given."""
        del x, mu, weights
        return self.likelihood


class Learned(NoiseRule):
    """One shared noise, the logarithms of its parameters (logits, of shares) trained with the network.

    Its level may be a tensor, one number for each element of the data.
    Above a ``floor`` it is the floor and the exponential of what is trained, so a gradient can always raise it again.
    """

    def __init__(self, start: Likelihood, floor: float = 0.0) -> None:
        super().__init__(start, floor)
        if floor and self.level:
            start = resized(start, above(start.parameters[self.level] - floor, floor))
        self.noise = Free(start)

    def forward(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Likelihood:
        """Return the likelihood as it is now, differentiable."""
        del x, mu, weights
        likelihood: Likelihood = self.noise()
        if self.level is None:
            return likelihood
        level: Number = getattr(likelihood, self.level)
        if isinstance(level, Tensor) and level.ndim:
            level = wide(level)
        elif not self.floor:
            return likelihood
        return type(likelihood)(**{**likelihood.parameters, self.level: level + self.floor})


class Optimal(NoiseRule):
    """The maximum-likelihood noise of what is at hand: Rybkin, Daniilidis and Levine (2021), the sigma-VAE.

    It is the minimiser of the nll, so the gradient with it held constant is the gradient through it.
    """

    closed = False

    def __init__(self, likelihood: Likelihood, floor: float = 0.0) -> None:
        super().__init__(likelihood, floor)
        self.likelihood = likelihood

    def forward(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Likelihood:
        """Return the likelihood that fits ``x`` given ``mu`` best. Raises ReconError where none does (mu = x)."""
        best = best_noise(self.likelihood, x, mu.detach(), weights)
        return resized(best, above(best.parameters[self.level], self.floor)) if self.level and self.floor else best


def best_noise(likelihood: Likelihood, x: Tensor, mu: Tensor, weights: Tensor | None) -> Likelihood:
    """Return the likelihood with the noise that fits best, where events count as ``weights`` say."""
    return likelihood.refit(x, mu, weights)


def still(likelihood: Likelihood, x: Tensor, floor: float) -> str:
    """Return what to do about elements of ``x`` that never change, where the decoder gives each a noise; empty without any."""
    if not likelihood.head or floor or likelihood.discrete or not (alike := int((x == x[0]).all(dim=0).sum())):
        return ""
    name = likelihood.head[likelihood.spreads.start]
    return (
        f"{alike:,} of the {x[0].numel():,} elements are the same in every training row, so the {name} that the decoder gives "
        f"them runs to {'infinity' if name in PRECISE else '0'}, and the likelihood grows without end: keep the noise above a "
        f"floor, as in --sigma-floor 0.01."
    )


def above(value: Number, floor: float) -> Number:
    """Return a number, or each of a tensor's, or the floor where that is more."""
    return value.clamp(min=floor) if isinstance(value, Tensor) else max(value, floor)


def apart(best: Likelihood, rows: Tensor, mean: Tensor, floor: float) -> Likelihood:
    """Return ``best``, its level one number for each element (column) of ``rows``, in proportion to the root mean square error.

    Raises ReconError for an element that never changes: the likelihood of a density grows without end as its noise vanishes.
    """
    if (alike := int((rows == rows[0]).all(dim=0).sum())) and not (floor or best.discrete):
        raise ReconError(
            f"{alike:,} of the {rows.shape[1]:,} elements are the same in every training row, so a noise of their own would run "
            f"to 0.",
            "Keep it above a floor, as in --sigma-floor 0.01, or take one noise for all: --sigma learned.",
        )
    error = (wide(rows) - wide(mean)).square().mean(dim=0)
    level = best.parameters[best.level_name or ""]
    return resized(best, level * (error / error.mean()).sqrt().clamp(min=1e-3))


def start(likelihood: Likelihood, whose: str, rows: Tensor, floor: float = 0.0, weights: Tensor | None = None) -> NoiseRule:
    """Return the noise as training begins; a learned one begins at the best for the mean of the rows (of one number).

    Raises ReconError where the rows are all alike: the better the model, the smaller the noise, without end; and for a
    ``floor`` of a noise that is given, or is no sigma and no scale.
    """
    if floor and not likelihood.head and (whose == "fixed" or likelihood.level_name not in ("sigma", "scale")):
        why = "is given" if likelihood.noise and whose == "fixed" else "is no sigma and no scale"
        raise ReconError(
            f"A floor keeps a sigma from running to 0, and the noise of {likelihood.name} {why}.", "Leave --sigma-floor out."
        )
    if whose == "fixed":
        return Fixed(likelihood)
    mean = typical(likelihood, rows)
    mean = mean.expand(len(rows), *mean.shape)
    if whose != "optimal" and len(likelihood.noise) > 1:
        best = fitting.start(type(likelihood)(**likelihood.design), rows, mean)
        return Learned(apart(best, rows, mean, floor) if whose == "per-element" else best, floor)
    try:
        best = best_noise(likelihood, rows, mean, weights)
    except ReconError as error:
        if (rows != rows[0]).any():
            raise
        raise ReconError(
            f"The {len(rows):,} training samples are all alike, so no {likelihood.name} noise fits them best.",
            "Give samples that differ, or fix the noise, as in --sigma 0.1.",
        ) from error
    if whose == "per-element":
        best = apart(best, rows, mean, floor)
    return Optimal(likelihood, floor) if whose == "optimal" else Learned(best, floor)
