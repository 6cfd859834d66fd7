"""e^-loss has no finite integral over the data, so no likelihood has this loss.

A loss that stays bounded (Welsch, Geman-McClure, Tukey's biweight) or grows no faster than a logarithm (log(1 + e^2) at a
weight of 1/2 or less) puts infinite mass on data that are far away: there is no -log p that equals it up to a constant, and
so no ELBO.

So does a quadratic form whose matrix is not positive definite (differences of neighbours alone): some residuals cost nothing.

Take one that grows: |e|, sqrt(e^2 + d^2), or log(1 + e^2/s^2) at a weight above 1/2 (a Student's t).
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.auditing.norms import SINGULAR

GRAVITY = "wrong"
GROWING = "No noise has this loss: take one that grows, as |e|, or log(1 + e^2/s^2) weighed 1."


def find(subject: Subject) -> Findings:
    """Yield it where e^-loss was found to have no sum, or the loss grows too slowly as the data go to infinity."""
    form, normal, data = subject.term.rec.quadratic, subject.term.rec.normal, subject.term.target or "x"
    if subject.unmoved:
        return
    if form is not None and not form.definite:
        least, most = form.ends
        how = "falls without end" if least < -SINGULAR * most else "is the same everywhere"
        evidence = (
            f"each sample's pull is a matrix times its residual, whose eigenvalues run from {least:.4g} to {most:.4g}: along the "
            f"first of these ways the loss {how}, so e^-loss has no finite integral over {data}"
        )
        fix = "Take a positive definite matrix, the inverse of a covariance: add a little to its diagonal."
        yield evidence, fix, subject.reconstruction_site
    elif normal is not None and normal.kind == "no-density":
        evidence = f"{normal.why.replace('as x ', f'as {data} ')}: e^-loss has no finite integral over {normal.support}"
        yield evidence, GROWING, subject.reconstruction_site
    elif subject.term.density:
        yield f"{subject.term.density}: e^-loss has no finite integral over x", GROWING, subject.reconstruction_site
