"""The proof: from a density and a loss, both as text, to slope, offset and gap.

Differentiating by x *and* mu kills whatever depends on one of them alone, so

    slope = (d2 nll/dx dmu) / (d2 loss/dx dmu),

and offset and gap are what is left. Nothing here is taken from the likelihood's own claim.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.limits import attempt
from recon_cli.derivation.points import of, settings
from recon_cli.derivation.words import AWAY, Odds, Words, halves, loss_of, same, words
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss


@dataclass(frozen=True)
class Shown:
    """The same of vectors of any length, as people read it; of numbers, as it was proved."""

    nll: Expr
    loss: Expr
    offset: Expr


@dataclass(frozen=True)
class Proof:
    """-log density = slope * loss + offset + gap, as sympy expressions in the words' symbols."""

    words: Words
    density: Expr
    loss: Expr
    nll: Expr
    slope: Expr
    offset: Expr
    gap: Expr
    odds: Odds
    shown: Shown
    way: str

    @property
    def any_size(self) -> bool:
        """Whether the identity of vectors was found for any number of components."""
        return not self.shown.offset.has(sympy.Indexed) and not self.shown.offset.free_symbols & {*self.words.xs, *self.words.mus}

    @property
    def side(self) -> Likelihood:
        """The likelihood with symbols for its noise."""
        return self.words.side

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
        """The parameters' symbols by name."""
        return self.words.noise

    def undoes(self, nll: Expr) -> bool:
        """Whether e^nll undoes the density: the logarithm of their product is zero."""
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
        """Whether slope, offset and gap put together give back the density, each of what it may depend on."""
        return self.whole and self.constant and self.alone

    @functools.cached_property
    def whole(self) -> bool:
        """Whether they give back the density."""
        return self.undoes(self.nll)

    @property
    def alone(self) -> bool:
        """Whether the offset is free of mu and the gap of x."""
        return not self.offset.free_symbols & {*self.words.mus} and not self.gap.free_symbols & {*self.words.xs}


def prove(likelihood: type[Likelihood], loss: Loss | None = None) -> Proof:
    """Derive slope, offset and gap of ``loss`` (the likelihood's own, if not given).

    Where sympy cannot take them apart, the slope that is claimed is tried, and what is left of it shown.
    """
    known = words(likelihood)
    loss = loss or loss_of(known.side)
    density, cost = known.read(likelihood.density), known.read(loss.formula, loss)
    odds = Odds(known.mus[0], known.side.domain)
    found = attempt(lambda: apart(known, density, cost, odds))
    if found is None or mixed(known, *found[:3]):
        found = attempt(lambda: claimed(known, density, cost)) or found or left(known, density, cost)
    slope, offset, gap, way = found
    gap = sympy.Integer(0) if gap != 0 and nothing(known, gap) else gap  # what is lost by that, the whole would show
    nll = slope * cost + offset + gap
    shown = Shown(nll, cost, offset)
    if known.side.event:
        shown = attempt(lambda: any_size(known, likelihood.density, loss, slope)) or shown
    return Proof(known, density, cost, nll, slope, offset, gap, odds, shown, way)


def nothing(known: Words, gap: Expr) -> bool:
    """Whether a gap that sympy leaves is zero wherever it is tried."""
    if known.side.event:
        return False
    points = (of(known, setting, event) for setting in settings(type(known.side), 3) for event in range(len(setting.xs)))
    values = [value for point in points if (value := gap.xreplace(point).evalf(20)).is_finite]
    return bool(values) and all(value.is_number and abs(value) < 1e-12 for value in values)


def apart(known: Words, density: Expr, cost: Expr, odds: Odds) -> tuple[Expr, Expr, Expr, str]:
    """Slope, offset and gap by derivatives, and which of them."""
    inner, price = logarithm(odds.enter(density)), odds.enter(cost)
    x, mus = known.xs[0], (odds.symbol, *known.mus[1:])
    own = logarithm(density) + cost
    if sympy.expand(own) == 0 or (isinstance(density, sympy.Piecewise) and vanishes(own)):
        return sympy.Integer(1), sympy.Integer(0), sympy.Integer(0), "nll"
    slope, way = ratio(-inner, price, x, odds.symbol)
    constant, varying = level(inner + slope * price, x, odds.symbol).as_independent(*mus, as_Add=True)
    gap = varying if varying == 0 else -sympy.log(odds.leave(sympy.simplify(sympy.exp(varying))))
    return odds.leave(slope), tidy(-constant), gap, way


def logarithm(density: Expr) -> Expr:
    """The logarithm of a positive expression, opened."""
    return sympy.expand_log(sympy.log(density), force=True)


def mixed(known: Words, slope: Expr, offset: Expr, gap: Expr) -> bool:
    """Whether the parts depend on what they may not."""
    xs, mus = {*known.xs}, {*known.mus}
    odd = any(part.has(sympy.nan, sympy.zoo, sympy.oo, sympy.Derivative, sympy.I) for part in (slope, offset, gap))
    return bool(odd or slope.free_symbols & (xs | mus) or offset.free_symbols & mus or gap.free_symbols & xs)


