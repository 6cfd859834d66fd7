"""Free nats and capacities: at how many nats the weight of a KL turns, and of what: a latent, a sample, the batch's mean.

With every scale at the prior's a latent's KL is m^2/2. Where all means are one size the weight turns at some m; which means turn
it for one that is small says over what the KL is added up before it is compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

HALVINGS = 60
WHOSE = {  # whether other latents of the sample count, and whether other samples do
    (False, False): "of each latent of each sample",
    (True, False): "of each sample, summed over its latents",
    (False, True): "of each latent, the mean of the batch",
    (True, True): "of a sample, the mean of the batch",
}


def threshold(weight: Callable[[Tensor], float], shape: Sequence[int], ends: tuple[float, float]) -> str:
    """Return at how many nats, and of what, a weight turns between two sizes of all means; empty where that is not found.

    ``weight`` is how much the first mean weighs, with means of some values.
    """
    low, high = ends
    on = weight(torch.full(tuple(shape), high, dtype=torch.float64))

    def off(at: Tensor) -> bool:
        return weight(at) * on <= 1e-9 * on * on

    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if off(torch.full(tuple(shape), middle, dtype=torch.float64)) else (low, middle)
    B, K = shape[0], int(torch.Size(shape[1:]).numel())
    large = high * (8 * B * K) ** 0.5
    turned = []
    for rest in (False, True):  # the other latents of its sample; the other samples' of the same place
        at = torch.full((B, K), low / 2, dtype=torch.float64)
        if rest:
            at[1:, 0] = large
        else:
            at[0, 1:] = large
        turned.append((B if rest else K) > 1 and not off(at.reshape(tuple(shape))))
    whose = turned[0], turned[1]
    nats = high**2 / 2 * (K if whose[0] else 1)
    rounded = round(nats, 6)
    return f"{rounded:.6g} nats {WHOSE[whose]}"
