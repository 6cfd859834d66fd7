"""The whole of a density: what it adds up to over where the data may lie."""

from __future__ import annotations

import math
from typing import Any

import mpmath
import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.words import AWAY, Odds, Words, halves, same
from recon_cli.regions import Circle, Interval, Lattice, Simplex, Sphere


def total(density: Expr, known: Words, odds: Odds, support: Interval) -> tuple[Expr, bool]:
    """The density added up over the support, 1 if it is one; and whether that is proved, or found by number.

    A line is split at mu, where densities bend. By number: to 25 digits, at several choices of every symbol.
    """
    x, mu = known.xs[0], known.mus[0]
    if isinstance(support, Simplex):
        points = [dict(zip(known.xs, row, strict=True)) for row in sympy.eye(len(known.xs)).tolist()]
        added = sum(density.subs(point) for point in points)
        return sympy.simplify(added.subs(known.mus[-1], 1 - sum(known.mus[:-1]))), True
    if isinstance(support, Sphere):  # around mu, here the pole: of a circle of latitude only its height t matters
        pole = dict(zip(known.mus, (0,) * (len(known.mus) - 1) + (1,), strict=True))
        height = Symbol("t", real=True)
        ring = 2 * sympy.pi * density.subs(pole).subs(known.xs[-1], height)
        return sympy.simplify(sympy.integrate(ring, (height, -1, 1))), True
    if isinstance(support, Lattice):  # of three levels: each further one is one more term of the telescope
        few = density.subs(known.noise["levels"], 3)
        return sympy.simplify(sum(few.subs(x, level) for level in (0, sympy.Rational(1, 2), 1))), True
    if isinstance(support, Circle):
        return by_number(density.subs(mu, 0), x, support), False
    if support.whole:
        inner, last = odds.enter(density), sympy.oo if support.high == math.inf else support.high
        found, sure = settled(sympy.simplify(sympy.summation(inner, (x, int(support.low), last))), inner, x, support)
        return odds.leave(found), sure
    if support.low == -math.inf:
        sides = (sympy.simplify(half) for half in halves(density, x, odds.mu))
        added = sympy.simplify(sum(sympy.integrate(side, (AWAY, 0, sympy.oo)) for side in sides))
        while isinstance(added, sympy.Piecewise) and isinstance(added.args[0].cond, sympy.Ne):
            added = added.args[0].expr  # but for single points, where sympy divides by zero
        return added, True
    found = sympy.integrate(odds.enter(density), (x, sympy.Rational(support.low), sympy.Rational(support.high)))
    while isinstance(found, sympy.Piecewise):
        found = found.args[0].expr
    return odds.leave(sympy.simplify(found)), True


def settled(found: Expr, density: Expr, x: Symbol, support: Interval) -> tuple[Expr, bool]:
    """A sum where sympy is sure that it converges; by number where it is not."""
    if not isinstance(found, sympy.Piecewise):
        return found, True
    proved, number = found.args[0].expr, by_number(density, x, support)
    return proved, same(proved, number)


def exact(end: Any, at: dict[Symbol, Expr]) -> Any:
    """An end of a support, symbols put in, for mpmath."""
    if end in (-math.pi, math.pi):
        return mpmath.sign(end) * mpmath.pi
    return mpmath.mpf(str(sympy.sympify(end).subs(at))) if end != math.inf else mpmath.inf


def by_number(density: Expr, x: Symbol, support: Interval) -> Expr:
    """The sum or integral by mpmath at several choices of every other symbol: 1 if it is 1 to 25 digits at each."""
    others = sorted(density.free_symbols - {x}, key=lambda part: part.name)
    found = []
    with mpmath.workdps(30):
        for turn in range(3):
            at = {part: sympy.Rational(2 + 3 * ((i + turn) % 3), 4) for i, part in enumerate(others)}
            at = {part: sympy.ceiling(7 * value) if support.high == part else value for part, value in at.items()}
            p = sympy.lambdify(x, density.subs(at), modules="mpmath")
            low, high = (exact(end, at) for end in (support.low, support.high))
            found.append(mpmath.nsum(p, [low, high]) if support.whole else mpmath.quad(p, mpmath.linspace(low, high, 9)))
    off = max(found, key=lambda value: abs(value - 1))
    return sympy.Integer(1) if abs(off - 1) < 1e-25 else sympy.Float(str(off), 15)
