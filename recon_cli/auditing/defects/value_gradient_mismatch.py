"""The gradient that autograd gives is not the slope of the value.

A .detach(), .data, .item(), no_grad() or a custom backward stands on the way: the number that is logged is not the objective
that is trained.

Look for it between the argument and the loss. (Where a noise is detached on purpose, as in the sigma-VAE, the gradient is
that of a likelihood, and it is read as that.)
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it for each argument whose gradient and differences disagree, but where each batch chooses its noise."""
    chosen = {term.recon for term in subject.measured.terms if term.best is not None}
    for key, measured, claimed in () if subject.term.rec.bound and not subject.term.favour else subject.measured.differences:
        if key not in chosen:
            yield (
                f"by {key} the value changes by {measured:.6g} for a step along which autograd says {claimed:.6g}",
                "Look for .detach(), .data, .item() or no_grad() on the way from there to the loss.",
                subject.site(key, of=("detach", "_local_scalar_dense")),
            )
