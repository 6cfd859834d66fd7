"""Files: which one a word names, what is chosen inside it, and what is said of one that cannot be read."""

from __future__ import annotations

import importlib
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError, listed, not_installed, unknown

if TYPE_CHECKING:
    from _typeshed import SupportsRead

AT_ONCE = 1 << 20  # bytes that are unpacked in one go


def library(name: str, what: str = "Reading this takes", extra: str = "datasets") -> ModuleType:
    """Return a library of an ``extra``. Raises ReconError, which says how to install it, where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise not_installed(what, name, extra) from error


def path_and_choice(word: str) -> tuple[str, str]:
    """Return a path and what is chosen inside it, ``x.npz`` and ``images``. Paths may have colons: what exists decides."""
    ends = [len(word), *(i for i, letter in enumerate(word) if letter == ":" and i)]
    end = next((end for end in ends if os.path.exists(word[:end])), min(ends[1:] or ends))
    return word[:end], word[end + 1 :]


def read_into(file: SupportsRead[bytes], content: bytearray) -> int:
    """Fill ``content`` from a file that is unpacked as it is read, and return how many bytes there were."""
    done = 0
    while done < len(content) and (part := file.read(min(AT_ONCE, len(content) - done))):
        content[done : done + len(part)] = part
        done += len(part)
    return done


def choose(path: str, wanted: str, names: Sequence[str], what: str) -> str:
    """Return which of the arrays in a file is ``wanted``; its name may be left out where it is the only one."""
    if wanted and wanted not in names:
        raise unknown(what, wanted, names)
    if wanted and names.count(wanted) > 1:
        raise ReconError(f"{path} holds {names.count(wanted)} {what}s named {wanted!r}.", "Give each a name of its own.")
    if not wanted and len(names) != 1:
        raise ReconError(
            f"{path} holds {len(names):,} {what}s: {listed(names) or 'none'}.",
            f"Choose one, as in {path}:{names[0]}." if names else "Give another file.",
        )
    return wanted or names[0]


def is_exclusion(wanted: str, names: Sequence[str]) -> bool:
    """Whether columns are named to leave them out, ``-a,-b``."""
    return all(word.strip().startswith("-") and word.strip() not in names for word in wanted.split(","))


def column_places(wanted: str, names: Sequence[str], place: Callable[[str], int]) -> list[int]:
    """Return which columns are ``wanted``: ``a,b`` in that order, or ``-a,-b``, all but these; ``place`` finds one of them."""
    words = [word.strip() for word in wanted.split(",")]
    if is_exclusion(wanted, names):
        out = {place(word[1:]) for word in words}
        if len(out) == len(names):
            raise ReconError(f"{wanted} leaves no column.", f"There are {len(names)}: {listed(names)}.")
        return [at for at in range(len(names)) if at not in out]
    return [place(word) for word in words]
