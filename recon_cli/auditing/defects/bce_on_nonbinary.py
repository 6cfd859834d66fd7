"""Binary cross-entropy on data that are not binary.

Beside grey levels in (0, 1), cross-entropy is the loss of no normalised likelihood: the continuous Bernoulli's normaliser,
which depends on the mean, is missing (Loaiza-Ganem & Cunningham 2019). recon compare refutes it, and so does the audit with
--data.

Make the data 0 or 1, or use the continuous Bernoulli's nll.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where --data has values that a Bernoulli does not."""
    outside = subject.measured.outside.get("bernoulli")
    if outside and subject.reading.family == "bernoulli":
        fix = "Make them 0 or 1, or use the continuous Bernoulli's nll."
        yield outside, fix, subject.reconstruction_site
