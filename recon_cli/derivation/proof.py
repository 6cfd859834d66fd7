"""The proof: slope, offset and gap from a density and a loss, both given as text.

Differentiating by x *and* mu kills whatever depends on one of them alone, so

    slope = (d2 nll/dx dmu) / (d2 loss/dx dmu),

and offset and gap are what is left. Nothing here is taken from the likelihood's own claim.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import NamedTuple

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.algebra import as_expr, branches, replace, substitute
from recon_cli.derivation.deadlines import attempt
from recon_cli.derivation.points import settings, values_at
from recon_cli.derivation.words import AWAY, Odds, Words, halves, loss_of, same, words
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss


@dataclass(frozen=True)
class Printed:
    """The identity as it is printed: of vectors, for any number of components; of numbers, as it was proved."""

    nll: Expr
    loss: Expr
    offset: Expr


class Decomposition(NamedTuple):
    """The parts of -log density = slope * loss + offset + gap, and how the slope was derived."""

    slope: Expr
    offset: Expr
    gap: Expr
    way: str


@dataclass(frozen=True)
class Proof:
    """-log density = slope * loss + offset + gap, as sympy expressions in the symbols of ``words``.

    odds
        the change of variable under which it was derived.
    printed
        the identity as it is printed.
    way
        how the slope was derived: "nll", "sides", "mixed", "pieces" or "claim".
    """

    words: Words
    density: Expr
    loss: Expr
    nll: Expr
    slope: Expr
    offset: Expr
    gap: Expr
    odds: Odds
    printed: Printed
    way: str

    @property
    def any_size(self) -> bool:
        """Whether the identity of vectors is derived for any number of components."""
        means = [part for part in self.printed.offset.atoms(sympy.Indexed) if str(part.base) != "x"]
        return not means and not self.printed.offset.free_symbols & {*self.words.xs, *self.words.mus}

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood with symbols for its noise."""
        return self.words.likelihood

    @property
    def x(self) -> Symbol:
        """The data; of a vector, the first component."""
        return self.words.xs[0]

    @property
    def mu(self) -> Symbol:
        """The mean; of a vector, the first component."""
        return self.words.mus[0]

    @property
    def noise(self) -> dict[str, Symbol]:
        """The symbols by name of the parameters that the density depends on."""
        own = self.density.free_symbols
        return {name: symbol for name, symbol in self.words.noise.items() if symbol in own}

    def undoes(self, nll: Expr) -> bool:
        """Return whether ``nll`` is -log density: the logarithm of e^nll times the density is zero."""
        own = logarithm(self.odds.enter(self.density)) + self.odds.enter(nll)
        return level(own, self.x, self.odds.symbol) == 0 or vanishes(own)

    @property
    def exact(self) -> bool:
        """Whether the loss is the likelihood's, with nothing left that depends on mu."""
        return self.gap == 0 and self.constant

    @property
    def constant(self) -> bool:
        """Whether the slope depends on neither x nor mu."""
        return not self.slope.free_symbols & {*self.words.xs, *self.words.mus}

    @property
    def holds(self) -> bool:
        """Whether slope, offset and gap give back the density and each depends only on what it may."""
        return self.whole and self.constant and self.alone

    @functools.cached_property
    def whole(self) -> bool:
        """Whether slope * loss + offset + gap is -log of the density."""
        return self.undoes(self.nll)

    @property
    def alone(self) -> bool:
        """Whether the offset is free of mu and the gap of x."""
        return not self.offset.free_symbols & {*self.words.mus} and not self.gap.free_symbols & {*self.words.xs}


def prove(likelihood: type[Likelihood], loss: Loss | None = None, size: int | None = None) -> Proof:
    """Derive slope, offset and gap of ``loss`` (by default the likelihood's own); of so many components, where there are some.

    If sympy cannot separate them, the slope that the likelihood's code claims is used, and the rest is the offset.
    """
    symbols = words(likelihood, size)
    loss = loss or loss_of(symbols.likelihood)
    density, cost = symbols.read(symbols.likelihood.density), symbols.read(loss.formula, loss)
    odds = Odds(symbols.mus[0], symbols.likelihood.domain)
    parts = attempt(lambda: separated(symbols, density, cost, odds))
    if parts is None or is_mixed(symbols, parts):
        parts = attempt(lambda: separated_at_claim(symbols, density, cost)) or parts or at_claim(symbols, density, cost)
    slope, offset, gap, way = parts
    gap = (
        sympy.Integer(0) if gap != 0 and vanishes_at_points(symbols, gap) else gap
    )  # if that loses something, ``whole`` shows it
    nll = slope * cost + offset + gap
    printed = Printed(nll, cost, offset)
    if symbols.likelihood.event:
        printed = attempt(lambda: for_any_size(symbols, symbols.likelihood.density, loss, slope)) or printed
    return Proof(symbols, density, cost, nll, slope, offset, gap, odds, printed, way)


