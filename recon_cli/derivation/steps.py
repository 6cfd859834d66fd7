"""The way from E_q[log p(x|z)] to the loss in the code, step by step, each checked as it is shown."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import mpmath
import sympy
from sympy import Symbol

from recon_cli.derivation import trial, whole
from recon_cli.derivation.code import DRAWS, Measured
from recon_cli.derivation.limits import attempt
from recon_cli.derivation.mass import mass
from recon_cli.derivation.notation import formula, range_of, spoken, with_value, written
from recon_cli.derivation.points import Setting
from recon_cli.derivation.proof import Proof
from recon_cli.derivation.quadrature import Mass
from recon_cli.derivation.roundings import MANY, Formulas, comparisons, spell, wholes
from recon_cli.derivation.trial import Finding, Step, settle
from recon_cli.derivation.words import COMPONENTS, Words, same, words
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Circle, Interval, Lattice, Outputs, Simplex, Sphere
from recon_cli.report import Formula

LONG = 60  # letters of a formula that is said once only
CLOSE = 1e-7  # how near to one an integral by number must be


@dataclass(frozen=True)
class Case:
    """One likelihood with all that its steps are made of.

    values, shape
        the noise to put in as numbers, and the shape of one sample; empty and None for symbols alone.
    settings, measure
        where its formulas are tried, and the code's numbers there.
    """

    kind: type[Likelihood]
    proof: Proof
    values: dict[str, float]
    shape: tuple[int, ...] | None
    settings: Sequence[Setting]
    measure: Callable[[], list[Measured]]

    @functools.cached_property
    def known(self) -> dict[int, Words]:
        """The words for vectors of every size that is tried."""
        here = {len(self.proof.words.xs): self.proof.words}
        return here | {each.size: words(self.kind, each.size) for each in self.settings if each.size not in here}

    @functools.cached_property
    def densities(self) -> dict[int, Any]:
        """The density for each."""
        here = {len(self.proof.words.xs): self.proof.density}
        return here | {size: known.read(self.kind.density) for size, known in self.known.items() if size not in here}

    @functools.cached_property
    def formulas(self) -> dict[int, Formulas]:
        """Both as functions of numbers."""
        return {size: Formulas(known, self.densities[size]) for size, known in self.known.items()}

    @property
    def own(self) -> Formulas:
        """Those of as many components as the proof has."""
        return self.formulas[len(self.proof.words.xs)]

    @functools.cached_property
    def elements(self) -> int | None:
        """How many events a sample of this shape has: of vectors, their components are no events."""
        return None if self.shape is None else math.prod(self.shape[: len(self.shape) - self.proof.side.event])

    @functools.cached_property
    def finding(self) -> Finding:
        """Whether slope, offset and gap put together are -log of the density."""
        return settle(lambda: self.proof.whole, trial.undone(self.own, self.settings, self.proof.nll))

    @functools.cached_property
    def masses(self) -> list[tuple[Setting, Mass]]:
        """The mass of the density at the first event of each setting."""
        return [(each, mass(self.known[each.size], self.densities[each.size], each, 0)) for each in self.settings]

    def turned(self, setting: Setting) -> Mass:
        """The same; of angles, over the turn around their mean, where draws are."""
        if isinstance(setting.side.support, Circle):
            return mass(self.known[setting.size], self.densities[setting.size], setting, 0, turn=True)
        return next(found for each, found in self.masses if each is setting)

    @property
    def sized(self) -> str:
        """For which vectors that is proved, in words."""
        if not self.proof.side.event:
            return ""
        more = "for any number of components" if self.proof.any_size else f"for {COMPONENTS} components"
        return f" Proved {more}."


def foundation(case: Case) -> Iterator[Step]:
    """From the bound to slope, offset and gap."""
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
        yield kept(case)
    yield code(case)


@functools.cache
def definition() -> Step:
    """Bayes' rule inside the expectation gives the evidence lower bound."""
    likelihood, prior, evidence, q = sympy.symbols("likelihood prior evidence q", positive=True)
    posterior = likelihood * prior / evidence
    left = sympy.log(evidence) - sympy.log(q / posterior)
    right = sympy.log(likelihood) - sympy.log(q / prior)
    return Step(
        formula("log p(x)", " - ", "KL(q||p(z|x))", " = ", "E_q[log p(x|z)]", " - ", "KL(q||p(z))", " = ", "ELBO"),
        "An identity (Kingma and Welling 2014, equations 1 and 3), by Bayes' rule inside the expectation. E_q[log p(x|z)] is "
        "to be maximised; the reconstruction error is its negative. So far it is only an idea: p(x|z) is still to be chosen.",
        same(sympy.expand_log(left - right), 0),
    )


