"""Whether a density adds up to one, in symbols: its integral or sum over the support."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.algebra import add, as_expr, branches, component, replace, substitute
from recon_cli.derivation.known_totals import multinomial, paraboloid
from recon_cli.derivation.words import AWAY, Odds, Words, halves, same
from recon_cli.identity.regions import Circle, CountVector, Lattice, Simplex, Sphere
from recon_cli.identity.vectors import RealVector

ODD = (sympy.erf, sympy.tanh, sympy.atan, sympy.sinh)
BENT = (sympy.Abs, sympy.sign, sympy.Max, sympy.Min, sympy.Heaviside, sympy.Piecewise)
WRIGHT = sympy.Function("wright_bessel")
ODDS = Symbol("s", positive=True)  # of an x between 0 and 1


def total(density: Expr, symbols: Words, odds: Odds, general: Expr | None = None) -> Expr:
    """Return the integral, or the sum, of the density over the support of the data.

    A line is split at mu, where densities bend. ``general`` is a density of vectors of any number of components.
    Raises NotImplementedError for a density on a sphere, a circle or a lattice of a form that is not handled.
    """
    support, x, mu = symbols.likelihood.support, symbols.xs[0], symbols.mus[0]
    density = substitute(density, odds_of_shares(symbols))
    if isinstance(support, RealVector):
        return paraboloid(density, symbols)
    if symbols.likelihood.sized_by:
        return sympy.simplify(add(weight * total(part, alone, odds) for weight, part, alone in components(density, symbols)))
    if isinstance(support, Simplex):
        return classes(density, symbols, general)
    if isinstance(support, CountVector):
        return multinomial(density, symbols)
    if isinstance(support, Sphere):
        return directions(symbols, general)
    if isinstance(support, Lattice):
        return telescope(density, symbols, sympy.Integer(1))
    if isinstance(support, Circle):
        turned = substitute(density, {x: mu + AWAY})
        turned = as_expr(sympy.expand_trig(turned)) if density.has(sympy.sin) else turned
        return bessel(turned, sympy.cos(AWAY), -sympy.sin(AWAY), sympy.Integer(2))
    if support.whole and isinstance(density, sympy.Piecewise) and density.has(sympy.Lt, sympy.Gt):
        return telescope(density, symbols, exactly(support.high))
    if support.whole and isinstance(density, sympy.Piecewise):
        return odds.leave(pieced(odds.enter(density), x, exactly(support.low), exactly(support.high)))
    if support.whole:
        return odds.leave(summed(odds.enter(density), x, exactly(support.low), exactly(support.high)))
    if symbols.likelihood.atoms:
        return compound(density, x)
    if support.low == -math.inf and support.high == math.inf:
        return line(density, x, mu)
    return odds.leave(between(odds.enter(density), x, exactly(support.low), exactly(support.high), odds.symbol))


def compound(density: Expr, x: Symbol) -> Expr:
    """Return what a density of x > 0 that has a chance of its own at 0 adds up to: of a sum of Gamma densities, by how many.

    The density is of Wright's series, sum_n t^n/(n! Gamma(a n)), each term of which is integrated by itself (all are positive).
    Raises NotImplementedError for another density.
    """
    (at_zero, _), (above, _) = branches(density)
    (series,) = above.atoms(WRIGHT) or (None,)
    if series is None:
        raise NotImplementedError("no series of Wright's")
    shape, zero, argument = map(as_expr, series.args)
    n = Symbol("n", integer=True, positive=True)
    if zero != 0:
        raise NotImplementedError("another series of Wright's")
    term = substitute(above, {series: argument**n / sympy.gamma(shape * n)})
    integral = mellin(as_expr(sympy.expand_power_base(term, force=True)), x, sympy.Integer(0), sympy.oo)
    if integral is None:
        raise NotImplementedError("terms of another form")
    logs = as_expr(sympy.expand(sympy.expand_log(sympy.log(sympy.gammasimp(integral)), force=True)))
    by_count = as_expr(logs.coeff(n))
    rate, constant = as_expr(sympy.simplify(by_count)), as_expr(sympy.simplify(logs - n * by_count))
    if constant.has(n):
        raise NotImplementedError("terms of another form")
    # sum_n q^n/n! from n = 1 on
    return sympy.simplify(at_zero + sympy.exp(constant) * (sympy.exp(sympy.simplify(sympy.exp(rate))) - 1))


def components(density: Expr, symbols: Words) -> Iterator[tuple[Expr, Expr, Words]]:
    """Yield the terms of a mixture's density: what x is not in, the density of one component, and its words."""
    x = symbols.xs[0]
    outer, inner = density.as_independent(x, as_Add=False)
    for term in sympy.Add.make_args(inner):
        weight, part = as_expr(term).as_independent(x, as_Add=False)
        (location,) = part.free_symbols & {*symbols.mus[: symbols.size]}
        yield outer * weight, part, dataclasses.replace(symbols, likelihood=symbols.likelihood.part, mus=(location,))