def vanishes_at_points(symbols: Words, gap: Expr) -> bool:
    """Return whether a gap that sympy cannot simplify is zero at random points."""
    if symbols.likelihood.event:
        return False
    points = (
        values_at(symbols, setting, event)
        for setting in settings(type(symbols.likelihood), 3)
        for event in range(len(setting.xs))
    )
    values = [value for point in points if (value := as_expr(gap.xreplace(point)).evalf(20)).is_finite]
    return bool(values) and all(value.is_number and abs(value) < 1e-12 for value in values)


def separated(symbols: Words, density: Expr, cost: Expr, odds: Odds) -> Decomposition:
    """Derive slope, offset and gap from derivatives."""
    inner, price = logarithm(odds.enter(density)), odds.enter(cost)
    x, mus = symbols.xs[0], (odds.symbol, *symbols.mus[1:])
    own = logarithm(density) + cost
    if sympy.expand(own) == 0 or (isinstance(density, sympy.Piecewise) and vanishes(own)):
        return Decomposition(sympy.Integer(1), sympy.Integer(0), sympy.Integer(0), "nll")
    if density.has(sympy.Eq):  # an atom has no derivative by x
        return by_piece(symbols, density, cost)
    slope, way = ratio(-inner, price, x, odds.symbol)
    constant, varying = level(inner + slope * price, x, odds.symbol).as_independent(*mus, as_Add=True)
    if varying != 0 and varying.has(x):  # terms in x that are together once there are no odds
        rest = sympy.expand(-logarithm(density) - odds.leave(slope) * cost)
        of_x, of_mu = rest.as_independent(x, as_Add=True)[::-1]
        return Decomposition(odds.leave(slope), tidy(of_x), of_mu, way)
    gap = varying if varying == 0 else -sympy.log(odds.leave(sympy.simplify(sympy.exp(varying))))
    return Decomposition(odds.leave(slope), tidy(-constant), gap, way)


def by_piece(symbols: Words, density: Expr, cost: Expr) -> Decomposition:
    """Derive the slope beside the atom, and the offset of each piece: of a value with a chance of its own too.

    Raises NotImplementedError where the loss has other pieces than the density.
    """
    mu, pieces, prices = symbols.mus[0], branches(density), branches(cost)
    if len(prices) > 1 and [where for _, where in prices] != [where for _, where in pieces]:
        raise NotImplementedError("a loss of other pieces than the density's")
    costs = [price for price, _ in prices] if len(prices) > 1 else [cost] * len(pieces)
    logs = [logarithm(piece) for piece, _ in pieces]
    slope = as_expr(sympy.simplify(-sympy.diff(logs[-1], mu) / sympy.diff(costs[-1], mu)))
    offsets = []
    for log, price, (_, where) in zip(logs, costs, pieces, strict=True):
        rest = as_expr(sympy.expand(there(-log - slope * price, where)))
        offsets.append((sympy.simplify(rest) if rest.has(mu) else rest, where))
    return Decomposition(slope, as_expr(sympy.Piecewise(*offsets)), sympy.Integer(0), "pieces")


def there(expression: Expr, where: object) -> Expr:
    """Return an expression where a symbol has the one value that a condition leaves it: a positive power of 0 is 0."""
    if not isinstance(where, sympy.Eq):
        return expression
    placed = substitute(expression, {where.lhs: where.rhs})
    return replace(placed, lambda part: part.is_Pow and part.base == 0 and part.exp != -1, lambda _: sympy.Integer(0))


def logarithm(density: Expr) -> Expr:
    """Return the logarithm of a positive expression, expanded."""
    return sympy.expand_log(sympy.log(density), force=True)


def is_mixed(symbols: Words, parts: Decomposition) -> bool:
    """Return whether slope, offset or gap is undefined or depends on what it may not."""
    slope, offset, gap, _ = parts
    xs, mus = {*symbols.xs}, {*symbols.mus}
    odd = any(part.has(sympy.nan, sympy.zoo, sympy.oo, sympy.Derivative, sympy.I) for part in (slope, offset, gap))
    return bool(odd or slope.free_symbols & (xs | mus) or offset.free_symbols & mus or gap.free_symbols & xs)


def at_claim(symbols: Words, density: Expr, cost: Expr) -> Decomposition:
    """Return the slope that the likelihood's code claims, and as offset all of -log density that it leaves."""
    slope = attempt(lambda: sympy.nsimplify(sympy.sympify(symbols.likelihood.slope)), 1) or sympy.Integer(1)
    rest = sympy.expand(sympy.expand_log(-sympy.log(density), force=True) - slope * cost)
    return Decomposition(slope, rest, sympy.Integer(0), "claim")


