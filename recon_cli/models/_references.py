"""Models by ``FILE.py:Class`` or ``package.module:Class``: as a run has them, known by their files, and allowed to run."""

from __future__ import annotations

import inspect
from typing import Any

from recon_cli.errors import ReconError
from recon_cli.runtime.user_classes import looked_up


def spelled(model: Any) -> str:
    """Return a module or class as ``config.json`` has it; a word as it is."""
    if isinstance(model, str):
        return model
    kind = model if inspect.isclass(model) or inspect.isfunction(model) else type(model)
    return f"{kind.__module__}:{kind.__qualname__}"


def check_trust(word: str, checksum: str | None, trust: bool, folder: str, of: str = "model") -> None:
    """Raise ReconError, before a line of it is run, where the file of a run's code has changed, or nobody says that it may run.

    A path that the user gave in this call is trusted; one that comes out of the folder alone is somebody's word.
    """
    if checksum is None:
        raise ReconError(
            f"The {of} of the run in {folder}, {word}, was given from Python as an object: no file says how to make it again.",
            f"Give it again: resume(folder, {of}=...); train with --{of} FILE.py:Class to use a run by its folder.",
        )
    path, now = looked_up(word, f"--{of}")
    check_unchanged(word, checksum, now)
    if not trust:
        raise ReconError(
            f"The run in {folder} brings code for its {of}, {path}, and nobody has said that it may run.",
            "If you wrote it, or have read it, add --trust (in Python trust=True).",
        )


def check_unchanged(word: str, was: str | None, now: str | None) -> None:
    """Raise ReconError where the file of a run's model is another than it was."""
    if was != now:
        raise ReconError(
            f"{word} has changed since the run was trained: its file is another.",
            "Give back the file that it had, or train again.",
        )
