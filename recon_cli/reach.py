"""Reaching what users wrote: their files imported, and names that were misspelt."""

from __future__ import annotations

import difflib
import importlib.util
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from recon_cli.errors import ReconError


def imported(path: Path) -> dict[str, Any]:
    """The names of a file that was imported under a name of its own, its folder on the path meanwhile."""
    name = f"_reached_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    folder = str(path.resolve().parent)
    sys.path.insert(0, folder)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)  # type: ignore[union-attr]
    finally:
        sys.path.remove(folder)
    return vars(module)


def close_to(name: str, known: Iterable[str]) -> list[str]:
    """The names that this one was probably meant to be, in either case, nearest first; of ``Class.method`` its last part too."""
    wanted = name.casefold()
    sames = [key for key in known if key.casefold() == wanted]
    return sames or sorted((key for key in known if likeness(wanted, key) >= 0.6), key=lambda key: (-likeness(wanted, key), key))


def likeness(wanted: str, key: str) -> float:
    """From 0 to 1, of a name or of its last part; a beginning is nearly the whole."""
    if key.casefold().startswith(wanted):
        return 0.95
    return max(difflib.SequenceMatcher(None, wanted, part.casefold()).ratio() for part in {key, key.rpartition(".")[2]})


def absent(name: str, known: Iterable[str], word: str) -> ReconError:
    """The error for a name that is not in a file, a module or a class: the nearest, and the public ones, if they are not many."""
    known = sorted(key for key in set(known) if not key.startswith("_"))
    close = close_to(name, known)
    shown = ", ".join(known if len(known) <= 12 else [*close, *(key for key in known if key not in close)][:12]) or "nothing"
    more = f" and {len(known) - 12} more" * (len(known) > 12)
    return ReconError(
        f"There is no {name!r} in {word.rpartition(':')[0]}.",
        f"{f'Did you mean {close[0]!r}? ' if close else ''}It has {shown}{more}.",
    )
