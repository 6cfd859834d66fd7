"""A linear variational autoencoder, whose optimum is probabilistic PCA; without a weight on the KL, PCA itself."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import nn

from recon_cli.models._autoencoder import Autoencoder
from recon_cli.models._layers import linear, tempered

if TYPE_CHECKING:
    from torch import Generator, Tensor


class LinearEncoder(nn.Module):
    """Means linear in x, and one log variance for each latent."""

    def __init__(self, elements: int, latents: int, generator: Generator) -> None:
        super().__init__()
        self.mean = tempered(linear(elements, latents, generator), elements)
        self.log_variance = nn.Parameter(torch.zeros(latents))

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, 2K) of ``x``, (B, D)."""
        mean: Tensor = self.mean(x)
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=1)


class Linear(Autoencoder):
    """No hidden layers, and one variance of q(z | x) for all samples, as PPCA has it."""

    has_closed_form: ClassVar[bool] = True

    @staticmethod
    def networks(
        shape: tuple[int, ...], numbers: int, latents: int, hidden: int, generator: Generator, means: bool = False
    ) -> tuple[nn.Module, nn.Module]:
        del hidden
        elements = math.prod(shape)
        encoder: nn.Module
        if means:
            encoder = tempered(linear(elements, latents, generator), elements)
        else:
            encoder = LinearEncoder(elements, latents, generator)
        return encoder, linear(latents, elements * numbers, generator)

    def approached(self, x: Tensor) -> Tensor:
        """Return the same: anything else would not be linear."""
        return x

    @property
    def mean_layer(self) -> nn.Linear:
        """The layer that gives the mean of q(z | x)."""
        layer = self.encoder.mean if isinstance(self.encoder, LinearEncoder) else self.encoder
        assert isinstance(layer, nn.Linear)
        return layer

    @property
    def basis(self) -> nn.Parameter:
        """The decoder's weight, (D, K): a direction for each latent."""
        weight = self.decoder.weight
        assert isinstance(weight, nn.Parameter)
        return weight
