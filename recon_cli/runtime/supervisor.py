"""Somebody's code in a process of its own: its report comes back whole, or a sentence says how it ended.

The supervisor imports no torch and never runs the code. It gives the child a key that the code does not know, and takes
nothing for a report that is not signed with it: ``os._exit(0)`` is no answer, and neither is what the code writes itself.
"""

from __future__ import annotations

import dataclasses
import hmac
import importlib
import json
import marshal
import math
import mmap
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Mapping
from contextlib import closing, suppress
from io import TextIOWrapper
from typing import IO, Any, TypeAlias

from recon_cli import report
from recon_cli.errors import ReconError
from recon_cli.runtime import garbage

GRACE = 0.4  # seconds for a child that stops itself in time to say so
LONGEST = 1e8  # seconds: what timers of every system take
MOST = 1 << 26  # bytes of a message
COPIES = 256  # that the code may make of its process
MARK = "RECON_AUDITED_BY"  # in the environment of all that one child starts
Message: TypeAlias = dict[str, Any]  # with one of the keys ready, report, error, bug
Arrived: TypeAlias = "queue.SimpleQueue[Message | int | None]"
CHILD = "import sys; sys.path[:] = sys.argv[1:]; from recon_cli.runtime.supervisor import serve; serve()"


def run_supervised(
    work: str, arguments: Mapping[str, object], timeout: float, subject: str = "The function"
) -> report.Report:  # fmt: skip
    """Return the report of ``work``, a function as ``package.module:name``, called in a process of its own.

    arguments
        keyword arguments, plain values all. The module is imported, with whatever it takes, before the time runs.
    timeout
        seconds for the call; after these, and a moment to end by itself, the process is killed with all that it started.
    subject
        what ended or did not return, in the sentence that says so.

    Raises ReconError: the one that ``work`` raised, or how the process ended without a report. A bug of ``work``'s is a
    :class:`ChildError`, with its traceback.
    """
    with closing(run_in_parts(work, arguments, timeout, subject)) as reports:
        return next(reports)


def run_in_parts(
    work: str, arguments: Mapping[str, object], timeout: float, subject: str = "The function"
) -> Generator[report.Report, None, None]:  # fmt: skip
    """Yield the reports of ``work`` as they come, where it is a generator of some; else its only one, as ``run_supervised`` does.

    Each may take ``timeout`` seconds. The process ends with the last, or when no more are asked for.
    """
    timeout = checked_timeout(timeout)
    key, mark = os.urandom(32), f"{MARK}={os.urandom(16).hex()}"
    errors = None if is_open(2) else subprocess.DEVNULL
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, *(place for place in sys.path if isinstance(place, str))],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, start_new_session=True,
        env={**os.environ, MARK: mark.partition("=")[2]},
    )  # fmt: skip
    arrived: Arrived = queue.SimpleQueue()
    threading.Thread(target=forward_messages, args=(child, key, arrived), daemon=True).start()
    threading.Thread(target=forward_exit_code, args=(child, arrived), daemon=True).start()
    try:
        send_request(child, marshal.dumps((work, dict(arguments), key)))
        for answer in answers(arrived, timeout, subject):
            if "bug" in answer:
                raise ChildError(answer["bug"])
            if "error" in answer:
                raise ReconError(*answer["error"])
            if "report" not in answer:
                return
            yield answer["report"]
    finally:
        kill(child, mark)


class ChildError(Exception):
    """A bug that showed in the child, with the traceback that it had there."""

    def __str__(self) -> str:
        return f"in the process that ran the code:\n\n{self.args[0]}"


def checked_timeout(timeout: float) -> float:
    """Return a limit of time that a timer takes. Raises ReconError for one that is no number above 0."""
    if not (isinstance(timeout, (int, float)) and math.isfinite(timeout) and timeout > 0):
        raise ReconError(f"A timeout is a number of seconds above 0; found {timeout!r}.", "Write --timeout 60, say.")
    return min(float(timeout), LONGEST)


