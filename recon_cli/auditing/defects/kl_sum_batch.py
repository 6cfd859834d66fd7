"""The KL is summed over the batch, and the reconstruction is averaged over it.

The KL's weight then grows with the batch size: beta is B times what it would be.

Divide the KL by the batch size: the finding gives the line.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import ONE, Findings, Subject
from recon_cli.auditing.mending import mended_kl

GRAVITY = "moving"


def find(subject: Subject) -> Findings:
    """Yield it where the trade-off grows with B because the KL is a sum."""
    grows, size = subject.term.scaling.batch[0], subject.measured.sizes.batch
    if subject.weighed is None or grows is None or grows <= ONE or subject.batch_literal:
        return
    if (subject.term.scaling.batch[2] or 0.0) < -ONE:
        return
    yield (
        "the KL is summed over the batch and the reconstruction averaged: at "
        f"{2 * size} samples the trade-off is {2**grows:g} times that at {size}",
        f"Divide the KL by the batch size: {mended_kl(subject)}",
        subject.latent_site,
    )
