"""What a model makes of some rows: the figures of an epoch, and of the result."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import nn

from recon_cli import likelihoods
from recon_cli.identity.fitting import level
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, size
from recon_cli.identity.tensors import wide
from recon_cli.models.vae import Vae
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

ACTIVE = 0.01  # nats: a latent whose mean KL exceeds this is in use
VARIES = 0.01  # of the widest latent's variance: a latent of an autoencoder that varies more is in use
CHUNK = 1 << 20  # elements looked at in one go outside training


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
        parameters on one batch, both by autograd with the noise held: <g, h>/<h, h>, and the cosine
        of their angle. None where the loss has no gradient.
    predicted
        the likelihood's slope, which the ratio should be; None where a gap moves the gradient too, and of a loss not its own.
    """

    nll: float
    loss: float
    kl: float | None
    negative_elbo: float | None
    sigma: float | None
    active: int | None
    ratio: float | None
    predicted: float | None
    cosine: float | None

    @property
    def words(self) -> str:
        """The least that there is to say."""
        if self.negative_elbo is None:
            return f"nll {self.nll:.2f}"
        return f"ELBO {-self.negative_elbo:.2f}, {self.active} latents active"


@dataclass(frozen=True, kw_only=True)
class Epoch(Figures):
    """The figures on the training rows after so many epochs.

    validation
        the negative ELBO of the validation rows, in nats per sample (nll, at beta 0 or without latents); None without any.
    """

    epoch: int
    validation: float | None = None


def look(model: Vae, noise: nn.Module, rows: Tensor, settings: Settings) -> tuple[Figures, Likelihood]:
    """The figures on ``rows`` (N, D), and the likelihood that they were taken with, its noise plain numbers."""
    with torch.no_grad():
        pieces, draws = zip(*drawn(rows, settings), strict=True)
        raws, kls = zip(*map(model, pieces, draws), strict=True)
        claim = settled(noise(model.target(rows), model.link.inverse(torch.cat(raws))))
        one = in_common(claim)
        loss = shown(one, settings)
        pairs = [*zip(map(model.target, pieces), raws, strict=True)]
        sums = [
            torch.stack([claim.total(*pair) for pair in pairs]).sum(),
            torch.stack([wide(measured(loss, claim, *pair)).sum() for pair in pairs]).sum(),
        ]
        each = mean(kls, len(rows))
        if settings.deterministic:
            spread = wide(torch.cat([model.encode(piece)[0] for piece in pieces])).var(dim=0, correction=0)
            active = (spread > VARIES * spread.max()).sum()
        else:
            active = (each > ACTIVE).sum()
    few = settings.batch_size
    g, h = gradients(model, claim, loss, pieces[0][:few], draws[0][:few])
    parts = torch.stack([*sums, each.sum(), active, g @ h, h @ h, g @ g])
    nll, value, kl, used, cross, square, other = parts.tolist()
    slope = claim.slope_of(loss) if type(claim).gap is Likelihood.gap and one is claim else None
    nll, value = nll / len(rows), value / len(rows)
    both = math.sqrt(square) * math.sqrt(other)
    figures = Figures(
        nll=nll,
        loss=value,
        kl=kl if settings.bounded else None,
        negative_elbo=nll + kl if settings.bounded else None,
        sigma=float(held(one)) if level(claim) else None,
        active=int(used) if settings.latent else None,
        ratio=cross / square if square else None,
        predicted=None if slope is None else float(slope),
        cosine=max(-1.0, min(1.0, cross / both)) if both else None,
    )
    return figures, claim


def drawn(rows: Tensor, settings: Settings) -> Iterator[tuple[Tensor, Tensor]]:
    """``rows`` in pieces, each with its draws, the same ones at every look."""
    generator = torch.Generator(rows.device).manual_seed(settings.seed + 1)
    for piece in torch.split(rows, max(1, CHUNK // rows.shape[1])):
        yield piece, torch.randn(len(piece), settings.latent, generator=generator, device=rows.device)


def passes(model: Vae, rows: Tensor, settings: Settings) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """``rows`` in pieces, at the draws of z that ``look`` takes: what the likelihood is of, raw output, KL of each latent."""
    for piece, eps in drawn(rows, settings):
        yield model.target(piece), *model(piece, eps)


def rates(model: Vae, rows: Tensor, settings: Settings) -> tuple[float, ...]:
    """The mean KL of each latent over ``rows``, in nats."""
    with torch.no_grad():
        return tuple(mean([kl for _, _, kl in passes(model, rows, settings)], len(rows)).tolist())


def mean(kls: Sequence[Tensor], count: int) -> Tensor:
    """The KL of each latent over ``count`` rows that came in pieces, in float64."""
    return torch.stack([wide(kl).sum(dim=0) for kl in kls]).sum(dim=0) / count


def gradients(model: Vae, claim: Likelihood, loss: Loss, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
    """Of the summed nll and of the summed loss, at the decoder's parameters laid end to end, in float64."""
    raw, x = model(x, eps)[0], model.target(x)
    sides = claim.nll_raw(x, raw).sum(), measured(loss, claim, x, raw).sum()
    parts = [*model.decoder.parameters()]
    found = [torch.autograd.grad(side, parts, retain_graph=True) for side in sides]
    of_nll, of_loss = (torch.cat([wide(part).flatten() for part in side]) for side in found)
    return of_nll, of_loss


def matching(claim: Likelihood) -> Loss:
    """The loss that people write for a likelihood: of the raw output where there is one."""
    return claim.raw_loss or claim.loss


def shown(claim: Likelihood, settings: Settings) -> Loss:
    """The loss beside the nll: the one that is trained on, or the matching one."""
    return likelihoods.loss(settings.loss) if settings.loss else matching(claim)


def measured(loss: Loss, claim: Likelihood, x: Tensor, raw: Tensor) -> Tensor:
    """The loss of every element from the decoder's raw output."""
    return loss(x, raw if loss.link == claim.link else loss.link.forward(claim.link.inverse(raw)))


def settled(claim: Likelihood) -> Likelihood:
    """The same likelihood with plain numbers for its noise, or a tensor of them, held."""
    held = {key: value.detach() if getattr(value, "ndim", 0) else float(value) for key, value in claim.parameters.items()}  # type: ignore[union-attr]
    return type(claim)(**held).admitted()  # type: ignore[arg-type]


def in_common(claim: Likelihood) -> Likelihood:
    """The same likelihood with one noise for all elements, the root mean square of theirs; itself where it has no other."""
    several = any(getattr(value, "ndim", 0) for value in claim.parameters.values())
    return type(claim)(**{key: size(value) for key, value in claim.parameters.items()}) if several else claim


def held(claim: Likelihood) -> Number:
    """The noise parameter outside any gradient; 1 for a likelihood that has not exactly one."""
    name = level(claim)
    value = claim.parameters[name] if name else 1.0
    return value if isinstance(value, float) else value.detach()
