"""Within a time, and in words: what somebody's code raises, whatever it is, and what comes from outside meanwhile."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from traceback import walk_tb

from recon_cli.errors import ReconError
from recon_cli.runtime.supervisor import checked_timeout, timeout_error

OURS = str(Path(__file__).parents[1])


class OutOfTime(BaseException):
    """A function that does not return; no ``except Exception`` of its own catches this."""


class InterruptedLoss(KeyboardInterrupt):
    """A Ctrl-C of somebody at the keyboard, not a KeyboardInterrupt that the code raised itself."""


class Lacking(ReconError):
    """What only the user can give is not there: until it is, no way of calling says anything."""


class Made(Exception):
    """A factory: what it returned is the function to audit."""

    def __init__(self, function: object) -> None:
        self.function = function


def from_outside(error: BaseException) -> bool:
    """Whether it is none of the code's own doing: it goes through wherever it comes from."""
    return isinstance(error, (OutOfTime, InterruptedLoss, ReconError, Made))


@contextlib.contextmanager
def explained(sentence: str, hint: str) -> Iterator[None]:
    """Raise a ReconError for whatever somebody's code raises within, its words after the sentence."""
    try:
        yield
    except BaseException as error:
        if from_outside(error):
            raise
        raise ReconError(f"{sentence}: {worded(error)}.", hint) from error


def readable(error: BaseException) -> BaseException:
    """Return what to raise for an exception of somebody's code: itself if it is ordinary and can be read, else a RuntimeError."""
    if from_outside(error):
        return error
    if isinstance(error, SystemExit):
        return RuntimeError(f"it ends the program ({worded(error)})")
    if not isinstance(error, Exception):
        return RuntimeError(f"it is stopped by its own {worded(error)}")
    try:
        f"{error}{error!r}"
    except BaseException as worse:
        return worse if from_outside(worse) else RuntimeError(worded(error))
    return error


def worded(error: BaseException) -> str:
    """Return an exception in one line that a terminal can show, without its full stop."""
    try:
        words = " ".join(str(error).split())
    except BaseException as worse:
        if from_outside(worse):
            raise
        words = f"(its message raises {type(worse).__name__})"
    printable = "".join(letter if letter.isprintable() else "?" for letter in words[:200])
    return f"{type(error).__name__}: {printable}".rstrip(".: ")


def is_bug(error: BaseException) -> bool:
    """Whether an exception is a mistake in recon's own code: raised by a line of recon's, but for what torch says of tensors."""
    own = any(frame.f_code.co_filename.startswith(OURS) for frame, _ in [*walk_tb(error.__traceback__)][-1:])
    whole = __name__ in sys.modules  # code that throws recon's modules away has what comes of it
    return own and whole and isinstance(error, Exception) and not isinstance(error, (RuntimeError, ReconError, MemoryError))


def failure(error: BaseException, what: str) -> ReconError:
    """Return the ReconError for whatever else comes out of an audit: the code's own, or what recon cannot do with its result."""
    place = "".join(f"{frame.f_code.co_filename}:{line}" for frame, line in [*walk_tb(error.__traceback__)][-1:])
    return ReconError(
        f"{what} could not be audited: {worded(error)} ({place.replace(chr(92), '/').rpartition('/')[2]}).",
        "Give a plain function of tensors that returns its loss; if it is one, this is a fault of recon's, so please report it.",
    )


me: list[int] = []  # the process that audits, last


def alone(leave: Callable[[int], None] = os._exit, own: Callable[[], int] = os.getpid) -> None:
    """End a copy that the code made of this process: it was called for a loss, and the other one has that."""
    if me and own() != me[-1]:
        leave(0)


@contextlib.contextmanager
def limited(timeout: float | None, late: ReconError | None = None) -> Iterator[None]:
    """Give up after some seconds, by an alarm that comes again where it is swallowed; tell a Ctrl-C from a KeyboardInterrupt.

    Where the system has signals, on the main thread; elsewhere it takes as long as it takes.
    """
    timeout = None if timeout is None else checked_timeout(timeout)
    me.append(os.getpid())
    with contextlib.ExitStack() as stack:
        stack.callback(me.pop)
        if threading.current_thread() is threading.main_thread():
            if callable(before := signal.getsignal(signal.SIGINT)):
                stack.enter_context(on(signal.SIGINT, interrupting(before)))
            if timeout is not None and hasattr(signal, "setitimer"):
                stack.enter_context(on(signal.SIGALRM, out_of_time))
                stack.callback(signal.setitimer, signal.ITIMER_REAL, 0)
                signal.setitimer(signal.ITIMER_REAL, timeout, 0.2)
        try:
            yield
        except OutOfTime:
            assert timeout is not None
            raise late or timeout_error(timeout) from None


@contextlib.contextmanager
def on(number: int, handler: Callable[..., object]) -> Iterator[None]:
    """Have a signal handled so."""
    before = signal.signal(number, handler)
    try:
        yield
    finally:
        signal.signal(number, signal.SIG_DFL if before is None else before)


def out_of_time(*_: object) -> None:
    """Raise OutOfTime, as the handler of the alarm."""
    raise OutOfTime


def interrupting(before: Callable[..., object]) -> Callable[..., object]:
    """Return the handler of a Ctrl-C: ``before``, a KeyboardInterrupt of which is marked as coming from outside."""

    def handle(*signal_and_frame: object) -> None:
        try:
            before(*signal_and_frame)
        except KeyboardInterrupt as error:
            raise InterruptedLoss(*error.args) from None

    return handle
