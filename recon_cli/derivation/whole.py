"""The whole of a density: what it adds up to over where the data may lie, and whether it is negative nowhere."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.words import AWAY, Odds, Words, halves, same
from recon_cli.identity.regions import SHARE, Circle, Lattice, Simplex, Sphere

ODD = (sympy.erf, sympy.tanh, sympy.atan, sympy.sinh)
BENT = (sympy.Abs, sympy.sign, sympy.Max, sympy.Min, sympy.Heaviside, sympy.Piecewise)
RISING = (sympy.exp, sympy.log, *ODD)


def total(density: Expr, known: Words, odds: Odds, general: Expr | None = None) -> Expr:
    """The density added up over the support, in symbols.

    A line is split at mu, where densities bend. ``general`` is a density of vectors of any number of components.
    """
    support, x, mu = known.side.support, known.xs[0], known.mus[0]
    density = density.subs(shares(known))
    if isinstance(support, Simplex):
        return classes(density, known, general)
    if isinstance(support, Sphere):
        return directions(density, known, general)
    if isinstance(support, Lattice):
        return telescope(density, known)
    if isinstance(support, Circle):
        turned = sympy.expand_trig(density.subs(x, mu + AWAY)) if density.has(sympy.sin) else density.subs(x, mu + AWAY)
        return bessel(turned, sympy.cos(AWAY), -sympy.sin(AWAY), sympy.Integer(2))
    if support.whole:
        return odds.leave(summed(odds.enter(density), x, exactly(support.low), exactly(support.high)))
    if support.low == -math.inf and support.high == math.inf:
        return line(density, x, mu)
    return odds.leave(between(odds.enter(density), x, exactly(support.low), exactly(support.high), odds.symbol))


def exactly(end: Any) -> Any:
    """An end of a region as sympy's."""
    if isinstance(end, float) and math.isinf(end):
        return sympy.oo if end > 0 else -sympy.oo
    return sympy.Rational(end) if isinstance(end, (int, float)) else end


def far(expression: Expr, symbol: Symbol, end: Expr) -> Expr:
    """The limit of an expression: its value there, where that is one."""
    found = expression.subs(symbol, end)
    return sympy.limit(expression, symbol, end) if found.has(sympy.nan, sympy.zoo, sympy.AccumBounds) else found


def shares(known: Words) -> dict[Any, Any]:
    """A share q among the noise as 1/(1 + k), k > 0."""
    fields = [field.name for field in dataclasses.fields(known.side) if field.metadata["domain"] == SHARE]
    return {known.noise[name]: 1 / (1 + Symbol(f"k_{name}", positive=True)) for name in fields}


@functools.lru_cache(256)
def summed(density: Expr, x: Symbol, low: Any, high: Any) -> Expr:
    """A sum over whole numbers, where sympy says on what condition it converges as if that held.

    Where each term is q (x + a)/(x + 1) times the one before, from x = 0, by the binomial series: (1 - q)^-a times the first.
    """
    ratio = sympy.gammasimp((density.subs(x, x + 1) / density).rewrite(sympy.gamma))
    grown = sympy.Poly(sympy.simplify(sympy.powsimp(ratio)) * (x + 1), x) if low == 0 else None
    if grown is not None and grown.degree() <= 1:
        q, rest = grown.coeff_monomial(x), grown.coeff_monomial(1)
        first = density.subs(x, 0)
        if q == 0 and high == sympy.oo:
            return sympy.simplify(first * sympy.exp(rest))
        if q != 0 and (high == sympy.oo or same(high, -rest / q)):
            return sympy.simplify(sympy.powsimp(first * sympy.together(1 - q) ** -sympy.cancel(rest / q)))
    return opened(sympy.simplify(sympy.summation(density, (x, low, high))))


@functools.lru_cache(256)
def line(density: Expr, x: Symbol, mu: Symbol) -> Expr:
    """An integral over the real line: of exponentials as one of powers, of anything else both sides of mu apart."""
    if not density.has(*BENT) and (found := exponentials(density, x, mu)) is not None:
        return plain(found)
    return plain(sum(beyond(half) for half in halves(density, x, mu)))


