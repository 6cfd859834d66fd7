"""What a model makes of some rows: the figures of an epoch, and of the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

from recon_cli import likelihoods
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, size
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Counts, Model
from recon_cli.report import column
from recon_cli.training.noises import NoiseRule
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

VALUES = "nats per sample"
GRADIENTS = "d nll / d loss at the decoder's parameters (autograd)"
VALIDATION = "−ELBO of the validation rows, nats per sample"
CHUNK = 1 << 20  # elements looked at in one go outside training
STEEP = 1 << 17  # elements, of a batch, that gradients are compared on


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a model makes of some rows. Sums over a sample's elements, means over samples, in nats.

    nll, kl, negative_elbo
        -log p(x | z) at one sample of z for each row (from a fixed seed), KL(q(z | x) || p(z)), and
        their sum, whatever beta is. A deterministic autoencoder has neither KL nor ELBO, nor has what has no latents: both
        None.
    loss
        the matching loss of the same reconstructions, so nll = predicted * loss + offset (+ gap); another one, where that
        is trained on.
    sigma
        the noise parameter, by whatever name; None without one. Where every element has its own, their root mean square;
        the loss, where it has the noise in it, is then taken there, and nothing is predicted.
    active
        how many latents have a mean KL above 0.01 nats; of a deterministic autoencoder, a variance over the rows above
        0.01 of the largest latent's; None without latents.
    ratio, cosine
        of g, the gradient of the summed nll, and h, that of the summed loss, at the decoder's
        parameters on rows of one batch, both by autograd with the noise held: <g, h>/<h, h>, and the cosine
        of their angle. None where the loss has no gradient.
    predicted
        the likelihood's slope, which the ratio should be; None where a gap moves the gradient too, and of a loss not its own.
    """

    nll: float = column("nll", VALUES, brief=True)
    loss: float = column("loss", VALUES, brief=True)
    kl: float | None = column("KL", VALUES, brief=True)
    negative_elbo: float | None = column("−ELBO", VALUES, brief=True)
    sigma: float | None = column("sigma", VALUES, brief=True)
    active: int | None = column("active", VALUES, brief=True)
    ratio: float | None = column("measured", GRADIENTS)
    predicted: float | None = column("predicted", GRADIENTS)
    cosine: float | None = column("cosine", GRADIENTS)

    @property
    def words(self) -> str:
        """The least that there is to say."""
        if self.negative_elbo is None:
            return f"nll {self.nll:.2f}"
        return f"−ELBO {self.negative_elbo:.2f}, {self.active} latents active"


@dataclass(frozen=True, kw_only=True)
class Epoch(Figures):
    """The figures on the training rows after so many epochs.

    validation
        the negative ELBO of the validation rows, in nats per sample (nll, at beta 0 or without latents); None without any.
    """

    epoch: int = column("epoch", "*")
    validation: float | None = column("validation", VALIDATION, default=None)


