"""Arrays as numpy writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.sources import Array, Source

MAGIC = {b"\x93NUMPY": "an array", b"PK\x03\x04": "an archive of arrays", b"PK\x05\x06": "an archive of arrays"}


class Npy(Source):
    """``x.npy``: one array, memory-mapped (the file is never written), taken as it is. Never unpickles."""

    takes = "a path"

    def read(self) -> Array:
        return load(self.argument, "an array", mmap_mode="c")


def load(path: str, wanted: str, **how: Any) -> Any:
    """What numpy finds in a file that holds what is ``wanted``, or a ReconError that says why it cannot be read."""
    try:
        with open(path, "rb") as file:
            start = file.read(6)
    except FileNotFoundError:
        raise ReconError(f"There is no file {path!r}.", f"recon looked in {Path.cwd()}.") from None
    except OSError as error:
        raise unreadable(path, error) from error
    if start.startswith(b"\x80"):
        raise unreadable(path, ValueError("Object arrays"))
    found = next((what for magic, what in MAGIC.items() if start.startswith(magic)), None)
    if found is None:
        raise unreadable(path, ValueError("it is no file of numpy's"))
    if found != wanted:
        ending = ".npz" if found != "an array" else ".npy"
        raise ReconError(f"{path} holds {found}, not {wanted}.", f"Read it as what it is: {ending[1:]}:{path}, or rename it.")
    return guarded(path, lambda: numpy.load(path, allow_pickle=False, **how))


def guarded(path: str, read: Any) -> Any:
    """What ``read`` returns, or a ReconError: on a damaged file numpy and zipfile raise nearly anything."""
    try:
        return read()
    except MemoryError:
        raise
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> ReconError:
    """The error for a file that is there and cannot be read."""
    if "Object arrays" in str(error) or "Python objects" in str(error):
        return ReconError(
            f"{path} holds pickled objects, and unpickling a file can run any code.",
            "Save it as a plain array: numpy.save(path, array.astype('float32')).",
        )
    said = getattr(error, "strerror", None) or str(error).partition("\n")[0].strip(" .:") or type(error).__name__
    return ReconError(f"{path} cannot be read: {said}.", "It may be damaged, cut short, or of another format.")
