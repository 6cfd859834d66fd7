"""A density, its -log and its loss as trees of numbers and names, for a page on which noise, data and mean are moved."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import sympy
from sympy import Basic, Expr, Symbol
from sympy.core.relational import Relational

from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.proof import Proof
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Interval, Region
from recon_cli.report import Adjustable, Chart, Formula, Series

Tree: TypeAlias = "float | str | bool | tuple[object, ...]"  # a number, a name, or (function, part, ...)

ARITHMETIC = {sympy.Add: "+", sympy.Mul: "*", sympy.Pow: "^"}
RELATIONS = {sympy.StrictLessThan: "<", sympy.LessThan: "<=", sympy.StrictGreaterThan: ">", sympy.GreaterThan: ">="}
FUNCTIONS = (
    sympy.log, sympy.Abs, sympy.sign, sympy.sin, sympy.cos, sympy.tan, sympy.sinh, sympy.cosh, sympy.tanh, sympy.gamma,
    sympy.loggamma, sympy.factorial, sympy.binomial, sympy.Heaviside,
)  # fmt: skip


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


class Unwritable(ValueError):
    """A part of a formula that the page cannot compute."""


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


def movable(kind: type[Likelihood], proof: Proof, values: dict[str, float], misprints: Sequence[Formula]) -> Density | None:
    """Return what a page needs to move a likelihood of numbers; None of vectors, and of formulas that it cannot compute.

    ``values`` are the noise parameters that were given, ``misprints`` what the derivation says of each of the kind's own.
    """
    words = proof.words
    if words.likelihood.event or len(words.mus) > 1 or not isinstance(words.likelihood.support, Interval):
        return None
    try:
        nll, gap = nll_of(proof), proof.gap
        trees = {
            "density": tree(proof.density), "nll": tree(nll), "loss": tree(proof.loss), "slope": tree(proof.slope),
            "offset": tree(proof.offset), "gap": tree(gap), "nll_gradient": tree(sympy.diff(nll, proof.mu)),
            "loss_gradient": tree(sympy.diff(proof.loss, proof.mu)),
        }  # fmt: skip
        wrong = tuple(
            Misprint(written(text, words.names).unicode, tree(words.read(text)), said.unicode.rpartition(" = ")[2])
            for text, said in zip(kind.misprints, misprints, strict=False)
        )
        likelihood = kind(**(values if {*values} == {*words.noise} else {**kind().parameters, **values}))
    except (Unwritable, TypeError, ReconError):  # a formula that a page cannot compute, or noise without a usual value
        return None
    noise = {key: float(value) for key, value in likelihood.parameters.items()}
    scale = next((noise[name] for name in ("sigma", "scale") if name in noise), 1.0)
    shown = {"nll": nll, "loss": proof.loss, "slope": proof.slope, "offset": proof.offset, "gap": gap}
    return Density(
        likelihood=kind.name,
        loss_name=str(words.likelihood.loss.name),
        **trees,
        texts=(
            *((name, formula(part).unicode) for name, part in shown.items()),
            ("density", written(words.likelihood.density, words.names).unicode),
        ),
        x=number("x", "x (data)", likelihood.support, scale, 0.75),
        mu=number("mu", "μ (decoder)", likelihood.domain, scale, -0.25, beside=likelihood.support),
        noise=tuple(parameters(proof, noise)),
        discrete=likelihood.support.whole,
        misprints=wrong,
    )


def nll_of(proof: Proof) -> Expr:
    """Return -log p as it is printed, where that is of the symbols that can be moved."""
    known = {proof.x, proof.mu, *proof.noise.values()}
    return proof.printed.nll if proof.printed.nll.free_symbols <= known else proof.nll


def parameters(proof: Proof, values: dict[str, float]) -> Iterator[Number]:
    """Yield the noise parameters, each around its value."""
    for name, symbol in proof.noise.items():
        value, title = values[name], formula(symbol).unicode
        if symbol.is_integer:
            yield Number(name, title, value, 1.0, max(20.0, 2 * value), step=1)
        elif symbol.is_positive and not (name == "quantile" or value == 0):
            yield Number(name, title, value, value / 8, value * 8, logarithmic=True)
        else:
            yield Number(name, title, value, 0.02, 0.98)


def number(name: str, title: str, region: Region, scale: float, at: float, beside: Region | None = None) -> Number:
    """Return x or mu within a region, ``at`` of the noise's size from its middle; ``beside`` is where x may lie."""
    low, high = region.low, region.high
    if region.whole:
        top = high if math.isfinite(high) else COUNTS
        return Number(name, title, min(top, low + round(0.25 * (top - low)) or 1.0), low, top, step=1)
    if math.isfinite(low) and math.isfinite(high):
        edge = 0.01 * (high - low)
        return Number(name, title, low + (0.7 if at > 0 else 0.4) * (high - low), low + edge, high - edge)
    if math.isfinite(low):
        counted = beside is not None and beside.whole
        top = low + (COUNTS if counted else 2 * WIDE * scale)
        return Number(name, title, low + 0.35 * (top - low), low + 0.02 * (top - low), top)
    return Number(name, title, at * WIDE * scale / 2, -WIDE * scale, WIDE * scale)


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


def tree(expression: Basic) -> Tree:
    """Return an expression as a tree. Raises Unwritable for what the page has no function for."""
    if expression in (sympy.true, sympy.false):
        return bool(expression)
    if isinstance(expression, Symbol):
        return str(expression.name)
    if expression.is_number and not expression.free_symbols:
        number = complex(sympy.N(expression, 30))
        if number.imag or not math.isfinite(number.real):
            raise Unwritable(str(expression))
        return number.real
    if isinstance(expression, sympy.exp):
        return ("exp", tree(expression.args[0]))
    if isinstance(expression, sympy.Piecewise):
        return ("cases", *((tree(part.args[0]), tree(part.args[1])) for part in expression.args))
    if isinstance(expression, Relational) and type(expression) in RELATIONS:
        return (RELATIONS[type(expression)], *map(tree, expression.args))
    for kind, sign in ARITHMETIC.items():
        if isinstance(expression, kind):
            return (sign, *map(tree, expression.args))
    if isinstance(expression, FUNCTIONS):
        return (type(expression).__name__, *map(tree, expression.args))
    raise Unwritable(str(expression))
