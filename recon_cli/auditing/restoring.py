"""What somebody's function leaves behind in the process, put back; and what it prints, kept to itself."""

from __future__ import annotations

import builtins
import contextlib
import gc
import io
import locale
import logging
import math
import os
import random
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy
import torch
from torch import _tensor_str

from recon_cli.runtime.torch_state import DefaultState, flushes_denormals, process_settings

LOCK = threading.RLock()  # one audit at a time: seeds, warnings and environment are the whole process's
Pair: TypeAlias = tuple[Callable[[], object], Callable[[Any], object]]


def attributes(owner: object, *names: str) -> Pair:
    """Return how to read attributes of an object, and how to write them back."""

    def write(values: list[object]) -> None:
        for name, value in zip(names, values, strict=True):
            if getattr(owner, name) is not value:
                setattr(owner, name, value)

    return lambda: [getattr(owner, name) for name in names], write


def contents(owner: object, name: str) -> Pair:
    """Return how to read and write a list or a dictionary of an object: the same one again, with what was in it."""

    def write(before: tuple[Any, Any]) -> None:
        place, values = before
        if isinstance(place, list):
            place[:] = values
        else:
            for key in [key for key in place if key not in values]:
                del place[key]
            for key, value in values.items():
                if key not in place or place[key] is not value:
                    place[key] = value
        if getattr(owner, name) is not place:
            setattr(owner, name, place)

    return lambda: ((place := getattr(owner, name)), place.copy()), write


def folder() -> str | None:
    """Return where the process is; None where that folder is gone."""
    try:
        return os.getcwd()
    except OSError:
        return None


def handlers() -> dict[int, object]:
    """Return what each signal does; nothing off the main thread, where none can be set."""
    if threading.current_thread() is not threading.main_thread():
        return {}
    return {number: signal.getsignal(number) for number in signal.valid_signals()}


def handle(before: dict[int, Any]) -> None:
    """Put back what signals did, where Python knows it."""
    for number, handler in before.items():
        if handler is not None and signal.getsignal(number) is not handler:
            signal.signal(number, handler)


def alarm() -> tuple[float, float, float] | None:
    """Return when the alarm is due, how often it rings from then on, and what time it is."""
    possible = hasattr(signal, "getitimer") and threading.current_thread() is threading.main_thread()
    return (*signal.getitimer(signal.ITIMER_REAL), time.monotonic()) if possible else None


def set_alarm(before: tuple[float, float, float] | None) -> None:
    """Set the alarm as it would be now."""
    if before is not None:
        left, again, at = before
        signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - at), 1e-3) if left else 0, again)


def generators() -> tuple[object, ...]:
    """Return the state of every generator that code draws from; of GPUs where they are in use."""
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else None
    return random.getstate(), numpy.random.get_state(), torch.get_rng_state(), cuda


def draw_from(states: tuple[Any, ...]) -> None:
    """Put the generators back."""
    random.setstate(states[0])
    numpy.random.set_state(states[1])
    torch.set_rng_state(states[2])
    if states[3] is not None:
        torch.cuda.set_rng_state_all(states[3])


def cast(before: list[tuple[str, bool, Any]]) -> None:
    """Put back where torch casts by itself."""
    for kind, on, dtype in before:
        torch.set_autocast_enabled(kind, on)
        torch.set_autocast_dtype(kind, dtype)


