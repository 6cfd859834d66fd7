"""The steps about training: reductions, gradients, learning rates, and weights on the KL."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Iterator

import sympy
from sympy import Expr, Symbol

from recon_cli.derivation import trial
from recon_cli.derivation.algebra import add, as_expr, parse, replace, substitute
from recon_cli.derivation.case import Case, is_long
from recon_cli.derivation.deadlines import attempt
from recon_cli.derivation.notation import Part, formula, spoken, times, with_value
from recon_cli.derivation.proof import Proof, agree
from recon_cli.derivation.roundings import Exact
from recon_cli.derivation.trial import Outcome, Pair, Step, Vector, derivative, settle
from recon_cli.derivation.words import same
from recon_cli.identity.losses import REDUCTIONS, Loss
from recon_cli.report import Formula

READABLE = 40  # operations of a derivative that is still shown


def practice(case: Case) -> Iterator[Step]:
    """Yield the steps from the identity to the line in the code and to an optimizer's step."""
    yield reductions(case)
    yield (ratio := gradients(case))
    if case.proof.gap == 0:
        yield descent(case, ratio)
        yield adam()
        yield tradeoff(case)


def reductions(case: Case) -> Step:
    """Show the factor of each reduction, on two samples of three elements against the sum of all their losses."""
    proof, count = case.proof, case.elements
    batch, size = sympy.symbols("B D", positive=True)
    numbers = {size: count} if count else {}
    factors = {each.name: parse(each.divisor, {"B": batch, "D": size}) for each in REDUCTIONS}
    parts: list[Part] = ["sum_{batch} -log p", *[" - ", "sum offset b(x)"] * (proof.offset != 0)]
    parts += [" - ", "sum gap c(mu)"] * (proof.gap != 0)
    for name, factor in factors.items():
        parts += [" = ", *times(proof.slope * substitute(factor, numbers), case.values, f"{name.upper().replace('-', '')}(loss)")]
    rows = [[Symbol(f"l{i}{k}", real=True) for k in range(3)] for i in range(2)]
    samples = [add(row) for row in rows]
    total = add(samples)
    reduced = {"sum": total, "mean": add(sample / 3 for sample in samples) / 2, "batch-mean": total / 2}
    unit = "vectors, each of which has one loss" if proof.likelihood.event else "elements"
    return Step(
        formula(*parts),
        f"The loss in the code, with its exact factor, over B samples of D{f' = {count}' if count else ''} {unit}: "
        f"SUM of all, MEAN of all ({torch_call(proof.likelihood.loss)}), or BATCHMEAN, summed over the {unit.split(',')[0]} and "
        "averaged over the samples.",
        all(same(substitute(factor, {batch: 2, size: 3}) * reduced[name], total) for name, factor in factors.items()),
    )


def torch_call(loss: Loss) -> str:
    """Describe the call in torch that computes the mean of a loss."""
    own = parameters_of(loss)
    if not loss.torch.isidentifier():
        numbers, condition = [f"with its {spoken(own)}"] * bool(own), [loss.condition] * bool(loss.condition)
        return ", ".join([loss.torch, *numbers, *condition, "then .mean()"])
    conditions = [f"given {spoken(own)}"] * bool(own) + [loss.condition] * bool(loss.condition)
    return f"what F.{loss.torch} does{', ' if conditions else ' by default'}{', '.join(conditions)}"


def parameters_of(loss: Loss) -> list[str]:
    """Return what each parameter of a loss is in those of its likelihood, where that is more than its own name."""
    return [
        f"{name} = {formula(sympy.nsimplify(value)).unicode}" for name, value in loss.parameters.items() if str(value) != name
    ]


