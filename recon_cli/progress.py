"""The one place that shows work going on: a bar with an ETA on a terminal, nothing in a pipe."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

Advance = Callable[[int, str], None]


@contextmanager
def bar(what: str, total: int) -> Iterator[Advance]:
    """Yield ``advance(done, words)``, to be called with how much of ``total`` is done and what to say.

    Drawn on standard error, and only where that is a terminal; gone when the work is.
    """
    if not sys.stderr.isatty():
        yield lambda done, words: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    parts = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[words]}", style="dim"),
    )
    with Progress(*parts, console=Console(stderr=True), transient=True) as shown:
        task = shown.add_task(what, total=total, words="")
        yield lambda done, words: shown.update(task, completed=done, words=words)
