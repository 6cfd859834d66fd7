"""Layers that several models are made of, their weights drawn from a generator that is given, and from no other."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, TypeVar, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from torch import Generator, Tensor

MOST = 28 * 28  # inputs of a layer, or pixels, for which the usual learning rates are meant
BEYOND = 1e15  # whose square is a number in float32
FAR = 8.0  # root mean squares of all rows: the length from which on a row is an outlier
Layer = TypeVar("Layer", bound=nn.Module)


def mlp(inputs: int, hidden: int, outputs: int, generator: Generator) -> nn.Sequential:
    """Return one SiLU layer between two linear ones."""
    return nn.Sequential(tempered(linear(inputs, hidden, generator), inputs), nn.SiLU(), linear(hidden, outputs, generator))


def linear(inputs: int, outputs: int, generator: Generator) -> nn.Linear:
    """Return a linear layer, its weights as torch's own initialisation has them: U(-1/sqrt(inputs), 1/sqrt(inputs))."""
    return initialised(unset(nn.Linear, inputs, outputs), generator)


def unset(kind: type[Layer], *arguments: Any, **options: Any) -> Layer:
    """Return a layer whose numbers are not set yet, so that no draw is the caller's.

    As ``torch.nn.utils.skip_init``, which imports sympy (a third of a second).
    """
    bare = cast(type[Layer], type(kind.__name__, (kind,), {"reset_parameters": lambda _: None}))
    layer = bare(*arguments, **options)
    layer.__class__ = kind
    return layer


def tempered(layer: nn.Linear, count: int) -> nn.Linear:
    """Return the same function, and from ``count`` = 784 inputs (or pixels) up one whose steps are as long as those of 784.

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
        """Return (..., outputs) of ``x``, (..., inputs)."""
        return super().forward(x / self.times)


def initialised(layer: Layer, generator: Generator) -> Layer:
    """Return the layer with weights such as torch would give it, drawn from ``generator``."""
    fan_in = next(layer.parameters())[0].numel()
    with torch.no_grad():
        for part in layer.parameters():
            part.uniform_(-1 / math.sqrt(fan_in), 1 / math.sqrt(fan_in), generator=generator)
    return layer


def near(x: Tensor) -> Tensor:
    """Return rows (B, D) of root mean square about 1 as they are; longer ones than ``FAR`` times that drawn near, by a logarithm.

    An encoder extrapolates, and e to the log variance that it gives for a row far from all others is beyond any number.
    """
    far = FAR * math.sqrt(x.shape[1])
    asked = x.device.type == "cpu" and not torch.compiler.is_compiling() and len(x) > 0  # sooner done than multiplying
    if asked and bool(torch.linalg.vector_norm(x, dim=1).amax() <= far):
        return x
    x = x.clamp(-BEYOND, BEYOND)
    length: Tensor = (torch.linalg.vector_norm(x, dim=1, keepdim=True) / far).clamp(min=1)
    return x * ((1 + length.log()) / length)
