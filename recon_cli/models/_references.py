"""Models by ``FILE.py:Class`` or ``package.module:Class``: found, known by their files, and allowed to run."""

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


def spelled(model: Any) -> str:
    """Return a module or class as ``config.json`` has it; a word as it is."""
    if isinstance(model, str):
        return model
    kind = model if inspect.isclass(model) or inspect.isfunction(model) else type(model)
    return f"{kind.__module__}:{kind.__qualname__}"


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


def check_trust(word: str, checksum: str | None, trust: bool, folder: str) -> None:
    """Raise ReconError, before a line of it is run, where the file of a run's model has changed, or nobody says that it may run.

    A path that the user gave in this call is trusted; one that comes out of the folder alone is somebody's word.
    """
    if checksum is None:
        raise ReconError(
            f"The model of the run in {folder}, {word}, was given from Python as an object: no file says how to make it again.",
            "Give it again: resume(folder, model=...); train with --model FILE.py:Class to use a run by its folder.",
        )
    path, now = looked_up(word)
    check_unchanged(word, checksum, now)
    if not trust:
        raise ReconError(
            f"The run in {folder} brings code for its model, {path}, and nobody has said that it may run.",
            "If you wrote it, or have read it, add --trust (in Python trust=True).",
        )


def check_unchanged(word: str, was: str | None, now: str | None) -> None:
    """Raise ReconError where the file of a run's model is another than it was."""
    if was != now:
        raise ReconError(
            f"{word} has changed since the run was trained: its file is another.",
            "Give back the file that it had, or train again.",
        )