def timeout_error(timeout: float, more: str = "", subject: str = "The function") -> ReconError:
    """Return the error for code that takes longer."""
    return ReconError(
        f"{subject} did not return within {timeout:g} seconds{more}.", "Give it longer with --timeout, or a smaller --shape."
    )


def exit_error(code: int, subject: str = "The function") -> ReconError:
    """Return the error for a process that is gone without a report."""
    if code < 0:
        try:
            how = f"ended its process by {signal.Signals(-code).name} ({(signal.strsignal(-code) or '').lower()})"
        except ValueError:
            how = f"ended its process by signal {-code}"
    else:
        how = f"ended its process with code {code}"
    return ReconError(
        f"{subject} {how} before there was a verdict.", "Give one that returns its loss, and leaves the process alone."
    )


def send_request(child: subprocess.Popen[bytes], request: bytes) -> None:
    """Send what is to be done, with its length before it: a child may hold the other end of its own pipe."""
    assert child.stdin is not None
    try:
        child.stdin.write(len(request).to_bytes(8, "big") + request)
        child.stdin.flush()
    except BrokenPipeError:  # it is gone already, which is told elsewhere
        pass


def answers(arrived: Arrived, timeout: float, subject: str) -> Iterator[Message]:
    """Yield what the child says beside that it is ready. Raises ReconError where it ends, or the time does, without an answer."""
    deadline: float | None = None  # until it is ready: importing torch takes what it takes
    code: int | None = None
    while True:
        left: float | None = GRACE if code is not None else None if deadline is None else max(0.0, deadline - time.monotonic())
        try:
            item = arrived.get(timeout=left)
        except queue.Empty:
            if code is None:
                raise timeout_error(timeout, ", nor did it let itself be stopped", subject) from None
            item = None
        if isinstance(item, dict):
            if "ready" not in item:
                yield item
            deadline = time.monotonic() + timeout + GRACE
        elif isinstance(item, int):  # it has ended: what it said before may still be under way
            code = item
        elif code is not None:
            raise exit_error(code, subject)


def forward_messages(child: subprocess.Popen[bytes], key: bytes, arrived: Arrived) -> None:
    """Put the child's messages where they are waited for, and None after the last."""
    assert child.stdout is not None
    try:
        for message in messages(child.stdout, key):
            arrived.put(message)
    finally:
        arrived.put(None)


def forward_exit_code(child: subprocess.Popen[bytes], arrived: Arrived) -> None:
    """Put the child's exit code where it is waited for."""
    arrived.put(child.wait())


def kill(child: subprocess.Popen[bytes], mark: str) -> None:
    """Kill the child with all that it has started; what has left its session too, where the system shows its ``mark``.

    What stayed would hold recon's stderr open, and whoever reads that would wait for it.
    """
    try:
        os.killpg(child.pid, signal.SIGKILL)
    except AttributeError:  # no such system
        child.kill()
    except OSError:  # all gone
        pass
    for _ in range(8):  # they may start others meanwhile
        if not (strays := marked(mark.encode())):
            return
        for pid in strays:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)


def marked(mark: bytes) -> list[int]:
    """Return the processes that began with ``mark`` in their environment (Linux; elsewhere none is known)."""
    processes: list[int] = []
    with suppress(OSError):
        for name in filter(str.isdecimal, os.listdir("/proc")):
            with suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
                processes += [int(name)] * (mark in file.read())
    return processes


def is_open(descriptor: int) -> bool:
    """Whether a file descriptor is one."""
    try:
        os.fstat(descriptor)
    except OSError:
        return False
    return True


def signed(message: Message, key: bytes) -> bytes:
    """Return a message for the pipe: its signature, its length, itself."""
    payload = json.dumps(message, default=to_json).encode()
    return hmac.digest(key, payload, "sha256") + len(payload).to_bytes(8, "big") + payload


