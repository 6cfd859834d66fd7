"""Reconstructions without a network: the best linear ones."""

from __future__ import annotations

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.parametric import as_whole
from recon_cli.sources._base import Array, Reconstruction


class Pca(Reconstruction):
    """``pca:K``: projection on the K leading principal components of the training samples.

    The linear autoencoder's optimum: of all K-dimensional linear reconstructions the one of least
    squared error. Without a number K is 16, or a quarter of the dimensions where these are fewer.
    Raises ReconError unless 0 < K <= the number of training samples and of dimensions.
    """

    takes = "how many components"

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        del seed  # nothing is drawn
        flat = train.reshape(len(train), -1).astype(numpy.float64)
        count = self._count(*flat.shape)
        mean = flat.mean(axis=0)
        centred = flat - mean
        with numpy.errstate(over="ignore", invalid="ignore"):
            products = centred.T @ centred if flat.shape[1] <= len(flat) else centred @ centred.T
        if not numpy.isfinite(products).all():
            raise ReconError(
                f"The values are too large for principal components: up to {abs(flat).max():g}, and their squares overflow.",
                "Rescale the data.",
            )
        if flat.shape[1] <= len(flat):
            axes = numpy.linalg.eigh(products)[1][:, : -count - 1 : -1]
        else:
            axes = numpy.linalg.svd(centred, full_matrices=False)[2][:count].T
        projections: Array = (x.reshape(len(x), -1) - mean) @ axes @ axes.T + mean
        return projections.reshape(x.shape)

    def _count(self, samples: int, dimensions: int) -> int:
        most = min(samples, dimensions)
        if not self.argument:
            self.argument = str(min(16, max(1, most // 4)))
        count = as_whole(self.argument) or 0
        if not 0 < count <= most:
            raise ReconError(
                f"pca:{self.argument} asks for no possible number of components.",
                f"These data allow 1 to {most}: {samples:,} training samples of {dimensions:,} elements.",
            )
        return count

    def describe(self) -> str:
        return f"{self.argument} principal components of the other samples"
