"""A decoder that gives a scale of its own for every element: its field over mean and scale."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch

from recon_cli import likelihoods
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.families import Candidate, Match
from recon_cli.auditing.fields import additivity
from recon_cli.auditing.latents import DEVIATION
from recon_cli.auditing.measuring import ReconstructionTerm, sign_of
from recon_cli.auditing.probes import benign, gradients, uniform
from recon_cli.auditing.reach.roles import Pair


def spread(problem: Problem, pair: Pair) -> ReconstructionTerm:
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
    means = ""
    largest = g.abs().max().item() or math.inf  # of a mean that is detached nothing is read off
    for meaning, deviation in DEVIATION.items():
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
                (g - a * pull).abs().max().item() / largest,
                (h - a * push).abs().max().item() / max(1e-300, h.abs().max().item()),
            )
            if best is None or off < best.off:
                means = meaning
                best = Match(family, a, off, candidate_of(family) if family.startswith("het") else None)
    match = best if best is not None and best.off < 1e-5 and largest < math.inf else None
    sign = sign_of(problem, base, pair)
    term = ReconstructionTerm(recon, match, None, worst < 1e-7, worst, (1.0, 1.0), 1.0, "real", sign, True)
    return replace(term, spread=(scale.key, means))


def candidate_of(family: str) -> Any:
    """Return the candidate of a likelihood whose decoder gives the noise, which is then none of its own."""
    kind = likelihoods.find("heteroscedastic-gaussian")
    return Candidate(family, kind, type(kind().loss), ())