def pieced(density: Expr, x: Symbol, low: Expr, high: Expr) -> Expr:
    """Return the sum over whole numbers of a density that is another at single ones: that of the one, less and more these.

    Raises NotImplementedError for other pieces.
    """
    *single, (usual, _) = branches(density)
    equal: list[tuple[sympy.Expr, sympy.Eq]] = [(own, where) for own, where in single if isinstance(where, sympy.Eq)]
    if len(equal) < len(single) or not all(where.lhs == x and where.rhs.is_Integer for _, where in equal):
        raise NotImplementedError("pieces of more than a number")
    moved = add(substitute(own, {x: where.rhs}) - substitute(usual, {x: where.rhs}) for own, where in equal)
    return as_expr(sympy.simplify((summed(usual, x, low, high) + moved).rewrite(sympy.exp)))


def exactly(end: Expr | float) -> Expr:
    """Return an end of a region, a number or a symbol, as an expression without rounding."""
    if isinstance(end, float) and math.isinf(end):
        return sympy.oo if end > 0 else -sympy.oo
    return sympy.Rational(end) if isinstance(end, (int, float)) else end


def far(expression: Expr, symbol: Symbol, end: Expr) -> Expr:
    """Return the limit of an expression at an end: its value there, where it has one."""
    value = substitute(expression, {symbol: end})
    return sympy.limit(expression, symbol, end) if value.has(sympy.nan, sympy.zoo, sympy.AccumBounds) else value


def odds_of_shares(symbols: Words) -> dict[Symbol, Expr]:
    """Return for each noise parameter q between two numbers, as 0 and 1, the expression 1/(1 + k), k > 0, to replace it by."""
    ends = {field.name: field.metadata["domain"].bounds for field in dataclasses.fields(symbols.likelihood)}
    return {
        symbols.noise[name]: as_expr(
            sympy.together(exactly(pair[0]) + exactly(pair[1] - pair[0]) / (1 + Symbol(f"k_{name}", positive=True)))
        )
        for name, pair in ends.items()
        if pair
    }


@functools.lru_cache(256)
def summed(density: Expr, x: Symbol, low: Expr, high: Expr) -> Expr:
    """Return the sum over the whole numbers from ``low`` to ``high``, assuming the condition on which sympy says it converges.

    If each term is q (x + a)/(x + 1) times the one before, from x = 0, it is (1 - q)^-a times the first: the binomial series.
    """
    ratio = as_expr(sympy.gammasimp((substitute(density, {x: x + 1}) / density).rewrite(sympy.gamma)))
    growth = sympy.Poly(sympy.simplify(as_expr(sympy.powsimp(ratio))) * (x + 1), x) if low == 0 else None
    if growth is not None and growth.degree() <= 1:
        q, rest = growth.coeff_monomial(x), growth.coeff_monomial(1)
        first = substitute(density, {x: 0})
        if q == 0 and high == sympy.oo:
            return sympy.simplify(first * sympy.exp(rest))
        if q != 0 and (high == sympy.oo or same(high, -rest / q)):
            return sympy.simplify(as_expr(sympy.powsimp(first * sympy.together(1 - q) ** -sympy.cancel(rest / q))))
    return opened(as_expr(sympy.simplify(sympy.summation(density, (x, low, high)))))


@functools.lru_cache(256)
def line(density: Expr, x: Symbol, mu: Symbol) -> Expr:
    """Return the integral over the real line: of exponentials as one of powers, of anything else on either side of mu."""
    if not density.has(*BENT) and (integral := exponentials(density, x, mu)) is not None:
        return simplest(integral)
    return simplest(add(beyond(half) for half in halves(density, x, mu)))