@functools.cache
def expectation() -> Step:
    """A Gaussian q is a shifted and scaled standard normal, so samples of that estimate the expectation."""
    m, eps = sympy.symbols("m epsilon", real=True)
    s = Symbol("s", positive=True)
    q = sympy.exp(-(((m + s * eps) - m) ** 2) / (2 * s**2)) / (s * sympy.sqrt(2 * sympy.pi))
    standard = sympy.exp(-(eps**2) / 2) / sympy.sqrt(2 * sympy.pi)
    point = sympy.limit(m + s * eps, s, 0)
    return Step(
        formula("E_q[f(z)]", " = ", "E_eps[f(m + s*eps)]", " ~ ", "sum_l f(m + s*eps_l)/L"),
        "The outer expectation is over the code z; under a Gaussian q that is m + s·ε (their section 2.4), and samples of ε "
        "estimate it. In practice L = 1, one sample a step; as s → 0, a deterministic encoder, it is exact: f(m).",
        same(q * s, standard) and same(point, m),
    )


def choice(case: Case) -> Step:
    """What the decoder gives, and what it is."""
    side, kind = case.proof.side, case.kind
    head = side.head or ("mu",)
    if side.event:
        shown = [sympy.sympify(side.link.formula, locals={**case.proof.words.names, "r": sympy.IndexedBase("r")})]
        raw = [", ", "r", " = ", "decoder(z)"]
    else:
        decoders = [Symbol(f"decoder_{k}(z)") for k in range(1, len(head) + 1)] if side.head else [Symbol("decoder(z)")]
        outputs, raw = dict(zip(case.proof.words.raws(), decoders, strict=False)), []
        shown = [mean.subs(outputs) for mean in case.proof.words.linked()]
    names = [f"{name}[k]" * bool(side.event) or name for name in head]
    parts = [part for name, mean in zip(names, shown, strict=True) for part in (", ", name, " = ", mean)]
    noise = f", {spoken(case.proof.noise)} held constant" if case.proof.noise else ""
    regions = side.domain.parts if isinstance(side.domain, Outputs) else [("mu", side.domain)]
    where = ", ".join(f"{spoken([name])} over {range_of(region)}" for name, region in regions)
    what = "the mean of a distribution of x" if is_mean(case) else "a parameter of a distribution of x"
    what = "the mean and the variance of a distribution of x" if side.head == ("mu", "var") else what
    return Step(
        formula("p(x|z)", " = ", "p(x|mu)", *parts, *raw),
        f"A choice: {kind.name}{f' ({kind.source})' if kind.source else ''}, the decoder giving {spoken(head)}{noise}. "
        f"That is {what}, not a number to subtract from x: p(x|z) is a distribution, and its logarithm is taken at x. "
        f"x ranges over {range_of(side.support)}, {where}.",
        None,
        "choice",
    )


