"""e^-loss has no finite integral over the data, so no likelihood has this loss.

A loss that stays bounded (Welsch, Geman-McClure, Tukey's biweight) or grows no faster than a logarithm (log(1 + e^2) at a
weight of 1/2 or less) puts infinite mass on data that are far away: there is no -log p that equals it up to a constant, and
so no ELBO.

Take one that grows: |e|, sqrt(e^2 + d^2), or log(1 + e^2/s^2) at a weight above 1/2 (a Student's t).
"""

from __future__ import annotations

from collections.abc import Iterator

from recon_cli.auditing.defects._subject import Finding, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Iterator[Finding]:
    """Yield it where the loss grows too slowly as the data go to infinity, at the most that it may weigh."""
    tails, b, scaling = subject.term.density, subject.measured.kl_weight, subject.term.scaling
    if tails is None:
        return
    # The most that the loss may weigh: as it is written, beside its KL, and with a mean undone.
    most = max(1.0, 1 / b if b else 1.0) * (tails.elements if b is None or scaling.moves else 1)
    for word, slope in tails.slopes.items():
        growth = most * slope
        falls = growth < -1e-6
        if not growth <= 1 + 1e-6 or growth == -float("inf") or (falls and not subject.unmoved):
            continue
        how = "falls without end" if falls else "stays bounded" if abs(growth) < 1e-6 else "grows no faster than a logarithm"
        yield Finding(
            "no-density",
            f"as {tails.data} goes to {word} infinity the loss of an element {how}: e^-loss has no finite integral over x",
            "No noise has this loss: take one that grows, as |e|, or log(1 + e^2/s^2) weighed 1.",
            subject.reconstruction_site,
        )
        return
