"""Data whose truth is known."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.regions import Outputs, Region
from recon_cli.identity.vectors import VectorOutputs
from recon_cli.sources._base import Array, Source, Values

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from recon_cli.identity.likelihood import Likelihood

SHAPE = (1000, 64)


class Synthetic(Source):
    """``synthetic:laplace:scale=0.2``: draws from that likelihood, 1,000 x 64, around means drawn inside its domain.

    As the reconstruction, ``synthetic`` alone is these means: ``--data synthetic:laplace --recon synthetic``. Float64,
    the same for the same seed.
    """

    takes = "a likelihood"
    by_ending = False

    @cached_property
    def likelihood(self) -> Likelihood:
        """The likelihood that is drawn from."""
        if not self.argument:
            raise ReconError("synthetic draws from a likelihood, and none is named.", "Name it: synthetic:laplace:scale=0.2.")
        return likelihoods.parse(self.argument)

    @property
    def length(self) -> int:
        """How many columns the draws have: as many as the likelihood says that a vector has."""
        return self.likelihood.length or SHAPE[1]

    def _draw(self) -> tuple[Array, Array]:
        """Return the data and their means, which come from the same generator, the means first."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        mu = inside(self.likelihood.domain, generator, (SHAPE[0], self.length))
        return self.likelihood.sample(mu, generator).numpy(), mu.numpy()

    def read(self) -> Array:
        return self._draw()[0]

    def beside(self, data: Source) -> Values:
        if self.argument:
            return self.read()
        if not isinstance(data, Synthetic):
            raise ReconError(
                "synthetic stands for the true means, and these data have none that are known.",
                "Draw the data too, as in --data synthetic:laplace:scale=0.2 --recon synthetic.",
            )
        return data._draw()[1]

    def describe(self) -> str:
        return f"{SHAPE[0]:,} x {self.length} draws from {self.likelihood}, seed {self.seed}"


def inside(region: Region, generator: Generator, shape: tuple[int, int] = SHAPE) -> Tensor:
    """Return means anywhere in a bounded region, from 0.1 to 4.1 above an end, or standard normal."""
    import torch

    if isinstance(region, VectorOutputs):
        columns = ([inside(part, generator, (shape[0], 1)) for _, part in region.of(k)] for k in range(shape[1]))
        return torch.stack([torch.cat(column, dim=1) for column in columns], dim=1)
    if isinstance(region, Outputs):
        return torch.stack([inside(part, generator) for _, part in region.parts], dim=-1)
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    if math.isfinite(region.high - region.low):
        return region.keep(region.low + (region.high - region.low) * uniform)
    if math.isfinite(region.low):
        return region.low + 0.1 + 4 * uniform
    return torch.randn(shape, generator=generator, dtype=torch.float64)
