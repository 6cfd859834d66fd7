"""The error of the code against the formulas at points, in roundings of its own terms."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import mpmath
import numpy as np
import sympy
from sympy import Expr

from recon_cli.derivation.algebra import parse
from recon_cli.derivation.code import DRAWS, KEPT, Measured
from recon_cli.derivation.evaluation import wright_bessel
from recon_cli.derivation.points import Setting, own_numbers
from recon_cli.derivation.quadrature import Mass
from recon_cli.derivation.words import Words
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import Lattice, Sphere

EPS = 2.0**-52
MANY = 4096  # roundings: more than careless code takes, far less than an error
FEW = 8  # roundings below which nothing further is looked at
DIGITS = 40  # of the exact numbers
STEP, SMALL = (mpmath.mpf(10) ** -power for power in (12, 6))

Exact: TypeAlias = Any  # a number of mpmath's, which has no types
ExactFunction: TypeAlias = Callable[..., Exact]  # of exact numbers


@dataclass(frozen=True)
class Deviation:
    """The deviation of one value of the code from its formula.

    what
        the quantity.
    roundings, most
        the deviation in roundings of the largest of its terms, or infinite, and how many are allowed; for moments and
        samples in a unit of which 1 is allowed.
    where
        the values and the point, in words.
    exact
        the value of the formula.
    """

    what: str
    roundings: float
    most: float
    where: str
    exact: Exact = None

    @property
    def good(self) -> bool:
        """Whether the deviation is rounding, or chance."""
        return self.roundings <= self.most

    @property
    def share(self) -> float:
        """The deviation as a share of what is allowed."""
        return self.roundings / (self.most or 1e-9)


class Formulas:
    """A likelihood's formulas as functions of exact numbers, for vectors of one size.

    Arguments are flat: the noise, the components of x, what the decoder gives (or its raw output).
    """

    def __init__(self, symbols: Words, density: Expr) -> None:
        self.symbols = symbols
        self.compiled: dict[tuple[object, ...] | str, ExactFunction] = {}
        self.nlls: dict[tuple[Exact, ...], Exact] = {}  # at the points where several statements are tried
        self.density = self.function(density, [*symbols.noise.values(), *symbols.xs, *symbols.mus])
        self.link = self.function(symbols.linked(), [*symbols.noise.values(), *symbols.raws()])

    def function(self, expression: Expr | list[Expr], names: Sequence[Expr]) -> ExactFunction:
        """Return an expression, or a list of them, as a function of exact numbers for these symbols."""
        key = (tuple(expression) if isinstance(expression, list) else expression, *names)
        if key not in self.compiled:
            self.compiled[key] = sympy.lambdify(names, expression, modules=[FUNCTIONS, "mpmath"])
        return self.compiled[key]

    def units(self, numbers: Sequence[Exact]) -> list[Exact]:
        """Return noise, x and mu, vectors on a sphere divided by their length."""
        n, k = len(self.symbols.noise), len(self.symbols.xs)
        if not isinstance(self.symbols.likelihood.domain, Sphere):
            return [*numbers]
        parts = [numbers[:n], numbers[n : n + k], numbers[n + k :]]
        return [*parts[0], *(each / mpmath.norm(part) for part in parts[1:] for each in part)]

    def nll(self, *numbers: Exact) -> Exact:
        """Return -log density, infinite where the density is zero; raise Negative where it is negative or not real."""
        if numbers not in self.nlls:
            self.nlls[numbers] = self.compute_nll(*numbers)
        return self.nlls[numbers]

    def compute_nll(self, *numbers: Exact) -> Exact:
        """Compute -log density."""
        p = self.density(*self.units(numbers))
        if not mpmath.im(p) and p == 0:
            return mpmath.inf
        if mpmath.im(p) or p < 0:
            raise Negative
        return -mpmath.log(p)

    def of_raw(self, function: ExactFunction, own: int, skipped: int = 0) -> ExactFunction:
        """Return a function of ``own`` numbers, x and mu as a function of the raw output in the place of mu.

        Where ``skipped``, so many numbers (the noise) come first, which the link needs and the function does not.
        """
        k, n = len(self.symbols.xs), len(self.symbols.noise)

        def linked(*numbers: Exact) -> Exact:
            rest = numbers[skipped:]
            return function(*rest[: own + k], *self.link(*numbers[:n], *rest[own + k :]))

        return linked

    def loss(self, loss: Loss) -> ExactFunction:
        """Return a loss's formula as a function of its own parameters, x and mu."""
        if loss.formula not in self.compiled:
            parameters = {name: sympy.Symbol(f"own_{name}", real=True) for name in loss.factors}
            expression = self.symbols.components(parse(loss.formula, {**self.symbols.names, **parameters}))
            self.compiled[loss.formula] = self.function(expression, [*parameters.values(), *self.symbols.xs, *self.symbols.mus])
        function, own, noise = self.compiled[loss.formula], len(loss.factors), len(self.symbols.noise)
        if not isinstance(self.symbols.likelihood.domain, Sphere):
            return function
        return lambda *numbers: function(*numbers[:own], *self.units([*[1] * noise, *numbers[own:]])[noise:])


