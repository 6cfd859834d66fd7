"""The steps from E_q[log p(x|z)] to the loss in the code, each checked as it is shown."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Iterator

import mpmath
import sympy
from sympy import Expr, Symbol

from recon_cli.derivation import normalisation, positivity, trial
from recon_cli.derivation.algebra import add, parse, substitute
from recon_cli.derivation.case import CLOSE, Case, is_discrete, is_long, total_name
from recon_cli.derivation.code import DRAWS
from recon_cli.derivation.deadlines import attempt
from recon_cli.derivation.notation import Part, formula, range_of, spoken, with_value, written
from recon_cli.derivation.roundings import MANY, Deviation, comparisons, moments_and_samples, spell
from recon_cli.derivation.trial import Pair, Step, Vector, settle
from recon_cli.derivation.words import COMPONENTS, same
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle, CountVector, Interval, Lattice, Outputs, Region, Simplex, Sphere
from recon_cli.identity.vectors import RealVector, VectorOutputs
from recon_cli.report import Formula


def foundation(case: Case) -> Iterator[Step]:
    """Yield the steps from the bound to slope, offset and gap, and to the code."""
    yield definition()
    yield expectation()
    yield choice(case)
    yield from link(case)
    yield density(case)
    yield logarithm(case)
    yield elements()
    yield slope(case)
    yield dropped(case)
    if case.proof.gap != 0:
        yield gap(case)
    yield code(case)


@functools.cache
def definition() -> Step:
    """Show that Bayes' rule inside the expectation gives the evidence lower bound."""
    likelihood, prior, evidence, q = sympy.symbols("likelihood prior evidence q", positive=True)
    posterior = likelihood * prior / evidence
    left = sympy.log(evidence) - sympy.log(q / posterior)
    right = sympy.log(likelihood) - sympy.log(q / prior)
    return Step(
        formula("log p(x)", " - ", "KL(q||p(z|x))", " = ", "E_q[log p(x|z)]", " - ", "KL(q||p(z))", " = ", "ELBO"),
        "An identity (Kingma and Welling 2014, equations 1 and 3) for data x, a code z and any encoder q(z|x), by Bayes' rule "
        "inside the expectation. E_q[log p(x|z)] is to be maximised; the reconstruction error is its negative. So far it is only "
        "an idea: p(x|z) is still to be chosen.",
        same(sympy.expand_log(left - right), 0),
    )


@functools.cache
def expectation() -> Step:
    """Show that a Gaussian q is a shifted and scaled standard normal, so that samples of that estimate the expectation."""
    m, eps = sympy.symbols("m epsilon", real=True)
    s = Symbol("s", positive=True)
    q = sympy.exp(-(((m + s * eps) - m) ** 2) / (2 * s**2)) / (s * sympy.sqrt(2 * sympy.pi))
    standard = sympy.exp(-(eps**2) / 2) / sympy.sqrt(2 * sympy.pi)
    point = sympy.limit(m + s * eps, s, 0)
    return Step(
        formula("E_q[f(z)]", " = ", "E_eps[f(m + s*eps)]", " ~ ", "sum_l f(m + s*eps_l)/L"),
        "The outer expectation is over the code z; under a Gaussian q of mean m and standard deviation s that is m + s·ε, ε a "
        "standard normal (their section 2.4), and L samples of ε estimate it. In practice L = 1, one sample a step; as s → 0, a "
        "deterministic encoder, it is exact: f(m).",
        same(q * s, standard) and same(point, m),
    )


