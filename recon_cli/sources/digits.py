"""Real handwritten digits, bundled: nothing to download."""

from __future__ import annotations

from pathlib import Path

import numpy

from recon_cli.sources._base import Array, Source


class Digits(Source):
    """1,797 handwritten digits, 8 x 8 grey levels in [0, 1] (sixteenths), from the UCI repository.

    E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49, CC BY 4.0; the same images as
    scikit-learn's ``load_digits``, divided by 16. Shape (1797, 8, 8), float32.
    """

    def read(self) -> Array:
        with numpy.load(Path(__file__).with_suffix(".npz"), allow_pickle=False) as archive:
            images: Array = archive["images"]
        return images.astype(numpy.float32) / 16

    def describe(self) -> str:
        return "digits: 1,797 handwritten digits of 8x8 grey levels in [0, 1] (UCI, CC BY 4.0)"
