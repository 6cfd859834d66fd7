"""Noises that are no number of the loss's own: a decoder's, one for every element, or what each batch chooses; blocks of columns.

Of a loss rho(e/sigma) + log sigma of the residual e = r - x, at a weight a, with sigma any function of an argument s:

    d loss/ds = (log sigma)'(s) (a - e d loss/dr)

So two residuals at one s give a, which must be the same at every s; and with rho known the gradient by r gives sigma(s).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.elements import elements_of
from recon_cli.auditing.families import CLOSE, MATCH, Candidate, DecoderScale, Match, likelihood_of, recognise
from recon_cli.auditing.latents import measure
from recon_cli.auditing.links import MADE, MEANINGS
from recon_cli.auditing.measuring import SIMPLEX, ReconstructionTerm, recognise_events, recognised, sign_of
from recon_cli.auditing.norms import bound
from recon_cli.auditing.probes import (
    Elements,
    additivity,
    benign,
    data_of,
    domains,
    element_weights,
    generator,
    gradients,
    uniform,
)
from recon_cli.auditing.reach.callables import parameters_of
from recon_cli.auditing.reach.roles import Pair
from recon_cli.identity.regions import REAL

# A likelihood although its elements lean on one another: the noise is what each batch chooses, or columns are of several kinds.
Field = Callable[[Tensor], Tensor]
# d/dx̂ of -log p with the noise at its best is pull over mean size: of a Gaussian e/mean(e^2), of a Laplace sign e/mean|e|.
BEST: dict[str, tuple[Field, Field]] = {
    "gaussian": (lambda e: e, lambda e: e.square()),
    "laplace": (lambda e: e.sign(), lambda e: e.abs()),
}
OVER = {"the batch": (0, 1), "each sample": (1,), "each element over the batch": (0,)}
BASES = ((1, 0.3), (9, 0.2), (13, 0.1))  # seeds and spreads of the residuals that are tried
ALIKE, NEAR = 1e-6, 0.1  # of one batch's weights; of those of several, as where the noise is clipped softly
SPLITS = 5  # random halves of the columns that are moved to find those that lean on others
MOST = 12  # blocks


@dataclass(frozen=True)
class Chosen:
    """A reconstruction whose noise is the best of its own residuals: the family, over what, the weight, how far off that runs."""

    family: str
    over: str
    weight: float
    off: float

    @property
    def words(self) -> str:
        """The noise as a formula."""
        return f"{'sigma^2 = mean (x̂−x)²' if self.family == 'gaussian' else 'scale = mean |x̂−x|'} of {self.over}"

    def of(self, rec: ReconstructionTerm) -> ReconstructionTerm:
        """Return the reconstruction as that likelihood."""
        match = Match(self.family, self.weight, self.off, link=LINK)
        return replace(rec, match=match, additive=True, sign=match.sign, location=True)


LINK = "noise chosen"


def chosen(problem: Problem, pair: Pair) -> Chosen | None:
    """Return the likelihood of a reconstruction whose noise is the best of its own residuals; None where it has none."""
    fields: list[tuple[Tensor, Tensor]] = []
    for number, spread in BASES if pair[1] is not None and not problem.layout.classes else ():
        values, recon = benign(problem, number, spread), pair[0].key
        if (x := data_of(values, pair)) is None or x.ndim != 2:
            return None
        grad = gradients(problem, values, [recon])[1][recon]
        if not bool(grad.isfinite().all()) or not bool((grad != 0).any()):
            return None
        fields.append((values[recon] - x, grad))
    for (family, (pull, size)), (over, axes) in itertools.product(BEST.items(), OVER.items()) if fields else ():
        weights = []
        for e, grad in fields:
            each = (grad * size(e).mean(axes, keepdim=True) / pull(e))[e.abs() > 1e-3]
            middle = each.median().item()
            if middle and (each - middle).abs().max() <= ALIKE * abs(middle):
                weights.append(middle)
        off = max(abs(one / weights[0] - 1) for one in weights) if len(weights) == len(BASES) else math.inf
        if off < NEAR:
            return Chosen(family, over, weights[0], 0.0 if off < ALIKE else off)
    return None


def switch(problem: Problem) -> str:
    """Return the argument or attribute that is 0 and keeps a KL from being weighed at all; empty where there is none."""
    plan, owner, parameters = problem.plan, problem.reached.owner, parameters_of(problem.reached.code)

    def one_of(name: str) -> Problem:
        return problem.at(plan=replace(plan, keywords={**plan.keywords, name: 1.0}))

    candidates: list[tuple[str, Problem]] = []
    for i, (name, value) in enumerate(zip([*parameters][problem.reached.bound :], plan.arguments, strict=False)):
        if zero(value):
            arguments: list[object] = [*plan.arguments[:i], 1.0, *plan.arguments[i + 1 :]]
            candidates.append((name, problem.at(plan=replace(plan, arguments=arguments))))
    named = {**{name: each.default for name, each in parameters.items()}, **plan.keywords}
    candidates += [(name, one_of(name)) for name, value in named.items() if zero(value)]
    own = vars(owner) if owner is not None and hasattr(owner, "__dict__") else {}
    candidates += [(f"self.{n}", problem.at(follow={**problem.follow, n: 1.0})) for n, value in own.items() if zero(value)]
    for name, other in candidates:
        try:
            latent = measure(other.at(memo={}))
        except Exception:  # the function does not take that: it is no weight
            continue
        if latent is not None and latent.weight:
            return name
    return ""


def zero(value: Any) -> bool:
    """Whether it is the number 0."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and value == 0


