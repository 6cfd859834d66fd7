"""One added line around a training step: ``with recon_cli.watch() as step: ...``, then ``step.audit()``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from recon_cli.auditing.limiting import failure
from recon_cli.auditing.reach.losses import DerivedLoss, Watching
from recon_cli.auditing.reach.recording import derivation_site
from recon_cli.auditing.reach.step import audit_step
from recon_cli.auditing.restoring import undisturbed
from recon_cli.auditing.result import Audit, joined
from recon_cli.errors import ReconError

active: list[WatchedStep] = []


class WatchedStep:
    """A training step that is watched: the losses that it derives, each audited at its own sizes, on its own data."""

    def __init__(self) -> None:
        self.watching = Watching()
        self.used = False

    def __enter__(self) -> WatchedStep:
        if active:
            raise ReconError("A step is being watched already.", "End the outer watch() before another begins.")
        if torch.is_inference_mode_enabled():
            raise ReconError("In inference mode nothing is derived.", "Put watch() around a training step, outside of it.")
        if self.used:
            raise ReconError("This watch() is over.", "Begin another one: with recon_cli.watch() as step.")
        self.used = True
        active.append(self)
        self.watching.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        active.remove(self)
        self.watching.__exit__(*error)

    def look_at(self, loss: Tensor) -> None:
        """Take a loss for one that is derived here: in a step whose trainer derives later what the step returns.

        Raises ReconError outside of the with-block, and for what is no tensor.
        """
        if self not in active or not isinstance(loss, Tensor):
            raise ReconError("look_at takes a loss, a tensor, within the with-block.", "Call step.look_at(loss) at its end.")
        self.watching.derived(loss, *derivation_site(2))

    def audit(self) -> Audit:
        """Return what each loss is that the step derived, a row each, with its line.

        Raises ReconError where nothing was derived within.
        """
        if self in active:
            raise ReconError("The step is not over.", "Call audit() after the with-block.")
        if not self.watching.losses:
            where = " on the thread that entered it" if self.watching.elsewhere else ""
            raise ReconError(
                f"No loss was derived within watch(){where}.",
                "Put the whole step, with loss.backward() or torch.autograd.grad(...), inside the with-block; where a trainer "
                "derives what the step returns, call step.look_at(loss) in it.",
            )
        return audited(self.watching.losses)


def watch() -> WatchedStep:
    """Return a context manager that watches one training step; afterwards ``.audit()`` says what its loss assumes.

    Its code runs as it is. A second step within is not looked at. One at a time, on the thread that runs the step.
    """
    return WatchedStep()


def audited(losses: Sequence[DerivedLoss]) -> Audit:
    """Return the audits of some losses as one; each that is not recognised says what was seen."""
    audits = []
    with undisturbed():
        for derived in losses:
            try:
                audits.append(audit_step(derived))
            except ReconError as error:
                audits.append(Audit.unrecognised(f"the loss at {derived.site}", derived.site, str(error), error.hint))
            except Exception as error:  # of the user's operations, replayed in float64
                failed = failure(error, f"the loss at {derived.site}")
                audits.append(Audit.unrecognised(f"the loss at {derived.site}", derived.site, str(failed), failed.hint))
    return joined(audits)
