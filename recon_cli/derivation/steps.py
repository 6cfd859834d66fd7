"""The way from E_q[log p(x|z)] to the loss in the code, step by step, each checked as it is shown."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import sympy
from sympy import Symbol

from recon_cli import likelihoods
from recon_cli.derivation.notation import formula, written
from recon_cli.derivation.proof import Proof, agree, prove
from recon_cli.derivation.whole import total
from recon_cli.derivation.words import COMPONENTS, same, words
from recon_cli.likelihood import Likelihood
from recon_cli.losses import REDUCTIONS, Loss
from recon_cli.regions import SHARE, Circle, Lattice, Outputs, Sphere
from recon_cli.report import Formula


@dataclass(frozen=True)
class Step:
    """One statement, why it is made, and whether sympy found it true."""

    statement: Formula
    because: str
    checked: bool


def steps(kind: type[Likelihood], proof: Proof, values: Mapping[str, float], shape: tuple[int, ...] | None) -> Iterator[Step]:
    """Every step for one likelihood, in order; with ``values`` and ``shape`` their numbers too."""
    yield definition()
    yield expectation()
    yield choice(kind, proof)
    yield density(kind, proof)
    yield logarithm(proof)
    yield elements(proof)
    yield slope(proof, values)
    yield dropped(proof, values)
    if proof.gap != 0:
        yield kept(proof)
    yield reductions(proof, values, shape)
    yield gradients(proof, values)
    if proof.gap == 0:
        yield descent(proof, values)
        yield adam()
        yield tradeoff(proof, values)
    yield from (misprint(text, kind, proof) for text in kind.misprints)
    yield from (impostor(loss, proof) for loss in kind.impostors)
    if kind.relaxation:
        yield grey_levels(kind, proof)


def definition() -> Step:
    """Bayes' rule inside the expectation gives the evidence lower bound."""
    likelihood, prior, evidence, q = sympy.symbols("likelihood prior evidence q", positive=True)
    posterior = likelihood * prior / evidence
    left = sympy.log(evidence) - sympy.log(q / posterior)
    right = sympy.log(likelihood) - sympy.log(q / prior)
    return Step(
        formula("log p(x)", " - ", "KL(q||p(z|x))", " = ", "E_q[log p(x|z)]", " - ", "KL(q||p(z))", " = ", "ELBO"),
        "Definition (Kingma and Welling 2014, eq. 3), by Bayes' rule inside the expectation. E_q[log p(x|z)] is to be "
        "maximised; the reconstruction error is its negative. So far it is only an idea: p(x|z) is still to be chosen.",
        same(sympy.expand_log(left - right), 0),
    )


def expectation() -> Step:
    """A Gaussian q is a shifted and scaled standard normal, so samples of that estimate the expectation."""
    m, eps = sympy.symbols("m epsilon", real=True)
    s = Symbol("s", positive=True)
    q = sympy.exp(-(((m + s * eps) - m) ** 2) / (2 * s**2)) / (s * sympy.sqrt(2 * sympy.pi))
    standard = sympy.exp(-(eps**2) / 2) / sympy.sqrt(2 * sympy.pi)
    point = sympy.limit(m + s * eps, s, 0)
    return Step(
        formula("E_q[f(z)]", " = ", "E_eps[f(m + s*eps)]", " ~ ", "sum_l f(m + s*eps_l)/L"),
        "The outer expectation is over the code, z = m + s·ε (their section 2.4): reparameterised samples "
        "estimate it. In practice L = 1, one sample a step; as s → 0, a deterministic encoder, it is exact: f(m).",
        same(q * s, standard) and same(point, m),
    )


