"""Counts of Poisson and of the negative binomial: their nll in the saddle-point form of Loader (2000), of any numbers."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING

from recon_cli.identity.parametric import Number
from recon_cli.identity.regions import Interval
from recon_cli.identity.tensors import at_least_one, but_one, none_below

if TYPE_CHECKING:
    from torch import Tensor

SENSIBLE = Interval(1e-100, 1e100)  # of a dispersion: beyond, its inverse times a large mean leaves the range of numbers


def poisson_of_mean(x: Tensor, mu: Tensor) -> Tensor:
    """Return mu - x log mu + log x!."""
    from recon_cli.numerics.stable import lowest, with_derivatives

    low = lowest(mu)
    if none_below(mu, low):
        some, value = mu, _saddle_point(x, mu.detach())
    else:
        none = x <= 0
        some = but_one(mu, lambda: none)
        clamped = some.detach().clamp(min=low)
        value = mu.where(none, _saddle_point(x, clamped).addcmul(x, (some / clamped).log(), value=-1))
    return with_derivatives(value, (lambda: ((some - x) / some).where(x > 0, 1), mu))


def poisson_of_log(x: Tensor, raw: Tensor) -> Tensor:
    """Return the same of mu = e^raw."""
    from recon_cli.numerics.stable import lowest, with_derivatives

    mu, clamped = raw.exp(), raw.detach().clamp(min=math.log(lowest(raw)))
    value = _saddle_point(x, clamped.exp()).addcmul(x, raw - clamped, value=-1).where(x > 0, mu)
    return with_derivatives(value, (lambda: mu - x, raw))


def _saddle_point(x: Tensor, mu: Tensor) -> Tensor:
    """Return the nll of mu > 0: deviance, Stirling's error, log(2 pi x)/2; where x = 0 that is mu."""
    from recon_cli.numerics.stable import deviance
    from recon_cli.numerics.tables import looked_up

    return deviance(x, mu) + looked_up(poisson_rest, x)


def poisson_rest(x: Tensor) -> Tensor:
    """Return the nll of mu = x > 0: Stirling's error, log(2 pi x)/2; 0 where x = 0."""
    from recon_cli.numerics.stable import stirling_error

    count = x.where(x > 0, 1)
    return (stirling_error(count) + (2 * math.pi * count).log() / 2).where(x > 0, 0)


def log_factorial(x: Tensor) -> Tensor:
    """Return log x!."""
    from recon_cli.numerics.tables import looked_up

    return looked_up(_log_gamma_of_next, x)


def _log_gamma_of_next(x: Tensor) -> Tensor:
    return (x + 1).lgamma()


def trials(dispersion: Number) -> Number:
    """Return n = 1/dispersion, finite however small that is."""
    return 1 / (dispersion + 1e-300)


def negative_binomial_of_mean(x: Tensor, mu: Tensor, dispersion: Number) -> Tensor:
    """Return the nll of counts of mean mu and variance mu + dispersion mu^2."""
    from recon_cli.numerics.stable import lowest

    low = lowest(mu)
    clamped = mu.clamp(low, 1 / low).where(x > 0, mu.clamp(max=1 / low))
    beyond = (mu / clamped).log().where(mu != clamped, 0)
    some, n = mu.where(x > 0, 1), trials(dispersion)

    def slope() -> Tensor:
        return ((some - x) / some).where(x > 0, 1) * (n / (n + mu))

    return _negative_binomial(x, clamped, beyond, slope, mu, dispersion)


def negative_binomial_of_log(x: Tensor, raw: Tensor, dispersion: Number) -> Tensor:
    """Return the same of mu = e^raw."""
    from recon_cli.numerics.stable import lowest

    end = -math.log(lowest(raw))
    clamped = raw.clamp(-end, end).where(x > 0, raw.clamp(max=end))
    mu = clamped.exp()
    return _negative_binomial(x, mu, raw - clamped, lambda: (mu - x) / (1 + dispersion * mu), raw, dispersion)


def _negative_binomial(
    x: Tensor, mu: Tensor, beyond: Tensor, slope: Callable[[], Tensor], point: Tensor, dispersion: Number
) -> Tensor:
    """Return the nll of a mean e^beyond times ``mu``, its slope by ``point`` given.

    The deviances of failures and of counts, and the rest.
    """
    from recon_cli.numerics.stable import deviance, with_derivatives
    from recon_cli.numerics.tables import looked_up

    n, over = trials(dispersion), (mu - x) / (1 + dispersion * mu)
    share = (x + n) / (n + mu)
    failures = n * (deviance(1, share, dispersion * over) + beyond.clamp(min=0))
    count = at_least_one(x, x <= 0)
    counted = (deviance(count, share * mu, -over) - count * beyond.clamp(max=0)).where(x > 0, over)
    parts = with_derivatives(failures + counted, (slope, point), (lambda: -failures / dispersion, dispersion))
    return parts + looked_up(negative_binomial_rest, x, dispersion)


def negative_binomial_rest(x: Tensor, dispersion: Number) -> Tensor:
    """Return the nll of mu = x: Stirling's errors, log(2 pi x (1 + dispersion x))/2; 0 where x = 0."""
    from recon_cli.numerics.stable import stirling_error

    n, count = trials(dispersion), x.where(x > 0, 1)
    errors = stirling_error(count) + stirling_error(x.new_zeros(()), n) - stirling_error(count, n)
    return (errors + (2 * math.pi * count * (1 + dispersion * count)).log() / 2).where(x > 0, 0)
