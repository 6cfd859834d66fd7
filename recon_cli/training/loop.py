"""The training loop, and the figures of an epoch."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.fitting import level
from recon_cli.likelihood import Likelihood, wide
from recon_cli.losses import Loss
from recon_cli.parametric import Number
from recon_cli.training.settings import Settings, optimizers
from recon_cli.vae import Vae, divergence, draw

if TYPE_CHECKING:
    from torch import Tensor, nn

ACTIVE = 0.01  # nats: a latent whose mean KL exceeds this is in use
SMALL = 1e-9  # a noise whose inverse square is out of float32's reach before long
LITTLE = 1 << 24  # multiplications
CHUNK = 1 << 20  # elements looked at in one go outside training


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What a model makes of some rows. Sums over a sample's elements, means over samples, in nats.

    nll, kl, negative_elbo
        -log p(x | z) at one sample of z for each row (from a fixed seed), KL(q(z | x) || p(z)), and
        their sum, whatever beta is.
    loss
        the matching loss of the same reconstructions, so nll = predicted * loss + offset (+ gap).
    sigma
        the noise parameter, by whatever name; None without one.
    active
        how many latents have a mean KL above 0.01 nats.
    ratio, cosine
        of g, the gradient of the summed nll, and h, that of the summed loss, at the decoder's
        parameters on one batch, both by autograd with the noise held: <g, h>/<h, h>, and the cosine
        of their angle. None where the loss has no gradient.
    predicted
        the likelihood's slope, which the ratio should be; None where a gap moves the gradient too.
    """

    nll: float
    loss: float
    kl: float
    negative_elbo: float
    sigma: float | None
    active: int
    ratio: float | None
    predicted: float | None
    cosine: float | None


@dataclass(frozen=True, kw_only=True)
class Epoch(Figures):
    """The figures on the training rows after so many epochs."""

    epoch: int


