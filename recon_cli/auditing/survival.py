"""Beside real data: does the likelihood allow them, and how many latents would survive under the sigma that was found?"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from recon_cli import likelihoods, sources
from recon_cli.auditing import Audit
from recon_cli.auditing.calling import Problem
from recon_cli.auditing.judging import Finding
from recon_cli.likelihood import as_tensor

MOST = 4096  # elements of a sample up to which a covariance is made


def spectrum(x: torch.Tensor) -> torch.Tensor:
    """The eigenvalues of the covariance of the rows of ``x`` (divided by N), ascending; of the smaller of both Gram matrices."""
    centred = x.double().flatten(1) - x.double().flatten(1).mean(dim=0)
    n, d = centred.shape
    return torch.linalg.eigvalsh((centred.T @ centred if d <= n else centred @ centred.T) / n)


def surviving(eigenvalues: torch.Tensor, sigma2: float, latents: int) -> int:
    """How many latents of a linear VAE stay active under a fixed sigma^2: the eigenvalues above it (Lucas and others 2019)."""
    return min(int((eigenvalues > sigma2).sum()), latents)


def beside(found: Audit, problem: Problem, data: str, scale: Any) -> Audit:
    """The audit with what the data say of it."""
    values, about = sources.samples(sources.parse(data), data, scale)
    x = as_tensor(values)
    notes, codes, rows = [f"{about}."], [], []
    for row in found.rows:
        extra: list[Finding] = []
        name = row.family if row.family in likelihoods.names() else None
        if name:
            side = likelihoods.find(name).designed(x)
            outside = 0.0 if side.event or side.head else (~side.support.contains(x)).double().mean().item()
            if outside and name == "bernoulli":
                said = f"{outside:.1%} of the values of {data} are neither 0 nor 1, where binary cross-entropy is no density"
                extra.append(Finding("bce-on-nonbinary", said, "Make them 0 or 1, or use the continuous Bernoulli's nll."))
            elif outside:
                notes.append(f"{outside:.1%} of the values of {data} are outside what {name} allows, {side.support}.")
        if row.family == "gaussian" and row.tradeoff and x[0].numel() <= MOST:
            levels = spectrum(x)
            alive = surviving(levels, row.tradeoff, problem.sizes.K)
            notes.append(
                f"With sigma^2 = {row.tradeoff:.6g}, {alive} of {problem.sizes.K} latents would survive in "
                f"a linear VAE on these data: "
                f"{int((levels > row.tradeoff).sum())} of the covariance's eigenvalues are above it, the "
                f"largest is {levels[-1].item():.6g}."
            )
        rows.append(replace(row, defects=(*row.defects, *(f.code for f in extra))))
        codes += extra
    return replace(found, rows=tuple(rows), findings=(*found.findings, *codes), notes=(*found.notes, *notes))
