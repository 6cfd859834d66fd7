"""z, which the decoder is given, is not drawn from the posterior that the KL weighs.

The negative ELBO is the mean of -log p(x | z) over draws of q(z | x) = N(mu, sigma^2), and the KL of that q. A draw is
mu + sigma * eps with eps standard normal. With exp(logvar) or logvar in place of exp(logvar / 2), with uniform noise, without mu
or without a draw the reconstruction is that of another posterior than the KL's, and their sum bounds nothing.

Write the line that the finding gives; or the KL of what is drawn.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where what was recorded of z proves it."""
    wrong = subject.measured.missampled
    if wrong is not None:
        yield wrong.evidence, wrong.fix, subject.site(*subject.measured.latents, of=())
