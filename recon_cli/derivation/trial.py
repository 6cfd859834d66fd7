"""Whether a statement is true, and how that is known: by symbols, or at a number of points to a number of digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import mpmath
from sympy import Expr

from recon_cli.derivation.deadlines import attempt
from recon_cli.derivation.points import Setting
from recon_cli.derivation.roundings import DIGITS, Exact, Formulas, Negative, spell
from recon_cli.report import Formula

ALIKE = 20  # digits of two values that count as equal, of the forty that are computed

Vector: TypeAlias = list[Exact]
Pair: TypeAlias = "tuple[Exact, Exact] | None"
OfVectors: TypeAlias = Callable[..., Exact]  # a function of vectors: the noise, x and mu


@dataclass(frozen=True)
class Step:
    """One statement, why it is made, and whether it is true.

    checked
        whether it is true; None of a choice, and where it is known at points only.
    by
        what decided: "symbols", "points", or "choice".
    misprint
        whether it must be false.
    """

    statement: Formula
    because: str
    checked: bool | None
    by: str = "symbols"
    misprint: bool = False

    @property
    def good(self) -> bool:
        """Whether it is as it must be."""
        return (self.checked is False) is self.misprint


@dataclass(frozen=True)
class Outcome:
    """What is known of one statement.

    true
        whether it is; None where it is known at points only.
    how
        the points where it was tried, or where it is false; empty where symbols prove it.
    """

    true: bool | None
    how: str = ""

    def step(self, statement: Formula, because: str) -> Step:
        """Return a step: the statement with what is known of it."""
        return Step(statement, f"{because} {self.how}".rstrip(), self.true, "points" if self.how else "symbols")


def settle(symbols: Callable[[], object], trial: tuple[bool, str]) -> Outcome:
    """Decide a statement: false if it is at some point, true if ``symbols`` says so, else known at points only."""
    good, how = trial
    if not good:
        return Outcome(False, how)
    return Outcome(True) if attempt(symbols) else Outcome(None, f"{how}; not proved.")


def equal(pairs: Iterable[tuple[Exact, Exact, str]]) -> tuple[bool, str]:
    """Return whether the numbers of each pair are equal, and a sentence: where that was tried, or where it is false."""
    count, digits = 0, float(DIGITS)
    for left, right, where in pairs:
        if not (mpmath.isfinite(left) and mpmath.isfinite(right)):
            continue
        size = max(abs(left), abs(right), 1)
        away = abs(left - right) / size
        if away > mpmath.mpf(10) ** -ALIKE:
            return False, f"False at {where}: {mpmath.nstr(left, 8)} is not {mpmath.nstr(right, 8)}."
        count, digits = count + 1, min(digits, float(-mpmath.log10(away)) if away else DIGITS)
    if not count:
        return True, "There was no point to try it at"
    return True, f"Checked at {count} points to {min(ALIKE, math.floor(digits))} digits"


def events(formulas: Formulas, settings: Iterable[Setting]) -> Iterable[tuple[list[Vector], str]]:
    """Yield each event of the settings of this size: noise, x, mu, and x and mu of the first event; in words."""
    for setting in settings:
        if setting.size != formulas.symbols.size:
            continue
        noise = [mpmath.mpf(value) for value in setting.numbers.values()]
        rows = [([*map(mpmath.mpf, x)], [*map(mpmath.mpf, mu)]) for x, mu in zip(setting.xs, setting.mus, strict=True)]
        for (x, mu), data, mean in zip(rows, setting.xs, setting.mus, strict=True):
            yield [noise, x, mu, *rows[0]], f"x = {spell(data)}, mu = {spell(mean)}{setting.noise_text}"


def try_at(formulas: Formulas, settings: Iterable[Setting], pair: Callable[..., Pair]) -> tuple[bool, str]:
    """Return whether the two numbers that ``pair`` computes of an event are equal at all events, and a sentence.

    ``pair`` gets noise, x, mu, and x and mu of the first event; at an event for which it returns None there is no trial.
    """

    def pairs() -> Iterable[tuple[Exact, Exact, str]]:
        for vectors, where in events(formulas, settings):
            try:
                numbers = pair(*vectors)
            except (Negative, ZeroDivisionError):  # said elsewhere; a removable point
                continue
            if numbers is not None:
                yield *numbers, where

    with mpmath.workdps(DIGITS):
        try:
            return equal(pairs())
        except (ValueError, TypeError, ArithmeticError, NameError, AttributeError) as error:
            return False, f"It cannot be evaluated: {error}."


def of_vectors(formulas: Formulas, expression: Expr) -> OfVectors:
    """Return an expression in the words' symbols as a function of vectors: noise, x and mu."""
    symbols = formulas.symbols
    function = formulas.function(expression, [*symbols.noise.values(), *symbols.xs, *symbols.mus])
    return lambda *vectors: function(*formulas.units([number for vector in vectors for number in vector]))


def is_nll(formulas: Formulas, settings: Iterable[Setting], nll: Expr) -> tuple[bool, str]:
    """Return whether an expression is -log of the density at the points, and a sentence."""
    function = of_vectors(formulas, nll)

    def pair(noise: Vector, x: Vector, mu: Vector, *_: Vector) -> Pair:
        exact = formulas.nll(*noise, *x, *mu)
        return (function(noise, x, mu), exact) if mpmath.isfinite(exact) else None

    return try_at(formulas, settings, pair)


def separates(formulas: Formulas, settings: Iterable[Setting], loss: Expr, slope: Expr) -> tuple[bool, str]:
    """Return whether -log density less slope * loss is a function of x plus one of mu at the points, and a sentence.

    Its mixed differences are zero then; and the slope has to be constant.
    """
    cost, factor = of_vectors(formulas, loss), of_vectors(formulas, slope)

    def pair(noise: Vector, x: Vector, mu: Vector, first: Vector, mean: Vector) -> Pair:
        one, other = factor(noise, x, mu), factor(noise, first, mean)
        if abs(one - other) > abs(one) * mpmath.mpf(10) ** -ALIKE:
            return one, other
        places = ((x, mu), (first, mean), (x, mean), (first, mu))
        nlls = [formulas.nll(*noise, *a, *b) for a, b in places]
        if not all(mpmath.isfinite(nll) for nll in nlls):
            return None
        rest = [nll - one * cost(noise, a, b) for nll, (a, b) in zip(nlls, places, strict=True)]
        size = max(1, *(abs(part) for part in (*nlls, *rest)))
        return (rest[0] + rest[1]) / size, (rest[2] + rest[3]) / size

    return try_at(formulas, settings, pair)


def derivative(function: OfVectors, noise: Vector, x: Vector, mu: Vector, k: int) -> Exact:
    """Return the derivative of a function of vectors by the k-th number of mu, by a central difference."""
    step = (1 + abs(mu[k])) * mpmath.mpf(10) ** -13
    ends = [function(noise, x, [*mu[:k], mu[k] + way * step, *mu[k + 1 :]]) for way in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)
