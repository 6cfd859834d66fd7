"""What one element costs depends on other elements.

A likelihood of independent elements is a sum over them: -log p(x | mu) = sum_i -log p(x_i | mu_i). Structural similarity
(SSIM), a correlation, a norm of the whole image or a loss on features is no such sum, so there is no noise to read off it,
and no sigma and no beta.

Use it beside a likelihood, not in place of one. (A noise that is the best of each batch's own residuals couples elements too,
and is recognised as what it is.)
"""

from __future__ import annotations

from collections.abc import Iterator

from recon_cli.auditing.defects._subject import Finding, Subject

GRAVITY = "no-likelihood"


def find(subject: Subject) -> Iterator[Finding]:
    """Yield it where moving some elements changes the gradients of others."""
    rec = subject.term.rec
    if rec.additive or subject.unmoved:
        return
    yield Finding(
        "not-additive",
        f"moving half of the elements changes the gradients of the others by {rec.worst:.3g} of the largest{subject.term.favour}",
        "No noise of independent elements has this loss: use it beside a likelihood, not in place of one.",
        subject.reconstruction_site,
    )
