"""Originals over reconstructions, samples of the prior, and one latent at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recon_cli.models._base import Model
from recon_cli.models._vae import Vae, divergence
from recon_cli.report import Picture
from recon_cli.runtime.images import MOST, gallery

if TYPE_CHECKING:
    from torch import Tensor

LINES = 4


def pictures(model: Model, rows: Tensor, shape: tuple[int, ...], which: str, seed: int) -> dict[str, Picture]:
    """Return every picture that there is, by the name of its file: of ``rows``, and of what the model generates."""
    own = picture(model, rows, shape, which)
    return {**({"reconstructions.png": own} if own else {}), **generated(model, rows, shape, seed)}


def picture(model: Model, rows: Tensor, shape: tuple[int, ...], which: str) -> Picture | None:
    """Return the first of ``rows`` above mu at the mean of their q(z | x); None where they are no images of ``shape``."""
    if model.supervised:
        return None
    first = model.own(rows[:MOST])
    with torch.no_grad():
        pair = [part.cpu().numpy() for part in (first, model.reconstruct(first))]
    return gallery(f"{which} samples, and their reconstructions", [*zip(("x", "μ"), pair, strict=True)], shape)


def generated(model: Model, rows: Tensor, shape: tuple[int, ...], seed: int) -> dict[str, Picture]:
    """Return ``samples.png``, mu at draws of the prior, and ``traversal.png``, mu as a busy latent goes from -3 to 3, each.

    The other latents are where the first of ``rows`` has them. An autoencoder has no prior: each of the latents that vary
    most goes from its least code to its greatest. Empty where there are no latents, or the samples are no images of ``shape``.
    """
    if not isinstance(model, Vae):
        return {}
    with torch.no_grad():
        mean, log_variance = model.encode(rows)
        used = divergence(mean, log_variance).mean(dim=0) if log_variance is not None else mean.var(dim=0, correction=0)
        busiest = used.argsort(descending=True)[:LINES]
        generator = torch.Generator(rows.device).manual_seed(seed)
        prior = torch.randn(LINES, MOST, mean.shape[1], generator=generator, device=rows.device)
        steps = torch.linspace(0, 1, MOST, device=rows.device)
        moved = mean[:1].expand(len(busiest), MOST, -1).clone()
        for line, latent in enumerate(busiest):
            codes = mean[:, latent]
            least, most = (-3.0, 3.0) if log_variance is not None else (codes.amin(), codes.amax())
            moved[line, :, latent] = least + (most - least) * steps
        span = "-3 to 3" if log_variance is not None else "its least code to its greatest"
        lines_of = {"traversal.png": (f"one latent from {span}", [f"z{int(latent)}" for latent in busiest], moved)}
        if log_variance is not None:
            lines_of["samples.png"] = ("draws of the prior", [f"{line + 1}" for line in range(LINES)], prior)
        real = ("x", model.own(rows[:MOST]).cpu().numpy())  # whose black and white the others have
        galleries = {
            name: gallery(title, [real, *zip(labels, [model.mu(z).cpu().numpy() for z in lines], strict=True)], shape)
            for name, (title, labels, lines) in lines_of.items()
        }
    return {name: Picture(each.title, each.rows[1:]) for name, each in galleries.items() if each is not None}
