"""A size is written into a reshape: x.view(-1, 784).

It works for one image size. At another it fails, or worse, mixes the elements of several samples.

Write x.flatten(1), or take the sizes from x.shape.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.identity.shapes import spell

GRAVITY = "noted"


def find(subject: Subject) -> Findings:
    """Yield it where a larger sample is refused until the literal is made larger too."""
    literal = subject.term.scaling.literal
    if literal is None or subject.unmoved:
        return
    spelled = f"{literal:,}" if isinstance(literal, int) else spell(literal)
    yield (
        f"{spelled} is written into a reshape",
        "Write x.flatten(1), or reshape by x.shape.",
        subject.site(*filter(None, (subject.term.recon, subject.term.target)), of=("view", "_unsafe_view", "_reshape_alias")),
    )
