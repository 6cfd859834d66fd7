"""The proof: from a density and a loss, both as text, to slope, offset and gap.

Differentiating by x *and* mu kills whatever depends on one of them alone, so

    slope = (d2 nll/dx dmu) / (d2 loss/dx dmu),

and offset and gap are what is left. Nothing here is taken from the likelihood's own claim.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Symbol

from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss
from recon_cli.regions import Interval


@dataclass(frozen=True)
class Proof:
    """-log density = slope * loss + offset + gap, as sympy expressions in ``x``, ``mu`` and the noise.

    side is the likelihood with symbols for its noise.
    """

    side: Likelihood
    x: Symbol
    mu: Symbol
    noise: dict[str, Symbol]
    density: Expr
    loss: Expr
    nll: Expr
    slope: Expr
    offset: Expr
    gap: Expr
    odds: Odds

    def undoes(self, nll: Expr) -> bool:
        """Whether e^nll undoes the density: their product is one."""
        whole = self.odds.enter(self.density) * sympy.exp(sympy.expand(self.odds.enter(nll)))
        return same(opened(whole, self.x, self.odds.symbol), 1)

    @property
    def exact(self) -> bool:
        """Whether the loss is the likelihood's, with nothing left that depends on mu."""
        return self.gap == 0 and not self.slope.free_symbols & {self.x, self.mu}

    @property
    def holds(self) -> bool:
        """Whether slope, offset and gap put together give back the density."""
        return self.undoes(self.nll) and not self.slope.free_symbols & {self.x, self.mu}


def prove(likelihood: type[Likelihood], loss: Loss | None = None) -> Proof:
    """Derive slope, offset and gap of ``loss`` (the likelihood's own, if not given)."""
    x, mu = symbol("x", likelihood.support), symbol("mu", likelihood.domain)
    noise = {field.name: symbol(field.name, field.metadata["domain"]) for field in dataclasses.fields(likelihood)}
    names = {"x": x, "mu": mu, **noise}
    density = sympy.sympify(likelihood.density, locals=names)
    side = likelihood(**noise)  # type: ignore[arg-type]
    loss = loss or side.loss
    own = {name: sympy.nsimplify(value) for name, value in loss.parameters.items()}
    cost = sympy.sympify(loss.formula, locals={**names, **own})
    odds = Odds(mu, likelihood.domain)
    inner, price = odds.enter(density), odds.enter(cost)
    slope = ratio(-sympy.log(inner), price, x, odds.symbol)
    rest = opened(inner * sympy.exp(sympy.expand(slope * price)), x, odds.symbol)
    constant, varying = rest.as_independent(odds.symbol, as_Add=False)
    offset = tidy(sympy.expand_log(-sympy.log(constant), force=True))
    gap = -sympy.log(odds.leave(varying))
    slope = odds.leave(slope)
    nll = slope * cost + offset + gap
    return Proof(side, x, mu, noise, density, cost, nll, slope, offset, gap, odds)


def ratio(nll: Expr, cost: Expr, x: Symbol, mu: Symbol) -> Expr:
    """The slope: of the derivatives by mu where that is constant (no gap), else of those by x and mu."""
    by_mu = [sympy.diff(side, mu) for side in (nll, cost)]
    if x.is_nonnegative is None:
        plain = {sympy.simplify(half) for half in halves(by_mu[0] / by_mu[1], x, mu)}
        if len(plain) == 1 and not (one := plain.pop()).free_symbols & {x, mu, AWAY}:
            return one
    return sympy.simplify(sympy.diff(by_mu[0], x) / sympy.diff(by_mu[1], x))


AWAY = Symbol("t", positive=True)


def halves(expression: Expr, x: Symbol, mu: Symbol) -> list[Expr]:
    """An expression at x = mu + t and at x = mu - t, t > 0, where every |x - mu| opens."""
    return [sympy.piecewise_fold(expression.subs(x, mu + sign * AWAY).doit()) for sign in (1, -1)]


