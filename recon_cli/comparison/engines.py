"""Two ways through the same measurement: piece by piece as it is, or compiled into one pass over the data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon_cli.comparison.tally import PIECE, Tally, chunks, measure
from recon_cli.errors import ReconError, unknown
from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Progress = Callable[[int, str], None]

ENGINES = ("auto", "eager", "compile")
PAYS = 1 << 28  # numbers: below, the seconds of compiling are more than it saves


def run(
    engine: str,
    side: Likelihood,
    x: Tensor,
    mu: Tensor,
    loss: Loss,
    claim: Likelihood,
    stride: int,
    progress: Progress | None = None,
) -> tuple[Tally, tuple[str, ...]]:
    """The tally of all of ``x`` and ``mu``, and what to say of how it was come by (nothing of the usual way).

    ``progress`` is called after each piece with how many hundredths are done, and with whose they are.

    With ``auto`` the compiler is used where it pays, and where it fails the usual way is taken; with
    ``compile`` its failure is a ReconError.
    """
    if not compiles(engine, mu):
        return eager(side, x, mu, loss, claim, stride, progress), ()
    found, done, whole = Tally(), 0, next(chunks(side, x, mu, PIECE))[1].shape
    try:
        for part in chunks(side, x, mu, PIECE):
            full = part[1].shape == whole
            found += measure(side, *part, loss, claim, stride, compiled=True) if full else eager(side, *part, loss, claim, stride)
            done += part[1].numel()
            told(progress, done, mu, side)
    except RuntimeError as error:  # the compiler's own errors are
        said = str(error).strip().splitlines()[0][:120] if str(error).strip() else type(error).__name__
        if engine == "compile":
            raise ReconError(f"The compiler failed here: {said}", "Use --engine eager; the numbers are the same.") from error
        return eager(side, x, mu, loss, claim, stride, progress), (
            f"Measured piece by piece: the compiler failed here ({said}).",
        )
    return found, (f"Measured by the compiler in one pass, for {mu.numel():,} numbers.",)


def compiles(engine: str, mu: Tensor) -> bool:
    """Whether an engine goes through the compiler. Raises ReconError for one that there is not."""
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    return engine == "compile" or (engine == "auto" and mu.numel() >= PAYS)


def eager(
    side: Likelihood, x: Tensor, mu: Tensor, loss: Loss, claim: Likelihood, stride: int, progress: Progress | None = None
) -> Tally:
    """Piece by piece, every temporary in the cache."""
    found, done = Tally(), 0
    for part in chunks(side, x, mu):
        found += measure(side, *part, loss, claim, stride)
        done += part[1].numel()
        told(progress, done, mu, side)
    return found


def told(progress: Progress | None, done: int, mu: Tensor, side: Likelihood) -> None:
    """Tell how many hundredths of ``mu`` are done."""
    if progress:
        progress(100 * done // mu.numel(), side.name)
