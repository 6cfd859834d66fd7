"""The symbols, each with its sign, that the words in a likelihood's formulas stand for, and equality of expressions."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, Symbol

from recon_cli.derivation.algebra import as_expr, parse, replace, substitute
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss, raw_names
from recon_cli.identity.regions import Interval, Outputs, Region
from recon_cli.identity.vectors import VectorOutputs

COMPONENTS = 3  # of a vector, where a proof writes them out
PARTS = 2  # of a mixture


@dataclass(frozen=True)
class Words:
    """The symbols for the data, the decoder's outputs and the noise of one likelihood.

    likelihood
        the likelihood with symbols for its noise parameters.
    xs, mus
        the components of ``x``; those of ``mu``, or the several numbers that the decoder gives for an element.
    noise
        the symbol of each noise parameter by name.
    """

    likelihood: Likelihood
    xs: tuple[Symbol, ...]
    mus: tuple[Symbol, ...]
    noise: dict[str, Symbol]

    @property
    def size(self) -> int:
        """How many components a vector has, or how many numbers it is ``sized_by``; 1 of anything else."""
        return int(getattr(self.likelihood, self.likelihood.sized_by)) if self.likelihood.sized_by else len(self.xs)

    @property
    def several(self) -> int:
        """How many numbers the decoder gives for each component of a vector."""
        return len(self.mus) // len(self.xs) if self.likelihood.event else 1

    @property
    def names(self) -> dict[str, Expr]:
        """Every word that a formula may use; vectors are indexed and have any number ``K`` of components."""
        if self.likelihood.event:
            own = (*self.likelihood.head, *raw_names(self.several)) if self.likelihood.head else ("mu", "r")
            variables = {name: as_expr(IndexedBase(name)) for name in ("x", *own)}
        else:
            variables = {"x": self.xs[0], **{symbol.name: symbol for symbol in self.mus}}
        return {
            **variables,
            **{name: Symbol(name, integer=True, positive=True) for name in "jkK"},
            **self.noise,
        }

    def general(self, text: str, loss: Loss | None = None, **functions: object) -> Expr:
        """Return the expression that a formula spells, its vectors of any number of components.

        ``loss`` is the loss whose parameters the formula may name, ``functions`` further names.
        Raises ReconError if the text is no formula, or names something else.
        """
        numbers = {name: sympy.nsimplify(value) for name, value in loss.factors.items()} if loss else {}
        names = {**self.names, **numbers, **functions}
        try:
            expression = parse(text, names)
        except (sympy.SympifyError, SyntaxError, TypeError, ValueError) as error:
            raise ReconError(
                f"{self.likelihood.name}: {text!r} is no formula that can be read.", "Write it as sympy does."
            ) from error
        allowed = {part.name for value in names.values() for part in getattr(value, "free_symbols", ())} | {*names}
        if strange := sorted({str(part) for part in expression.free_symbols if not isinstance(part, Indexed)} - allowed):
            allowed_names = ", ".join(name for name in names if name not in "jkK" or self.likelihood.event)
            raise ReconError(
                f"{self.likelihood.name}: {text!r} names {strange[0]}, which is none of {allowed_names}.", "Name its parameters."
            )
        return expression

    def read(self, text: str, loss: Loss | None = None) -> Expr:
        """Return the expression that a formula spells, the components of its vectors written out; raise as ``general``."""
        return self.components(self.general(text, loss))

    def components(self, expression: Expr, **vectors: Sequence[Expr]) -> Expr:
        """Write out sums and products over ``K`` components: those of x, of what the decoder gives and the other ``vectors``."""
        if not self.likelihood.event:
            return expression
        given = {name: self.mus[i :: self.several] for i, name in enumerate(self.likelihood.head or ("mu",))}
        parts: dict[str, Sequence[Expr]] = {"x": self.xs, **given, **vectors}
        written_out = substitute(expression, {self.names["K"]: len(self.xs)}).doit()
        return replace(
            written_out,
            lambda part: isinstance(part, Indexed),
            lambda part: parts[part.base.name][int(part.indices[0]) - 1],
        )

    def raws(self) -> list[Symbol]:
        """Return symbols for the decoder's raw outputs: r, then s, t...; for a vector r_1, r_2..."""
        if self.likelihood.event:
            names = raw_names(self.several)
            return [Symbol(f"{name}_{k}", real=True) for k in range(1, len(self.xs) + 1) for name in names]
        return [Symbol(name, real=True) for name in raw_names(len(self.mus))]

    def linked(self) -> list[Expr]:
        """Return each of ``mus`` as an expression in the raw outputs, through the link."""
        text, raw = self.likelihood.link.formula, self.raws()
        if not self.likelihood.event:
            return [parse(part, {**self.noise, **{r.name: r for r in raw}}) for part in text.split(", ")]
        if text == "r":
            return [*raw]
        own = {name: raw[i :: self.several] for i, name in enumerate(raw_names(self.several))}
        numbers = [parse(part, self.names) for part in text.split("; ")]
        places = range(1, len(self.xs) + 1)
        return [self.components(substitute(number, {self.names["k"]: k}), **own) for k in places for number in numbers]