def messages(pipe: IO[bytes], key: bytes) -> Iterator[Message]:
    """Yield the messages from a pipe, up to its end; an error in place of the first that is not signed with the key."""
    while len(head := pipe.read(40)) == 40:
        payload = pipe.read(min(int.from_bytes(head[32:], "big"), MOST))
        if not hmac.compare_digest(hmac.digest(key, payload, "sha256"), head[:32]):
            sentence = "The function wrote where recon's answer goes, which is nobody else's to write to."
            yield {"error": [sentence, "Give one that returns its loss, and leaves open files alone."]}
            return
        yield json.loads(payload, object_hook=from_json)


def to_json(value: object) -> dict[str, object] | str:
    """Return a part of a report as JSON can hold it, with the name of its class."""
    if not dataclasses.is_dataclass(value):
        return str(value)
    return {"!": type(value).__name__, **{field.name: getattr(value, field.name) for field in dataclasses.fields(value)}}


def from_json(fields: dict[str, Any]) -> Any:
    """Return the part of a report that :func:`to_json` gave as ``fields``; any other object as it is."""
    return getattr(report, fields.pop("!"))(**fields) if "!" in fields else fields


def serve() -> None:
    """Be the child: run what it is asked for, answer, and leave with no more ado (no thread, no atexit of anybody's)."""
    leave, write = os._exit, os.write  # as they are before anybody's code ran
    size = int.from_bytes(sys.stdin.buffer.read(8), "big")
    work, arguments, key = marshal.loads(sys.stdin.buffer.read(size))
    pipe = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    os.dup2(nothing, 0)
    os.dup2(2 if is_open(2) else nothing, 1)  # what the code prints is no result
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)
    sys.argv[:] = ["recon"]
    interpose_process(pipe)
    limit_forks()
    me = os.getpid()

    def say(message: Message) -> None:
        rest = memoryview(signed(message, key))
        while rest and os.getpid() == me:  # a copy of this process has nothing to say
            rest = rest[write(pipe, rest) :]

    import traceback

    code = 1
    try:
        try:
            module, _, name = work.partition(":")
            with garbage.seldom_searched():
                function = getattr(importlib.import_module(module), name)
            say({"ready": True})
            result = function(**arguments)
            for part in result if isinstance(result, Iterator) else (result,):
                say({"report": part})
            outcome: Message = {"end": True}
        except ReconError as error:
            outcome = {"error": [str(error.message), str(error.hint)]}
        except KeyboardInterrupt:  # no keyboard is this session's
            outcome = {"error": ["The function interrupts its own process.", "Give one that leaves the process alone."]}
        except BaseException:
            outcome = {"bug": traceback.format_exc()}
        say(outcome)
        code = 0
    finally:  # nothing above need work any more, where the code has emptied builtins
        leave(code)


def interpose_process(pipe: int) -> None:
    """Put a process between the supervisor and this one: what code does to its parent is done to that.

    Where the system can, each ends when the one before it does.
    """
    die_with_parent()
    if not hasattr(os, "fork") or not (pid := os.fork()):
        die_with_parent()
        return
    os.close(pipe)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code < 0:
        os.kill(os.getpid(), -code)  # and this is how it ends too
    os._exit(code if code >= 0 else 128 - code)


def limit_forks() -> None:
    """Have forks beyond some hundreds end where they begin, whoever makes them: one that forks for ever fells a machine."""
    if hasattr(os, "fork"):
        count, leave = mmap.mmap(-1, 8), os._exit  # one for all copies

        def counted() -> None:
            copies = int.from_bytes(count[:], "little") + 1
            count[:] = copies.to_bytes(8, "little")
            if copies > COPIES:
                leave(1)

        os.register_at_fork(after_in_child=counted)


def die_with_parent() -> None:
    """Have the kernel end this process with the one that started it (Linux; elsewhere it lives until its time is up)."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
