"""Defects, each with the two numbers that disagree and the line that mends it; and what is no defect, which is none."""

from __future__ import annotations

import math
from typing import Any

import torch

from recon_cli.auditing.callables import batch_number
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.formulas import at, number, summed
from recon_cli.auditing.latents import PRIOR, SQUARED, TURNS, Latent
from recon_cli.auditing.matching import pairs
from recon_cli.auditing.measuring import ReconstructionTerm
from recon_cli.auditing.probes import benign, gradients
from recon_cli.auditing.roles import Pair
from recon_cli.auditing.verdicts import Finding, Reading, Scaling, broadcasts, knobs, mismatch, overflow, repeated
from recon_cli.identity.shapes import spell

ONE = 1e-6
WORDS = {
    "log_variance": "a log variance",
    "log_std": "a log standard deviation",
    "std": "a standard deviation",
    "variance": "a variance",
}


def is_one(value: float) -> bool:
    """Whether a number is one, to a rounding of the measurement."""
    return abs(value - 1) < ONE


def of_the_call(problem: Problem, latent: Latent | None, odd: str) -> list[Finding]:
    """Return what is wrong whatever the reconstruction: of the KL, of gradients, of repeated calls."""
    findings: list[Finding] = []
    if latent is not None and latent.wrong:
        dead = " (it never trains)" if latent.dead else ""
        fix = "Add them: reconstruction + KL." if latent.wrong.endswith(TURNS) else kl_line(problem, latent)
        findings.append(Finding("kl-not-kl", f"{latent.wrong}{dead}", fix))
    if latent is not None and latent.named and latent.link:
        scale = problem.plan.role("scale")[0].key
        evidence = f"{scale} is named {WORDS[latent.named]}, and {latent.link}"
        findings.append(Finding("latent-scale-misread", evidence, f"Name it raw_{scale}, or pass what it is called.", True))
    if latent is not None and latent.named and latent.meaning and latent.named != latent.meaning:
        scale = problem.plan.role("scale")[0].key
        says, is_ = WORDS[latent.named], WORDS[latent.meaning]
        rest = PRIOR[latent.meaning]
        mean = next((slot.key for slot in problem.plan.role("mu")), "mu")
        line = KL_LINES[latent.named].replace("mu", mean).format(s=scale)
        findings.append(
            Finding(
                "latent-scale-misread",
                f"{scale} is named {says} and used as {is_}: the KL is least at {scale} = {rest:g}, not at "
                f"{PRIOR[latent.named]:g}"
                if rest != PRIOR[latent.named]
                else f"{scale} is named {says} and used as {is_}: "
                f"the KL curves {CURVES[latent.meaning]} of a mean's, not {CURVES[latent.named]}",
                f"Sample with the same meaning, or write the KL of {says}: {line}",
                True,  # whoever draws z by the name trains another posterior than the one that is weighed
            )
        )
    for key, measured, claimed in mismatch(problem):
        findings.append(
            Finding(
                "value-gradient-mismatch",
                f"by {key} the value changes by {measured:.6g} for a step along which autograd says {claimed:.6g}",
                "Look for .detach(), .data, .item() or no_grad() on the way from there to the loss.",
                about=key,
            )
        )
    stateful, stochastic, (once, other) = repeated(problem)
    if stateful:
        findings.append(
            Finding(
                "stateful", f"called twice, it returns {once:.6g}, then {other:.6g}", "Count steps where the training loop does."
            )
        )
    if stochastic:
        findings.append(
            Finding(
                "stochastic",
                f"at two seeds it returns {once:.6g} and {other:.6g}",
                "Draw outside the loss, or write the KL in closed form.",
            )
        )
    if odd:
        findings.append(
            Finding(
                "broadcast",
                f"reconstruction and target meet in shapes {odd}, which broadcast",
                "Give both the same shape before subtracting.",
            )
        )
    elif latent is not None and (shapes := broadcasts(problem)):
        first, second = map(spell, shapes)
        findings.append(
            Finding(
                "broadcast",
                f"a reconstruction and a KL of shapes {first} and {second} are added: the smaller counts many times",
                "Reduce both to one number a sample, [B], before adding.",
            )
        )
    return findings


CURVES = {"log_variance": "1/2", "log_std": "2", "std": "2", "variance": "1/2"}
KL_LINES = {
    "log_variance": "0.5 * (mu**2 + {s}.exp() - {s} - 1).sum()",
    "log_std": "0.5 * (mu**2 + (2 * {s}).exp() - 2 * {s} - 1).sum()",
    "std": "0.5 * (mu**2 + {s}**2 - 2 * {s}.log() - 1).sum()",
    "variance": "0.5 * (mu**2 + {s} - {s}.log() - 1).sum()",
}


