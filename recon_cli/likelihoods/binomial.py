"""Successes in so many trials: the likelihood that binary cross-entropy of shares is."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, number_of, positive
from recon_cli.identity.losses import BinaryCrossEntropy, BinaryCrossEntropyWithLogits, Link, Loss
from recon_cli.identity.parametric import Number, computed, parameter
from recon_cli.identity.regions import Interval

if TYPE_CHECKING:
    from torch import Generator, Tensor

TRIALS = Interval(1, whole=True)


@dataclass(frozen=True)
class BinaryCrossEntropyOfShares(Loss):
    """-(x/count) log(mu/count) - (1 - x/count) log(1 - mu/count), of counts x and their means."""

    count: float = parameter(1.0, "the number of trials", TRIALS)

    name = "binary-cross-entropy-of-shares"
    formula = "-(x/count)*log(mu/count) - (1 - x/count)*log(1 - mu/count)"
    torch = "binary_cross_entropy(mu/n, x/n)"
    condition = "n the count"
    support = domain = computed(lambda self: Interval(0, self.count))

    def canonical(self) -> tuple[Loss, Number]:
        """Return binary cross-entropy itself where there is one trial."""
        return (BinaryCrossEntropy() if self.count == 1 else self), 1.0

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own clamps the logarithm at -100 and the gradient's p(1 - p) at 1e-12."""
        on, off = prediction.where(x > 0, self.count), prediction.where(x < self.count, 0)
        won, lost = every(on, self.count - on, self.count), every(self.count - off, off, self.count)
        return x / self.count * (won / self.count) + (self.count - x) / self.count * (lost / self.count)


