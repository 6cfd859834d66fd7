"""The code set against the formulas, at points: how far off it is, in roundings of its own terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import numpy as np
import sympy
from sympy import Expr

from recon_cli.derivation.code import DRAWS, KEPT, Measured
from recon_cli.derivation.points import Setting, own_numbers
from recon_cli.derivation.quadrature import Mass
from recon_cli.derivation.words import Words
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import Lattice, Sphere

EPS = 2.0**-52
MANY = 4096  # roundings: more than careless code takes, far less than an error
DIGITS = 40
FEW = 8
STEP, SMALL = (mpmath.mpf(10) ** -power for power in (12, 6))


@dataclass(frozen=True)
class Off:
    """How far one number of the code is off, and where.

    roundings
        of the largest of its terms, or infinite; of moments and samples, in units in which 1 is too many.
    """

    what: str
    roundings: float
    most: float
    where: str
    exact: Any = None

    @property
    def good(self) -> bool:
        """Whether that is rounding, or chance."""
        return self.roundings <= self.most


class Formulas:
    """A likelihood's formulas as functions of exact numbers, for vectors of one size.

    Arguments are flat: the noise, the components of x, what the decoder gives (or its raw output).
    """

    def __init__(self, known: Words, density: Expr) -> None:
        self.known = known
        self.compiled: dict[Any, Callable[..., Any]] = {}
        self.costs: dict[tuple[Any, ...], Any] = {}  # at the points where several statements are tried
        self.density = self.function(density, [*known.noise.values(), *known.xs, *known.mus])
        self.link = self.function(known.linked(), [*known.noise.values(), *known.raws()])

    def function(self, expression: Any, names: Sequence[Any]) -> Callable[..., Any]:
        """An expression, or a list of them, of these symbols for mpmath."""
        key = (tuple(expression) if isinstance(expression, list) else expression, *names)
        if key not in self.compiled:
            self.compiled[key] = sympy.lambdify(names, expression, modules=[{"erfc": erfc}, "mpmath"])
        return self.compiled[key]

    def units(self, numbers: Sequence[Any]) -> list[Any]:
        """The numbers, those of vectors on a sphere over their length."""
        n, k = len(self.known.noise), len(self.known.xs)
        if not isinstance(self.known.side.domain, Sphere):
            return [*numbers]
        parts = [numbers[:n], numbers[n : n + k], numbers[n + k :]]
        return [*parts[0], *(each / mpmath.norm(part) for part in parts[1:] for each in part)]

    def nll(self, *numbers: Any) -> Any:
        """-log density; infinite where that is zero."""
        if numbers not in self.costs:
            self.costs[numbers] = self.cost(*numbers)
        return self.costs[numbers]

    def cost(self, *numbers: Any) -> Any:
        """The same, afresh."""
        p = self.density(*self.units(numbers))
        if not mpmath.im(p) and p == 0:
            return mpmath.inf
        if mpmath.im(p) or p < 0:
            raise Negative
        return -mpmath.log(p)

    def of_raw(self, function: Callable[..., Any], own: int, noise: int = 0) -> Callable[..., Any]:
        """A function of ``own`` numbers, x and mu, as one of the raw output for mu; ``noise`` numbers before are the link's only."""  # noqa: E501
        k, n = len(self.known.xs), len(self.known.noise)

        def linked(*numbers: Any) -> Any:
            rest = numbers[noise:]
            return function(*rest[: own + k], *self.link(*numbers[:n], *rest[own + k :]))

        return linked

    def loss(self, loss: Loss) -> Callable[..., Any]:
        """A loss's formula as a function of its own numbers, x and mu."""
        if loss.formula not in self.compiled:
            mine = {name: sympy.Symbol(f"own_{name}", real=True) for name in loss.parameters}
            whole = self.known.components(sympy.sympify(loss.formula, locals={**self.known.names, **mine}))
            self.compiled[loss.formula] = self.function(whole, [*mine.values(), *self.known.xs, *self.known.mus])
        found, own = self.compiled[loss.formula], len(loss.parameters)
        if not isinstance(self.known.side.domain, Sphere):
            return found
        return lambda *numbers: found(
            *numbers[:own], *self.units([*[1] * len(self.known.noise), *numbers[own:]])[len(self.known.noise) :]
        )