def kl_line(problem: Problem, latent: Latent) -> str:
    """Return the KL to write, in the names that the function has."""
    mu, scale = (next((slot.key for slot in problem.plan.role(role)), word) for role, word in (("mu", "mu"), ("scale", "logvar")))
    line = KL_LINES[latent.named or latent.meaning or "log_variance"].format(s=scale)
    return f"Write {line.replace('mu', mu)}."


def of_the_weights(
    problem: Problem, rec: ReconstructionTerm, latent: Latent | None, scale: Scaling, read: Reading, own: Any
) -> list[Finding]:
    """Return what the weights of reconstruction and KL say beside one another; nothing where there is no KL."""
    findings: list[Finding] = []
    sizes = problem.sizes
    if not rec.additive:
        findings.append(
            Finding(
                "not-additive",
                f"moving half of the elements changes the gradients of the others by {rec.worst:.3g} of the largest"
                f"{favour(problem)}",
                "No noise of independent elements has this loss: use it beside a likelihood, not in place of one.",
            )
        )
    if scale.literal is not None:
        findings.append(
            Finding(
                "hard-coded-shape",
                f"{spelled(scale.literal)} is written into a reshape",
                "Write x.flatten(1), or reshape by x.shape.",
            )
        )
    if latent is None or not latent.weight or not rec.additive or SQUARED in latent.forms:
        return findings
    b, w = latent.weight, rec.match.weight if rec.match else rec.curvature or 0.0
    (t_b, _, k_b), (t_d, r_d, _), (t_k, _, _) = scale.batch, scale.dim, scale.latent
    batch_literal = configured(problem, b)
    r_b, r_k = scale.batch[1] or 0.0, scale.latent[2] or 0.0
    place = at(problem, t_b, t_d, t_k)
    averaged = r_d is not None and r_d < -ONE
    size, n = ("the length of a sample", scale.length) if scale.length else (f"the {sizes.D:,} elements of a sample", sizes.D)
    if t_d is not None and t_d > ONE and averaged and scale.literal is None:
        other = f"the KL over the {sizes.K} latents" if r_k < -ONE else "the KL is not"
        findings.append(
            Finding(
                "recon-mean",
                f"the reconstruction is averaged over {size} and {other}: {beside_sums(rec, b, w, n, sizes.batch)}{place}",
                "Sum over a sample's elements: reduction='sum'"
                + (", divided by the batch size." if (k_b or 0) < -ONE or batch_literal else "."),
            )
        )
    if t_k is not None and t_k < -ONE:
        other = f"the reconstruction over {size}" if averaged else "the reconstruction is not"
        findings.append(
            Finding(
                "kl-mean-latents",
                f"the KL is averaged over the {sizes.K} latents and {other}: with "
                f"{2 * sizes.K} the trade-off is {2**t_k:g} times this",
                f"Sum the KL over the latents: {'.sum(dim=1).mean()' if r_b < -ONE else '.sum()'}.",
            )
        )
    if t_b is not None and abs(t_b) > ONE:
        if t_b > 0 and (k_b or 0) > -ONE and not batch_literal:
            findings.append(
                Finding(
                    "kl-sum-batch",
                    f"the KL is summed over the batch and the reconstruction averaged: at "
                    f"{2 * sizes.batch} samples the trade-off is {2**t_b:g} times that at {sizes.batch}",
                    "Divide the KL by the batch size.",
                )
            )
        else:
            whose = "KL" if (k_b or 0) < r_b else "reconstruction"
            why, fix = f"the {whose} alone is divided by the batch size", "Divide both terms by x.shape[0], or neither."
            if batch_literal:
                why = f"a batch size that is written or configured ({batch_literal:g})"
                fix = f"Divide by x.shape[0] in place of {batch_literal:g}."
            findings.append(
                Finding(
                    "batch-dependent",
                    f"{why}: at {2 * sizes.batch} samples the trade-off is {2**t_b:g} times that at {sizes.batch}",
                    fix,
                )
            )
    if rec.match and rec.match.family == "gaussian" and not own and read.tradeoff and not is_one(read.tradeoff):
        norms = [1, sizes.batch, sizes.D, sizes.batch * sizes.D, *([scale.length * sizes.batch] if scale.length else [])]
        plain = any(is_one(abs(w) * n) for n in norms)
        tuned = (t_d or 0) > ONE and any(
            k >= 100 and k == int(k) and is_one(abs(w) * n / k) for k in knobs(problem) for n in norms
        )
        what = "sigma^2 at beta = 1" if rec.sign * latent.weight > 0 else "the size of beta at sigma = 1"
        if plain or tuned:
            findings.append(
                Finding(
                    "half-missing",
                    f"squared error without its 1/2: {what} is {read.tradeoff:.6g}{place}, with it {read.tradeoff * 2:.6g}",
                    "Write 0.5 * (x_hat - x)**2.",
                )
            )
    return findings


