"""The validation rows: looked at after each epoch, in no gradient; and the best epoch, to which early stopping goes back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.training.figures import passes

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.training.loop import State


class Watch:
    """Looks at ``rows`` (N, D) after each epoch, and says when the best is ``patience`` epochs ago; with 0 never.

    value, epoch
        the least figure so far, in nats per sample, and whose it was.
    waited
        epochs since.
    best
        network and noise as they were then; kept only where there is patience.
    """

    def __init__(self, rows: Tensor | None = None, patience: int = 0) -> None:
        self.rows, self.patience = rows, patience
        self.value: float | None = None
        self.epoch = self.waited = 0
        self.best: dict[str, Tensor] = {}

    def __call__(self, state: State, claim: Likelihood) -> float | None:
        """The figure after the epoch that is whole now, under ``claim``; None without rows.

        The negative ELBO, whatever beta; the nll alone at beta 0. Raises ReconError where that is no number.
        """
        if self.rows is None or not len(self.rows):
            return None
        with torch.no_grad():
            seen = passes(state.model, self.rows, state.settings)
            sums = [torch.stack([claim.total(x, raw), wide(kl).sum()]) for x, raw, kl in seen]
            nll, kl = (torch.stack(sums).sum(dim=0) / len(self.rows)).tolist()
        found = nll + kl if state.settings.beta else nll
        if not math.isfinite(found):
            raise ReconError(
                f"After epoch {state.epoch} the validation rows have an nll of {nll:g} and a KL of {kl:g}.",
                f"The steps are probably too long: lower --lr, which is {state.settings.lr:g}.",
            )
        self.waited += 1
        if self.patience and (self.value is None or found < self.value):
            self.value, self.epoch, self.waited = found, state.epoch, 0
            self.best = {name: value.detach().clone() for name, value in parts(state).items()}
        return found

    @property
    def over(self) -> bool:
        """Whether to stop."""
        return 0 < self.patience <= self.waited

    def restore(self, state: State) -> int | None:
        """Go back to the best epoch; which it was. None where none is kept."""
        if not self.best:
            return None
        with torch.no_grad():
            for name, value in parts(state).items():
                value.copy_(self.best[name])
        return self.epoch

    def pack(self) -> dict[str, Any]:
        """Its numbers; the weights are ``best``."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}

    def unpack(self, packed: dict[str, Any], best: dict[str, Tensor]) -> None:
        """Where :meth:`pack` left it."""
        vars(self).update(packed)
        self.best = best


def parts(state: State) -> dict[str, Tensor]:
    """Network and noise, by name."""
    sides = {"network": state.model, "noise": state.noise}
    return {f"{side}.{name}": value for side, part in sides.items() for name, value in part.state_dict().items()}
