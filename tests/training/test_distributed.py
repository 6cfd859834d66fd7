"""One run in several processes: the same steps as in one, the same bits in all of them, and nobody waits for ever."""

from __future__ import annotations

import contextlib
import errno
import gc
import hashlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forging
import numpy
import pytest
import torch
from safetensors.torch import load_file
from test_processes import ONE, free_port
from torch import nn

import recon_cli
from recon_cli import models, sources, training
from recon_cli.cli import main
from recon_cli.models.mlp import Mlp
from recon_cli.runtime import processes
from recon_cli.training import runs
from recon_cli.training.checkpoints import CHECKPOINT
from recon_cli.training.loop import State

FEW = sources.read("digits")[:163]  # ten batches of 16, and one of three: uneven shares of two processes, an empty one of four
HOW: dict[str, Any] = {"holdout": 0.0, "epochs": 3, "lr": 0.01, "batch_size": 16, "latent": 3, "hidden": 8, "device": "cpu"}
WORDS = ["train", "--data", "few.npy", *(f"--{name.replace('_', '-')}={value}" for name, value in HOW.items())]
PLACE = {**ONE, "PYTHONPATH": str(Path(recon_cli.__file__).parents[1])}
ROUNDING = 1e-5
pytestmark = pytest.mark.usefixtures("no_gpu")  # whose children are copies of this process


@pytest.fixture(scope="module", autouse=True)
def warm() -> None:
    """Everything is imported before there are children, once, and no child looks for garbage in it."""
    training.train(FEW, **{**HOW, "epochs": 1})
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", FEW)
    return tmp_path


@contextlib.contextmanager
def started(count: int, work: Callable[[], Any], **place: str) -> Iterator[list[int]]:
    """So many children of this process, as a launcher starts them; what they say lies in ``out.RANK`` and ``err.RANK``."""
    port, children = free_port(), []
    for rank in range(count):
        child = os.fork()
        if not child:
            code = 70
            try:
                os.environ.update(
                    RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port),
                    **place,
                )  # fmt: skip
                for name, number in (("out", 1), ("err", 2)):
                    os.dup2(os.open(f"{name}.{rank}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
                sys.stdout, sys.stderr = (os.fdopen(number, "w", closefd=False) for number in (1, 2))
                signal.signal(signal.SIGINT, signal.default_int_handler)
                work()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        children.append(child)
    yield children


def together(count: int, work: Callable[[], Any], **place: str) -> list[int]:
    """How each of them ended, within a minute."""
    with started(count, work, **place) as children:
        return ended(children)


def ended(children: list[int]) -> list[int]:
    """Exit codes, of those that do not end -9."""
    codes: dict[int, int] = {}
    until = time.monotonic() + 60
    while len(codes) < len(children):
        for child in children:
            if child not in codes:
                done, status = os.waitpid(child, os.WNOHANG)
                if done:
                    codes[child] = os.waitstatus_to_exitcode(status)
                elif time.monotonic() > until:
                    os.kill(child, signal.SIGKILL)
        time.sleep(0.01)
    return [codes[child] for child in children]


def said(count: int = 2) -> list[str]:
    """What each wrote to standard error; torch itself was imported before it could be told to be quiet."""
    lines = (Path(f"err.{rank}").read_text().splitlines() for rank in range(count))
    return ["\n".join(line for line in some if not line.startswith("[")) for some in lines]


def command(*words: str) -> Callable[[], None]:
    """The command line, as a process of its own runs it."""
    return lambda: main([*WORDS, *words], prog_name="recon")


def weights(folder: str) -> dict[str, bytes]:
    """Every bit of a trained network."""
    return {name: value.numpy().tobytes() for name, value in load_file(Path(folder, "model.safetensors")).items()}


def epochs(folder: str) -> list[dict[str, Any]]:
    """Its metrics."""
    return [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]


def apart(one: str, other: str) -> float:
    """The largest relative difference of what two runs wrote for their epochs."""
    pairs = zip(epochs(one), epochs(other), strict=True)
    return max(
        abs(mine - theirs[name]) / max(abs(theirs[name]), 1e-3)
        for line, theirs in pairs
        for name, mine in line.items()
        if mine is not None
    )


def shared(count: int, **how: Any) -> None:
    """A run in so many processes; each leaves a mark of its weights, and of what it would tell."""

    def work() -> None:
        if processes.rank():  # the first alone writes
            os.replace = os.fsync = None  # type: ignore[assignment]
        with processes.connected():
            found = training.train("few.npy", out="many", **{**HOW, **how})
        bits = b"".join(value.numpy().tobytes() for value in found.model.state_dict().values())
        figures = {name: value for name, value in vars(found.result).items() if "second" not in name}
        mark = [hashlib.sha256(bits).hexdigest(), str(found.likelihood), repr(found.epochs), repr(figures)]
        Path(f"mark.{processes.rank()}").write_text(json.dumps(mark))

    assert together(count, work) == [0] * count, said(count)
    assert len({Path(f"mark.{rank}").read_text() for rank in range(count)}) == 1


CASES: dict[str, dict[str, Any]] = {
    "learned": {},
    "optimal": {"sigma": "optimal"},
    "bits": {"free_bits": 0.3, "beta": 2.0, "kl_warmup": 2, "lr": 0.02},
    "conv": {"model": "conv", "epochs": 2},
    "validated": {"validation": 0.2, "patience": 1, "epochs": 5, "lr": 0.1, "schedule": "exponential:gamma=0.9"},  # two epochs
    "sgd": {"sigma": 0.5, "optimizer": "sgd", "lr": 1e-4, "momentum": 0.9, "schedule": "cosine", "weight_decay": 0.01},
    "vectors": {"likelihood": "heteroscedastic-gaussian", "model": "linear"},
}


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.crowded), pytest.param(4, marks=pytest.mark.crowded)])
@pytest.mark.parametrize("name", CASES)
def test_any_number_of_processes_make_the_same_steps(name: str, count: int) -> None:
    training.train("few.npy", out="one", **{**HOW, **CASES[name]})
    shared(count, **CASES[name])
    worst = apart("many", "one")
    print(f"{name}, {count} processes: {worst:.2g} apart")
    assert worst < ROUNDING
    config, other = (json.loads(Path(folder, "config.json").read_text()) for folder in ("one", "many"))
    assert config == other


