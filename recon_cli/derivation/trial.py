"""Whether a statement is true, and how that is known: by symbols, or at so many points to so many digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import mpmath

from recon_cli.derivation.limits import attempt
from recon_cli.derivation.points import Setting
from recon_cli.derivation.roundings import DIGITS, Formulas, Negative, spell
from recon_cli.report import Formula

ALIKE = 20  # digits of two values that count as one, of the forty that are computed


@dataclass(frozen=True)
class Step:
    """One statement, why it is made, and what is known of it.

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
class Finding:
    """What is known of one statement.

    true
        whether it is; None where it is known at points only.
    how
        the points where it was tried, or where it is false; empty where symbols prove it.
    """

    true: bool | None
    how: str = ""

    def step(self, statement: Formula, because: str) -> Step:
        """The statement with what is known of it."""
        return Step(statement, f"{because} {self.how}".rstrip(), self.true, "points" if self.how else "symbols")


def settle(symbols: Callable[[], Any], tried: tuple[bool, str]) -> Finding:
    """A statement by symbols, where it is not false at some point already."""
    good, how = tried
    if not good:
        return Finding(False, how)
    return Finding(True) if attempt(symbols) else Finding(None, f"{how}; not proved.")


def equal(pairs: Iterable[tuple[Any, Any, str]]) -> tuple[bool, str]:
    """Whether each two numbers are one, and the points at which that was tried, or the worst of them."""
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


def events(formulas: Formulas, settings: Iterable[Setting]) -> Iterable[tuple[list[list[Any]], str]]:
    """For each event of the settings whose vectors have this size: noise, x, mu, those of the first event; in words."""
    for setting in settings:
        if setting.size != len(formulas.known.xs):
            continue
        noise = [mpmath.mpf(value) for value in setting.numbers.values()]
        named = "".join(f", {name} = {value:.6g}" for name, value in setting.numbers.items())
        rows = [([*map(mpmath.mpf, x)], [*map(mpmath.mpf, mu)]) for x, mu in zip(setting.xs, setting.mus, strict=True)]
        for (x, mu), data, mean in zip(rows, setting.xs, setting.mus, strict=True):
            yield [noise, x, mu, *rows[0]], f"x = {spell(data)}, mu = {spell(mean)}{named}"


def tried(formulas: Formulas, settings: Iterable[Setting], pair: Callable[..., tuple[Any, Any] | None]) -> tuple[bool, str]:
    """Whether the two numbers that ``pair`` makes of an event are one, at all of them."""

    def pairs() -> Iterable[tuple[Any, Any, str]]:
        for parts, where in events(formulas, settings):
            try:
                two = pair(*parts)
            except (Negative, ZeroDivisionError):  # said elsewhere; a removable point
                continue
            if two is not None:
                yield *two, where

    with mpmath.workdps(DIGITS):
        try:
            return equal(pairs())
        except (ValueError, TypeError, ArithmeticError, NameError, AttributeError) as error:
            return False, f"It cannot be evaluated: {error}."


def values(formulas: Formulas, expression: Any) -> Callable[..., Any]:
    """An expression in the words' symbols as a function of lists: noise, x and mu."""
    known = formulas.known
    found = formulas.function(expression, [*known.noise.values(), *known.xs, *known.mus])
    return lambda *lists: found(*formulas.units([part for each in lists for part in each]))


def undone(formulas: Formulas, settings: Iterable[Setting], nll: Any) -> tuple[bool, str]:
    """Whether an expression is -log of the density at the points."""
    said = values(formulas, nll)

    def pair(noise: list[Any], x: list[Any], mu: list[Any], *_: Any) -> tuple[Any, Any] | None:
        exact = formulas.nll(*noise, *x, *mu)
        return (said(noise, x, mu), exact) if mpmath.isfinite(exact) else None

    return tried(formulas, settings, pair)


def apart(formulas: Formulas, settings: Iterable[Setting], loss: Any, slope: Any) -> tuple[bool, str]:
    """Whether -log density less slope * loss is one of x plus one of mu, the slope constant: mixed differences are zero."""
    cost, factor = values(formulas, loss), values(formulas, slope)

    def pair(noise: list[Any], x: list[Any], mu: list[Any], first: list[Any], mean: list[Any]) -> tuple[Any, Any] | None:
        one, other = factor(noise, x, mu), factor(noise, first, mean)
        if abs(one - other) > abs(one) * mpmath.mpf(10) ** -ALIKE:
            return one, other
        places = ((x, mu), (first, mean), (x, mean), (first, mu))
        whole = [formulas.nll(*noise, *a, *b) for a, b in places]
        if not all(mpmath.isfinite(part) for part in whole):
            return None
        rest = [part - one * cost(noise, a, b) for part, (a, b) in zip(whole, places, strict=True)]
        size = max(1, *(abs(part) for part in (*whole, *rest)))
        return (rest[0] + rest[1]) / size, (rest[2] + rest[3]) / size

    return tried(formulas, settings, pair)


def steep(function: Callable[..., Any], noise: list[Any], x: list[Any], mu: list[Any], k: int) -> Any:
    """The derivative of a function of lists by the k-th number of mu, by a central difference."""
    step = (1 + abs(mu[k])) * mpmath.mpf(10) ** -13
    ends = [function(noise, x, [*mu[:k], mu[k] + way * step, *mu[k + 1 :]]) for way in (1, -1)]
    return (ends[0] - ends[1]) / (2 * step)
