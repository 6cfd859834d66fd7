"""KLs of latents that are not normal: between torch's own distributions of a location and a scale, told by their gradients."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
from torch import Tensor, distributions

from recon_cli.auditing.divergence import EPS, Latent, nothing_left
from recon_cli.auditing.latent_fields import DEVIATION, LatentSide, Looked

FAMILIES = (distributions.Normal, distributions.Laplace, distributions.Gumbel, distributions.Cauchy)
POSTERIORS: dict[str, Callable[[Tensor, Tensor], distributions.Distribution]] = {
    **{family.__name__: family for family in FAMILIES},
    "Uniform of half that width": lambda mean, scale: distributions.Uniform(mean - scale, mean + scale),
    "Uniform of that width": lambda mean, scale: distributions.Uniform(mean - scale / 2, mean + scale / 2),
}


def divergence(side: LatentSide, near: Looked | None) -> Latent | None:
    """Return the KL that the gradients are, of one of the families to another or its own at 0 and 1; None where they are none.

    That of a Laplace to a normal has the gradients of a normal's where a half was forgotten: so its value must be right too.
    """
    if near is None:
        return None
    measured = torch.cat([near.by_mean.flatten(), near.by_scale.flatten()])
    ends = near.mean.new_zeros(()), near.mean.new_ones(())
    for (name, posterior), family in itertools.product(POSTERIORS.items(), FAMILIES):
        if posterior is family is distributions.Normal:
            continue
        for meaning, deviate in DEVIATION.items():
            mean, scale = near.mean.clone().requires_grad_(), near.scale.clone().requires_grad_()
            try:
                nats: Tensor = distributions.kl_divergence(posterior(mean, deviate(scale)), family(*ends)).sum()
                pull = torch.cat([grad.flatten() for grad in torch.autograd.grad(nats, (mean, scale))])
            except (NotImplementedError, RuntimeError, ValueError):  # there is no closed form, or no such scale
                continue
            weight = (pull @ measured / (pull @ pull)).item()
            if not weight or not (measured - weight * pull).abs().max() <= EPS * measured.abs().max():
                continue
            prior = family(*ends)
            level = distributions.kl_divergence(posterior(*ends), prior).item()  # of each latent, where its deviation is 1
            if family is FAMILIES[0] and not nothing_left(side, 0.0, (meaning, 1.0), weight, level):
                continue
            to = f"a {family.__name__} of location 0 and scale 1"
            return Latent(weight, meaning, notes=(f"the posterior is a {name}, and the prior {to}",), to=to)
    return None