def choice(case: Case) -> Step:
    """State the likelihood that is chosen, and what the decoder gives."""
    likelihood, kind = case.proof.likelihood, case.kind
    head = likelihood.head or ("mu",)
    if likelihood.event:
        means = [parse(text, case.proof.words.names) for text in likelihood.link.formula.split("; ")]
        raw: list[Part] = [", ", "r", " = ", "decoder(z)"]
    else:
        decoders = [Symbol(f"decoder_{k}(z)") for k in range(1, len(head) + 1)] if likelihood.head else [Symbol("decoder(z)")]
        outputs, raw = dict(zip(case.proof.words.raws(), decoders, strict=False)), []
        means = [substitute(mean, outputs) for mean in case.proof.words.linked()]
    names = [f"{name}[k]" * bool(likelihood.event) or name for name in head]
    parts: list[Part] = [part for name, mean in zip(names, means, strict=True) for part in (", ", name, " = ", mean)]
    noise = f", {spoken(case.proof.noise)} held constant" if case.proof.noise else ""
    regions = likelihood.domain.parts if isinstance(likelihood.domain, Outputs) else [("mu", likelihood.domain)]
    where = ", ".join(f"{spoken([name])} over {range_of(region)}" for name, region in regions)
    what = "the mean of a distribution of x" if is_mean(case) else "a parameter of a distribution of x"
    what = "the mean and the variance of a distribution of x" if likelihood.head == ("mu", "var") else what
    return Step(
        formula("p(x|z)", " = ", "p(x|mu)", *parts, *raw),
        f"A choice: {kind.name}{f' ({kind.source})' if kind.source else ''}, the decoder giving {spoken(head)}{noise}. "
        f"That is {what}, not a number to subtract from x: p(x|z) is a distribution, and its logarithm is taken at x. "
        f"x ranges over {range_of(likelihood.support)}, {where}.",
        None,
        "choice",
    )


def is_mean(case: Case) -> bool:
    """Return whether mu is the mean of x, by number."""
    if case.proof.likelihood.head or case.proof.likelihood.event or isinstance(case.proof.likelihood.support, (Circle, Lattice)):
        return False
    for setting, mass in case.masses:
        mean, spread, tail = mass.mean(), mass.mean(abs(mass.x)), mass.mean(abs(mass.x) * (abs(mass.x) > 1e200))
        if tail > 1e-6 * spread or not abs(mean - setting.mus[0][0]) <= 1e-6 * (spread + abs(mean)):
            return False
    return True


def link(case: Case) -> Iterator[Step]:
    """Show that the raw output, through the link, reaches the inside of the domain and nothing else; no step if it is obvious."""
    likelihood, symbols = case.proof.likelihood, case.proof.words
    everything = likelihood.domain == Interval() or isinstance(likelihood.domain, (Circle, RealVector))
    if likelihood.link.formula == "r" and everything:
        return
    at_points = trial.try_at(case.proof_formulas, case.settings, functools.partial(compare_with_domain, case))
    outputs = "outputs reach" if likelihood.head else "output r reaches"
    because = f"Through the link, {likelihood.link.name}, the decoder's raw {outputs} the inside of where "
    because += f"{spoken(likelihood.head or ('mu',))} may lie, and nothing else."
    if likelihood.event and not likelihood.head:
        power = 2 if isinstance(likelihood.domain, Sphere) else 1
        means = attempt(symbols.linked) or []
        added = attempt(lambda: sympy.simplify(add(mean**power for mean in means)))
        finding = settle(lambda: added == 1 and (power == 2 or all(mean.is_positive for mean in means)), at_points)
        statement = formula(f"sum_k mu[k]{'**2' * (power == 2)}", " = ", 1)
        yield finding.step(statement, f"{because} Proved for {COMPONENTS} components.")
        return
    parts: list[Part] = []
    is_inside = True
    for (name, region), raw, mean in zip(outputs_of(likelihood, len(symbols.xs)), symbols.raws(), symbols.linked(), strict=True):
        if likelihood.event and mean == raw:
            continue
        ends = [attempt(functools.partial(normalisation.far, mean, raw, end)) for end in (-sympy.oo, sympy.oo)]
        parts += [", "] * bool(parts) + [f"{name}(-oo)", " = ", ends[0] or 0, ", ", f"{name}(oo)", " = ", ends[1] or 0]
        wanted = (normalisation.exactly(region.low), normalisation.exactly(region.high))
        if None not in ends and any(not same(end, want) for end, want in zip(ends, wanted, strict=True)):
            at_points = (False, f"It reaches from {ends[0]} to {ends[1]}, and mu lies in {region}.")
        is_inside = is_inside and None not in ends and bool(attempt(functools.partial(rises, mean, raw)))
    yield settle(lambda: is_inside, at_points).step(formula(*parts), because)