def is_mean(case: Case) -> bool:
    """Whether mu is the mean of x, by number."""
    if case.proof.side.head or isinstance(case.proof.side.support, (Sphere, Circle, Simplex, Lattice)):
        return False
    for setting, found in case.masses:
        mean, spread, tail = found.mean(), found.mean(abs(found.x)), found.mean(abs(found.x) * (abs(found.x) > 1e200))
        if tail > 1e-6 * spread or not abs(mean - setting.mus[0][0]) <= 1e-6 * (spread + abs(mean)):
            return False
    return True


def link(case: Case) -> Iterator[Step]:
    """The decoder's raw output, through the link, reaches the inside of the domain and nothing else; said where it is not plain."""  # noqa: E501
    side, known = case.proof.side, case.proof.words
    if side.link.formula == "r" and (side.domain == Interval() or isinstance(side.domain, Circle)):
        return
    inside = trial.tried(case.own, case.settings, functools.partial(reached, case))
    raw = f"outputs {spoken(map(str, known.raws()))} reach" if side.head else "output r reaches"
    because = f"Through the link, {side.link.name}, the decoder's raw {raw} the inside of where "
    because += f"{spoken(side.head or ('mu',))} may lie, and nothing else."
    if side.event:
        power = 2 if isinstance(side.domain, Sphere) else 1
        parts = attempt(known.linked) or []
        added = attempt(lambda: sympy.simplify(sum(part**power for part in parts)))
        yield settle(
            lambda: added == 1 and (power == 2 or all(part.is_positive for part in parts)), inside
        ).step(formula(f"sum_k mu[k]{'**2' * (power == 2)}", " = ", 1), f"{because} Proved for {COMPONENTS} components.")  # fmt: skip  # noqa: E501
        return
    regions = [region for _, region in side.domain.parts] if isinstance(side.domain, Outputs) else [side.domain]
    shown: list[Any] = []
    good = True
    for name, raw, mean, region in zip(side.head or ("mu",), known.raws(), known.linked(), regions, strict=True):
        ends = [attempt(lambda mean=mean, raw=raw, end=end: whole.far(mean, raw, end)) for end in (-sympy.oo, sympy.oo)]
        shown += [", "] * bool(shown) + [f"{name}(-oo)", " = ", ends[0] or 0, ", ", f"{name}(oo)", " = ", ends[1] or 0]
        wanted = (whole.exactly(region.low), whole.exactly(region.high))
        if None not in ends and any(not same(end, want) for end, want in zip(ends, wanted, strict=True)):
            inside = (False, f"It reaches from {ends[0]} to {ends[1]}, and mu lies in {region}.")
        good = good and None not in ends and bool(attempt(lambda mean=mean, raw=raw: sympy.diff(mean, raw).is_positive))
    yield settle(lambda: good, inside).step(formula(*shown), because)


def reached(case: Case, noise: list[Any], x: list[Any], mu: list[Any], *_: Any) -> tuple[Any, Any] | None:
    """Whether the link of some raw outputs, here x less mu, lies where mu may: 1 and 1."""
    raw = [part - (x[k] if k < len(x) else 0) for k, part in enumerate(mu)]
    found = case.own.link(*noise, *raw)
    side = case.kind(*map(float, noise))
    if isinstance(side.domain, Sphere):
        return sum(part**2 for part in found), mpmath.mpf(1)
    if isinstance(side.domain, Simplex):
        return sum(found) if all(part >= 0 for part in found) else mpmath.mpf(-1), mpmath.mpf(1)
    regions = [region for _, region in side.domain.parts] if isinstance(side.domain, Outputs) else [side.domain]
    good = all(region.low <= part <= region.high for part, region in zip(found, regions, strict=True))
    return mpmath.mpf(good), mpmath.mpf(1)