def stepper(vae: Vae, noise: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """The one asked for, over network and noise; no weight decay pulls the noise towards 1."""
    groups: list[dict[str, Any]] = [{"params": [*vae.parameters()]}]
    if parts := [*noise.parameters()]:
        groups.append({"params": parts, "weight_decay": 0.0})
    return optimizers()[settings.optimizer.lower()](groups, lr=settings.lr)  # type: ignore[call-arg]


def walk(
    vae: Vae, noise: nn.Module, optimizer: torch.optim.Optimizer, rows: Tensor, settings: Settings
) -> Iterator[tuple[Epoch, Likelihood]]:
    """Train, and after each epoch yield its figures and the likelihood with its noise as it then is.

    Minimises, over batches of ``rows`` (N, D), the mean over a batch of nll + beta * KL, each summed
    over a sample. Nothing is read back from the device within an epoch (but by the fit of an optimal
    noise). Raises ReconError where a term is no longer finite.
    """
    count, size = len(rows), settings.batch_size
    generator = torch.Generator(rows.device).manual_seed(settings.seed)
    for epoch in range(1, settings.epochs + 1):
        order = torch.randperm(count, generator=generator, device=rows.device)
        trace = wide(torch.full((-(-count // size), 3), math.nan, device=rows.device))
        try:
            for step, first in enumerate(range(0, count, size)):
                x = rows[order[first : first + size]]
                mean, log_variance = vae.encode(x)
                raw = vae.decode(draw(mean, log_variance, generator))
                kl = divergence(mean, log_variance).sum() / len(x)
                trace[step, 1] = kl.detach()
                events = vae.shaped(x)
                claim = noise(events, vae.link.inverse(raw))
                nll = claim.nll_raw(events, raw).sum() / len(x)
                trace[step, 0] = nll.detach()
                trace[step, 2] = held(claim)
                optimizer.zero_grad()
                (nll + settings.beta * kl).backward()
                optimizer.step()
            seen = trace.tolist()
            figures, settled = look(vae, noise, rows, settings)
        except ReconError as error:
            raise diverged(epoch, trace.tolist(), settings, error) from error
        seen.append([figures.nll + 0 * figures.loss + 0 * (figures.ratio or 0), figures.kl, 1.0])
        if not all(math.isfinite(value) for line in seen for value in line):
            raise diverged(epoch, seen, settings)
        yield Epoch(epoch=epoch, **vars(figures)), settled


@contextmanager
def threads(rows: Tensor, settings: Settings) -> Iterator[None]:
    """One thread for steps of little work on a CPU, the caller's number again afterwards.

    There a second thread saves a tenth, and on a busy machine it costs tenfold: every step waits for
    its turn. The results are the same.
    """
    before, work = torch.get_num_threads(), settings.batch_size * settings.hidden * (2 * rows.shape[1] + 3 * settings.latent)
    if rows.device.type == "cpu" and work < LITTLE:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def look(vae: Vae, noise: nn.Module, rows: Tensor, settings: Settings) -> tuple[Figures, Likelihood]:
    """The figures on ``rows`` (N, D), and the likelihood that they were taken with, its noise plain numbers."""
    generator = torch.Generator(rows.device).manual_seed(settings.seed + 1)
    with torch.no_grad():
        pieces = torch.split(rows, max(1, CHUNK // rows.shape[1]))
        codes = [vae.encode(piece) for piece in pieces]
        latents = [draw(*code, generator) for code in codes]
        raws = [vae.decode(z) for z in latents]
        claim = settled(noise(vae.shaped(rows), vae.link.inverse(torch.cat(raws))))
        loss = matching(claim)
        pairs = [*zip(map(vae.shaped, pieces), raws, strict=True)]
        sums = [
            torch.stack([wide(claim.nll_raw(*pair)).sum() for pair in pairs]).sum(),
            torch.stack([wide(measured(loss, claim, *pair)).sum() for pair in pairs]).sum(),
        ]
        rates = torch.stack([wide(divergence(*code)).sum(dim=0) for code in codes]).sum(dim=0) / len(rows)
    few = settings.batch_size
    g, h = gradients(vae, claim, loss, pieces[0][:few], latents[0][:few])
    parts = torch.stack([*sums, rates.sum(), (rates > ACTIVE).sum(), g @ h, h @ h, g @ g])
    nll, value, kl, active, cross, square, other = parts.tolist()
    nll, value = nll / len(rows), value / len(rows)
    size = math.sqrt(square) * math.sqrt(other)
    figures = Figures(
        nll=nll,
        loss=value,
        kl=kl,
        negative_elbo=nll + kl,
        sigma=float(held(claim)) if level(claim) else None,
        active=int(active),
        ratio=cross / square if square else None,
        predicted=float(claim.losses[loss]) if type(claim).gap is Likelihood.gap else None,
        cosine=max(-1.0, min(1.0, cross / size)) if size else None,
    )
    return figures, claim


def gradients(vae: Vae, claim: Likelihood, loss: Loss, x: Tensor, z: Tensor) -> tuple[Tensor, Tensor]:
    """Of the summed nll and of the summed loss, at the decoder's parameters laid end to end, in float64."""
    raw = vae.decode(z)
    x = vae.shaped(x)
    sides = claim.nll_raw(x, raw).sum(), measured(loss, claim, x, raw).sum()
    parts = [*vae.decoder.parameters()]
    found = [torch.autograd.grad(side, parts, retain_graph=True) for side in sides]
    of_nll, of_loss = (torch.cat([wide(part).flatten() for part in side]) for side in found)
    return of_nll, of_loss


def matching(claim: Likelihood) -> Loss:
    """The loss that people write for a likelihood: of the raw output where there is one."""
    return claim.raw_loss or claim.loss


def measured(loss: Loss, claim: Likelihood, x: Tensor, raw: Tensor) -> Tensor:
    """The loss of every element from the decoder's raw output."""
    return loss(x, raw if loss.link == claim.link else loss.link.forward(claim.link.inverse(raw)))


def settled(claim: Likelihood) -> Likelihood:
    """The same likelihood with plain numbers for its noise."""
    return type(claim)(**{key: float(value) for key, value in claim.parameters.items()})


def held(claim: Likelihood) -> Number:
    """The noise parameter outside any gradient; 1 for a likelihood that has not exactly one."""
    name = level(claim)
    value = claim.parameters[name] if name else 1.0
    return value if isinstance(value, float) else value.detach()


def diverged(epoch: int, trace: list[list[float]], settings: Settings, found: ReconError | None = None) -> ReconError:
    """The error for a run that left the numbers: where, which term, and the likely cause.

    trace
        nll, KL and noise of each step of this epoch; NaN where it did not come to that.
    found
        why no noise fits best, where that is what stopped it.
    """
    bad = (at for at, line in enumerate(trace) if not all(map(math.isfinite, line)))
    at = next(bad, len(trace) - 1)
    nll, kl, noise = trace[at]
    where = f"Training broke off at epoch {epoch}, step {at + 1}: "
    slower = f"lower --lr, which is {settings.lr:g}"
    if not math.isfinite(kl):
        return ReconError(f"{where}the KL is {kl:g}.", f"The steps are probably too long: {slower}.")
    if found is not None:
        return ReconError(
            f"{where}the reconstruction term (nll) has no least value. {found.message}",
            f"If the reconstruction is perfect, fix the noise, as in --sigma 0.1; if it overflowed, {slower}.",
        )
    hint = f"The steps are probably too long: {slower}."
    if noise < SMALL:
        hint = "Divided by so small a noise, errors overflow float32: give a larger --sigma, or --sigma learned."
    return ReconError(f"{where}the reconstruction term (nll) is {nll:g}, at a noise of {noise:g}.", hint)
