"""Several Gaussians for one value, which may be here or there: the loss of mixture density networks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recon_cli.identity.parametric import computed
from recon_cli.likelihoods._mixture import Mixture, MixtureLoss, family


@dataclass(frozen=True)
class GaussianMixtureNLL(MixtureLoss):
    """-log sum_k s_k N(x; mu_k, sigma_k), s_k the share of weight_k: Bishop (1994), equation 23."""

    component = family("gaussian")
    name = "gaussian-mixture-nll"
    aliases: ClassVar[tuple[str, ...]] = ("mdn", "mixture-density-network")
    torch = "-logsumexp(log_softmax(w, -1) + Normal(m, exp(s)).log_prob(x[..., None]), -1)"


@dataclass(frozen=True)
class GaussianMixture(Mixture):
    """-log p(x | mu, sigma, weight) = -log sum_k s_k N(x; mu_k, sigma_k), s_k = weight_k/sum_j weight_j, for real x.

    What the decoder gives is, along a last axis, K locations, then K standard deviations, then K weights, (..., 3 K); its raw
    output the locations, the logarithms of the others, so that the shares are the softmax of the last: Bishop (1994, mixture
    density networks), equations 22 to 26.

    >>> GaussianMixture(components=2).nll([1.0], [[0.5, 3.0, 0.5, 1.0, 2.0, 1.0]])
    tensor([1.0770], dtype=torch.float64)
    """

    component = family("gaussian")
    aliases = ("mog", "gmm", "mixture-of-gaussians", "mixture-density")
    loss = computed(lambda self: GaussianMixtureNLL(self.components))
    calls = ("-distributions.MixtureSameFamily(distributions.Categorical(weight), distributions.Normal(mu, sigma)).log_prob(x)",)
