"""A density, its -log and its loss as trees of numbers and names, for a page on which noise, data and mean are moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from recon_cli.report import Adjustable, Chart, Series

Tree: TypeAlias = "float | str | bool | tuple[object, ...]"  # a number, a name, or (function, part, ...)


def _product(*parts: float) -> float:
    """Return a product in which 0 times anything is 0, as x log mu has it."""
    return 0.0 if 0 in parts else math.prod(parts)


def _binomial(n: float, k: float) -> float:
    """Return n over k."""
    return math.exp(math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1))


def _sign(x: float) -> float:
    """Return -1, 0 or 1."""
    return float((x > 0) - (x < 0))


COMPUTED: Mapping[str, Callable[..., float]] = {  # math has the others by their names
    "+": lambda *parts: math.fsum(parts), "*": _product, "^": lambda base, power: float(base**power), "Abs": math.fabs,
    "sign": _sign, "loggamma": math.lgamma, "factorial": lambda x: math.gamma(x + 1), "binomial": _binomial,
    "Heaviside": lambda x: (1 + _sign(x)) / 2,
}  # fmt: skip
PLACES = 161  # of a curve
WIDE = 4.0  # units of the noise to either side, where a region has no end
COUNTS = 12.0  # shown of counts that have no end


@dataclass(frozen=True)
class Number:
    """A number that can be moved: its name in the formulas and on the page, where it is, and from where to where.

    step is 1 where only whole numbers are allowed, else 0; logarithmic whether it is a size.
    """

    name: str
    title: str
    value: float
    low: float
    high: float
    step: int = 0
    logarithmic: bool = False


@dataclass(frozen=True)
class Misprint:
    """A density as it was misprinted, its tree, and what it adds up to, in words."""

    printed: str
    density: Tree
    adds_up_to: str


@dataclass(frozen=True)
class Density(Adjustable):
    """-log p(x | mu) = slope * loss + offset + gap, each part a tree and, for people, a text.

    nll_gradient, loss_gradient
        by mu.
    x, mu, noise
        what can be moved; ``discrete`` whether p is a probability.
    """

    likelihood: str
    loss_name: str
    density: Tree
    nll: Tree
    loss: Tree
    slope: Tree
    offset: Tree
    gap: Tree
    nll_gradient: Tree
    loss_gradient: Tree
    texts: tuple[tuple[str, str], ...]
    x: Number
    mu: Number
    noise: tuple[Number, ...]
    discrete: bool
    misprints: tuple[Misprint, ...]


def charts(density: Density) -> Iterator[Chart]:
    """Yield the density over x, with its misprints, and -log p beside the loss over mu, all else where it is."""
    here = {each.name: each.value for each in (density.x, density.mu, *density.noise)}
    texts, p = dict(density.texts), "P" if density.discrete else "p"
    at = f"μ = {density.mu.value:.4g}" + "".join(f", {each.title} = {each.value:.4g}" for each in density.noise)

    def over(function: Tree, number: Number, xs: Sequence[float]) -> list[float | None]:
        return [finite(value(function, {**here, number.name: x})) for x in xs]

    xs, kind = grid(density.x), "bars" if density.discrete else "line"
    wrong = [Series("misprinted", over(each.density, density.x, xs), "dashes") for each in density.misprints]
    top = 1.6 * max(y for y in over(density.density, density.x, xs) if y is not None)
    wrong = [replace(each, values=[y if y is not None and y <= top else None for y in each.values]) for each in wrong]
    own = Series(f"{p}(x|μ)", over(density.density, density.x, xs), kind)
    yield Chart(f"{density.likelihood}: {p}(x|μ), {at}", xs, [own, *wrong], "x", f"{p}(x|μ)")
    means = grid(density.mu)
    loss, slopes = over(density.loss, density.mu, means), over(density.slope, density.mu, means)
    scaled = [None if a is None or y is None else a * y for a, y in zip(slopes, loss, strict=True)]
    yield Chart(
        f"−log {p}(x|μ) and {density.loss_name} at x = {density.x.value:.4g}",
        means,
        [
            Series(f"−log {p}(x|μ)", over(density.nll, density.mu, means)),
            Series(f"{texts['slope']} × loss", scaled, "dashes"),
            Series(f"loss {texts['loss']}", loss),
        ],
        "μ",
        "nats",
    )


def grid(number: Number) -> list[float]:
    """Return the places at which a number is drawn."""
    if number.step:
        return [number.low + at for at in range(round(number.high - number.low) + 1)]
    return [number.low + (number.high - number.low) * at / (PLACES - 1) for at in range(PLACES)]


def finite(number: float) -> float | None:
    """Return a number, None where it is none."""
    return number if math.isfinite(number) else None


def value(part: Tree, names: Mapping[str, float]) -> float:
    """Return what a tree is worth, as the page computes it; NaN where it is not defined."""
    try:
        return _value(part, names)
    except (ArithmeticError, ValueError):
        return math.nan


def _value(part: Any, names: Mapping[str, float]) -> float:
    if isinstance(part, str):
        return names[part]
    if not isinstance(part, tuple):
        return float(part)
    name, *parts = part
    if name == "cases":
        known = (branch for branch, condition in parts if condition is True or _holds(condition, names))
        return _value(next(known), names)
    numbers = [_value(each, names) for each in parts]
    return COMPUTED[name](*numbers) if name in COMPUTED else float(getattr(math, name)(*numbers))


def _holds(condition: Any, names: Mapping[str, float]) -> bool:
    sign, left, right = condition
    a, b = _value(left, names), _value(right, names)
    return {"<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[sign]
