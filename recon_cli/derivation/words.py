"""What the words of a likelihood's formulas stand for, as symbols that know their signs."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Expr, Indexed, IndexedBase, Symbol

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import Interval, Outputs, Region

COMPONENTS = 3  # of a vector, where a proof writes them out


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
        """A formula as it is written, ``own`` the loss whose numbers it may name.

        Raises ReconError for what is no formula, or names what is none of these words.
        """
        numbers = {name: sympy.nsimplify(value) for name, value in own.parameters.items()} if own else {}
        names = {**self.names, **numbers, **more}
        try:
            whole = sympy.sympify(text, locals=names)
        except (sympy.SympifyError, SyntaxError, TypeError, ValueError) as error:
            raise ReconError(f"{self.side.name}: {text!r} is no formula that can be read.", "Write it as sympy does.") from error
        known = {part.name for value in names.values() for part in getattr(value, "free_symbols", ())} | {*names}
        if strange := sorted({str(part) for part in whole.free_symbols if not isinstance(part, Indexed)} - known):
            shown = ", ".join(name for name in names if name not in "jkK" or self.side.event)
            raise ReconError(f"{self.side.name}: {text!r} names {strange[0]}, which is none of {shown}.", "Name its parameters.")
        return whole

    def read(self, text: str, own: Loss | None = None, **more: Any) -> Expr:
        """The same with its vectors written out."""
        return self.components(self.general(text, own, **more))

    def components(self, expression: Expr, **vectors: Sequence[Any]) -> Expr:
        """Sums and products over ``K`` components written out, those of other ``vectors`` too."""
        if not self.side.event:
            return expression
        parts = {"x": self.xs, "mu": self.mus, **vectors}
        whole = expression.subs(self.names["K"], len(self.xs)).doit()
        return whole.replace(lambda part: isinstance(part, Indexed), lambda part: parts[part.base.name][int(part.indices[0]) - 1])

    def raws(self) -> list[Symbol]:
        """Symbols for the decoder's raw output: r, and s where there is a second; of a vector, r_1 and so on."""
        if self.side.event:
            return [Symbol(f"r_{k}", real=True) for k in range(1, len(self.mus) + 1)]
        return [Symbol(name, real=True) for name in "rstuvw"[: len(self.mus)]]

    def linked(self) -> list[Expr]:
        """What the link makes of the raw output, for each of ``mus``."""
        text, raw = self.side.link.formula, self.raws()
        if not self.side.event:
            return [sympy.sympify(part, locals={**self.noise, **{r.name: r for r in raw}}) for part in text.split(", ")]
        if text == "r":
            return [*raw]
        whole = sympy.sympify(text, locals=self.names)
        return [self.components(whole.subs(self.names["k"], k), r=raw) for k in range(1, len(raw) + 1)]


def words(kind: type[Likelihood], size: int = COMPONENTS) -> Words:
    """Symbols that know their signs for everything in a likelihood's formulas, vectors of ``size`` components."""
    noise = {field.name: symbol(field.name, field.metadata["domain"]) for field in dataclasses.fields(kind)}
    side = kind(**noise)  # type: ignore[arg-type]
    ends = [f"_{k}" for k in range(1, size + 1)] if side.event else [""]
    mus = [symbol(f"mu{end}", side.domain) for end in ends]
    if isinstance(side.domain, Outputs):
        mus = [symbol(name, region) for name, region in side.domain.parts]
    return Words(side, tuple(symbol(f"x{end}", side.support) for end in ends), tuple(mus), noise)


def symbol(name: str, lies: Region) -> Symbol:
    """A symbol that knows its sign."""
    if lies.low >= 0:
        return Symbol(name, nonnegative=True) if name == "x" else Symbol(name, positive=True)
    return Symbol(name, real=True)


def loss_of(side: Likelihood) -> Loss:
    """A likelihood's loss, its noise symbols. Raises ReconError where it is none, or does not say what it is."""
    hint = (
        "A loss is a recon_cli.identity.losses.Loss with name, formula and torch, and values(x, prediction) where torch has none."
    )
    try:
        loss = side.loss
    except Exception as error:
        raise ReconError(f"{side.name}'s loss cannot be made with symbols for its noise: {error}.", hint) from error
    if not isinstance(loss, Loss):
        raise ReconError(f"{side.name}'s loss is no Loss, but a {type(loss).__name__}.", hint)
    if missing := [name for name in ("name", "formula", "torch") if not isinstance(getattr(loss, name, None), str)]:
        raise ReconError(f"{side.name}'s loss {type(loss).__name__} has no {', '.join(missing)}.", hint)
    return loss


@dataclass(frozen=True)
class Odds:
    """A mean in (0, n) as n t/(1 + t) with odds t > 0, where logarithms and powers open; any other as it is."""

    mu: Symbol
    domain: Region

    @property
    def symbol(self) -> Symbol:
        """What stands for mu inside."""
        return Symbol("t", positive=True) if self.bounded else self.mu

    @property
    def bounded(self) -> bool:
        """Whether mu is a share."""
        return type(self.domain) is Interval and self.domain.low == 0 and self.domain.high != math.inf

    @functools.lru_cache(256)  # noqa: B019
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
    """Whether two expressions are equal, as far as sympy finds."""
    return left == right or zero(sympy.sympify(left - right))


@functools.lru_cache(4096)
def zero(expression: Expr) -> bool:
    """Whether an expression simplifies to nothing: not where it is something at a point, surely where it cancels."""
    symbols = sorted(expression.free_symbols, key=str)
    if not any(part.is_integer or part.is_positive is False for part in symbols):
        point = {part: sympy.Rational(7 + 3 * i, 5 + 2 * i) for i, part in enumerate(symbols)}
        value = expression.xreplace(point).evalf(20)
        if value.is_Float and abs(value) > 1e-9:
            return False
    if sympy.expand(expression) == 0 or (not expression.has(sympy.Piecewise) and sympy.cancel(expression) == 0):
        return True
    return sympy.simplify(expression) == 0
