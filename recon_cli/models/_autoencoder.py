"""What recon's own models with latents share: two networks, and the units of the data taken out around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Generator, nn

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Task, typical
from recon_cli.models._layers import mlp, near
from recon_cli.models._vae import Vae

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

    from recon_cli.models._options import Options


class Autoencoder(Vae):
    """Encoder D -> (mean, log variance) of K latents, decoder K -> raw output of D, each a network.

    The units of the data are taken out in front of the encoder and put back after the decoder (their mean, and one scale for
    all elements), so no learning rate depends on them. raw is what the likelihood's link takes to mu; where a decoder gives
    several numbers for an element (mean and log variance), there are as many times D of it.
    """

    mean: Tensor
    scale: Tensor
    shift: Tensor
    spread: Tensor

    def __init__(
        self, rows: Tensor, likelihood: Likelihood, latents: int, hidden: int, generator: Generator,
        shape: tuple[int, ...] | None = None, deterministic: bool = False,
    ) -> None:  # fmt: skip
        elements = rows.shape[1]
        shape = shape or (elements,)
        super().__init__(likelihood, latents, deterministic, shape[-1])
        mean = (data := wide(rows)).mean(dim=0)
        scale = (data - mean).square_().mean().sqrt()
        scale = scale.where(scale > 0, 1)
        self.register_buffer("mean", mean.float())
        shift = likelihood.link.forward(typical(likelihood, self.target(rows))).flatten()
        spread = scale if likelihood.link == IDENTITY else scale.new_ones(())
        if self.several:  # the mean in the units of the data, what else there is on its own
            spread = scale.new_ones(elements, self.numbers)
            spread[:, : likelihood.locations] = scale
            spread = spread.flatten()
        self.encoder, self.decoder = self.networks(shape, self.numbers, latents, hidden, generator, deterministic)
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.where(shift.isfinite(), 0).float())
        self.register_buffer("spread", spread.float())

    @staticmethod
    def networks(
        shape: tuple[int, ...], numbers: int, latents: int, hidden: int, generator: Generator, means: bool = False
    ) -> tuple[nn.Module, nn.Module]:
        """Return the encoder (B, D) -> (B, 2K) and the decoder (B, K) -> (B, D * numbers), D the elements of ``shape``.

        With ``means`` alone the encoder is (B, D) -> (B, K). Every weight is drawn from ``generator``, and from no other. Unless
        a model says otherwise, each has one SiLU layer of ``hidden``.
        """
        elements, codes = math.prod(shape), latents if means else 2 * latents
        return mlp(elements, hidden, codes, generator), mlp(latents, hidden, elements * numbers, generator)

    @classmethod
    def begin(cls, task: Task, options: Options) -> Self:
        generator = Generator().manual_seed(options.seed)
        return cls(
            task.rows, task.likelihood, options.latent, options.hidden, generator, task.shape, not options.beta
        )  # fmt: skip

    @classmethod
    def from_saved(cls, tensors: dict[str, Tensor], likelihood: Likelihood, config: Mapping[str, Any]) -> Self:
        try:
            latents, hidden = cls.widths(tensors, config)
            elements = len(tensors["mean"])
            shape = config["shape"] if math.prod(config["shape"]) == elements else (elements,)
            model = cls(
                torch.zeros(1, elements), likelihood, latents, hidden, Generator(), shape, not config["beta"]
            )  # fmt: skip
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ReconError("These are no weights of recon's network.", "Train it again with recon train.") from error
        model.fill(tensors, f"{likelihood.name} on {elements} elements")
        return model

    @classmethod
    def widths(cls, tensors: dict[str, Tensor], config: Mapping[str, Any]) -> tuple[int, int]:
        """Return the widths of latents and hidden layers that a saved network has."""
        del tensors
        return config["latent"], config["hidden"]

    @property
    def elements(self) -> int:
        return len(self.mean)

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        code: Tensor = self.encoder(self.approached((self.own(rows) - self.mean).div_(self.scale)))
        if self.deterministic:
            return code, None
        mean, log_variance = code.chunk(2, dim=1)
        return mean, log_variance

    def approached(self, x: Tensor) -> Tensor:
        """Return what the encoder sees of rows without units: those far from all others from near."""
        return near(x)

    def decode(self, z: Tensor) -> Tensor:
        raw = self.shift.addcmul(self.spread, self.decoder(z))
        return raw.reshape(len(z), -1, *self.tail) if self.tail else raw

    def decoder_parameters(self) -> Sequence[nn.Parameter]:
        return [*self.decoder.parameters()]
