"""The integral over x of e^-loss, of a loss that is known by its gradient by x: it is itself that gradient's integral.

It runs in a coordinate u of x, outward from u = 0, by Gauss and Legendre's rule on pieces that are halved where the rule on a
piece and on its halves disagree. One call of the user's function gives as many points as a batch has elements.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.polynomial import legendre

from recon_cli.auditing.coordinates import LINE, UNIT, Array, Coordinate

DEEP = 45.0  # nats below the peak at which nothing counts any more
ROUNDS, PIECES = 26, 300  # how often pieces are halved, and how many there may be of a prediction
STEEP = 1e8  # a change of the loss over a piece whose running integral has lost its digits: no peak is there
ORDER = 16
NODES, SHARES = legendre.leggauss(ORDER)
INTEGRALS = [legendre.legint(row, lbnd=-1) for row in np.eye(ORDER)]
# From values at the nodes to integrals from the left end to each node, and to the middle.
RUNNING, MIDDLE = (
    np.stack([legendre.legval(at, each) for each in INTEGRALS], axis=-1) @ np.linalg.inv(legendre.legvander(NODES, ORDER - 1))
    for at in (NODES, 0.0)
)
# From values at the nodes to both ends of a piece; and the share of its half between an end and a node, where a bend can hide.
ENDS = legendre.legvander(np.array([-1.0, 1.0]), ORDER - 1) @ np.linalg.inv(legendre.legvander(NODES, ORDER - 1))
SLIVER = float(1 - NODES[-1])
JUMPS, FALLS = "its value jumps", "falls without end"


def slowly(growth: float) -> str:
    """Return in words how a loss grows that does by so much for each e times the data, or less."""
    return "stays bounded" if abs(growth) < 1e-6 else "grows no faster than a logarithm"


@dataclass(frozen=True)
class Element:
    """The loss of one element as it can be measured, at predictions known by number.

    predictions
        the numbers that stand for each: a mean, and a scale where the decoder gives one.
    slope, pull
        d loss / d x and d loss / d mean at many points x, each of the prediction of that number.
    value
        the loss at one x.
    weight
        what the loss is multiplied by before it is an exponent.
    finite
        whether the loss is finite at each of some x, at every prediction, where that is asked at once.
    """

    predictions: tuple[tuple[float, ...], ...]
    slope: Callable[[Array, Array], Array]
    pull: Callable[[Array, Array], Array]
    value: Callable[[float, int], float]
    weight: float = 1.0
    finite: Callable[[Sequence[float]], bool] | None = None

    def among(self, wanted: Sequence[int]) -> Element:
        """Return this element at some of its predictions alone."""
        which = np.array(wanted, dtype=int)
        return replace(
            self,
            predictions=tuple(self.predictions[i] for i in wanted),
            slope=lambda x, at: self.slope(x, which[at]),
            pull=lambda x, at: self.pull(x, which[at]),
            value=lambda x, at: self.value(x, wanted[at]),
            finite=None,
        )

    def is_finite(self, x: Sequence[float]) -> bool:
        """Whether the loss is finite at each x, of each prediction."""
        return bool(np.isfinite(self.levels(x)).all()) if self.finite is None else self.finite(x)

    def levels(self, x: Sequence[float]) -> Array:
        """Return minus the loss, weighed, at each x, of each prediction."""
        return -self.weight * np.array([[self.value(each, j) for each in x] for j in range(len(self.predictions))])


@dataclass
class Pieces:
    """Pieces of u of every prediction: ends, whose they are, the loss's gradients by u at the nodes, whether they are done.

    slack
        by how much the loss's change over it is another than that over both halves of what it is a half of.
    """

    low: Array
    high: Array
    whose: Array
    pull: Array
    done: Array
    slack: Array

    def parts(self, keep: object) -> Pieces:
        """Return some of them."""
        return Pieces(*(part[keep] for part in vars(self).values()))

    def beside(self, other: Pieces) -> Pieces:
        """Return these and others, in the order of predictions and ends."""
        both = Pieces(*(np.concatenate(pair) for pair in zip(vars(self).values(), vars(other).values(), strict=True)))
        return both.parts(np.lexsort((both.low, both.whose)))

    @property
    def half(self) -> Array:
        """Half of each one's width."""
        return (self.high - self.low) / 2

    @property
    def u(self) -> Array:
        """The nodes."""
        return self.low[:, None] + self.half[:, None] * (NODES + 1)

    @property
    def rise(self) -> Array:
        """The change of the loss over each."""
        return self.half * (self.pull @ SHARES)

    @property
    def running(self) -> Array:
        """The loss at the nodes above that at the end nearer to u = 0."""
        with np.errstate(all="ignore"):
            return np.asarray(self.half[:, None] * (self.pull @ RUNNING.T) - np.where(self.low < 0, self.rise, 0)[:, None])


