"""Everything that is measured of a loss, once, as plain data: what is said of it afterwards calls nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from recon_cli.auditing import checks, soundness
from recon_cli.auditing.calling import Problem, Sizes
from recon_cli.auditing.composed_targets import composed
from recon_cli.auditing.determinants import by_decoder, is_diagonal, is_of_elements, own_noise, trained_covariances
from recon_cli.auditing.given_weights import weighed
from recon_cli.auditing.latents import Latent
from recon_cli.auditing.latents import measure as measure_latents
from recon_cli.auditing.matching import latent_keys, pairs
from recon_cli.auditing.measuring import ReconstructionTerm, has_scale, of_vectors, reconstruction
from recon_cli.auditing.noises import Chosen, chosen, product, spread_of, switch
from recon_cli.auditing.norms import BY_LOGS, Norm, covariance
from recon_cli.auditing.probes import POINTS
from recon_cli.auditing.reach.callables import batch_number
from recon_cli.auditing.reach.recording import Operation
from recon_cli.auditing.reach.roles import Pair, Slot
from recon_cli.auditing.regularisers import regularised
from recon_cli.auditing.remainders import Remainder, remainders
from recon_cli.auditing.sampling import Missampled, missampled
from recon_cli.auditing.scaling import NONE, Scaling, scalings
from recon_cli.auditing.soundness import Astray
from recon_cli.auditing.survival import Beside, beside, read
from recon_cli.auditing.trained_scales import TrainedScale, trained_scales
from recon_cli.errors import ReconError


@dataclass(frozen=True)
class Term:
    """One reconstruction as measured.

    recon, target
        the arguments.
    rec, scaling
        its field, and how its weight moves with the sizes.
    own
        the noise that the loss carries: its size, its weight, whether the whole normaliser is there.
    best
        the likelihood whose noise each batch chooses, where it is one.
    astray
        how it misses its target, where it does.
    density
        in words, why e^-loss has no integral, where that had to be looked into.
    overflow, favour
        in words, where float32 does not hold it, and that samples further off weigh more.
    learned
        the scales that the loss itself trains.
    by_decoder
        whether it is a distribution object's own log-probability.
    classes
        where its classes are, first or last, and whether labels are hot; empty without any.
    prior
        in words, the term in the reconstruction alone that couples its elements, where there is one.
    """

    recon: str
    target: str | None
    rec: ReconstructionTerm
    scaling: Scaling
    own: tuple[float, float, bool] | None = None
    best: Chosen | None = None
    astray: Astray | None = None
    density: str = ""
    overflow: str = ""
    favour: str = ""
    learned: tuple[TrainedScale, ...] = ()
    by_decoder: bool = False
    classes: str = ""
    prior: str = ""

    @property
    def uneven(self) -> bool:
        """Whether its elements have weights of their own, all of them some."""
        low, high = self.rec.weights
        return self.rec.additive and self.rec.counted == 1 and abs(low / high - 1) > 1e-6


@dataclass(frozen=True)
class Measurements:
    """A loss as measured at ``sizes``, with the names that its function has for what was measured.

    besides
        terms that are of other arguments than the data and the KL's.
    mu, scale
        the arguments that are the mean and the scale of the latents; "mu" and "logvar" where they have no name.
    divergence
        of posteriors that are distributions, the line of torch that is their KL.
    differences
        arguments whose gradient is not the slope of the value: (argument, slope by differences, by autograd).
    stateful, stochastic
        two numbers that one call should have given, where it gave two; averaged: the draws' mean was measured.
    missampled
        how z, which a decoder is given, is no draw of the posterior that the KL weighs.
    odd, added
        shapes of a reconstruction and its target, and of a reconstruction and a KL, that broadcast.
    still
        latents that move the value and no gradient; switch: the argument whose 0 keeps a KL out.
    knobs, batch_number
        numbers that the function is given; the batch size that it states.
    steps, site
        the operations and their lines; the line of its definition.
    data
        the data that it is set beside, if any.
    """

    name: str
    picked: str
    sizes: Sizes
    roles: tuple[tuple[str, str, str], ...]
    terms: tuple[Term, ...]
    latent: Latent | None
    latents: tuple[str, ...] = ()
    besides: tuple[Remainder, ...] = ()
    mu: str = "mu"
    scale: str = "logvar"
    divergence: str = ""
    differences: tuple[tuple[str, float, float], ...] = ()
    stateful: tuple[float, float] | None = None
    stochastic: tuple[float, float] | None = None
    averaged: bool = False
    missampled: Missampled | None = None
    odd: str = ""
    added: tuple[tuple[int, ...], tuple[int, ...]] | None = None
    switch: str = ""
    knobs: tuple[float, ...] = ()
    batch_number: int | None = None
    notes: tuple[str, ...] = ()
    steps: tuple[Operation, ...] = ()
    site: str = ""
    data: Beside | None = None

    @property
    def kl_weight(self) -> float | None:
        """The size of the KL's weight; None without a KL."""
        return abs(self.latent.weight) if self.latent is not None and self.latent.weight else None

    @property
    def alone(self) -> bool:
        """Whether it is a KL without a reconstruction."""
        return not self.terms[0].recon

    @property
    def unexplained(self) -> str:
        """In words, what of the loss is not recognised beside its reconstructions; empty where nothing."""
        known = self.latent.unexplained if self.latent is not None else ""
        of_latents = [f"the term in {' and '.join(self.latents)}: {known}"] if known else []
        rest = [f"the term in {' and '.join(each.arguments)}: {each.words}" for each in self.besides if not each.explained]
        return "; ".join([*of_latents, *rest])

    @property
    def mixed(self) -> bool:
        """Whether what the loss has of its latents is not recognised."""
        return self.latent is not None and bool(self.latent.unexplained)

    @property
    def still(self) -> list[str]:
        """The latents that move the value and no gradient."""
        return [key for key, _, claimed in self.differences if key in self.latents and claimed == 0]

    @property
    def outside(self) -> dict[str, str]:
        """By family, in words, which data it has no density for."""
        return {} if self.data is None else {family: words for family, (words, _, _) in self.data.outside.items()}

    @property
    def broadcast(self) -> bool:
        """Whether tensors of unlike shapes meet."""
        return bool(self.odd or self.added)