@functools.lru_cache(256)
def between(density: Expr, x: Symbol, low: Expr, high: Expr, mu: Symbol) -> Expr:
    """An integral from ``low`` to ``high``; from zero up, of a density of log x, both sides of its mean apart."""
    found = mellin(density, x, low, high)
    if found is None and low == 0 and high == sympy.oo and density.has(sympy.log(x)):
        middle = sympy.log(mu) if mu.is_positive else mu
        sides = [mellin(density.subs(sympy.log(x), middle + way * AWAY).subs(x, sympy.exp(middle + way * AWAY))
                        * sympy.exp(middle + way * AWAY), AWAY, sympy.Integer(0), sympy.oo) for way in (1, -1)]  # fmt: skip
        found = None if None in sides else sum(sides)
    return plain(sympy.integrate(density, (x, low, high)) if found is None else found)


def plain(found: Expr) -> Expr:
    """A value of an integral made simple: by what is quick, where that makes it a number."""
    found = opened(found)
    try:
        quick = sympy.cancel(found)
        quick = quick if quick.is_number else sympy.cancel(sympy.gammasimp(sympy.powsimp(quick)))
    except sympy.PolynomialError:  # it has pieces
        quick = found
    if all(part.args[0].is_Symbol for part in quick.atoms(sympy.Function)) and all(
        part.exp.is_Integer for part in quick.atoms(sympy.Pow)
    ):  # of nothing that another form may hide
        return quick
    return opened(sympy.simplify(sympy.together(found).rewrite(sympy.erf)))


@functools.lru_cache(256)
def beyond(half: Expr) -> Expr:
    """The integral of a function of t > 0, piece by piece."""
    pieces, low, whole = half.args if isinstance(half, sympy.Piecewise) else [(half, sympy.true)], sympy.Integer(0), []
    for piece, where in pieces:
        high = where.gts if isinstance(where, (sympy.LessThan, sympy.StrictLessThan)) and where.lts == AWAY else sympy.oo
        if not (high - low).is_extended_positive or (high == sympy.oo and where != sympy.true):
            return sympy.integrate(sympy.simplify(half), (AWAY, 0, sympy.oo))
        found = mellin(piece, AWAY, low, high)
        whole.append(sympy.integrate(sympy.simplify(piece), (AWAY, low, high)) if found is None else found)
        low = high
    return sum(whole)


def exponentials(density: Expr, x: Symbol, mu: Symbol) -> Expr | None:
    """The integral over the real line of what is made of e^(k (x - mu)) alone, as one over u = e^(k (x - mu)) > 0."""
    away, u = Symbol("t", real=True), Symbol("u", positive=True)
    moved = density.subs(x, mu + away).rewrite(sympy.exp)
    slopes = {sympy.diff(part.args[0], away) for part in moved.atoms(sympy.exp)}
    rates = [way * slope for slope in slopes for way in (1, -1) if not slope.has(away) and (way * slope).is_positive]
    if not rates:
        return None
    k = min(rates, key=sympy.default_sort_key)
    return mellin(moved.subs(away, sympy.log(u) / k) / (k * u), u, sympy.Integer(0), sympy.oo)


def mellin(density: Expr, t: Symbol, low: Expr, high: Expr) -> Expr | None:
    """The integral of c t^a e^(-k t^n), or of c t^a (p + q t^n)^-b from 0 up, over t >= 0; None of anything else.

    Differences of incomplete gamma functions (DLMF 8.2.2), and the beta function (DLMF 5.12.3).
    """
    own = sympy.expand(sympy.expand_log(sympy.log(sympy.together(density)), force=True))
    constant, rest = own.as_independent(t, as_Add=True)
    a, c = sympy.expand(rest.coeff(sympy.log(t))), sympy.exp(constant)
    terms, factors = sympy.Add.make_args(sympy.expand(rest - a * sympy.log(t))), dict[Expr, Expr]()
    for factor, part in (term.as_independent(t, as_Add=False) for term in terms):
        factors[part] = factors.get(part, sympy.Integer(0)) + factor
    (part, factor), *more = factors.items()
    if more or a.has(t) or constant.has(sympy.nan, sympy.zoo, sympy.I):
        return None
    if isinstance(part, sympy.log):
        return beta(constant, a, -factor, part.args[0], t) if (low, high) == (0, sympy.oo) else None
    k, (base, n) = sympy.factor(-factor), part.as_base_exp()
    if k == 0 and (a + 1).is_positive and high != sympy.oo:
        return c * (high ** (a + 1) - low ** (a + 1)) / (a + 1)
    if base != t or n.has(t):
        return None
    if high == sympy.oo and n.is_positive and k.is_negative and c.is_positive:
        return sympy.oo
    if n == 1 and a == 0 and high != sympy.oo:
        return c * (sympy.exp(-k * low) - sympy.exp(-k * high)) / k
    s = sympy.cancel((a + 1) / n)
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
    """e to a logarithm, its terms put together first."""
    return sympy.exp(sympy.expand(sympy.expand_log(logarithm, force=True)))