@functools.lru_cache(256)
def over_odds(density: Expr, x: Symbol) -> Expr:
    """Return a density of x between 0 and 1 as one of its odds s > 0, x = s/(1 + s), for which 1 - x is not rounded near 1."""

    def opened_log(part: Expr) -> Expr:
        return as_expr(sympy.expand_log(sympy.log(sympy.cancel(part)), force=True) if part.has(ODDS) else sympy.log(part))

    inner = replace(substitute(density, {x: ODDS / (1 + ODDS)}), sympy.log, opened_log)
    inner = replace(inner, lambda part: part.is_Pow and part.base.is_Add, lambda part: sympy.cancel(part.base) ** part.exp)
    return as_expr(sympy.expand_power_base(inner / (1 + ODDS) ** 2, force=True))


@functools.lru_cache(256)
def between(density: Expr, x: Symbol, low: Expr, high: Expr, mu: Symbol) -> Expr:
    """Return the integral from ``low`` to ``high``; from 0 to 1 that over the odds of x, from zero up.

    From zero up, of a density of log x, on either side of its mean.
    """
    integral = mellin(density, x, low, high)
    if integral is None and (low, high) == (0, 1):
        return between(over_odds(density, x), ODDS, sympy.Integer(0), sympy.oo, mu)
    if integral is None and low == 0 and high == sympy.oo and density.has(sympy.log(x)):
        middle, away = sympy.log(mu) if mu.is_positive else mu, sympy.Dummy("away", positive=True)
        logs = [middle + way * away for way in (1, -1)]
        moved = [substitute(substitute(density, {sympy.log(x): log}), {x: sympy.exp(log)}) * sympy.exp(log) for log in logs]
        sides = [mellin(side, away, sympy.Integer(0), sympy.oo) for side in moved]
        integral = None if None in sides else add(side for side in sides if side is not None)
    return simplest(sympy.integrate(density, (x, low, high)) if integral is None else integral)


def simplest(integral: Expr) -> Expr:
    """Return the value of an integral in its simplest form: by quick means, where these leave nothing to simplify."""
    integral = opened(integral)
    try:
        quick = as_expr(sympy.cancel(integral))
        quick = quick if quick.is_number else as_expr(sympy.cancel(sympy.gammasimp(sympy.powsimp(quick))))
    except sympy.PolynomialError:  # it has pieces
        quick = integral
    functions_are_simple = all(part.args[0].is_Symbol for part in quick.atoms(sympy.Function))
    if functions_are_simple and all(part.exp.is_Integer for part in quick.atoms(sympy.Pow)):
        return quick  # nothing in it has another form in which more would cancel
    return opened(as_expr(sympy.simplify(sympy.together(integral).rewrite(sympy.erf))))


@functools.lru_cache(256)
def beyond(half: Expr) -> Expr:
    """Return the integral of a function of t over t > 0, piece by piece."""
    low: Expr = sympy.Integer(0)
    integrals: list[Expr] = []
    for piece, condition in branches(half):
        high: Expr = sympy.oo
        if isinstance(condition, (sympy.LessThan, sympy.StrictLessThan)) and condition.lts == AWAY:
            high = as_expr(condition.gts)
        if not (high - low).is_extended_positive or (high == sympy.oo and condition != sympy.true):
            return sympy.integrate(sympy.simplify(half), (AWAY, 0, sympy.oo))
        integral = mellin(piece, AWAY, low, high)
        integrals.append(sympy.integrate(sympy.simplify(piece), (AWAY, low, high)) if integral is None else integral)
        low = high
    return add(integrals)


def exponentials(density: Expr, x: Symbol, mu: Symbol) -> Expr | None:
    """Return the integral over the real line of a function of e^(k (x - mu)), by u = e^(k (x - mu)) > 0; None of others."""
    away, u = Symbol("t", real=True), Symbol("u", positive=True)
    moved = as_expr(substitute(density, {x: mu + away}).rewrite(sympy.exp))
    slopes = {sympy.diff(part.args[0], away) for part in moved.atoms(sympy.exp)}
    rates = [way * slope for slope in slopes for way in (1, -1) if not slope.has(away) and (way * slope).is_positive]
    if not rates:
        return None
    k = min(rates, key=sympy.default_sort_key)
    return mellin(substitute(moved, {away: sympy.log(u) / k}) / (k * u), u, sympy.Integer(0), sympy.oo)