def left(known: Words, density: Expr, cost: Expr) -> tuple[Expr, Expr, Expr, str]:
    """What is left of -log density less the claimed slope times the loss, as it is."""
    slope = attempt(lambda: sympy.nsimplify(sympy.sympify(known.side.slope)), 1) or sympy.Integer(1)
    rest = sympy.expand(sympy.expand_log(-sympy.log(density), force=True) - slope * cost)
    return slope, rest, sympy.Integer(0), "claim"


def claimed(known: Words, density: Expr, cost: Expr) -> tuple[Expr, Expr, Expr, str]:
    """The same with what depends on mu apart from what does not."""
    slope, rest, gap, way = left(known, density, cost)
    rest = sympy.simplify(rest)
    if rest.free_symbols & {*known.mus}:
        place = {mu: 1 if mu.is_positive and not Odds(mu, known.side.domain).bounded else 0 for mu in known.mus}
        place = {
            mu: known.side.domain.high / sympy.Integer(2) if Odds(mu, known.side.domain).bounded else at
            for mu, at in place.items()
        }
        offset = sympy.simplify(rest.subs(place))
        rest, gap = offset, sympy.simplify(rest - offset)
    return slope, rest, gap, way


def any_size(known: Words, density: str, loss: Loss, slope: Expr) -> Shown:
    """The identity for vectors of any number of components. What is left has no component of x or mu, or it is none."""
    whole = known.general(loss.formula, loss)
    beside = in_sums(known.general(density)) * sympy.exp(slope * whole)
    rest = tidy(sympy.expand(sympy.expand_log(-sympy.log(beside), force=True)))
    return Shown(slope * whole + rest, whole, rest)


def in_sums(expression: Expr) -> Expr:
    """Products as exponentials of sums of logarithms."""

    def summed(part: Any) -> Expr:
        return sympy.exp(sympy.Sum(sympy.expand_log(sympy.log(part.function), force=True), *part.limits))

    return expression.replace(sympy.Product, lambda *args: summed(sympy.Product(*args)))


@functools.lru_cache(256)
def vanishes(expression: Expr) -> bool:
    """Whether an expression is zero on every piece of it."""
    folded = sympy.piecewise_fold(expression)
    pieces = [piece for piece, _ in folded.args] if isinstance(folded, sympy.Piecewise) else [folded]
    return all(same(sympy.expand_log(piece, force=True), 0) for piece in pieces)


@functools.lru_cache(256)
def ratio(nll: Expr, cost: Expr, x: Symbol, mu: Symbol) -> tuple[Expr, str]:
    """The slope: of the derivatives by mu where that is constant (no gap), else of those by x and mu; and of which."""
    by_mu = [sympy.diff(side, mu) for side in (nll, cost)]
    if x.is_nonnegative is None:
        plain = {reduced(half, x, mu) for half in halves(by_mu[0] / by_mu[1], x, mu)}
        if len(plain) == 1 and not (one := plain.pop()).free_symbols & {x, mu, AWAY}:
            return one, "sides"
    return reduced(sympy.diff(by_mu[0], x) / sympy.diff(by_mu[1], x), x, mu), "mixed"


def reduced(quotient: Expr, x: Symbol, mu: Symbol) -> Expr:
    """A quotient made simple: by what is quick, where that leaves it constant."""
    found = quotient if isinstance(quotient, sympy.Piecewise) else sympy.cancel(quotient)
    return sympy.simplify(quotient) if found.free_symbols & {x, mu, AWAY} else sympy.factor(found)


@functools.lru_cache(256)
def level(expression: Expr, x: Symbol, mu: Symbol) -> Expr:
    """A sum with what cancels cancelled; on a line, on both sides of mu, where that leaves neither x nor mu."""
    found = sympy.expand(expression)
    if found.has(x) and x.is_nonnegative is None:
        both = {sympy.expand(sympy.expand_log(half, force=True)) for half in halves(expression, x, mu)}
        if len(both) > 1 or next(iter(both)).free_symbols & {x, AWAY}:
            both = {sympy.expand(sympy.expand_log(sympy.simplify(half), force=True)) for half in both}
        if len(both) == 1 and not (one := both.pop()).free_symbols & {x, AWAY}:
            return one
    return found


def tidy(expression: Expr) -> Expr:
    """Constants as people write them: log(2 pi) whole."""
    of_two, of_pi = (expression.coeff(sympy.log(number)) for number in (2, sympy.pi))
    if of_two != of_pi:
        return expression
    return sympy.expand(expression.subs(sympy.log(sympy.pi), sympy.log(2 * sympy.pi) - sympy.log(2)), log=False)


def agree(left: Expr, right: Expr, x: Symbol, mu: Expr) -> bool:
    """Whether two expressions are equal; on a line, on both sides of mu."""
    if left == right:
        return True
    sides = halves(left - right, x, mu) if x.is_nonnegative is None else [left - right]
    return all(same(side, 0) for side in sides)
