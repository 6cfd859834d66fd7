"""The term in the latents is not the KL of a Gaussian posterior from its prior.

A KL's gradient is (mu - m) by a mean and (variance - 1)/2 by a log variance, everywhere, with one weight for both. Misprints
of the closed form (a lost 1/2, exp(logvar/2) for exp(logvar), a maximum with the reconstruction in place of a sum) look like
it near one point and train another posterior.

What is of draws alone (a distance of a batch of codes from a prior's draws, as of an MMD or of WAE, a penalty on them) is no
misprint of a KL: it is a term of its own, and not recognised.

Write the line that the finding gives, for what the scale is: a log variance, a log standard deviation, a standard deviation
or a variance (Kingma & Welling 2014, appendix B).
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject, is_one
from recon_cli.auditing.formulas import number
from recon_cli.auditing.latents import TURNS
from recon_cli.auditing.mending import kl

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where gradients by means and scales are those of no KL."""
    latent = subject.measured.latent
    if latent is None or latent.unexplained:
        return
    if not latent.wrong:
        if subject.measured.alone and (latent.forms or not is_one(abs(subject.times))):
            what = latent.forms.words if latent.forms else f"it is {number(abs(subject.times))} times the KL"
            yield what, f"Write the KL: {kl(subject.measured)}", subject.latent_site
        return
    dead = " (it never trains)" if latent.dead else ""
    fix = "Add them: reconstruction + KL." if latent.wrong.endswith(TURNS) else f"Write the KL: {kl(subject.measured)}"
    yield f"{latent.wrong}{dead}", fix, subject.latent_site
