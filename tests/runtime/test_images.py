"""Pictures keep their colours, in the gallery and in the PNG."""

from __future__ import annotations

import io

import numpy
import pytest
from PIL import Image

from recon_cli.runtime.images import gallery, png

RED = numpy.zeros((2, 3, 8, 6), dtype=numpy.float32)
RED[:, 0] = 1.0


@pytest.mark.parametrize(("rows", "shape"), [(RED, (3, 8, 6)), (numpy.moveaxis(RED, 1, 3), (8, 6, 3))], ids=["first", "last"])
def test_colours_stay(rows: numpy.ndarray, shape: tuple[int, ...]) -> None:
    picture = gallery("p", [("x", rows.reshape(2, -1)), ("μ", 0.5 * rows.reshape(2, -1))], shape)
    assert picture is not None
    assert picture.rows[0][1][0][0][0] == [1.0, 0.0, 0.0]
    assert picture.rows[1][1][1][7][5] == [0.5, 0.0, 0.0]
    with Image.open(io.BytesIO(png(picture))) as image:
        assert image.mode == "RGB"
        assert image.getpixel((0, 0)) == (255, 0, 0)
        assert image.getpixel((0, image.height - 1)) == (128, 0, 0)
        assert image.size == ((2 * 7 - 1) * 8, (2 * 9 - 1) * 8)


def test_grey_stays_grey() -> None:
    picture = gallery("p", [("x", numpy.linspace(0, 1, 64).reshape(1, 64))], (1, 8, 8))
    assert picture is not None
    with Image.open(io.BytesIO(png(picture))) as image:
        assert image.mode == "L"
