"""What the reconstruction is compared with is not the target.

Misplaced parentheses (square(y) - t), a target that is only added beside the loss, zeros or a batch's mean in its place, a
target in another order (flipped, rolled, transposed): the loss falls, and the model learns something else than the data.

Compare element with element: the finding says where the pull goes instead.
"""

from __future__ import annotations

from recon_cli.auditing.defects._subject import Findings, Subject

GRAVITY = "wrong"


def find(subject: Subject) -> Findings:
    """Yield it where the target pulls at no reconstruction, at others than its own, or elsewhere than where it is."""
    astray = subject.term.astray
    if astray is not None:
        yield astray.evidence, astray.fix, subject.site(subject.term.recon, of=())
