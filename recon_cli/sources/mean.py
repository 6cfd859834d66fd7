"""The least a model can do."""

from __future__ import annotations

import numpy

from recon_cli.sources._base import Array, Reconstruction


class Mean(Reconstruction):
    """``mean``: every reconstruction is the mean of the training samples."""

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        del seed  # nothing is drawn
        return numpy.broadcast_to(train.mean(axis=0, dtype=numpy.float64), x.shape).copy()

    def describe(self) -> str:
        return "the mean of the other samples"
