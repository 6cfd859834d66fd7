"""A run's folder is read only as it was written: every bit that has changed is noticed, and no code of somebody else is run."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import forging
import numpy
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import save

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.models import _saved as saved
from recon_cli.runtime import checksums
from recon_cli.training import Interrupted, resume, train
from recon_cli.training.locks import LOCK, Lock
from recon_cli.training.plan import Plan

FEW = sources.read("digits")[:40]
pytestmark = pytest.mark.usefixtures("no_gpu")  # whose children are copies of this process
HOW: dict[str, Any] = {"holdout": 0.2, "epochs": 2, "batch_size": 16, "latent": 2, "hidden": 3, "device": "cpu"}
ASKED = {
    "checkpoint.safetensors": ["train", "--resume", "run"],
    "metrics.jsonl": ["train", "--resume", "run"],
    "config.json": ["train", "--resume", "run"],
    "model.safetensors": ["compare", "--data", "few.npy", "--recon", "run:run", "--sigma", "1", "--device", "cpu"],
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with data and a finished run in it, which stays as it is."""
    folder = tmp_path_factory.mktemp("made")
    numpy.save(folder / "few.npy", FEW)
    before = Path.cwd()
    os.chdir(folder)
    try:
        train("few.npy", out="run", **HOW)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def here(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it, to be changed."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    return tmp_path


def said(*words: str) -> Result:
    """What the command line says, with no traceback."""
    result = CliRunner().invoke(main, [*words])
    assert result.exception is None or isinstance(result.exception, (SystemExit,)), (words, result.exception)
    return result


def refused(*words: str) -> str:
    """The sentence and the hint with which it refuses."""
    result = said(*words)
    assert result.exit_code == 2, (words, result.output)
    assert result.stderr.startswith("error: ")
    assert "\n hint: " in result.stderr
    return result.stderr


def test_what_is_whole_is_taken(here: Path) -> None:
    for words in ASKED.values():
        assert said(*words).exit_code in (0, 1), words


# Every bit.


def flipped(name: str, place: int, bit: int) -> str:
    """The sentence about a run with one bit of a file turned; the file is as it was afterwards."""
    path = Path("run", name)
    whole = path.read_bytes()
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])
    try:
        return refused(*ASKED[name])
    finally:
        path.write_bytes(whole)


def flip(count: int, seed: int) -> None:
    """So many turned bits of each file, half of them near the beginning, where the words are."""
    chance = random.Random(seed)
    for name in ASKED:
        size = Path("run", name).stat().st_size
        for one in range(count):
            flipped(name, chance.randrange(size if one % 2 else min(size, 1200)), chance.randrange(8))


def test_a_flipped_bit_is_noticed(here: Path) -> None:
    flip(3, seed=1)


@pytest.mark.hostile
def test_five_hundred_flipped_bits_are_noticed(here: Path) -> None:
    flip(125, seed=2)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_digit_changed_by_hand_is_noticed(name: str, here: Path) -> None:
    path = Path("run", name)
    text = path.read_text()
    place = next(at for at, letter in enumerate(text) if at > 60 and letter.isdigit())
    path.write_text(f"{text[:place]}{(int(text[place]) + 1) % 10}{text[place + 1 :]}")
    assert "edited by hand" in refused(*ASKED[name])


@pytest.mark.parametrize("name", ASKED)
def test_a_file_without_a_checksum_or_of_another_run_is_refused(name: str, here: Path) -> None:
    train("few.npy", out="other", **{**HOW, "lr": 0.01})
    whole = Path("run", name).read_bytes()
    Path("run", name).write_bytes(Path("other", name).read_bytes())
    refused(*ASKED[name])
    Path("run", name).write_bytes(whole.replace(b'"sha256"', b'"sha255"', 1).replace(b'"epoch"', b'"epocs"', 1))
    refused(*ASKED[name])


