"""Integrals and sums by number, in float64, with an estimate of their error: Gauss's points on logarithmic scales.

Every end and middle is approached on a logarithmic scale, x = c + e^u, so that no width is too small and no tail too
long; and a panel is halved until its halves agree, so that corners and jumps may be anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

POINTS, WEIGHTS = np.polynomial.legendre.leggauss(16)
ENOUGH = 1e-14  # what halving a panel may change
MOST = 1 << 19  # of a sum


@dataclass(frozen=True)
class Mass:
    """A density by number: its points with their weights, and how much of it lies below some of them.

    x, p, weight
        points of a rule; the density there; sum(weight * p) is its integral.
    error
        what the integral may be off by.
    edges, below
        points in order, and the mass up to and with each.
    """

    x: Any
    p: Any
    weight: Any
    error: float
    edges: Any
    below: Any

    @property
    def whole(self) -> float:
        """The integral."""
        return float(np.sum(self.weight * self.p))

    @property
    def lowest(self) -> float:
        """The smallest value of the density."""
        return float(np.min(self.p))

    def mean(self, of: Any = None) -> float:
        """The mean of x, or of other values at the points."""
        with np.errstate(all="ignore"):
            return float(np.sum(np.where(self.p == 0, 0.0, self.weight * self.p * (self.x if of is None else of))))


def integral(density: Callable[[Any], Any], low: float, high: float, middles: Sequence[float] = (), wide: bool = False) -> Mass:
    """A density from ``low`` to ``high``, with something of its own at the ``middles`` (a mode, a corner).

    Where ``wide``, at all distances from them, though there be nothing at those before.
    """
    stops = sorted({stop for stop in (low, high, *middles) if low <= stop <= high})
    legs: list[tuple[float, int, float]] = []  # from where, which way, how far
    for a, b in zip(stops, stops[1:], strict=False):
        if a > -math.inf and b < math.inf:
            legs += [(a, 1, (b - a) / 2), (b, -1, (b - a) / 2)]
        else:
            legs.append((a, 1, math.inf) if b == math.inf else (b, -1, math.inf))
    parts = [leg(density, *each, wide) for each in legs]
    x, p, weight, ends, mass = (np.concatenate([part[i] for part in parts]) for i in range(5))
    order = np.argsort(ends, kind="stable")
    return Mass(x, p, weight, sum(part[5] for part in parts), ends[order], np.cumsum(mass[order]))


def leg(density: Callable[[Any], Any], start: float, way: int, length: float, wide: bool) -> tuple[Any, ...]:
    """One leg: points, density, weights; the upper end of each panel and its mass; the error."""
    top = min(math.log(length), 690.0) if length < math.inf else 690.0
    reach = min(top, 30.0)
    grid = np.linspace(reach - 70, reach, 71)
    found = panels(density, start, way, grid[:-1], grid[1:])
    for beyond in (np.linspace(reach, top, 1 + max(1, int((top - reach) / 4))), np.linspace(-700, reach - 70, 158)):
        if beyond[-1] > beyond[0]:
            edge = found[2][found[6] >= reach - 1 if beyond[0] == reach else found[6] <= reach - 69]
            if wide or np.abs(edge).max(initial=0) > 1e-18:
                more = panels(density, start, way, beyond[:-1], beyond[1:])
                found = tuple(
                    np.concatenate(pair) if i != 5 else sum(pair) for i, pair in enumerate(zip(found, more, strict=True))
                )
    x, p, mass, weight, ends, error, at = found
    outside = (at < -695) | ((at > 685) & (length == math.inf))  # something still, where float64 ends: there may be more
    if np.abs(mass[outside]).max(initial=0) > ENOUGH:
        error = math.inf
    return x, p, weight, ends, mass, error


def panels(density: Callable[[Any], Any], start: float, way: int, left: Any, right: Any) -> tuple[Any, ...]:
    """Panels of u, halved until that changes nothing."""

    def rule(a: Any, b: Any) -> tuple[Any, Any, Any, Any]:
        u = (a + b)[:, None] / 2 + (b - a)[:, None] / 2 * POINTS
        size = np.exp(u)
        x = start + way * size
        weight = (b - a)[:, None] / 2 * WEIGHTS * size
        with np.errstate(all="ignore"):
            p = np.broadcast_to(density(x), x.shape)
            return x, p, weight, np.nansum(weight * p, axis=1)

    done: list[tuple[Any, ...]] = []
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
            done.append((x[good].ravel(), p[good].ravel(), mass[good], weight[good].ravel(), ends[good], (a[good] + b[good]) / 2))
        left, right = (np.concatenate([a[~good] for a in pair]) for pair in ((left, middle), (middle, right)))
        whole = np.concatenate([half[3][~good] for half in halves])
        if not len(left) or len(left) > 4096:
            error += math.inf if len(left) else 0.0
            break
    x, p, mass, weight, ends, at = (np.concatenate([part[i] for part in done]) for i in range(6))
    sound = np.isfinite(p)
    return x, np.where(sound, p, 0.0), mass, np.where(sound, weight, 0.0), ends, error, at


def series(density: Callable[[Any], Any], low: int, high: float) -> Mass:
    """A density over the whole numbers from ``low`` to ``high``, so many as count."""
    size, parts, start = 256, [], low
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
