"""Values of an expression at many points at once, as signs and logarithms of sizes, so that no gamma function overflows."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import mpmath
import numpy as np
import sympy
from mpmath.libmp import NoConvergence
from numpy.typing import ArrayLike, NDArray
from sympy import Expr, Symbol
from sympy.logic.boolalg import Boolean

from recon_cli.derivation.algebra import as_expr, branches, conditions

Floats: TypeAlias = NDArray[np.float64]
Signed: TypeAlias = tuple[Floats, Floats]  # the sign, and the logarithm of the size


class Function:
    """An expression with numbers for some symbols, as a function of the others; what has none of these is evaluated once."""

    def __init__(self, expression: Expr, constants: Mapping[Symbol, ArrayLike]) -> None:
        self.expression, self.constants = sympy.sympify(expression), dict(constants)
        self.fixed: dict[Expr, Signed] = {}

    def logarithm(self, variables: Mapping[Symbol, ArrayLike]) -> Floats:
        """Return the logarithms of the values, NaN of what is negative."""
        with np.errstate(all="ignore"):
            sign, size = Evaluator({**self.constants, **variables}, self.fixed, {*variables}).signed(self.expression)
            return np.where(sign < 0, math.nan, size)

    def __call__(self, variables: Mapping[Symbol, ArrayLike]) -> Floats:
        """Return the values in float64."""
        with np.errstate(all="ignore"):
            evaluation = Evaluator({**self.constants, **variables}, self.fixed, {*variables})
            return numbers(evaluation.signed(self.expression))


def numbers(value: Signed) -> Floats:
    """Return numbers from their signs and logarithms."""
    sign, size = value
    return np.where(sign == 0, 0.0, sign * np.exp(size))


def signed(value: ArrayLike) -> Signed:
    """Return the signs and the logarithms of numbers."""
    array: Floats = np.asarray(value, dtype=float)
    return np.sign(array), np.log(np.abs(array))


class Evaluator:
    """The values of the parts of one expression, each computed once."""

    def __init__(self, values: Mapping[Symbol, ArrayLike], fixed: dict[Expr, Signed], variables: set[Symbol]) -> None:
        self.values, self.fixed, self.variables = values, fixed, variables
        self.varying: dict[Expr, Signed] = {}

    def number(self, part: Expr) -> Floats:
        """Return the numbers of a part."""
        return numbers(self.signed(part))

    def signed(self, part: Expr) -> Signed:
        """Return the signs and logarithms of a part, computed or remembered."""
        for memory in (self.fixed, self.varying):
            if part in memory:
                return memory[part]
        memory = self.varying if part.free_symbols & self.variables else self.fixed
        memory[part] = self.compute(part)
        return memory[part]

    def compute(self, part: Any) -> Signed:
        """Compute the signs and logarithms of a part from its own parts."""
        if part.is_Symbol:
            return signed(self.values[part])
        if part.is_number and not part.has(sympy.Function):
            return signed(float(part))
        if part.is_Mul:
            factors = [self.signed(each) for each in part.args]
            return np.asarray(math.prod(sign for sign, _ in factors)), np.asarray(sum(size for _, size in factors))
        if part.is_Add:
            terms = [self.signed(each) for each in part.args]
            most = np.maximum.reduce(np.broadcast_arrays(*(size for _, size in terms)))
            most = np.where(np.isfinite(most), most, 0.0)
            total = np.asarray(sum(np.where(sign == 0, 0.0, sign * np.exp(size - most)) for sign, size in terms))
            return np.sign(total), np.log(np.abs(total)) + most
        if part.is_Pow:
            (sign, size), power = self.signed(part.base), self.number(part.exp)
            odd = np.where(power % 2 == 1, sign, np.where(power % 1 == 0, 1.0, math.nan))
            return np.where(sign < 0, odd, np.where(power == 0, 1.0, sign)), np.where(power == 0, 0.0, power * size)
        if isinstance(part, sympy.exp):
            return np.ones(()), self.number(as_expr(part.args[0]))
        if isinstance(part, sympy.Piecewise):
            return self.piecewise(part)
        return self.function(part)

    def piecewise(self, part: Expr) -> Signed:
        """Compute a piecewise expression: the first piece whose condition holds, NaN where none does."""
        sign, size = np.array(math.nan), np.array(math.nan)
        for value, condition in reversed(branches(part)):
            holds, (own_sign, own_size) = self.truth(condition), self.signed(value)
            sign, size = np.where(holds, own_sign, sign), np.where(holds, own_size, size)
        return sign, size

    def truth(self, condition: Boolean) -> NDArray[np.bool_]:
        """Compute where a condition holds."""
        if condition in (True, False):
            return np.asarray(bool(condition))
        if isinstance(condition, (sympy.And, sympy.Or, sympy.Not)):
            parts = np.broadcast_arrays(*(self.truth(each) for each in conditions(condition)))
            if isinstance(condition, sympy.Not):
                return np.asarray(~parts[0], dtype=bool)
            join = np.logical_and if isinstance(condition, sympy.And) else np.logical_or
            return np.asarray(join.reduce(parts), dtype=bool)
        relation: Any = condition  # which is one, being no connective
        return np.asarray(COMPARISONS[relation.rel_op](self.number(relation.lhs), self.number(relation.rhs)), dtype=bool)

    def function(self, part: Any) -> Signed:
        """Compute a function of some arguments: numpy's, by its logarithm where that has a formula, or mpmath's."""
        arguments = [self.number(each) for each in part.args]
        name = part.func.__name__
        if name in LOGARITHMS:
            return LOGARITHMS[name](*arguments)
        if name in FUNCTIONS:
            return signed(FUNCTIONS[name](*arguments))
        exact = sympy.lambdify(symbols := sympy.symbols(f"a:{len(arguments)}"), part.func(*symbols), "mpmath")

        def sign_and_logarithm(*numbers: float) -> tuple[float, float]:
            try:
                value = exact(*map(mpmath.mpf, numbers))
                return float(mpmath.sign(value)), float(mpmath.log(abs(value))) if value else -math.inf
            except (ValueError, TypeError, ArithmeticError, NoConvergence):
                return math.nan, math.nan

        sign, size = np.vectorize(sign_and_logarithm, otypes=[float, float])(*arguments)
        return sign, size


def log_gamma(value: Floats) -> Signed:
    """Return sign and logarithm of the gamma function."""
    size = np.vectorize(lambda each: math.lgamma(each) if each > 0 or each % 1 else math.inf, otypes=[float])(value)
    return np.where((value < 0) & (np.floor(value) % 2 == 1), -1.0, 1.0), size


def log_binomial(n: Floats, k: Floats) -> Signed:
    """Return sign and logarithm of a binomial coefficient."""
    parts = [log_gamma(each + 1) for each in (n, k, n - k)]
    return parts[0][0] * parts[1][0] * parts[2][0], parts[0][1] - parts[1][1] - parts[2][1]


def log_cosh(value: Floats) -> Signed:
    """Return sign and logarithm of the hyperbolic cosine."""
    size = np.abs(value)
    return np.ones(()), size + np.log1p(np.exp(-2 * size)) - math.log(2)


def log_wright(shape: Floats, zero: Floats, argument: Floats) -> Signed:
    """Return sign and logarithm of Wright's series, sum_n t^n/(n! Gamma(a n)): of many terms evenly spaced ones stand for all."""
    from scipy.special import gammaln

    del zero
    a, log_t = np.broadcast_arrays(np.asarray(shape, dtype=float), np.log(np.asarray(argument, dtype=float)))
    middle = np.exp(np.clip((log_t - a * np.log(a)) / (1 + a), -50, 40))
    width = np.sqrt(np.maximum(middle, 1.0) / (1 + a))
    step = np.where(width > 8, width / 8, 1.0)
    first = np.maximum(np.where(width > 8, middle - 12 * width, np.floor(middle - 12 * width)), 1.0)
    n = first[..., None] + step[..., None] * np.arange(256)
    logs = n * log_t[..., None] - gammaln(n + 1) - gammaln(a[..., None] * n)
    most = logs.max(axis=-1)
    return np.ones(()), most + np.log(np.exp(logs - most[..., None]).sum(axis=-1)) + np.log(step)