def density(case: Case) -> Step:
    """The density adds up to one, and is negative nowhere."""
    proof = case.proof
    general = proof.words.general(case.kind.density) if proof.side.event else None
    added = attempt(lambda: whole.total(proof.density, proof.words, proof.odds, general))
    above = attempt(lambda: whole.positive(proof.density, proof.words, proof.odds))
    wrong, counted, digits = by_number(case, added == 1)
    free = spoken([*(proof.side.head or ["mu"]), *proof.noise])
    because = f"Its density: it integrates to one whatever {free}, and is negative nowhere."
    if of_sums(proof):
        because = f"The probability of each x: they add up to one whatever {free}, and none is negative."
    value = 1 if added is None and not wrong else added
    if wrong or (added is not None and added != 1 and counted == 0):
        return Step(
            _total(case, value if wrong is None or added not in (None, 1) else wrong[0]),
            f"{because} {wrong[1] if wrong else ''}",
            False,
        )
    if isinstance(proof.side.support, (Sphere, Circle)) and added == 1:
        because += " By Poisson's integral of the Bessel function (DLMF 10.32)."
    if added == 1 and above:
        return Step(_total(case, 1), because, True)
    tried = f"Checked at {counted} noises and means to {digits} digits; not proved."
    if added == 1:
        tried = f"That it is negative nowhere is checked at {counted} noises and means, many x each; not proved."
    return Step(_total(case, 1), f"{because} {tried}", None, "points")


def by_number(case: Case, proved: bool) -> tuple[tuple[float, str] | None, int, int]:
    """Where a mass is not one or a density negative, with that mass; how many were found, to how many digits."""
    counted, digits = 0, 9.0
    for setting, found in case.masses:
        named = "".join(f", {name} = {value:.6g}" for name, value in setting.numbers.items())
        where = f"mu = {spell(setting.mus[0])}{named}"
        if found.lowest < -1e-12 * float(abs(found.p).max()):
            return (found.whole, f"It is negative at some x for {where}."), counted, 0
        away = abs(found.whole - 1)
        if not math.isfinite(found.error) or (proved and found.whole < 1e-6):
            continue  # a tail too long, or a peak too narrow, for the rule
        if not away <= max(CLOSE, 100 * found.error):
            return (found.whole, f"At {where} that is {found.whole:.6g}."), counted, 0
        counted, digits = counted + 1, min(digits, -math.log10(max(away, 1e-9)))
    return None, counted, math.floor(digits)


def _total(case: Case, value: Any) -> Formula:
    shown = written(case.kind.density, case.proof.words.names)
    return formula("p(x|mu)", " = ", shown, ", ", whole_of(case.proof), " = ", value)


def logarithm(case: Case) -> Step:
    """Exponentiating the negative gives the density back."""
    because = f"The logarithm, and the sign: a cost in nats, to be minimised.{case.sized}"
    return case.finding.step(formula("-log p(x|mu)", " = ", case.proof.shown.nll), because)


@functools.cache
def elements() -> Step:
    """Checked on two elements, of nll a and b; each further one is the same step again."""
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
    "claim": "this slope is the one that its code claims, and what is left is a part of x and a part of μ.",
    "components": "the two derivatives by each component of μ have this ratio, and it is constant.",
}


def slope(case: Case) -> Step:
    """The slope from derivatives, set against the one that the likelihood's code claims."""
    proof = case.proof
    claimed = attempt(lambda: sympy.nsimplify(sympy.sympify(proof.side.slope)), 1)
    names = {"nll": [], "claim": [], "sides": ["(d nll/d mu)/(d loss/d mu)", " = "]}
    shown = names.get(proof.way, ["(d2 nll/dx dmu)/(d2 loss/dx dmu)", " = "])
    good, how = trial.apart(case.own, case.settings, proof.loss, proof.slope)
    for setting in case.settings if good and proof.constant else ():
        value = float(proof.slope.subs({proof.noise[name]: number for name, number in setting.numbers.items()}))
        if not math.isclose(value, float(setting.side.slope), rel_tol=1e-9):
            good, how = False, f"Its code claims {float(setting.side.slope):.8g} where this is {value:.8g}, at {setting.side}."
            break
    cost = formula(proof.shown.loss)
    told = [] if proof.way == "nll" and long(cost) else ["loss", " = ", cost, ", "]
    finding = settle(lambda: proof.constant and claimed is not None and same(claimed, proof.slope) and proof.whole, (good, how))
    return finding.step(
        formula(*told, "slope a", " = ", *shown, *with_value(proof.slope, case.values)),
        f"Against {proof.side.loss.name}: {WAYS['components' if proof.side.event and proof.way == 'sides' else proof.way]}",
    )


