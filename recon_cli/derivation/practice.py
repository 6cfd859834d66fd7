"""What the identity means in training: reductions, gradients, learning rates, and weights on the KL."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator
from typing import Any

import sympy
from sympy import Symbol

from recon_cli.derivation import trial
from recon_cli.derivation.limits import attempt
from recon_cli.derivation.notation import formula, spoken, times, with_value
from recon_cli.derivation.proof import Proof, agree
from recon_cli.derivation.steps import Case, long
from recon_cli.derivation.trial import Finding, Step, settle
from recon_cli.derivation.words import same
from recon_cli.identity.losses import REDUCTIONS, Loss
from recon_cli.report import Formula

PLAIN = 40  # operations of a derivative that is still worth a look


def practice(case: Case) -> Iterator[Step]:
    """From the identity to the line in the code and the step of an optimizer."""
    yield reductions(case)
    yield (ratio := gradients(case))
    if case.proof.gap == 0:
        yield descent(case, ratio)
        yield adam()
        yield tradeoff(case)


def reductions(case: Case) -> Step:
    """Each reduction of two samples of three elements, averaged and added as its name says, against the plain sum."""
    proof, count = case.proof, case.elements
    batch, size = sympy.symbols("B D", positive=True)
    numbers = {size: count} if count else {}
    factors = {each.name: sympy.sympify(each.divisor, locals={"B": batch, "D": size}) for each in REDUCTIONS}
    parts: list[Any] = ["sum_{batch} -log p", *[" - ", "sum offset b(x)"] * (proof.offset != 0)]
    parts += [" - ", "sum gap c(mu)"] * (proof.gap != 0)
    for name, factor in factors.items():
        parts += [" = ", *times(proof.slope * factor.subs(numbers), case.values, f"{name.upper().replace('-', '')}(loss)")]
    cells = sympy.Matrix(2, 3, sympy.symbols("l:6", real=True))
    samples = [sum(cells.row(i)) for i in range(2)]
    reduced = {"sum": sum(cells), "mean": sum(sample / 3 for sample in samples) / 2, "batch-mean": sum(samples) / 2}
    unit = "vectors, each of which has one loss" if proof.side.event else "elements"
    return Step(
        formula(*parts),
        f"The loss in the code, with its exact factor, over B samples of D{f' = {count}' if count else ''} {unit}: "
        f"SUM of all, MEAN of all ({called(proof.side.loss)}), or BATCHMEAN, summed over the {unit.split(',')[0]} and "
        "averaged over the samples.",
        all(same(factor.subs({batch: 2, size: 3}) * reduced[name], sum(cells)) for name, factor in factors.items()),
    )


def called(loss: Loss) -> str:
    """What people call for the mean of a loss."""
    own = [f"{name} = {formula(sympy.nsimplify(value)).unicode}" for name, value in loss.parameters.items() if str(value) != name]
    if not loss.torch.isidentifier():
        numbers, condition = [f"with its {spoken(own)}"] * bool(own), [loss.condition] * bool(loss.condition)
        return ", ".join([loss.torch, *numbers, *condition, "then .mean()"])
    conditions = [f"given {spoken(own)}"] * bool(own) + [loss.condition] * bool(loss.condition)
    return f"what F.{loss.torch} does{', ' if conditions else ' by default'}{', '.join(conditions)}"


def gradients(case: Case) -> Step:
    """The ratio of the two gradients is the slope, or not constant; both shown where they are short."""
    proof = case.proof
    t = proof.odds.symbol
    name = "(d nll/d mu)/(d loss/d mu)"
    cost = trial.values(case.own, proof.loss)

    def nll(*lists: list[Any]) -> Any:
        return case.own.nll(*(part for each in lists for part in each))

    if proof.gap != 0:
        ratio = trial.tried(
            case.own,
            case.settings,
            lambda noise, x, mu, first, _: tuple(
                trial.steep(nll, noise, at, mu, 0) / trial.steep(cost, noise, at, mu, 0) for at in (x, first)
            ),
        )
        because = "The ratio of the gradients is no constant: no learning rate makes the two equal."
        return Step(formula(name, " != ", "constant"), because, not ratio[0])

    slope = trial.values(case.own, proof.slope)
    sides = [
        trial.tried(
            case.own,
            case.settings,
            lambda noise, x, mu, *_, k=k: (
                trial.steep(nll, noise, x, mu, k) / (size := 1 + abs(trial.steep(nll, noise, x, mu, k))),
                slope(noise, x, mu) * trial.steep(cost, noise, x, mu, k) / size,
            ),
        )
        for k in range(len(proof.words.mus))
    ]

    def symbols() -> bool:
        of_nll, of_loss = (sympy.diff(proof.odds.enter(part), t) for part in (proof.nll, proof.loss))
        first = of_nll == proof.slope * of_loss or agree(of_nll / of_loss, proof.slope, proof.x, t)
        others = ((sympy.diff(proof.nll, mu), proof.slope * sympy.diff(proof.loss, mu)) for mu in proof.words.mus[1:])
        return proof.whole and first and all(agree(*pair, proof.x, t) for pair in others)

    finding = settle(symbols, min(sides, key=lambda each: each[0]))
    parts = [*derivatives(case), name, " = ", *with_value(proof.slope, case.values)]
    because = "So the gradient of the likelihood is the gradient of the loss, times a constant"
    if proof.side.loss.convention == 0.5:
        parts += [", ", "(d nll/d mu)/(d (loss/2)/d mu)", " = ", *with_value(2 * proof.slope, case.values)]
        because += ": one for the loss as it is, twice that for the loss with the half in front"
    if len(proof.side.head) > 1:
        because += f"; so are the derivatives by {spoken(proof.side.head[1:])}"
    return finding.step(formula(*parts), f"{because}.")


def derivatives(case: Case) -> list[Any]:
    """The derivatives by mu of log p, of the loss, and of its mean over a sample, where they are short; else nothing."""
    proof, mu = case.proof, case.proof.mu
    if proof.side.event or len(proof.words.mus) > 1 or proof.loss.has(sympy.Piecewise):
        return []
    cost = attempt(lambda: tidied(sympy.diff(proof.loss, mu), proof), 2)
    log = attempt(lambda: tidied(-proof.slope * sympy.diff(proof.loss, mu), proof), 2)
    if cost is None or log is None or cost.count_ops() > PLAIN or cost.has(sympy.Derivative, sympy.Integral):
        return []
    size = sympy.Integer(case.elements) if case.elements else Symbol("D", positive=True)
    shown = [flipped(formula(part)) for part in (log, cost, cost / size)]
    return [
        "d log p/d mu",
        " = ",
        shown[0],
        ", ",
        "d loss/d mu",
        " = ",
        shown[1],
        ", ",
        "d MEAN(loss)/d mu",
        " = ",
        shown[2],
        ", ",
    ]


def tidied(slope: Any, proof: Proof) -> Any:
    """A derivative as people write it: sinh over cosh as tanh, 1/(mu - n) as -1/(n - mu) where mu is below n."""
    slope = slope.replace(sympy.sinh, lambda at: sympy.tanh(at) * sympy.cosh(at))
    held = {each: sympy.Dummy() for each in slope.atoms(sympy.Function)}
    factored = sympy.factor(slope.subs(held)).subs({value: key for key, value in held.items()})
    away = sympy.Dummy(real=True)
    apart = attempt(lambda: sympy.powsimp(sympy.factor(slope.subs(proof.x, proof.mu + away))), 2)
    others = [] if apart is None or apart.has(proof.mu) else [apart.subs(away, proof.x - proof.mu)]
    found = min(factored, sympy.factor_terms(slope), *others, key=sympy.count_ops)
    if proof.odds.bounded:
        high = proof.side.domain.high
        found = found.subs(1 / (proof.mu - high), -1 / (high - proof.mu))
    return found


def flipped(shown: Formula) -> Formula:
    """A formula with the minus in front of it taken into its x - mu, where that is all that is odd in it."""
    if shown.text[0] != "-" or shown.text.count("x - mu") + shown.text.count("mu - x") != 1 or "**" in shown.text:
        return shown

    def turned(text: str) -> str:
        pair = re.search(r"(\bx) ([-−]) (\\?mu\b|μ)|(\\?mu\b|μ) ([-−]) (x\b)", text)
        if not pair:
            return ""
        ends = [part for part in pair.groups() if part]
        return text[1:].strip().replace(pair[0], f"{ends[2]} {ends[1]} {ends[0]}")

    texts = [*map(turned, (shown.text, shown.unicode, shown.latex))]
    return Formula(*texts) if all(texts) else shown


def descent(case: Case, ratio: Step) -> Step:
    """One step of gradient descent in any parameter theta of the decoder, and the second with momentum, are linear in the gradient."""  # noqa: E501
    g, h = sympy.symbols("g h", real=True)
    rate, keep = sympy.symbols("eta m", positive=True)
    a = case.proof.slope
    linear = same(rate * (keep * a * g + a * h), rate * a * (keep * g + h))
    scaled = times(rate * a, case.values, "d loss/d theta")
    return Step(
        formula("theta", " - ", "eta", "*", "d nll/d theta", " = ", "theta", " - ", *scaled),
        "Under SGD the slope is a factor on the learning rate, exactly, momentum included, without weight decay or clipping: "
        "a step is linear in the gradients.",
        linear and ratio.checked if ratio.checked is not None else None,
        ratio.by,
    )


@functools.cache
def adam() -> Step:
    """Adam's first step, its moments corrected: g/(sqrt(g^2) + eps)."""
    g = Symbol("g", real=True, nonzero=True)
    a, eps = sympy.symbols("a epsilon", positive=True)

    def step(gradient: Any, floor: Any) -> Any:
        return gradient / (sympy.sqrt(gradient**2) + floor)

    return Step(
        formula("step(a*g, a*eps)", " = ", "step(g, eps)", ", ", "step(g, eps)", " = ", step(g, eps)),
        "Under Adam not: its step (here the first; each later one has the same degree) is scale-free but for the small ε, so "
        "a does not change the learning rate. Under both, what changes is the weight against the KL, whose gradient is not "
        "multiplied.",
        same(step(a * g, a * eps), step(g, eps)) and same(step(a * g, 0), step(g, 0)),
    )


