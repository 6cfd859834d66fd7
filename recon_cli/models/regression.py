"""From x to y: a network that gives for some columns of a row what a likelihood takes for the others."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import torch
from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY
from recon_cli.identity.tensors import wide
from recon_cli.models.networks import linear, mlp, tempered
from recon_cli.models.vae import fill, near, typical

if TYPE_CHECKING:
    from torch import Generator, Tensor


class Regression(nn.Module):
    """Columns x of a row (B, D) -> raw output for its other columns, y (B, T). There are no latents.

    Each column of x has its own mean and scale taken out, and each of y put back (under an identity link), so no learning
    rate depends on their units. Where the likelihood takes several numbers for an element (mean and log variance), each
    has a network of its own: Nix and Weigend (1994). What trains one then never moves the other, as the faithful loss of
    Stirn and others (2023) has it. Of vectors (one-hot classes), y is one. No hidden layer (``hidden`` 0) is linear
    regression.
    """

    x_columns: Tensor
    y_columns: Tensor
    mean: Tensor
    scale: Tensor
    shift: Tensor
    spread: Tensor
    kind = "regression"

    def __init__(
        self, rows: Tensor, claim: Likelihood, targets: Sequence[int], hidden: int, generator: Generator
    ) -> None:  # fmt: skip
        super().__init__()
        others = [column for column in range(rows.shape[1]) if column not in targets]
        self.register_buffer("x_columns", torch.tensor(others, device=rows.device))
        self.register_buffer("y_columns", torch.tensor([*targets], device=rows.device))
        self.link, self.numbers, self.event, self.hidden = claim.link, max(1, len(claim.head)), bool(claim.event), hidden
        self.several = self.numbers > 1
        level, y = wide(rows).mean(dim=0), self.target(rows)
        scale = (wide(rows) - level).square().mean(dim=0).sqrt()
        scale = scale.where(scale > 0, 1)
        shift = claim.link.forward(typical(claim, y)).reshape(len(targets), self.numbers)
        spread = torch.ones_like(shift)
        if self.several or claim.link == IDENTITY:
            spread[:, 0] = scale[self.y_columns]
        parts = [network(len(others), hidden, len(targets), generator) for _ in range(self.numbers)]
        self.decoder = nn.ModuleList(parts)
        self.register_buffer("mean", level[self.x_columns].float())
        self.register_buffer("scale", scale[self.x_columns].float())
        self.register_buffer("shift", shift.where(shift.isfinite(), 0).float())
        self.register_buffer("spread", spread.float())

    def stepping(self, seed: int) -> AbstractContextManager[None]:
        """While a training step is computed: nothing is drawn in one."""
        return nullcontext()

    def target(self, x: Tensor) -> Tensor:
        """y of rows (B, D): (B, T), or (B, 1, T) where it is one vector."""
        y = x.index_select(1, self.y_columns)
        return y.unsqueeze(1) if self.event else y

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The raw output for y, from rows (B, D); and the KL of each latent, of which there are none: (B, 0)."""
        raw = self.decode(x).float()
        return raw, raw.new_zeros(len(x), 0)

    def decode(self, x: Tensor) -> Tensor:
        """The raw output from rows (B, D): (B, T), or with a last axis for several numbers an element."""
        known = (x.index_select(1, self.x_columns) - self.mean) / self.scale
        known = near(known) if self.hidden else known
        raw = self.shift.addcmul(self.spread, torch.stack([part(known) for part in self.decoder], dim=-1))
        return raw if self.several else raw.squeeze(-1).unsqueeze(1) if self.event else raw.squeeze(-1)

    def outputs(self, x: Tensor) -> Tensor:
        """What the likelihood takes: mu of y, or with a last axis for several numbers an element."""
        return self.link.inverse(self.decode(x))

    def reconstruct(self, x: Tensor) -> Tensor:
        """mu of y, (B, T)."""
        made = self.outputs(x)
        return (made[..., 0] if self.several else made).flatten(1)

    @classmethod
    def load(cls, tensors: dict[str, Tensor], claim: Likelihood) -> Regression:
        """The saved network, its sizes those of its weights. Raises ReconError, naming the first that does not fit."""
        try:
            targets, elements = tensors["y_columns"].tolist(), len(tensors["x_columns"]) + len(tensors["y_columns"])
            hidden = len(tensors["decoder.0.0.weight"]) if "decoder.0.0.weight" in tensors else 0
            model = cls(torch.zeros(1, elements), claim, targets, hidden, torch.Generator())
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ReconError("These are no weights of recon's regression.", "Train it again with recon train.") from error
        fill(model, tensors, f"{claim.name} of {len(targets)} columns")
        return model


def network(inputs: int, hidden: int, outputs: int, generator: Generator) -> nn.Module:
    """Two SiLU layers of ``hidden``; a linear map where that is 0."""
    if not hidden:
        return tempered(linear(inputs, outputs, generator), inputs)
    return nn.Sequential(tempered(linear(inputs, hidden, generator), inputs), nn.SiLU(), *mlp(hidden, hidden, outputs, generator))