def measure(
    problem: Problem, odd: str, files: Mapping[str, str], data: str | None = None, scale: Any = None,
    growths: Sequence[Scaling] | None = None,
) -> Measurements:  # fmt: skip
    """Return everything that is measured of a loss; ``odd`` is what is odd about calling it so, ``files`` whose lines are its.

    ``growths`` are its exponents where it cannot be called at other sizes.
    """
    known = read(data, scale) if data else None
    problem = problem if known is None else problem.at(data=known.some(POINTS))
    stateful, stochastic, values = checks.repeated(problem)
    averaged = False
    if stochastic:  # its normal draws at nodes, to be averaged, where they decide the value
        still = problem.at(noise=0.0)
        averaged = not checks.repeated(still)[1]
        problem = still if averaged else problem
    latent = measure_latents(problem)
    latents = latent_keys(problem)
    steps, broadcast = checks.followed(problem, files)
    added = broadcast if latent is not None and not odd else None
    spread = has_scale(problem)
    growths = scalings(problem, latent.squared if latent else None) if growths is None else growths
    terms = [term(problem, pair, latent, latents, spread, bool(odd or added), each)
             for pair, each in zip(pairs(problem.plan), growths, strict=False)]  # fmt: skip
    bounded = any(each.rec.bound for each in terms)  # what it has of latents is in its weights
    latent, besides = (None, ()) if bounded else (latent, remainders(problem, latent))
    besides += tuple(Remainder((each.recon,), each.prior) for each in terms if each.prior)
    if not terms:
        terms = [Term("", None, ReconstructionTerm(), Scaling((0.0, *growths[0].batch[1:]), latent=growths[0].latent))]
    reached, plan = problem.reached, problem.plan
    off = switch(problem) if latent is None and latents and not bounded else ""
    if f"{off} = 0 was assumed" in plan.taken:
        raise ReconError(f"{reached.spelled} weighs its KL by {off}, which is not known.", f"Pass it: --bind {off}=1000, say.")
    aims = any(each.rec.aim for each in terms)

    weights = {each.rec.given.key for each in terms if each.rec.given}

    def role_of(slot: Slot) -> tuple[str, str, str]:
        if slot.key in weights and not aims:
            return slot.key, slot.role, f"{slot.how}; it weighs the elements, and does no more"
        if slot.meaning == "steps":
            return f"w({slot.key})", slot.role, slot.how
        if aims and slot.role == "spread":
            return slot.key, "target", "part of what the prediction is compared with"
        return slot.key, slot.role, slot.how

    named = {role: next((slot.key for slot in plan.role(role)), word) for role, word in (("mu", "mu"), ("scale", "logvar"))}
    posteriors = [slot.key for slot in plan.role("posterior")]
    if posteriors and problem.layout.posterior == "pair":
        named = {"mu": f"{posteriors[0]}[0]", "scale": f"{posteriors[0]}[1]"}
    return Measurements(
        divergence=divergences(problem, posteriors if problem.layout.posterior == "object" else []),
        name=reached.spelled, picked=problem.picked, sizes=problem.sizes,
        roles=(*map(role_of, plan.slots()), ("returned", "loss", problem.picked)),
        terms=tuple(terms), latent=latent, latents=tuple(latents), **named,
        differences=tuple(checks.mismatch(problem)), besides=besides,
        stateful=values if stateful else None, stochastic=values if stochastic else None, averaged=averaged,
        odd=odd, added=added, switch=off, missampled=missampled(problem, latent),
        knobs=tuple(checks.knobs(problem)), batch_number=batch_number(reached), notes=(*reached.notes, *plan.taken),
        steps=steps, site=checks.defined_at(reached.code, files),
        data=beside(terms, known) if known is not None else None,
    )  # fmt: skip


