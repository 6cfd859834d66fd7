"""Beside real data: does the likelihood allow them, and how many latents would survive under the sigma that was found?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from recon_cli import likelihoods, sources
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.result import GRAVEST, Audit
from recon_cli.auditing.verdicts import Finding
from recon_cli.identity.tensors import as_tensor
from recon_cli.numerics.spectrum import Blocks, eigenvalues, point


def beside(audit: Audit, problem: Problem, data: str, scale: Any) -> Audit:
    """Return the audit with what the data say of it."""
    source = sources.parse(data)
    values, about = sources.samples(source, data, scale)
    x = as_tensor(values)
    notes, codes, rows = [f"{about}.", *source.remarks], [], []
    for row in audit.rows:
        extra: list[Finding] = []
        name = row.family if row.family in likelihoods.names() else None
        if name:
            likelihood = likelihoods.find(name).designed(x)
            outside = 0.0 if likelihood.event or likelihood.head else (~likelihood.support.contains(x)).double().mean().item()
            if outside and name == "bernoulli":
                fix = "Make them 0 or 1, or use the continuous Bernoulli's nll."
                extra.append(Finding("bce-on-nonbinary", likelihood.no_density(outside), fix, broken=True))
            elif outside:
                notes.append(f"{outside:.1%} of the values of {data} are outside what {name} allows, {likelihood.support}.")
        if row.family == "gaussian" and row.tradeoff:
            levels = eigenvalues(Blocks(values))
            alive = point(levels, row.tradeoff, problem.sizes.K).active
            notes.append(
                f"With sigma^2 = {row.tradeoff:.6g}, {alive} of {problem.sizes.K} latents would survive in "
                f"a linear VAE on these data: "
                f"{levels.above(row.tradeoff)} of the covariance's eigenvalues are above it, the "
                f"largest is {levels.values[0]:.6g}."
            )
        graver = min("defective" if extra else row.verdict, row.verdict, key=GRAVEST.index)
        rows.append(replace(row, verdict=graver, defects=(*row.defects, *(f.code for f in extra))))
        codes += extra
    if codes:
        audit = replace(audit, sentence=f"{audit.sentence.replace(': an exact ELBO.', '.')} But {codes[0].evidence}.")
    return replace(audit, rows=tuple(rows), findings=(*audit.findings, *codes), notes=(*audit.notes, *notes))
