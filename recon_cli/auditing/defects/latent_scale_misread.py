"""The scale of the latents is named one thing and used as another: logvar in the formula of a standard deviation.

The KL is then least at another value than the one at which the posterior is the prior. Whoever draws z by the name trains
another posterior than the one that is weighed.

Sample with the meaning that the KL has, or write the KL of what the name says: the finding gives the line.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.auditing.latents import PRIOR
from recon_cli.auditing.links import MEANINGS
from recon_cli.auditing.mending import kl_of

GRAVITY = "wrong"
CURVES = {"log_variance": "1/2", "log_std": "2", "std": "2", "variance": "1/2"}


def find(subject: Subject) -> Findings:
    """Yield it where the KL's meaning of the scale is not its name's."""
    measured, latent = subject.measured, subject.measured.latent
    if latent is None or not latent.named:
        return
    scale, named = measured.scale, latent.named
    if latent.link:
        evidence = f"{scale} is named {MEANINGS[named].words}, and {latent.link}"
        yield evidence, f"Name it raw_{scale}, or pass what it is called.", subject.site(scale, of=())
    if latent.meaning and named != latent.meaning:
        rest, usual = PRIOR[latent.meaning], PRIOR[named]
        how = f"the KL is least at {scale} = {rest:g}, not at {usual:g}"
        if rest == usual:
            how = f"the KL curves {CURVES[latent.meaning]} of a mean's, not {CURVES[named]}"
        yield (
            f"{scale} is named {MEANINGS[named].words} and used as {MEANINGS[latent.meaning].words}: {how}",
            f"Sample with the same meaning, or write the KL of {MEANINGS[named].words}: {kl_of(named, measured.mu, scale)}",
            subject.latent_site,
        )