def divergences(problem: Problem, keys: Sequence[str]) -> str:
    """Return the line of torch for the KLs of posteriors that are distributions: their own where the code asks for that."""
    todo, asking = [*problem.plan.trace.nodes.values()], set[str]()
    while todo:
        node = todo.pop()
        asking |= {node.key} if ("attr", "kl") in node.parts else set()
        todo += node.parts.values()
    prior = "torch.distributions.Normal(0.0, 1.0)"
    each = [f"{key}.kl().sum()" if key in asking else f"torch.distributions.kl_divergence({key}, {prior}).sum()" for key in keys]
    return f"({' + '.join(each)})" if len(each) > 1 else "".join(each)


def term(
    problem: Problem, pair: Pair, latent: Latent | None, latents: list[str], spread: bool, broadcast: bool, scaling: Scaling
) -> Term:
    """Return one reconstruction as measured."""
    recon, target = pair
    names = recon.key, target.key if target is not None else None
    b = abs(latent.weight) if latent is not None and latent.weight else None
    missed = None if spread else soundness.astray(problem, pair, broadcast)
    if missed is not None:  # whatever its shape, it is no likelihood of the target
        astray, rec = missed
        return Term(*names, rec, scaling, astray=astray)
    of_elements = not spread or is_of_elements(problem, pair)
    own_scale = spread_of(problem, pair, latent.meaning if latent else None) if spread and of_elements else None
    open_still = spread and not (own_scale and own_scale.recognised)
    if open_still and (given := weighed(problem, pair, latents, scaling)) is not None:
        return Term(*names, given[0], scaling, learned=given[1], by_decoder=recon.role == "decoder")
    if open_still and not broadcast and (aimed := composed(problem, pair, scaling)) is not None:
        return Term(*names, aimed, scaling)
    if not of_elements:
        rec, learned = by_decoder(problem, pair, latent.meaning if latent else None)
        return Term(*names, rec, scaling, learned=learned)
    rec = own_scale or reconstruction(problem, pair, latents)
    if rec.match is None and not spread and not broadcast and (aimed := composed(problem, pair, scaling)) is not None:
        return Term(*names, aimed, scaling)
    if rec.additive and rec.match is not None and rec.match.family == "laplace" and scaling.rooted:
        of_one = Norm("an axis of a sample, which here has one element", rec.match.weight)
        rec = replace(rec, match=None, additive=False, norm=of_one)
    other = rec.additive or rec.norm or rec.bound or rec.quadratic is not None
    best = None if other else chosen(problem, pair)
    rec = rec if other or best is not None else product(problem, pair, rec)
    if not (other or best or spread or broadcast or rec.match) and (beside_it := regularised(problem, pair)) is not None:
        return Term(*names, beside_it[0], scaling, prior=beside_it[1])
    if best is not None:  # whatever its value, its gradient is that likelihood's
        return Term(*names, best.of(rec), scaling, best=best)
    meaning = latent.meaning if latent else None
    if rec.quadratic is not None or not spread and is_diagonal(problem, rec):
        known = rec.quadratic or covariance(problem, pair)
        fixed = known is None or not known.definite or bool(known.whose)
        learned = () if fixed else trained_covariances(problem, pair, known, meaning, scaling, rec.quadratic is not None)
        if (by := scaling.dim[0]) is not None and by % 1:  # of another size it is another matrix, and no multiple of this
            scaling = replace(scaling, dim=NONE, axes="")
        if rec.quadratic is not None or learned:
            own = None if known is None or fixed else own_noise(problem, rec, pair, meaning, known)
            return Term(*names, of_vectors(rec, known) if rec.quadratic is None else rec, scaling, own, learned=learned)
    own = own_noise(problem, rec, pair, meaning) if rec.additive else None
    rec = soundness.normalised(problem, rec, pair, latent, scaling)
    infinite, within = soundness.density(problem, rec, pair, b, scaling)
    rec = replace(rec, within=within or rec.within)
    return Term(
        *names, rec, scaling, own,
        astray=None if broadcast else soundness.made_over(problem, rec, pair),
        density=infinite,
        overflow=checks.overflow(problem, rec, pair) if rec.additive else "",
        favour="" if rec.additive or rec.bound.endswith(BY_LOGS) else checks.favour(problem),
        learned=trained_scales(problem, rec, pair, meaning, scaling),
        by_decoder=recon.role == "decoder",
        classes=problem.layout.classes,
    )  # fmt: skip
