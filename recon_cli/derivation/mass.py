"""How much of a density there is, by number, at one noise and one mean: over its support, whatever that is."""

from __future__ import annotations

import math
import random
from typing import Any

import numpy as np
from sympy import Expr, Symbol

from recon_cli.derivation.arrays import Prepared
from recon_cli.derivation.points import Setting, direction
from recon_cli.derivation.quadrature import Mass, integral, series
from recon_cli.derivation.words import Words
from recon_cli.identity.regions import Circle, Lattice, Simplex, Sphere

AROUND = 33  # directions around a mean, in three dimensions


def mass(known: Words, density: Expr, setting: Setting, event: int, turn: bool = False) -> Mass:
    """The density by number: of vectors on a sphere by the angle to their mean, of classes by which they are.

    On a circle over one turn of it; where ``turn``, the one around the mean.
    """
    at: dict[Symbol, Any] = {known.noise[name]: value for name, value in setting.numbers.items()}
    at |= dict(zip(known.mus, setting.mus[event], strict=True))
    support, x, given = setting.side.support, known.xs[0], Prepared(density, at)
    if isinstance(support, Simplex):
        rows = {part: np.eye(setting.size)[k] for k, part in enumerate(known.xs)}
        return listed(given(rows), np.arange(float(setting.size)))
    if isinstance(support, Sphere):
        return ball(known, given, setting.mus[event])

    def p(points: Any) -> Any:
        return given({x: points})

    if isinstance(support, Lattice):
        levels = np.arange(int(support.levels)) / (int(support.levels) - 1)
        return listed(np.broadcast_to(p(levels), levels.shape), levels)
    if support.whole:
        return series(p, int(support.low), float(support.high))
    centre = setting.mus[event][0]
    ends = (float(support.low), float(support.high))
    if isinstance(support, Circle) and turn:
        ends = (centre - math.pi, centre + math.pi)
    found = integral(p, *ends, [centre])
    if abs(found.whole - 1) > 1e-9:  # perhaps there is a narrow peak elsewhere
        places = [*(row[0] for row in setting.xs), *setting.numbers.values(), *(row[0] for row in setting.mus)]
        found = min(found, integral(p, *ends, [centre, *places], True), key=lambda each: abs(each.whole - 1))
    return found


def listed(p: Any, x: Any) -> Mass:
    """A mass at a few places."""
    return Mass(x, p, np.ones(len(p)), 0.0, x, np.cumsum(p))


def ball(known: Words, density: Prepared, mu: list[float]) -> Mass:
    """Over the unit sphere: rings at each angle to the mean, several directions around it averaged."""
    size, draw = len(mu), random.Random(7)
    area = 2 * math.pi ** ((size - 1) / 2) / math.gamma((size - 1) / 2)
    middle = np.array(mu)
    first = across(middle, draw)
    if size == 3:  # all around, which is exact where the density turns smoothly
        turns = 2 * math.pi * np.arange(AROUND) / AROUND
        sides = [math.cos(turn) * first + math.sin(turn) * np.cross(middle, first) for turn in turns]
    else:
        sides = [first, -first] if size == 2 else [first, *(across(middle, draw) for _ in range(3))]

    def rings(angle: Any) -> Any:
        turned = np.expand_dims(np.array(sides), tuple(range(1, 1 + np.ndim(angle))))
        x = np.cos(angle)[None, ..., None] * middle + np.sin(angle)[None, ..., None] * turned
        return density({part: x[..., k] for k, part in enumerate(known.xs)})

    def p(angle: Any) -> Any:
        return rings(angle).mean(axis=0) * area * np.sin(angle) ** (size - 2)

    found = integral(p, 0.0, math.pi)
    spread = np.ptp(rings(np.linspace(0.1, 3, 7)), axis=0).max()
    lowest = rings(np.linspace(0, math.pi, 65)).min()
    error = math.inf if size > 3 and spread > 1e-9 else found.error
    return Mass(found.x, np.where(lowest < 0, -np.abs(found.p), found.p), found.weight, error, found.edges, found.below)


def across(middle: Any, draw: random.Random) -> Any:
    """A direction at a right angle to another."""
    raw = np.array([draw.gauss(0, 1) for _ in middle])
    return np.array(direction([float(part) for part in raw - (raw @ middle) * middle]))