def separated_at_claim(symbols: Words, density: Expr, cost: Expr) -> Decomposition:
    """Return the slope that the likelihood's code claims, offset and gap separated by their values at one mu."""
    slope, rest, gap, way = at_claim(symbols, density, cost)
    rest = sympy.simplify(rest)
    if not rest.free_symbols & {*symbols.mus}:
        return Decomposition(slope, rest, gap, way)
    place: dict[Symbol, Expr] = {}
    for mu in symbols.mus:
        bounded = Odds(mu, symbols.likelihood.domain).bounded
        place[mu] = symbols.likelihood.domain.high / sympy.Integer(2) if bounded else sympy.Integer(1 if mu.is_positive else 0)
    offset = sympy.simplify(substitute(rest, place))
    return Decomposition(slope, offset, sympy.simplify(rest - offset), way)


def for_any_size(symbols: Words, density: str, loss: Loss, slope: Expr) -> Printed:
    """Return the identity for vectors of any number of components, if the offset has no component of x or mu."""
    cost = symbols.general(loss.formula, loss)
    remainder = in_sums(symbols.general(density)) * sympy.exp(slope * cost)
    offset = replace(tidy(sympy.expand(sympy.expand_log(-sympy.log(remainder), force=True))), sympy.Sum, signed_sum)
    return Printed(slope * cost + offset, cost, offset)


def signed_sum(function: Expr, *limits: object) -> Expr:
    """Return a sum, the sign of its terms before it."""
    if function.could_extract_minus_sign():
        return as_expr(sympy.Mul(-1, as_expr(sympy.Sum(-function, *limits))))
    return as_expr(sympy.Sum(function, *limits))


def in_sums(expression: Expr) -> Expr:
    """Rewrite products as exponentials of sums of logarithms."""

    def summed(function: Expr, *limits: object) -> Expr:
        return sympy.exp(sympy.Sum(sympy.expand_log(sympy.log(function), force=True), *limits))

    return replace(expression, sympy.Product, summed)


@functools.lru_cache(256)
def vanishes(expression: Expr) -> bool:
    """Return whether an expression is zero on each of its pieces."""
    folded = as_expr(sympy.piecewise_fold(expression))
    return all(same(sympy.expand_log(there(piece, where), force=True), 0) for piece, where in branches(folded))


@functools.lru_cache(256)
def ratio(nll: Expr, cost: Expr, x: Symbol, mu: Symbol) -> tuple[Expr, str]:
    """Return the slope and the derivatives of which it is the ratio: by mu ("sides") if that is constant, else by x and mu.

    The ratio of the derivatives by mu is constant where there is no gap.
    """
    by_mu = [sympy.diff(part, mu) for part in (nll, cost)]
    if x.is_nonnegative is None:
        slopes = {reduced(half, x, mu) for half in halves(by_mu[0] / by_mu[1], x, mu)}
        if len(slopes) == 1 and not (slope := slopes.pop()).free_symbols & {x, mu, AWAY}:
            return slope, "sides"
    return reduced(sympy.diff(by_mu[0], x) / sympy.diff(by_mu[1], x), x, mu), "mixed"


def reduced(quotient: Expr, x: Symbol, mu: Symbol) -> Expr:
    """Simplify a quotient: by cancelling, if that leaves it constant."""
    cancelled = quotient if isinstance(quotient, sympy.Piecewise) else as_expr(sympy.cancel(quotient))
    return as_expr(sympy.simplify(quotient) if cancelled.free_symbols & {x, mu, AWAY} else sympy.factor(cancelled))


@functools.lru_cache(256)
def level(expression: Expr, x: Symbol, mu: Symbol) -> Expr:
    """Expand a sum so that its terms cancel; on the real line on either side of mu, if that leaves neither x nor mu."""
    expanded = sympy.expand(expression)
    if expanded.has(x) and x.is_nonnegative is None:
        both = {sympy.expand(sympy.expand_log(half, force=True)) for half in halves(expression, x, mu)}
        if len(both) > 1 or next(iter(both)).free_symbols & {x, AWAY}:
            both = {sympy.expand(sympy.expand_log(sympy.simplify(half), force=True)) for half in both}
        if len(both) == 1 and not (one := both.pop()).free_symbols & {x, AWAY}:
            return one
    return expanded


def tidy(expression: Expr) -> Expr:
    """Write log(2 pi) as one logarithm, as people do."""
    of_two, of_pi = (expression.coeff(sympy.log(number)) for number in (2, sympy.pi))
    if of_two != of_pi:
        return expression
    return sympy.expand(substitute(expression, {sympy.log(sympy.pi): sympy.log(2 * sympy.pi) - sympy.log(2)}), log=False)


def agree(left: Expr, right: Expr, x: Symbol, mu: Symbol) -> bool:
    """Return whether two expressions are equal; on the real line, on either side of mu."""
    if left == right:
        return True
    sides = halves(left - right, x, mu) if x.is_nonnegative is None else [left - right]
    return all(same(side, 0) for side in sides)