class Negative(ArithmeticError):
    """A density below zero."""


def erfc(x: Any) -> Any:
    """mpmath's own has no digits beyond a million."""
    return (
        mpmath.erfc(x)
        if mpmath.im(x) or x < 1000
        else mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi) * mpmath.hyperu(0.5, 0.5, x * x)
    )


def roundings(
    value: float, function: Callable[..., Any], numbers: Sequence[Any], terms: Any = 0, held: int = 0
) -> tuple[float, Any]:
    """How many roundings the code's value is off a formula's, and that: roundings of itself, its ``terms`` and 1.

    Where that is many, of what a rounding of each number moves it by too, the first ``held`` (noise) by whole ones.
    """
    exact = function(*numbers)
    if mpmath.isinf(exact) or not math.isfinite(value):
        return (0.0 if value == exact else math.inf), exact
    size, away = abs(exact) + terms + 1, abs(mpmath.mpf(value) - exact)
    if away > FEW * EPS * size:
        for i, number in enumerate(numbers):
            if number and not (i < held and number % 1 == 0):
                other = function(*numbers[:i], number * (1 + SMALL), *numbers[i + 1 :])
                size += abs(other - exact) / SMALL if mpmath.isfinite(other) else 0
    return float(away / (EPS * size)), exact


def comparisons(sizes: dict[int, Formulas], settings: Sequence[Setting], code: Sequence[Measured]) -> Iterator[Off]:
    """Every number of the code against its formula."""
    with mpmath.workdps(DIGITS):
        for setting, found in zip(settings, code, strict=True):
            formulas = sizes[setting.size]
            broken = {name: value for name, value in found.items() if isinstance(value, str)}
            for name, error in broken.items():
                yield Off(name, math.inf, MANY, f"it raises {error}")
            if not broken:
                yield from at_setting(formulas, setting, found)


def at_setting(formulas: Formulas, setting: Setting, found: Measured) -> Iterator[Off]:
    """The same for one noise; but where a formula itself has no value, at a pole at the end of its support."""
    for i in range(len(setting.xs)):
        try:
            yield from at_event(formulas, setting, found, i)
        except ZeroDivisionError:
            continue


def at_event(formulas: Formulas, setting: Setting, found: Measured, i: int) -> Iterator[Off]:
    """The same for one event."""
    side = setting.side
    noise = [mpmath.mpf(value) for value in setting.numbers.values()]
    named = ", ".join(f"{name} = {value:.6g}" for name, value in setting.numbers.items())
    losses = [*side.losses]
    n = len(noise)
    x, mu, raw = ([*map(mpmath.mpf, rows[i])] for rows in (setting.xs, setting.mus, setting.raws))
    where = ", ".join(part for part in (f"x = {spell(setting.xs[i])}", f"mu = {spell(setting.mus[i])}", named) if part)
    at_raw = ", ".join(part for part in (f"x = {spell(setting.xs[i])}", f"r = {spell(setting.raws[i])}", named) if part)
    point = [*noise, *x, *mu]
    parts = [mpmath.mpf(part) for part in (found["slope"] * found["loss 0"][i], found["offset"][i], found["gap"][i])]
    terms = sum(abs(part) for part in parts if mpmath.isfinite(part))
    try:
        nll = said("nll", found["nll"][i], formulas.nll, point, where, terms, n)
        yield nll
        if mpmath.isfinite(nll.exact):
            yield from gradients(formulas, point, found["gradient"][i], where, n)
            for index, loss in enumerate(losses):
                if loss.link.formula == "r":
                    whole = float(
                        mpmath.mpf(found[f"slope {index}"]) * mpmath.mpf(found[f"loss {index}"][i]) + parts[1] + parts[2]
                    )
                    yield said(f"slope*{loss.name} + offset + gap", whole, formulas.nll, point, where, terms, n)
        linked = formulas.of_raw(formulas.nll, n)
        yield said("nll of the raw output", found["nll of the raw output"][i], linked, [*noise, *x, *raw], at_raw, 0, n)
    except Negative:
        yield Off("density", math.inf, 0, f"it is negative at {where}")
    if "normaliser" in found:
        size = max(1, abs(found["offset"][i]))
        away = abs(found["normaliser"] - found["offset"][i]) / (EPS * size)
        yield Off("normaliser", away, MANY, f"{found['normaliser']:.10g}, and the offset {found['offset'][i]:.10g}, at {where}")
    for k, value in enumerate(found["link"][i]):
        yield said("link", value, lambda *numbers, k=k: formulas.link(*numbers)[k], [*noise, *raw], at_raw, 0, n)
    for index, loss in enumerate(losses):
        own = [mpmath.mpf(value) for value in own_numbers(loss).values()]
        function, numbers, place = formulas.loss(loss), [*own, *x, *mu], where
        if loss.link.formula != "r":
            linked = formulas.of_raw(function, len(own), len(noise))
            function, numbers, place = linked, [*noise, *own, *x, *raw], at_raw
        yield said(f"loss {loss.name}", found[f"loss {index}"][i], function, numbers, place, 0, n)


