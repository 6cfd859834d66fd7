"""Several processes, one result: by torchrun, and what happens where one of them fails."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy
import pytest

from recon_cli.cli import main
from recon_cli.runtime import processes

ONE = {**os.environ, "OMP_NUM_THREADS": "1"}
pytestmark = pytest.mark.usefixtures("no_gpu")  # whose children are copies of this process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def saved(name: str, seed: int, rows: int = 8000) -> None:
    """Eight blocks of numbers, one short."""
    numpy.save(name, numpy.random.default_rng(seed).uniform(0.1, 0.9, (rows, 123)).astype("f4"))


def start(rank: int, port: int, words: list[str], folder: Path) -> subprocess.Popen[str]:
    """One of two processes, as a launcher starts it that kills nobody."""
    here = {"RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_RANK": str(rank), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    return subprocess.Popen(
        [sys.executable, *words], env={**ONE, **here}, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def test_alone_there_is_nothing_to_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    assert (processes.count(), processes.rank(), processes.share(10)) == (1, 0, (0, 10))
    with processes.connected():
        assert processes.all_gather("mine") == ["mine"]


def test_shares_are_whole_and_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "is_distributed", lambda: True)
    for count in (1, 2, 3, 4, 7):
        monkeypatch.setenv("WORLD_SIZE", str(count))
        for items in (0, 1, 2, 10, 100):
            shares = []
            for rank in range(count):
                monkeypatch.setenv("RANK", str(rank))
                shares.append(processes.share(items))
            assert [start for start, _ in shares] == [0, *(stop for _, stop in shares[:-1])]
            assert shares[-1][1] == items
            assert max(stop - start for start, stop in shares) <= -(-items // count)


@pytest.mark.crowded
@pytest.mark.parametrize("count", [2, 4])
def test_any_number_of_processes_write_the_same_table_once(count: int, here: Path) -> None:
    saved("x.npy", 0)
    saved("mu.npy", 1)
    words = "compare --data x.npy --recon mu.npy --device cpu --format json --likelihood student-t"
    words += " --likelihood gaussian" * (count > 2)
    alone = subprocess.run(
        [sys.executable, "-m", "recon_cli", *words.split()], env=ONE, capture_output=True, text=True, timeout=120, check=True
    )
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}", "-m", "recon_cli"]
    shared = subprocess.run([*launcher, *words.split()], env=ONE, capture_output=True, text=True, timeout=120)
    assert shared.returncode == 0, shared.stderr
    assert json.loads(shared.stdout) == json.loads(alone.stdout)
    assert "Traceback" not in shared.stderr


@pytest.mark.slow
def test_grey_levels_that_one_process_meets_are_so_for_all(here: Path) -> None:
    saved("mu.npy", 1, 4000)
    x = (numpy.load("mu.npy") > 0.5).astype("f4")
    x[3500:] = 0.25  # in the second share
    numpy.save("x.npy", x)
    words = "-m recon_cli compare --data x.npy --recon mu.npy --device cpu --format json --likelihood bernoulli"
    alone = subprocess.run([sys.executable, *words.split()], env=ONE, capture_output=True, text=True, timeout=120)
    port = free_port()
    both = [start(rank, port, words.split(), here) for rank in (0, 1)]
    said = [one.communicate(timeout=60) for one in both]
    assert [one.returncode for one in both] == [1, 1] == [alone.returncode] * 2
    assert json.loads(said[0][0]) == json.loads(alone.stdout)


def test_an_error_in_one_ends_all_and_says_whose_it_is(here: Path) -> None:
    from test_distributed import said, together  # whose children are copies of this process

    saved("x.npy", 0, 100)
    saved("mu.npy", 1, 100)

    def work() -> None:
        name = "none.npy" if processes.rank() else "mu.npy"
        main(f"compare --data x.npy --recon {name} --device cpu".split(), prog_name="recon")

    assert together(2, work) == [2, 2]
    assert [Path(f"out.{rank}").read_text() for rank in (0, 1)] == ["", ""]
    assert said()[0].startswith("error: Process 1: There is no file 'none.npy'.")
    assert said()[1] == ""


@pytest.mark.parametrize("order", ["while the others wait for it", "before they do"])
def test_one_that_dies_is_named_and_nobody_waits(order: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from test_distributed import said, together

    saved("x.npy", 0, 100)
    gathered = processes.all_gather

    def dying(mine: object) -> list[object]:
        if processes.rank() == 1:
            Path("end").touch()
            os._exit(3)
        if order == "before they do":
            while not Path("end").exists():
                time.sleep(0.01)
            time.sleep(0.3)  # until its connection is known to be gone; without it the test is that of the other order
        return gathered(mine)

    monkeypatch.setattr(processes, "all_gather", dying)
    words = ["compare", "--data", "x.npy", "--recon", "x.npy", "--device", "cpu"]
    assert together(2, lambda: main(words, prog_name="recon")) == [2, 3]
    assert said()[0].startswith("error: Process 1 of 2 is gone.")
