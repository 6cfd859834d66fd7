"""What an encoder and a decoder may be made of, by name."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import torch
from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell, unflattened
from recon_cli.runtime.images import COLOURS

if TYPE_CHECKING:
    from torch import Generator, Tensor

MODELS = ("mlp", "linear", "conv", "ae", "regression")
LEAST = 8  # pixels each way
MOST = 28 * 28  # inputs of a layer, or pixels, for which the usual learning rates are meant
Layer = TypeVar("Layer", bound=nn.Module)


def networks(
    model: str, shape: tuple[int, ...], numbers: int, latent: int, hidden: int, generator: Generator, means: bool = False
) -> tuple[nn.Module, nn.Module]:
    """Encoder (B, D) -> (B, 2K) and decoder (B, K) -> (B, D * numbers), D being the elements of ``shape`` and K ``latent``.

    With ``means`` alone the encoder is (B, D) -> (B, K). ``mlp``, ``ae``: one SiLU layer of ``hidden`` each side. ``linear``:
    none, and one variance for all samples (PPCA's). ``conv``: two convolutions of stride 2 and their like upwards,
    ``hidden``/8 and ``hidden``/4 channels, for images of any size.
    Every weight is drawn from ``generator`` and from no other. Raises ReconError for a shape that is no image.
    """
    elements, codes = math.prod(shape), latent if means else 2 * latent
    if model == "conv":
        return Encoder(shape, codes, hidden, generator), Decoder(shape, numbers, latent, hidden, generator)
    if model == "linear":
        encoder = tempered(linear(elements, latent, generator), elements) if means else Linear(elements, latent, generator)
        return encoder, linear(latent, elements * numbers, generator)
    return mlp(elements, hidden, codes, generator), mlp(latent, hidden, elements * numbers, generator)


def mlp(inputs: int, hidden: int, outputs: int, generator: Generator) -> nn.Sequential:
    """Linear, SiLU, linear."""
    return nn.Sequential(tempered(linear(inputs, hidden, generator), inputs), nn.SiLU(), linear(hidden, outputs, generator))


class Linear(nn.Module):
    """Means linear in x, and one log variance for each latent."""

    def __init__(self, elements: int, latent: int, generator: Generator) -> None:
        super().__init__()
        self.mean = tempered(linear(elements, latent, generator), elements)
        self.log_variance = nn.Parameter(torch.zeros(latent))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, 2K)."""
        mean = self.mean(x)
        return torch.cat([mean, self.log_variance.expand_as(mean)], dim=1)


class Encoder(nn.Module):
    """Convolutions of stride 2, then one linear layer."""

    def __init__(self, shape: tuple[int, ...], codes: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.shape, (channels, height, width) = shape, image(shape)
        few = max(4, hidden // 8)
        self.first = drawn(nn.utils.skip_init(nn.Conv2d, channels, few, 3, stride=2, padding=1), generator)
        self.second = drawn(nn.utils.skip_init(nn.Conv2d, few, 2 * few, 3, stride=2, padding=1), generator)
        self.last = tempered(linear(2 * few * half(half(height)) * half(half(width)), codes, generator), height * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, codes)."""
        silu = nn.functional.silu
        return self.last(silu(self.second(silu(self.first(pixels(x, self.shape))))).flatten(1))


class Decoder(nn.Module):
    """One linear layer, then nearest-neighbour steps to twice the size, each followed by a convolution."""

    def __init__(self, shape: tuple[int, ...], numbers: int, latent: int, hidden: int, generator: Generator) -> None:
        super().__init__()
        self.shape, (channels, height, width) = shape, image(shape)
        self.sizes = (half(half(height)), half(half(width))), (half(height), half(width)), (height, width)
        self.few, self.channels = max(4, hidden // 8), channels
        self.first = linear(latent, 2 * self.few * math.prod(self.sizes[0]), generator)
        self.second = drawn(nn.utils.skip_init(nn.Conv2d, 2 * self.few, self.few, 3, padding=1), generator)
        self.last = drawn(nn.utils.skip_init(nn.Conv2d, self.few, channels * numbers, 3, padding=1), generator)

    def forward(self, z: Tensor) -> Tensor:
        """(B, K) -> (B, D * numbers), the numbers of an element beside one another."""
        functional, (least, middle, whole) = nn.functional, self.sizes
        small = functional.silu(self.first(z)).reshape(len(z), 2 * self.few, *least)
        large = functional.silu(self.second(functional.interpolate(small, size=middle)))
        made = self.last(functional.interpolate(large, size=whole)).reshape(len(z), self.channels, -1, *whole)
        order = (0, 3, 4, 1, 2) if last_is_colour(self.shape) else (0, 1, 3, 4, 2)
        return made.permute(order).flatten(1)


def image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Channels, height, width. Raises ReconError for a shape that is no image, or one below 8x8."""
    shape = unflattened(shape)
    found = (1, *shape) if len(shape) == 2 else (shape[2], *shape[:2]) if last_is_colour(shape) else shape
    if len(found) != 3 or min(found[1:]) < LEAST:
        raise ReconError(
            f"--model conv takes images of at least {LEAST}x{LEAST}, and these samples have the shape {spell(shape)}.",
            "Take --model mlp, or give samples of shape HxW, CxHxW or HxWxC.",
        )
    return found  # type: ignore[return-value]


def last_is_colour(shape: tuple[int, ...]) -> bool:
    """Whether a shape is height, width, channels."""
    return len(shape) == 3 and shape[0] not in COLOURS and shape[2] in COLOURS


def pixels(x: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Rows (B, D) as images (B, C, H, W)."""
    channels, height, width = image(shape)
    return (
        x.reshape(-1, height, width, channels).movedim(3, 1) if last_is_colour(shape) else x.reshape(-1, channels, height, width)
    )


def half(size: int) -> int:
    """What a stride of 2 leaves."""
    return (size + 1) // 2


def linear(inputs: int, outputs: int, generator: Generator) -> nn.Linear:
    """Torch's own initialisation, U(-1/sqrt(inputs), 1/sqrt(inputs)), drawn from ``generator`` and from no other."""
    return drawn(nn.utils.skip_init(nn.Linear, inputs, outputs), generator)


def tempered(layer: nn.Linear, count: int) -> nn.Linear:
    """The same function, and from ``count`` = 784 inputs (or pixels) up one whose steps are as long as those of 784.

    A step of Adam moves a sum of x by lr times the sum of |x|, which grows with their number; so x is multiplied by
    784/count, the first weights by the inverse.
    """
    return layer if count <= MOST else Tempered(layer, count / MOST)


class Tempered(nn.Linear):
    """A linear layer of x/``times``, the first weights of which are so many times those of ``layer``."""

    times: Tensor

    def __init__(self, layer: nn.Linear, times: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = layer.in_features, layer.out_features
        self.weight, self.bias = nn.Parameter(layer.weight.detach() * times), layer.bias
        self.register_buffer("times", torch.tensor(times))

    def forward(self, x: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        return super().forward(x / self.times)


def drawn(layer: Layer, generator: Generator) -> Layer:
    """A layer with the weights that torch would give it, from ``generator``."""
    fan_in = next(layer.parameters())[0].numel()
    with torch.no_grad():
        for part in layer.parameters():
            part.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
    return layer
