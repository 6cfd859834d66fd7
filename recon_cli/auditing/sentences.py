"""In words: one sentence, the objective as a formula with every mean written out, fixes, conversions, expectations."""

from __future__ import annotations

import math
import re
from typing import Any

import torch

from recon_cli.auditing.best_noise import LINK, switch
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.formulas import INVERSES, Terms, at, number
from recon_cli.auditing.latents import SQUARED, Latent
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.measuring import MADE, SIMPLEX
from recon_cli.auditing.probes import benign
from recon_cli.auditing.result import BENT, Audit
from recon_cli.auditing.verdicts import Row, mismatch

HALF = "0.5 * (x_hat - x).square().sum() + kl.sum()"
CONCENTRATED = ("von-mises", "von-mises-fisher")  # whose noise is the slope itself


def sentence(audit: Audit, problem: Problem, terms: Terms, latent: Latent | None) -> str:
    """Return the first thing to read."""
    row, *others = audit.rows
    if others:
        named = "; ".join(f"{each.term}: {one(audit, each, problem, latent)}" for each in audit.rows)
        return f"This has {len(audit.rows)} reconstruction terms. {named}"
    text = one(audit, row, problem, latent)
    _, rec, scale = terms[0]
    if latent is None and row.verdict == "reconstruction-only" and row.family == "gaussian" and not row.chosen and rec.match:
        averaged = scale.batch[1] == -1
        sigma2 = (1 / problem.sizes.batch if averaged else 1) / (2 * abs(rec.match.weight))
        how = "summed over latents and averaged over the batch" if averaged else "that is a sum too"
        where = at(problem, None if averaged else scale.batch[1], scale.dim[1], None)
        text += f" Beside a KL {how} it would be sigma = {number(math.sqrt(sigma2))}{where}."
    return text


def one(audit: Audit, row: Row, problem: Problem, latent: Latent | None) -> str:
    """Return the sentence of one term."""
    name = title(row)
    for finding in audit.findings:
        if finding.code == "target-unused" and finding.code in row.defects:
            return f"This compares {row.term} with {finding.other or 'no target'}: {finding.evidence}. {finding.fix}"
    if row.verdict == "not-factorised":
        return "This is no factorised likelihood: what one element costs depends on the others, so there is no noise to read off."
    name += f" with the noise that its residuals choose, {row.chosen}" if row.chosen else ""
    if latent is None:
        return f"This is {name}, {without(problem)}"
    if row.verdict == "unrecognised":
        return f"This is {name}: whether it is one at all was not proved, so no noise and no beta are read off it."
    if row.kl_weight is None:
        return f"This is {name} beside a term in the latents that is no KL: {latent.wrong}."
    text = f"This is {name}{weighed(row, latent, where(row, problem))}"
    if latent.forms and SQUARED not in latent.forms:
        text += f" All that is where the KL counts at its full weight, and it does not everywhere: {latent.forms}."
    return f"{text} But {latent.wrong}." if latent.wrong else text


def without(problem: Problem) -> str:
    """Return what is said of the latents where no KL pulls at them."""
    alone = "alone, its weight is a learning rate, not a noise."
    theirs = "Alone, the reconstruction's weight is a learning rate, not a noise."
    keys = latent_keys(problem)
    if still := [key for key, _, claimed in mismatch(problem) if key in keys and claimed == 0]:
        return (
            f"and what it adds of {' and '.join(still)} has no gradient, so no KL is trained: alone, the "
            "reconstruction's weight is a learning rate, not a noise."
        )
    if keys and (name := switch(problem)):
        return f"and its KL is switched off: the KL's weight is 0 at {name} = 0, as it is by default. {theirs}"
    if keys:
        return f"and {' and '.join(keys)} move nothing: no KL is weighed here. {theirs}"
    return f"and there is no KL here: {alone}"


