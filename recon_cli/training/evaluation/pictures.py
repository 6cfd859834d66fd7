"""Originals over reconstructions, samples of the prior, and one latent at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recon_cli.models.vae import Vae, divergence
from recon_cli.report import Picture
from recon_cli.runtime.images import MOST, gallery

if TYPE_CHECKING:
    from torch import Tensor

LINES = 4


def picture(vae: Vae, rows: Tensor, shape: tuple[int, ...], which: str) -> Picture | None:
    """The first of ``rows`` above mu at the mean of their q(z | x); None where they are no images of ``shape``."""
    first = rows[:MOST]
    with torch.no_grad():
        pair = [part.cpu().numpy() for part in (first, vae.reconstruct(first))]
    return gallery(f"{which} samples, and their reconstructions", [*zip(("x", "μ"), pair, strict=True)], shape)


def generated(vae: Vae, rows: Tensor, shape: tuple[int, ...], seed: int) -> dict[str, Picture]:
    """``samples.png``, mu at draws of the prior, and ``traversal.png``, mu as each of the busiest latents goes from -3 to 3.

    The other latents are where the first of ``rows`` has them. An autoencoder has no prior: each of the latents that vary
    most goes from its least code to its greatest. Empty where the samples are no images of ``shape``.
    """
    with torch.no_grad():
        mean, log_variance = vae.encode(rows)
        used = divergence(mean, log_variance).mean(dim=0) if log_variance is not None else mean.var(dim=0, correction=0)
        busiest = used.argsort(descending=True)[:LINES]
        generator = torch.Generator(rows.device).manual_seed(seed)
        prior = torch.randn(LINES, MOST, mean.shape[1], generator=generator, device=rows.device)
        steps = torch.linspace(0, 1, MOST, device=rows.device)
        moved = mean[:1].expand(len(busiest), MOST, -1).clone()
        for line, latent in enumerate(busiest):
            least, most = (-3.0, 3.0) if log_variance is not None else mean[:, latent].aminmax()
            moved[line, :, latent] = least + (most - least) * steps
        span = "-3 to 3" if log_variance is not None else "its least code to its greatest"
        wanted = {"traversal.png": (f"one latent from {span}", [f"z{int(latent)}" for latent in busiest], moved)}
        if log_variance is not None:
            wanted["samples.png"] = ("draws of the prior", [f"{line + 1}" for line in range(LINES)], prior)
        real = ("x", rows[:MOST].cpu().numpy())  # whose black and white the others have
        found = {
            name: gallery(title, [real, *zip(labels, [vae.mu(z).cpu().numpy() for z in lines], strict=True)], shape)
            for name, (title, labels, lines) in wanted.items()
        }
    return {name: Picture(shown.title, shown.rows[1:]) for name, shown in found.items() if shown is not None}
