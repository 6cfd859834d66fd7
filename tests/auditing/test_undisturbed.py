"""What an audited function does to the process is undone, and other threads see nothing of an audit."""

from __future__ import annotations

import builtins
import gc
import locale
import logging
import os
import random
import signal
import socket
import sys
import tempfile
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy
import pytest
import torch

import recon_cli
from recon_cli.auditing.restoring import Muted, undisturbed
from recon_cli.runtime.torch_state import flushes_denormals

MESSES: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "cwd": (lambda: os.chdir(tempfile.gettempdir()), os.getcwd),
    "environment": (lambda: os.environ.update(PATH="", RECON_LEFT="1"), lambda: dict(os.environ)),
    "environment emptied": (lambda: os.environ.pop("PATH"), lambda: dict(os.environ)),
    "sys.path": (lambda: sys.path.insert(0, "/left"), lambda: (id(sys.path), [*sys.path])),
    "sys.path replaced": (lambda: setattr(sys, "path", []), lambda: (id(sys.path), [*sys.path])),
    "argv": (lambda: sys.argv.append("left"), lambda: [*sys.argv]),
    "stdout": (lambda: setattr(sys, "stdout", None), lambda: sys.stdout),
    "excepthook": (lambda: setattr(sys, "excepthook", print), lambda: sys.excepthook),
    "recursion": (lambda: sys.setrecursionlimit(5000), sys.getrecursionlimit),
    "builtins": (lambda: setattr(builtins, "left", 1), lambda: sorted(vars(builtins))),
    "builtins changed": (lambda: setattr(builtins, "sum", max), lambda: builtins.sum),
    "signals": (lambda: signal.signal(signal.SIGUSR1, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGUSR1)),
    "interrupt": (lambda: signal.signal(signal.SIGINT, signal.SIG_IGN), lambda: signal.getsignal(signal.SIGINT)),
    "alarm": (lambda: signal.alarm(3000), lambda: signal.getitimer(signal.ITIMER_REAL)),
    "mask": (
        lambda: signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1]), lambda: signal.pthread_sigmask(signal.SIG_BLOCK, []),
    ),
    "gc": (gc.disable, gc.isenabled),
    "socket": (lambda: socket.setdefaulttimeout(3), socket.getdefaulttimeout),
    "locale": (lambda: locale.setlocale(locale.LC_ALL, "C"), lambda: locale.setlocale(locale.LC_ALL)),
    "logging": (lambda: logging.basicConfig(level=1, force=True), lambda: (logging.root.level, [*logging.root.handlers])),
    "warnings": (lambda: warnings.simplefilter("error"), lambda: [*warnings.filters]),
    "errstate": (lambda: numpy.seterr(all="raise"), numpy.geterr),
    "numpy prints": (lambda: numpy.set_printoptions(precision=1), numpy.get_printoptions),
    "torch prints": (lambda: torch.set_printoptions(precision=1), lambda: dict(vars(torch._tensor_str.PRINT_OPTS))),
    "threads": (lambda: torch.set_num_threads(3), torch.get_num_threads),
    "deterministic": (lambda: torch.use_deterministic_algorithms(True), torch.are_deterministic_algorithms_enabled),
    "flush": (lambda: torch.set_flush_denormal(True), flushes_denormals),
    "products": (lambda: torch.set_float32_matmul_precision("medium"), torch.get_float32_matmul_precision),
    "autocast": (lambda: torch.autocast("cpu", torch.bfloat16).__enter__(), lambda: torch.is_autocast_enabled("cpu")),
    "autocast's dtype": (lambda: torch.set_autocast_dtype("cpu", torch.float16), lambda: torch.get_autocast_dtype("cpu")),
    "dtype": (lambda: torch.set_default_dtype(torch.float16), torch.get_default_dtype),
    "device": (lambda: torch.set_default_device("meta"), torch.get_default_device),
    "gradients": (lambda: torch.set_grad_enabled(False), torch.is_grad_enabled),
    "anomaly": (lambda: torch.autograd.set_detect_anomaly(True), torch.is_anomaly_enabled),
    "cudnn": (lambda: setattr(torch.backends.cudnn, "benchmark", True), lambda: torch.backends.cudnn.benchmark),
    "seeds": (
        lambda: (random.seed(1), numpy.random.seed(1), torch.manual_seed(1)),
        lambda: (random.getstate(), numpy.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()),
    ),
}  # fmt: skip


