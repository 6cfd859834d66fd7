"""Arrays as numpy writes them."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.losses import spell
from recon_cli.sources import Array, Found, Source, guarded
from recon_cli.stored import Lazy, Stored

MAGIC = {b"\x93NUMPY": "an array", b"PK\x03\x04": "an archive of arrays", b"PK\x05\x06": "an archive of arrays"}


class Npy(Source):
    """``x.npy``: one array, read piece by piece where it is large, taken as it is. Never unpickles."""

    takes = "a path"

    def read(self) -> Array | Lazy:
        values = load(self.argument, "an array", mmap_mode="r")
        alone(self.argument, values)
        if not isinstance(values, numpy.memmap) or not values.flags.c_contiguous or not values.shape:
            return numpy.array(values)
        return Stored(self.argument, values.dtype, values.shape, values.offset)


def alone(path: str, values: Any) -> None:
    """Raise ReconError where bytes follow those of a mapped array: numpy would read none of them."""
    behind = os.path.getsize(path) - values.offset - values.nbytes if isinstance(values, numpy.memmap) and values.size else 0
    if behind > 0:
        with open(path, "rb") as file:
            file.seek(-behind, os.SEEK_END)
            again = MAGIC.get(file.read(6))
        raise ReconError(
            f"{path} holds {again or f'{behind:,} bytes'} behind its array of shape {spell(values.shape)}.",
            "Save each array in a file of its own, or all in one: numpy.savez(path, x=x, y=y)."
            if again
            else "Save it again with numpy.save: what is behind belongs to nothing.",
        )


def load(path: str, wanted: str, **how: Any) -> Any:
    """What numpy finds in a file that holds what is ``wanted``, or a ReconError that says why it cannot be read."""

    def read() -> Any:
        with open(path, "rb") as file:
            start = file.read(6)
        if start.startswith(b"\x80"):
            raise pickled(path)
        found = next((what for magic, what in MAGIC.items() if start.startswith(magic)), None)
        if found is None:
            raise ValueError("it is no file of numpy's")
        if found != wanted:
            ending = "npz" if found != "an array" else "npy"
            raise ReconError(f"{path} holds {found}, not {wanted}.", f"Read it as what it is: {ending}:{path}, or rename it.")
        return plain(path, lambda: numpy.load(path, allow_pickle=False, **how))

    return guarded(path, read)


def plain(path: str, read: Callable[[], Found]) -> Found:
    """What ``read`` returns, where numpy finds no pickled objects."""
    try:
        return read()
    except ValueError as error:
        if "Object arrays" in str(error) or "Python objects" in str(error):
            raise pickled(path) from error
        raise


def pickled(path: str) -> ReconError:
    """The error for what could only be unpickled."""
    return ReconError(
        f"{path} holds pickled objects, and unpickling a file can run any code.",
        "Save it as a plain array: numpy.save(path, array.astype('float32')).",
    )