def choice(kind: type[Likelihood], proof: Proof) -> Step:
    """The decoder's raw output, through the link, reaches every allowed mean and no other."""
    side = proof.side
    head = side.head or ("mu",)
    shown, reached = zip(*links(side), strict=True)
    parts = [
        part
        for name, mean in zip(head, shown, strict=True)
        for part in (", ", f"{name}[k]" * bool(side.event) or name, " = ", mean)
    ]
    noise = "".join(f", {name} constant" for name in proof.noise)
    where = str(side.domain) if side.head else f"mu in {side.domain}"
    return Step(
        formula("p(x|z)", " = ", "p(x|mu)", *parts),
        f"Choose p: {kind.name}{f' ({kind.source})' if kind.source else ''}, the decoder giving {' and '.join(head)}{noise}. "
        f"x lies in {side.support}, {where}.",
        all(reached),
    )


def links(side: Likelihood) -> Iterator[tuple[Any, bool]]:
    """What the link makes of the decoder's raw outputs r, s, ..., and whether that reaches the domain and nothing else."""
    if side.event:
        raw = sympy.symbols(f"r_1:{COMPONENTS + 1}", real=True)
        text, names = side.link.formula, dict(zip("jkK", sympy.symbols("j k K", integer=True, positive=True), strict=True))
        whole = sympy.sympify(text, locals={**names, "r": sympy.IndexedBase("r")})
        parts = [
            whole.subs(names["k"], k).subs(names["K"], COMPONENTS).doit().replace(
                lambda part: isinstance(part, sympy.Indexed), lambda part: raw[int(part.indices[0]) - 1]
            )
            for k in range(1, COMPONENTS + 1)
        ]  # fmt: skip
        powers = 2 if isinstance(side.domain, Sphere) else 1
        good = same(sum(part**powers for part in parts), 1) and (powers == 2 or all(part.is_positive for part in parts))
        yield whole, good
        return
    regions = [region for _, region in side.domain.parts] if isinstance(side.domain, Outputs) else [side.domain]
    for name, text, region in zip("rs", side.link.formula.split(", "), regions, strict=False):
        raw = Symbol(name, real=True)
        mean = sympy.sympify(text, locals={name: raw, **side.parameters})
        ends = tuple(sympy.limit(mean, raw, end) for end in (-sympy.oo, sympy.oo))
        whole_line = ends == (-sympy.oo, sympy.oo) and isinstance(region, Circle)
        good = (whole_line or ends == (region.low, region.high)) and bool(sympy.diff(mean, raw).is_positive)
        yield mean.subs(raw, Symbol("decoder(z)")), good


def density(kind: type[Likelihood], proof: Proof) -> Step:
    """The density adds up to one."""
    shares = [field.name for field in dataclasses.fields(kind) if field.metadata["domain"] == SHARE]
    opening = {proof.noise[name]: 1 / (1 + Symbol(f"k_{name}", positive=True)) for name in shares}
    added, proved = total(proof.density.subs(opening), proof.words, proof.odds, proof.side.support)
    how = "" if proved else " By number: to 25 digits, at several choices of each."
    if proof.side.event:
        how = f" Proved for {COMPONENTS} components, as all that follows; each further one is the same term again."
    return Step(
        formula("p(x|mu)", " = ", written(kind.density, proof.words.names), ", ", _whole(proof), " = ", added),
        f"Its density: it adds up to one whatever {', '.join([*(proof.side.head or ['mu']), *proof.noise])}.{how}",
        same(added, 1),
    )


def logarithm(proof: Proof) -> Step:
    """Exponentiating the negative gives the density back."""
    return Step(
        formula("-log p(x|mu)", " = ", proof.shown.nll),
        "The logarithm, and the sign: a cost in nats, to be minimised.",
        proof.undoes(proof.nll),
    )


def elements(proof: Proof) -> Step:
    """Checked on two elements, of nll a and b; each further one is the same step again."""
    a, b = sympy.symbols("a b", real=True)
    return Step(
        formula("-log p(x_1...x_D|mu)", " = ", "sum_d -log p(x_d|mu_d)"),
        "Independent elements: the density is a product, its logarithm a sum over the D elements of a sample.",
        proof.undoes(proof.nll) and same(-sympy.log(sympy.exp(-a) * sympy.exp(-b)), a + b),
    )