def product(problem: Problem, pair: Pair, rec: ReconstructionTerm) -> ReconstructionTerm:
    """Return a reconstruction of several blocks, each a likelihood, as their product; the same where it is none.

    Columns that lean on no other go element by element; those that lean on one another are classes of one event.
    """
    recon, target = pair
    base = benign(problem)
    if target is None or problem.layout.classes or data_of(base, pair) is None or base[recon.key].ndim != 2:
        return rec
    blocks = leaning(problem, base, recon.key)
    bound = [column for block in blocks for column in block]
    if not blocks:
        return rec
    matches = [of_event(problem, base, pair, block) for block in blocks]
    weights, _ = element_weights(problem, base, pair)
    weights[:, bound] = 0.0
    if bool((weights != 0).any()):
        weights = weights / weights[weights != 0].median()
        matches.append(recognised(Elements(problem, base, recon.key, target.key, weights), domains())[0])
    free = [match for match in matches if match is not None and (match.candidate is None or not match.candidate.kind().noise)]
    if not free or any(match is None or match.off > MATCH or match.link == SIMPLEX for match in matches):
        return rec
    if any(abs(match.weight / free[0].weight - 1) > 1e-6 for match in free):
        return rec  # of a beta each
    names = " + ".join(sorted({match.family for match in matches if match is not None}))
    alive = weights[weights != 0]
    spread = (alive.min().item(), alive.max().item()) if len(alive) else (1.0, 1.0)
    return replace(rec, match=Match(names, free[0].weight, 0.0), additive=True, weights=spread, counted=1.0, domain="real")


def leaning(problem: Problem, base: dict[str, Tensor], key: str) -> list[list[int]]:
    """Return the columns whose gradients others move, together with those; empty where that is all of them, or one block."""
    value = base[key]
    _, grads = gradients(problem, base, [key])
    before, columns = grads[key], value.shape[1]

    def moved(which: Tensor) -> Tensor:
        """Whether the gradients of each column change where these columns move."""
        after = gradients(problem, {**base, key: value + 0.05 * which}, [key])[1][key]
        return ((after - before).abs() > 1e-9 * before.abs().max()).any(0)

    bound = torch.zeros(columns, dtype=torch.bool)
    for number in range(SPLITS):
        half = torch.rand(columns, generator=generator(90 + number)) < 0.5
        bound |= moved(half) & ~half
    blocks: list[list[int]] = []
    left = bound.clone()
    while bool(left.any()) and len(blocks) < MOST:
        first = int(left.nonzero()[0])
        one = torch.zeros(columns, dtype=torch.bool)
        one[first] = True
        with_it = moved(one) | one
        blocks.append(with_it.nonzero().flatten().tolist())
        left &= ~with_it
    whole = bool(left.any()) or any(len(block) in (1, columns) for block in blocks)
    return [] if whole else blocks


def of_event(problem: Problem, base: dict[str, Tensor], pair: Pair, block: list[int]) -> Match | None:
    """Return which likelihood of vectors some columns are of one-hot data."""
    recon, target = (slot.key for slot in pair if slot is not None)
    rows, width = len(base[recon]), len(block)
    hot = torch.nn.functional.one_hot(torch.arange(rows) % width, width).double()
    for raw in (uniform((rows, width), -2, 2, 93), uniform((rows, width), -2, 2, 93).softmax(-1)):
        values = {**base, recon: base[recon].clone(), target: base[target].clone()}
        values[recon][:, block], values[target][:, block] = raw, hot
        grad = gradients(problem, values, [recon])[1][recon][:, block]
        if bool(grad.isfinite().all()) and (match := recognise_events(hot, raw, grad)) is not None:
            return match
    return None