def test_the_same_weights_are_the_same_file(here: Path) -> None:
    folders = [f"run{one}" for one in range(5)]
    for folder in folders:
        train("few.npy", out=folder, **HOW)
    assert len({Path(folder, "model.safetensors").read_bytes() for folder in ("run", *folders)}) == 1
    saved, about = save({"x": torch.zeros(3)}), {"a": "1", "c": "2", "b": "3"}
    assert len({checksums.tensor_file(saved, dict(order)) for order in itertools.permutations(about.items())}) == 1


def test_a_checksum_covers_every_byte() -> None:
    whole = checksums.json_file({"a": 1})
    assert checksums.verify(whole) == whole
    for place in range(len(whole)):
        for bit in range(8):
            with pytest.raises(ValueError, match="checksum"):
                checksums.verify(whole[:place] + bytes([whole[place] ^ 1 << bit]) + whole[place + 1 :])


# Edits by hand; and by somebody who mends the checksum.

DEEP: Any = [[[[1]]]]
ODD: tuple[Any, ...] = (
    None, True, False, 0, -1, 5, 0.5, -0.5, 1e300, 1e-300, 2**63, 2**80, -(2**63), "", "x", "evil", "5", "\0", "é", " ", "../..",
    "nan", [], {}, [1], ["a"], {"a": 1}, DEEP, "a" * 5000, float("nan"), float("inf"), [8, 8, 8], "small.py:Small", "run:run",
)  # fmt: skip
RAW = (
    b"", b"{", b"[]", b"3", b"null", b'"x"', b"{}", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 100_000, b"\0" * 500, b"NaN",
    b'{"version": "0.1.0", "version": "0.1.0"}', b"9" * 10_000, b"\xef\xbb\xbf{}",
)  # fmt: skip


def edit(chance: random.Random, config: dict[str, Any]) -> dict[str, Any]:
    """Another config: an entry changed, gone, or added."""
    changed, what = dict(config), chance.random()
    name = chance.choice([key for key in config if key != checksums.KEY])
    if what < 0.1:
        changed.pop(name)
    elif what < 0.2:
        changed[chance.choice(("x", "lrr", "", "__class__", "Lr", "trust"))] = chance.choice(ODD)
    else:
        changed[name] = chance.choice(ODD)
    return changed


def edits(count: int, seed: int) -> None:
    """So many configs edited by hand, none of them taken; and the same with a checksum that fits, none of them a traceback."""
    chance, path = random.Random(seed), Path("run/config.json")
    whole = path.read_bytes()
    for _ in range(count):
        changed = edit(chance, json.loads(whole))
        words = chance.choice((ASKED["config.json"], ASKED["model.safetensors"]))
        if changed != json.loads(whole):
            path.write_text(json.dumps(changed, indent=2, ensure_ascii=False) + "\n")
            refused(*words)
        path.write_bytes(checksums.json_file({key: value for key, value in changed.items() if key != checksums.KEY}))
        said(*words)
        shutil.rmtree("run")
        shutil.copytree("whole", "run")


@pytest.fixture
def kept(here: Path) -> Path:
    """The same, and the run once more beside it."""
    shutil.copytree("run", "whole")
    return here


def test_an_edited_config_is_noticed(kept: Path) -> None:
    edits(12, seed=3)


@pytest.mark.hostile
def test_five_hundred_edited_configs_are_noticed(kept: Path) -> None:
    edits(500, seed=4)


