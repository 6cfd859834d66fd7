"""What the words of a likelihood's formulas stand for, as symbols that know their signs."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, Symbol

from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss
from recon_cli.regions import Interval, Outputs

COMPONENTS = 3  # of a vector, in a proof: each further one is the same term again


@dataclass(frozen=True)
class Words:
    """What the words of a likelihood's formulas stand for: data, what the decoder gives, and the noise.

    xs, mus
        the components of ``x``; those of ``mu``, or the several numbers that the decoder gives for an element.
    """

    side: Likelihood
    xs: tuple[Symbol, ...]
    mus: tuple[Symbol, ...]
    noise: dict[str, Symbol]

    @property
    def names(self) -> dict[str, Any]:
        """Every word, vectors of any number of components ``K``."""
        if self.side.event:
            given: dict[str, Any] = {name: IndexedBase(name) for name in ("x", "mu", "r")}
        else:
            given = {"x": self.xs[0], **{symbol.name: symbol for symbol in self.mus}}
        return {**given, **dict(zip("jkK", sympy.symbols("j k K", integer=True, positive=True), strict=True)), **self.noise}

    def general(self, text: str, own: Loss | None = None, **more: Any) -> Expr:
        """A formula as it is written, ``own`` the loss whose numbers it may name."""
        numbers = {name: sympy.nsimplify(value) for name, value in own.parameters.items()} if own else {}
        return sympy.sympify(text, locals={**self.names, **numbers, **more})

    def read(self, text: str, own: Loss | None = None, **more: Any) -> Expr:
        """The same with its vectors written out."""
        return self.components(self.general(text, own, **more))

    def components(self, expression: Expr) -> Expr:
        """Sums and products over ``K`` = 3 components written out."""
        if not self.side.event:
            return expression
        parts = {"x": self.xs, "mu": self.mus}
        whole = expression.subs(self.names["K"], COMPONENTS).doit()
        return whole.replace(lambda part: isinstance(part, Indexed), lambda part: parts[part.base.name][int(part.indices[0]) - 1])


def words(kind: type[Likelihood]) -> Words:
    """Symbols that know their signs for everything in a likelihood's formulas."""
    noise = {field.name: symbol(field.name, field.metadata["domain"]) for field in dataclasses.fields(kind)}
    side = kind(**noise)  # type: ignore[arg-type]
    ends = [f"_{k}" for k in range(1, COMPONENTS + 1)] if side.event else [""]
    mus = [symbol(f"mu{end}", side.domain) for end in ends]
    if isinstance(side.domain, Outputs):
        mus = [symbol(name, region) for name, region in side.domain.parts]
    return Words(side, tuple(symbol(f"x{end}", side.support) for end in ends), tuple(mus), noise)


def symbol(name: str, lies: Interval) -> Symbol:
    """A symbol that knows its sign."""
    if lies.low >= 0:
        return Symbol(name, nonnegative=True) if name == "x" else Symbol(name, positive=True)
    return Symbol(name, real=True)


@dataclass(frozen=True)
class Odds:
    """A mean in (0, n) as n t/(1 + t) with odds t > 0, where logarithms and powers open; any other as it is."""

    mu: Symbol
    domain: Interval

    @property
    def symbol(self) -> Symbol:
        """What stands for mu inside."""
        return Symbol("t", positive=True) if self.bounded else self.mu

    @property
    def bounded(self) -> bool:
        """Whether mu is a share."""
        return type(self.domain) is Interval and self.domain.low == 0 and self.domain.high != math.inf

    def enter(self, expression: Expr) -> Expr:
        """An expression in mu as one in t, its logarithms and powers opened."""
        if not self.bounded:
            return expression
        inside = expression.subs(self.mu, self.domain.high * self.symbol / (1 + self.symbol))
        inside = inside.replace(
            lambda part: part.is_Pow or part.is_Add or isinstance(part, (sympy.log, sympy.exp)),
            lambda part: part.func(*(sympy.cancel(argument) for argument in part.args)),
        )
        return sympy.powsimp(sympy.expand_power_base(sympy.expand_log(inside, force=True), force=True))

    def leave(self, expression: Expr) -> Expr:
        """And back."""
        if not self.bounded:
            return expression
        odds, logit = self.mu / (self.domain.high - self.mu), sympy.Dummy("logit")
        opened = sympy.expand_log(expression, force=True).subs(sympy.log(self.symbol), logit)
        return sympy.factor(sympy.cancel(opened.subs(self.symbol, odds))).subs(logit, sympy.log(odds))


AWAY = Symbol("t", positive=True)


def halves(expression: Expr, x: Symbol, mu: Symbol) -> list[Expr]:
    """An expression at x = mu + t and at x = mu - t, t > 0, where every |x - mu| opens."""
    return [sympy.piecewise_fold(expression.subs(x, mu + sign * AWAY).doit()) for sign in (1, -1)]


def same(left: Any, right: Any) -> bool:
    """Whether two expressions are equal."""
    return left == right or sympy.simplify(left - right) == 0
