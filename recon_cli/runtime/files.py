"""Files read whole or not at all: what is wrong with one, as a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import regular

Found = TypeVar("Found")


def read_file(path: str, read: Callable[[], Found]) -> Found:
    """What ``read`` makes of a file, or a ReconError: on a damaged file libraries raise nearly anything."""
    try:
        if not regular(path):
            raise ValueError("it has no bytes")
        return read()
    except (MemoryError, ReconError):
        raise
    except FileNotFoundError:
        raise ReconError(f"There is no file {path!r}.", f"recon looked in {Path.cwd()}.") from None
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> ReconError:
    """The error for a file that is there and cannot be read."""
    said = getattr(error, "strerror", None) or str(error).partition("\n")[0].strip(" .:") or type(error).__name__
    return ReconError(f"{path} cannot be read: {said}.", "It may be damaged, cut short, or of another format.")