def wright_bessel(shape: Any, zero: Any, argument: Any) -> Any:
    """Return Wright's series at the digits of mpmath: all terms that count, or where they are many one of several.

    Of many, evenly spaced terms stand for all, by the trapezoidal rule: four to a standard deviation, whose error is e^-315.
    """
    del zero
    return _wright(mpmath.mp.prec, mpmath.mpf(shape), mpmath.mpf(argument))


@functools.lru_cache(4096)
def _wright(precision: int, a: Any, t: Any) -> Any:
    with mpmath.workprec(precision + 20):
        middle = (t / a**a) ** (1 / (1 + a))
        width = mpmath.sqrt(max(middle, 1) / (1 + a))
        reach = mpmath.sqrt(2 * precision) * width + 2 * precision
        step = width / 4 if width > 40 and middle > 50 * width else mpmath.mpf(1)
        first = middle - reach if step != 1 else mpmath.floor(middle - reach)
        count = int(2 * reach / step) + 2
        places = (first + k * step for k in range(count))
        log_t = mpmath.log(t)
        logs = [n * log_t - mpmath.loggamma(n + 1) - mpmath.loggamma(a * n) for n in places if n >= 1]
        most = max(logs)
        return step * mpmath.exp(most) * mpmath.fsum(mpmath.exp(log - most) for log in logs)


COMPARISONS: dict[str, Callable[..., NDArray[np.bool_]]] = {
    "<": np.less, "<=": np.less_equal, ">": np.greater, ">=": np.greater_equal, "==": np.equal, "!=": np.not_equal,
}  # fmt: skip
LOGARITHMS: dict[str, Callable[..., Signed]] = {
    "gamma": log_gamma,
    "factorial": lambda value: log_gamma(value + 1),
    "binomial": log_binomial,
    "wright_bessel": log_wright,
    "cosh": log_cosh,
    "sech": lambda value: (np.ones(()), -log_cosh(value)[1]),
}
FUNCTIONS: dict[str, Callable[..., Floats]] = {
    **{name: getattr(np, name) for name in ("log", "sign", "sin", "cos", "tan", "sinh", "tanh", "floor")},
    **{f"a{name}": getattr(np, f"arc{name}") for name in ("sin", "cos", "tan", "sinh", "cosh", "tanh")},
    "Abs": np.abs,
    "ceiling": np.ceil,
    "Max": lambda *parts: np.maximum.reduce(np.broadcast_arrays(*parts)),
    "Min": lambda *parts: np.minimum.reduce(np.broadcast_arrays(*parts)),
    "Heaviside": lambda value, middle=0.5: np.heaviside(value, middle),
    "erf": np.vectorize(math.erf, otypes=[float]),
    "erfc": np.vectorize(math.erfc, otypes=[float]),
    "loggamma": np.vectorize(math.lgamma, otypes=[float]),
}