def weighed(row: Row, latent: Latent, place: str) -> str:
    """Return the noise and the beta of a term beside a KL, as the end of a sentence; they move with the sizes in ``place``."""
    if SQUARED in latent.forms:
        return " beside the square of the KL's distance from a size of its own, which has no one weight: no beta is read off it."
    grows = growth(row)
    depends = f" {'Both' if grows else 'Neither'} {grows or 'depends on the batch, the image or the latents'}."
    if row.beta is not None and row.beta < 0:
        unit = " at sigma = 1" if row.family == "gaussian" else " at scale 1" if row.own_scale or row.family == "laplace" else ""
        whose = "a KL of the wrong sign" if "kl-sign" in row.defects else "a KL, and its own sign is wrong"
        return f" beside {whose}: beta is {number(row.beta)}{unit}{place}, and no noise makes it 1."
    if row.chosen:
        end = ": an ELBO at that noise." if row.verdict == "elbo" else "."
        return f", and beta = {number(row.beta or math.nan)}{place}{end}"
    if row.family in ("gaussian", "laplace") and row.sigma is not None:
        word, unit = ("sigma", "sigma = 1") if row.family == "gaussian" else ("scale", "scale 1")
        beta = number(row.tradeoff or math.nan)
        return f" with {word} = {number(row.sigma)}{place} if beta is 1; with {unit}, beta is {beta}{place}.{depends}"
    if row.family == "elastic-net" and row.sigma is not None:
        scale = number(row.parameters.get("scale", math.nan))
        text = f"; near a residual of 0 it is a Laplace with scale = {scale}{place}, far out a Gaussian with sigma = "
        text += f"{number(row.sigma)}{place}, if beta is 1."
    elif row.family in CONCENTRATED and row.tradeoff:
        kappa, beta = number(1 / row.tradeoff), number(row.tradeoff)
        text = f" with kappa = {kappa}{place} if beta is 1; with kappa = 1, beta is {beta}{place}."
        return text + (f" That beta {singular(grows)}." if grows else "")
    elif row.sigma is None and row.beta is None:
        return f" and a KL of weight {number(row.kl_weight or math.nan)}{place}."
    elif row.sigma is None:
        text = f" with beta = {number(row.beta or math.nan)}{place}"
        exact = ": an exact ELBO." if row.verdict == "elbo" else ", whatever the batch, the image and the latents."
        return text + (f", which {singular(grows)}." if grows else exact)
    else:
        at_zero = "; near a residual of 0 it is a Gaussian with sigma" if row.family in BENT else " with scale"
        text = f"{at_zero} = {number(row.sigma)}{place} if beta is 1."
    return text + (f" That {singular(grows)}." if grows else "")


def where(row: Row, problem: Problem) -> str:
    """Return the sizes that the trade-off of a row moves with, as ``at`` writes them."""
    return at(problem, row.tradeoff_batch, row.tradeoff_dim, row.tradeoff_latent)


def title(row: Row) -> str:
    """Return the family with its article and its own numbers."""
    if row.family is not None and row.family.startswith("the "):
        return row.family
    if row.family is None:
        return "an additive loss of no likelihood that recon knows"
    proper = {"gaussian": "Gaussian", "laplace": "Laplace", "bernoulli": "Bernoulli", "poisson": "Poisson"}
    name = proper.get(row.family, row.family.replace("-", " "))
    own = "" if row.family == "elastic-net" else ", ".join(f"{key} {number(value)}" for key, value in row.parameters.items())
    whole = f"{'an' if name[0] in 'aeio' else 'a'} {name}{f' of {own}' if own else ''}"
    if row.link in INVERSES:
        whole += f" whose mean is {INVERSES[row.link]}, r being {row.term},"
    return f"{whole}, {row.link}," if row.link == SIMPLEX else whole


def growth(row: Row) -> str:
    """Return what the trade-off moves with, as a verb phrase in the plural; empty where with nothing."""
    words: dict[str, list[str]] = {}
    sizes = {
        "the image size": row.tradeoff_dim,
        "the batch size": row.tradeoff_batch,
        "the number of latents": row.tradeoff_latent,
    }
    for what, exponent in sizes.items():
        if exponent and abs(exponent) > 1e-6:
            power = "" if abs(exponent) == 1 else f" to the power {number(abs(exponent))}"
            words.setdefault("grow" if exponent > 0 else "fall", []).append(f"{what}{power}")
    return " and ".join(f"{verb} with {' and '.join(what)}" for verb, what in words.items())


def singular(words: str) -> str:
    """Return a verb phrase of growth in the singular."""
    return re.sub(r"\b(grow|fall)\b", r"\1s", words)


