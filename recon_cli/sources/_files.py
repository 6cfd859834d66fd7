"""Files: which one a word names, what is chosen inside it, and what is said of one that cannot be read."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence

from recon_cli.errors import ReconError, listed, unknown


def divided(word: str) -> tuple[str, str]:
    """A path and what is chosen inside it, ``x.npz`` and ``images``. Paths may have colons: what exists decides."""
    ends = [len(word), *(i for i, letter in enumerate(word) if letter == ":" and i)]
    end = next((end for end in ends if os.path.exists(word[:end])), min(ends[1:] or ends))
    return word[:end], word[end + 1 :]


def choose(path: str, wanted: str, known: Sequence[str], what: str) -> str:
    """Which of the arrays in a file is ``wanted``; its name may be left out where it is the only one."""
    if wanted and wanted not in known:
        raise unknown(what, wanted, known)
    if wanted and known.count(wanted) > 1:
        raise ReconError(f"{path} holds {known.count(wanted)} {what}s named {wanted!r}.", "Give each a name of its own.")
    if not wanted and len(known) != 1:
        raise ReconError(
            f"{path} holds {len(known):,} {what}s: {listed(known) or 'none'}.",
            f"Choose one, as in {path}:{known[0]}." if known else "Give another file.",
        )
    return wanted or known[0]


def excluding(wanted: str, known: Sequence[str]) -> bool:
    """Whether columns are named to leave them out, ``-a,-b``."""
    return all(word.strip().startswith("-") and word.strip() not in known for word in wanted.split(","))


def picked(wanted: str, known: Sequence[str], place: Callable[[str], int]) -> list[int]:
    """Which columns are ``wanted``: ``a,b`` in that order, or ``-a,-b``, all but these; ``place`` finds one of them."""
    words = [word.strip() for word in wanted.split(",")]
    if excluding(wanted, known):
        out = {place(word[1:]) for word in words}
        if len(out) == len(known):
            raise ReconError(f"{wanted} leaves no column.", f"There are {len(known)}: {listed(known)}.")
        return [at for at in range(len(known)) if at not in out]
    return [place(word) for word in words]
