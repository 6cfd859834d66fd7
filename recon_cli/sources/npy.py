"""Arrays as numpy writes them."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy

from recon_cli.errors import ReconError
from recon_cli.sources import Array, Source


class Npy(Source):
    """``x.npy``: one array, memory-mapped (the file is never written), taken as it is. Never unpickles."""

    def read(self) -> Array:
        return load(self.argument, memory_map="c")


def load(path: str, memory_map: str | None = None) -> Array:
    """What ``numpy.load`` finds in a file, or a ReconError that says why it cannot be read."""
    try:
        found = numpy.load(path, mmap_mode=memory_map, allow_pickle=False)
    except FileNotFoundError:
        raise ReconError(f"There is no file {path!r}.", f"recon looked in {Path.cwd()}.") from None
    except (ValueError, EOFError, BadZipFile, OSError) as error:
        raise unreadable(path, error) from error
    return found


def unreadable(path: str, error: Exception) -> ReconError:
    """The error for a file that is there and cannot be read."""
    if "allow_pickle" in str(error) or "Object arrays" in str(error):
        return ReconError(
            f"{path} holds pickled objects, and unpickling a file can run any code.",
            "Save it as a plain array: numpy.save(path, array.astype('float32')).",
        )
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0].rstrip(".")
    return ReconError(f"{path} cannot be read: {reason}.", "It may be damaged, cut short, or of another format.")
