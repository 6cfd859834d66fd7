"""The audit of the first training step as a callback, one trainer a file: ``recon_cli.callbacks.lightning.LightningAudit``."""

from __future__ import annotations

import sys

from recon_cli import formats
from recon_cli.auditing.reach.watch import WatchedStep, watch
from recon_cli.auditing.result import Audit


class StepAudit:
    """Watches a trainer's first step that derives a loss, and says what each of its losses is. Training goes on as ever.

    audit
        what was found, once that step is over.
    quiet
        whether nothing is printed.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.audit: Audit | None = None
        self.quiet = quiet
        self._step: WatchedStep | None = None

    def begin(self) -> None:
        """Watch what comes, unless a step has been audited; a step that did not come to its end is given up."""
        self.give_up()
        if self.audit is None:
            self._step = watch().__enter__()

    def give_up(self) -> None:
        """Watch no longer."""
        step, self._step = self._step, None
        if step is not None:
            step.__exit__(None, None, None)

    def end(self, aloud: bool = True) -> None:
        """Audit the step that was watched, and print that; where it derived nothing, as a batch that is skipped, the next."""
        step = self._step
        self.give_up()
        if step is None or not step.watching.losses:
            return
        self.audit = step.audit()
        if aloud and not self.quiet:
            formats.write(self.audit.report().summary(), "table", sys.stderr)
