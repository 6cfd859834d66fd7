"""Everything a user can get wrong: one sentence that says what was found, and a way out."""

from __future__ import annotations

from collections.abc import Iterable

DISTRIBUTION = "recon-loss"  # what pip installs


class ReconError(Exception):
    """A mistake that the user can mend.

    message
        what was found and what is allowed, as one sentence.
    hint
        what to do about it.

    Caught once, in ``cli``, which prints both and exits with code 2. Any other exception is a bug
    of recon and keeps its traceback.
    """

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The one of ``known`` that ``word`` was probably meant to be, or None."""
    from difflib import get_close_matches

    known = list(known)
    lowered = word.lower().replace("_", "-")
    starts = [name for name in known if lowered and name.startswith(lowered)]
    close = starts or get_close_matches(lowered, known, n=1, cutoff=0.6)
    return close[0] if close else None


def unknown(kind: str, word: str, known: Iterable[str]) -> ReconError:
    """The error for a name that is in no registry: the nearest name, and all of them."""
    known = sorted(known)
    meant = nearest(word, known)
    every = ", ".join(known) if known else "none"
    hint = f"Did you mean {meant!r}? Known: {every}." if meant else f"Known: {every}."
    return ReconError(f"There is no {kind} named {word!r}.", hint)


def not_installed(what: str, library: str, extra: str) -> ReconError:
    """The error for ``what`` a library of an optional extra would have done, and how to get it."""
    return ReconError(
        f"{what} the library {library}, which is not installed.", f"Install it: pip install '{DISTRIBUTION}[{extra}]'."
    )


def from_system(error: Exception) -> ReconError | None:
    """The ReconError for what the machine refused (memory, disk), or None for any other exception."""
    import errno

    if isinstance(error, MemoryError) or "OutOfMemory" in type(error).__name__ or "can't allocate memory" in str(error):
        return ReconError(
            "There is not enough memory for this.",
            "Give fewer samples or a smaller --batch-size, or another --device.",
        )
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return ReconError(f"The disk is full: {error.filename or 'the output'} could not be written.", "Free some space.")
    return None
