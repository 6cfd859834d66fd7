"""The KL is averaged over the latents, and the reconstruction is summed.

The KL of a sample is a sum over its latents. A mean over K of them weighs it 1/K: beta falls with every latent that is added.

Sum the KL over the latents and average over the batch: the finding gives the line.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import ONE, Findings, Subject
from recon_cli.auditing.mending import mended_kl

GRAVITY = "moving"


def find(subject: Subject) -> Findings:
    """Yield it where the trade-off falls with K."""
    falls, sizes = subject.term.scaling.latent[0], subject.measured.sizes
    if subject.weighed is None or falls is None or falls >= -ONE:
        return
    if subject.measured.alone:
        evidence = (
            f"the KL is averaged over the {sizes.K} latents, and is their sum: at {2 * sizes.K} it weighs {2**falls:g} times"
        )
        yield evidence, f"Sum the KL over the latents: {mended_kl(subject)}", subject.latent_site
        return
    other = f"the reconstruction over {subject.elements[0]}" if subject.averaged else "the reconstruction is not"
    yield (
        f"the KL is averaged over the {sizes.K} latents and {other}: with {2 * sizes.K} the trade-off is {2**falls:g} times this",
        f"Sum the KL over the latents: {mended_kl(subject)}",
        subject.latent_site,
    )