def mellin(density: Expr, t: Symbol, low: Expr, high: Expr) -> Expr | None:
    """Return the integral of c t^a e^(-k t^n) over t, or of c t^a (p + q t^n)^-b from 0 to infinity; None of anything else.

    Differences of incomplete gamma functions (DLMF 8.2.2), and the beta function (DLMF 5.12.3). From 0 to infinity also of
    c e^(-k sqrt(p + q t^2)), by Bessel's K (DLMF 10.32.9, t = sqrt(p/q) sinh u).
    """
    logarithm = as_expr(sympy.expand(sympy.expand_log(sympy.log(sympy.together(density)), force=True)))
    constant, rest = logarithm.as_independent(t, as_Add=True)
    a, c = as_expr(sympy.expand(rest.coeff(sympy.log(t)))), as_expr(sympy.exp(constant))
    terms, factors = sympy.Add.make_args(sympy.expand(rest - a * sympy.log(t))), dict[Expr, Expr]()
    for factor, part in (term.as_independent(t, as_Add=False) for term in terms):
        factors[part] = factors.get(part, sympy.Integer(0)) + factor
    (part, factor), *more = factors.items()
    if more or a.has(t) or constant.has(sympy.nan, sympy.zoo, sympy.I):
        return None
    if isinstance(part, sympy.log):
        return beta(constant, a, -factor, part.args[0], t) if (low, high) == (0, sympy.oo) else None
    k, (base, n) = as_expr(sympy.factor(-factor)), part.as_base_exp()
    if k == 0 and (a + 1).is_positive and high != sympy.oo:
        return c * (high ** (a + 1) - low ** (a + 1)) / (a + 1)
    if n == sympy.Rational(1, 2) and a == 0 and k.is_positive and (low, high) == (0, sympy.oo):
        p, bend = base.as_independent(t, as_Add=True)
        q = as_expr(sympy.cancel(bend / t**2))
        return c * sympy.sqrt(p / q) * sympy.besselk(1, k * sympy.sqrt(p)) if p.is_positive and q.is_positive else None
    if base != t or n.has(t):
        return None
    if high == sympy.oo and n.is_positive and k.is_negative and c.is_positive:
        return sympy.oo
    if n == 1 and a == 0 and high != sympy.oo:
        return c * (sympy.exp(-k * low) - sympy.exp(-k * high)) / k
    s = as_expr(sympy.cancel((a + 1) / n))
    if not (k.is_positive and s.is_positive) or not (n.is_positive or (low, high) == (0, sympy.oo)):
        return None
    over = at_once(constant - s * sympy.log(k)) / n
    if n.is_negative:
        return -over * sympy.gamma(s)
    ends = [
        sympy.Integer(0) if end == sympy.oo else sympy.gamma(s) if end == 0 else sympy.uppergamma(s, sympy.powdenest(k * end**n))
        for end in (low, high)
    ]
    return over * (ends[0] - ends[1])


def at_once(logarithm: Expr) -> Expr:
    """Return e to a logarithm whose terms are put together first."""
    return sympy.exp(sympy.expand(sympy.expand_log(logarithm, force=True)))


def beta(constant: Expr, a: Expr, b: Expr, bend: Expr, t: Symbol) -> Expr | None:
    """Return the integral over t > 0 of e^constant t^a bend^-b, the bend being p + q t^n; None of another bend."""
    p, rest = bend.as_independent(t, as_Add=True)
    q, power = rest.as_independent(t, as_Add=False)
    base, n = power.as_base_exp()
    s = sympy.cancel((a + 1) / n)
    if base != t or n.has(t) or not all(part.is_positive for part in (p, q, n, s, sympy.cancel(b - s))):
        return None
    over = at_once(constant + (s - b) * sympy.log(p) - s * sympy.log(q)) / n
    return over * sympy.gamma(sympy.expand(s)) * sympy.gamma(sympy.expand(b - s)) / sympy.gamma(sympy.expand(b))


def opened(value: Expr) -> Expr:
    """Return a value without sympy's conditions (of convergence, or at single points), which numbers check elsewhere."""
    while isinstance(value, sympy.Piecewise):
        value = branches(value)[0][0]
    return value


