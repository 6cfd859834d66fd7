"""Steps that refute: misprints of a density, losses that are no likelihood's, and a loss on data outside its support."""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Expr, Symbol

from recon_cli import likelihoods
from recon_cli.derivation import normalisation
from recon_cli.derivation.algebra import replace, substitute
from recon_cli.derivation.case import CLOSE, Case, is_discrete, total_name
from recon_cli.derivation.deadlines import attempt
from recon_cli.derivation.mass import mass
from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.proof import Proof
from recon_cli.derivation.trial import Step
from recon_cli.derivation.words import same, words
from recon_cli.identity.losses import Loss
from recon_cli.report import Formula


def counterexamples(case: Case) -> Iterator[Step]:
    """Yield a step for each misprint of the density, each loss that is taken for the likelihood's, and grey levels."""
    prints = (*case.kind.prints, *[""] * len(case.kind.misprints))
    yield from (misprint(text, latex, case) for text, latex in zip(case.kind.misprints, prints, strict=False))
    yield from (impostor(loss, case.proof) for loss in case.kind.impostors)
    if case.kind.relaxation:
        yield grey_levels(case)


def misprint(text: str, latex: str, case: Case) -> Step:
    """Check a misprinted density as the right one is checked; ``latex`` is how it was printed, if that matters."""
    proof = case.proof
    density = proof.words.read(text)
    added = attempt(lambda: normalisation.total(density, proof.words, proof.odds))
    value: Expr | float = sympy.Integer(1) if added is None else added
    if added is None:
        masses = (mass(proof.words, density, each, 0).whole for each in case.settings)
        value = next((whole for whole in masses if abs(whole - 1) > CLOSE), 1)
    printed = written(text, proof.words.names)
    if latex:
        printed = Formula(printed.text, printed.unicode, latex)
    because = "A misprint met in an answer that many have read, put through the same check: it is no density, "
    because += "its integral diverges." if value == sympy.oo else f"its {'sum' if is_discrete(proof) else 'integral'} is not one."
    because += " Printed, the square stands outside of a fraction without parentheses." if latex else ""
    return Step(formula("p(x|mu)", " = ", printed, ", ", total_name(proof), " = ", value), because, same(value, 1), misprint=True)


def impostor(loss: Loss, proof: Proof) -> Step:
    """Show that the gradients of a loss, with its ``stop`` gradients, are those of no function: they have a curl."""
    mean, other = proof.words.mus
    constants = {symbol: Symbol(f"held_{symbol.name}", positive=True) for symbol in (mean, other)}
    stop = sympy.Function("stop")
    stopped = replace(proof.words.general(loss.formula, loss, stop=stop), stop, lambda part: constants[part])
    symbols = {constant: symbol for symbol, constant in constants.items()}
    by_mean, by_other = (substitute(sympy.diff(stopped, part), symbols) for part in (mean, other))
    numbers = f" ({', '.join(f'{name} = {value:g}' for name, value in loss.parameters.items())})" if loss.parameters else ""
    curl = sympy.simplify(sympy.diff(by_mean, other) - sympy.diff(by_other, mean))
    return Step(
        formula("d2/d(var) d(mu)", " - ", "d2/d(mu) d(var)", " = ", curl, " != ", 0),
        f"{loss.name}{numbers} is no likelihood's loss: {loss.reason}: the two mixed derivatives of a function would be equal.",
        not same(curl, 0),
    )


def grey_levels(case: Case) -> Step:
    """Show that between the allowed values of x the density needs a normaliser that depends on mu."""
    proof = case.proof
    relaxed = likelihoods.find(case.kind.relaxation or "")
    symbols = words(relaxed)
    own = substitute(proof.density, {proof.x: symbols.xs[0], proof.mu: symbols.mus[0]})
    other = symbols.read(relaxed.density)
    missing = attempt(lambda: normalisation.total(own, symbols, proof.odds))
    gap = sympy.log(missing) if missing is not None else sympy.log(own / other)

    def depends_on_mu(normaliser: Expr) -> bool:
        inner, enter = proof.odds.enter(normaliser), proof.odds.enter
        return same(enter(own) / enter(other), inner) and not same(sympy.diff(inner, proof.odds.symbol), 0)

    good = missing is not None and attempt(lambda: depends_on_mu(missing))
    return Step(
        formula("gap c(mu)", " = ", "log integral p dx", " = ", gap, " != ", 0),
        f"On grey levels, x in {relaxed.support}, the same expression is no density: this integral is its missing normaliser, "
        f"and it depends on μ. There {proof.likelihood.loss.name} drops a gap that moves the gradient; {relaxed.name} closes it.",
        bool(good),
    )
