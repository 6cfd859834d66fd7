"""What was misprinted for a likelihood's density, what is taken for its loss, and what its loss is not."""

from __future__ import annotations

from collections.abc import Iterator

import sympy
from sympy import Symbol

from recon_cli import likelihoods
from recon_cli.derivation import whole
from recon_cli.derivation.limits import attempt
from recon_cli.derivation.mass import mass
from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.proof import Proof
from recon_cli.derivation.steps import CLOSE, Case, of_sums, whole_of
from recon_cli.derivation.trial import Step
from recon_cli.derivation.words import same, words
from recon_cli.identity.losses import Loss
from recon_cli.report import Formula


def counterexamples(case: Case) -> Iterator[Step]:
    """What was misprinted, and what is taken for its loss."""
    prints = (*case.kind.prints, *[""] * len(case.kind.misprints))
    yield from (misprint(text, print, case) for text, print in zip(case.kind.misprints, prints, strict=False))
    yield from (impostor(loss, case.proof) for loss in case.kind.impostors)
    if case.kind.relaxation:
        yield grey_levels(case)


def misprint(text: str, print: str, case: Case) -> Step:
    """A density as printed somewhere, put through the same check as the right one."""
    proof = case.proof
    read = proof.words.read(text)
    added = attempt(lambda: whole.total(read, proof.words, proof.odds))
    if added is None:
        added = next(
            (
                found.whole
                for found in (mass(proof.words, read, each, 0) for each in case.settings)
                if abs(found.whole - 1) > CLOSE
            ),
            1,
        )
    shown = written(text, proof.words.names)
    if print:
        shown = Formula(shown.text, shown.unicode, print)
    because = "A misprint met in an answer that many have read, put through the same check: it is no density, "
    because += "its integral diverges." if added == sympy.oo else f"its {'sum' if of_sums(proof) else 'integral'} is not one."
    because += " Printed, the square stands outside of a fraction without parentheses." if print else ""
    return Step(
        formula("p(x|mu)", " = ", shown, ", ", whole_of(proof), " = ", added), because, bool(same(added, 1)), misprint=True
    )


def impostor(loss: Loss, proof: Proof) -> Step:
    """A loss whose gradients, what it holds constant held, are those of no function: they have a curl."""
    mean, other = proof.words.mus
    held = {symbol: Symbol(f"held_{symbol.name}", positive=True) for symbol in (mean, other)}
    stopped = sympy.Function("stop")
    cost = proof.words.general(loss.formula, loss, stop=stopped)
    frozen = cost.replace(stopped, lambda part: held[part])
    by_mean, by_other = (sympy.diff(frozen, part).subs({value: key for key, value in held.items()}) for part in (mean, other))
    numbers = f" ({', '.join(f'{name} = {value:g}' for name, value in loss.parameters.items())})" if loss.parameters else ""
    curl = sympy.simplify(sympy.diff(by_mean, other) - sympy.diff(by_other, mean))
    return Step(
        formula("d2/d(var) d(mu)", " - ", "d2/d(mu) d(var)", " = ", curl, " != ", 0),
        f"{loss.name}{numbers} is no likelihood's loss: {loss.reason}: the two mixed derivatives of a function would be equal.",
        not same(curl, 0),
    )


def grey_levels(case: Case) -> Step:
    """Between the allowed values the expression needs a normaliser that depends on mu."""
    proof = case.proof
    relaxed = likelihoods.find(case.kind.relaxation or "")
    known = words(relaxed)
    same_words = {proof.x: known.xs[0], proof.mu: known.mus[0]}
    own, other = proof.density.subs(same_words), known.read(relaxed.density)
    missing = attempt(lambda: whole.total(own, known, proof.odds))
    gap = sympy.log(missing) if missing is not None else sympy.log(own / other)
    good = attempt(lambda: same(proof.odds.enter(own) / proof.odds.enter(other), proof.odds.enter(missing))
                   and not same(sympy.diff(proof.odds.enter(missing), proof.odds.symbol), 0))  # fmt: skip
    return Step(
        formula("gap c(mu)", " = ", "log integral p dx", " = ", gap, " != ", 0),
        f"On grey levels, x in {relaxed.support}, the same expression is no density: this integral is its missing normaliser, "
        f"and it depends on μ. There {proof.side.loss.name} drops a gap that moves the gradient; {relaxed.name} closes it.",
        bool(good),
    )
