"""KLs of latents that are not normal: between torch's own distributions of a location and a scale, told by their gradients."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, distributions

from recon_cli.auditing.divergence import EPS, Latent
from recon_cli.auditing.latent_fields import DEVIATION, Looked

FAMILIES = (distributions.Normal, distributions.Laplace, distributions.Gumbel, distributions.Cauchy)


def divergence(near: Looked | None) -> Latent | None:
    """Return the KL that the gradients are, of one of the families to another or its own at 0 and 1; None where they are none.

    Not to a normal: that of a Laplace has the gradients of a normal's where a half was forgotten.
    """
    if near is None:
        return None
    measured = torch.cat([near.by_mean.flatten(), near.by_scale.flatten()])
    for posterior, prior in itertools.product(FAMILIES, FAMILIES[1:]):
        for meaning, deviate in DEVIATION.items():
            mean, scale = near.mean.clone().requires_grad_(), near.scale.clone().requires_grad_()
            ends = mean.new_zeros(()), mean.new_ones(())
            try:
                nats: Tensor = distributions.kl_divergence(posterior(mean, deviate(scale)), prior(*ends)).sum()
            except NotImplementedError:  # there is no closed form
                break
            pull = torch.cat([grad.flatten() for grad in torch.autograd.grad(nats, (mean, scale))])
            weight = (pull @ measured / (pull @ pull)).item()
            if weight and (measured - weight * pull).abs().max() <= EPS * measured.abs().max():
                names = [family.__name__ for family in (posterior, prior)]
                to = f"a {names[1]} of location 0 and scale 1"
                note = f"the posterior is a {names[0]}, and the prior {to}"
                return Latent(weight, meaning, notes=(note,), to=to)
    return None
