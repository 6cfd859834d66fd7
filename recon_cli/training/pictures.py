"""Originals over reconstructions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from recon_cli.pictures import MOST, gallery
from recon_cli.report import Picture
from recon_cli.vae import Vae

if TYPE_CHECKING:
    from torch import Tensor


def picture(vae: Vae, rows: Tensor, shape: tuple[int, ...], which: str) -> Picture | None:
    """The first of ``rows`` above mu at the mean of their q(z | x); None where they are no images of ``shape``."""
    first = rows[:MOST]
    with torch.no_grad():
        pair = [part.cpu().numpy() for part in (first, vae.reconstruct(first))]
    return gallery(f"{which} samples, and their reconstructions", [*zip(("x", "μ"), pair, strict=True)], shape)
