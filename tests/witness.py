"""The independent witness: a likelihood's density, as text, evaluated by mpmath at sixty digits.

Nothing here calls a likelihood's own code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import mpmath
import sympy

from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss
from recon_cli.regions import Interval

mpmath.mp.dps = 60
NOTHING = mpmath.mpf(10) ** -35
NUDGE = mpmath.mpf(10) ** -22


def function(expression: Any, *names: str) -> Callable[..., Any]:
    """A formula, as text or symbols, as a function of exact numbers; at a removable singularity, its limit."""
    symbols = sympy.symbols(names, real=True)
    expression = sympy.sympify(expression, locals=dict(zip(names, symbols, strict=True)))
    compiled = sympy.lambdify(symbols, expression, modules="mpmath")

    def exact(*values: Any) -> Any:
        point = [mpmath.mpf(value) for value in values]
        try:
            return compiled(*point)
        except (ZeroDivisionError, ValueError):
            return compiled(*point[:-1], point[-1] + NUDGE)

    return exact


def formula(text: str, of: Likelihood | Loss, raw: bool) -> Any:
    """A formula in x and mu, the numbers of ``of`` put in exactly, mu as the link of a raw output where ``raw``."""
    x, mu, r = sympy.symbols("x mu r", real=True)
    numbers = {name: exactly(value) for name, value in of.parameters.items()}
    expression = sympy.sympify(text, locals={"x": x, "mu": mu, **numbers})
    return expression.subs(mu, sympy.sympify(of.link.formula, locals={"r": r})) if raw else expression


def exactly(value: float) -> Any:
    """The rational number that a float is."""
    return sympy.Rational(*value.as_integer_ratio())


def nll(likelihood: Likelihood, raw: bool = False) -> Callable[[Any, Any], Any]:
    """-log density of (x, mu), or of (x, raw output), at sixty digits."""
    return function(-sympy.log(formula(likelihood.density, likelihood, raw)), "x", "r" if raw else "mu")


def gradient(likelihood: Likelihood, raw: bool = False) -> Callable[[Any, Any], Any]:
    """d nll/d mu, or d nll/d raw output, of (x, mu) at sixty digits."""
    last = sympy.Symbol("r" if raw else "mu", real=True)
    log = -sympy.log(formula(likelihood.density, likelihood, raw))
    return function(sympy.diff(log, last), "x", last.name)


def loss(likelihood: Likelihood, times: int = 0) -> Callable[[Any, Any], Any]:
    """The matching loss's formula, differentiated by mu so many times."""
    cost = formula(likelihood.loss.formula, likelihood.loss, raw=False)
    return function(sympy.diff(cost, sympy.Symbol("mu", real=True), times), "x", "mu")


def total(likelihood: Likelihood, mu: float) -> Any:
    """The density added up over the support."""
    exact = nll(likelihood)

    def p(x: Any) -> Any:
        return mpmath.exp(-exact(x, mu))

    support = likelihood.support
    with mpmath.workdps(40):
        if support.whole:
            last = support.high if support.high < mpmath.inf else mpmath.inf
            return mpmath.nsum(p, [support.low, last])
        noise = [float(value) for value in likelihood.parameters.values()] or [1.0]
        units = [*noise, math.prod(noise)]
        breaks = sorted({mu + sign * size * value for sign in (-1, 1) for size in (0, 1, 5, 40, 1e3, 1e6) for value in units})
        low, high = max(support.low, -mpmath.inf), min(support.high, mpmath.inf)
        return mpmath.quad(p, [low, *(point for point in breaks if low < point < high), high])


def off_by(found: Sequence[float], exact: Iterable[Any], eps: float, size: Iterable[Any] | None = None) -> list[float]:
    """Errors in ``eps`` of the exact values, or of ``size`` (the largest term) where that is given.

    A zero is exact where the witness, at sixty digits, sees less than 1e-35: there its own terms cancel.
    """
    exact = [mpmath.mpf(0) if got == 0 and abs(true) < NOTHING else true for got, true in zip(found, exact, strict=True)]
    scales = [abs(value) for value in exact] if size is None else list(size)
    return [
        float(abs(mpmath.mpf(got) - true) / (eps * max(scale, mpmath.mpf(2) ** -1074)))
        for got, true, scale in zip(found, exact, scales, strict=True)
    ]


def inside(interval: Interval) -> list[float]:
    """Points of an interval: ordinary ones, its ends where they belong, and close to them."""
    if interval.whole:
        return [interval.low, 1.0] if interval.high == 1 else [0.0, 1.0, 2.0, 15.0, 16.0, 17.0, 1000.0, 2.0**24, 1e9]
    if (interval.low, interval.high) == (0, math.inf):
        return [1e-30, 0.1, 0.5, 1.0, 2.0, 2.5, 16.0, 17.5, 990.0, 2.0**24 + 4, 1e9, 1.5e9]
    if (interval.low, interval.high) == (0, 1):
        points = [1e-30, 1e-6, 0.1, 0.25, 0.3, 0.5, 0.5 + 2**-20, 0.7, 0.75, 0.9, 1 - 2**-20]
        return [0.0, *points, 1.0] if interval.closed else points
    return [-1e6, -3.0, -0.7, 0.0, 1e-20, 0.1, 0.5, 1.0, 2.5, 1e6]
