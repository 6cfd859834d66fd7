"""The points at which statements are tried: noise, means and data drawn at random over their whole regions.

The draws are the same every time; nothing here calls a likelihood's formulas or its code.
"""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import REAL, Circle, CountVector, Interval, Lattice, Outputs, Region, Simplex, Sphere
from recon_cli.identity.vectors import RealVector, VectorOutputs

if TYPE_CHECKING:
    from sympy import Symbol

    from recon_cli.derivation.words import Words

SIZES = (2, 3, 4, 5)  # components of a vector, one after the other
PARTS = (2, 2, 1, 3)  # of a mixture


@dataclass(frozen=True)
class Setting:
    """One likelihood with numbers for its noise, and events to try it on.

    size
        how many components a vector has, or a mixture; 1 of numbers.
    xs, mus, raws
        data, what the decoder gives, and raw outputs: a list of numbers each.
    """

    likelihood: Likelihood
    size: int
    xs: list[list[float]]
    mus: list[list[float]]
    raws: list[list[float]]

    @property
    def numbers(self) -> dict[str, float]:
        """The noise by name."""
        return {name: float(value) for name, value in self.likelihood.factors.items()}

    @property
    def noise_text(self) -> str:
        """The noise as the end of a list in a sentence: ``, sigma = 0.5``."""
        return "".join(f", {name} = {value:.6g}" for name, value in self.numbers.items())


def settings(kind: type[Likelihood], count: int = 8, events: int = 3, seed: int = 20260101) -> list[Setting]:
    """Return ``count`` settings of different noise, with as many events each as told.

    Raises ReconError if no likelihood of this class can be made of values in the domains of its parameters.
    """
    draw, result = random.Random(seed), []
    for turn in range(count):
        likelihood, size, length = random_likelihood(kind, draw), 1, 1
        if likelihood.event:
            size = length = likelihood.length or SIZES[turn % len(SIZES)]
        if kind.sized_by:
            size = PARTS[turn % len(PARTS)]
            likelihood = dataclasses.replace(likelihood, **{kind.sized_by: float(size)})
            length = likelihood.length or size + 1
        mus = [mean(likelihood.domain, length, draw) for _ in range(events)]
        xs = [datum(likelihood, length, mu, draw) for mu in mus]
        raws = [[draw.gauss(0, 2) for _ in mu] for mu in mus]
        result.append(Setting(likelihood, size, xs, mus, raws))
    return result


def random_likelihood(kind: type[Likelihood], draw: random.Random, attempts: int = 20) -> Likelihood:
    """Return the likelihood with every parameter somewhere in its domain; raise its own ReconError after so many attempts."""
    values = {field.name: number(field.metadata["domain"], draw) for field in dataclasses.fields(kind)}
    try:
        return kind(**values)
    except ReconError:  # the values together are out of the range of numbers
        if attempts == 1:
            raise
    return random_likelihood(kind, draw, attempts - 1)


def number(region: Region, draw: random.Random) -> float:
    """Return a random number of a region: of any magnitude if it is positive, sometimes near an end if both are finite."""
    low, high = float(region.low), float(region.high)
    if region.whole:
        return float(draw.randint(math.ceil(max(low, -9)), int(min(high, max(low, -9) + draw.choice((3, 9))))))
    if low > -math.inf and high - low < 1e6:
        share = draw.random() if draw.random() < 0.8 else 10 ** draw.uniform(-4, -1)
        return low + (high - low) * (share if draw.random() < 0.5 else 1 - share)
    size = 10 ** (draw.uniform(-1, 1) if draw.random() < 0.7 else draw.uniform(-3, 2.5))
    if low > -math.inf:
        return min(max(size, 2 * low if low > 0 else low), high) if low >= 0 else low + size
    return high - size if high < math.inf else size * draw.choice((-1, 1))