def beside_sums(rec: ReconstructionTerm, b: float, w: float, n: int, size: int) -> str:
    """Return how the trade-off compares with that of sums, half the squared error where a half is written."""
    half = rec.match is not None and rec.match.family == "gaussian" and any(is_one(2 * abs(w) * n * batch) for batch in (1, size))
    factor = b / abs(w) / (2 if half else 1) if w else math.inf
    match = rec.match
    parts = () if match is None else match.parts or ((match.family, w),)
    each = [f"{'' if is_one(part / w) else f'{number(part / w)}·'}{summed(match, family)}" for family, part in parts if match]
    what = f"{'0.5·' * half}{' + '.join(each) or 'the summed reconstruction'} + KL"
    if is_one(abs(factor)):
        return f"the trade-off is the one of sums, {what}, at this size and no other,"
    return f"the trade-off is {number(abs(factor))} times that of sums, {what},"


def favour(problem: Problem) -> str:
    """Return in words that a sample further off gets more weight for it, as from importance weights of the wrong sign."""
    recon, target = pairs(problem.plan)[0]
    values = benign(problem)
    if target is None or values[target.key].shape != values[recon.key].shape or values[recon.key].ndim != 2:
        return ""
    residual = torch.full_like(values[recon.key], 0.02)
    residual[0] = 0.022
    _, grads = gradients(problem, {**values, recon.key: values[target.key] + residual}, [recon.key])
    weights = (grads[recon.key] / residual).mean(dim=1)
    more = (weights[0] / weights[1]).item()
    return (
        f"; a sample a tenth further off gets {more:.3g} times the weight: look at the sign of its importance"
        if more > 1.001
        else ""
    )


def spelled(literal: Any) -> str:
    """Return a literal size as it is written."""
    return f"{literal:,}" if isinstance(literal, int) else spell(literal)


def configured(problem: Problem, b: float) -> float:
    """Return the batch size that a KL's weight was divided by, known by name or written beside the data's size; or 0."""
    if number := batch_number(problem.reached):
        return float(number)
    inverse = 1 / abs(b)
    ratio = inverse / problem.sizes.D
    return round(ratio) if ratio > 1.5 and abs(inverse - round(inverse)) < 1e-6 and abs(ratio - round(ratio)) < 1e-9 else 0.0


def of_the_signs(sign: int, latent: Latent | None, spelled: str) -> tuple[str, list[Finding]]:
    """Return loss or log-likelihood, and a sign that does not go with it."""
    b = latent.weight if latent is not None else None
    named = (
        any(word in spelled.lower() for word in ("elbo", "log_prob", "log_lik", "loglik", "log_p"))
        and "neg" not in spelled.lower()
    )
    if b is None or not b or sign == 0:
        return ("log_likelihood" if sign < 0 else "loss"), []
    if sign > 0 and b < 0:
        return "loss", [
            Finding("kl-sign", f"the loss falls as the KL grows: its weight is {b:.6g}", "Turn the KL's sign: + KL in a loss.")
        ]
    if sign < 0 and b > 0:
        if named:
            return "log_likelihood", [
                Finding(
                    "kl-sign",
                    f"in a log-likelihood the KL is subtracted; its weight is {b:.6g}",
                    "Turn the KL's sign: - KL in an ELBO.",
                )
            ]
        return "loss", [
            Finding("recon-sign", "the loss falls as a reconstruction leaves its target", "Turn the reconstruction's sign.")
        ]
    return ("loss" if sign > 0 else "log_likelihood"), []


def of_the_range(problem: Problem, rec: ReconstructionTerm, pair: Pair) -> list[Finding]:
    """Return the finding of a loss that overflows in float32, if it does."""
    evidence = overflow(problem, rec, pair) if rec.additive else ""
    fix = "Use the stable form: logaddexp, softplus, binary_cross_entropy_with_logits."
    if rec.domain in ("unit", "positive"):
        fix = "Write x * x_hat.where(x > 0, 1).log() for x * x_hat.log(), or torch's own binary_cross_entropy."
    return [Finding("overflow", evidence, fix)] if evidence else []


__all__ = ["of_the_call", "of_the_range", "of_the_signs", "of_the_weights"]
