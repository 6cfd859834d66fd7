"""The trees of a density, its -log and its loss, made of sympy's formulas: what :mod:`movable` computes with."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import sympy
from sympy import Basic, Expr, Symbol
from sympy.core.relational import Relational

from recon_cli.derivation.movable import COUNTS, WIDE, Density, Misprint, Number, Tree
from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.proof import Proof
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Interval, Region
from recon_cli.report import Formula

ARITHMETIC = {sympy.Add: "+", sympy.Mul: "*", sympy.Pow: "^"}
RELATIONS = {sympy.StrictLessThan: "<", sympy.LessThan: "<=", sympy.StrictGreaterThan: ">", sympy.GreaterThan: ">="}
FUNCTIONS = (
    sympy.log, sympy.Abs, sympy.sign, sympy.sin, sympy.cos, sympy.tan, sympy.sinh, sympy.cosh, sympy.tanh, sympy.gamma,
    sympy.loggamma, sympy.factorial, sympy.binomial, sympy.Heaviside,
)  # fmt: skip


class Unwritable(ValueError):
    """A part of a formula that the page cannot compute."""


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