def test_every_step_is_that_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    """The trace of an epoch, as each process has it, beside that of one process alone."""
    real = State.look

    def told(self: State) -> Any:
        torch.save(self.trace, f"trace.{self.epoch}.{processes.count()}.{processes.rank()}")
        return real(self)

    monkeypatch.setattr(State, "look", told)
    training.train("few.npy", **{**HOW, **CASES["bits"]})
    shared(2, **CASES["bits"])
    for epoch in (1, 2, 3):
        one, first, second = (torch.load(f"trace.{epoch}.{who}") for who in ("1.0", "2.0", "2.1"))
        assert torch.equal(first, second)
        assert ((first - one).abs() / one.abs()).max() < ROUNDING


@pytest.mark.slow
def test_weights_that_nothing_reaches(monkeypatch: pytest.MonkeyPatch) -> None:
    class Spare(Mlp):
        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            self.spare = nn.Linear(2, 2)

    monkeypatch.setattr(models, "kind", lambda word: Spare)
    training.train("few.npy", out="one", **HOW)
    torch.manual_seed(0)
    shared(2, weight_decay=0.0)
    assert apart("many", "one") < ROUNDING


def test_a_network_that_looks_at_the_batch_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    class Normed(Mlp):
        def __init__(self, *words: Any, **named: Any) -> None:
            super().__init__(*words, **named)
            self.encoder = nn.Sequential(nn.BatchNorm1d(64), self.encoder)

    monkeypatch.setattr(models, "kind", lambda word: Normed)
    assert together(2, command("--out", "run")) == [2, 2]
    first, second = said()
    assert first.startswith("error: The model has a BatchNorm1d")
    assert second == ""
    assert not Path("run").exists()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--batch-size", "1"], "2 processes are more than the 1 samples in a batch"),
        (["--model", "linear", "--exact"], "--exact takes all rows in every step"),
        (["--sigma", "0.5", "--against", "mse"], "--against sets steps side by side in one process"),
        (["--lr", "-1"], "--lr must be a positive number"),
        (["--epochs", "many"], "Invalid value for '--epochs'"),
        (["--data", "none.npy"], "There is no file 'none.npy'"),
        (["--resume", "nothing"], "'nothing' does not exist"),
        (["--lr", "1e6", "--optimizer", "sgd"], "epoch 1, step 2: the KL is"),
    ],
)
def test_what_all_find_is_said_once(words: list[str], expected: str) -> None:
    assert together(2, command(*words)) == [2, 2]
    first, second = said()
    assert expected in first
    assert first.count("error: ") == 1
    assert second == ""
    assert not Path("runs/gaussian").exists()


