"""Files read whole or not at all: what is wrong with one, as a sentence."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import file_size

Content = TypeVar("Content")


def read_file(path: str, read: Callable[[], Content]) -> Content:
    """Return what ``read`` makes of a file, or raise a ReconError: on a damaged file libraries raise nearly anything."""
    try:
        if not file_size(path):
            raise ValueError("it has no bytes")
        return read()
    except (MemoryError, ReconError):
        raise
    except FileNotFoundError:
        raise ReconError(f"There is no file {path!r}.", f"recon looked in {Path.cwd()}.") from None
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> ReconError:
    """Return the error for a file that is there and cannot be read."""
    return ReconError(f"{path} cannot be read: {cause(error)}.", "It may be damaged, cut short, or of another format.")


def cause(error: Exception) -> str:
    """Return in a few words why a library failed: the system's reason, the first line of its message, or its class."""
    return getattr(error, "strerror", None) or str(error).partition("\n")[0].strip(" .:") or type(error).__name__