def classes(density: Expr, symbols: Words, general: Expr | None) -> Expr:
    """Return the sum over one-hot vectors: of a product for any number of components, of another density for those it has."""
    if isinstance(general, sympy.Product):
        factor = as_expr(general.function)
        x, mu = (component(name, symbols.names["k"]) for name in ("x", "mu"))
        if same(substitute(factor, {x: 0}), 1) and same(substitute(factor, {x: 1}), mu):
            return sympy.Integer(1)  # p of a class is its share, and the shares add up to one
    points = [dict(zip(symbols.xs, row, strict=True)) for row in sympy.eye(len(symbols.xs)).tolist()]
    added = add(substitute(density, point) for point in points)
    return sympy.simplify(substitute(added, {symbols.mus[-1]: 1 - add(symbols.mus[:-1])}))


def directions(symbols: Words, general: Expr | None) -> Expr:
    """Return the integral over the unit sphere, of any number of components, of a density c e^(k t), t = <x, mu>."""
    height, k, size = Symbol("t", real=True), symbols.names["k"], symbols.names["K"]
    along = sympy.Sum(component("x", k) * component("mu", k), (k, 1, size))
    if general is None or (ring := substitute(general, {along: height})).has(sympy.Indexed):
        raise NotImplementedError("a density that depends on more than the angle")
    return bessel(ring, height, sympy.Integer(1), size)


def bessel(ring: Expr, height: Expr, slope: Expr, size: Expr) -> Expr:
    """Return the integral of c e^(k t) over the unit sphere, by Poisson's integral (DLMF 10.32.1, 10.32.2).

    t is the height, ``slope`` its derivative by the symbol in it. The integral of e^(k t) is
    (2 pi)^(K/2) k^(1 - K/2) I_(K/2 - 1)(k).
    """
    variable = next(iter(height.free_symbols))
    k = as_expr(sympy.simplify(sympy.diff(sympy.expand_log(sympy.log(ring), force=True), variable) / slope))
    c = as_expr(sympy.simplify(sympy.powsimp(ring * sympy.exp(-k * height))))
    if (k.free_symbols | c.free_symbols) & {variable} or not k.is_positive:
        raise NotImplementedError("no exponential of the height")
    return sympy.simplify(c * (2 * sympy.pi) ** (size / 2) * k ** (1 - size / 2) * sympy.besseli(size / 2 - 1, k))


def telescope(density: Expr, symbols: Words, last: Expr) -> Expr:
    """Return 1, the sum over any number of levels of a density whose bins are the differences of one function at their ends.

    The levels are evenly spread, from 0 to ``last``; the first and the last bin reach to infinity. Raises NotImplementedError
    for another density.
    """
    x, levels = symbols.xs[0], symbols.noise["levels"]
    middle = dict.fromkeys(density.free_symbols - {x, levels}, sympy.Rational(1, 3))
    bins = branches(density)

    def bin_of(way: int) -> int:
        """Return the index of the piece that holds at an end, of five levels."""
        return [condition.subs({**middle, x: way * last}).subs(levels, 5) for _, condition in bins].index(sympy.true)

    if not isinstance(density, sympy.Piecewise):
        raise NotImplementedError("no pieces")
    low, high = bin_of(0), bin_of(1)
    below = bins[low][0]
    less = substitute(below, {x: x - last / (levels - 1)})
    inner = [piece for i, (piece, _) in enumerate(bins) if i not in (low, high)]
    good = all(equal(piece, below - less) for piece in inner) and equal(bins[high][0], 1 - less)
    if not good or not inner:
        raise NotImplementedError("it does not telescope")
    return sympy.Integer(1)


def equal(left: Expr, right: Expr) -> bool:
    """Return whether two expressions in exponentials and error functions are equal."""
    difference = replace(
        left - right,
        lambda part: isinstance(part, (*ODD, sympy.exp, sympy.erfc)),
        lambda part: part.func(sympy.cancel(part.args[0])),
    )
    if sympy.expand(difference.rewrite(sympy.erf)) == 0:
        return True
    numerator = sympy.numer(sympy.together(left - right))
    return bool(sympy.simplify(sympy.powsimp(sympy.expand(sympy.expand(numerator), power_exp=True))) == 0)
