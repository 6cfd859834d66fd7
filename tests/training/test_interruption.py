"""A run that is interrupted loses nothing: killed at any moment it goes on to the same bits; Ctrl-C and a full disk are told."""

from __future__ import annotations

import errno
import json
import os
import posix
import random
import resource
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import forging
import numpy
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.runtime.optimizers import optimizers
from recon_cli.training import Interrupted, resume, train
from recon_cli.training.checkpoints import CHECKPOINT
from recon_cli.training.loop import State
from recon_cli.training.runs import RunFolder

FEW = sources.read("digits")[:200]
HOW = {"holdout": 0.1, "epochs": 6, "batch_size": 16, "latent": 3, "hidden": 8, "device": "cpu", "checkpoint_every": 0.0}
KILLS = int(os.environ.get("RECON_KILLS", "10"))
pytestmark = pytest.mark.usefixtures("no_gpu")  # whose children are copies of this process
PLACE = {**os.environ, "PYTHONPATH": str(Path(recon_cli.__file__).parents[1]), "PYTHONIOENCODING": "utf-8"}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", FEW)
    return tmp_path


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of few samples."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("finished"))
        numpy.save("few.npy", FEW)
        begin(checkpoint_every=1e9)
        return Path("run").absolute()


def begin(out: str = "run", **how: Any) -> Any:
    """A run of few samples, a checkpoint after every step."""
    return train("few.npy", out=out, **{**HOW, **how})


def outcome(folder: str) -> tuple[dict[str, bytes], bytes, dict[str, Any]]:
    """What must not depend on how often a run was interrupted: every bit of the weights, every epoch, the result."""
    result = json.loads(Path(folder, "result.json").read_text())
    steady = {name: value for name, value in result.items() if "second" not in name}
    weights = {name: value.numpy().tobytes() for name, value in load_file(Path(folder, "model.safetensors")).items()}
    return weights, Path(folder, "metrics.jsonl").read_bytes(), steady


def in_a_child(work: Callable[[], Any], moment: Callable[[], Any] | None = None) -> int:
    """The work in a process of its own, killed when ``moment`` returns; its status as the system gives it."""
    child = os.fork()
    if not child:
        try:
            work()
            os._exit(0)
        except BaseException:
            os._exit(1)
    if moment is not None:
        moment()
        os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1]


def go_on(**how: Any) -> Any:
    """Whatever a user would do next."""
    return resume("run") if Path("run", "config.json").exists() else begin(**how)