def look(model: Model, noise: NoiseRule, rows: Tensor, settings: Settings) -> tuple[Figures, Likelihood]:
    """Return the figures on ``rows`` (N, D), and the likelihood that they were taken with, its noise plain numbers."""
    with torch.no_grad():
        pieces, draws = zip(*with_draws(model, rows, settings.seed), strict=True)
        raws, kls = zip(*map(model, pieces, draws), strict=True)
        counts = [*map(model.counts, pieces)]
        weights = [None if each is None else each.events for each in counts]
        if noise.closed:  # of its own numbers
            likelihood = settled(noise(model.target(pieces[0]), model.link.inverse(raws[0]), weights[0]))
        else:
            whole = torch.cat([each for each in weights if each is not None]) if weights[0] is not None else None
            likelihood = settled(noise(model.target(rows), model.link.inverse(torch.cat(raws)), whole))
        one = in_common(likelihood)
        loss = loss_beside(one, settings)
        pairs = [*zip(map(model.target, pieces), raws, weights, strict=True)]
        sums = [
            torch.stack([total(likelihood, *pair) for pair in pairs]).sum(),
            torch.stack([weighed(wide(measured(loss, likelihood, x, raw)), share).sum() for x, raw, share in pairs]).sum(),
        ]
        each = mean([counted(*pair) for pair in zip(kls, counts, strict=True)], len(rows))
        active = model.in_use(pieces, each).sum()
    few = min(settings.batch_size, max(1, STEEP // rows.shape[1]))
    g, h = gradients(model, likelihood, loss, pieces[0][:few], draws[0][:few])
    parts = torch.stack([*sums, each.sum(), active, g @ h, h @ h, g @ g])
    nll, value, kl, used, cross, square, other = parts.tolist()
    slope = likelihood.slope_of(loss) if type(likelihood).gap is Likelihood.gap and one is likelihood else None
    nll, value = nll / len(rows), value / len(rows)
    both = math.sqrt(square) * math.sqrt(other)
    figures = Figures(
        nll=nll,
        loss=value,
        kl=kl if model.has_kl else None,
        negative_elbo=nll + kl if model.has_kl else None,
        sigma=float(plain(one.parameters[name])) if (name := likelihood.level_name) else None,
        active=int(used) if model.has_latents else None,
        ratio=cross / square if square else None,
        predicted=None if slope is None else float(slope),
        cosine=max(-1.0, min(1.0, cross / both)) if both else None,
    )
    return figures, likelihood


def with_draws(model: Model, rows: Tensor, seed: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield ``rows`` in pieces, each with its draws, the same ones at every look."""
    generator = torch.Generator(rows.device).manual_seed(seed + 1)
    for piece in torch.split(rows, max(1, CHUNK // rows.shape[1])):
        yield piece, torch.randn(len(piece), model.latents, generator=generator, device=rows.device)


class Pass(NamedTuple):
    """Of some rows: what the likelihood is of, raw output, each latent's KL by what its sample counts; what events count."""

    x: Tensor
    raw: Tensor
    kl: Tensor
    weights: Tensor | None


def passes(model: Model, rows: Tensor, settings: Settings) -> Iterator[Pass]:
    """Yield what a model makes of ``rows`` in pieces, at the draws that ``look`` takes."""
    for piece, eps in with_draws(model, rows, settings.seed):
        (raw, kl), counts = model(piece, eps), model.counts(piece)
        yield Pass(model.target(piece), raw, counted(kl, counts), None if counts is None else counts.events)


def weighed(values: Tensor, weights: Tensor | None) -> Tensor:
    """Return values of events by what they count."""
    return values if weights is None else values * weights


def counted(kl: Tensor, counts: Counts | None) -> Tensor:
    """Return the KL of each latent by what its sample counts."""
    return kl if counts is None else kl * counts.samples[:, None]


def total(likelihood: Likelihood, x: Tensor, raw: Tensor, weights: Tensor | None) -> Tensor:
    """Return the sum of the nll over events, by what they count, in float64."""
    return likelihood.total(x, raw) if weights is None else weighed(likelihood.nll_raw(wide(x), wide(raw)), weights).sum()


def rates(model: Model, rows: Tensor, settings: Settings) -> tuple[float, ...]:
    """Return the mean KL of each latent over ``rows``, in nats."""
    with torch.no_grad():
        return tuple(mean([one.kl for one in passes(model, rows, settings)], len(rows)).tolist())


def mean(kls: Sequence[Tensor], count: int) -> Tensor:
    """Return the KL of each latent over ``count`` rows that came in pieces, in float64."""
    return torch.stack([wide(kl).sum(dim=0) for kl in kls]).sum(dim=0) / count


def gradients(model: Model, likelihood: Likelihood, loss: Loss, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Return those of the summed nll and of the summed loss, at the decoder's parameters laid end to end, in float64."""
    raw, counts, x = model(x, eps)[0], model.counts(x), model.target(x)
    weights = None if counts is None else counts.events
    sides = weighed(likelihood.nll_raw(x, raw), weights).sum(), weighed(measured(loss, likelihood, x, raw), weights).sum()
    parts = model.decoder_parameters()
    slopes = [torch.autograd.grad(side, parts, retain_graph=True) for side in sides]
    of_nll, of_loss = (torch.cat([wide(part).flatten() for part in side]) for side in slopes)
    return of_nll, of_loss


def matching(likelihood: Likelihood) -> Loss:
    """Return the loss that people write for a likelihood: of the raw output where there is one."""
    return likelihood.raw_loss or likelihood.loss


def loss_beside(likelihood: Likelihood, settings: Settings) -> Loss:
    """Return the loss beside the nll: the one that is trained on, or the matching one."""
    return likelihoods.loss(settings.loss) if settings.loss else matching(likelihood)


def measured(loss: Loss, likelihood: Likelihood, x: Tensor, raw: Tensor) -> Tensor:
    """Return the loss of every element from the decoder's raw output."""
    return loss(x, raw if loss.link == likelihood.link else loss.link.forward(likelihood.link.inverse(raw)))


def settled(likelihood: Likelihood) -> Likelihood:
    """Return the same likelihood with plain numbers for its noise, or a tensor of them, out of any gradient."""
    several = {key: isinstance(value, torch.Tensor) and value.ndim > 0 for key, value in likelihood.parameters.items()}
    numbers = {key: plain(value) if several[key] else float(value) for key, value in likelihood.parameters.items()}
    return type(likelihood)(**numbers).admitted()


def in_common(likelihood: Likelihood) -> Likelihood:
    """Return the likelihood with one noise for all elements, the root mean square of theirs; itself where it has no other."""
    several = any(getattr(value, "ndim", 0) for value in likelihood.parameters.values())
    return type(likelihood)(**{key: size(value) for key, value in likelihood.parameters.items()}) if several else likelihood


def plain(value: Number) -> Number:
    """Return a number outside any gradient."""
    return value.detach() if isinstance(value, torch.Tensor) else value