def rises(expression: Expr, symbol: Symbol) -> bool:
    """Return whether an expression is known to rise with a symbol."""
    return bool(sympy.diff(expression, symbol).is_positive)


def compare_with_domain(case: Case, noise: Vector, x: Vector, mu: Vector, *_: Vector) -> Pair:
    """Return two equal numbers if the link of some raw outputs, here mu less x, lies where mu may."""
    raw = [part - (x[k] if k < len(x) else 0) for k, part in enumerate(mu)]
    means = case.proof_formulas.link(*noise, *raw)
    numbers = dict(zip(case.proof.words.noise, map(float, noise), strict=True))
    likelihood = dataclasses.replace(case.proof.likelihood, **numbers)
    if isinstance(likelihood.domain, Sphere):
        return sum(part**2 for part in means), mpmath.mpf(1)
    if isinstance(likelihood.domain, Simplex):
        return sum(means) if all(part >= 0 for part in means) else mpmath.mpf(-1), mpmath.mpf(1)
    pairs = zip(means, outputs_of(likelihood, len(case.proof.words.xs)), strict=True)
    is_inside = all(region.low <= part <= region.high for part, (_, region) in pairs)
    return mpmath.mpf(is_inside), mpmath.mpf(1)


def outputs_of(likelihood: Likelihood, count: int) -> list[tuple[str, Region]]:
    """Return names and regions of all that the decoder gives for an event: of a vector, for each of so many components."""
    domain = likelihood.domain
    if isinstance(domain, VectorOutputs):
        return [(f"{name}_{k + 1}", region) for k in range(count) for name, region in domain.of(k)]
    return [*domain.parts] if isinstance(domain, Outputs) else [("mu", domain)]


def density(case: Case) -> Step:
    """Show that the density integrates, or adds up, to one and is nowhere negative."""
    proof = case.proof
    general = proof.words.general(proof.likelihood.density) if proof.likelihood.event else None
    added = attempt(lambda: normalisation.total(proof.density, proof.words, proof.odds, general))
    is_positive = attempt(lambda: positivity.positive(proof.density, proof.words, proof.odds))
    wrong, counted, digits = check_masses(case, added == 1)
    free = spoken([*(proof.likelihood.head or ["mu"]), *proof.noise])
    because = f"Its density: it integrates to one whatever {free}, and is negative nowhere."
    if is_discrete(proof):
        which = " of one total" * isinstance(proof.likelihood.support, CountVector)
        because = f"The probability of each x{which}: they add up to one whatever {free}, and none is negative."
    if wrong and added in (None, 1):
        return Step(statement_of_total(case, wrong[0]), f"{because} {wrong[1]}", False)
    if added is not None and (wrong or (added != 1 and counted == 0)):
        return Step(statement_of_total(case, added), f"{because} {wrong[1] if wrong else ''}", False)
    if isinstance(proof.likelihood.support, (Sphere, Circle)) and added == 1:
        because += " By Poisson's integral of the Bessel function (DLMF 10.32)."
    if added == 1 and is_positive:
        return Step(statement_of_total(case, 1), because, True)
    tried = f"Checked at {counted} noises and means to {digits} digits; not proved."
    if added == 1:
        tried = f"That it is negative nowhere is checked at {counted} noises and means, many x each; not proved."
    return Step(statement_of_total(case, 1), f"{because} {tried}", None, "points")


