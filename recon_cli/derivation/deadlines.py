"""A time limit for each question to sympy: one that it cannot answer in time, or at all, is left open.

In seconds of this process's own work, so that what is proved does not depend on what else the machine does.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

Answer = TypeVar("Answer")
ONCE, ALL = 6.0, 16.0  # seconds for one question, and for all those about one likelihood
ends: list[float] = []  # when the time for the likelihood at hand is over


class TimeUp(BaseException):
    """Raised in the thread whose time is up; no Exception, which sympy might catch."""


@contextmanager
def budget(seconds: float = ALL) -> Iterator[None]:
    """Limit the time of all questions asked inside, together."""
    ends.append(time.process_time() + seconds)
    try:
        yield
    finally:
        ends.pop()


def attempt(question: Callable[[], Answer], seconds: float = ONCE) -> Answer | None:
    """Return sympy's answer; None if it fails, as it may on formulas it was not made for, or takes longer."""
    left = min(seconds, ends[-1] - time.process_time()) if ends else seconds
    if left <= 0.05:
        return None
    try:
        with limited(left):
            return question()
    except (TimeUp, Exception):
        return None


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise TimeUp inside once that time has passed, in any thread and on any system."""
    thread, lock, state = threading.get_ident(), threading.Lock(), {"over": False, "sent": False}
    done, end = threading.Event(), time.process_time() + seconds

    def watch() -> None:
        while (left := end - time.process_time()) > 0:
            if done.wait(max(left, 0.05)):
                return
        with lock:
            if not state["over"]:
                state["sent"] = True
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), ctypes.py_object(TimeUp))

    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        with lock:
            state["over"] = True
        done.set()
        if state["sent"]:  # it may still be on its way: take it here, not later
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread), None)