@pytest.mark.slow
@pytest.mark.parametrize("sigma", ["learned", "optimal"])
def test_killed_at_random_moments_it_ends_in_the_same_bits(sigma: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each from outside, so many files after the child began and a moment later; a checkpoint is written after every step."""
    how = {"sigma": sigma, "epochs": 10, "hidden": 64}
    began = time.perf_counter()
    begin("whole", **how)
    took, hears, tells = time.perf_counter() - began, *os.pipe()
    put, chance, kills, writing, behind = RunFolder.put, random.Random(7), 0, 0, []

    def told(self: RunFolder, name: str, content: bytes) -> None:
        os.write(tells, b".")
        put(self, name, content)

    monkeypatch.setattr(RunFolder, "put", told)
    monkeypatch.setattr(os, "fsync", posix.fsync)  # which the suite leaves out, and half of a write is
    for _ in range(4 * KILLS):
        longest = chance.choice((took / 40, 3e-4))  # somewhere in a step; or in the write that has just begun

        def moment(files: int = chance.randint(1, 4), later: float = chance.uniform(0, longest)) -> None:
            for _ in range(files):
                if select.select([hears], [], [], 2)[0]:
                    os.read(hears, 1)
            time.sleep(later)

        if in_a_child(lambda: go_on(**how), moment) == signal.SIGKILL:
            kills += 1
            writing += any(Path("run").glob(f".{CHECKPOINT}.*"))
            behind.append(Path("run", "metrics.jsonl").read_text().count("\n"))
            if not Path("run", "config.json").exists():  # nothing has begun yet
                shutil.rmtree("run")
        while select.select([hears], [], [], 0)[0]:  # what was told after that moment
            os.read(hears, 1 << 16)
        if kills == KILLS:
            break
    resume("run")
    print(f"{kills} kills, {writing} inside the write of a checkpoint; after {behind} epochs")
    assert kills == KILLS  # how many inside a write is chance: the test below kills there for certain
    assert outcome("run") == outcome("whole")
    assert not [*Path("run").glob(".*")]


@pytest.mark.parametrize("moment", ["half", "fsync", "replace"])
def test_killed_inside_a_write_it_ends_in_the_same_bits(moment: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("whole")
    real = {"fsync": os.fsync, "replace": os.replace}

    def dying(name: str) -> Callable[..., Any]:
        left = [40]

        def call(*words: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                if moment == "half":
                    os.ftruncate(words[0], 1000)
                os.kill(os.getpid(), signal.SIGKILL)
            return real[name](*words)

        return call

    def doomed() -> None:
        name = "fsync" if moment == "half" else moment
        setattr(os, name, dying(name))
        begin()

    assert in_a_child(doomed) == signal.SIGKILL
    (partial,) = Path("run").glob(f".{CHECKPOINT}.*")
    assert (partial.stat().st_size == 1000) == (moment == "half")
    resume("run")
    assert outcome("run") == outcome("whole")


def stopped_at(step: int, monkeypatch: pytest.MonkeyPatch, **how: Any) -> None:
    """A run that Ctrl-C stops after so many steps."""
    seen = [0]
    real = State.step

    def counted(self: State) -> None:
        real(self)
        seen[0] += 1
        if seen[0] == step:
            signal.raise_signal(signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(State, "step", counted)
        with pytest.raises(Interrupted):
            begin(**{"checkpoint_every": 1e9, **how})


@pytest.mark.parametrize("name", optimizers())
def test_every_optimizer_goes_on_where_it_was(name: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {"optimizer": name, "lr": 1e-3, "epochs": 3}
    begin("whole", **how)
    stopped_at(17, monkeypatch, **how)
    resume("run")
    assert outcome("run") == outcome("whole")


@pytest.mark.parametrize("step", [1, 12, 24, 72])
def test_ctrl_c_finishes_the_step(step: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("whole", momentum=0.9, nesterov=True, optimizer="sgd", lr=1e-4)
    handler = signal.getsignal(signal.SIGINT)
    how = {"momentum": 0.9, "nesterov": True, "optimizer": "sgd", "lr": 1e-4}
    if step == 72:  # the last one: nothing is left to interrupt
        with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
            stopped_at(step, monkeypatch, **how)
    else:
        stopped_at(step, monkeypatch, **how)
    assert signal.getsignal(signal.SIGINT) is handler
    resume("run")
    assert outcome("run") == outcome("whole")


@pytest.mark.slow
def test_a_finished_run_is_told_again_and_goes_on_to_more_epochs(here: Path) -> None:
    begin("more", epochs=8)
    found = begin("run")
    again = resume("run")
    assert again.result.seconds == pytest.approx(found.result.seconds, rel=0.5)
    assert again.epochs == found.epochs
    assert resume("run", epochs=8).epochs == begin("whole", epochs=8).epochs
    assert outcome("run") == outcome("more")
    assert json.loads(Path("run/config.json").read_text())["epochs"] == 8


@pytest.mark.slow
def test_ctrl_c_from_a_shell(here: Path) -> None:
    words = [
        sys.executable,
        "-m",
        "recon_cli",
        "train",
        "--epochs",
        "20000",
        "--hidden",
        "8",
        "--out",
        "run",
        "--data",
        "few.npy",
    ]
    how: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8"}
    listen: Any = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.default_int_handler)}
    with subprocess.Popen(words, env=PLACE, **how, **listen) as running:
        until = time.monotonic() + 60
        while not (Path("run/metrics.jsonl").exists() and Path("run/metrics.jsonl").stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGINT)
        out, error = running.communicate(timeout=60)
    assert (running.returncode, out) == (130, "")
    assert "Go on with: recon train --resume run" in error
    assert Path("run", CHECKPOINT).exists()


def test_a_full_disk_leaves_the_last_checkpoint(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("whole")

    def full(number: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, "No space left on device")

    left = [40]
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(ReconError, match="No space left on device") as stopped:
            begin()
    assert stopped.value.hint == "Free some space, then go on from the last checkpoint: recon train --resume run."
    assert not [*Path("run").glob(".*")]
    before = Path("run", CHECKPOINT).read_bytes()
    assert before
    resume("run")
    assert outcome("run") == outcome("whole")


@pytest.mark.slow
def test_a_file_that_may_not_grow_is_a_full_disk_too(here: Path) -> None:
    """The system's own limit, in a process of its own: the metrics break off in the middle of a line."""

    small = {"epochs": 100, "batch_size": 200, "hidden": 2, "latent": 1}

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
        try:
            begin("run", **small)
        except ReconError as error:
            os._exit(7 if "--resume run" in error.hint else 8)

    assert os.waitstatus_to_exitcode(in_a_child(limited)) == 7
    lines = Path("run/metrics.jsonl").read_text()
    assert not lines.endswith("\n")
    begin("whole", **small)
    resume("run")
    assert outcome("run") == outcome("whole")


def test_a_term_that_is_no_number_stops_within_a_few_steps_and_is_never_written_down(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, steps = State.step, [0]

    def poisoned(self: State) -> None:
        steps[0] += 1
        if steps[0] == 20:
            next(self.model.parameters()).data[0] = float("nan")
        real(self)

    monkeypatch.setattr(State, "step", poisoned)
    with pytest.raises(ReconError, match="epoch 2, step 8: the KL is nan"):
        begin()
    assert steps[0] <= 24
    assert all(value.isfinite().all() for name, value in load_file(f"run/{CHECKPOINT}").items() if name.startswith("network"))


@pytest.mark.slow
def test_sigma_stays_above_its_floor(here: Path) -> None:
    alike = numpy.repeat(FEW[:2], 50, axis=0)
    low = train(alike, **{**HOW, "epochs": 60, "lr": 0.01}).result.sigma
    high = train(alike, **{**HOW, "epochs": 60, "lr": 0.01, "sigma_floor": 0.1}).result.sigma
    best = train(alike, sigma="optimal", **{**HOW, "epochs": 60, "lr": 0.01, "sigma_floor": 0.1}).result.sigma
    assert low < 0.1 < high
    assert best == 0.1


# What cannot be gone on with.


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--lr", "0.1"], "has --lr 0.002, and 0.1 was asked for"),
        (["--sigma", "0.5"], "has --sigma None, and 0.5"),
        (["--likelihood", "laplace"], "has --likelihood gaussian, and laplace"),
        (["--data", "digits"], "has --data few.npy, and digits"),
        (["--epochs", "2"], "has --epochs 6, and 2"),
        (["--out", "other"], "has --out run, and other"),
        (["--optimizer", "sgd"], "has --optimizer adam, and sgd"),
    ],
)
def test_options_that_contradict_the_run(words: list[str], said: str, here: Path, finished: Path) -> None:
    shutil.copytree(finished, "run")
    before = outcome("run")
    result = CliRunner().invoke(main, ["train", "--resume", "run", *words])
    assert result.exit_code == 2
    assert said in result.stderr
    assert "hint: Leave " in result.stderr
    assert outcome("run") == before
    same = CliRunner().invoke(main, ["train", "--resume", "run", "--lr", "0.002", "--batch-size", "16", "--format", "json"])
    assert same.exit_code in (0, 1), same.stderr


