"""It draws: at two seeds it returns two numbers.

A sampled KL, log q(z) - log p(z) at a drawn z, has the same mean as the closed form and noise besides. What was measured is
its mean over the draws where they are normal.

Write the KL in closed form, or draw outside the loss.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "noted"


def find(subject: Subject) -> Findings:
    """Yield it where two seeds give two numbers."""
    measured = subject.measured
    if measured.stochastic is not None:
        once, other = measured.stochastic
        closed = "A closed form of the KL has the same mean and no noise."
        fix = closed if measured.averaged else "Draw outside the loss, or write the KL in closed form."
        yield f"at two seeds it returns {once:.6g} and {other:.6g}", fix, measured.site
