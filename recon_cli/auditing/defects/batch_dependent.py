"""One of the two terms is divided by the batch size, or by a batch size that is written down.

The trade-off between reconstruction and KL then moves with the batch: a run on two GPUs, or the smaller last batch of an
epoch, has another beta.

Divide the term that is not, or take the size from the tensor: the finding gives the line.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import ONE, Findings, Subject
from recon_cli.auditing.mending import mended_kl, mended_reconstruction

GRAVITY = "moving"


def find(subject: Subject) -> Findings:
    """Yield it where the trade-off moves with B, but where the KL is a sum beside a mean."""
    by, literal, size = subject.term.scaling.batch[0], subject.batch_literal, subject.measured.sizes.batch
    if subject.weighed is None or by is None or abs(by) <= ONE:
        return
    kl, rec = subject.term.scaling.batch[2] or 0.0, subject.term.scaling.batch[1] or 0.0
    if by > 0 and kl > -ONE and not literal:
        return
    if literal:
        why = f"a batch size that is written or configured ({literal:g})"
        fix = f"Divide by len(x) in place of {literal:g}: {mended_kl(subject)}"
    elif kl < rec:
        why = "the KL alone is divided by the batch size"
        fix = f"Divide the reconstruction as well: {mended_reconstruction(subject)}"
    else:
        why, fix = "the reconstruction alone is divided by the batch size", f"Divide the KL as well: {mended_kl(subject)}"
    site = subject.latent_site if literal or kl >= rec else subject.reconstruction_site
    yield f"{why}: at {2 * size} samples the trade-off is {2**by:g} times that at {size}", fix, site