def without(name: str) -> None:
    Path("run", name).unlink()


def version() -> None:
    path = Path("run/config.json")
    path.write_text(path.read_text().replace(recon_cli.__version__, "0.0.9"))


def torn() -> None:
    Path("run", CHECKPOINT).write_bytes(Path("run", CHECKPOINT).read_bytes()[:-100])


def lacking() -> None:
    forging.tensors("run", CHECKPOINT, lambda found: found.pop("generator"))


def other_data() -> None:
    numpy.save("few.npy", FEW[::-1])


def more_data() -> None:
    numpy.save("few.npy", sources.read("digits")[:300])


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (lambda: without("config.json"), "run holds no config.json"),
        (lambda: without("metrics.jsonl"), "metrics.jsonl lacks some of the 6 epochs"),
        (version, "a run of recon 0.0.9"),
        (torn, "no checkpoint of this run"),
        (lacking, "no checkpoint of this run"),
        (other_data, "trained on other values of few.npy"),
        (more_data, "trained on other values of few.npy"),
    ],
    ids=["config", "metrics", "version", "torn", "lacking", "values", "size"],
)
def test_a_run_that_is_not_whole(harm: Callable[[], None], said: str, here: Path, finished: Path) -> None:
    shutil.copytree(finished, "run")
    harm()
    result = CliRunner().invoke(main, ["train", "--resume", "run"])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert isinstance(result.exception, SystemExit)


@pytest.mark.slow
def test_without_a_checkpoint_it_starts_from_the_beginning(here: Path) -> None:
    begin()
    before = outcome("run")
    without(CHECKPOINT)
    resume("run")
    assert outcome("run") == before


def test_an_array_is_given_again(here: Path) -> None:
    found = train(FEW, out="run", **HOW)
    assert resume("run", data=FEW).epochs == found.epochs
    with pytest.raises(ReconError, match="other values of data"):
        resume("run", data=FEW * 2)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"checkpoint_every": -1.0}, "--checkpoint-every must be a number from 0 up"),
        ({"sigma_floor": -1.0}, "--sigma-floor must be"),
        ({"sigma_floor": 0.1, "sigma": 0.5}, "the noise of gaussian is given"),
        ({"sigma_floor": 0.1, "likelihood": "bernoulli"}, "bernoulli is no sigma"),
        ({"momentum": 0.9}, "optimizer adam has no momentum"),
        ({"optimizer": "sgd", "eps": 1e-8}, "optimizer sgd has no eps"),
        ({"optimizer": "sgd", "momentum": -1.0}, "--momentum must be"),
        ({"optimizer": "sgd", "nesterov": True}, "--nesterov is a kind of momentum"),
    ],
)
def test_settings_that_no_run_can_have(how: dict[str, Any], said: str, here: Path) -> None:
    with pytest.raises(ReconError, match=said):
        begin(**how)
    assert not Path("run").exists()


@pytest.mark.slow
def test_the_device_is_the_same(here: Path) -> None:
    begin()
    assert torch.equal(resume("run", device="auto").model.mean, begin("other").model.mean)