RESIDUALS = (-0.7, 0.35, 1.1)
REACHES = ((-6.0, 6.0), (0.02, 6.0))  # of the scales that are tried: any number, or positive ones alone
MIDST = (0.35, 0.95)  # where a loss must be one to all digits but an eps's
CLOSELY, WIDELY, LEAST = 9, 25, 6  # how many are tried there and in all of a reach, of which so many must do
EXACT = 1e-5
ONE, HALVINGS = 0.6, 80  # a scale at which the family is looked at; steps to each other one


def spread_of(problem: Problem, pair: Pair, meaning: str | None) -> ReconstructionTerm:
    """Measure a decoder that gives a scale of its own for every element; ``meaning`` is that of the latents' scale."""
    (scale, *_) = problem.plan.role("spread")
    worst = additivity(problem, benign(problem), pair[0].key, [])
    term = ReconstructionTerm(additive=worst < 1e-7, worst=worst, location=True)
    if worst > 1e-7 and (count := bound(problem, pair)):
        return replace(term, sign=sign_of(problem, benign(problem), pair), bound=count)
    elements = elements_of(problem, pair, meaning)
    fields = next((each for reach in REACHES if (each := field(elements, reach)) is not None), None) if elements else None
    read = None if fields is None or elements is None else reading(elements, scale.key, *fields)
    if read is None or halved(problem, *read):
        return replace(term, sign=sign_of(problem, benign(problem), pair))
    return replace(term, match=read[0], sign=read[0].sign, spread=read[1])


def halved(problem: Problem, match: Match, spread: DecoderScale) -> bool:
    """Whether the residual's part is a plain sum's or mean's, of the scale as it is written, and the logarithm is not.

    Then it is the logarithm of another scale than that which the code has: half of it is missing, or it is there twice.
    """
    sizes = (problem.sizes.batch, *problem.sizes.shape)
    plain = {math.prod(some) for count in range(len(sizes) + 1) for some in itertools.combinations(sizes, count)}
    if match.given:
        return False  # of these the residual's part alone says how much it weighs
    times = spread.times_variance if match.family.startswith("het") else spread.times_variance**0.5
    sums, residuals = ([abs(abs(weight) * n - 1) < EXACT for n in plain] for weight in (match.weight, match.weight / times))
    return any(residuals) and not any(sums)


