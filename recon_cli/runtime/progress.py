"""The one place that shows work going on: a bar with an ETA on a terminal, nothing in a pipe."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress

Advance = Callable[[int, str], None]
displays: list[Progress] = []  # on the terminal now, one at most: a terminal has room for no two


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Yield ``advance(done, words)``, to be called with how much of ``total`` is done and what to say.

    Drawn on standard error, and only where that is a terminal; gone when the work is. A bar within a bar is a line more.
    Of several processes the first draws.
    """
    if not sys.stderr.isatty() or os.environ.get("RANK", "0") != "0":
        yield lambda *_: None
        return
    with ExitStack() as stack:
        if not displays:
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
