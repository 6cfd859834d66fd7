"""``Trainer(callbacks=[LightningAudit()])``: what the loss of a LightningModule assumes, at its first batch."""

from __future__ import annotations

from typing import Any

from recon_cli.callbacks import StepAudit
from recon_cli.errors import not_installed

try:
    from lightning.pytorch import Callback
except ImportError:
    try:
        from pytorch_lightning import Callback
    except ImportError as error:
        raise not_installed("A callback of Lightning's takes", "lightning", "lightning") from error


class LightningAudit(StepAudit, Callback):  # type: ignore[misc, unused-ignore]
    """Watches the first batch that is trained on: automatic and manual optimization, losses accumulated or scaled alike.

    ``audit`` has what was found; it is printed by the first process, unless ``quiet``.

        trainer = lightning.Trainer(callbacks=[LightningAudit()])
    """

    def on_train_batch_start(self, *_: Any, **__: Any) -> None:
        """Begin to watch."""
        self.begin()

    def on_train_batch_end(self, trainer: Any, *_: Any, **__: Any) -> None:
        """Say what the batch's losses are."""
        self.end(aloud=trainer.is_global_zero)

    def on_exception(self, *_: Any, **__: Any) -> None:
        """Watch no longer."""
        self.give_up()
