"""Folders of images."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.runtime.files import read_file, unreadable
from recon_cli.runtime.images import pixels, spelled
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Array, Source

ENDINGS = (".png", ".jpg", ".jpeg")
OTHERS = (".webp", ".gif", ".bmp", ".tif", ".tiff", ".jfif", ".jpe", ".avif", ".heic", ".ppm", ".pgm")  # not read


class Images(Source):
    """``images:FOLDER`` (``images``, if not given), or the folder alone: its png and jpeg files, sorted by name.

    Folders inside it and other formats are left out, and said. Grey levels have shape (N, height, width), colours
    (N, height, width, 3). All must be of one size, and all grey or all colour; palettes become colours, transparency is
    dropped, and colours of 16 bits are read in 8.
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
        paths = files(folder)
        if not paths:
            raise ReconError(f"{folder} holds no image.", f"recon reads files that end in {', '.join(ENDINGS)}.")
        self.changed: Counter[str] = Counter()
        first = self._image(paths[0])
        afford(folder, len(paths) * first.nbytes, sum(os.path.getsize(path) for path in paths if os.path.exists(path)))
        values = numpy.empty((len(paths), *first.shape), first.dtype)
        for i, path in enumerate(paths):
            image = self._image(path) if i else first
            if image.shape != first.shape or image.dtype != first.dtype:
                raise ReconError(
                    f"{path} is {spelled(image)}, and {paths[0]} is {spelled(first)}.",
                    "All must be of one size, and all grey or all colour: convert or move those that differ.",
                )
            values[i] = image
        changes = [f"{count:,} {how}" for how, count in self.changed.items()]
        self.remarks = left_out(folder)
        self.about = ", ".join([f"{folder}: {len(paths):,} images of {spelled(first)}", *changes])
        return values

    def _image(self, path: str) -> Array:
        """Return one image; what reading it changed is counted."""
        image, changes = read_file(path, lambda: pixels(path))
        self.changed.update(changes)
        return image

    def describe(self) -> str:
        return self.about


def left_out(folder: str) -> tuple[str, ...]:
    """Return what is to be said of images in a folder that are of other formats, or in folders of their own."""
    others = Counter(Path(path).suffix[1:].lower() for path in files(folder, OTHERS))
    inner = [name for name in os.listdir(folder) if not name.startswith(".") and files(os.path.join(folder, name))]
    sentences = []
    if others:
        kinds = listed([f"{count:,} .{kind}" for kind, count in sorted(others.items())])
        sentences.append(f"{folder}: {kinds} in it are left out; recon reads files that end in {', '.join(ENDINGS)}.")
    if inner:
        folders = listed(sorted(inner))
        sentences.append(f"{folder}: images in folders inside it ({folders}) are left out; give each folder of its own.")
    return tuple(sentences)


def files(folder: str, endings: tuple[str, ...] = ENDINGS) -> list[str]:
    """Return the paths of the images in a folder, sorted by name; none if it is no folder."""
    if not os.path.isdir(folder):
        return []
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries)
    except OSError as error:
        raise unreadable(folder, error) from error
    return [os.path.join(folder, name) for name in names if name.lower().endswith(endings) and not name.startswith(".")]
