"""The one place that shows work going on: a bar with an ETA, or a spinner, on a terminal; nothing in a pipe."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, str], None]
displays: list[Progress] = []  # on the terminal now, one at most: a terminal has room for no two
spinners: list[Spinner] = []  # of the command that runs, one at most
PATIENCE = 1.0  # seconds, after which work that says nothing is shown to go on


def visible() -> bool:
    """Return whether there is a terminal to draw on, and this is the process that does."""
    return sys.stderr.isatty() and os.environ.get("RANK", "0") == "0"


class Spinner:
    """A line that says what is being done, and for how long; from a second on, until something else is written."""

    def __init__(self, what: str) -> None:
        self.what, self.lock, self.began = what, threading.Lock(), time.monotonic()
        self.timer: threading.Timer | None = None
        self.display: Progress | None = None

    def start(self) -> None:
        """Begin to wait."""
        self.timer = threading.Timer(PATIENCE, self.show)
        self.timer.daemon = True
        self.timer.start()

    def show(self) -> None:
        """Draw it, unless it was stopped meanwhile."""
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        parts = (SpinnerColumn("line"), TextColumn("{task.description}"), TimeElapsedColumn())
        with self.lock:
            if self.timer is not None:
                self.display = Progress(*parts, console=Console(stderr=True), transient=True, redirect_stdout=False)
                self.display.add_task(self.what, total=None)
                self.display.tasks[0].start_time = self.began
                self.display.start()

    def stop(self) -> None:
        """Leave the terminal as it was."""
        with self.lock:
            timer, display, self.timer, self.display = self.timer, self.display, None, None
            if timer is not None:
                timer.cancel()
            if display is not None:
                display.stop()


@contextmanager
def working(what: str) -> Iterator[None]:
    """Show on a terminal that work goes on, where it says nothing for a second: until it writes, or draws a bar, or ends."""
    if spinners or not visible():
        yield
        return
    spinners.append(Spinner(what))
    spinners[0].start()
    try:
        yield
    finally:
        spinners.pop().stop()


def quiet() -> None:
    """Take the spinner off the terminal, for what is written now."""
    for spinner in spinners:
        spinner.stop()


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Yield ``advance(done, words)``, to be called with how much of ``total`` is done and what to say.

    Drawn on standard error, and only where that is a terminal; gone when the work is. A bar within a bar is a line more.
    Of several processes the first draws.
    """
    if not visible():
        yield lambda *_: None
        return
    with ExitStack() as stack:
        if not displays:
            quiet()
            for spinner in spinners:
                stack.callback(spinner.start)
            displays.append(stack.enter_context(new_display()))
            stack.callback(displays.clear)
        display = displays[0]
        task = display.add_task(what, total=total, words="")
        stack.callback(display.remove_task, task)
        yield lambda done, words: display.update(task, completed=done, words=words)


def new_display() -> Progress:
    """Return a display on standard error, without a bar yet."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", style="dim"),
    )
    return Progress(*parts, console=Console(stderr=True), transient=True)
