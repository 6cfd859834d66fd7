"""The reconstruction has the wrong sign: the loss falls as a reconstruction leaves its target.

Minimised, it drives reconstructions away from the data.

Turn the reconstruction's sign: add -log p, or subtract log p.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.auditing.quadrature import FALLS

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where the reconstruction falls and the KL is added, in what is called a loss."""
    sign, b = subject.signed
    normal = subject.term.rec.normal
    if normal is not None and (normal.kind == "real" or (normal.kind == "no-density" and FALLS not in normal.why)):
        return  # it may fall near its target and is a likelihood all the same; or it comes back, and is none turned round either
    if sign < 0 < b and subject.term.rec.additive and not subject.unmoved and not subject.named_log_likelihood:
        evidence = "the loss falls as a reconstruction leaves its target"
        yield evidence, "Turn the reconstruction's sign.", subject.reconstruction_site
