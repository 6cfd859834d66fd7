"""Logistic noise, rounded to grey levels: the loss of PixelCNN++, a likelihood of pictures as they are stored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import computed
from recon_cli.likelihoods._grey_levels import HIGH, LOW, A, B, GreyLevels, H
from recon_cli.likelihoods._logistic_bins import logistic_bin, logistic_bin_by_sigmoids

if TYPE_CHECKING:
    from torch import Generator, Tensor

BELOW, ABOVE = f"(1 + exp(-(x + {H} - mu)/scale))", f"(1 + exp((x - {H} - mu)/scale))"
DENSITY = f"Piecewise((1/{BELOW}, {LOW}), (1/{ABOVE}, {HIGH}), ((1 - exp(-1/((levels - 1)*scale)))/({BELOW}*{ABOVE}), True))"


@dataclass(frozen=True)
class DiscretizedLogisticLoss(GreyLevels, Loss):
    """-log(F(a) - F(b)), a and b the edges of x's bin, from mu, in units of scale; F the sigmoid, the end bins open."""

    name = "discretized-logistic"
    aliases = ("discretised-logistic",)
    formula = f"-log({DENSITY})"
    torch = "-log(sigmoid(a) - sigmoid(b))"
    condition = "a and b the edges of x's bin, less mu, over scale"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """sigmoid(a) sigmoid(-b) (1 - e^(b - a)): a difference of sigmoids has no digits where they are near each other."""
        return logistic_bin_by_sigmoids(*self.edges(x, prediction))


@dataclass(frozen=True)
class DiscretizedLogistic(GreyLevels, Likelihood):
    """-log p(x | mu) = -log(F((x + h - mu)/scale) - F((x - h - mu)/scale)), F(t) = 1/(1 + e^-t), h = 1/(2 (levels - 1)).

    x in [0, 1] is one of the ``levels`` values k/(levels - 1); the lowest stands for all that is less too and the
    highest for all that is more, so the probabilities add up to one. mu is real, scale in units of x: Salimans and
    others (2017, PixelCNN++), equation 2, where x runs from 0 to 255.

    >>> DiscretizedLogistic(scale=0.1).nll(0.2, 0.25)
    tensor(4.6869, dtype=torch.float64)
    """

    aliases = ("discretised-logistic", "logistic-bins")
    loss = computed(lambda self: DiscretizedLogisticLoss(self.scale, self.levels))
    density = DENSITY
    calls = (
        f"-torch.log((torch.sigmoid({A}).where(x < 1, 1) - torch.sigmoid({B}).where(x > 0, 0)).clamp(min=1e-12))",
        f"-torch.log(torch.sigmoid({A}) - torch.sigmoid({B}))",
        f"-special.xlogy(1, (x >= 1) + (x < 1)*stats.logistic.cdf({A}) - (x > 0)*stats.logistic.cdf({B}))",
    )
    source = "Salimans and others 2017 (PixelCNN++), equation 2"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        """softplus(near) + softplus(-far) - log(1 - e^(near - far)), the edges as seen from mu: no term is negative."""
        return logistic_bin(*self.edges(x, mu))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the logistic, and round."""
        return self.rounded(mu + self.scale * mu.new_empty(mu.shape).uniform_(generator=generator).logit())