class Negative(ArithmeticError):
    """A density below zero."""


def erfc(x: Exact) -> Exact:
    """Return the complementary error function, beyond a million too, where mpmath's own has no digits."""
    if mpmath.im(x) or x < 1000:
        return mpmath.erfc(x)
    return mpmath.exp(-x * x) / mpmath.sqrt(mpmath.pi) * mpmath.hyperu(0.5, 0.5, x * x)


FUNCTIONS: dict[str, ExactFunction] = {  # in the place of mpmath's: Bessel's are dear, and mostly of the noise alone
    "wright_bessel": wright_bessel, "erfc": erfc,
    "besseli": mpmath.memoize(mpmath.besseli), "besselk": mpmath.memoize(mpmath.besselk),
}  # fmt: skip


def roundings(
    value: float, function: ExactFunction, numbers: Sequence[Exact], terms: Exact = 0, noise: int = 0
) -> tuple[float, Exact]:
    """Return the deviation of the code's value from a formula's, and the formula's value.

    The unit is a rounding of the value, of its ``terms`` and of 1; if the deviation is many of these, also of what a
    rounding of each of the numbers moves the value by (but for whole numbers among the first, the ``noise``).
    """
    exact = function(*numbers)
    if mpmath.isinf(exact) or not math.isfinite(value):
        return (0.0 if value == exact else math.inf), exact
    size, away = abs(exact) + terms + 1, abs(mpmath.mpf(value) - exact)
    if away > FEW * EPS * size:
        for i, number in enumerate(numbers):
            if number and not (i < noise and number % 1 == 0):
                other = function(*numbers[:i], number * (1 + SMALL), *numbers[i + 1 :])
                size += abs(other - exact) / SMALL if mpmath.isfinite(other) else 0
    return float(away / (EPS * size)), exact


def comparisons(sizes: dict[int, Formulas], settings: Sequence[Setting], code: Sequence[Measured]) -> Iterator[Deviation]:
    """Yield the deviation of every value of the code; ``sizes`` has the formulas for vectors of each size."""
    with mpmath.workdps(DIGITS):
        for setting, measured in zip(settings, code, strict=True):
            errors = {name: value for name, value in measured.items() if isinstance(value, str)}
            for name, error in errors.items():
                yield Deviation(name, math.inf, MANY, f"it raises {error}")
            for i in range(0 if errors else len(setting.xs)):
                try:
                    yield from at_event(sizes[setting.size], setting, measured, i)
                except ZeroDivisionError:  # a pole of a formula at the end of its support
                    continue


def at_event(formulas: Formulas, setting: Setting, measured: Measured, i: int) -> Iterator[Deviation]:
    """Yield the deviation of every value of the code at the i-th event of a setting."""
    likelihood = setting.likelihood
    noise = [mpmath.mpf(value) for value in setting.numbers.values()]
    losses = [*likelihood.losses]
    n = len(noise)
    x, mu, raw = ([*map(mpmath.mpf, rows[i])] for rows in (setting.xs, setting.mus, setting.raws))
    where = f"x = {spell(setting.xs[i])}, mu = {spell(setting.mus[i])}{setting.noise_text}"
    at_raw = f"x = {spell(setting.xs[i])}, r = {spell(setting.raws[i])}{setting.noise_text}"
    point = [*noise, *x, *mu]
    parts = [mpmath.mpf(part) for part in (measured["slope"] * measured["loss 0"][i], measured["offset"][i], measured["gap"][i])]
    terms = sum(abs(part) for part in parts if mpmath.isfinite(part))
    try:
        nll = deviation("nll", measured["nll"][i], formulas.nll, point, where, terms, n)
        yield nll
        if mpmath.isfinite(nll.exact):
            yield from gradients(formulas, point, measured["gradient"][i], where, n)
            for index, loss in enumerate(losses):
                if loss.link.formula == "r":
                    composed = float(
                        mpmath.mpf(measured[f"slope {index}"]) * mpmath.mpf(measured[f"loss {index}"][i]) + parts[1] + parts[2]
                    )
                    yield deviation(f"slope*{loss.name} + offset + gap", composed, formulas.nll, point, where, terms, n)
        linked = formulas.of_raw(formulas.nll, n)
        yield deviation("nll of the raw output", measured["nll of the raw output"][i], linked, [*noise, *x, *raw], at_raw, 0, n)
    except Negative:
        yield Deviation("density", math.inf, 0, f"it is negative at {where}")
    if "normaliser" in measured:
        size = max(1, abs(measured["offset"][i]))
        away = abs(measured["normaliser"] - measured["offset"][i]) / (EPS * size)
        yield Deviation(
            "normaliser", away, MANY, f"{measured['normaliser']:.10g}, and the offset {measured['offset'][i]:.10g}, at {where}"
        )
    for k, value in enumerate(measured["link"][i]):
        yield deviation("link", value, lambda *numbers, k=k: formulas.link(*numbers)[k], [*noise, *raw], at_raw, 0, n)
    for index, loss in enumerate(losses):
        own = [mpmath.mpf(value) for value in own_numbers(loss).values()]
        function, numbers, place = formulas.loss(loss), [*own, *x, *mu], where
        if loss.link.formula != "r":
            linked = formulas.of_raw(function, len(own), len(noise))
            function, numbers, place = linked, [*noise, *own, *x, *raw], at_raw
        yield deviation(f"loss {loss.name}", measured[f"loss {index}"][i], function, numbers, place, 0, n)


