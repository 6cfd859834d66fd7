"""Data whose truth is known."""

from __future__ import annotations

import math
from functools import cached_property
from typing import TYPE_CHECKING

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.regions import Outputs, Region
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

    def _draw(self) -> tuple[Array, Array]:
        """Return the data and their means, which come from the same generator, the means first."""
        import torch

        generator = torch.Generator().manual_seed(self.seed)
        mu = inside(self.likelihood.domain, generator)
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
        return f"{SHAPE[0]:,} x {SHAPE[1]} draws from {self.likelihood}, seed {self.seed}"


def inside(region: Region, generator: Generator) -> Tensor:
    """Return means anywhere in a bounded region, from 0.1 to 4.1 above an end, or standard normal."""
    import torch

    if isinstance(region, Outputs):
        return torch.stack([inside(part, generator) for _, part in region.parts], dim=-1)
    uniform = torch.rand(SHAPE, generator=generator, dtype=torch.float64)
    if math.isfinite(region.high - region.low):
        return region.keep(region.low + (region.high - region.low) * uniform)
    if math.isfinite(region.low):
        return region.low + 0.1 + 4 * uniform
    return torch.randn(SHAPE, generator=generator, dtype=torch.float64)
