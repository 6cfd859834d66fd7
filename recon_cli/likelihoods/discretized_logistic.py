"""Logistic noise, rounded to grey levels: the loss of PixelCNN++, a likelihood of pictures as they are stored."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import computed
from recon_cli.likelihoods._grey_levels import HIGH, LOW, A, B, GreyLevels, H

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
        from torch.nn.functional import logsigmoid

        distance, width, near, rest, closed = self.edges(x, prediction)
        far = (2 * distance - near).where(closed & (distance < math.inf), math.inf)
        moved = rest * (near.sigmoid() + (-far).sigmoid())
        return moved - logsigmoid(-near) - logsigmoid(far) - log_complement(2 * width).where(closed, 0)


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
        from recon_cli.numerics.stable import with_derivatives

        distance, width, near, rest, closed = self.edges(x, mu)
        outside, twice = near > 0, 2 * distance.where(closed, 0)
        fade = (-near.where(outside, -near)).exp() * (1 + (-rest).where(outside, rest))  # e^-|near|
        fall = (fade * (-(2 * width).where(outside, twice)).exp()).where(closed, 0)  # e^-far
        whole = near.clamp(min=0) + fade.log1p() + fall.log1p() - log_complement(2 * width).where(closed, 0)
        reach = (1 / (1 + fade)).where(outside, fade / (1 + fade))
        by_distance = reach / (1 + fall) * (-(-twice).expm1()).where(closed, 1)
        pull = fall / (1 + fall) - 2 * (-2 * width).exp() / (-2 * width).expm1()
        return with_derivatives(whole, (by_distance, distance), (-reach - pull.where(closed, 0), width))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the logistic, and round."""
        return self.rounded(mu + self.scale * mu.new_empty(mu.shape).uniform_(generator=generator).logit())


def log_complement(t: Tensor) -> Tensor:
    """log(1 - e^-t) for t > 0."""
    small = t < 0.7
    near, far = t.where(small, 1), t.where(~small, 1)
    return (-(-near).expm1()).log().where(small, (-(-far).exp()).log1p())
