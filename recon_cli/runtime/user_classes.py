"""Classes that users wrote, by ``FILE.py:Class`` or ``package.module:Class``."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

from recon_cli.errors import ReconError
from recon_cli.runtime.checksums import digest
from recon_cli.runtime.user_code import import_file, no_such_name


def looked_up(word: str, taker: str = "--model") -> tuple[Path, str]:
    """Return the file that ``FILE.py:Class`` or ``package.module:Class`` names, and its SHA-256; not a line of it is run.

    Raises ReconError where it is not to be had.
    """
    place, _, name = word.rpartition(":")
    path = Path(place)
    if not place or not name:
        raise ReconError(f"{word!r} names no class.", "Write FILE.py:Class or package.module:Class.")
    if path.suffix != ".py":
        path = module_path(place)
    try:
        return path, digest(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ReconError(
            f"The file {str(path)!r}, of which {taker} takes {name}, cannot be read: {getattr(error, 'strerror', error)}.",
            f"recon looked in {Path.cwd()}.",
        ) from error


def find(word: str, taker: str = "--model") -> tuple[Callable[..., Any], str]:
    """Return the class that ``FILE.py:Class`` or ``package.module:Class`` names, and the SHA-256 of its file.

    Raises ReconError where it is not to be had.
    """
    path, checksum = looked_up(word, taker)
    place, _, name = word.rpartition(":")
    try:
        names = import_file(path) if path == Path(place) else vars(importlib.import_module(place))
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ReconError(f"{place} cannot be imported: {named(error)}.", "Mend it, or what it imports, first.") from error
    value: Any = None
    for part in name.split("."):
        if part not in names:
            raise no_such_name(part, [key for key, other in names.items() if inspect.isclass(other)], word)
        value = names[part]
        names = getattr(value, "__dict__", {})
    return value, checksum


def module_path(place: str) -> Path:
    """Return the file of ``package.module``, found without importing the package. Raises ReconError for one that is not there."""
    spec: ModuleSpec | None = None
    within: Sequence[str] | None = None
    parts = place.split(".")
    try:
        for end in range(len(parts)):
            specs = (finder.find_spec(".".join(parts[: end + 1]), within) for finder in sys.meta_path)
            spec = next(filter(None, specs), None)
            within = spec.submodule_search_locations if spec else None
            if within is None and end + 1 < len(parts):
                raise ImportError(f"there is no package {'.'.join(parts[: end + 1])!r}")
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise ReconError(f"{place} cannot be imported: {error}.", "Write FILE.py:Class to read a file.") from error
    if spec is None or not spec.origin or not spec.origin.endswith(".py"):
        raise ReconError(f"There is no module {place!r}.", "Write FILE.py:Class to read a file.")
    return Path(spec.origin)


def named(error: BaseException) -> str:
    """Return an exception in one line, without its full stop."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}".rstrip(".: ")