def mean(region: Region, size: int, draw: random.Random) -> list[float]:
    """Return random outputs of a decoder for one event: of a vector those of each component, one after another."""
    if isinstance(region, VectorOutputs):
        return [number(part, draw) for k in range(size) for _, part in region.of(k)]
    if isinstance(region, RealVector):
        return [number(REAL, draw) for _ in range(size)]
    if isinstance(region, Outputs):
        return [number(part, draw) for _, part in region.parts]
    if isinstance(region, Sphere):
        return direction([draw.gauss(0, 1) for _ in range(size)])
    if isinstance(region, Simplex):
        shares = [draw.expovariate(1) + 1e-3 for _ in range(size)]
        return [share / sum(shares) for share in shares]
    return [number(region, draw)]


def direction(vector: Sequence[float]) -> list[float]:
    """Return a vector divided by its length."""
    return [part / math.hypot(*vector) for part in vector]


def datum(likelihood: Likelihood, size: int, mu: Sequence[float], draw: random.Random) -> list[float]:
    """Return random data for one event: near the mean or far from it, at the ends of the region or anywhere in it."""
    region = likelihood.support
    if isinstance(region, RealVector):
        unit = draw.choice([1.0, *(abs(number) for number in (*mu, *map(float, likelihood.factors.values())))])
        return [at + draw.choice((-1, 1)) * 10 ** draw.uniform(-2, 1) * unit for at in mu[:: len(mu) // size]]
    if isinstance(region, Sphere):
        near = 10 ** draw.uniform(-2, 1.5)
        return direction([part + near * draw.gauss(0, 1) for part in mu])
    if isinstance(region, Simplex):
        chosen = draw.randrange(size)
        return [float(k == chosen) for k in range(size)]
    if isinstance(region, CountVector):
        return list(draw.choice(compositions(setting_total(likelihood), size)))
    if isinstance(region, Circle):
        return [mu[0] + draw.uniform(-math.pi, math.pi)]
    if isinstance(region, Lattice):
        last = int(region.levels) - 1
        return [draw.randint(0, last) / last]
    if region.whole:
        top = min(region.high, max(region.low, 0) + draw.choice((2, 12, 3 * abs(mu[0]) + 3)))
        return [float(draw.randint(math.ceil(region.low), max(math.ceil(region.low), int(top))))]
    if region.high - region.low < math.inf:
        closed = bool(region.contains(region.high)) if isinstance(region, Interval) else True
        at_end = draw.random() < 0.15 and closed
        return [draw.choice((region.low, region.high)) if at_end else draw.uniform(region.low, region.high)]
    unit = draw.choice([abs(float(value)) for value in likelihood.factors.values()] or [1.0]) if draw.random() < 0.5 else 1.0
    if likelihood.head and draw.random() < 0.5:
        unit = math.sqrt(abs(mu[-1]))
    far = 10 ** draw.uniform(-2, 1) * unit
    if region.low > -math.inf:
        return [region.low + (10 ** draw.uniform(-1.5, 1) * (abs(mu[0]) if draw.random() < 0.5 else unit))]
    if region.high < math.inf:
        return [region.high - far]
    return [mu[0] + draw.choice((-1, 1)) * far]


def setting_total(likelihood: Likelihood) -> int:
    """Return the total of the counts of a likelihood of counts of several kinds."""
    return int(float(next(iter(likelihood.design.values()))))


def compositions(total: int, size: int) -> list[tuple[float, ...]]:
    """Return every vector of ``size`` counts that add up to ``total``, in the order of their components."""
    if size == 1:
        return [(float(total),)]
    return [(float(first), *rest) for first in range(total + 1) for rest in compositions(total - first, size - 1)]


def values_at(symbols: Words, setting: Setting, event: int) -> dict[Symbol, float]:
    """Return the numbers of one event by their symbols."""
    numbers = {symbols.noise[name]: value for name, value in setting.numbers.items()}
    return numbers | dict(zip((*symbols.xs, *symbols.mus), (*setting.xs[event], *setting.mus[event]), strict=True))


def own_numbers(loss: Loss) -> dict[str, float]:
    """Return the numbers of a loss's parameters by name."""
    return {name: float(value) for name, value in loss.factors.items()}
