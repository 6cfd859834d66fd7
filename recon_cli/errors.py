"""Everything a user can get wrong: one sentence that says what was found, and a way out."""

from __future__ import annotations

import heapq
from collections.abc import Iterable

DISTRIBUTION = "recon-loss"  # what pip installs
LONG = 1000  # characters: no sentence is longer
LISTED = 20  # names: so many are all shown; of more only
SHOWN = 12


class ReconError(Exception):
    """A mistake that the user can mend.

    message
        what was found and what is allowed, as one sentence.
    hint
        what to do about it.
    reason
        the message in a few words, for a table or after a colon: unless given, up to its own colon, without a full stop.

    Caught once, in ``cli``, which prints both and exits with code 2. Any other exception is a bug
    of recon and keeps its traceback. Both are :func:`printable`, whatever names from files are in them.
    """

    def __init__(self, message: str, hint: str = "", reason: str = "") -> None:
        super().__init__(message)
        self.message = printable(message)
        self.hint = printable(hint)
        self.reason = printable(reason) or self.message.split(": ")[0].rstrip(".")

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


class Remark(UserWarning):
    """What may be wrong, said before work that takes long; it is among the notes of the result too."""


def printable(text: str, longest: int = LONG) -> str:
    """Return ``text`` as one line that a terminal shows as it is: newlines and escape codes spelled out, a long one cut."""
    if not text.isprintable():
        text = "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
    half = (longest - 5) // 2
    return text if len(text) <= longest else f"{text[:half]} ... {text[-half:]}"


def listed(names: Iterable[str], near: str = "") -> str:
    """Return names in a row; of many a dozen, those that are most like ``near`` first, and how many more there are."""
    names = list(names)
    first = names
    if len(names) > LISTED:
        first = alike(near, names, SHOWN) if near else names[:SHOWN]
        first += [name for name in names[: 2 * SHOWN] if name not in first][: SHOWN - len(first)]
    more = f" and {len(names) - len(first):,} more" * (len(names) > len(first))
    return ", ".join(printable(name, 60) for name in first) + more


def alike(word: str, names: Iterable[str], most: int = SHOWN) -> list[str]:
    """Return those of ``names`` that are most like ``word``, at most so many: beginning with it, or of nearly the same letters.

    In either case, ``_`` as ``-``, and of ``Class.method`` by its last part too. Of more names than can be compared letter by
    letter, those that share its pairs of letters.
    """
    from difflib import SequenceMatcher

    def folded(name: str) -> str:
        return name[:200].casefold().replace("_", "-")

    wanted, names = folded(word), list(dict.fromkeys(names))
    if len(names) > 1000:
        pairs = {wanted[i : i + 2] for i in range(len(wanted) - 1)}
        shared = {name: sum(pair in folded(name) for pair in pairs) - abs(len(name) - len(word)) / 8 for name in names}
        names = heapq.nlargest(1000, names, lambda name: 9.0 * len(wanted) * folded(name).startswith(wanted) + shared[name])
    matcher = SequenceMatcher()
    matcher.set_seq2(wanted)

    def likeness(name: str) -> float:
        key, best = folded(name), 0.0
        if wanted and key.startswith(wanted):
            return 1 + 1 / len(key)  # the shortest first
        for part in {key, key.rpartition(".")[2]}:
            matcher.set_seq1(part)
            if min(matcher.real_quick_ratio(), matcher.quick_ratio()) >= 0.6:
                best = max(best, matcher.ratio())
        return best

    scores = {name: likeness(name) for name in names}
    return sorted((name for name in names if scores[name] >= 0.6), key=lambda name: (scores[name], name), reverse=True)[:most]


def nearest(word: str, names: Iterable[str]) -> str | None:
    """Return the one of ``names`` that ``word`` was probably meant to be, or None."""
    return next(iter(alike(word, names, 1)), None)


def unknown(kind: str, word: str, names: Iterable[str]) -> ReconError:
    """Return the error for a name that is in no registry or file: the nearest name, and all of them, or the nearest dozen."""
    word, names = word if isinstance(word, str) else repr(word), sorted(names)
    meant = nearest(word, names)
    hint = f"Known: {listed(names, word) or 'none'}."
    if meant:
        hint = f"Did you mean {printable(repr(meant), 60)}? {hint}"
    return ReconError(f"There is no {kind} named {printable(repr(word), 60)}.", hint)


class NotInstalledError(ReconError, ImportError):
    """A library of an optional extra that is not there."""


def not_installed(what: str, library: str, extra: str) -> NotInstalledError:
    """Return the error for ``what`` a library of an optional extra would have done, and how to get it."""
    return NotInstalledError(
        f"{what} the library {library}, which is not installed.", f"Install it: pip install '{DISTRIBUTION}[{extra}]'."
    )


def from_system(error: Exception) -> ReconError | None:
    """Return the ReconError for what the machine refused (memory, disk), or None for any other exception."""
    import errno

    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return ReconError(
            "There is not enough memory for this.",
            "Give fewer samples or a smaller --batch-size, or another --device.",
        )
    if isinstance(error, ValueError) and str(error).startswith("embedded null"):
        return ReconError("A NUL is in no file's name.", "Give the name without it.")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ReconError(f"The disk is full: {error.filename or 'the output'} could not be written.", "Free some space.")
    return None