def tradeoff(case: Case) -> Step:
    """Weighting the KL by beta is choosing the noise."""
    proof = case.proof
    beta, kl = sympy.symbols("beta KL", positive=True)
    half = sympy.nsimplify(proof.side.loss.convention)
    weighted = half * proof.loss + beta * kl
    shown_loss = formula(half * proof.shown.loss)
    shown_loss = formula(*([] if half == 1 else [half, "*"]), "loss") if long(shown_loss) else shown_loss
    cost = formula(shown_loss, " + ", beta, "*", "KL")
    finding = case.finding
    weight = sympy.cancel(half / proof.slope)
    if not proof.slope.free_symbols & {*proof.side.noise.values()}:
        share = [] if weight == 1 else [weight, "*("]
        shown = formula(cost, " = ", *share, "-log p(x|mu)", *(() if proof.offset == 0 else (" - ", "offset b(x)")), *([")"] if share else []),  # noqa: E501
                        " + ", beta, "*", "KL")  # fmt: skip
        because = "In a VAE, summed over a sample: the slope has no noise in it to absorb a weight, so β = "
        because += f"{formula(weight).unicode} is the negative ELBO{f' times {formula(weight).unicode}' if weight != 1 else ''}"
        because += f"{', but for b' if proof.offset != 0 else ''}, and any other β is another objective."
        true = same(sympy.expand(weighted.subs(beta, weight) - weight * (proof.slope * proof.loss + kl)), 0)
        return Finding(finding.true and true, finding.how).step(shown, because)
    elbo = weight * (proof.nll - proof.offset + kl)
    true = same(sympy.expand(weight * proof.slope * proof.loss - half * proof.loss), 0) and same(
        sympy.diff(weighted.subs(beta, weight) - elbo, kl), 0
    )
    loss = f"{proof.side.loss.name}{' with the half' * (half != 1)}"
    because = f"In a VAE, summed over a sample: {loss} plus β times the KL "
    because += f"is β times the negative ELBO, but for b, of the noise for which {formula(weight).unicode} = β: a weight on the KL is a noise by another name"  # noqa: E501
    return Finding(finding.true and true, finding.how).step(
        formula(cost, " = ", "beta", "*(", "-log p(x|mu)", " - ", "offset b(x)", " + ", "KL", ")",
                ", ", "beta", " = ", *with_value(weight, case.values)),
        because + reach(proof, weight),
    )  # fmt: skip


def reach(proof: Proof, weight: Any) -> str:
    """Which betas there is a noise for, and what of the loss is held."""
    held = list(proof.side.loss.parameters)
    noise = sorted(weight.free_symbols & {*proof.side.noise.values()}, key=str)
    text = f", {spoken(held)} of the loss held" if held else ""
    ends = (
        [attempt(lambda end=end: sympy.limit(weight, noise[0], end), 2) for end in (0, sympy.oo)] if len(noise) == 1 else [None]
    )
    if None not in ends and {*map(str, ends)} != {"0", "oo"}:
        low, high = sorted(ends, key=lambda end: float(end) if end.is_finite else math.inf)
        text += (
            f"; there is one for {'' if low == 0 else f'{low} < '}β < {high} only"
            if high != sympy.oo
            else f"; there is one for β > {low} only"
        )
    return f"{text}."
