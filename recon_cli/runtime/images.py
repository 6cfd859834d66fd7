"""Pictures as samples, and samples as pictures: for a terminal, and as PNG."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

import numpy

from recon_cli.identity.shapes import unflattened
from recon_cli.report import Picture
from recon_cli.runtime.limits import afford

if TYPE_CHECKING:
    from PIL.Image import Image

Array = numpy.ndarray
MOST = 12  # images side by side
WIDE = 4096  # pixels: no picture is wider
TILE = 64  # pixels: smaller images are enlarged to at least this
COLOURS = (1, 3, 4)  # channels
LEAST = 4  # pixels: what is smaller is no image
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "PPM")  # of Pillow's: others call programs, or read vectors
LUMA = (0.299, 0.587, 0.114)  # ITU-R 601-2, as Pillow makes grey of colours


def pixels(file: str | BytesIO) -> tuple[Array, tuple[str, ...]]:
    """Return an image as grey levels (height, width) or colours (height, width, 3), and what that changed, in words.

    In 8 bits, which is all that Pillow has for colours; grey levels of 16 bits, and floats, as they are. Palettes become
    colours, transparency and all frames but the first are dropped, and a photograph is turned as its EXIF says. Raises
    what Pillow raises for a file that is damaged or of too many pixels, and ReconError for one that unpacks to far more.
    """
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        image = Image.open(file, formats=FORMATS)
    with image:
        name, packed = (file, os.path.getsize(file)) if isinstance(file, str) else ("an image", len(file.getbuffer()))
        afford(name, image.width * image.height * max(len(image.getbands()), 1 + 2 * (image.mode == "P")), packed)
        layout = str(image.tile[0][3]) if image.tile else ""  # as in the file: "RGB;16B"
        mode = "LA" if layout.startswith("LA") else image.mode
        frames = getattr(image, "n_frames", 1)
        changes = [f"cut to the first of {frames:,} frames"] if frames > 1 else []
        if "transparency" in image.info:
            changes.append("without its transparency")
        if mode.startswith(("I", "F")):
            values = numpy.asarray(image)
            if mode[0] == "I" and values.min() >= 0 and values.max() < 1 << 16:
                values = values.astype(numpy.uint16)
        else:
            mode_read = "L" if mode in {"1", "L", "LA"} else "RGB"
            deep = "16" in layout
            if deep or mode != mode_read:
                changes.insert(
                    0, f"made from {mode} of 16 bits to {mode_read} of 8" if deep else f"made from {mode} to {mode_read}"
                )
            values = numpy.asarray(image.convert(mode_read))
        upright = turned(values, orientation(image))
        return upright, (*changes, *["turned as the EXIF says"] * (upright is not values))


def fitted(values: Array, size: tuple[int, int] | None, colour: str | None) -> tuple[Array, tuple[str, ...]]:
    """Return an image resized to ``size`` (height, width), grey or ``rgb``, and what changed.

    Cut to the shape of that size around its middle, then resized by Pillow's bicubic filter, which averages where it shrinks.
    """
    from PIL import Image, ImageOps

    changes = []
    if colour == "grey" and values.ndim == 3:
        values = numpy.rint(values @ numpy.array(LUMA)).astype(values.dtype)
        changes.append("made grey")
    elif colour == "rgb" and values.ndim == 2:
        values = numpy.repeat(values[:, :, None], 3, axis=2)
        changes.append("made three equal colours")
    if size is not None and values.shape[:2] != size:
        planes = values[:, :, None] if values.ndim == 2 else values
        resized = [
            numpy.asarray(ImageOps.fit(Image.fromarray(plane), (size[1], size[0]), Image.Resampling.BICUBIC))
            for plane in numpy.moveaxis(planes.astype(numpy.float32), 2, 0)
        ]
        if values.dtype.kind in "iu":
            limits = numpy.iinfo(values.dtype)
            resized = [numpy.rint(plane).clip(limits.min, limits.max) for plane in resized]
        values = numpy.stack(resized, axis=2).reshape(*size, *values.shape[2:]).astype(values.dtype)
        changes.append(f"resized to {size[0]}x{size[1]}, the middle cut to its shape")
    return values, tuple(changes)


def orientation(image: Image) -> int:
    """Return how a camera was held, 1 to 8, by the EXIF of an image; 1, upright, where there is none that can be read."""
    try:
        return int(image.getexif().get(0x0112, 1))
    except Exception:  # Pillow raises nearly anything on damaged EXIF, which no viewer heeds either
        return 1


def turned(values: Array, orientation: int) -> Array:
    """Return an image as it is seen: mirrored and turned by what EXIF calls its orientation."""
    if orientation in (5, 6, 7, 8):
        values = values.swapaxes(0, 1)
    across, down = orientation in (2, 3, 6, 7), orientation in (3, 4, 7, 8)
    if orientation not in range(2, 9):
        return values
    return numpy.ascontiguousarray(values[:: -1 if down else 1, :: -1 if across else 1])


def spelled(image: Array) -> str:
    """Return the size and kind of an image in words."""
    height, width = image.shape[:2]
    return f"{height}x{width} {'colours' if image.ndim == 3 else 'grey levels'}" + {1: "", 2: " of 16 bits"}.get(
        image.dtype.itemsize, f" in {image.dtype}"
    )


def images(values: Array, shape: tuple[int, ...]) -> Array | None:
    """Return (N, height, width) or, in colour, (N, height, width, 3) from samples of ``shape``, flat squares included.

    None for what is no image. Colours come first or last; a single channel is grey, and transparency is dropped.
    """
    shape = unflattened(shape)
    values = values.reshape(len(values), *shape)
    if len(shape) == 3 and (shape[0] in COLOURS or shape[2] in COLOURS):
        values = values if shape[2] in COLOURS and shape[0] not in COLOURS else numpy.moveaxis(values, 1, 3)
        values = values[..., 0] if values.shape[3] == 1 else values[..., :3]
    is_image = values.ndim == 3 or (values.ndim == 4 and values.shape[3] == 3)
    return values if is_image and min(values.shape[1:3]) >= LEAST else None


def gallery(title: str, rows: Sequence[tuple[str, Array]], shape: tuple[int, ...]) -> Picture | None:
    """Return rows of samples one above another, the first few of each; None where they are no images of ``shape``.

    Black and white are 0 and 1 where the first row keeps to them, else its least and most.
    """
    parts = [(label, part) for label, values in rows if (part := images(values[:MOST], shape)) is not None]
    if len(parts) < len(rows):
        return None
    above = parts[0][1]
    low, high = (0.0, 1.0) if above.min() >= 0 and above.max() <= 1 else (above.min(), above.max())
    count = max(1, WIDE // (above.shape[2] + 1))
    return Picture(title, [(label, ((part[:count] - low) / (high - low or 1)).clip(0, 1).tolist()) for label, part in parts])


def png(picture: Picture) -> bytes:
    """Return the picture as a PNG, its pixels enlarged whole (nearest neighbour), a dark grey grid between images."""
    from PIL import Image

    tiles = numpy.array([row for _, row in picture.rows])
    rows, count, height, width = tiles.shape[:4]
    scale = max(1, TILE // max(height, width))
    grid = numpy.full((rows, height + 1, count, width + 1, *tiles.shape[4:]), 0.25)
    grid[:, :height, :, :width] = tiles.swapaxes(1, 2)
    flat = grid.reshape(rows * (height + 1), count * (width + 1), *tiles.shape[4:])[:-1, :-1]
    levels = numpy.rint(flat * 255).astype(numpy.uint8).repeat(scale, axis=0).repeat(scale, axis=1)
    file = BytesIO()
    Image.fromarray(levels).save(file, format="PNG")
    return file.getvalue()
