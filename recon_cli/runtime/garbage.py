"""Python's search for garbage, which looks through what importing makes again and again: a sixth of the time torch takes."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator

SELDOM = (50_000, 20, 50)  # new objects before a search, and how many searches before an older generation's
usual: list[tuple[int, int, int]] = []  # thresholds to come back to, while there is a command that is being loaded
frozen: list[bool] = []  # whether what is loaded was set aside: Python counts it one by one when it is asked


@contextlib.contextmanager
def seldom_searched() -> Iterator[None]:
    """Search for garbage seldom, until :func:`search_as_usual` is called, or the end."""
    usual.append(gc.get_threshold())
    gc.set_threshold(*SELDOM)
    try:
        yield
    finally:
        search_as_usual()


def search_as_usual() -> None:
    """Search as often as before, if that was changed; and never again through what there is by then: modules stay."""
    if usual:
        if not frozen:
            gc.freeze()
            frozen.append(True)
        gc.set_threshold(*usual[0])
        usual.clear()
