"""A formula's values at many points at once, as signs and logarithms of sizes: no gamma function overflows."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy import Expr, Symbol

Signed = tuple[Any, Any]  # the sign, and the logarithm of the size


class Prepared:
    """A formula with numbers for some symbols, to be read at many values of the others: what has none of these is read once."""

    def __init__(self, expression: Expr, at: Mapping[Symbol, Any]) -> None:
        self.expression, self.at = sympy.sympify(expression), dict(at)
        self.fixed: dict[Expr, Signed] = {}

    def __call__(self, more: Mapping[Symbol, Any]) -> Any:
        """Its numbers, in float64."""
        with np.errstate(all="ignore"):
            reader = Reader({**self.at, **more}, self.fixed, {*more})
            return plain(reader.read(self.expression))


def plain(signed: Signed) -> Any:
    """Numbers from signs and logarithms."""
    sign, size = signed
    return np.where(sign == 0, 0.0, sign * np.exp(size))


def signed(value: Any) -> Signed:
    """Signs and logarithms of numbers."""
    value = np.asarray(value, dtype=float)
    return np.sign(value), np.log(np.abs(value))


class Reader:
    """Reads one formula, each part of it once."""

    def __init__(self, at: Mapping[Symbol, Any], fixed: dict[Expr, Signed], varying: set[Symbol]) -> None:
        self.at, self.fixed, self.varying = at, fixed, varying
        self.known: dict[Expr, Signed] = {}

    def number(self, part: Expr) -> Any:
        """A part's numbers."""
        return plain(self.read(part))

    def read(self, part: Expr) -> Signed:
        """A part's signs and logarithms."""
        if part in self.fixed:
            return self.fixed[part]
        if part not in self.known:
            where = self.known if part.free_symbols & self.varying else self.fixed
            where[part] = self.made(part)
            return where[part]
        return self.known[part]

    def made(self, part: Any) -> Signed:
        """The same, made of the parts of the part."""
        if part.is_Symbol:
            return signed(self.at[part])
        if part.is_number and not part.has(sympy.Function):
            return signed(float(part))
        if part.is_Mul:
            parts = [self.read(each) for each in part.args]
            return math.prod(sign for sign, _ in parts), sum(size for _, size in parts)
        if part.is_Add:
            parts = [self.read(each) for each in part.args]
            most = np.maximum.reduce(np.broadcast_arrays(*(size for _, size in parts)))
            most = np.where(np.isfinite(most), most, 0.0)
            whole = sum(np.where(sign == 0, 0.0, sign * np.exp(size - most)) for sign, size in parts)
            return np.sign(whole), np.log(np.abs(whole)) + most
        if part.is_Pow:
            (sign, size), power = self.read(part.base), self.number(part.exp)
            odd = np.where(power % 2 == 1, sign, np.where(power % 1 == 0, 1.0, math.nan))
            return np.where(sign < 0, odd, np.where(power == 0, 1.0, sign)), np.where(power == 0, 0.0, power * size)
        if isinstance(part, sympy.exp):
            return np.float64(1), self.number(part.args[0])
        if isinstance(part, sympy.Piecewise):
            return self.pieces(part)
        return self.function(part)

    def pieces(self, part: Any) -> Signed:
        """Of a piecewise formula: the first piece whose condition holds, NaN where none does."""
        sign, size = np.float64(math.nan), np.float64(math.nan)
        for value, where in reversed(part.args):
            true, (own, more) = self.truth(where), self.read(value)
            sign, size = np.where(true, own, sign), np.where(true, more, size)
        return sign, size

    def truth(self, where: Any) -> Any:
        """Where a condition holds."""
        if where in (True, False):
            return bool(where)
        if isinstance(where, (sympy.And, sympy.Or, sympy.Not)):
            join = {sympy.And: np.logical_and.reduce, sympy.Or: np.logical_or.reduce}
            parts = np.broadcast_arrays(*(self.truth(each) for each in where.args))
            return ~parts[0] if isinstance(where, sympy.Not) else join[where.func](parts)
        left, right = self.number(where.lhs), self.number(where.rhs)
        return {"<": left < right, "<=": left <= right, ">": left > right, ">=": left >= right,
                "==": left == right, "!=": left != right}[where.rel_op]  # fmt: skip

    def function(self, part: Any) -> Signed:
        """Of a function of some arguments: numpy's, by its logarithm where that is known, or mpmath's."""
        arguments = [self.number(each) for each in part.args]
        name = part.func.__name__
        if name in LOGARITHMS:
            return LOGARITHMS[name](*arguments)
        if name in PLAIN:
            return signed(PLAIN[name](*arguments))
        exact = sympy.lambdify(symbols := sympy.symbols(f"a:{len(arguments)}"), part.func(*symbols), "mpmath")

        def one(*numbers: float) -> tuple[float, float]:
            try:
                value = exact(*map(mpmath.mpf, numbers))
                return float(mpmath.sign(value)), float(mpmath.log(abs(value))) if value else -math.inf
            except (ValueError, TypeError, ArithmeticError, mpmath.NoConvergence):
                return math.nan, math.nan

        found = np.vectorize(one, otypes=[float, float])(*arguments)
        return found[0], found[1]


def log_gamma(value: Any) -> Signed:
    """Of the gamma function."""
    size = np.vectorize(lambda each: math.lgamma(each) if each > 0 or each % 1 else math.inf, otypes=[float])(value)
    return np.where((value < 0) & (np.floor(value) % 2 == 1), -1.0, 1.0), size


def log_binomial(n: Any, k: Any) -> Signed:
    """Of a binomial coefficient."""
    parts = [log_gamma(each + 1) for each in (n, k, n - k)]
    return parts[0][0] * parts[1][0] * parts[2][0], parts[0][1] - parts[1][1] - parts[2][1]


def log_cosh(value: Any) -> Signed:
    """Of the hyperbolic cosine."""
    size = np.abs(value)
    return np.float64(1), size + np.log1p(np.exp(-2 * size)) - math.log(2)


LOGARITHMS: dict[str, Callable[..., Signed]] = {
    "gamma": log_gamma,
    "factorial": lambda value: log_gamma(value + 1),
    "binomial": log_binomial,
    "cosh": log_cosh,
    "sech": lambda value: (np.float64(1), -log_cosh(value)[1]),
}
PLAIN: dict[str, Callable[..., Any]] = {
    "log": np.log,
    "Abs": np.abs,
    "sign": np.sign,
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sinh": np.sinh,
    "tanh": np.tanh,
    "asin": np.arcsin,
    "acos": np.arccos,
    "atan": np.arctan,
    "asinh": np.arcsinh,
    "acosh": np.arccosh,
    "atanh": np.arctanh,
    "floor": np.floor,
    "ceiling": np.ceil,
    "Max": lambda *parts: np.maximum.reduce(np.broadcast_arrays(*parts)),
    "Min": lambda *parts: np.minimum.reduce(np.broadcast_arrays(*parts)),
    "Heaviside": lambda value, middle=0.5: np.heaviside(value, middle),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
    "loggamma": np.vectorize(math.lgamma, otypes=[float]),
}
