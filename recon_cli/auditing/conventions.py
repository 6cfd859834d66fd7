"""No code at all: the objective that a few words describe, as a function to audit like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError, unknown
from recon_cli.identity.losses import REDUCTIONS, Loss, as_reduction

if TYPE_CHECKING:
    from torch import Tensor


def written(
    loss: Loss, reduction: str = "mean", kl_weight: float = 1.0, kl_reduction: str | None = None
) -> Callable[..., Tensor]:
    """Return ``reduction`` of ``loss`` plus ``kl_weight`` times a KL, summed over latents, averaged over the batch unless told.

    With the reconstruction summed over the batch, the KL is too. ``kl_reduction`` "mean" averages over the latents as
    well. Without a weight there is no KL. Raises ReconError for a loss of vectors and a reduction that is none.
    """
    if loss.event or loss.head:
        raise ReconError(f"{loss.name} is of vectors or of several numbers an element.", "Write it as a function and audit that.")
    reductions = {each.name: each for each in REDUCTIONS}
    reduction = as_reduction(reduction)
    kl_reduction = as_reduction(kl_reduction or ("sum" if reduction == "sum" else "batch-mean"))
    for word in (reduction, kl_reduction):
        if word not in reductions:
            raise unknown("reduction", word, reductions)
    of_loss, of_kl = reductions[reduction], reductions[kl_reduction]

    def reconstruction(recon: Tensor, x: Tensor) -> Tensor:
        return of_loss(loss.values(x, recon))

    def objective(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        kl = 0.5 * (mu.square() + logvar.exp() - logvar - 1)
        return reconstruction(recon, x) + kl_weight * of_kl(kl)

    function: Callable[..., Tensor] = objective if kl_weight else reconstruction
    function.__qualname__ = f"{loss.name} ({reduction})" + (f" + {kl_weight:g} KL ({of_kl.name})" if kl_weight else "")
    return function