def slope(proof: Proof, values: Mapping[str, float]) -> Step:
    """The slope from mixed derivatives, set against the one that the likelihood's code claims."""
    claimed = sympy.nsimplify(proof.side.slope)
    return Step(
        formula("slope a", " = ", "(d2 nll/dx dmu)/(d2 loss/dx dmu)", " = ", *_with_value(proof.slope, values)),
        f"Against {proof.side.loss.name}, {formula(proof.shown.loss).unicode}: differentiating by x and mu (where it bends, in "
        "the sense of distributions) leaves nothing that depends on one of them alone, and the ratio is constant.",
        proof.constant and same(claimed, proof.slope),
    )


def dropped(proof: Proof, values: Mapping[str, float]) -> Step:
    """What is left without mu."""
    rest = (", ", "gap c(mu)", " = ", proof.gap)
    return Step(
        formula("offset b(x)", " = ", *_with_value(proof.shown.offset, values), *rest),
        "What is left of -log p - a·loss. b does not depend on mu, so it moves no gradient and may be dropped"
        + ("; c, what may not be dropped, is zero." if proof.gap == 0 else "."),
        all(same(sympy.diff(proof.offset, mu), 0) for mu in proof.words.mus) and proof.holds,
    )


def kept(proof: Proof) -> Step:
    """The gap depends on mu."""
    moves = proof.odds.leave(sympy.diff(proof.odds.enter(proof.gap), proof.odds.symbol))
    return Step(
        formula("gap c(mu)", " = ", proof.gap),
        "This part depends on mu, so it moves the gradient and may not be dropped: the loss alone is no likelihood.",
        not same(moves, 0) and proof.x not in proof.gap.free_symbols,
    )


def reductions(proof: Proof, values: Mapping[str, float], shape: tuple[int, ...] | None) -> Step:
    """Each reduction of two samples of three elements, averaged and added as its name says, against the plain sum."""
    batch, size = sympy.symbols("B D", positive=True)
    numbers = {size: sympy.prod(shape)} if shape else {}
    factors = {each.name: sympy.sympify(each.divisor, locals={"B": batch, "D": size}) for each in REDUCTIONS}
    parts: list[Any] = ["sum_{batch} -log p"]
    for name, factor in factors.items():
        parts += [" = ", *_times(proof.slope * factor.subs(numbers), values, f"{name.upper().replace('-', '')}(loss)")]
    cells = sympy.Matrix(2, 3, sympy.symbols("l:6", real=True))
    samples = [sum(cells.row(i)) for i in range(2)]
    reduced = {"sum": sum(cells), "mean": sum(sample / 3 for sample in samples) / 2, "batch-mean": sum(samples) / 2}
    gap = "" if proof.gap == 0 else "; the gap comes on top"
    return Step(
        formula(*parts, " + ", "constant", *([] if proof.gap == 0 else [" + ", "gap c(mu)"])),
        f"The loss in the code, with its exact factor, over B samples of D{f' = {sympy.prod(shape)}' if shape else ''} elements: "
        f"SUM of all, MEAN of all ({_called(proof.side.loss)}), or BATCHMEAN, summed over the elements and "
        f"averaged over the samples{gap}.",
        all(same(factor.subs({batch: 2, size: 3}) * reduced[name], sum(cells)) for name, factor in factors.items()),
    )


def gradients(proof: Proof, values: Mapping[str, float]) -> Step:
    """The ratio of the two gradients is the slope, or not constant."""
    t = proof.odds.symbol
    of_nll, of_loss = (sympy.diff(proof.odds.enter(part), t) for part in (proof.nll, proof.loss))
    ratio = proof.slope if of_nll == proof.slope * of_loss else of_nll / of_loss
    if proof.gap == 0:
        because = "So the gradient of the likelihood is the gradient of the loss, times a constant."
        others = ((sympy.diff(proof.nll, mu), proof.slope * sympy.diff(proof.loss, mu)) for mu in proof.words.mus[1:])
        parts, good = _with_value(proof.slope, values), agree(ratio, proof.slope, proof.x, t)
        good = good and all(agree(*pair, proof.x, t) for pair in others)
    else:
        because = "The ratio of the gradients is no constant: no learning rate makes the two equal."
        parts, good = ["not constant"], not same(sympy.diff(ratio, proof.x), 0)
    return Step(formula("(d nll/d mu)/(d loss/d mu)", " = ", *parts), because, good)