def test_more_processes_than_samples() -> None:
    numpy.save("few.npy", FEW[:2])
    assert together(3, command("--out", "run")) == [2, 2, 2]
    assert said(3)[0].startswith("error: 3 processes are more than the 2 training samples")
    assert said(3)[1:] == ["", ""]


def test_other_data_in_one_of_them() -> None:
    def work() -> None:
        if processes.rank():
            Path("other").mkdir()
            os.chdir("other")
            numpy.save("few.npy", FEW[::-1])
        command("--out", "run")()

    assert together(2, work) == [2, 2]
    assert said()[0].startswith("error: Process 1 has other values of the data")
    assert said()[1] == ""


@pytest.mark.slow
def test_a_sweep_is_shared_run_by_run() -> None:
    words = ("--sweep", "sigma=0.1,0.2", "--format", "json")
    assert together(2, command(*words)) == [0, 0], said()
    (found,) = (json.loads(Path("out.0").read_text())["tables"]["sweep"],)
    assert Path("out.1").read_text() == ""
    one = [training.train("few.npy", sigma=sigma, **HOW).result.negative_elbo for sigma in (0.1, 0.2)]
    assert [row["negative_elbo"] for row in found] == pytest.approx(one, rel=ROUNDING)


@pytest.mark.slow
def test_a_full_disk_stops_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    left, real = [20], os.fsync

    def full(number: int) -> None:
        left[0] -= 1
        if not left[0]:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(number)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert together(2, command("--out", "run", "--checkpoint-every", "0")) == [2, 2]
    first, second = said()
    assert "No space left on device" in first
    assert "recon train --resume run" in first
    assert second == ""
    assert together(2, lambda: main(["train", "--resume", "run"])) == [0, 0], said()
    assert together(2, command("--out", "whole")) == [0, 0], said()
    assert weights("run") == weights("whole")


@pytest.mark.parametrize("who", [0, 1])
def test_one_that_dies_takes_the_others_with_it(who: int, monkeypatch: pytest.MonkeyPatch) -> None:
    real, seen = State.step, [0]

    def dying(self: State) -> None:
        seen[0] += 1
        if seen[0] == 15 and processes.rank() == who:
            os.kill(os.getpid(), signal.SIGKILL)
        real(self)

    monkeypatch.setattr(State, "step", dying)
    codes = together(2, command("--out", "run"))
    assert codes == ([2, -9] if who else [-9, 2])
    assert "Traceback" not in "".join(said())
    if who:
        assert said()[0].startswith("error: Process 1 of 2 is gone.")


@pytest.mark.slow
@pytest.mark.parametrize("who", [pytest.param(0, marks=pytest.mark.crowded), 1])
def test_ctrl_c_in_one_stops_all_at_the_same_step(who: int) -> None:
    with started(2, command("--out", "run", "--epochs", "2000")) as children:
        until = time.monotonic() + 30
        while not (Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size) and time.monotonic() < until:
            time.sleep(0.01)
        os.kill(children[who], signal.SIGINT)
        assert ended(children) == [130, 130], said()
    first, second = said()
    assert "Go on with: torchrun ... -m recon_cli train --resume run" in first
    assert second == ""
    done = len(epochs("run"))
    forging.settings("run", epochs=done + 2)
    codes = together(2, lambda: main(["train", "--resume", "run"]))
    assert codes in ([0, 0], [1, 1]), said()  # after few epochs it may be worse than the mean alone
    assert together(2, command("--out", "whole", "--epochs", str(done + 2))) == codes, said()
    assert weights("run") == weights("whole")
    assert epochs("run") == epochs("whole")