def beta(constant: Expr, a: Expr, b: Expr, bend: Expr, t: Symbol) -> Expr | None:
    """The integral over t > 0 of e^constant t^a bend^-b, the bend being p + q t^n."""
    p, rest = bend.as_independent(t, as_Add=True)
    q, power = rest.as_independent(t, as_Add=False)
    base, n = power.as_base_exp()
    s = sympy.cancel((a + 1) / n)
    if base != t or n.has(t) or not all(part.is_positive for part in (p, q, n, s, sympy.cancel(b - s))):
        return None
    over = at_once(constant + (s - b) * sympy.log(p) - s * sympy.log(q)) / n
    return over * sympy.gamma(sympy.expand(s)) * sympy.gamma(sympy.expand(b - s)) / sympy.gamma(sympy.expand(b))


def opened(found: Expr) -> Expr:
    """What sympy finds on a condition, but for single points or where it converges: numbers will tell."""
    while isinstance(found, sympy.Piecewise):
        found = found.args[0].expr
    return found


def classes(density: Expr, known: Words, general: Expr | None) -> Expr:
    """Over one-hot vectors: of a product over the components for any number of them, else of so many as there are."""
    if isinstance(general, sympy.Product):
        (k, *_), factor = general.limits[0], general.function
        x, mu = (sympy.IndexedBase(name)[k] for name in ("x", "mu"))
        if same(factor.subs(x, 0), 1) and same(factor.subs(x, 1), mu):
            return sympy.Integer(1)  # p of a class is its share, and the shares add up to one
    points = [dict(zip(known.xs, row, strict=True)) for row in sympy.eye(len(known.xs)).tolist()]
    added = sum(density.subs(point) for point in points)
    return sympy.simplify(added.subs(known.mus[-1], 1 - sum(known.mus[:-1])))


def directions(density: Expr, known: Words, general: Expr | None) -> Expr:
    """Over the unit sphere, of any number of components: the density depends on the height t over mu alone, as e^(k t)."""
    height, size = Symbol("t", real=True), known.names["K"]
    along = sympy.Sum(
        sympy.IndexedBase("x")[known.names["k"]] * sympy.IndexedBase("mu")[known.names["k"]], (known.names["k"], 1, size)
    )
    if general is None or (ring := general.subs(along, height)).has(sympy.Indexed):
        raise NotImplementedError("a density that depends on more than the angle")
    return bessel(ring, height, sympy.Integer(1), size)


def bessel(ring: Expr, height: Expr, slope: Expr, size: Any) -> Expr:
    """c e^(k t) over the unit sphere, t the height (``slope`` its derivative), by Poisson's integral (DLMF 10.32.1, 10.32.2).

    The integral of e^(k t) is (2 pi)^(K/2) k^(1 - K/2) I_(K/2 - 1)(k).
    """
    at = next(iter(height.free_symbols))
    k = sympy.simplify(sympy.diff(sympy.expand_log(sympy.log(ring), force=True), at) / slope)
    c = sympy.simplify(sympy.powsimp(ring * sympy.exp(-k * height)))
    if (k.free_symbols | c.free_symbols) & {at} or not k.is_positive:
        raise NotImplementedError("no exponential of the height")
    return sympy.simplify(c * (2 * sympy.pi) ** (size / 2) * k ** (1 - size / 2) * sympy.besseli(size / 2 - 1, k))