def gradients(case: Case) -> Step:
    """Show that the ratio of the gradients of nll and loss is the slope, or that it is not constant."""
    proof = case.proof
    t = proof.odds.symbol
    name = "(d nll/d mu)/(d loss/d mu)"
    cost = trial.of_vectors(case.proof_formulas, proof.loss)

    def nll(*vectors: Vector) -> Exact:
        return case.proof_formulas.nll(*(number for vector in vectors for number in vector))

    def ratios(noise: Vector, x: Vector, mu: Vector, first: Vector, _: Vector) -> Pair:
        here, there = (derivative(nll, noise, at, mu, 0) / derivative(cost, noise, at, mu, 0) for at in (x, first))
        return here, there

    if proof.gap != 0:
        is_constant, _ = trial.try_at(case.proof_formulas, case.settings, ratios)
        because = "The ratio of the gradients is no constant: no learning rate makes the two equal."
        return Step(formula(name, " != ", "constant"), because, not is_constant)

    slope = trial.of_vectors(case.proof_formulas, proof.slope)

    def gradients_by(k: int, noise: Vector, x: Vector, mu: Vector, *_: Vector) -> Pair:
        of_nll = derivative(nll, noise, x, mu, k)
        size = 1 + abs(of_nll)
        return of_nll / size, slope(noise, x, mu) * derivative(cost, noise, x, mu, k) / size

    components = range(len(proof.words.mus))
    trials = [trial.try_at(case.proof_formulas, case.settings, functools.partial(gradients_by, k)) for k in components]

    def symbols() -> bool:
        of_nll, of_loss = (sympy.diff(proof.odds.enter(part), t) for part in (proof.nll, proof.loss))
        first = of_nll == proof.slope * of_loss or agree(of_nll / of_loss, proof.slope, proof.x, t)
        others = ((sympy.diff(proof.nll, mu), proof.slope * sympy.diff(proof.loss, mu)) for mu in proof.words.mus[1:])
        return proof.whole and first and all(agree(*pair, proof.x, t) for pair in others)

    finding = settle(symbols, min(trials, key=lambda each: each[0]))
    shown = derivatives(case)
    parts = [*shown, name, " = ", *with_value(proof.slope, case.values)]
    because = "So the gradient of the likelihood is the gradient of the loss, times a constant"
    if proof.likelihood.loss.convention == 0.5:
        parts += [", ", "(d nll/d mu)/(d (loss/2)/d mu)", " = ", *with_value(2 * proof.slope, case.values)]
        because += ": one for the loss as it is, twice that for the loss with the half in front"
    if len(proof.likelihood.head) > 1:
        because += f"; so are the derivatives by {spoken(proof.likelihood.head[1:])}"
    return finding.step(formula(*parts), f"{because}.{' MEAN is here of one sample, B = 1.' * bool(shown)}")


def derivatives(case: Case) -> list[Part]:
    """Return the derivatives by mu of log p, of the loss, and of its mean over a sample, if they are short; else nothing."""
    proof, mu = case.proof, case.proof.mu
    if proof.likelihood.event or len(proof.words.mus) > 1 or proof.loss.has(sympy.Piecewise):
        return []
    cost = attempt(lambda: tidied(sympy.diff(proof.loss, mu), proof), 2)
    log = attempt(lambda: tidied(-proof.slope * sympy.diff(proof.loss, mu), proof), 2)
    if cost is None or log is None or cost.count_ops() > READABLE or cost.has(sympy.Derivative, sympy.Integral):
        return []
    size = sympy.Integer(case.elements) if case.elements else Symbol("D", positive=True)
    formulas = [flipped(formula(part)) for part in (log, cost, cost / size)]
    names = ("d log p/d mu", "d loss/d mu", "d MEAN(loss)/d mu")
    return [part for name, derivative in zip(names, formulas, strict=True) for part in (name, " = ", derivative, ", ")]


def tidied(slope: Expr, proof: Proof) -> Expr:
    """Rewrite a derivative as people do: sinh over cosh as tanh, 1/(mu - n) as -1/(n - mu) where mu is below n."""
    slope = replace(slope, sympy.sinh, lambda argument: sympy.tanh(argument) * sympy.cosh(argument))
    dummies = {function: sympy.Dummy() for function in slope.atoms(sympy.Function)}
    functions = {dummy: function for function, dummy in dummies.items()}
    factored = substitute(as_expr(sympy.factor(substitute(slope, dummies))), functions)
    away = sympy.Dummy(real=True)
    moved = attempt(lambda: as_expr(sympy.powsimp(sympy.factor(substitute(slope, {proof.x: proof.mu + away})))), 2)
    others = [] if moved is None or moved.has(proof.mu) else [substitute(moved, {away: proof.x - proof.mu})]
    shortest = as_expr(min(factored, sympy.factor_terms(slope), *others, key=sympy.count_ops))
    if not proof.odds.bounded:
        return shortest
    high = proof.likelihood.domain.high
    return substitute(shortest, {1 / (proof.mu - high): -1 / (high - proof.mu)})


def flipped(slope: Formula) -> Formula:
    """Take the minus in front of a formula into its x - mu, if it has one, and no power."""
    if slope.text[0] != "-" or slope.text.count("x - mu") + slope.text.count("mu - x") != 1 or "**" in slope.text:
        return slope

    def turned(text: str) -> str:
        pair = re.search(r"(\bx) ([-−]) (\\?mu\b|μ)|(\\?mu\b|μ) ([-−]) (x\b)", text)
        if not pair:
            return ""
        ends = [part for part in pair.groups() if part]
        return text[1:].strip().replace(pair[0], f"{ends[2]} {ends[1]} {ends[0]}")

    texts = [*map(turned, (slope.text, slope.unicode, slope.latex))]
    return Formula(*texts) if all(texts) else slope


