"""What one element costs depends on other elements.

A likelihood of independent elements is a sum over them: -log p(x | mu) = sum_i -log p(x_i | mu_i). Structural similarity
(SSIM), a correlation, a norm of the whole image or a loss on features is no such sum, so there is no noise to read off it,
and no sigma and no beta. (e^-norm has an integral that no mean moves: a norm is a density, but of a sample as a whole.)

A term in the reconstruction alone (its total variation) is told apart from the likelihood beside it, where there is one.

Use it beside a likelihood, not in place of one. (A noise that is the best of each batch's own residuals couples elements too,
and so does a full covariance: these are recognised as what they are.)
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "no-likelihood"


def find(subject: Subject) -> Findings:
    """Yield it where moving some elements changes the gradients of others."""
    rec = subject.term.rec
    if rec.additive or rec.quadratic or subject.unmoved or (rec.bound and not subject.term.favour):
        return
    if rec.norm:
        recon, target = subject.term.recon, subject.term.target or "x"
        evidence = (
            f"it is the norm of {rec.norm.of}: the pull on an element is its residual over that norm, which all of them share"
        )
        fix = f"Sum over the elements: 0.5 * ({recon} - {target}).square().sum(), or ({recon} - {target}).abs().sum()"
        yield evidence, fix, subject.reconstruction_site
        return
    yield (
        f"moving half of the elements changes the gradients of the others by {rec.worst:.3g} of the largest{subject.term.favour}",
        "No noise of independent elements has this loss: use it beside a likelihood, not in place of one.",
        subject.reconstruction_site,
    )