def said(what: str, value: float, function: Callable[..., Any], numbers: Sequence[Any], where: str, terms: Any, held: int) -> Off:
    """One comparison."""
    away, exact = roundings(value, function, numbers, terms, held)
    return Off(what, away, MANY, f"{value:.10g} where the formula gives {mpmath.nstr(exact, 10)}, at {where}", exact)


def gradients(formulas: Formulas, point: list[Any], values: list[float], where: str, held: int) -> Iterator[Off]:
    """The derivative by each number that the decoder gives, against a central difference at many digits."""
    first = len(point) - len(values)
    for k, value in enumerate(values):

        def slope(*numbers: Any, k: int = k) -> Any:
            step = (1 + abs(numbers[first + k])) * STEP
            ends = [
                formulas.nll(*numbers[: first + k], numbers[first + k] + way * step, *numbers[first + k + 1 :]) for way in (1, -1)
            ]
            return (ends[0] - ends[1]) / (2 * step)

        yield said("gradient", value, slope, point, where, STEP, held)


def wholes(masses: Callable[[Setting], Mass], settings: Sequence[Setting], code: Sequence[Measured]) -> Iterator[Off]:
    """Moments and samples against the density's mass."""
    for setting, found in zip(settings, code, strict=True):
        pair, drawn = found.get("moments"), found.get("sample")
        if isinstance(pair, str) or isinstance(drawn, str) or (pair is None and drawn is None):
            continue
        whole = masses(setting)
        where = f"at mu = {spell(setting.mus[0])}" + "".join(f", {name} = {value:.6g}" for name, value in setting.numbers.items())
        if abs(whole.whole - 1) > 1e-6:  # which is said elsewhere
            continue
        if pair is not None:
            yield from moments(whole, pair[0][0], pair[1][0], where)
        if drawn is not None:
            yield sample(whole, drawn, setting, where)


def moments(whole: Mass, mean: float, variance: float, where: str) -> Iterator[Off]:
    """Mean and variance against the integrals of x p and of its squared distance; to six digits."""
    exact = whole.mean()
    with np.errstate(all="ignore"):
        spread = whole.mean((whole.x - exact) ** 2)
    unit = 1e-6 * (math.sqrt(abs(spread)) + 1e-6 * abs(exact)) or 1e-300
    yield Off("moments", abs(mean - exact) / unit, 1, f"a mean of {mean:.6g} where the integral is {exact:.6g}, {where}")
    size = 1e-6 * abs(spread) or 1e-300
    yield Off(
        "moments", abs(variance - spread) / size, 1, f"a variance of {variance:.6g} where the integral is {spread:.6g}, {where}"
    )


def sample(whole: Mass, drawn: Sequence[float], setting: Setting, where: str) -> Off:
    """Kolmogorov's distance between a sample and the density, which chance makes larger once in a hundred million."""
    slack = 1e-9 if isinstance(setting.side.support, Lattice) else 0.0
    share = np.searchsorted(np.asarray(drawn), whole.edges + slack, side="right") / len(drawn)
    far = float(np.abs(share - whole.below).max())
    most = 3.1 / math.sqrt(DRAWS) + 1 / KEPT
    return Off("sample", far, most, f"its distribution is {far:.2g} off the density's, {where}")


def spell(numbers: Sequence[float]) -> str:
    """A number, or a vector of them."""
    parts = [f"{number:.6g}" for number in numbers]
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
