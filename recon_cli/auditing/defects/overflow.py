"""In float32 it is infinite or NaN where it should be a number.

exp of a large logit, log of a probability of 0, 0 times log 0: one such element makes the whole batch's gradient NaN.

Use the stable form: logaddexp, softplus, torch's binary_cross_entropy_with_logits, log_softmax.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "spoiling"


def find(subject: Subject) -> Findings:
    """Yield it where float32 does not hold the loss, or its gradient."""
    if not subject.term.overflow or subject.unmoved:
        return
    fix = "Use the stable form: logaddexp, softplus, binary_cross_entropy_with_logits."
    if subject.term.rec.domain in ("unit", "positive"):
        fix = "Write x * x_hat.where(x > 0, 1).log() for x * x_hat.log(), or torch's own binary_cross_entropy."
    yield subject.term.overflow, fix, subject.site(subject.term.recon, of=("exp", "log", "log2", "cosh", "div"))
