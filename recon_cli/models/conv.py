"""A convolutional variational autoencoder, of images of any size."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell, unflattened
from recon_cli.identity.tensors import beside
from recon_cli.models._autoencoder import Autoencoder
from recon_cli.models._layers import initialised, linear, tempered, unset
from recon_cli.runtime.images import COLOURS

if TYPE_CHECKING:
    from torch import Generator, Tensor

LEAST = 8  # pixels each way


class Conv(Autoencoder):
    """Two convolutions of stride 2 and their like upwards, of ``hidden``/8 and ``hidden``/4 channels."""

    @staticmethod
    def networks(
        shape: tuple[int, ...], numbers: int, latents: int, hidden: int, generator: Generator, means: bool = False
    ) -> tuple[nn.Module, nn.Module]:
        """Return encoder and decoder. Raises ReconError for a shape that is no image."""
        codes = latents if means else 2 * latents
        return ConvEncoder(shape, codes, hidden, generator), ConvDecoder(shape, numbers, latents, hidden, generator)


class ConvEncoder(nn.Module):
    """Convolutions of stride 2, then one linear layer."""

    def __init__(self, shape: tuple[int, ...], codes: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.shape, (channels, height, width) = shape, image(shape)
        few = max(4, hidden // 8)
        self.first = initialised(unset(nn.Conv2d, channels, few, 3, stride=2, padding=1), generator)
        self.second = initialised(unset(nn.Conv2d, few, 2 * few, 3, stride=2, padding=1), generator)
        self.last = tempered(linear(2 * few * half(half(height)) * half(half(width)), codes, generator), height * width)

    def forward(self, x: Tensor) -> Tensor:
        """Return (B, codes) of ``x``, (B, D)."""
        silu = nn.functional.silu
        codes: Tensor = self.last(silu(self.second(silu(self.first(colours_last(pixels(x, self.shape)))))).flatten(1))
        return codes


class ConvDecoder(nn.Module):
    """One linear layer, then nearest-neighbour steps to twice the size, each followed by a convolution."""

    def __init__(self, shape: tuple[int, ...], numbers: int, latent: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.shape, (channels, height, width) = shape, image(shape)
        self.sizes = (half(half(height)), half(half(width))), (half(height), half(width)), (height, width)
        self.few, self.channels = max(4, hidden // 8), channels
        self.first = linear(latent, 2 * self.few * math.prod(self.sizes[0]), generator)
        self.second = initialised(kernel(2 * self.few, self.few), generator)
        self.last = initialised(kernel(self.few, channels * numbers), generator)

    def forward(self, z: Tensor) -> Tensor:
        """Return (B, D * numbers) of ``z``, (B, K), the numbers of an element beside one another."""
        silu, (least, middle, whole) = nn.functional.silu, self.sizes
        small = colours_last(silu(self.first(z)).reshape(len(z), 2 * self.few, *least))
        numbers = of_doubled(self.last, silu(of_doubled(self.second, small, middle)), whole).reshape(
            len(z), self.channels, -1, *whole
        )
        order = (0, 3, 4, 1, 2) if last_is_colour(self.shape) else (0, 1, 3, 4, 2)
        return numbers.permute(order).flatten(1)


def kernel(given: int, made: int) -> nn.Conv2d:
    """Return a convolution of 3x3 whose numbers are not set yet."""
    return unset(nn.Conv2d, given, made, 3, padding=1)


def of_doubled(layer: nn.Conv2d, x: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a convolution of 3x3 of ``x`` (B, C, H, W) taken to ``size``, 2H x 2W but for a last row or column, by nearest.

    Of exactly twice the size it is the transposed convolution, of stride 2, whose 4x4 weights are sums of those 3x3: four
    products for each number in place of nine, and nothing that is there four times.
    """
    if size != (2 * x.shape[2], 2 * x.shape[3]):
        grown: Tensor = layer(nn.functional.interpolate(x, size=size))
        return grown
    sums = beside(layer.weight, [[0, 0, 1], [0, 1, 1], [1, 1, 0], [1, 0, 0]])
    weight = torch.einsum("ak,bl,oikl->ioab", sums, sums, layer.weight)
    return nn.functional.conv_transpose2d(x, weight, layer.bias, stride=2, padding=1)


def colours_last(x: Tensor) -> Tensor:
    """Return the same images with the channels of a pixel beside one another in memory, as convolutions take them soonest."""
    return x.contiguous(memory_format=torch.channels_last)


def image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Return channels, height and width. Raises ReconError for a shape that is no image, or one below 8x8."""
    shape = unflattened(shape)
    sizes = (1, *shape) if len(shape) == 2 else (shape[2], *shape[:2]) if last_is_colour(shape) else shape
    if len(sizes) != 3 or min(sizes[1:]) < LEAST:
        raise ReconError(
            f"--model conv takes images of at least {LEAST}x{LEAST}, and these samples have the shape {spell(shape)}.",
            "Take --model mlp, or give samples of shape HxW, CxHxW or HxWxC.",
        )
    channels, height, width = sizes
    return channels, height, width


def last_is_colour(shape: tuple[int, ...]) -> bool:
    """Whether a shape is height, width, channels."""
    return len(shape) == 3 and shape[0] not in COLOURS and shape[2] in COLOURS


def pixels(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Return rows (B, D) as images (B, C, H, W)."""
    channels, height, width = image(shape)
    return (
        x.reshape(-1, height, width, channels).movedim(3, 1) if last_is_colour(shape) else x.reshape(-1, channels, height, width)
    )


def half(size: int) -> int:
    """Return what a stride of 2 leaves of ``size``."""
    return (size + 1) // 2
