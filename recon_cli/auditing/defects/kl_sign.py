"""The KL has the wrong sign: the loss falls as the posterior leaves the prior.

A loss is reconstruction + KL; an ELBO, to be made large, is log-likelihood - KL. With the sign turned, the posterior is
pushed away from the prior without end.

Turn the KL's sign.
"""

from __future__ import annotations

import re

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where the two signs do not go together, and the KL's is the odd one."""
    sign, b = subject.signed
    if not subject.term.rec.additive or subject.unmoved:
        return
    if subject.measured.alone and re.search("neg|minus", subject.measured.name, re.I):
        return
    if sign > 0 > b:
        evidence, fix = f"the loss falls as the KL grows: its weight is {b:.6g}", "Turn the KL's sign: + KL in a loss."
    elif sign < 0 < b and subject.named_log_likelihood:
        evidence, fix = f"in a log-likelihood the KL is subtracted; its weight is {b:.6g}", "Turn the KL's sign: - KL in an ELBO."
    else:
        return
    yield evidence, fix, subject.latent_site
