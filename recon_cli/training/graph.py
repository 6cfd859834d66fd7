"""The gradient of a batch as one graph for torch's compiler: of parameters, rows and draws, and of nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.func import functional_call, grad_and_value

if TYPE_CHECKING:
    from torch import Tensor


class Graph(nn.Module):
    """``terms`` (nll, KL, what is paid of it, noise) of a batch as a function of the parameters of ``model`` and ``noise``.

    Forward and backward are one graph, where autograd would make two with everything between them written down.
    """

    def __init__(self, model: nn.Module, noise: nn.Module, terms: Callable[..., tuple[Tensor, ...]]) -> None:
        super().__init__()
        self.model, self.noise, self.terms = model, noise, terms

    def forward(self, x: Tensor, eps: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        """Return what is minimised, and nll, KL and noise."""
        nll, kl, paid, noise = self.terms(x, eps)
        return nll + weight * paid, torch.stack([nll, kl, noise])

    def gradient(
        self, parts: Sequence[Tensor], x: Tensor, eps: Tensor, weight: Tensor, buffers: Sequence[Tensor] = ()
    ) -> tuple[Sequence[Tensor], Tensor]:
        """Return the gradient for each of ``parts``, the parameters in their order; and nll, KL and noise.

        The ``buffers`` are its own, unless given.
        """
        names = [name for name, _ in self.named_parameters()]
        others = {name: buffer for (name, _), buffer in zip(self.named_buffers(), buffers, strict=False)}

        def cost(parts: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
            sides: tuple[Tensor, Tensor] = functional_call(
                self, {**dict(zip(names, parts, strict=True)), **others}, (x, eps, weight)
            )
            return sides

        slopes, (_, figures) = grad_and_value(cost, has_aux=True)(parts)
        return slopes, figures