root = logging.getLogger()
# What a function may leave behind: how to read it, and how to put it back. The last is put back first.
STATE: tuple[Pair, ...] = (
    (folder, lambda path: os.chdir(path) if path else None),
    contents(os, "environ"),
    contents(builtins, "__dict__"),
    attributes(sys, "stdin", "stdout", "stderr", "displayhook", "excepthook", "unraisablehook", "dont_write_bytecode"),
    *(contents(sys, name) for name in ("path", "meta_path", "path_hooks", "argv")),
    (sys.getrecursionlimit, sys.setrecursionlimit),
    (sys.getswitchinterval, sys.setswitchinterval),
    (sys.gettrace, sys.settrace),
    (sys.getprofile, sys.setprofile),
    (gc.isenabled, lambda on: gc.enable() if on else gc.disable()),
    (gc.get_threshold, lambda levels: gc.set_threshold(*levels)),
    (socket.getdefaulttimeout, socket.setdefaulttimeout),
    (lambda: locale.setlocale(locale.LC_ALL), lambda name: locale.setlocale(locale.LC_ALL, name)),
    attributes(root, "level", "disabled"),
    attributes(root.manager, "disable"),
    contents(root, "handlers"),
    attributes(warnings, "showwarning", "formatwarning"),
    (handlers, handle),
    (alarm, set_alarm),
    *([(lambda: signal.pthread_sigmask(signal.SIG_BLOCK, ()), lambda kept: signal.pthread_sigmask(signal.SIG_SETMASK, kept))]
      if hasattr(signal, "pthread_sigmask") else []),
    (numpy.geterr, lambda kept: numpy.seterr(**kept)),
    (numpy.geterrcall, numpy.seterrcall),
    (numpy.getbufsize, numpy.setbufsize),
    (numpy.get_printoptions, lambda kept: numpy.set_printoptions(**kept)),
    (generators, draw_from),
    contents(_tensor_str.PRINT_OPTS, "__dict__"),
    (torch.get_default_dtype, torch.set_default_dtype),
    (torch.get_num_threads, torch.set_num_threads),
    (lambda: (torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()),
     lambda kept: torch.use_deterministic_algorithms(kept[0], warn_only=kept[1])),
    (process_settings().products.read, process_settings().products.write),
    (torch.is_anomaly_enabled, torch.autograd.set_detect_anomaly),
    (torch.is_grad_enabled, torch._C._set_grad_enabled),
    (lambda: [(kind, torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)) for kind in ("cpu", "cuda")], cast),
    (flushes_denormals, torch.set_flush_denormal),
    attributes(torch.backends.cudnn, "enabled", "benchmark", "deterministic"),
)  # fmt: skip
ALWAYS = (set_alarm, draw_from)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the process as it was before, whatever is done meanwhile; and torch as out of the box, but for float64.

    Folder, path, environment, builtins, streams, signals and alarm, threads, seeds, how torch and numpy compute, warn and
    print. One at a time. Not what a function does to objects of its own, nor to modules, files and threads that it began.
    """
    with LOCK, DefaultState("float64"), warnings.catch_warnings(), Library():
        before = [read() for read, _ in STATE]
        warnings.simplefilter("ignore")
        try:
            yield
        finally:
            for (read, write), value in zip(reversed(STATE), reversed(before), strict=True):
                with contextlib.suppress(OSError, ValueError, RuntimeError):
                    if write in ALWAYS or read() != value:
                        write(value)


OWNERS = (
    builtins, os, math, random, numpy, torch, torch.Tensor, torch.autograd, torch.special, torch.distributions, torch.nn,
    torch.nn.Module, torch.nn.functional,
)  # fmt: skip
ABSENT = object()
put, take = setattr, delattr  # which code may replace too
borrowed: list[Library] = []


class Library:
    """What recon calls itself of Python, numpy and torch: it stays as it is, whatever somebody's code puts in its place.

    That is there while that code runs, and only then: within ``lent``.
    """

    def __init__(self) -> None:
        self.kept = [(owner, owner.__dict__, {**owner.__dict__}, [*owner.__dict__.values()]) for owner in OWNERS]
        self.theirs: dict[tuple[Any, str], object] = {}

    def __enter__(self) -> None:
        borrowed.append(self)

    def __exit__(self, *_error: object) -> None:
        self.notice()
        borrowed.remove(self)

    def notice(self) -> None:
        """Put back what is another thing than it was, and keep the other for the code that put it there."""
        for owner, now, kept, values in self.kept:
            if alike([*now.values()][: len(kept)], values) and (len(now) == len(kept) or not isinstance(owner, type)):
                continue  # what a library adds late is nobody's
            changed = {name: now.get(name, ABSENT) for name, value in kept.items() if now.get(name, ABSENT) is not value}
            if isinstance(owner, type):  # what it inherits is hidden by what is new
                changed |= {name: value for name, value in now.items() if name not in kept}
            for name, other in changed.items():
                self.theirs[owner, name] = other
                place(owner, name, kept.get(name, ABSENT))

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """Have everything as the code has made it."""
        for (owner, name), other in self.theirs.items():
            place(owner, name, other)
        self.theirs = {}
        try:
            yield
        finally:
            self.notice()


def alike(values: list[object], others: list[object]) -> bool:
    """Whether two lists hold the same, as far as what somebody put there tells."""
    try:
        return values == others
    except Exception:
        return False


def place(owner: Any, name: str, value: object) -> None:
    """Give an owner a name; take it away where it has none."""
    if value is not ABSENT:
        put(owner, name, value)
    elif name in owner.__dict__:
        take(owner, name)


def lent() -> contextlib.AbstractContextManager[None]:
    """Return the context in which somebody's code runs."""
    return borrowed[-1].lent() if borrowed else contextlib.nullcontext()


class Muted:
    """A stream that swallows what one thread writes, and passes on what the others do; all of it, once that is over."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.thread: int | None = threading.get_ident()

    @property
    def muted(self) -> bool:
        """Whether this thread is not heard."""
        return self.thread == threading.get_ident() or self.stream is None

    def write(self, text: str) -> int:
        """Return how many characters of ``text`` are done with."""
        return len(text) if self.muted else self.stream.write(text)

    def writelines(self, lines: Any) -> None:
        """Write line after line."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Flush what was passed on."""
        if not self.muted:
            self.stream.flush()

    @property
    def buffer(self) -> object:
        """Where bytes go."""
        return io.BytesIO() if self.muted else self.stream.buffer

    def __getattr__(self, name: str) -> object:
        return getattr(self.stream, name)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what this thread writes on stdout and stderr to itself; what other threads write comes through.

    What torch.compile was given runs as it is written.
    """
    streams = Muted(sys.stdout), Muted(sys.stderr)
    compiled = "torch._dynamo" in sys.modules
    eager = torch.compiler.set_stance("force_eager") if compiled else contextlib.nullcontext()
    try:
        with contextlib.redirect_stdout(streams[0]), contextlib.redirect_stderr(streams[1]), eager:
            yield
    finally:
        for stream in streams:
            stream.thread = None
