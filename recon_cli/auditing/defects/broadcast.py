"""Tensors of unlike shapes are added or subtracted, and the smaller counts many times.

[B] + [B, 1] is [B, B]: every sample's reconstruction is paired with every sample's KL. Nothing fails; the weights are off by
the batch size, or all samples are compared with all targets.

Give both the same shape before subtracting, or reduce both to one number a sample, [B], before adding.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject
from recon_cli.identity.shapes import spell

GRAVITY = "spoiling"


def find(subject: Subject) -> Findings:
    """Yield it where a reconstruction meets its target, or a KL, in another shape."""
    measured = subject.measured
    if measured.odd:
        evidence = f"reconstruction and target meet in shapes {measured.odd}, which broadcast"
        yield evidence, "Give both the same shape before subtracting.", subject.site(subject.term.recon, of=())
    elif measured.added:
        first, second = map(spell, measured.added)
        evidence = f"a reconstruction and a KL of shapes {first} and {second} are added: the smaller counts many times"
        yield evidence, "Reduce both to one number a sample, [B], before adding.", measured.site
