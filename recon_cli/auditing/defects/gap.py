"""e^-loss adds up to another number for every prediction, so it is no likelihood of the data.

A likelihood's e^-loss adds up to one number, whatever the prediction: that number is the offset, which moves no gradient.
Where it moves with the prediction, its logarithm is a term of the loss that is missing, c(mu), and what is trained is not
what is thought: pos_weight, the focal loss, smoothed labels and the hinge loss pull predictions away from the shares that the
data have.

Add the logarithm of that sum, or take a likelihood's loss. Where the pull is what is wanted (rare positives), keep it, and
read no noise and no beta off it.
"""

from __future__ import annotations

import math

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where the sums that were found differ by more than their error."""
    normal = subject.term.rec.normal
    if normal is None or normal.kind != "gap" or subject.unmoved:
        return
    least, most = (spelled(at, subject.term.recon) for at in normal.extremes)
    yield (
        f"over {normal.support} e^-loss adds up to {power_of_e(min(normal.logs))} at {least} and to "
        f"{power_of_e(max(normal.logs))} at {most}: what it lacks to a likelihood, c(mu), moves by {normal.range:.6g} nats",
        "Add log of that sum, as it moves with the prediction, or take a likelihood's loss.",
        subject.reconstruction_site,
    )


def power_of_e(log: float) -> str:
    """Return a number by its logarithm, as a power where it is very large or small."""
    return f"{math.exp(log):.6g}" if abs(log) < 30 else f"e^{log:.6g}"


def spelled(at: tuple[float, ...], name: str) -> str:
    """Return a prediction in words."""
    return " and ".join(f"{each} = {value:g}" for each, value in zip((name, "a scale"), at, strict=False))