def telescope(density: Expr, known: Words) -> Expr:
    """Over any number of levels: each bin is a difference of one function at its ends, and the first and the last its rest."""
    x, levels = known.xs[0], known.noise["levels"]
    middle = {symbol: sympy.Rational(1, 3) for symbol in density.free_symbols - {x, levels}}

    def at(place: Any) -> int:
        """Which piece holds there, of five levels."""
        checks = [where.subs({**middle, x: place, levels: 5}) if where != True else where for _, where in density.args]  # noqa: E712
        return checks.index(True)

    if not isinstance(density, sympy.Piecewise):
        raise NotImplementedError("no pieces")
    low, high = at(0), at(1)
    below = density.args[low].expr
    less = below.subs(x, x - 1 / (levels - 1))
    inner = [piece for i, (piece, _) in enumerate(density.args) if i not in (low, high)]
    good = all(equal(piece, below - less) for piece in inner) and equal(density.args[high].expr, 1 - less)
    if not good or not inner:
        raise NotImplementedError("it does not telescope")
    return sympy.Integer(1)


def equal(left: Expr, right: Expr) -> bool:
    """Whether two expressions in exponentials and error functions are equal."""
    apart = (left - right).replace(lambda part: isinstance(part, (*ODD, sympy.exp, sympy.erfc)),
                                   lambda part: part.func(sympy.cancel(part.args[0])))  # fmt: skip
    apart = sympy.expand(apart.rewrite(sympy.erf))
    if apart == 0:
        return True
    whole = sympy.numer(sympy.together(left - right))
    return sympy.simplify(sympy.powsimp(sympy.expand(sympy.expand(whole), power_exp=True))) == 0


def positive(density: Expr, known: Words, odds: Odds) -> bool:
    """Whether the density is nowhere negative, from the signs of its factors."""
    support, x, more = known.side.support, known.xs[0], {}
    if isinstance(support, Lattice):
        more = {known.noise["levels"]: Symbol("n", positive=True) + 1}
    inner = odds.enter(density.subs(shares(known)).subs(more))
    if support.whole and not isinstance(support, Simplex):
        whole = Symbol("x", integer=True, nonnegative=True)
        inner = (
            inner.subs(support.high, x + Symbol("m", integer=True, nonnegative=True))
            if support.high in known.noise.values()
            else inner
        )
        inner = inner.subs(x, whole + exactly(support.low))
    elif x.is_nonnegative and not known.side.event:
        inner = inner.subs(x, Symbol("x", positive=True))  # at the end itself, a single point, there may be a pole
    return all(nowhere_negative(piece) for piece in pieces(inner))


def pieces(expression: Expr) -> list[Expr]:
    """The pieces of an expression, or itself."""
    return [piece for piece, _ in expression.args] if isinstance(expression, sympy.Piecewise) else [expression]


def nowhere_negative(expression: Expr) -> bool:
    """Whether an expression is: Bessel's I is positive, f(a) - f(b) has the sign of a - b where f rises."""
    expression = expression.replace(sympy.besseli, lambda order, at: Symbol("I", positive=True) if at.is_positive else order)
    if expression.is_nonnegative:
        return True
    factors = sympy.Mul.make_args(sympy.factor_terms(expression))
    signs = sympy.Mul(*(like(part) for part in factors))
    return bool(signs.is_nonnegative or sympy.factor(sympy.together(signs)).is_nonnegative)


def like(factor: Expr) -> Expr:
    """An expression of the same sign, free of what rises."""
    if factor.is_Pow and factor.exp.is_integer and factor.exp.is_odd:
        return like(factor.base) ** factor.exp
    if isinstance(factor, sympy.erfc):
        return sympy.Integer(1)
    if isinstance(factor, sympy.log):
        return factor.args[0] - 1
    if isinstance(factor, sympy.Piecewise):
        return sympy.Integer(1) if all(nowhere_negative(piece) for piece in pieces(factor)) else factor
    if factor.is_Add and len(factor.args) == 2:
        terms = [term.as_coeff_Mul() for term in sympy.Add.make_args(sympy.expand(factor.rewrite(sympy.erf)))]
        for kind in RISING:
            found = [(c, inverse(kind, f)) for c, f in terms]
            if len(found) == 2 and all(a is not None for _, a in found):
                (c, a), (d, b) = found
                if c == -d:
                    return c * (a - b)
                if c == d and kind in ODD:
                    return c * (a + b)
    return factor


def inverse(kind: Any, value: Expr) -> Expr | None:
    """The a of f(a); of exp, 0 for 1."""
    if isinstance(value, kind):
        return sympy.expand(value.args[0])
    return sympy.Integer(0) if kind is sympy.exp and value == 1 else None