class Integral:
    """The integral of e^(-weight loss) in a coordinate, at every prediction.

    infinite, doubt
        in words, where it is infinite, and why it is not told; empty where it is told.
    logs, errors
        its logarithms, and bounds of their errors, infinite where the mass in the tails cannot be bounded.
    """

    def __init__(self, element: Element, coordinate: Coordinate) -> None:
        self.element, self.coordinate = element, coordinate
        self.mean = np.array([prediction[0] for prediction in element.predictions])
        count = len(self.mean)
        self.off = np.zeros(count)
        edges = np.array(coordinate.edges)
        self.pieces = self.measured(
            np.tile(edges[:-1], count), np.tile(edges[1:], count), np.repeat(np.arange(count), len(edges) - 1)
        )
        self.infinite, self.doubt, self.logs, self.errors = self.runs_away(), "", np.zeros(count), np.full(count, math.inf)
        if self.infinite and count == 1:  # of a residual, wherever it jumps
            return
        while not self.refine() and len(self.pieces.low) < PIECES * count:
            pass
        self.start, self.cut, self.peak = self.levels()
        self.doubt = self.borne_out()
        if not self.infinite and not self.doubt:
            self.add_up()

    def measured(self, low: Array, high: Array, whose: Array) -> Pieces:
        """Return pieces with their gradients, by one call of the element for all."""
        pieces = Pieces(low, high, whose, np.zeros((len(low), ORDER)), np.zeros(len(low), dtype=bool), np.zeros(len(low)))
        u, at = pieces.u.ravel(), np.repeat(whose, ORDER)
        with np.errstate(all="ignore"):
            slope = self.element.slope(self.x(u, at), at) * np.exp(self.coordinate.log_width(u))
        pieces.pull = (slope * self.element.weight).reshape(-1, ORDER)
        return pieces

    def x(self, u: Array, at: Array) -> Array:
        """Return x at each u, of the prediction of that number."""
        return self.coordinate.x(u) + (self.mean[at] if self.coordinate.about else 0.0)

    def own(self, j: int) -> Array:
        """Return the numbers of one prediction's pieces."""
        return np.flatnonzero(self.pieces.whose == j)

    def levels(self) -> tuple[Array, Array, Array]:
        """Return the loss where pieces begin, outward, above that at u = 0, which an infinite one cuts off, and the peaks."""
        pieces = self.pieces
        start, cut, peak = np.zeros(len(pieces.low)), np.zeros(len(pieces.low), dtype=bool), np.zeros(len(self.mean))
        broken: Array = np.asarray(~np.isfinite(pieces.pull).all(axis=1))
        rise = np.where(broken, 0.0, pieces.rise)
        for j in range(len(peak)):
            own = self.own(j)
            middle = int(np.searchsorted(pieces.low[own], 0.0))
            outer, inner = own[middle:], own[:middle][::-1]
            start[outer[1:]], start[inner[1:]] = np.cumsum(rise[outer[:-1]]), -np.cumsum(rise[inner[:-1]])
            cut[outer], cut[inner] = np.cumsum(broken[outer]) > 0, np.cumsum(broken[inner]) > 0
        height = np.where(np.abs(rise) < STEEP, self.height(pieces, start).max(axis=1), self.brim(pieces, start))
        for j in range(len(peak)):
            own = self.own(j)
            peak[j] = height[own[~cut[own]]].max(initial=-math.inf)
        return start, cut, peak

    def height(self, pieces: Pieces, start: Array) -> Array:
        """Return the logarithm of the integrand at the nodes; nothing where it is so steep that it has lost its digits."""
        with np.errstate(all="ignore"):
            height = self.coordinate.log_measure(pieces.u) - start[:, None] - pieces.running
            return np.where(np.abs(pieces.rise) < STEEP, height.T, -math.inf).T

    def brim(self, pieces: Pieces, start: Array) -> Array:
        """Return the logarithm of the integrand at the higher end of each."""
        rise = np.where(pieces.low < 0, -pieces.rise, pieces.rise)
        with np.errstate(all="ignore"):
            return np.asarray(self.coordinate.log_measure(pieces.low + pieces.half) - start - np.minimum(rise, 0))

    def refine(self) -> bool:
        """Halve every piece that is not done; return whether there was none, or this was often enough."""
        pieces = self.pieces
        start, cut, peak = self.levels()
        with np.errstate(all="ignore"):
            in_sight = self.coordinate.log_measure(pieces.low + pieces.half) - start > peak[pieces.whose] - DEEP
        pieces.done &= ~(self.seams() & in_sight)
        ahead = ~pieces.done & ~cut & (pieces.half > 2.0**-ROUNDS)
        if len(pieces.low) > PIECES * len(peak) / 3 and (ahead & in_sight).any():
            ahead &= in_sight  # of waves that go on for ever those are followed that count
        for brink, near, level in self.brinks(start, cut):
            ahead[brink] |= -level > peak[pieces.whose[near]] - DEEP and pieces.half[brink] > 1e-4
        if not ahead.any():
            return True
        parents, starts = pieces.parts(ahead), start[ahead]
        middle, top = parents.low + parents.half, peak[parents.whose]
        both = self.measured(
            np.concatenate([parents.low, middle]), np.concatenate([middle, parents.high]), np.tile(parents.whose, 2)
        )
        first, second = both.parts(slice(0, len(middle))), both.parts(slice(len(middle), None))
        with np.errstate(all="ignore"):
            whole = np.exp(self.height(parents, starts) - top[:, None])
            left, right = np.where(parents.low < 0, -second.rise, 0), np.where(parents.low < 0, 0, first.rise)
            heights = np.concatenate([self.height(first, starts + left), self.height(second, starts + right)], axis=1)
            heights = heights - top[:, None]
            off = parents.half * np.abs(whole @ SHARES - np.exp(heights) @ np.tile(SHARES / 2, 2))
            apart = np.abs(parents.rise - first.rise - second.rise)
            halfway = np.abs(parents.half * (parents.pull @ MIDDLE) - first.rise)
            counts = heights.max(axis=1) > -DEEP
            rough = counts & ((off > 1e-11) | (np.ptp(heights, axis=1) > 12))
            rough |= np.maximum(apart / np.where(counts, 1e-10, 1e-7), halfway / 1e-6) > 1 + np.abs(parents.rise)
            rough |= (np.abs(parents.rise) >= STEEP) & (self.brim(parents, starts) > top - DEEP)
            rough |= ~np.isfinite(off + apart)
        self.off += np.bincount(parents.whose, np.where(counts & ~rough, off, 0.0), len(peak))
        both.done, both.slack = np.tile(~rough, 2), np.tile(apart / 2, 2)
        self.pieces = pieces.parts(~ahead).beside(both)
        return False

    def seams(self) -> Array:
        """Return which pieces have a bend so near an end that no node sees it: its gradient there is not its neighbour's."""
        pieces = self.pieces
        with np.errstate(all="ignore"):
            low, high = (pieces.pull @ ENDS.T).T
            step = np.abs(high[:-1] - low[1:])
            step *= (pieces.whose[:-1] == pieces.whose[1:]) & (step > 1e-2 * np.maximum(np.abs(high[:-1]), np.abs(low[1:])))
            beside = np.maximum(np.append(step, 0), np.insert(step, 0, 0))
            return np.asarray(beside * pieces.half * SLIVER > 1e-7 * (1 + np.abs(pieces.rise)))

    def brinks(self, start: Array, cut: Array) -> list[tuple[int, int, float]]:
        """Return the first piece on each side that is cut off, the last before it, and the loss between them."""
        neighbours: list[tuple[int, int, float]] = []
        for j in range(len(self.mean)):
            own = self.own(j)
            kept = np.flatnonzero(~cut[own])
            ends = ((kept[-1], kept[-1] + 1), (kept[0], kept[0] - 1)) if len(kept) else ()
            for last, beyond in ends:
                if 0 <= beyond < len(own):
                    neighbours.append((int(own[beyond]), int(own[last]), float(start[own[beyond]])))
        return neighbours

    def end(self, j: int, side: int) -> tuple[int, int, float, float]:
        """Return the last piece that is not cut off and its last node; how the integrand falls there, and three pieces before."""
        own = self.own(j)
        cut = ~np.isfinite(self.pieces.pull[own]).all(axis=1)
        kept = own[~cut][::side]
        node = -1 if side > 0 else 0
        return kept[-1], node, self.fall(kept[-1], node, side), self.fall(kept[-min(3, len(kept))], node, side)

    def fall(self, piece: int, node: int, side: int) -> float:
        """Return d log integrand / d u outward at a node."""
        u, h = self.pieces.u[piece, node], 1e-4
        measure = self.coordinate.log_measure
        width = float(measure(np.array(u + h)) - measure(np.array(u - h))) / (2 * h)
        return side * (width - float(self.pieces.pull[piece, node]))

    def runs_away(self) -> str:
        """Return in words at which end the integral is infinite; empty where at none."""
        line = self.coordinate.name == LINE.name
        low = "minus infinity" if line else "0"
        for side, toward in ((-1, low), (1, "1" if self.coordinate.name == UNIT.name else "plus infinity")):
            for j in range(len(self.mean)):
                own = self.own(j)
                if not np.isfinite(self.pieces.pull[own[0 if side < 0 else -1]]).all():
                    continue
                piece, node, here, before = self.end(j, side)
                if here > -1e-6 and here >= before - 1e-7:
                    growth = side * float(self.pieces.pull[piece, node])
                    how = slowly(growth) if toward.endswith("infinity") else "does not grow enough"
                    how = FALLS if growth < -1e-6 else how
                    return f"as x goes to {toward} the loss of an element {how}"
        return ""

    def add_up(self) -> None:
        """Find the logarithms and bounds of their errors, or the doubt about them."""
        pieces, height = self.pieces, self.height(self.pieces, self.start)
        for first, near, level in self.brinks(self.start, self.cut):
            if level < -1e3:
                self.infinite = (
                    f"as x goes to {'minus' if pieces.low[first] < 0 else 'plus'} infinity the loss of an element {FALLS}"
                )
                return
            if -level > self.peak[pieces.whose[near]] - DEEP + 15:
                self.doubt = f"it is not finite at x = {self.x_at(first, 0):.3g}"
        for j in range(len(self.mean)):
            own = self.own(j)[~self.cut[self.own(j)]]
            if self.doubt:
                return
            alive = np.flatnonzero(height[own].max(axis=1) > self.peak[j] - DEEP)
            if not len(alive):
                self.doubt = "it is not finite"
                return
            alive = own[alive[0] : alive[-1] + 1]
            slack = float(pieces.slack[alive].sum())
            shares = pieces.half[own] * (np.exp(height[own] - self.peak[j]) @ SHARES)
            total, off = float(shares.sum()), float(self.off[j])
            for side in (-1, 1):
                piece, node, here, before = self.end(j, side)
                tail = float(height[piece, node]) - self.peak[j]
                if tail < -DEEP or self.cut[self.own(j)[::side][-1]]:
                    continue
                if here >= 0 or abs(here - before) > 0.05 * abs(here):
                    off = math.inf  # of this prediction alone
                    break
                rest = (
                    math.exp(tail + here * abs((pieces.high if side > 0 else pieces.low)[piece] - pieces.u[piece, node])) / -here
                )
                total, off = total + rest, off + rest * (abs(1 - before / here) + 1e-9)
            open_ = alive[~pieces.done[alive]]
            off += float((2 * pieces.half[open_] * np.exp(height[open_].max(axis=1) - self.peak[j])).sum())
            best = own[int(height[own].max(axis=1).argmax())]
            level = self.start[best] + pieces.running[best, ORDER // 2]
            value = self.element.weight * self.element.value(self.x_at(best, ORDER // 2), j)
            self.errors[j] = off / total + slack + float(np.abs(pieces.rise[open_]).sum()) + 1e-9 + 4e-16 * abs(level)
            self.logs[j] = self.peak[j] + math.log(total) + level - value
        if not np.isfinite(self.errors).any():
            self.doubt = "the mass in its tails cannot be bounded"

    def x_at(self, piece: int, node: int) -> float:
        """Return x at a node."""
        return float(self.x(self.pieces.u[piece, [node]], self.pieces.whose[[piece]])[0])

    def borne_out(self) -> str:
        """Return in words where single values of the loss are not what its gradients run to; empty where they are."""
        pieces = self.pieces
        for j in {0, len(self.mean) - 1}:
            own = self.own(j)[~self.cut[self.own(j)]]
            own = own[pieces.done[own] | (self.height(pieces, self.start)[own].max(axis=1) > self.peak[j] - DEEP)]
            spots = [own[int(np.abs(pieces.low[own] - u).argmin())] for u in (0.5, -3.0, -1.3, -0.4, 0.9, 1.3, 3.0) if len(own)]
            runs = [(i, want) for i in spots if abs(want := self.start[i] + pieces.running[i, 4]) < 1e4]
            values = [self.element.weight * self.element.value(self.x_at(i, 4), j) for i, _ in runs]
            for (i, want), have in zip(runs[1:], values[1:], strict=True):
                if math.isnan(have):
                    return f"it is no number at x = {self.x_at(i, 4):.3g}"
                by = have - values[0] - (want - runs[0][1])
                if math.isfinite(by) and abs(by) > 1e-6 * max(abs(have), abs(values[0]), abs(want), 1.0):
                    return f"{JUMPS} between x = {self.x_at(runs[0][0], 4):.3g} and {self.x_at(i, 4):.3g}"
        return ""