def check_masses(case: Case, proved: bool) -> tuple[tuple[float, str] | None, int, int]:
    """Return a mass that is not one, or of a density that is negative somewhere, and a sentence; else None.

    Second and third are how many masses were checked, and to how many digits they are one.
    """
    counted, digits = 0, 9.0
    for setting, mass in case.masses:
        where = f"mu = {spell(setting.mus[0])}{setting.noise_text}"
        if mass.lowest < -1e-12 * float(abs(mass.p).max()):
            return (mass.whole, f"It is negative at some x for {where}."), counted, 0
        away = abs(mass.whole - 1)
        if not math.isfinite(mass.error) or (proved and mass.whole < 1e-6):
            continue  # a tail too long, or a peak too narrow, for the rule
        if not away <= max(CLOSE, 100 * mass.error):
            return (mass.whole, f"At {where} that is {mass.whole:.6g}."), counted, 0
        counted, digits = counted + 1, min(digits, -math.log10(max(away, 1e-9)))
    return None, counted, math.floor(digits)


def statement_of_total(case: Case, value: Expr | float) -> Formula:
    """Return the density, and that its integral or sum is ``value``, as a formula."""
    density = written(case.proof.likelihood.density, case.proof.words.names)
    return formula("p(x|mu)", " = ", density, ", ", total_name(case.proof), " = ", value)


def logarithm(case: Case) -> Step:
    """Show that e to the negative of the nll is the density."""
    because = f"The logarithm, and the sign: a cost in nats, to be minimised.{case.sized}"
    return case.finding.step(formula("-log p(x|mu)", " = ", case.proof.printed.nll), because)


@functools.cache
def elements() -> Step:
    """Show that the nll of a sample is the sum over its elements, on two of nll a and b; each further one is the same again."""
    a, b = sympy.symbols("a b", real=True)
    return Step(
        formula("-log p(x_1...x_D|mu)", " = ", "sum_d -log p(x_d|mu_d)"),
        "Elements conditionally independent given z, which is part of the choice: the density is a product, its logarithm "
        "a sum over the D elements of a sample.",
        same(-sympy.log(sympy.exp(-a) * sympy.exp(-b)), a + b),
    )


WAYS = {
    "nll": "the loss is the nll itself.",
    "sides": "the two derivatives by μ have this ratio on both sides of x = μ, and it is constant.",
    "mixed": "differentiating by x and μ leaves nothing that depends on one of them alone, and the ratio is constant.",
    "pieces": "beside the value that has a chance of its own the two derivatives by μ have this ratio, and it is constant.",
    "claim": "this slope is the one that its code claims, and what is left is a part of x and a part of μ.",
    "components": "the two derivatives by each component of μ have this ratio, and it is constant.",
}


def slope(case: Case) -> Step:
    """Show the slope from derivatives, compared with the one that the likelihood's code claims."""
    proof = case.proof
    claimed = attempt(lambda: sympy.nsimplify(sympy.sympify(proof.likelihood.slope)), 1)
    by_mu: list[Part] = ["(d nll/d mu)/(d loss/d mu)", " = "]
    names: dict[str, list[Part]] = {"nll": [], "claim": [], "sides": by_mu, "pieces": by_mu}
    quotient = names.get(proof.way, ["(d2 nll/dx dmu)/(d2 loss/dx dmu)", " = "])
    good, how = trial.separates(case.proof_formulas, case.settings, proof.loss, proof.slope)
    for setting in case.settings if good and proof.constant else ():
        value = float(substitute(proof.slope, {proof.words.noise[name]: number for name, number in setting.numbers.items()}))
        if not math.isclose(value, float(setting.likelihood.slope), rel_tol=1e-9):
            claim = f"Its code claims {float(setting.likelihood.slope):.8g}"
            good, how = False, f"{claim} where this is {value:.8g}, at {setting.likelihood}."
            break
    cost = formula(proof.printed.loss)
    loss: list[Part] = [] if proof.way == "nll" and is_long(cost) else ["loss", " = ", cost, ", "]
    way = "components" if proof.likelihood.event and proof.way == "sides" else proof.way
    finding = settle(lambda: proof.constant and claimed is not None and same(claimed, proof.slope) and proof.whole, (good, how))
    return finding.step(
        formula(*loss, "slope a", " = ", *quotient, *with_value(proof.slope, case.values)),
        f"Against {proof.likelihood.loss.name}: {WAYS[way]}",
    )