DIES = """
import os, signal, sys
from recon_cli import cli
from recon_cli.runtime import processes
from recon_cli.training.loop import State
real, seen = State.step, [0]
def step(self):
    seen[0] += 1
    if seen[0] == 17 and processes.rank() == int(os.environ["WHO"]) and processes.restarts() < 1:
        os.kill(os.getpid(), signal.SIGKILL)
    real(self)
State.step = step
cli.main(sys.argv[1:])
"""


def torchrun(*words: str, **place: str) -> subprocess.Popen[str]:
    """The launcher itself."""
    start = [sys.executable, "-m", "torch.distributed.run", *words]
    return subprocess.Popen(start, env={**PLACE, **place}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.crowded
@pytest.mark.parametrize("who", [0, 1])
def test_torchrun_starts_a_killed_process_anew_and_it_ends_in_the_same_bits(who: int) -> None:
    Path("dies.py").write_text(DIES)
    words = ["dies.py", *WORDS, "--out", "run", "--checkpoint-every", "0"]
    with torchrun("--standalone", "--max-restarts=3", "--nproc-per-node=2", *words, WHO=str(who)) as running:
        out, error = running.communicate(timeout=100)
    assert running.returncode == 0, error
    assert out.count("Written to run") == 1
    assert together(2, command("--out", "whole")) == [0, 0], said()
    assert weights("run") == weights("whole")
    assert epochs("run") == epochs("whole")
    assert not [*Path("run").glob(".*")]


@pytest.mark.crowded
def test_two_machines() -> None:
    """Two launchers that know of one another only by address."""
    port = free_port()
    training.train("few.npy", out="one", **HOW)
    join = ["--nnodes=2", "--nproc-per-node=2", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}", "--rdzv-id=here"]
    words = [*join, "-m", "recon_cli", *WORDS, "--out", "many", "--format", "json"]
    both = [torchrun(*words), torchrun(*words)]
    said = [one.communicate(timeout=120) for one in both]
    assert [one.returncode for one in both] == [0, 0], said
    assert sorted(bool(out) for out, _ in said) == [False, True]
    assert apart("many", "one") < ROUNDING


# The folder.


def test_a_run_may_be_started_anew_only_with_a_folder() -> None:
    assert together(2, command(), TORCHELASTIC_MAX_RESTARTS="3") == [2, 2]
    assert said()[0].startswith("error: Started anew (torchrun --max-restarts)")


def test_a_folder_is_gone_on_with_where_it_holds_the_same_run(monkeypatch: pytest.MonkeyPatch) -> None:
    training.train("few.npy", out="run", **HOW)
    mine = json.loads(Path("run/config.json").read_text())
    assert not runs.begun("run", mine)  # no launcher
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    assert not runs.begun("run", mine)  # it is finished
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert runs.begun("run", mine)
    assert not runs.begun("run", {**mine, "lr": 1.0})
    assert not runs.begun("other", mine)
    Path("run/result.json").unlink()
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert runs.begun("run", mine)
    Path("fresh").mkdir()
    Path("fresh/metrics.jsonl").touch()
    assert not runs.begun("fresh", mine)
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert runs.begun("fresh", mine)  # killed before it said what it is


def test_one_process_that_torchrun_started_goes_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    training.train("few.npy", out="whole", **HOW)
    training.train("few.npy", out="run", **{**HOW, "checkpoint_every": 0.0})
    Path("run/result.json").unlink()
    Path("run/model.safetensors").unlink()
    forging.settings("run", checkpoint_every=30.0)
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "some")
    training.train("few.npy", out="run", **HOW)
    assert weights("run") == weights("whole")
    assert Path("run", CHECKPOINT).exists()
    assert math.isfinite(epochs("run")[-1]["nll"])