def descent(proof: Proof, values: Mapping[str, float]) -> Step:
    """One step of gradient descent in any parameter theta of the decoder; and the second with momentum."""
    theta, g, h = sympy.symbols("theta g h", real=True)
    rate, keep = sympy.symbols("eta m", positive=True)
    output = sympy.Function("mu", real=True)(theta)
    at = {proof.odds.symbol: output}
    one = theta - rate * sympy.diff(proof.odds.enter(proof.nll).subs(at), theta)
    other = theta - rate * proof.slope * sympy.diff(proof.odds.enter(proof.loss).subs(at), theta)
    scaled = _times(rate * proof.slope, values, "d loss/d theta")
    momentum = same(rate * (keep * proof.slope * g + proof.slope * h), rate * proof.slope * (keep * g + h))
    return Step(
        formula("theta", " - ", "eta", "*", "d nll/d theta", " = ", "theta", " - ", *scaled),
        "Under SGD the slope is a factor on the learning rate, exactly, momentum included: a step is linear in the gradients.",
        agree(one, other, proof.x, output) and momentum,
    )


def adam() -> Step:
    """Adam's first step, its moments corrected: g/(sqrt(g^2) + eps)."""
    g = Symbol("g", real=True, nonzero=True)
    a, eps = sympy.symbols("a epsilon", positive=True)

    def step(gradient: Any, floor: Any) -> Any:
        return gradient / (sympy.sqrt(gradient**2) + floor)

    return Step(
        formula("step(a*g, a*eps)", " = ", "step(g, eps)", ", ", "step(g, eps)", " = ", step(g, eps)),
        "Under Adam not: its step (here the first; each later one has the same degree) is scale-free but for the small ε, so "
        "a does not change the learning rate. What changes is the weight against the KL, whose gradient is not multiplied.",
        same(step(a * g, a * eps), step(g, eps)) and same(step(a * g, 0), step(g, 0)),
    )


def tradeoff(proof: Proof, values: Mapping[str, float]) -> Step:
    """Weighting the KL by beta is choosing the noise."""
    beta, kl = sympy.symbols("beta KL", positive=True)
    half = sympy.nsimplify(proof.side.loss.convention)
    weighted = half * proof.loss + beta * kl
    cost = formula(half * proof.shown.loss, " + ", beta, "*", "KL")
    absorbing = {*proof.side.noise.values()}
    if not proof.slope.free_symbols & absorbing:
        weight = 1 / proof.slope
        share = [] if weight == 1 else [weight, "*("]
        return Step(
            formula(cost, " = ", *share, "-log p(x|mu)", " - " if share else "", *(["offset b(x)", ")"] if share else []),
                    " + ", beta, "*", "KL"),
            f"In a VAE: the slope has no noise in it to absorb a weight, so beta = {formula(weight).unicode} is the ELBO and any "
            "other beta is another objective.",
            same(sympy.expand(weighted.subs(beta, weight) - weight * (proof.slope * proof.loss + kl)), 0)
            and proof.undoes(proof.nll),
        )  # fmt: skip
    weight = sympy.simplify(half / proof.slope)
    elbo = weight * (proof.nll - proof.offset + kl)
    return Step(
        formula(cost, " = ", "beta", "*(", "-log p(x|mu)", " - ", "offset b(x)", " + ", "KL", ")",
                ", ", "beta", " = ", *_with_value(weight, values)),
        f"In a VAE: {proof.side.loss.name}{' with the half' if half != 1 else ''} plus beta times the KL is beta times the "
        f"negative ELBO of the noise for which {formula(weight).unicode} = β: a weight on the KL is a noise by another name.",
        proof.undoes(proof.nll)
        and same(sympy.expand(weight * proof.slope * proof.loss - half * proof.loss), 0)
        and same(sympy.diff(weighted.subs(beta, weight) - elbo, kl), 0),
    )  # fmt: skip


