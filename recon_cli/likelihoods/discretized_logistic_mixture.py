"""Several logistics for one pixel, rounded to grey levels: the loss of PixelCNN++ and of many autoregressive decoders."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.parametric import computed, parameter
from recon_cli.identity.regions import Interval
from recon_cli.likelihoods._grey_levels import levels
from recon_cli.likelihoods._mixture import Mixture, MixtureLoss, family

if TYPE_CHECKING:
    from torch import Tensor

LEVELS = parameter(256.0, "how many values x can have", Interval(2, whole=True))


@dataclass(frozen=True)
class DiscretizedLogisticMixtureNLL(MixtureLoss):
    """-log sum_k s_k (F(a_k) - F(b_k)), a and b the edges of x's bin from mu_k in units of scale_k, s_k the share of weight_k."""

    levels: float = LEVELS

    component = family("discretized-logistic")
    name = "discretized-logistic-mixture-nll"
    aliases: ClassVar[tuple[str, ...]] = ("pixelcnn++", "discretized-mix-logistic", "mix-logistic")
    torch = "-logsumexp(log_softmax(w, -1) + log(sigmoid(a) - sigmoid(b)), -1)"
    condition = "a and b the edges of x's bin, less each location, over its scale; the end bins open"


@dataclass(frozen=True)
class DiscretizedLogisticMixture(Mixture):
    """-log p(x | mu, scale, weight) = -log sum_k s_k (F((x + h - mu_k)/scale_k) - F((x - h - mu_k)/scale_k)).

    F(t) = 1/(1 + e^-t), h = 1/(2 (levels - 1)), s_k = weight_k/sum_j weight_j; x in [0, 1] is one of the ``levels`` values
    k/(levels - 1), the end ones standing for all beyond. What the decoder gives is, along a last axis, K locations, then K
    scales, then K weights, (..., 3 K); its raw output the locations, the logarithms of the others, so that the shares are the
    softmax of the last: Salimans and others (2017, PixelCNN++), equations 1 and 2, each channel by itself. There x runs from
    -1 to 1, and locations and scales are twice these.

    >>> DiscretizedLogisticMixture(components=2).nll([0.2], [[0.25, 0.9, 0.1, 0.1, 3.0, 1.0]])
    tensor([4.9733], dtype=torch.float64)
    """

    levels: float = LEVELS

    component = family("discretized-logistic")
    aliases = ("discretised-logistic-mixture", "mixture-of-logistics", "mol", "dmol")
    loss = computed(lambda self: DiscretizedLogisticMixtureNLL(self.components, self.levels))
    calls = (
        "-((weight/weight.sum(-1, keepdim=True)).log() + torch.log(torch.sigmoid((x[..., None] - mu + 0.5/(levels - 1))/scale)"
        ".where(x[..., None] < 1, 1) - torch.sigmoid((x[..., None] - mu - 0.5/(levels - 1))/scale)"
        ".where(x[..., None] > 0, 0))).logsumexp(-1)",
    )
    source = "Salimans and others 2017 (PixelCNN++), equations 1 and 2"

    @classmethod
    def designed(cls, x: Tensor) -> DiscretizedLogisticMixture:
        """Return the one with as many levels as the data have."""
        return cls(levels=levels(x) or 256.0)
