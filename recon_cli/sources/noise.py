"""Reconstructions whose error is known."""

from __future__ import annotations

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.parametric import as_number
from recon_cli.sources._base import Array, Reconstruction


class Noise(Reconstruction):
    """``noise:S``: the data themselves plus Gaussian noise of standard deviation S >= 0 (0.1 if not given)."""

    takes = "a standard deviation"

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        del train  # nothing is fitted
        size = as_number("The noise of noise:S", self.argument or "0.1")
        if size < 0:
            raise ReconError(f"noise:{self.argument} is no standard deviation.", "Give a number from 0 up, as in noise:0.1.")
        return x + size * numpy.random.default_rng(seed).standard_normal(x.shape)

    def describe(self) -> str:
        return "the samples themselves plus Gaussian noise"