def asides(audit: Audit, problem: Problem, terms: Terms) -> list[str]:
    """Return what is worth knowing and no defect."""
    notes = []
    for (slot, rec, scale), row in zip(terms, audit.rows, strict=True):
        named = {LINK, SIMPLEX, *INVERSES}  # in the sentence already
        if rec.match and rec.match.link and rec.match.link not in named and "target-unused" not in row.defects:
            notes.append(
                f"The loss is of {rec.match.link} of {slot.key}."
                if rec.match.link not in (MADE, "log-probabilities")
                else f"{slot.key}: {rec.match.link}."
            )
        if rec.normal is not None and rec.normal.words:
            notes.append(rec.normal.words)
        if rec.within:
            notes.append(f"It is {title(row).rstrip(',')} for {rec.within}; beyond, it is another function.")
        if row.chosen:
            notes.append(
                f"Its gradient is the one of -log p at {row.chosen}"
                + (f", to within {rec.match.off:.2g}" if rec.match and rec.match.off else "")
                + f". Where that noise is detached the value says nothing of {slot.key}: log it another way."
            )
        elif rec.match and rec.match.off > 1e-6:
            notes.append(
                f"It is {rec.match.family} to within {rec.match.off:.2g} of its gradient, as with an eps inside a logarithm."
            )
        if rec.additive and 0 < rec.counted < 1:
            notes.append(f"{1 - rec.counted:.0%} of the elements of {slot.key} have no gradient (a mask).")
        elif rec.additive and abs(rec.weights[0] / rec.weights[1] - 1) > 1e-6:
            notes.append(
                f"The elements weigh differently, from {number(rec.weights[0])} to {number(rec.weights[1])} times the middle one."
            )
        if scale.axes:
            notes.append(f"The trade-off grows with the axes of a sample to different powers ({scale.axes}).")
        if row.own_scale is not None:
            word, lacks = ("sigma", "log(2 pi)/2 = 0.918939") if row.family == "gaussian" else ("scale", "log 2 = 0.693147")
            full = "It is normalised" + ("" if row.constant else f" but for {lacks} for each element, which moves no gradient")
            notes.append(f"{full}; its own {word} is {number(row.own_scale)}.")
        notes += learned(problem, row)
        if row.link == SIMPLEX:
            notes.append(
                f"-x log {slot.key} of every element on its own has no integral of 1: it is a categorical's where {slot.key} "
                "adds up to 1 over the classes before it comes here, which was not looked into."
            )
        if row.family == "bernoulli":
            notes.append("A Bernoulli's data are 0 or 1; --data checks yours.")
        if row.tradeoff_batch and row.tradeoff and row.tradeoff_batch == 1 and row.sigma is None:
            notes.append(
                f"beta is 1 in a batch of {number(problem.sizes.batch / row.tradeoff)}; measured at {problem.sizes.batch}."
            )
    return notes


def learned(problem: Problem, row: Row) -> list[str]:
    """Return what is said of a scale that the loss itself trains: its gradient, and where it rests with these residuals."""
    owner = problem.reached.owner
    scales = {name: p for name, p in owner.named_parameters() if p.numel() == 1} if isinstance(owner, torch.nn.Module) else {}
    notes = []
    for name, parameter in scales.items() if row.own_scale is not None else ():
        values = benign(problem)
        here = parameter.item()

        def pull(at: float, name: str = name, values: Any = values) -> float:
            up, down = (
                problem.at(follow={**problem.follow, name: torch.nn.Parameter(torch.tensor(at + h))})(values).item()
                for h in (1e-5, -1e-5)
            )
            return (up - down) / 2e-5

        low, high = here - 20.0, here + 20.0
        if not pull(low) < 0 < pull(high):
            continue
        for _ in range(50):
            middle = (low + high) / 2
            low, high = (middle, high) if pull(middle) < 0 else (low, middle)
        recon, target = problem.plan.role("recon")[0], problem.plan.role("target")[0]
        e = (values[recon.key].flatten() - values[target.key].flatten()).abs()
        sizes = {"mean absolute error": e.mean().item(), "root mean squared error": e.square().mean().sqrt().item()}
        what = next((word for word, size in sizes.items() if abs(math.exp(high) / size - 1) < 1e-4), "")
        rest = f"exp({name}) is the {what}" if what else f"{name} = {number(high)} for residuals of {number(e.mean().item())}"
        notes.append(f"{name} is a scale that the loss trains, if an optimiser has it; it comes to rest where {rest}.")
    return notes


def conversions(audit: Audit, problem: Problem) -> tuple[tuple[str, str], ...]:
    """Return what to write for today's trade-off with sums, and for the noise that the data choose."""
    row = audit.rows[0]
    place = where(row, problem)
    if row.tradeoff is None or len(audit.rows) > 1 or "target-unused" in row.defects:
        return ()
    beta, today = f"{row.tradeoff:.10g}", f"today's trade-off{place or ', with sums'}"
    if row.beta is not None and row.beta < 0:
        return (("an ELBO with sigma = 1", HALF),) if row.family == "gaussian" else ()
    if row.family == "gaussian":
        return (
            (today, f"0.5 * (x_hat - x).square().sum() + {beta} * kl.sum()"),
            (
                "the sigma that the data choose",
                "mse = (x_hat - x).square().mean().detach(); (x_hat - x).square().sum() / (2 * mse) + kl.sum()",
            ),
            ("an ELBO with sigma = 1", HALF),
        )
    if row.family == "laplace":
        return (
            (today, f"(x_hat - x).abs().sum() + {beta} * kl.sum()"),
            (
                "the scale that the data choose",
                "mae = (x_hat - x).abs().mean().detach(); (x_hat - x).abs().sum() / mae + kl.sum()",
            ),
        )
    if row.family is None or row.sigma is not None:
        return ()
    return ((today, f"nll.sum() + {beta} * kl.sum()"), ("an ELBO", "nll.sum() + kl.sum()"))
