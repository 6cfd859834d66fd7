"""A noise that the decoder gives: any family with a sigma or a scale, that number a second output for every element."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.fitting import level
from recon_cli.likelihood import Likelihood, elementwise
from recon_cli.losses import Link, Loss
from recon_cli.regions import POSITIVE, Outputs

if TYPE_CHECKING:
    from torch import Generator, Tensor

SUFFIX = "-by-network"


def by_network(claim: Likelihood) -> Likelihood:
    """``claim``, its level (sigma or scale) one number for each element of each sample; its other numbers as they are.

    What the decoder gives is mu and the level along a last axis, (..., 2); its raw output that of mu, and the level's logarithm.

    >>> from recon_cli.likelihoods.laplace import Laplace
    >>> by_network(Laplace()).nll([1.0], [[0.5, 0.2]])
    tensor([1.5837], dtype=torch.float64)
    """
    size = level(claim) or ""
    outputs = Outputs(parts=(("mu", claim.domain), (size, POSITIVE)))

    def forward(mu: Tensor) -> Tensor:
        import torch

        return torch.stack([claim.link.forward(mu[..., 0]), mu[..., 1].log()], dim=-1)

    def inverse(raw: Tensor) -> Tensor:
        import torch

        return torch.stack([claim.link.inverse(raw[..., 0]), raw[..., 1].exp()], dim=-1)

    def at(mu: Tensor) -> Likelihood:
        return dataclasses.replace(claim, **{size: mu[..., 1]})  # type: ignore[type-var]

    class Nll(Loss):
        """-log p itself: with a noise that moves there is no other loss."""

        name = f"{claim.name}-nll"
        formula = torch = f"-log p(x | mu, {size})"
        support = claim.support
        head = ("mu", size)
        domain = outputs

        @elementwise
        def values(self, x: Tensor, prediction: Tensor) -> Tensor:
            return at(prediction).nll(x, prediction[..., 0])

    @dataclass(frozen=True)
    class ByNetwork(Likelihood):
        """The family of ``claim``."""

        loss = Nll()
        density = claim.density
        head = Nll.head
        support = claim.support
        domain = outputs
        link = Link(f"log {size}", "", forward, inverse)

        @elementwise
        def nll(self, x: Tensor, mu: Tensor) -> Tensor:
            return at(mu).nll(x, mu[..., 0])

        @elementwise
        def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
            return self.nll(x, self.link.inverse(raw))

        @property
        def slope(self) -> float:
            return 1.0

        def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
            return at(mu).moments(mu[..., 0])

        def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
            return at(mu).sample(mu[..., 0], generator)

    ByNetwork.name = claim.name + SUFFIX
    return ByNetwork()