def dropped(case: Case) -> Step:
    """Show offset and gap, and that the offset does not depend on mu."""
    proof = case.proof
    alone = is_free_of_mu(case, proof.offset)
    tried = trial.is_nll(case.proof_formulas, case.settings, proof.nll) if alone[0] else alone
    own = {*proof.noise.values()} - {*proof.likelihood.design.values()}
    moved = sorted(str(part) for part in proof.offset.free_symbols & own)
    several, head = len(moved) > 1, proof.likelihood.head or ("mu",)
    keep = f" while {spoken(moved)} {'are' if several else 'is'} held: " if moved else ""
    keep += f"where {'one' if several else 'it'} is learned, b must stay" if moved else ""
    because = "What is left of −log p − a·loss"
    if proof.offset != 0:
        theirs = "theirs" if len(head) > 1 else "μ's"
        because += f". b does not depend on {spoken(head, 'or')}, so it moves no gradient of {theirs} and may be dropped{keep}"
        because += "; c, what may not be dropped, is zero" if proof.gap == 0 else ""
    else:
        because += ": nothing, the loss is the whole of it" if proof.gap == 0 else ": nothing of x alone"
    return settle(lambda: proof.alone and proof.whole, tried).step(
        formula("offset b(x)", " = ", *with_value(proof.printed.offset, case.values), ", ", "gap c(mu)", " = ", proof.gap),
        f"{because}.",
    )


def is_free_of_mu(case: Case, expression: Expr) -> tuple[bool, str]:
    """Return whether an expression has one value for different mu at the points, and a sentence."""
    value = trial.of_vectors(case.proof_formulas, expression)

    def pair(noise: Vector, x: Vector, mu: Vector, _: Vector, mean: Vector) -> Pair:
        return value(noise, x, mu), value(noise, x, mean)

    return trial.try_at(case.proof_formulas, case.settings, pair)


def gap(case: Case) -> Step:
    """Show that the gap depends on mu."""
    proof = case.proof
    derivative = attempt(lambda: sympy.diff(proof.odds.enter(proof.gap), proof.odds.symbol))
    is_still, _ = is_free_of_mu(case, proof.gap)
    return Step(
        formula("gap c(mu)", " = ", proof.gap),
        "This part depends on μ, so it moves the gradient and may not be dropped: the loss alone is no likelihood.",
        not is_still and not (derivative is not None and derivative == 0) and proof.x not in proof.gap.free_symbols,
    )


def code(case: Case) -> Step:
    """Show that the code that is run computes the formulas."""
    measured = case.measure()
    worst: dict[str, Deviation] = {}
    results = [
        *comparisons(case.formulas, case.settings, measured),
        *moments_and_samples(case.mass_around_mean, case.settings, measured),
    ]
    for each in results:
        if each.what not in worst or each.share > worst[each.what].share:
            worst[each.what] = each
    bad = [each for each in worst.values() if not each.good]
    points = sum(len(setting.xs) for setting in case.settings)
    largest = max((each.roundings for each in worst.values() if each.most == MANY), default=0.0)
    within = next((2**n for n in range(4, 13) if largest <= 2**n), MANY)
    names = [name for name in worst if name not in ("moments", "sample")]
    variables = ["noise"] * bool(case.proof.noise) + ["x", *(case.proof.likelihood.head or ["mu"])]
    because = f"What compare, calibrate and train run, at {points} random points of {spoken(variables)}: {', '.join(names)}, "
    because += f"within {within} roundings of float64 (of their terms, or of 1)"
    because += "; mean and variance, to six digits" if "moments" in worst else ""
    because += f"; {DRAWS:,} draws, to their own chance" if "sample" in worst else ""
    if bad:
        because = "What compare, calibrate and train run. " + " ".join(f"{each.what}: {each.where}." for each in bad[:3])
    return Step(formula("code", " ~ ", "formulas"), because + "." * (not bad), not bad and bool(worst), "points")