@pytest.mark.hostile
def test_five_hundred_configs_that_fit_the_run_are_no_tracebacks(kept: Path) -> None:
    """As the model and the checkpoint would be of a run that was asked for so."""
    chance = random.Random(5)
    for _ in range(500):
        changed = edit(chance, json.loads(Path("run/config.json").read_text()))
        changed.pop(checksums.KEY)
        Path("run/config.json").write_bytes(checksums.json_file(changed))
        for name in ("model.safetensors", "checkpoint.safetensors"):
            forging.tensors("run", name, about={"run": saved.identity(changed)})
        said(*chance.choice((ASKED["config.json"], ASKED["model.safetensors"])))
        shutil.rmtree("run")
        shutil.copytree("whole", "run")


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_what_is_no_json_of_a_run_is_refused(name: str, here: Path) -> None:
    for text in RAW:
        Path("run", name).write_bytes(text)
        refused(*ASKED[name])


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ({"lr": "fast"}, 'has lr "fast", which must be a positive number'),
        ({"likelihood": None}, "has likelihood null, which must be a word"),
        ({"likelihood": ["gaussian"]}, 'has likelihood ["gaussian"], which must be a word'),
        ({"device": 5}, "has device 5, which must be a word"),
        ({"scale": "x"}, 'has scale "x", which must be null or a positive number'),
        ({"binarize": "evil"}, 'has binarize "evil", which must be null or threshold or sample'),
        ({"seed": 2**64}, "which must be a whole number from 0 up"),
        ({"lrr": 1}, 'has "lrr", which no run of recon'),
    ],
)
def test_a_value_that_no_run_has_is_named(how: dict[str, Any], words: str, here: Path) -> None:
    forging.settings("run", **how)
    for command in (ASKED["config.json"], ASKED["model.safetensors"]):
        assert words in refused(*command)


def test_every_setting_is_looked_at() -> None:
    config = json.loads(json.dumps(Plan.of(FEW, **HOW).config))
    assert {*config} == {*saved.FIELDS}
    assert saved.checked("config.json", config) == {**config, "shape": (8, 8)}


@pytest.mark.parametrize(
    "change",
    [
        lambda line: {**line, "evil": 1},
        lambda line: {**line, "nll": "low"},
        lambda line: {**line, "nll": DEEP},
        lambda line: {**line, "epoch": 2},
        lambda line: {key: value for key, value in line.items() if key != "kl"},
        lambda line: [line],
        lambda line: 3,
    ],
)
def test_metrics_that_are_none_are_a_sentence_whatever_the_checksum(change: Callable[[Any], Any], here: Path) -> None:
    lines = Path("run/metrics.jsonl").read_text().splitlines()
    text = "".join(f"{json.dumps(line)}\n" for line in (change(json.loads(lines[0])), json.loads(lines[1])))
    Path("run/metrics.jsonl").write_text(text)
    assert "damaged, or edited by hand" in refused(*ASKED["metrics.jsonl"])
    forging.tensors("run", "checkpoint.safetensors", about={"metrics": checksums.digest(text.encode())})
    assert "line 1 " in refused(*ASKED["metrics.jsonl"])


ELSEWHERE: tuple[dict[str, Any], ...] = (
    {"lr": "fast"}, {"device": 5}, {"scale": "x"}, {"binarize": "evil"}, {"likelihood": None}, {"optimizer": 3},
    {"exact": "yes"}, {"schedule": ["a"]}, {"epochs": 2.5}, {"hidden": True}, {"seed": "1"}, {"momentum": "x"},
)  # fmt: skip


def test_in_python_too() -> None:
    for how in ELSEWHERE:
        with pytest.raises(ReconError, match=f"{[*how][0]}"):
            train(FEW, **{**HOW, **how})
    assert train(FEW, **{**HOW, "lr": numpy.float32(0.001), "epochs": numpy.int64(1)}).settings.epochs == 1


# Somebody else's code.

CODE = """
    import pathlib
    import torch
    pathlib.Path("ran").touch()
    class Small(torch.nn.Module):
        def __init__(self, latent):
            super().__init__()
            self.down, self.up = torch.nn.Linear(64, 2 * latent), torch.nn.Linear(latent, 64)
        def encode(self, x):
            return self.down(x.flatten(1)).chunk(2, dim=1)
        def decode(self, z):
            return self.up(z)
"""
COMMANDS = (
    ["train", "--resume", "own"],
    ["compare", "--data", "few.npy", "--recon", "run:own", "--sigma", "1"],
    pytest.param(["calibrate", "--data", "few.npy", "--recon", "run:own"], marks=pytest.mark.hostile),
)


