"""The validation rows: looked at after each epoch, in no gradient; and the best epoch, to which early stopping goes back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model
from recon_cli.training.figures import passes, total
from recon_cli.training.noises import NoiseRule
from recon_cli.training.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class Validation:
    """Looks at ``rows`` (N, D) after each epoch, and says when the best is ``patience`` epochs ago; with 0 never.

    value, epoch
        the least figure so far, in nats per sample, and whose it was.
    waited
        epochs since.
    best
        network and noise as they were then; kept only where there is patience.
    """

    def __init__(self, model: Model, noise: NoiseRule, settings: Settings, rows: Tensor | None = None) -> None:
        self.model, self.noise, self.settings, self.rows = model, noise, settings, rows
        self.value: float | None = None
        self.epoch = self.waited = 0
        self.best: dict[str, Tensor] = {}

    def look(self, epoch: int, likelihood: Likelihood) -> float | None:
        """Return the figure after the epoch that is whole now, under ``likelihood``; None without rows.

        The negative ELBO, whatever beta; the nll alone at beta 0. Raises ReconError where that is no number.
        """
        if self.rows is None or not len(self.rows):
            return None
        with torch.no_grad():
            pieces = passes(self.model, self.rows, self.settings)
            sums = [torch.stack([total(likelihood, x, raw, weights), wide(kl).sum()]) for x, raw, kl, weights in pieces]
            nll, kl = (torch.stack(sums).sum(dim=0) / len(self.rows)).tolist()
        figure: float = nll + kl if self.settings.beta else nll
        if not math.isfinite(figure):
            raise ReconError(
                f"After epoch {epoch} the validation rows have an nll of {nll:g} and a KL of {kl:g}.",
                f"The steps are probably too long: lower --lr, which is {self.settings.lr:g}.",
            )
        self.waited += 1
        if self.settings.patience and (self.value is None or figure < self.value):
            self.value, self.epoch, self.waited = figure, epoch, 0
            self.best = {name: value.detach().clone() for name, value in self.parts.items()}
        return figure

    @property
    def parts(self) -> dict[str, Tensor]:
        """The tensors of network and noise, by name."""
        sides = {"network": self.model, "noise": self.noise}
        return {f"{side}.{name}": value for side, part in sides.items() for name, value in part.state_dict().items()}

    @property
    def is_over(self) -> bool:
        """Whether to stop."""
        return 0 < self.settings.patience <= self.waited

    def restore(self) -> int | None:
        """Go back to the best epoch, and return which it was; None where none is kept."""
        if not self.best:
            return None
        with torch.no_grad():
            for name, value in self.parts.items():
                value.copy_(self.best[name])
        return self.epoch

    def pack(self) -> dict[str, float | int | None]:
        """Return its numbers; the weights are ``best``."""
        return {"value": self.value, "epoch": self.epoch, "waited": self.waited}

    def unpack(self, packed: Mapping[str, Any], best: dict[str, Tensor]) -> None:
        """Go on from where :meth:`pack` left it."""
        vars(self).update(packed)
        self.best = best
