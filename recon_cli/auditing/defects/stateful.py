"""A second call on the same object gives another number.

A loss that counts its own calls (warm-up, annealing) is another loss at every step, and one more for every validation batch.

Count steps where the training loop does, and pass the weight in.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "noted"


def find(subject: Subject) -> Findings:
    """Yield it where two calls in a row differ and two seeds do not."""
    if subject.measured.stateful is not None:
        once, again = subject.measured.stateful
        fix = "Count steps where the training loop does."
        yield f"called twice, it returns {once:.6g}, then {again:.6g}", fix, subject.measured.site
