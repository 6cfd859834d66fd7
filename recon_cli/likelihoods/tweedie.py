"""Amounts that are often nothing, as rain of a day or claims of a year: the likelihood that Tweedie's deviance is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import LOG, Loss
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.regions import POSITIVE, Interval
from recon_cli.identity.tensors import standard_gamma
from recon_cli.numerics.wright import excess, log_series

if TYPE_CHECKING:
    from torch import Generator, Tensor

MANY = 1 << 13  # values of which nothing is computed unasked
POWER = parameter(1.5, "the power of the mean that the variance is in proportion to", Interval(1, 2, closed=False))


@dataclass(frozen=True)
class TweedieDeviance(Loss):
    """2 (x^(2 - p)/((1 - p) (2 - p)) - x mu^(1 - p)/(1 - p) + mu^(2 - p)/(2 - p)), p the power: Jorgensen (1987)."""

    power: float = POWER

    name = "tweedie-deviance"
    formula = "2*(x**(2 - power)/((1 - power)*(2 - power)) - x*mu**(1 - power)/(1 - power) + mu**(2 - power)/(2 - power))"
    torch = "2*(x**(2 - power)/((1 - power)*(2 - power)) - x*mu**(1 - power)/(1 - power) + mu**(2 - power)/(2 - power))"
    support = Interval(0)
    domain = POSITIVE
    convention: ClassVar[float] = 0.5

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, it cancels where x is near mu."""
        return unit_deviance(x, prediction, log_ratio(x, prediction), self.power)


class TweedieDevianceOfLog(TweedieDeviance):
    """The same of log mu."""

    name = "tweedie-deviance-of-log"
    torch = "2*(x**(2 - power)/((1 - power)*(2 - power)) - x*exp((1 - power)*r)/(1 - power) + exp((2 - power)*r)/(2 - power))"
    link = LOG

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none."""
        return unit_deviance(x, prediction.exp(), log_ratio_of_log(x, prediction), self.power)


@dataclass(frozen=True)
class Tweedie(Likelihood):
    """-log p(x | mu) = d(x, mu)/(2 dispersion) + b(x), d the unit deviance of power p, 1 < p < 2, for x >= 0 and mu > 0.

    x is the sum of Poisson many amounts of a Gamma distribution: exactly 0 with the chance exp(-mu^(2 - p)/(dispersion (2 - p))),
    where p(x | mu) is that, and a density above. The mean is mu, the variance dispersion mu^p; the decoder's raw output is the
    logarithm of mu. b is 0 at x = 0, above it log(2 pi x) - log(a)/2 - log S, a = (2 - p)/(p - 1), S a sum over the number of
    amounts: Jorgensen (1987); Dunn and Smyth (2005), whose series is summed here about its largest term, relative to the
    deviance.

    >>> Tweedie(power=1.5, dispersion=2.0).nll([0.0, 1.0], [0.25, 2.0])
    tensor([0.5000, 1.6572], dtype=torch.float64)
    >>> Tweedie(power=1.5, dispersion=2.0).slope
    0.25
    """

    power: float = POWER
    dispersion: float = parameter(1.0, "the variance over mu^power")

    aliases = ("compound-poisson-gamma", "tweedie-nll")
    loss = computed(lambda self: TweedieDeviance(self.power))
    raw_loss = computed(lambda self: TweedieDevianceOfLog(self.power))
    density = (
        "Piecewise((exp(-mu**(2 - power)/(dispersion*(2 - power))), Eq(x, 0)), "
        "(wright_bessel((2 - power)/(power - 1), 0, (x/(power - 1))**((2 - power)/(power - 1))"
        "/(dispersion**(1/(power - 1))*(2 - power)))"
        "*exp((x*mu**(1 - power)/(1 - power) - mu**(2 - power)/(2 - power))/dispersion)/x, True))"
    )
    support = Interval(0)
    domain = POSITIVE
    link = LOG
    atoms = (0.0,)
    costly = True
    source = "Jorgensen 1987; Dunn and Smyth 2005"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return unit_deviance(x, mu, log_ratio(x, mu), self.power) * (0.5 / self.dispersion) + self._rest(x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return unit_deviance(x, raw.exp(), log_ratio_of_log(x, raw), self.power) * (0.5 / self.dispersion) + self._rest(x)

    def _rest(self, x: Tensor) -> Tensor:
        """Return the nll of mu = x: nothing where that is 0."""
        some = x > 0
        least = x.where(some, 1)
        shape = (2 - self.power) / (self.power - 1)
        largest = least ** (2 - self.power) / (self.dispersion * (2 - self.power))
        log_shape = log(shape)
        rest = (2 * math.pi * least).log() - log_shape / 2 - log_series(largest, shape)
        return rest.where(some, 0)

    @property
    def slope(self) -> Number:
        return 0.5 / self.dispersion

    @property
    def level_name(self) -> str:
        return "dispersion"

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._rest(x)

    @classmethod
    def unasked(cls, x: Tensor) -> str:
        """Return why it is left out where nobody asks for it: of data never 0, and of so many that its series take long."""
        if not bool((x == 0).any()):
            return "no value is 0: gamma is of amounts that never are"
        return f"its series of {x.numel():,} values take long: it is looked at where it is named" if x.numel() > MANY else ""

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Tweedie:
        """Return the one of dispersion 1/(2 slope), its power that of the loss."""
        power = getattr(loss, "power", cls().power)
        return cls(power=power, dispersion=0.5 / positive(slope))

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and dispersion mu^power."""
        return mu, self.dispersion * mu**self.power

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw how many amounts there are, and their sum; never 0 of some, to which the smallest draws round."""
        import torch

        shape = (2 - self.power) / (self.power - 1)
        many = torch.poisson(mu ** (2 - self.power) / (self.dispersion * (2 - self.power)), generator=generator)
        amount = standard_gamma((many * shape).clamp(min=1e-3), generator)
        total = amount * (self.dispersion * (self.power - 1)) * mu ** (self.power - 1)
        return total.clamp(min=torch.finfo(mu.dtype).tiny).where(many > 0, 0)


def log_ratio(x: Tensor, mu: Tensor) -> Tensor:
    """Return log(mu/x), x taken for 1 where it is 0; without cancelling where they are near."""
    from recon_cli.numerics.stable import with_derivatives

    some = x.where(x > 0, 1)
    off = (mu - some) / some
    near = off.abs() < 0.5
    value = off.clamp(-0.5, 0.5).log1p().where(near, mu.log() - some.log())
    return with_derivatives(value, (lambda: 1 / mu, mu))


def log_ratio_of_log(x: Tensor, raw: Tensor) -> Tensor:
    """Return raw - log x, x taken for 1 where it is 0."""
    return raw - x.where(x > 0, 1).log()


def unit_deviance(x: Tensor, mu: Tensor, ratio: Tensor, power: Number) -> Tensor:
    """Return 2 x^(2 - p) ((e^(A u) - 1 - A u)/A + (e^(-B u) - 1 + B u)/B), A = 2 - p, B = p - 1, u = ``ratio`` = log(mu/x).

    Neither part is below 0, so nothing cancels. At x = 0 it is 2 mu^A/A.
    """
    some, up, down = x > 0, 2 - power, power - 1
    parts = excess(up * ratio) / up + excess(-down * ratio) / down
    return (2 * x.where(some, 1) ** up * parts.where(some, 0)).where(some, 2 * mu**up / up)
