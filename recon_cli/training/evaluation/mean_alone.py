"""What no model at all costs: one constant for every row, its noise the best that is free. A result must be better."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from recon_cli.errors import ReconError
from recon_cli.identity import fitting
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle, Lattice
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model, typical
from recon_cli.training.figures import CHUNK, in_common, loss_beside, passes, weighed
from recon_cli.training.noises import above, apart, best_noise
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

LEAST = 0.01  # nats a sample: closer to the mean alone is no worse than it
SOME = 1 << 23  # elements, of evenly spread rows, that stand for all where that is dear
HALVINGS = 60  # of an interval of logits
EDGE = 700.0  # the largest logit, whose exponential is a number
SURE = 2.0  # standard errors
FEW, SHARE = 0.5, 0.05  # nats, and of the nll: what chance is given at most, however few the rows


@dataclass(frozen=True)
class Alone:
    """The mean alone beside a model, on the same rows, in nats per sample.

    nll
        of the best constant for every row (and the best noise, where it is free), both of the training rows.
    cost
        the model's nll and what it was charged for its KL: the negative ELBO at beta 1; nll where there is no KL.
    error
        the standard error of their difference, or of ``nll`` where that is less.
    """

    nll: float
    cost: float
    error: float

    @property
    def worse(self) -> bool:
        """Whether the model is worse than the mean alone by more than chance: two standard errors, where those are few nats."""
        chance = max(LEAST, min(SURE * self.error, FEW + SHARE * abs(self.nll)))
        return math.isfinite(self.nll) and not self.cost <= self.nll + chance


def alone(
    model: Model, likelihood: Likelihood, whose: str, trained: Likelihood, train_rows: Tensor, rows: Tensor, settings: Settings
) -> Alone:
    """Return the mean of ``train_rows`` beside ``model``, both on ``rows``.

    ``trained`` is the likelihood as training left it, ``likelihood`` as it began: its noise, unless ``whose`` is fixed, is
    fitted.
    """
    with torch.no_grad():
        mine = costs(model, trained, rows, settings)
        counts = [None if each is None else each.events for each in map(model.counts, (train_rows, rows))]
        sides = model.target(train_rows), model.target(rows)
        theirs = constant(likelihood, whose, *sides, settings.sigma_floor, *counts)
        spreads = [(part.std(correction=0) / math.sqrt(len(rows))).item() for part in (mine - theirs, theirs)]
        return Alone(theirs.mean().item(), mine.mean().item(), min(filter(math.isfinite, spreads), default=0.0))


def costs(model: Model, likelihood: Likelihood, rows: Tensor, settings: Settings) -> Tensor:
    """Return what a model costs, of each of ``rows``: the nll, and the KL as it was charged in training, (N,) in float64.

    That is beta times it, beyond the nats that were free. Where a loss was trained on, its slope is in beta too.
    """
    terms = [(nlls(likelihood, x, raw, weights), wide(kl)) for x, raw, kl, weights in passes(model, rows, settings)]
    nll, kl = (torch.cat(parts) for parts in zip(*terms, strict=True))
    loss = loss_beside(likelihood, settings)
    slope = float(likelihood.slope_of(loss) or 1.0) if settings.loss and in_common(likelihood) is likelihood else 1.0
    return nll + slope * settings.beta * (kl.sum(dim=1) - kl.mean(dim=0).clamp(max=settings.free_bits).sum())


def nlls(likelihood: Likelihood, x: Tensor, raw: Tensor, weights: Tensor | None) -> Tensor:
    """Return the nll of each row, (N,), from the raw output."""
    return weighed(likelihood.nll_raw(wide(x), wide(raw)), weights).flatten(1).sum(dim=1)


def constant(
    likelihood: Likelihood,
    whose: str,
    x: Tensor,
    rows: Tensor,
    floor: float = 0.0,
    x_weights: Tensor | None = None,
    weights: Tensor | None = None,
) -> Tensor:
    """Return the nll of each of ``rows``, (N, ...), at the constant best for ``x``, (M, ...), with the noise best for both.

    Of several the best on ``x`` that is finite on ``rows``: a mean of 0 says that no other count can come.
    """
    every = -(-x.numel() // SOME)
    few = x[::every]  # stand for all, but for the mean
    few_weights = None if x_weights is None else x_weights[::every]
    candidates: list[tuple[float, Callable[[Tensor, Tensor], Tensor], Tensor]] = []
    if likelihood.link.name == "logit" and not likelihood.discrete and not likelihood.noise:
        return each(likelihood.nll_raw, rows, meant(likelihood, typical(likelihood, x)), weights)
    for mu in constants(likelihood, x, few):
        try:
            best = noise(likelihood, whose, x, few, mu, floor, few_weights)
            candidates.append((each(best.nll, few, mu, few_weights).mean().item(), best.nll, mu))
        except ReconError:  # no noise is best
            continue
    finite = [one for one in candidates if not math.isnan(one[0])]
    for _, nll, mu in sorted(finite, key=lambda one: one[0]):
        if (theirs := each(nll, rows, mu, weights)).isfinite().all():
            return theirs
    return wide(rows.new_full((len(rows),), math.inf))


def each(nll: Callable[[Tensor, Tensor], Tensor], x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the nll of each row of ``x``, (N,), at the one ``mu`` (or raw output), by what its events count."""
    size = max(1, CHUNK // x[0].numel())
    pieces = x.split(size)
    shares = [None] * len(pieces) if weights is None else weights.split(size)
    nlls = (nll(wide(part), wide(mu).expand(len(part), *mu.shape)) for part in pieces)
    return torch.cat([weighed(one, share).flatten(1).sum(dim=1) for one, share in zip(nlls, shares, strict=True)])


def noise(
    likelihood: Likelihood, whose: str, x: Tensor, few: Tensor, mu: Tensor, floor: float, weights: Tensor | None
) -> Likelihood:  # fmt: skip
    """Return the likelihood with the noise that is best for a constant. Raises ReconError where none is."""
    if whose == "fixed":
        return likelihood
    means = mu.expand(len(few), *mu.shape)
    try:
        best = best_noise(likelihood, few, means, weights)
    except ReconError:
        if len(likelihood.noise) < 2:
            raise
        best = fitting.start(type(likelihood)(**likelihood.design), few, means)
    if whose == "per-element":
        best = apart(best, x, mu, floor)
    name = best.level_name
    return fitting.resized(best, above(best.parameters[name], floor)) if floor and name else best


def constants(likelihood: Likelihood, x: Tensor, few: Tensor) -> Iterator[Tensor]:
    """Yield constants one of which is the best, or nearly: the mean, and the quantile.

    The last of them gives every value of a bounded domain a chance, where those before might not.
    """
    usual = typical(likelihood, x)
    usual = likelihood.link.inverse(likelihood.link.forward(usual)) if likelihood.head else usual  # where a floor may be
    if isinstance(likelihood.support, Circle):
        yield torch.atan2(wide(x).sin().mean(dim=0), wide(x).cos().mean(dim=0))
        return
    yield usual
    if not likelihood.discrete and not likelihood.event or likelihood.head:
        share = float(likelihood.parameters.get("quantile", 0.5))
        middle = wide(few).kthvalue(max(1, math.ceil(share * len(few))), dim=0).values
        if likelihood.head:
            away = (wide(few) - middle).abs().mean(dim=0)
            middle = likelihood.usual_outputs(middle, away.clamp(min=1e-3 * away.mean().item() or 1.0))
        yield middle
    elif likelihood.discrete and not isinstance(likelihood.support, Lattice):
        middle = usual.flatten(0, -2).mean(dim=0) if likelihood.event else usual.mean()
        yield (len(x) * usual + middle) / (len(x) + 1)


def meant(likelihood: Likelihood, mean: Tensor) -> Tensor:
    """Return the logit whose x has this mean, which in a family of one natural parameter is the most likely: by halving.

    Not beyond ``EDGE``: a density has no least nll of values that are all 0. Of every element at once, where it lies, which
    scipy.optimize's bisections are not.
    """
    low, high = (wide(torch.full_like(mean, end)) for end in (-EDGE, EDGE))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        moments = likelihood.moments(middle.sigmoid())
        assert moments is not None
        less = moments[0] < mean
        low, high = middle.where(less, low), high.where(less, middle)
    return (low + high) / 2
