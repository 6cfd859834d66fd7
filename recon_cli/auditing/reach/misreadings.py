"""Where an audit of a step finds something wrong that may be what its tensors were taken for: then it is not recognised."""

from __future__ import annotations

import torch

from recon_cli.auditing.measurements import Measurements
from recon_cli.auditing.reach.parts import LiveStep, Parts, far, is_straight
from recon_cli.auditing.result import Audit

EVEN = 1e-6


def misreading(step: LiveStep, parts: Parts, measured: Measurements, audit: Audit) -> str:
    """Return what the tensors may have been taken for, in words; empty where nothing speaks for that."""
    data = [step.values[pair.target] for pair in parts.pairs if step.values[pair.target].is_floating_point()]
    counts = any(bool((each % 1 == 0).all() and (each.abs() > 1).any()) for each in data)
    density = any(row.family is None and {"no-density", "gap"} & {*row.defects} for row in audit.rows)
    if density and counts:
        return "its data may be counts, of a likelihood that was not read"
    if density and any(step.values[n].dtype == torch.bool and step.values[n].numel() > 1 for n in step.cut.constants):
        return "a condition on its data, as x == 0, decides in it, and is fixed in the step"
    if density and parts.spreads and not step.vanishes(parts.pairs[0].output, parts.pairs[0].target):
        return "two of its outputs are compared with the same data, of a likelihood that was not read"
    if density and len(parts.pairs) > 1:
        return f"{len(parts.pairs)} of its outputs are compared with data, perhaps in one term"
    for pair, term in zip(parts.pairs, measured.terms, strict=True):
        logs = term.rec.match is not None and term.rec.match.link == "log-probabilities"
        if pair.classes is not None and logs and not is_straight(step, pair.output):
            return "what looks like labels picks outputs, and is no data"
    return in_latents(step, parts) if "kl-not-kl" in audit.defects else ""


def in_latents(step: LiveStep, parts: Parts) -> str:
    """Return, in words, what else than a KL that is wrong the term in the latents may be; empty where nothing speaks for that."""
    if len(parts.means) > 1:
        return f"{len(parts.means)} groups of latents may weigh differently"
    (mean,) = parts.means
    value = step.values[mean]
    rows = torch.zeros_like(value, dtype=torch.bool)
    rows[: len(value) // 2] = True
    changed = step.moved(mean, rows).get(mean)
    if changed is not None and bool((changed & ~rows).any()):
        return "a term takes the latents of several samples together"
    there = far(value, 1.0)
    ratio = (step.pull(mean, there) / there).flatten(1)
    within, beyond = ((ratio - middle).abs().max() for middle in (ratio.mean(1, keepdim=True), ratio.mean()))
    apart = bool(within <= EVEN * ratio.abs().max() < beyond)
    return "its samples weigh differently, in the latents too" if apart else ""
