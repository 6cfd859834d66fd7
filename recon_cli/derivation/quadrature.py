"""Integrals and sums by number, in float64, with an estimate of their error: Gauss's points on logarithmic scales.

Every end and middle is approached on a logarithmic scale, x = c + e^u, so that no width is too small and no tail too
long; and a panel is halved until its halves agree, so that corners and jumps may be anywhere. scipy.integrate returns an
integral only; here the points, their weights and the mass below each are wanted, and all panels are evaluated at once.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import numpy as np

from recon_cli.derivation.evaluation import Floats

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(16)
ENOUGH = 1e-14  # what halving a panel may change
MOST = 1 << 19  # terms of a sum

Density: TypeAlias = Callable[[Floats], Floats]


@dataclass(frozen=True)
class Mass:
    """A density at the points of a rule, and its distribution function.

    x, p, weight
        the points; the density there; sum(weight * p) is its integral.
    error
        a bound on the error of the integral, as far as it can be estimated.
    edges, below
        some points in order, and the mass up to and including each.
    """

    x: Floats
    p: Floats
    weight: Floats
    error: float
    edges: Floats
    below: Floats

    @property
    def whole(self) -> float:
        """The integral."""
        return float(np.sum(self.weight * self.p))

    @property
    def lowest(self) -> float:
        """The smallest value of the density."""
        return float(np.min(self.p))

    def mean(self, values: Floats | None = None) -> float:
        """Return the mean of x, or of other values at the points."""
        with np.errstate(all="ignore"):
            return float(np.sum(np.where(self.p == 0, 0.0, self.weight * self.p * (self.x if values is None else values))))


class Panels(NamedTuple):
    """Some panels of a rule.

    x, p, weight
        all their points, the density there, and the points' weights.
    mass, end, log_distance
        of each panel: its integral, its upper end, and the logarithm of the distance of its middle from the start.
    error
        of the sum of their integrals.
    """

    x: Floats
    p: Floats
    weight: Floats
    mass: Floats
    end: Floats
    log_distance: Floats
    error: float = 0.0

    @classmethod
    def joined(cls, parts: Sequence[Panels], error: float = 0.0) -> Panels:
        """Return all panels of the parts together, their errors and one more added."""
        x, p, weight, mass, end, log_distance = (
            np.concatenate(arrays) for arrays in zip(*(part[:6] for part in parts), strict=True)
        )
        return cls(x, p, weight, mass, end, log_distance, sum((part.error for part in parts), error))


def integral(density: Density, low: float, high: float, middles: Sequence[float] = (), wide: bool = False) -> Mass:
    """Return a density from ``low`` to ``high``; at the ``middles`` it may have a mode or a corner.

    Where ``wide``, it is evaluated at all distances from them, even beyond those where it is zero.
    """
    stops = sorted({stop for stop in (low, high, *middles) if low <= stop <= high})
    legs: list[tuple[float, int, float]] = []  # from where, which way, how far
    for a, b in zip(stops, stops[1:], strict=False):
        if a > -math.inf and b < math.inf:
            legs += [(a, 1, (b - a) / 2), (b, -1, (b - a) / 2)]
        else:
            legs.append((a, 1, math.inf) if b == math.inf else (b, -1, math.inf))
    all_panels = Panels.joined([leg(density, *each, wide) for each in legs])
    order = np.argsort(all_panels.end, kind="stable")
    return Mass(
        all_panels.x,
        all_panels.p,
        all_panels.weight,
        all_panels.error,
        all_panels.end[order],
        np.cumsum(all_panels.mass[order]),
    )


def leg(density: Density, start: float, way: int, length: float, wide: bool) -> Panels:
    """Return the panels from ``start`` in one direction (``way`` is 1 or -1) over a length, which may be infinite."""
    top = min(math.log(length), 690.0) if length < math.inf else 690.0
    reach = min(top, 30.0)
    grid = np.linspace(reach - 70, reach, 71)
    result = panels(density, start, way, grid[:-1], grid[1:])
    for beyond in (np.linspace(reach, top, 1 + max(1, int((top - reach) / 4))), np.linspace(-700, reach - 70, 158)):
        if beyond[-1] > beyond[0]:
            last = result.log_distance >= reach - 1 if beyond[0] == reach else result.log_distance <= reach - 69
            if wide or np.abs(result.mass[last]).max(initial=0) > 1e-18:
                result = Panels.joined([result, panels(density, start, way, beyond[:-1], beyond[1:])])
    # where float64 ends there is something still: there may be more
    outside = (result.log_distance < -695) | ((result.log_distance > 685) & (length == math.inf))
    return result._replace(error=math.inf) if np.abs(result.mass[outside]).max(initial=0) > ENOUGH else result


def panels(density: Density, start: float, way: int, left: Floats, right: Floats) -> Panels:
    """Return panels of u = log |x - start| between ``left`` and ``right``, halved until halving changes nothing."""

    def rule(a: Floats, b: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        u = (a + b)[:, None] / 2 + (b - a)[:, None] / 2 * POINTS
        size = np.exp(u)
        x = start + way * size
        weight = (b - a)[:, None] / 2 * WEIGHTS * size
        with np.errstate(all="ignore"):
            p = np.broadcast_to(density(x), x.shape)
            return x, p, weight, np.nansum(weight * p, axis=1)

    done: list[Panels] = []
    error, whole = 0.0, rule(left, right)[3]
    for turn in range(48):
        middle = (left + right) / 2
        both = rule(np.concatenate([left, middle]), np.concatenate([middle, right]))
        halves = [*zip(*(np.split(part, 2) for part in both), strict=True)]
        with np.errstate(all="ignore"):
            off = np.abs(halves[0][3] + halves[1][3] - whole)
        good = (off <= ENOUGH) | (turn == 47) | ~np.isfinite(off)
        error += float(np.sum(off[good & np.isfinite(off)]))
        for (x, p, weight, mass), a, b in ((halves[0], left, middle), (halves[1], middle, right)):
            ends = start + way * np.exp(b if way > 0 else a)
            x, p, weight = (part[good].ravel() for part in (x, p, weight))
            done.append(Panels(x, p, weight, mass[good], ends[good], (a[good] + b[good]) / 2))
        left, right = (np.concatenate([a[~good] for a in pair]) for pair in ((left, middle), (middle, right)))
        whole = np.concatenate([half[3][~good] for half in halves])
        if not len(left) or len(left) > 4096:
            error += math.inf if len(left) else 0.0
            break
    result = Panels.joined(done, error)
    sound = np.isfinite(result.p)
    return result._replace(p=np.where(sound, result.p, 0.0), weight=np.where(sound, result.weight, 0.0))


def series(density: Density, low: int, high: float) -> Mass:
    """Return a density on the whole numbers from ``low`` to ``high``, as far as its values count."""
    size, start = 256, low
    parts: list[tuple[Floats, Floats]] = []
    while True:
        x = np.arange(start, min(start + size, high + 1), dtype=float)
        parts.append((x, np.broadcast_to(density(x), x.shape)))
        tail = float(np.abs(parts[-1][1][-64:]).max(initial=0))
        start += len(x)
        if start > high or (tail < 1e-18 and start - low > 512) or start - low >= MOST:
            break
        size *= 2
    x, p = (np.concatenate([part[i] for part in parts]) for i in range(2))
    error = 0.0 if start > high or tail < 1e-18 else math.inf
    return Mass(x, p, np.ones_like(p), error, x, np.cumsum(p))