def misprint(text: str, kind: type[Likelihood], proof: Proof) -> Step:
    """A density as printed somewhere, put through the same check as the right one."""
    added, _ = total(proof.words.read(text), proof.words, proof.odds, proof.side.support)
    return Step(
        formula("p(x|mu)", " = ", written(text, proof.words.names), ", ", _whole(proof), " = ", added),
        "A misprint met in an answer that many have read, put through the same check: it is no density, "
        + ("its integral diverges." if added == sympy.oo else "it does not add up to one."),
        same(added, 1),
    )


def impostor(loss: Loss, proof: Proof) -> Step:
    """A loss whose gradients, what it holds constant held, are those of no function: they have a curl."""
    mean, other = proof.words.mus
    held = {symbol: Symbol(f"held_{symbol.name}", positive=True) for symbol in (mean, other)}
    stopped = sympy.Function("stop")
    cost = proof.words.general(loss.formula, loss, stop=stopped)
    frozen = cost.replace(stopped, lambda part: held[part])
    by_mean, by_other = (sympy.diff(frozen, part).subs({value: key for key, value in held.items()}) for part in (mean, other))
    curl = sympy.simplify(sympy.diff(by_mean, other) - sympy.diff(by_other, mean))
    return Step(
        formula("d2/d(var) d(mu)", " - ", "d2/d(mu) d(var)", " = ", curl, " != ", 0),
        f"{loss.name} is no likelihood's loss: {loss.reason}: the two mixed derivatives of a function would be equal.",
        not same(curl, 0),
    )


def grey_levels(kind: type[Likelihood], proof: Proof) -> Step:
    """Between the allowed values the expression needs a normaliser that depends on mu."""
    relaxed = likelihoods.find(kind.relaxation or "")
    known = words(relaxed)
    missing, _ = total(proof.density.subs(proof.x, known.xs[0]), known, proof.odds, relaxed.support)
    gap = sympy.log(missing)
    other = prove(relaxed)
    return Step(
        formula("gap c(mu)", " = ", "log integral p dx", " = ", gap, " != ", 0),
        f"On grey levels, x in {relaxed.support}, the same expression is no density: this integral is its missing normaliser, "
        f"and it depends on mu. {proof.side.loss.name} there drops a gap that moves the gradient; {relaxed.name} closes it.",
        same(proof.odds.enter(sympy.exp(other.gap)) / proof.odds.enter(missing), 1)
        and not same(sympy.diff(proof.odds.enter(missing), proof.odds.symbol), 0),
    )


def _called(loss: Loss) -> str:
    from_torch = loss.torch.isidentifier()
    return f"what F.{loss.torch} does by default" if from_torch else f"{loss.torch}, then .mean()"


def _whole(proof: Proof) -> str:
    support = proof.side.support
    return "sum p" if support.whole or isinstance(support, Lattice) else "integral p dx"


def _number(expression: Any, values: Mapping[str, float]) -> float | None:
    """An expression with the noise put in, or None where there is none to put in."""
    if not values or not expression.free_symbols:
        return None
    return float(expression.subs({part: values[part.name] for part in expression.free_symbols}))


def _with_value(expression: Any, values: Mapping[str, float]) -> list[Any]:
    number = _number(expression, values)
    return [expression] if number is None else [expression, " = ", number]


def _times(factor: Any, values: Mapping[str, float], name: str) -> list[Any]:
    """``factor * name``, with numbers put in where there are any."""
    if factor == 1:
        return [name]
    others = [part for part in factor.free_symbols if part.name not in values]
    number = _number(factor.subs(dict.fromkeys(others, 1)), values)
    if number is None:
        return [factor, "*", name]
    return [number, *(extra for part in others for extra in ("*", part)), "*", name]