@pytest.fixture(params=["small.py:Small", "boxes.small:Small"])
def own(request: pytest.FixtureRequest, here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of the model of a run; it and its package leave a mark when they are run."""
    Path("boxes").mkdir()
    Path("boxes/__init__.py").write_text('open("ran", "w")')
    monkeypatch.syspath_prepend(str(here))
    for name in [name for name in sys.modules if name.split(".")[0] == "boxes"]:
        monkeypatch.delitem(sys.modules, name)
    path = Path("small.py" if request.param.startswith("small.py") else "boxes/small.py")
    path.write_text(textwrap.dedent(CODE))
    train("few.npy", out="own", model=request.param, **{**HOW, "hidden": 8})
    for name in [name for name in sys.modules if name.split(".")[0] == "boxes"]:
        monkeypatch.delitem(sys.modules, name)
    Path("ran").unlink()
    return path


@pytest.mark.parametrize("words", COMMANDS, ids=str)
def test_code_that_the_folder_names_is_not_run_untrusted_nor_changed(words: list[str], own: Path) -> None:
    assert "brings code for its model" in (message := refused(*words))
    assert "--trust" in message
    assert not Path("ran").exists()
    whole = own.read_text()
    own.write_text(whole + "\n")
    for more in ([], ["--trust"]):
        assert "has changed since the run was trained" in refused(*words, *more)
    own.unlink()
    assert "cannot be read" in refused(*words, "--trust") or "no module" in refused(*words, "--trust")
    assert not Path("ran").exists()
    own.write_text(whole)
    assert said(*words, "--trust").exit_code in (0, 1)
    assert Path("ran").exists()


def test_code_that_the_user_names_is_run(own: Path) -> None:
    word = json.loads(Path("own/config.json").read_text())["model"]
    assert said("train", "--resume", "own", "--model", word).exit_code in (0, 1)
    assert Path("ran").exists()
    resume("own", model=word)
    resume("own", trust=True)
    with pytest.raises(ReconError, match="brings code"):
        resume("own")


def test_a_model_whose_checksum_is_left_out_is_not_run(own: Path) -> None:
    word = json.loads(Path("own/config.json").read_text())["model"]
    for checksum in (None, "", "x", 5):
        forging.settings("run", model=word, model_sha256=checksum)
        for command in (ASKED["config.json"], ASKED["model.safetensors"]):
            refused(*command, "--trust")
    config = json.loads(Path("run/config.json").read_text())
    config.pop("model_sha256")
    Path("run/config.json").write_bytes(checksums.json_file(config | {"sha256": ""}))
    for command in (ASKED["config.json"], ASKED["model.safetensors"]):
        refused(*command, "--trust")
    assert not Path("ran").exists()


# One process at a time.


def test_a_folder_that_is_at_work_is_not_taken_by_another(here: Path) -> None:
    who = f"process {os.getpid()} on {socket.gethostname()} is at work in it"
    before = {path.name: path.read_bytes() for path in Path("run").iterdir()}
    lock = Lock(Path("run"))
    lock.take()
    assert f"The folder run is not empty: {who}" in refused("train", "--resume", "run", "--epochs", "9")
    assert who in refused("train", "--data", "few.npy", "--out", "run")
    lock.release()
    assert {path.name: path.read_bytes() for path in Path("run").iterdir()} == before
    Path("fresh").mkdir()
    lock = Lock(Path("fresh"))
    lock.take()
    assert who in refused("train", "--data", "few.npy", "--out", "fresh")
    assert [path.name for path in Path("fresh").iterdir()] == [LOCK]
    lock.release()
    assert said("train", "--data", "few.npy", "--epochs", "1", "--out", "fresh").exit_code in (0, 1)


def child(*words: str) -> int:
    """The command line in a process of its own, what it says in a file of its number; which it is."""
    one = os.fork()
    if not one:
        code = 70
        try:
            with open(f"{os.getpid()}.said", "w") as file, contextlib.redirect_stderr(file):
                main([*words], prog_name="recon")
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 71
        finally:
            os._exit(code)
    return one


def ended(one: int) -> tuple[int, str]:
    """Its exit code, and what it said."""
    return os.waitstatus_to_exitcode(os.waitpid(one, 0)[1]), Path(f"{one}.said").read_text()


def test_of_two_that_go_on_at_once_one_does(here: Path) -> None:
    words = ["train", "--resume", "run", "--epochs", "20", "--checkpoint-every", "30"]
    both = [child(*words), child(*words)]
    ends = [ended(one) for one in both]
    if 2 in (codes := [code for code, _ in ends]):  # they may also have come one after the other
        assert f"process {both[1 - codes.index(2)]} on" in ends[codes.index(2)][1]
    assert {*codes} <= {0, 1, 2}, ends
    assert codes != [2, 2]
    assert len(Path("run/metrics.jsonl").read_text().splitlines()) == 20
    assert not Path("run", LOCK).exists()
    assert resume("run").epochs == train("few.npy", **{**HOW, "epochs": 20}).epochs


def test_what_a_killed_process_leaves_holds_nobody_back(here: Path) -> None:
    child = os.fork()
    if not child:
        Lock(Path("run")).take()
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert f"process {child} on" in Path("run", LOCK).read_text()
    resume("run")
    assert not Path("run", LOCK).exists()
    Path("empty").mkdir()
    Path("empty", LOCK).write_text("process 1 on nowhere\n")
    train("few.npy", out="empty", **HOW)


# Told to stop.


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP"])
def test_a_signal_saves_and_says_how_to_go_on(name: str, here: Path) -> None:
    sizes = ["--batch-size", "16", "--latent", "2", "--hidden", "3", "--device", "cpu"]
    one = child("train", "--data", "few.npy", "--epochs", "100000", "--out", "long", *sizes)
    until, metrics = time.monotonic() + 60, Path("long/metrics.jsonl")
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < until:
        time.sleep(0.01)
    number = getattr(signal, name)
    os.kill(one, number)
    code, message = ended(one)
    assert code == 128 + number
    assert "and saved. Go on with: recon train --resume long\n" in message
    assert not Path("long", LOCK).exists()
    done = len(metrics.read_text().splitlines())
    forging.settings("long", epochs=done + 2)
    resume("long")
    train("few.npy", out="straight", **{**HOW, "epochs": done + 2})
    for file in ("metrics.jsonl", "model.safetensors", "config.json"):
        assert Path("long", file).read_bytes() == Path("straight", file).read_bytes(), file


def test_a_signal_that_the_caller_uses_stays_the_callers(here: Path) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        train("few.npy", out="long", progress=lambda done, words: os.kill(os.getpid(), signal.SIGTERM), **HOW)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM] * 2
    with pytest.raises(Interrupted, match="epoch 2 of 2") as stopped:
        train("few.npy", out="other", progress=lambda done, words: os.kill(os.getpid(), signal.SIGTERM), **HOW)
    assert stopped.value.code == 143
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.crowded
def test_torchrun_that_is_told_to_stop_saves(here: Path) -> None:
    """The launcher passes the signal on; both processes end at the same step, and the first lets go of the folder."""
    place = {**os.environ, "PYTHONPATH": str(Path(recon_cli.__file__).parents[1])}
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "-m", "recon_cli"]
    words = ["train", "--data", "few.npy", "--epochs", "100000", "--out", "long", "--device", "cpu"]
    how: Any = {"env": place, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([*start, *words], **how) as running:
        until, metrics = time.monotonic() + 100, Path("long/metrics.jsonl")
        while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < until:
            time.sleep(0.05)
        running.send_signal(signal.SIGTERM)
        _, error = running.communicate(timeout=100)
    assert "and saved. Go on with: torchrun ... -m recon_cli train --resume long" in error
    assert not Path("long", LOCK).exists()
    done = len(metrics.read_text().splitlines())
    forging.settings("long", epochs=done + 2)
    assert subprocess.run([*start, "train", "--resume", "long"], env=place, capture_output=True, check=False).returncode in (0, 1)
    assert len(metrics.read_text().splitlines()) == done + 2
