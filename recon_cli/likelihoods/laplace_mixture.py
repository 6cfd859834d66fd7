"""Several Laplace distributions for one value, as forecasts of where something goes have them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from recon_cli.identity.parametric import computed
from recon_cli.likelihoods._mixture import Mixture, MixtureLoss, family


@dataclass(frozen=True)
class LaplaceMixtureNLL(MixtureLoss):
    """-log sum_k s_k Laplace(x; mu_k, scale_k), s_k the share of weight_k."""

    component = family("laplace")
    name = "laplace-mixture-nll"
    aliases: ClassVar[tuple[str, ...]] = ()
    torch = "-logsumexp(log_softmax(w, -1) + Laplace(m, exp(s)).log_prob(x[..., None]), -1)"


@dataclass(frozen=True)
class LaplaceMixture(Mixture):
    """-log p(x | mu, scale, weight) = -log sum_k s_k e^(-|x - mu_k|/scale_k)/(2 scale_k), s_k = weight_k/sum_j weight_j.

    What the decoder gives is, along a last axis, K locations, then K scales, then K weights, (..., 3 K); its raw output the
    locations, the logarithms of the others, so that the shares are the softmax of the last: Zhou and others (2022, HiVT),
    equation 13.

    >>> LaplaceMixture(components=2).nll([1.0], [[0.5, 3.0, 0.5, 1.0, 2.0, 1.0]])
    tensor([1.3175], dtype=torch.float64)
    """

    component = family("laplace")
    aliases = ("mixture-of-laplaces",)
    loss = computed(lambda self: LaplaceMixtureNLL(self.components))
    calls = ("-distributions.MixtureSameFamily(distributions.Categorical(weight), distributions.Laplace(mu, scale)).log_prob(x)",)
