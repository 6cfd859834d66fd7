"""From x to y: a network that gives for some columns of a row what a likelihood takes for the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import torch
from torch import Generator, nn

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model, Task, typical
from recon_cli.models._layers import linear, mlp, near, tempered
from recon_cli.models._options import spelled

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from recon_cli.models._options import Options

NEUTRAL = {"latent": 0, "beta": 1.0, "kl_warmup": 0, "free_bits": 0.0, "iwae": 0}  # of what only latents have


class Regression(Model):
    """Columns x of a row (B, D) -> raw output for its other columns, y (B, T). There are no latents.

    Each column of x has its own mean and scale taken out, and each of y put back (under an identity link), so no learning
    rate depends on their units. Where the likelihood takes several numbers for an element (mean and log variance), each
    has a network of its own: Nix and Weigend (1994). What trains one then never moves the other, as the faithful loss of
    Stirn and others (2023) has it. Of vectors (one-hot classes), y is one. No hidden layer (``hidden`` 0) is linear
    regression.
    """

    usual: ClassVar[Mapping[str, float]] = {"batch_size": 16, "latent": 0, "hidden": 64, "lr": 0.005}  # of few rows
    supervised: ClassVar[bool] = True
    x_columns: Tensor
    y_columns: Tensor
    mean: Tensor
    scale: Tensor
    shift: Tensor
    spread: Tensor

    def __init__(
        self, rows: Tensor, likelihood: Likelihood, targets: Sequence[int], hidden: int, generator: Generator
    ) -> None:  # fmt: skip
        super().__init__(likelihood)
        others = [column for column in range(rows.shape[1]) if column not in targets]
        self.register_buffer("x_columns", torch.tensor(others, device=rows.device))
        self.register_buffer("y_columns", torch.tensor([*targets], device=rows.device))
        self.hidden = hidden
        level, y = wide(rows).mean(dim=0), self.target(rows)
        scale = (wide(rows) - level).square().mean(dim=0).sqrt()
        scale = scale.where(scale > 0, 1)
        shift = likelihood.link.forward(typical(likelihood, y)).reshape(len(targets), self.numbers)
        spread = torch.ones_like(shift)
        if self.several or likelihood.link == IDENTITY:
            spread[:, : likelihood.locations] = scale[self.y_columns].unsqueeze(-1)
        self.decoder = nn.ModuleList(network(len(others), hidden, len(targets), generator) for _ in range(self.numbers))
        self.register_buffer("mean", level[self.x_columns].float())
        self.register_buffer("scale", scale[self.x_columns].float())
        self.register_buffer("shift", shift.where(shift.isfinite(), 0).float())
        self.register_buffer("spread", spread.float())

    @classmethod
    def check(cls, options: Options) -> None:
        super().check(options)
        options.require("latent", 0)
        options.require("hidden", 0)
        for name, value in NEUTRAL.items():
            if getattr(options, name) != value:
                raise ReconError(
                    f"A regression has no latents, so {spelled(name)} means nothing to it.", f"Leave {spelled(name)} out."
                )

    @classmethod
    def begin(cls, task: Task, options: Options) -> Self:
        return cls(task.rows, task.likelihood, task.targets, options.hidden, Generator().manual_seed(options.seed))

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], likelihood: Likelihood, config: Mapping[str, Any]) -> Self:
        del config  # its sizes are those of its weights
        try:
            targets, elements = tensors["y_columns"].tolist(), len(tensors["x_columns"]) + len(tensors["y_columns"])
            hidden = len(tensors["decoder.0.0.weight"]) if "decoder.0.0.weight" in tensors else 0
            model = cls(torch.zeros(1, elements), likelihood, targets, hidden, Generator())
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ReconError("These are no weights of recon's regression.", "Train it again with recon train.") from error
        model.fill(tensors, f"{likelihood.name} of {len(targets)} columns")
        return model

    @property
    def elements(self) -> int:
        return len(self.x_columns) + len(self.y_columns)

    @property
    def noun(self) -> str:
        return "regression"

    @property
    def is_linear(self) -> bool:
        """Whether there is no hidden layer."""
        return all(isinstance(part, nn.Linear) for part in self.decoder)

    def target(self, rows: Tensor) -> Tensor:
        """Return y of ``rows`` (B, D): (B, T), or (B, 1, T) where it is one vector."""
        y = rows.index_select(1, self.y_columns)
        return y.unsqueeze(1) if self.has_events else y

    def forward(self, rows: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw output for y, of rows (B, D); and the KL of each latent, of which there are none: (B, 0)."""
        del eps
        raw = self.predict(rows).float()
        return raw, raw.new_zeros(len(rows), 0)

    def predict(self, rows: Tensor) -> Tensor:
        """Return the raw output for y of rows (B, D): (B, T), or with a last axis for several numbers an element."""
        x = (rows.index_select(1, self.x_columns) - self.mean) / self.scale
        x = near(x) if self.hidden else x
        raw = self.shift.addcmul(self.spread, torch.stack([part(x) for part in self.decoder], dim=-1))
        raw = raw if self.several else raw.squeeze(-1)
        return raw.unsqueeze(1) if self.has_events else raw

    def outputs(self, rows: Tensor) -> Tensor:
        return self.link.inverse(self.predict(rows))

    def decoder_parameters(self) -> Sequence[nn.Parameter]:
        return [*self.decoder.parameters()]


def network(inputs: int, hidden: int, outputs: int, generator: Generator) -> nn.Module:
    """Return two SiLU layers of ``hidden``; a linear map where that is 0."""
    if not hidden:
        return tempered(linear(inputs, outputs, generator), inputs)
    return nn.Sequential(tempered(linear(inputs, hidden, generator), inputs), nn.SiLU(), *mlp(hidden, hidden, outputs, generator))