def words(kind: type[Likelihood], size: int | None = None) -> Words:
    """Return symbols with their signs for everything in a likelihood's formulas, vectors and mixtures having ``size`` components.

    By default vectors have three, and mixtures two. Of vectors that are ``sized_by`` something else, one more than that.
    """
    fields = {field.name: field.metadata["domain"] for field in dataclasses.fields(kind)}
    noise = {name: symbol(name, domain) for name, domain in fields.items() if name != kind.sized_by}
    parts = size or (int(getattr(kind(), kind.sized_by)) if kind.event else PARTS) if kind.sized_by else 0
    likelihood = kind(**noise, **({kind.sized_by: float(parts)} if kind.sized_by else {}))
    if likelihood.event and kind.sized_by:
        size = likelihood.length or int(getattr(likelihood, kind.sized_by)) + 1
    size = likelihood.length or size or COMPONENTS
    ends = [f"_{k}" for k in range(1, size + 1)] if likelihood.event else [""]
    mus = [symbol(f"mu{end}", likelihood.domain) for end in ends]
    if isinstance(likelihood.domain, VectorOutputs):
        mus = [symbol(f"{name}_{k + 1}", region) for k in range(size) for name, region in likelihood.domain.of(k)]
    elif isinstance(likelihood.domain, Outputs):
        mus = [symbol(name, region) for name, region in likelihood.domain.parts]
    return Words(likelihood, tuple(symbol(f"x{end}", likelihood.support) for end in ends), tuple(mus), noise)


def symbol(name: str, region: Region) -> Symbol:
    """Return a symbol with the sign of the values in a region."""
    if region.low >= 0:
        return Symbol(name, nonnegative=True) if name == "x" else Symbol(name, positive=True)
    return Symbol(name, real=True)


def loss_of(likelihood: Likelihood) -> Loss:
    """Return the loss of a likelihood with symbols for its noise; raise ReconError if it is no Loss or lacks its texts."""
    hint = (
        "A loss is a recon_cli.identity.losses.Loss with name, formula and torch, and values(x, prediction) where torch has none."
    )
    try:
        loss = likelihood.loss
    except Exception as error:
        raise ReconError(f"{likelihood.name}'s loss cannot be made with symbols for its noise: {error}.", hint) from error
    if not isinstance(loss, Loss):
        raise ReconError(f"{likelihood.name}'s loss is no Loss, but a {type(loss).__name__}.", hint)
    if missing := [name for name in ("name", "formula", "torch") if not isinstance(getattr(loss, name, None), str)]:
        raise ReconError(f"{likelihood.name}'s loss {type(loss).__name__} has no {', '.join(missing)}.", hint)
    return loss


@dataclass(frozen=True)
class Odds:
    """The change of variable from a mean in (0, n) to its odds t > 0, mu = n t/(1 + t), in which logarithms and powers expand.

    A mean with another domain stays as it is.
    """

    mu: Symbol
    domain: Region

    @property
    def symbol(self) -> Symbol:
        """The symbol that replaces mu."""
        return Symbol("t", positive=True) if self.bounded else self.mu

    @property
    def bounded(self) -> bool:
        """Whether mu lies in an interval from 0 to a finite end."""
        return type(self.domain) is Interval and self.domain.low == 0 and self.domain.high != math.inf

    @functools.lru_cache(256)  # noqa: B019
    def enter(self, expression: Expr) -> Expr:
        """Rewrite an expression in mu as one in t, with its logarithms and powers expanded."""
        if not self.bounded:
            return expression
        inside = replace(
            substitute(expression, {self.mu: self.domain.high * self.symbol / (1 + self.symbol)}),
            lambda part: part.is_Pow or part.is_Add or isinstance(part, (sympy.log, sympy.exp)),
            lambda part: part.func(*(sympy.cancel(argument) for argument in part.args)),
        )
        return as_expr(sympy.powsimp(sympy.expand_power_base(sympy.expand_log(inside, force=True), force=True)))

    def leave(self, expression: Expr) -> Expr:
        """Rewrite an expression in t as one in mu."""
        if not self.bounded:
            return expression
        odds, logit = self.mu / (self.domain.high - self.mu), sympy.Dummy("logit")
        expanded = substitute(sympy.expand_log(expression, force=True), {sympy.log(self.symbol): logit})
        factored = as_expr(sympy.factor(sympy.cancel(substitute(expanded, {self.symbol: odds}))))
        return substitute(factored, {logit: sympy.log(odds)})


AWAY = Symbol("t", positive=True)  # the distance of x from mu


def halves(expression: Expr, x: Symbol, mu: Symbol) -> list[Expr]:
    """Return an expression at x = mu + t and at x = mu - t, t > 0, where every ``|x - mu|`` is t."""
    return [as_expr(sympy.piecewise_fold(substitute(expression, {x: mu + sign * AWAY}).doit())) for sign in (1, -1)]


def same(left: Any, right: Any) -> bool:
    """Return whether two expressions, or numbers, are equal, as far as sympy can tell."""
    return left == right or is_zero(sympy.sympify(left - right))


@functools.lru_cache(4096)
def is_zero(expression: Expr) -> bool:
    """Return whether an expression simplifies to zero; a value at one point, or cancelling, often decides sooner."""
    symbols = sorted(expression.free_symbols, key=str)
    if not any(part.is_integer or part.is_positive is False for part in symbols):
        point = {part: sympy.Rational(7 + 3 * i, 5 + 2 * i) for i, part in enumerate(symbols)}
        value = as_expr(expression.xreplace(point)).evalf(20)
        if value.is_Float and abs(value) > 1e-9:
            return False
    if sympy.expand(expression) == 0 or (not expression.has(sympy.Piecewise) and sympy.cancel(expression) == 0):
        return True
    return bool(sympy.simplify(expression) == 0)
