"""The integral of a density over its support by number, for one noise and one mean."""

from __future__ import annotations

import dataclasses
import math
import random
from collections.abc import Callable, Sequence

import numpy as np
from sympy import Expr, Symbol

from recon_cli.derivation.evaluation import Floats, Function
from recon_cli.derivation.normalisation import ODDS, over_odds
from recon_cli.derivation.points import Setting, compositions, direction, setting_total
from recon_cli.derivation.quadrature import Mass, integral, series
from recon_cli.derivation.words import Words
from recon_cli.identity.regions import Circle, CountVector, Interval, Lattice, Simplex, Sphere
from recon_cli.identity.vectors import RealVector

AROUND = 33  # directions around a mean, in three dimensions


def mass(symbols: Words, density: Expr, setting: Setting, event: int, around_mean: bool = False) -> Mass:
    """Return the density at the points of a rule, for the noise of a setting and the mean of one of its events.

    Of vectors on a sphere x is the angle to their mean, of one-hot vectors the index of the class, of counts their place
    among all of one total.
    On a circle it is integrated over its interval, or where ``around_mean`` over the turn around the mean.
    """
    constants: dict[Symbol, float] = {symbols.noise[name]: value for name, value in setting.numbers.items()}
    constants |= dict(zip(symbols.mus, setting.mus[event], strict=True))
    support, x, function = setting.likelihood.support, symbols.xs[0], Function(density, constants)
    if isinstance(support, Simplex):
        rows = {part: np.eye(setting.size)[k] for k, part in enumerate(symbols.xs)}
        return at_places(function(rows), np.arange(float(setting.size)))
    if isinstance(support, CountVector):
        every = np.array(compositions(setting_total(setting.likelihood), setting.size))
        rows = {part: every[:, k] for k, part in enumerate(symbols.xs)}
        return at_places(function(rows), np.arange(float(len(every))))
    if isinstance(support, Sphere):
        return on_sphere(symbols, function, setting.mus[event])
    if isinstance(support, RealVector):
        return around(symbols, function, setting.mus[event][:: symbols.several])

    def p(points: Floats) -> Floats:
        return function({x: points})

    if isinstance(support, Lattice):
        levels = np.arange(int(support.levels)) / (int(support.levels) - 1)
        return at_places(np.broadcast_to(p(levels), levels.shape), levels)
    if support.whole:
        return series(p, int(support.low), float(support.high))
    centre = setting.mus[event][0]
    if isinstance(support, Interval) and (support.low, support.high, support.closed) == (0, 1, False):
        over = Function(over_odds(density, x), constants)
        result = integral(lambda points: over({ODDS: points}), 0.0, math.inf, [centre / (1 - centre)])
        x_of = [places / (1 + places) for places in (result.x, result.edges)]
        return dataclasses.replace(result, x=x_of[0], edges=x_of[1])
    if setting.likelihood.atoms:
        return beside_atoms(setting.likelihood.atoms, p, centre)
    ends = (float(support.low), float(support.high))
    if isinstance(support, Circle) and around_mean:
        ends = (centre - math.pi, centre + math.pi)
    result = integral(p, *ends, [centre, *setting.mus[event][1 : setting.size]] if setting.likelihood.sized_by else [centre])
    if abs(result.whole - 1) > 1e-9:  # perhaps there is a narrow peak elsewhere
        places = [*(row[0] for row in setting.xs), *setting.numbers.values(), *(row[0] for row in setting.mus)]
        result = min(result, integral(p, *ends, [centre, *places], True), key=lambda each: abs(each.whole - 1))
    return result


def beside_atoms(atoms: Sequence[float], p: Callable[[Floats], Floats], centre: float) -> Mass:
    """Return the mass of a density of positive numbers beside that of values, none above them, with a chance of their own."""
    chances = np.array([float(p(np.array([atom]))[0]) for atom in atoms])
    above = integral(p, 0.0, math.inf, [centre])
    return Mass(
        np.concatenate([np.array(atoms), above.x]),
        np.concatenate([chances, above.p]),
        np.concatenate([np.ones(len(chances)), above.weight]),
        above.error,
        np.concatenate([np.array(atoms), above.edges]),
        np.concatenate([np.cumsum(chances), chances.sum() + above.below]),
    )