def deviation(
    what: str, value: float, function: ExactFunction, numbers: Sequence[Exact], where: str, terms: Exact, noise: int
) -> Deviation:
    """Return the deviation of one value of the code from ``function`` at ``numbers``."""
    away, exact = roundings(value, function, numbers, terms, noise)
    return Deviation(what, away, MANY, f"{value:.10g} where the formula gives {mpmath.nstr(exact, 10)}, at {where}", exact)


def gradients(formulas: Formulas, point: list[Exact], values: list[float], where: str, noise: int) -> Iterator[Deviation]:
    """Yield the deviation of the derivative by each of the decoder's outputs from a central difference at many digits."""
    first = len(point) - len(values)
    for k, value in enumerate(values):

        def slope(*numbers: Exact, at: int = first + k) -> Exact:
            step = (1 + abs(numbers[at])) * STEP
            ends = [formulas.nll(*numbers[:at], numbers[at] + way * step, *numbers[at + 1 :]) for way in (1, -1)]
            return (ends[0] - ends[1]) / (2 * step)

        yield deviation("gradient", value, slope, point, where, STEP, noise)


def moments_and_samples(
    masses: Callable[[Setting], Mass], settings: Sequence[Setting], code: Sequence[Measured]
) -> Iterator[Deviation]:
    """Yield the deviation of the code's moments and samples from the density's."""
    for setting, measured in zip(settings, code, strict=True):
        pair, quantiles = measured.get("moments"), measured.get("sample")
        if isinstance(pair, str) or isinstance(quantiles, str) or (pair is None and quantiles is None):
            continue
        mass = masses(setting)
        where = f"at mu = {spell(setting.mus[0])}{setting.noise_text}"
        if abs(mass.whole - 1) > 1e-6:  # which is said elsewhere
            continue
        if pair is not None:
            yield from moments(mass, pair[0][0], pair[1][0], where)
        if quantiles is not None:
            yield sample(mass, quantiles, setting, where)


def moments(mass: Mass, mean: float, variance: float, where: str) -> Iterator[Deviation]:
    """Yield the deviation of mean and variance from the density's, a millionth being allowed."""
    exact = mass.mean()
    with np.errstate(all="ignore"):
        spread = mass.mean((mass.x - exact) ** 2)
    unit = 1e-6 * (math.sqrt(abs(spread)) + 1e-6 * abs(exact)) or 1e-300
    yield Deviation("moments", abs(mean - exact) / unit, 1, f"a mean of {mean:.6g} where the integral is {exact:.6g}, {where}")
    size = 1e-6 * abs(spread) or 1e-300
    yield Deviation(
        "moments", abs(variance - spread) / size, 1, f"a variance of {variance:.6g} where the integral is {spread:.6g}, {where}"
    )


def sample(mass: Mass, quantiles: Sequence[float], setting: Setting, where: str) -> Deviation:
    """Return Kolmogorov's distance between a sample and the density; chance exceeds the limit once in a hundred million."""
    slack = 1e-9 if isinstance(setting.likelihood.support, Lattice) else 0.0
    share = np.searchsorted(np.asarray(quantiles), mass.edges + slack, side="right") / len(quantiles)
    distance = float(np.abs(share - mass.below).max())
    most = 3.1 / math.sqrt(DRAWS) + 1 / KEPT
    return Deviation("sample", distance, most, f"its distribution is {distance:.2g} off the density's, {where}")


def spell(numbers: Sequence[float]) -> str:
    """Spell a vector, one of a single component as a number."""
    parts = [f"{number:.6g}" for number in numbers]
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"
