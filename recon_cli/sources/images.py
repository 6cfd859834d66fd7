"""Folders of images."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from pathlib import Path

import numpy

from recon_cli.errors import ReconError
from recon_cli.sources import Array, Source, guarded, unreadable

ENDINGS = (".png", ".jpg", ".jpeg")


class Images(Source):
    """``images:FOLDER`` (``images``, if not given), or the folder alone: its png and jpeg files, sorted by name.

    Folders inside it are left out. Grey levels have shape (N, height, width), colours (N, height, width, 3). All must
    be of one size, and all grey or all colour; palettes become colours, and transparency is dropped.
    """

    takes = "a folder"
    levels = True
    about = ""

    @classmethod
    def reads(cls, path: str) -> bool:
        return bool(files(path))

    def read(self) -> Array:
        folder = self.argument or "images"
        if not os.path.isdir(folder):
            what = "is a file" if os.path.exists(folder) else "does not exist"
            raise ReconError(f"images takes a folder, and {folder!r} {what}.", f"recon looked in {Path.cwd()}.")
        found = files(folder)
        if not found:
            raise ReconError(f"{folder} holds no image.", f"recon reads files that end in {', '.join(ENDINGS)}.")
        self.changed: Counter[str] = Counter()
        first = self._image(found[0])
        values = numpy.empty((len(found), *first.shape), first.dtype)
        for i, path in enumerate(found):
            image = self._image(path) if i else first
            if image.shape != first.shape or image.dtype != first.dtype:
                raise ReconError(
                    f"{path} is {spelled(image)}, and {found[0]} is {spelled(first)}.",
                    "All must be of one size, and all grey or all colour: convert or move those that differ.",
                )
            values[i] = image
        made = [f"{count:,} made {how}" for how, count in self.changed.items() if count]
        self.about = ", ".join([f"{folder}: {len(found):,} images of {spelled(first)}", *made])
        return values

    def _image(self, path: str) -> Array:
        """Grey levels or colours, in 8 bits; grey levels of 16 bits as they are."""
        from PIL import Image

        def opened() -> Array:
            with warnings.catch_warnings():
                warnings.simplefilter("error", Image.DecompressionBombWarning)
                image = Image.open(path, formats=("PNG", "JPEG"))
            with image:
                mode = image.mode
                if mode.startswith("I"):
                    return numpy.asarray(image).astype(numpy.uint16)
                wanted = "L" if mode in {"1", "L", "LA"} else "RGB"
                self.changed[f"from {mode} to {wanted}"] += mode != wanted
                return numpy.asarray(image.convert(wanted))

        return guarded(path, opened)

    def describe(self) -> str:
        return self.about


def files(folder: str) -> list[str]:
    """The images in a folder, sorted by name; none if it is no folder."""
    if not os.path.isdir(folder):
        return []
    try:
        with os.scandir(folder) as found:
            names = sorted(entry.name for entry in found)
    except OSError as error:
        raise unreadable(folder, error) from error
    return [os.path.join(folder, name) for name in names if name.lower().endswith(ENDINGS) and not name.startswith(".")]


def spelled(image: Array) -> str:
    """The size and kind of an image in words."""
    height, width = image.shape[:2]
    return f"{height}x{width} {'colours' if image.ndim == 3 else 'grey levels'}" + " of 16 bits" * (image.dtype.itemsize > 1)
