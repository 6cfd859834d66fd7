"""``Trainer(callbacks=[TrainerAudit()])``: what the loss of a Hugging Face Trainer assumes, at its first step."""

from __future__ import annotations

from typing import Any

from recon_cli.callbacks import StepAudit
from recon_cli.errors import not_installed

try:
    from transformers import TrainerCallback
except ImportError as error:
    raise not_installed("A callback of the Trainer's takes", "transformers", "transformers") from error


class TrainerAudit(StepAudit, TrainerCallback):  # type: ignore[misc, unused-ignore]
    """Watches the first step, of one batch or of several that are accumulated, whose loss ``compute_loss`` or the model returns.

    ``audit`` has what was found; it is printed by the first process, unless ``quiet``.

        trainer = transformers.Trainer(model, arguments, train_dataset=data, callbacks=[TrainerAudit()])
    """

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        """Begin to watch."""
        self.begin()

    def on_step_end(self, args: Any, state: Any, *_: Any, **__: Any) -> None:
        """Say what the step's losses are."""
        del args
        self.end(aloud=state.is_world_process_zero)