def at_places(p: Floats, x: Floats) -> Mass:
    """Return the mass of a density on a few places."""
    return Mass(x, p, np.ones(len(p)), 0.0, x, np.cumsum(p))


def on_sphere(symbols: Words, density: Function, mu: list[float]) -> Mass:
    """Integrate over the unit sphere: over the angle to the mean, averaged over several directions around it."""
    size, draw = len(mu), random.Random(7)
    area = 2 * math.pi ** ((size - 1) / 2) / math.gamma((size - 1) / 2)
    middle = np.array(mu)
    first = across(middle, draw)
    if size == 3:  # all around, which is exact where the density turns smoothly
        turns = 2 * math.pi * np.arange(AROUND) / AROUND
        sides = [math.cos(turn) * first + math.sin(turn) * np.cross(middle, first) for turn in turns]
    else:
        sides = [first, -first] if size == 2 else [first, *(across(middle, draw) for _ in range(3))]

    def rings(angle: Floats) -> Floats:
        turned = np.expand_dims(np.array(sides), tuple(range(1, 1 + np.ndim(angle))))
        x = np.cos(angle)[None, ..., None] * middle + np.sin(angle)[None, ..., None] * turned
        return density({part: x[..., k] for k, part in enumerate(symbols.xs)})

    def p(angle: Floats) -> Floats:
        return np.asarray(rings(angle).mean(axis=0) * area * np.sin(angle) ** (size - 2))

    result = integral(p, 0.0, math.pi)
    spread = np.ptp(rings(np.linspace(0.1, 3, 7)), axis=0).max()
    lowest = rings(np.linspace(0, math.pi, 65)).min()
    error = math.inf if size > 3 and spread > 1e-9 else result.error
    p_or_negative = np.where(lowest < 0, -np.abs(result.p), result.p)
    return dataclasses.replace(result, p=p_or_negative, error=error)


def around(symbols: Words, density: Function, mu: list[float]) -> Mass:
    """Integrate over all vectors: over the length of x - mu in units of the density's own width, over several directions.

    Those units are the inverse root of the second derivatives of -log p at mu, by differences.
    """
    size, middle, draw = len(mu), np.array(mu), random.Random(7)

    def log_p(away: Floats) -> Floats:
        return density.logarithm({part: middle[k] + away[..., k] for k, part in enumerate(symbols.xs)})

    here, steps = log_p(np.zeros((1, size)))[0], np.ones(size)
    for _ in range(3):  # until each step costs about half a nat
        fall = np.maximum(here - (log_p(np.diag(steps)) + log_p(-np.diag(steps))) / 2, 1e-280)
        steps = steps * np.sqrt(0.5 / fall)
    axes = np.diag(steps)
    pairs = axes[:, None] + axes[None, :], axes[:, None] - axes[None, :]
    bends = (log_p(pairs[1]) - log_p(pairs[0]) + log_p(-pairs[1]) - log_p(-pairs[0])) / 4  # of -log p, along two steps
    try:
        root = np.linalg.inv(np.linalg.cholesky((bends + bends.T) / 2)).T
    except np.linalg.LinAlgError:
        nothing = np.zeros(1)
        return Mass(nothing, nothing, nothing, math.inf, nothing, nothing)
    unit = steps[:, None] * root
    sides = np.array([direction([draw.gauss(0, 1) for _ in mu]) for _ in range(8)]) if size > 1 else np.array([[1.0], [-1.0]])
    log_area = math.log(2) + size / 2 * math.log(math.pi) - math.lgamma(size / 2) + np.linalg.slogdet(unit)[1]

    def rings(length: Floats) -> Floats:
        places = np.expand_dims(length, (0, -1)) * np.expand_dims(sides @ unit.T, tuple(range(1, 1 + np.ndim(length))))
        return np.asarray(np.exp(log_p(places) + log_area))

    result = integral(lambda length: np.asarray(rings(length).mean(axis=0) * length ** (size - 1)), 0.0, math.inf, [1.0])
    spread = np.ptp(rings(np.linspace(0.1, 3, 7)), axis=0).max()
    return dataclasses.replace(result, error=math.inf if spread > 1e-6 else result.error + spread)


def across(middle: Floats, draw: random.Random) -> Floats:
    """Return a random direction at a right angle to another."""
    raw = np.array([draw.gauss(0, 1) for _ in middle])
    return np.array(direction([float(part) for part in raw - (raw @ middle) * middle]))
