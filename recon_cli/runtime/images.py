"""Pictures as samples, and samples as pictures: for a terminal, and as PNG."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Sequence
from typing import Any, BinaryIO

import numpy

from recon_cli.identity.shapes import unflattened
from recon_cli.report import Picture
from recon_cli.runtime.limits import afford

Array = numpy.ndarray
MOST = 12  # images side by side
WIDE = 4096  # pixels: no picture is wider
TILE = 64  # pixels: smaller images are enlarged to at least this
COLOURS = (1, 3, 4)  # channels
LEAST = 4  # pixels: what is smaller is no image


def pixels(file: str | BinaryIO) -> tuple[Array, tuple[str, ...]]:
    """A png or jpeg as grey levels (height, width) or colours (height, width, 3), and what that changed, in words.

    In 8 bits, which is all that Pillow has for colours; grey levels of 16 bits as they are. Palettes become colours,
    transparency and all frames but the first are dropped, and a photograph is turned as its EXIF says. Raises what Pillow
    raises for a file that is damaged or of too many pixels, and ReconError for one that unpacks to far more than it is.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(file, formats=("PNG", "JPEG"))
    with image:
        name, packed = (file, os.path.getsize(file)) if isinstance(file, str) else ("an image", len(file.getbuffer()))
        afford(name, image.width * image.height * max(len(image.getbands()), 1 + 2 * (image.mode == "P")), packed)
        layout = str(image.tile[0][3]) if image.tile else ""  # as in the file: "RGB;16B"
        mode = "LA" if layout.startswith("LA") else image.mode
        frames = getattr(image, "n_frames", 1)
        said = [f"cut to the first of {frames:,} frames"] if frames > 1 else []
        if "transparency" in image.info:
            said.append("without its transparency")
        if mode.startswith("I"):
            found = numpy.asarray(image).astype(numpy.uint16)
        else:
            wanted = "L" if mode in {"1", "L", "LA"} else "RGB"
            deep = "16" in layout
            if deep or mode != wanted:
                said.insert(0, f"made from {mode} of 16 bits to {wanted} of 8" if deep else f"made from {mode} to {wanted}")
            found = numpy.asarray(image.convert(wanted))
        upright = turned(found, orientation(image))
        return upright, (*said, *["turned as the EXIF says"] * (upright is not found))


def orientation(image: Any) -> int:
    """How a camera was held, 1 to 8, by the EXIF of an image; 1, upright, where there is none or none that can be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF, which no viewer heeds either
        return 1


def turned(values: Array, how: int) -> Array:
    """An image as it is seen: mirrored and turned by what EXIF calls its orientation."""
    if how in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    across, down = how in (2, 3, 6, 7), how in (3, 4, 7, 8)
    return numpy.ascontiguousarray(values[:: -1 if down else 1, :: -1 if across else 1]) if how in range(2, 9) else values


def spelled(image: Array) -> str:
    """The size and kind of an image in words."""
    height, width = image.shape[:2]
    return f"{height}x{width} {'colours' if image.ndim == 3 else 'grey levels'}" + " of 16 bits" * (image.dtype.itemsize > 1)


def images(values: Array, shape: tuple[int, ...]) -> Array | None:
    """(N, height, width) from samples of ``shape``, flat squares included; None for what is no image.

    Colours, first or last, are averaged.
    """
    shape = unflattened(shape)
    found = values.reshape(len(values), *shape)
    if len(shape) == 3 and (shape[0] in COLOURS or shape[2] in COLOURS):
        found = found.mean(axis=1 if shape[0] in COLOURS else 3)
    return found if found.ndim == 3 and min(found.shape[1:]) >= LEAST else None


def gallery(title: str, rows: Sequence[tuple[str, Array]], shape: tuple[int, ...]) -> Picture | None:
    """Rows of samples one above another, the first few of each; None where they are no images of ``shape``.

    Black and white are 0 and 1 where the first row keeps to them, else its least and most.
    """
    found = [(label, images(values[:MOST], shape)) for label, values in rows]
    above = found[0][1]
    if above is None or any(part is None for _, part in found):
        return None
    low, high = (0.0, 1.0) if above.min() >= 0 and above.max() <= 1 else (above.min(), above.max())
    count = max(1, WIDE // (above.shape[2] + 1))
    shown = [(label, ((part[:count] - low) / (high - low or 1)).clip(0, 1).tolist()) for label, part in found]
    return Picture(title, shown)


def png(shown: Picture) -> bytes:
    """The picture as a PNG, its pixels enlarged whole (nearest neighbour), a dark grey grid between images."""
    from PIL import Image

    tiles = numpy.array([row for _, row in shown.rows])
    rows, count, height, width = tiles.shape
    scale = max(1, TILE // max(height, width))
    grid = numpy.full((rows, height + 1, count, width + 1), 0.25)
    grid[:, :height, :, :width] = tiles.transpose(0, 2, 1, 3)
    flat = grid.reshape(rows * (height + 1), count * (width + 1))[:-1, :-1]
    levels = numpy.rint(flat * 255).astype(numpy.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    file = io.BytesIO()
    Image.fromarray(levels).save(file, format="PNG")
    return file.getvalue()