def dropped(case: Case) -> Step:
    """What is left without mu."""
    proof = case.proof
    said = trial.values(case.own, proof.offset)
    alone = trial.tried(case.own, case.settings, lambda noise, x, mu, _, mean: (said(noise, x, mu), said(noise, x, mean)))
    tried = trial.undone(case.own, case.settings, proof.nll) if alone[0] else alone
    own = {*proof.noise.values()} - {*proof.side.design.values()}
    moved = sorted(str(part) for part in proof.offset.free_symbols & own)
    several, head = len(moved) > 1, proof.side.head or ("mu",)
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
        formula("offset b(x)", " = ", *with_value(proof.shown.offset, case.values), ", ", "gap c(mu)", " = ", proof.gap),
        f"{because}.",
    )


def kept(case: Case) -> Step:
    """The gap depends on mu."""
    proof = case.proof
    moves = attempt(lambda: sympy.diff(proof.odds.enter(proof.gap), proof.odds.symbol))
    said = trial.values(case.own, proof.gap)
    still, _ = trial.tried(case.own, case.settings, lambda noise, x, mu, _, mean: (said(noise, x, mu), said(noise, x, mean)))
    return Step(
        formula("gap c(mu)", " = ", proof.gap),
        "This part depends on μ, so it moves the gradient and may not be dropped: the loss alone is no likelihood.",
        not still and not (moves is not None and moves == 0) and proof.x not in proof.gap.free_symbols,
    )


def code(case: Case) -> Step:
    """The code that is run, set against the formulas."""
    measured = case.measure()
    worst = {}
    results = [*comparisons(case.formulas, case.settings, measured), *wholes(case.turned, case.settings, measured)]
    for each in results:
        if each.what not in worst or each.roundings / (each.most or 1e-9) > worst[each.what].roundings / (
            worst[each.what].most or 1e-9
        ):
            worst[each.what] = each
    bad = [each for each in worst.values() if not each.good]
    points = sum(len(setting.xs) for setting in case.settings)
    largest = max((each.roundings for each in worst.values() if each.most == MANY), default=0.0)
    within = next((2**n for n in range(4, 13) if largest <= 2**n), MANY)
    names = [name for name in worst if name not in ("moments", "sample")]
    drawn = ["noise"] * bool(case.proof.noise) + ["x", *(case.proof.side.head or ["mu"])]
    because = f"What compare, calibrate and train run, at {points} random points of {spoken(drawn)}: {', '.join(names)}, "
    because += f"within {within} roundings of float64 (of their terms, or of 1)"
    because += "; mean and variance, to six digits" if "moments" in worst else ""
    because += f"; {DRAWS:,} draws, to their own chance" if "sample" in worst else ""
    if bad:
        because = "What compare, calibrate and train run. " + " ".join(f"{each.what}: {each.where}." for each in bad[:3])
    return Step(formula("code", " ~ ", "formulas"), because + "." * (not bad), not bad and bool(worst), "points")


def long(shown: Formula) -> bool:
    """Whether a formula is one to give a name rather than say again."""
    return len(shown.unicode) > LONG


def of_sums(proof: Proof) -> bool:
    """Whether a density is one of sums, of whole numbers or levels or classes."""
    return proof.side.support.whole or isinstance(proof.side.support, Lattice)


def whole_of(proof: Proof) -> str:
    """What the density adds up to, by name."""
    return "sum p" if of_sums(proof) else "integral p dx"