def descent(case: Case, ratio: Step) -> Step:
    """Show that a step of gradient descent in a parameter of the decoder, with momentum too, is linear in the gradient."""
    g, h = sympy.symbols("g h", real=True)
    rate, keep = sympy.symbols("eta m", positive=True)
    a = case.proof.slope
    linear = same(rate * (keep * a * g + a * h), rate * a * (keep * g + h))
    scaled = times(rate * a, case.values, "d loss/d theta")
    return Step(
        formula("theta", " - ", "eta", "*", "d nll/d theta", " = ", "theta", " - ", *scaled),
        "Under SGD the slope is a factor on the learning rate η, for every weight θ, exactly, momentum included, without weight "
        "decay or clipping: a step is linear in the gradients.",
        linear and ratio.checked if ratio.checked is not None else None,
        ratio.by,
    )


@functools.cache
def adam() -> Step:
    """Show that Adam's first step, g/(sqrt(g^2) + eps) with its moments corrected, does not depend on the gradient's scale."""
    g = Symbol("g", real=True, nonzero=True)
    a, eps = sympy.symbols("a eps", positive=True)

    def step(gradient: Expr, floor: Expr | float) -> Expr:
        return gradient / (sympy.sqrt(gradient**2) + floor)

    return Step(
        formula("step(a*g, a*eps)", " = ", "step(g, eps)", ", ", "step(g, eps)", " = ", step(g, eps)),
        "Under Adam not: its step for a gradient g (here the first; each later one has the same degree) is scale-free but for "
        "its own small ε, so the slope does not change the learning rate. Under both, what changes is the weight on the KL, "
        "whose gradient is not multiplied.",
        same(step(a * g, a * eps), step(g, eps)) and same(step(a * g, 0), step(g, 0)),
    )


def tradeoff(case: Case) -> Step:
    """Show that weighting the KL by beta is choosing the noise."""
    proof = case.proof
    beta, kl = sympy.symbols("beta KL", positive=True)
    half = sympy.nsimplify(proof.likelihood.loss.convention)
    weighted = half * proof.loss + beta * kl
    loss = formula(half * proof.printed.loss)
    if is_long(loss):
        loss = formula("loss") if half == 1 else formula(half, "*", "loss")
    objective = formula(loss, " + ", beta, "*", "KL")
    finding = case.finding
    weight = sympy.cancel(half / proof.slope)
    if not proof.slope.free_symbols & {*proof.likelihood.noise.values()}:
        error: list[Part] = ["-log p(x|mu)", *(() if proof.offset == 0 else (" - ", "offset b(x)"))]
        error = error if weight == 1 else [weight, "*(", *error, ")"]
        statement = formula(objective, " = ", *error, " + ", beta, "*", "KL")
        because = "In a VAE, summed over a sample: the slope has no noise in it to absorb a weight, so β = "
        because += f"{formula(weight).unicode} is the negative ELBO{f' times {formula(weight).unicode}' if weight != 1 else ''}"
        because += f"{', but for b' if proof.offset != 0 else ''}, and any other β is another objective."
        true = same(sympy.expand(substitute(weighted, {beta: weight}) - weight * (proof.slope * proof.loss + kl)), 0)
        return Outcome(finding.true and true, finding.how).step(statement, because)
    elbo = weight * (proof.nll - proof.offset + kl)
    true = same(sympy.expand(weight * proof.slope * proof.loss - half * proof.loss), 0) and same(
        sympy.diff(substitute(weighted, {beta: weight}) - elbo, kl), 0
    )
    name = f"{proof.likelihood.loss.name}{' with the half' * (half != 1)}"
    because = f"In a VAE, summed over a sample: {name} plus β times the KL is β times the negative ELBO, but for b, of the noise "
    because += f"for which {formula(weight).unicode} = β: a weight on the KL is a noise by another name{reach(proof, weight)}"
    negative_elbo = formula("-log p(x|mu)", " - ", "offset b(x)", " + ", "KL")
    statement = formula(objective, " = ", "beta", "*(", negative_elbo, ")", ", ", "beta", " = ", *with_value(weight, case.values))
    return Outcome(finding.true and true, finding.how).step(statement, because)


def reach(proof: Proof, weight: Expr) -> str:
    """Return the end of a sentence: which parameters of the loss are held, and for which beta there is a noise."""
    parameters = list(proof.likelihood.loss.parameters)
    noise = sorted(weight.free_symbols & {*proof.likelihood.noise.values()}, key=str)
    text = f", {spoken(parameters)} of the loss held" if parameters else ""
    only = noise if len(noise) == 1 else []
    limits = [attempt(functools.partial(sympy.limit, weight, symbol, end), 2) for symbol in only for end in (0, sympy.oo)]
    ends = sorted((end for end in limits if end is not None), key=lambda end: float(end) if end.is_finite else math.inf)
    if len(ends) < 2 or {*map(str, ends)} == {"0", "oo"}:
        return f"{text}."
    low, high = ends
    if high == sympy.oo:
        return f"{text}; there is one for β > {low} only."
    return f"{text}; there is one for {'' if low == 0 else f'{low} < '}β < {high} only."