def field(elements: Elements, reach: tuple[float, float]) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return scales, and by rows of them the gradients by reconstruction and scale at each residual; None where there are few."""
    s = torch.cat([torch.linspace(*MIDST, CLOSELY), torch.linspace(*reach, WIDELY)]).double()
    e = torch.tensor(RESIDUALS, dtype=torch.float64)
    x = torch.linspace(0.1, 0.9, len(s), dtype=torch.float64)[:, None].expand(-1, len(e))
    both = slopes_at(elements, x.flatten(), (x + e).flatten(), s[:, None].expand(-1, len(e)).flatten())
    if both is None:
        return None
    g, h = both.reshape(2, len(s), len(e))
    fine = g.isfinite().all(1) & h.isfinite().all(1) & (g != 0).any(1)
    return (s[fine], g[fine], h[fine]) if int(fine.sum()) >= CLOSELY + LEAST else None


def slopes_at(elements: Elements, x: Tensor, r: Tensor, s: Tensor) -> Tensor | None:
    """Return the gradients by reconstruction and by scale at some points; None where the loss is no number there."""
    recon, scale = elements.recon, elements.scale
    finite, grads = elements.laid({recon: r, scale: s, elements.target: x}, [recon, scale])
    return torch.stack([grads[recon].flatten(), grads[scale].flatten()]) if finite else None


def of_registry(
    elements: Elements, s: Tensor, g: Tensor, weight: float
) -> tuple[str, Tensor, tuple[tuple[str, float], ...]] | None:  # fmt: skip
    """Return the location-scale family that a field is, its scale at each ``s``, and its other numbers; None where it is none.

    At one scale it is a loss of the residual, and ``weight`` says which noise; at the others only the scale is another.
    """
    x, r = domains()["real"]
    still = slopes_at(elements, x, r, torch.full_like(x, ONE))
    match = None if still is None else recognise(x, r, still[0])
    if match is None or match.off > MATCH or match.link or match.candidate is None:
        return None
    likelihood, family = likelihood_of(match, match.weight / weight)
    name = next((name for name in ("scale", "sigma") if likelihood is not None and name in likelihood.noise), None)
    if likelihood is None or name is None or likelihood.support != REAL:
        return None
    unit, e = replace(likelihood, **{name: 1.0}), torch.tensor(RESIDUALS, dtype=torch.float64).expand_as(g)

    def steep(sigma: Tensor) -> Tensor:
        z = (e / sigma[:, None]).requires_grad_()
        (slope,) = torch.autograd.grad(unit.nll(torch.zeros_like(z), z).sum(), z)
        return weight * slope / sigma[:, None]

    low, high = torch.full_like(s, -18.0), torch.full_like(s, 18.0)
    for _ in range(HALVINGS):  # of every family the pull falls as the scale grows
        middle = (low + high) / 2
        wide = steep(middle.exp())[:, -1].abs() > g[:, -1].abs()
        low, high = middle.where(wide, low), high.where(wide, middle)
    sigma = ((low + high) / 2).exp()
    off = (steep(sigma) - g).abs().amax(1)
    if bool((off > EXACT * g.abs().amax(1)).any()):
        return None
    return family, sigma, tuple((key, value) for key, value in likelihood.noise.items() if key != name)


def reading(elements: Elements, key: str, s: Tensor, g: Tensor, h: Tensor) -> tuple[Match, DecoderScale] | None:
    """Return what a field over residuals and scales is, and what its scale means; None where it is no density's."""
    e = torch.tensor(RESIDUALS, dtype=torch.float64).expand_as(g)
    basis = torch.stack([torch.ones_like(e), -e * g], dim=2)
    first, rise = torch.linalg.lstsq(basis, h.unsqueeze(2)).solution.squeeze(2).T
    off = (h - (basis @ torch.stack([first, rise], dim=1).unsqueeze(2)).squeeze(2)).abs().amax(1)
    moves = h.abs().amax(1) > 1e-9 * h.abs().max()  # beyond, a scale that is clamped has no gradient
    near = (s >= MIDST[0]) & (s <= MIDST[1])
    if not bool((moves & near).any()) or bool((off > EXACT * h.abs().amax(1))[moves & near].any()):
        return None
    weights = first / rise
    weight = weights[moves & near].median()
    strays = (weights / weight - 1).abs()
    worst = float(strays[moves & near].max())
    if worst > EXACT or bool((strays > CLOSE)[moves].any()):
        return None
    for family, ratio in (("heteroscedastic-gaussian", g / e), ("laplace", g * e.sign())):
        steep = ratio.mean(1)
        if bool(((ratio - steep[:, None]).abs() <= EXACT * steep[:, None].abs()).all()) and bool((weight / steep > 0).all()):
            sigma = (weight / steep).sqrt() if family.startswith("het") else weight / steep
            candidate = None
            if family.startswith("het"):
                kind = likelihoods.find(family)
                candidate = Candidate(family, kind, type(kind().loss), ())
            return Match(family, float(weight), worst, candidate), made_of(key, s, sigma, moves)
    other = of_registry(elements, s, g, float(weight))
    if other is None:
        return None
    family, sigma, given = other
    return Match(family, float(weight), worst, given=given), made_of(key, s, sigma, moves)


def made_of(key: str, s: Tensor, sigma: Tensor, moves: Tensor) -> DecoderScale:
    """Return what a deviation is of an argument: the plainest of the functions that people make positive numbers by."""
    fits = []
    for which in (torch.ones_like(moves), moves):  # a clamp's ends aside, where all of it fits nothing
        for name, quantity in MEANINGS.items():
            wanted = quantity.of(sigma[which])
            for link, function in MADE.items():
                line = torch.stack([function(s[which]), torch.ones_like(wanted)], dim=1)
                slope, more = torch.linalg.lstsq(line, wanted[:, None])[0].flatten().tolist()
                slope = float(round(slope)) if abs(slope - round(slope)) < 1e-6 else slope
                more = more if abs(more) > 1e-8 else 0.0
                off = float(((slope * line[:, 0] + more - wanted) / (wanted.abs() + 1e-9)).abs().max())
                if off < 1e-6 and slope:
                    fits.append(DecoderScale(key, name, link, slope, more, clamped=which is moves))
        if fits:
            return min(fits, key=lambda each: (each.more != 0, each.times != 1, each.link != "", each.quantity == "precision"))
    at = [int((s - spot).abs().argmin()) for spot in (-1.0, 0.0, 1.0)]
    return DecoderScale(key, "std", None, samples=tuple((float(s[i]), float(sigma[i])) for i in at))
