"""Levels in an order, as ratings are: the cumulative logit, or proportional odds, with thresholds halfway between the levels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Parametric, computed, parameter
from recon_cli.identity.regions import Interval, Region
from recon_cli.likelihoods._grey_levels import bin_edges
from recon_cli.likelihoods._logistic_bins import logistic_bin, logistic_bin_by_sigmoids

if TYPE_CHECKING:
    from torch import Generator, Tensor

UP_TO, FROM = "(1 + exp(-(x + 1/2 - mu)/scale))", "(1 + exp((x - 1/2 - mu)/scale))"
DENSITY = f"Piecewise((1/{UP_TO}, x < 1/2), (1/{FROM}, x > levels - 3/2), ((1 - exp(-1/scale))/({UP_TO}*{FROM}), True))"
A, B = "(x + 0.5 - mu)/scale", "(x - 0.5 - mu)/scale"  # as in code


@dataclass(frozen=True)
class OrderedLevels(Parametric):
    """Noise on the whole numbers 0, ..., levels - 1, each of which stands for all within 1/2, the end ones for all beyond."""

    scale: float = parameter(1.0, "the size of the noise before it is rounded, in levels")
    levels: float = parameter(5.0, "how many levels there are, from 0 up", Interval(2, whole=True))

    support: ClassVar[Region] = computed(lambda self: Interval(0, self.levels - 1, whole=True))

    def edges(self, x: Tensor, mu: Tensor) -> tuple[Tensor, ...]:
        """Return where the thresholds beside x are, from mu, in units of scale: as :meth:`GreyLevels.edges`."""
        return bin_edges(x, mu, self.scale, 0.5, 0.0, x < 0.5, x > self.levels - 1.5)


@dataclass(frozen=True)
class CumulativeLogit(OrderedLevels, Loss):
    """-log(F(a) - F(b)), a and b the thresholds beside x, from mu, in units of scale; F the sigmoid, the end levels open."""

    name = "cumulative-logit"
    aliases = ("proportional-odds", "ordinal-logistic")
    formula = f"-log({DENSITY})"
    torch = "-log(sigmoid(a) - sigmoid(b))"
    condition = "a and b the thresholds above and below x, less mu, over scale"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; a difference of sigmoids has no digits where they are near each other."""
        return logistic_bin_by_sigmoids(*self.edges(x, prediction))


@dataclass(frozen=True)
class Ordinal(OrderedLevels, Likelihood):
    """-log p(x | mu) = -log(F((x + 1/2 - mu)/scale) - F((x - 1/2 - mu)/scale)), F(t) = 1/(1 + e^-t), x = 0, ..., levels - 1.

    The cumulative logit, P(x <= k) = F((k + 1/2 - mu)/scale), its thresholds halfway between the levels: those of a rating
    from 1 to 5 less 1, say. mu is real, in levels; 1/scale is what moves the log odds of every threshold when mu moves by a
    level. The lowest level stands for all that is less too and the highest for all that is more: McCullagh (1980), section 2.

    >>> Ordinal(scale=0.5, levels=5).nll(3.0, 2.2)
    tensor(1.2545, dtype=torch.float64)
    """

    aliases = ("ordered-logit", "rating")
    loss = computed(lambda self: CumulativeLogit(self.scale, self.levels))
    density = DENSITY
    calls = (
        f"-torch.log(torch.sigmoid({A}).where(x < levels - 1, 1) - torch.sigmoid({B}).where(x > 0, 0))",
        f"-special.xlogy(1, (x >= levels - 1) + (x < levels - 1)*stats.logistic.cdf({A}) - (x > 0)*stats.logistic.cdf({B}))",
    )
    source = "McCullagh 1980 (proportional odds), section 2"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return logistic_bin(*self.edges(x, mu))

    @classmethod
    def designed(cls, x: Tensor) -> Ordinal:
        """Return the one with as many levels as the data have, from 0 to the largest."""
        return cls(levels=max(2.0, float(x.max()) // 1 + 1))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw from the logistic, and round."""
        drawn = mu + self.scale * mu.new_empty(mu.shape).uniform_(generator=generator).logit()
        return drawn.clamp(0, self.levels - 1).round()
