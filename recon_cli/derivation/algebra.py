"""Sympy's operations with the types that its own annotations leave out: an expression of an expression."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import sympy
from sympy import Basic, Expr
from sympy.logic.boolalg import Boolean


def parse(text: str, names: Mapping[str, object]) -> Expr:
    """Return the expression that a text spells, its words looked up in ``names`` first; raise what sympy raises."""
    read: Any = sympy.sympify  # whose overloads leave out ``locals``
    expression: Expr = read(text, locals=dict(names))
    return expression


def substitute(expression: Expr, values: Mapping[Any, object]) -> Expr:
    """Return an expression with numbers or other expressions in the place of some of its parts."""
    return as_expr(expression.subs(dict(values)))


def replace(expression: Expr, query: Callable[[Any], bool] | type[Expr], value: Callable[..., object]) -> Expr:
    """Return an expression with every part that the query matches put through ``value``."""
    return as_expr(expression.replace(query, value))


def as_expr(value: object) -> Expr:
    """Return an expression that sympy's functions say may be anything."""
    expression: Any = value
    return expression


def component(name: str, index: Expr) -> Expr:
    """Return the component of a vector at an index."""
    return as_expr(sympy.Indexed(sympy.IndexedBase(name), index))


def add(terms: Iterable[Expr]) -> Expr:
    """Return the sum of the terms, zero of none."""
    return sum(terms, sympy.Integer(0))


def branches(expression: Expr) -> list[tuple[Expr, Boolean]]:
    """Return each piece of a piecewise expression with the condition under which it holds; any other is one piece."""
    pairs: Any = expression.args if isinstance(expression, sympy.Piecewise) else [(expression, sympy.true)]
    return [(piece, condition) for piece, condition in pairs]


def conditions(connective: Boolean) -> list[Boolean]:
    """Return the conditions that a connective (and, or, not) joins."""
    parts: Any = connective.args
    return [*parts]


def names_of(expression: Basic) -> dict[Basic, str]:
    """Return the name of each free symbol of an expression, but for components of vectors."""
    symbols: Any = expression.free_symbols
    return {symbol: symbol.name for symbol in symbols if not isinstance(symbol, sympy.Indexed)}