SLOW = ("deterministic",)  # torch imports its compiler for it


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.hostile] * (name in SLOW)) for name in MESSES])
def test_what_is_changed_meanwhile_is_put_back(name: str) -> None:
    mess, look = MESSES[name]
    before = look()
    with undisturbed():
        mess()
        assert look() != before or name in ("locale", "cudnn")
    assert look() == before


def test_a_function_that_changes_all_of_it_leaves_nothing_and_gets_its_verdict() -> None:
    def loss(y: Any, t: Any) -> Any:
        total = torch.nn.functional.mse_loss(y, t, reduction="sum") / 2
        for name, (mess, _) in MESSES.items():
            if name not in (*SLOW, "warnings", "device", "dtype", "autocast", "errstate", "gradients", "builtins changed"):
                mess()
        return total

    before = {name: look() for name, (_, look) in MESSES.items()}
    found = recon_cli.audit(loss, shape=(3,))
    assert {name: look() for name, (_, look) in MESSES.items()} == before
    assert found.rows[0].family == "gaussian"


def test_an_alarm_of_the_caller_is_still_due() -> None:
    signal.setitimer(signal.ITIMER_REAL, 1000)
    try:
        recon_cli.audit(torch.nn.MSELoss(), shape=(3,), timeout=30)
        assert 900 < signal.getitimer(signal.ITIMER_REAL)[0] < 1000
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def test_audits_in_several_threads_change_nothing_for_others(capsys: pytest.CaptureFixture[str]) -> None:
    """Twelve audits in four threads: the same verdicts, no default that another thread sees, and every print of its own."""

    def loss(y: Any, t: Any) -> Any:
        print("from the loss")
        return torch.tensor(0.1) * (y - t).abs().sum() + 0 * torch.rand(1)

    stream, going, kinds, verdicts, errors = sys.stdout, threading.Event(), set(), [], []

    def audits() -> None:
        try:
            for _ in range(3):
                row = recon_cli.audit(loss, shape=(3,)).rows[0]
                verdicts.append((row.family, row.tradeoff))
        except BaseException as error:
            errors.append(error)

    def looks() -> None:
        lines = 0
        while not going.is_set() or lines < 100:
            kinds.add((torch.get_default_dtype(), torch.zeros(1).dtype, torch.is_grad_enabled()))
            print("from beside")
            lines += 1
            going.wait(0.001)
        counted.append(lines)

    counted: list[int] = []
    beside = threading.Thread(target=looks)
    beside.start()
    threads = [threading.Thread(target=audits) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    going.set()
    beside.join()
    assert not errors
    assert len(verdicts) == 12
    assert {verdict[0] for verdict in verdicts} == {"laplace"}
    assert len(set(verdicts)) == 1
    assert kinds == {(torch.float32, torch.float32, True)}
    assert sys.stdout is stream
    assert torch.get_default_dtype() == torch.float32
    assert capsys.readouterr().out == "from beside\n" * counted[0]


def test_a_muted_stream_is_heard_again_when_it_is_over() -> None:
    kept = []

    def loss(y: Any, t: Any) -> Any:
        kept.append(sys.stderr)
        sys.stdout.buffer.write(b"bytes")
        return (y - t).square().sum()

    recon_cli.audit(loss, shape=(3,))
    assert isinstance(kept[0], Muted)
    assert not kept[0].muted
