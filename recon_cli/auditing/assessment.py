"""From a problem that can be called to the audit: every term measured, judged and said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from recon_cli import likelihoods
from recon_cli.auditing import findings, sentences, soundness, survival, verdicts
from recon_cli.auditing.best_noise import Chosen, chosen
from recon_cli.auditing.blocks import product
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import Candidate, Match
from recon_cli.auditing.formulas import formula
from recon_cli.auditing.latents import DEVIATION, SQUARED, Latent, measure
from recon_cli.auditing.matching import latent_keys, pairs
from recon_cli.auditing.measuring import ReconstructionTerm, additivity, reconstruction, sign_of
from recon_cli.auditing.probes import benign, gradients, uniform
from recon_cli.auditing.result import Audit
from recon_cli.auditing.roles import Slot
from recon_cli.auditing.verdicts import Finding, Reading, Row, Scaling


def weigh(problem: Problem, odd: str, data: str | None, scale: Any) -> Audit:
    """Measure and judge."""
    problem, stochastic = stilled(problem)
    latent = measure(problem)
    common = findings.of_the_call(problem, latent, odd) + ([stochastic] if stochastic else [])
    rows, codes, terms = [], [*common], []
    for index, pair in enumerate(pairs(problem.plan)):
        plain = not soundness.spreads(problem)
        unmoved = soundness.astray(problem, pair, common) if plain else None
        if unmoved is not None:  # whatever its shape, it is no likelihood of the target
            rec = unmoved[1]
        else:
            rec = reconstruction(problem, pair, latent_keys(problem)) if plain else spread(problem, pair)
        best = None if rec.additive or unmoved else chosen(problem, pair)
        rec = rec if rec.additive or best or unmoved else product(problem, pair, rec)
        if best is not None:  # whatever its value, its gradient is that likelihood's
            rec = best.of(rec)
            common = [f for f in common if not (f.code == "value-gradient-mismatch" and f.about == pair[0].key)]
            codes = [f for f in codes if f in common or f.code != "value-gradient-mismatch"]
        row, own_findings, scaling, rec = judged(problem, index, pair, rec, latent, common, best, unmoved[0] if unmoved else None)
        codes += [f for f in own_findings if f not in codes]
        rows.append(row)
        terms.append((pair[0], rec, scaling))
    notes = [*problem.reached.notes, *problem.plan.taken, *(latent.notes if latent else ())]
    if latent and latent.forms:
        notes.append(latent.forms)
    result = Audit(
        problem.reached.spelled, tuple(rows), tuple(codes),
        tuple((slot.key, slot.role, slot.how) for slot in problem.plan.slots()) + (("returned", "loss", problem.picked),),
        tuple(notes), formula(problem, terms, latent, next((code.left for code in codes if code.left), "")), "",
    )  # fmt: skip
    result = replace(result, sentence=sentences.sentence(result, problem, terms, latent))
    result = replace(result, conversions=sentences.conversions(result, problem))
    result = replace(result, notes=(*result.notes, *sentences.asides(result, problem, terms)))
    return survival.beside(result, problem, data, scale) if data else result


def stilled(problem: Problem) -> tuple[Problem, Finding | None]:
    """Return the problem with its normal draws at nodes, to be averaged, where draws decide the value; and that finding."""
    _, stochastic, (once, other) = verdicts.repeated(problem)
    if not stochastic:
        return problem, None
    still = problem.at(noise=0.0)
    if verdicts.repeated(still)[1]:
        return problem, None
    evidence = f"at two seeds it returns {once:.6g} and {other:.6g}"
    return still, Finding("stochastic", evidence, "A closed form of the KL has the same mean and no noise.")


def judged(
    problem: Problem,
    index: int,
    pair: tuple[Slot, Slot | None],
    rec: ReconstructionTerm,
    latent: Latent | None,
    common: list[Finding],
    best: Chosen | None = None,
    unmoved: Finding | None = None,
) -> tuple[Row, list[Finding], Scaling, ReconstructionTerm]:
    """Return the row of one reconstruction, what was found of it alone, how its weights scale, and it with its e^-loss summed."""
    direction, signs = findings.of_the_signs(rec.sign, latent, problem.reached.spelled + problem.picked)
    b = abs(latent.weight) if latent is not None and latent.weight else None
    read = verdicts.reading(rec, b) if rec.additive else Reading(None, None, None, None, False, False)
    if pair[0].role == "decoder" and rec.match and rec.match.family == "gaussian":  # the stand-in's, whose sigma is 1
        beta = b and b / (2 * abs(rec.match.weight))
        read = Reading("the decoder's own", beta, None, beta, True, beta is None or abs(beta - 1) < 1e-6)
    if best is not None:
        beta = b and b / abs(best.weight)
        read = Reading(best.family, None, None, beta, True, beta is None or abs(beta - 1) < max(1e-6, best.off))
    own = verdicts.own_scale(problem, rec, pair) if rec.additive else None
    scale = verdicts.scaling(problem, index)
    rec = rec if unmoved or best else soundness.normalised(problem, rec, pair, latent, scale)
    weights = findings.of_the_weights(problem, rec, latent, scale, read, own)
    alone = [unmoved] if unmoved else [*(signs if rec.additive else []), *weights]
    if best is None:  # the best noise of no residual at all is none
        alone += [] if unmoved else findings.of_the_range(problem, rec, pair)
        alone += soundness.of_the_density(problem, rec, pair, b, scale, unmoved)
        alone += soundness.made_over(problem, rec, pair, common)
    if any(f.code == "broadcast" for f in common):
        alone = [f for f in alone if f.code != "recon-mean"]
    if rec.additive and rec.match is None and not rec.location:
        read = replace(read, exact=False)
    codes = [*common, *alone]
    beta, sigma = read.beta, read.sigma
    knobs = verdicts.knobs(problem)
    if own and b and verdicts.stated(own[0], knobs):
        beta = b / own[1]
    if any(f.code in ("kl-sign", "recon-sign") for f in signs):  # then no noise makes it 1
        beta, sigma = None if beta is None else -abs(beta), None
    numbers = dict(rec.match.own) if rec.match else {}
    if b and rec.match and "laplace" in dict(rec.match.parts):
        numbers["scale"] = b / abs(dict(rec.match.parts)["laplace"])
    powers = (scale.batch[0], scale.dim[0], scale.latent[0])
    hidden = latent is None or not rec.additive or b is None or not verdicts.recognised(rec)
    hidden = hidden or (latent is not None and SQUARED in latent.forms)
    row = Row(
        family=read.family,
        tradeoff=None if hidden else read.tradeoff,
        tradeoff_batch=None if hidden else powers[0],
        tradeoff_dim=None if hidden else powers[1],
        tradeoff_latent=None if hidden else powers[2],
        sigma=None if hidden else sigma,
        beta=None if hidden else beta,
        latent_scale=latent.meaning if latent else None,
        direction=direction,
        verdict=verdicts.verdict_of(rec, read, scale, latent, codes),
        defects=tuple(dict.fromkeys(f.code for f in codes)),
        term=pair[0].key,
        parameters=numbers,
        weight=abs(rec.match.weight) if rec.match else rec.curvature,
        kl_weight=b,
        own_scale=own[0] if own else None,
        constant=bool(own and own[2]),
        chosen=best.words if best else "",
        link=rec.match.link if rec.match else "",
    )
    return row, alone, scale, rec


def spread(problem: Problem, pair: tuple[Slot, Slot | None]) -> ReconstructionTerm:
    """Measure a decoder that gives a scale of its own for every element: the mean's gradient times what the scale means."""
    recon, target = pair
    (scale, *_) = problem.plan.role("spread")
    base = benign(problem)
    worst = additivity(problem, base, recon.key, [])
    values = dict(base)
    values[recon.key] = base[target.key] + uniform(base[recon.key].shape, 0.1, 0.9, 81) if target is not None else base[recon.key]
    _, grads = gradients(problem, values, [recon.key, scale.key])
    g, h, s = grads[recon.key], grads[scale.key], values[scale.key]
    e = values[recon.key] - base[target.key] if target is not None else values[recon.key]
    best: Match | None = None
    for deviation in DEVIATION.values():
        leaf = s.detach().clone().requires_grad_()
        sigma = deviation(leaf)
        for family, nll in (
            ("heteroscedastic-gaussian", (e / sigma).square() / 2 + sigma.log()),
            ("laplace", (e / sigma).abs() + sigma.log()),
        ):
            pull = (e / sigma.square() if family.startswith("het") else e.sign() / sigma).detach()
            (push,) = torch.autograd.grad(nll.sum(), leaf, retain_graph=True)
            a = ((g * pull).sum() / (pull * pull).sum()).item()
            off = max(
                (g - a * pull).abs().max().item() / g.abs().max().item(),
                (h - a * push).abs().max().item() / max(1e-300, h.abs().max().item()),
            )
            if best is None or off < best.off:
                best = Match(family, a, off, candidate_of(family) if family.startswith("het") else None)
    match = best if best is not None and best.off < 1e-5 else None
    sign = sign_of(problem, base, pair)
    return ReconstructionTerm(recon, match, None, worst < 1e-7, worst, (1.0, 1.0), 1.0, "real", sign, True)


def candidate_of(family: str) -> Any:
    """Return the candidate of a likelihood whose decoder gives the noise, which is then none of its own."""
    kind = likelihoods.find("heteroscedastic-gaussian")
    return Candidate(family, kind, type(kind().loss), ())
