"""Whether a density is nowhere negative, in symbols."""

from __future__ import annotations

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation.algebra import branches, replace, substitute
from recon_cli.derivation.normalisation import WRIGHT, components, exactly, odds_of_shares, over_odds
from recon_cli.derivation.words import Odds, Words
from recon_cli.identity.regions import CountVector, Lattice, Simplex
from recon_cli.identity.vectors import RealVector

ODD = (sympy.erf, sympy.tanh, sympy.atan, sympy.sinh)
RISING = (sympy.exp, sympy.log, *ODD)


def positive(density: Expr, symbols: Words, odds: Odds) -> bool:
    """Return whether the density is nowhere negative, as far as the signs of its factors tell."""
    support, x = symbols.likelihood.support, symbols.xs[0]
    if isinstance(support, RealVector):
        return bool(sympy.exp(sympy.expand_log(sympy.log(density), force=True)).is_positive)
    if symbols.likelihood.sized_by:
        parts = components(density, symbols)
        return all(weight.is_positive and positive(part, alone, odds) for weight, part, alone in parts)
    levels = {symbols.noise["levels"]: Symbol("n", positive=True) + 1} if isinstance(support, Lattice) else {}
    inner = odds.enter(substitute(substitute(density, odds_of_shares(symbols)), levels))
    if support.whole and not isinstance(support, (Simplex, CountVector)):
        if support.high in symbols.noise.values():
            inner = substitute(inner, {support.high: x + Symbol("m", integer=True, nonnegative=True)})
        inner = substitute(inner, {x: Symbol("x", integer=True, nonnegative=True) + exactly(support.low)})
    elif (support.low, support.high) == (0, 1) and not symbols.likelihood.event:
        inner = replace(over_odds(inner, x), sympy.gamma, lambda part: sympy.gamma(sympy.factor(part)))
    elif x.is_nonnegative and not symbols.likelihood.event:
        inner = substitute(inner, {x: Symbol("x", positive=True)})  # at the end itself, a single point, there may be a pole
    if isinstance(support, CountVector):
        inner = substitute(inner, {part: Symbol(part.name, integer=True, nonnegative=True) for part in symbols.xs})
    return all(is_nonnegative(piece) for piece, _ in branches(inner))


def is_nonnegative(expression: Expr) -> bool:
    """Return whether an expression is known to be nowhere negative.

    Bessel's I and K are positive, and f(a) - f(b) has the sign of a - b where f rises.
    """
    expression = replace(expression, WRIGHT, lambda *_: Symbol("W", positive=True))
    for function in (sympy.besseli, sympy.besselk):
        expression = replace(
            expression, function, lambda order, argument: Symbol("B", positive=True) if argument.is_positive else order
        )
    if expression.is_nonnegative:
        return True
    factors = sympy.Mul.make_args(sympy.factor_terms(expression))
    signs = sympy.Mul(*(of_same_sign(part) for part in factors))
    return bool(signs.is_nonnegative or sympy.factor(sympy.together(signs)).is_nonnegative)


def of_same_sign(factor: Expr) -> Expr:
    """Return an expression with the sign of ``factor``, if possible one without functions that rise."""
    base, power = factor.as_base_exp()
    if factor.is_Pow and power.is_integer and power.is_odd:
        return of_same_sign(base) ** power
    if isinstance(factor, sympy.erfc):
        return sympy.Integer(1)
    if isinstance(factor, sympy.log):
        return factor.args[0] - 1
    if isinstance(factor, sympy.Piecewise):
        return sympy.Integer(1) if all(is_nonnegative(piece) for piece, _ in branches(factor)) else factor
    if factor.is_Add and len(factor.args) == 2:
        terms = [term.as_coeff_Mul() for term in sympy.Add.make_args(sympy.expand(factor.rewrite(sympy.erf)))]
        for function in RISING:
            arguments = [(c, argument) for c, value in terms if (argument := inverse(function, value)) is not None]
            if len(terms) == len(arguments) == 2:
                (c, a), (d, b) = arguments
                if c == -d:
                    return c * (a - b)
                if c == d and function in ODD:
                    return c * (a + b)
    return factor


def inverse(function: type[Expr], value: Expr) -> Expr | None:
    """Return the argument a of a value f(a) (0 of 1 for exp); None of another value."""
    if isinstance(value, function):
        return sympy.expand(value.args[0])
    return sympy.Integer(0) if function is sympy.exp and value == 1 else None