class BinaryCrossEntropyOfSharesWithLogits(BinaryCrossEntropyOfShares):
    """The same of the logit of mu/count."""

    name = "binary-cross-entropy-of-shares-with-logits"
    torch = "binary_cross_entropy_with_logits(r, x/n)"
    link = computed(lambda self: scaled_logit(self.count))

    def canonical(self) -> tuple[Loss, Number]:
        """Return that of logits where there is one trial."""
        return (BinaryCrossEntropyWithLogits() if self.count == 1 else self), 1.0

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own computes (1 - x) l - logsigmoid(l): dead beyond 17 in float32, gradient and all."""
        from torch.nn.functional import logsigmoid

        share, rest = x / self.count, (self.count - x) / self.count
        return -(share * logsigmoid(prediction) + rest * logsigmoid(-prediction))


@dataclass(frozen=True)
class Binomial(Likelihood):
    """-log p(x | mu) = -x log(mu/count) - (count - x) log(1 - mu/count) - log C(count, x), for x in 0, ..., count.

    mu is the mean of x, in [0, count]; mu/count, the probability of a success, is the sigmoid of the
    decoder's raw output. Bernoulli at count = 1. count is known beforehand: no noise, and never fitted.
    Computed in the saddle-point form of Loader (2000), which does not cancel at large counts.

    >>> Binomial(count=10).nll(3.0, 2.5)
    tensor(1.3852, dtype=torch.float64)
    >>> Binomial(count=10).slope
    10.0
    """

    count: float = parameter(1.0, "the number of trials", TRIALS)

    density = "binomial(count, x)*(mu/count)**x*(1 - mu/count)**(count - x)"
    calls = (
        "-distributions.Binomial(count, probs=mu/count).log_prob(x)",
        "-distributions.Binomial(count, logits=r).log_prob(x)",
        "-stats.binom.logpmf(x, count, mu/count)",
    )
    loss = computed(lambda self: BinaryCrossEntropyOfShares(self.count))
    raw_loss = computed(lambda self: BinaryCrossEntropyOfSharesWithLogits(self.count))
    support = computed(lambda self: Interval(0, self.count, whole=True))
    domain = computed(lambda self: Interval(0, self.count))
    link = computed(lambda self: scaled_logit(self.count))

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        from recon_cli.numerics.stable import deviance, lowest, with_derivatives
        from recon_cli.numerics.tables import looked_up

        n, inner = self.count, (x > 0) & (x < self.count)
        on, off = mu.where(x > 0, 1), (n - mu).where(x < n, 1)
        clamped = on.detach().clamp(min=lowest(mu))
        saddle = deviance(x, clamped) + deviance(n - x, off.detach(), clamped - x) - x * (on / clamped).log()
        ends = every(off.where(x == 0, on), mu.where(x == 0, n - mu), n)

        def slope() -> Tensor:
            return (mu - x).where(inner, 1 - 2 * x / n) / on * (n / off)

        return with_derivatives((saddle + looked_up(_remainder, x, n)).where(inner, ends), (slope, mu))

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        """Beyond logits whose exponentials leave the range it is continued, as a line or an exponential."""
        from recon_cli.numerics.stable import deviance, lowest, with_derivatives
        from recon_cli.numerics.tables import looked_up

        n, inner, end = self.count, (x > 0) & (x < self.count), -math.log(lowest(raw))
        clamped = raw.clamp(-end, end)
        beyond = raw - clamped
        on, off = clamped.sigmoid(), (-clamped).sigmoid()
        over = x * off - (n - x) * on
        saddle = deviance(x, n * on, over) + deviance(n - x, n * off, -over) - over * beyond
        outer = beyond.where(x == 0, -beyond)
        ends = every(n * off.where(x == 0, on), n * on.where(x == 0, off), n) * outer.clamp(max=0).exp() + n * outer.clamp(min=0)
        slope = (n - x) * on * beyond.clamp(max=0).exp() - x * off * (-beyond).clamp(max=0).exp()
        return with_derivatives((saddle + looked_up(_remainder, x, n)).where(inner, ends), (slope, raw))

    @property
    def slope(self) -> Number:
        return self.count

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        """Return -log C(count, x): the nll of mu = x less the loss."""
        from recon_cli.numerics.tables import looked_up

        return looked_up(_offset, x, self.count)

    @classmethod
    def designed(cls, x: Tensor) -> Binomial:
        """Return the one with as many trials as the largest count."""
        return cls(count=max(1.0, float(x.max()) // 1))

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Binomial:
        """Return the one of count = slope, which must be whole, and the loss's count too."""
        count = number_of(loss, "count", 0.0)
        if positive(slope) % 1 or slope != (count or slope):
            trials = f"here {count:g}" if count else "a whole number"
            message = f"The slope of {cls.name} is the number of trials, {trials}; found {slope!r}."
            raise ReconError(message, "A weight beyond that is a beta on the KL, not a noise.")
        return cls(count=slope)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return mu and mu (1 - mu/count)."""
        return mu, mu * (1 - mu / self.count)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Torch's own."""
        import torch

        return torch.binomial(mu.new_full(mu.shape, self.count), mu / self.count, generator=generator)


def scaled_logit(count: Number) -> Link:
    """mu = count sigmoid(r)."""
    text = f"{count:.0f}" if isinstance(count, float) else str(count)
    return Link("logit", f"{text}/(1 + exp(-r))", lambda mu: (mu / (count - mu)).log(), lambda raw: count * raw.sigmoid())


def every(part: Tensor, rest: Tensor, count: Number) -> Tensor:
    """Return -count log(part/count), what it costs that all are of this kind, the ``rest`` none; exact where that is small."""
    from recon_cli.numerics.stable import log1p_over, lowest

    few, clamped = rest < part, part.clamp(min=lowest(part))
    most = rest * log1p_over(-rest.where(few, 0) / count)
    return most.where(few, count * ((count / clamped).log() - (part / clamped).log()))


def _remainder(x: Tensor, n: float) -> Tensor:
    """Return the nll of mu = x where 0 < x < n: Stirling's errors, log(2 pi x (1 - x/n))/2."""
    from recon_cli.numerics.stable import stirling_error

    errors = stirling_error(x) + stirling_error(n - x) - stirling_error(x.new_full((), n))
    return errors + (2 * math.pi * x * ((n - x) / n)).log() / 2


def _offset(x: Tensor, n: float) -> Tensor:
    inner = (x > 0) & (x < n)
    count = x.where(inner, 1)
    entropy = count / n * every(count, n - count, n) + (n - count) / n * every(n - count, count, n)
    return (_remainder(x, n) - entropy).where(inner, 0)