def opened(expression: Expr, x: Symbol, mu: Symbol) -> Expr:
    """A product of powers and exponentials with what cancels cancelled; on a line, on both sides of mu."""
    found = sympy.powsimp(expression)
    if found.has(x) and x.is_nonnegative is None:
        both = {sympy.simplify(sympy.powsimp(half, force=True)) for half in halves(expression, x, mu)}
        if len(both) == 1 and not (one := both.pop()).free_symbols & {x, AWAY}:
            return one
    return sympy.simplify(found) if found.has(x) else found


@dataclass(frozen=True)
class Odds:
    """A mean in (0, 1) as t/(1 + t) with odds t > 0, where logarithms and powers open; any other as it is."""

    mu: Symbol
    domain: Interval

    @property
    def symbol(self) -> Symbol:
        """What stands for mu inside."""
        return Symbol("t", positive=True) if self.bounded else self.mu

    @property
    def bounded(self) -> bool:
        """Whether mu is a share."""
        return (self.domain.low, self.domain.high) == (0, 1)

    def enter(self, expression: Expr) -> Expr:
        """An expression in mu as one in t, its logarithms and powers opened."""
        if not self.bounded:
            return expression
        inside = expression.subs(self.mu, self.symbol / (1 + self.symbol))
        inside = inside.replace(
            lambda part: part.is_Function or part.is_Pow or part.is_Add,
            lambda part: part.func(*(sympy.cancel(argument) for argument in part.args)),
        )
        return sympy.powsimp(sympy.expand_power_base(sympy.expand_log(inside, force=True), force=True))

    def leave(self, expression: Expr) -> Expr:
        """And back."""
        if not self.bounded:
            return expression
        odds, logit = self.mu / (1 - self.mu), sympy.Dummy("logit")
        opened = sympy.expand_log(expression, force=True).subs(sympy.log(self.symbol), logit)
        return sympy.factor(sympy.cancel(opened.subs(self.symbol, odds))).subs(logit, sympy.log(odds))


def symbol(name: str, lies: Interval) -> Symbol:
    """A symbol that knows its sign."""
    if lies.low >= 0:
        return Symbol(name, nonnegative=True) if name == "x" else Symbol(name, positive=True)
    return Symbol(name, real=True)


def tidy(expression: Expr) -> Expr:
    """Constants as people write them: log(2 pi) whole."""
    return expression.subs(sympy.log(sympy.pi), sympy.log(2 * sympy.pi) - sympy.log(2))


def total(density: Expr, x: Symbol, odds: Odds, support: Interval) -> Expr:
    """The density added up over the support: 1 if it is one. A line is split at mu, where densities bend."""
    if support.whole:
        last = int(support.high) if math.isfinite(support.high) else sympy.oo
        return sympy.simplify(sympy.summation(density, (x, int(support.low), last)))
    if support.low == -math.inf:
        sides = (sympy.simplify(half) for half in halves(density, x, odds.mu))
        added = sympy.simplify(sum(sympy.integrate(side, (AWAY, 0, sympy.oo)) for side in sides))
        while isinstance(added, sympy.Piecewise) and isinstance(added.args[0].cond, sympy.Ne):
            added = added.args[0].expr  # but for single points, where sympy divides by zero
        return added
    found = sympy.integrate(odds.enter(density), (x, sympy.Rational(support.low), sympy.Rational(support.high)))
    while isinstance(found, sympy.Piecewise):
        found = found.args[0].expr
    return odds.leave(sympy.simplify(found))


def agree(left: Expr, right: Expr, x: Symbol, mu: Expr) -> bool:
    """Whether two expressions are equal; on a line, on both sides of mu."""
    sides = halves(left - right, x, mu) if x.is_nonnegative is None else [left - right]
    return all(same(side, 0) for side in sides)


def same(left: Any, right: Any) -> bool:
    """Whether two expressions are equal."""
    return sympy.simplify(left - right) == 0
