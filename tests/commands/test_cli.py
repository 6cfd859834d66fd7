"""The command line from outside: exit codes, one sentence for every mistake, and what goes to which stream."""

from __future__ import annotations

import contextlib
import csv
import errno
import io
import json
import os
import pickle
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time
import traceback
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy
import pytest
import torch
from click.testing import CliRunner

import recon_cli
from recon_cli import formats
from recon_cli.cli import main

COMMANDS = sorted(file.stem for file in Path(recon_cli.__file__).with_name("commands").glob("[!_]*.py"))
SCRIPT = Path(sys.executable).with_name("recon")
COLOUR = re.compile(r"\x1b\[[\d;]*\b(?:3\d|4\d|9\d)[\d;]*m")
posix = pytest.mark.skipif(os.name != "posix", reason="needs POSIX pipes and signals")


@dataclass(frozen=True)
class Ran:
    """How a run ended and what it wrote."""

    code: int
    out: str
    err: str

    @property
    def flat(self) -> str:
        """Standard output with its line breaks undone."""
        return " ".join(self.out.split())

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The identity table of ``--format json``."""
        return json.loads(self.out)["tables"]["identity"]


def recon(words: str, **how: Any) -> Ran:
    """Run in this process. Whatever is no exit is a bug and is raised."""
    try:
        runner = CliRunner(mix_stderr=False, **how)  # click 8.1
    except TypeError:
        runner = CliRunner(**how)
    done = runner.invoke(main, shlex.split(words), prog_name="recon")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return Ran(done.exit_code, done.stdout, done.stderr)


def process(words: str, **how: Any) -> Ran:
    """Run in a process of its own, where no variable of this shell decides about colours."""
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "encoding": "utf-8", **how}
    how["env"] = environment(how.get("env", {}))
    done = subprocess.run([sys.executable, "-m", "recon_cli", *shlex.split(words)], check=False, timeout=60, **how)
    return Ran(done.returncode, done.stdout or "", done.stderr or "")


def environment(more: dict[str, str]) -> dict[str, str]:
    """This process's, without what decides about colours, and with ``more``."""
    mine = {key: value for key, value in os.environ.items() if key not in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE")}
    return {**mine, "PYTHONPATH": str(Path(recon_cli.__file__).parents[1]), "PYTHONIOENCODING": "utf-8", **more}


def complaint(ran: Ran) -> tuple[str, str]:
    """The sentence and the hint of a user's mistake: exit code 2, nothing on standard output, nothing else on stderr."""
    assert ran.code == 2, ran
    assert ran.out == ""
    assert "Traceback" not in ran.err
    said = re.fullmatch(r"error: (?P<sentence>\S[^\n]*[^\n.?][.?])\n(?: hint: (?P<hint>\S[^\n]*[.?)])\n)?", ran.err)
    assert said, ran.err
    return said["sentence"], said["hint"] or ""


# Files to be wrong about.


def binary(**changed: float) -> numpy.ndarray:
    """Five samples of zeros and ones, some of them replaced: ``at_1_2=-0.25``."""
    x = numpy.tile(numpy.array([0.0, 1.0]), (5, 4))
    for place, value in changed.items():
        x[tuple(int(i) for i in place.split("_")[1:])] = value
    return x


class Payload:
    """Unpickled, it makes a folder."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[str]]:
        return os.mkdir, (self.path,)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of arrays, good ones and bad ones."""
    folder = tmp_path_factory.mktemp("files")
    rng = numpy.random.default_rng(0)
    grey = rng.random((40, 8))
    nan = rng.random((20, 8))
    nan[3, 2], nan[3, 4], nan[5, 5] = numpy.nan, numpy.inf, -numpy.inf
    arrays: dict[str, Any] = {
        "grey": grey, "grey_hat": numpy.clip(grey + 0.1 * rng.standard_normal(grey.shape), 0.01, 0.99), "nan": nan,
        "5x8": rng.random((5, 8)), "5x1": rng.random((5, 1)), "1x8": rng.random((1, 8)), "8": rng.random(8),
        "5": rng.random(5), "5x8x1": rng.random((5, 8, 1)), "8x5": rng.random((8, 5)), "40": rng.random(40),
        "empty": numpy.zeros((0, 8)), "flat": numpy.zeros((5, 0)), "scalar": numpy.array(3.0),
        "text": numpy.array(["a", "b"]), "complex": grey + 1j, "dates": numpy.array(["2020-01-01"], dtype="datetime64[D]"),
        "one": rng.random((1, 8)), "binary": binary(), "binary_bad": binary(at_1_2=-0.25, at_3_3=1.5, at_4_0=2),
        "half": numpy.full((5, 8), 0.5), "half_bad": numpy.where(binary(at_2_7=7) > 1, 1.0, 0.5),
    }  # fmt: skip
    for name, values in arrays.items():
        numpy.save(folder / f"{name}.npy", values)
    numpy.savez(folder / "two.npz", images=grey, labels=numpy.arange(40))
    numpy.savez(folder / "none.npz")
    good = (folder / "grey.npy").read_bytes()
    archive = (folder / "two.npz").read_bytes()
    for name, raw in {
        "cut.npy": good[:-100], "cut_header.npy": good[:20], "nothing.npy": b"", "nothing.npz": b"",
        "open_header.npy": good.replace(b"}", b" ", 1), "words.npy": b"x,y\n1,2\n" * 50, "words.npz": b"x,y\n1,2\n" * 50,
        "cut.npz": archive[:400], "corrupt.npz": archive[:300] + bytes(500) + archive[800:], "zip.npy": archive,
        "encrypted.npz": locked(archive), "notes.txt": b"1 2 3",
    }.items():  # fmt: skip
        (folder / name).write_bytes(raw)
    with zipfile.ZipFile(folder / "readme.npz", "w") as file:
        file.writestr("readme.txt", "hello")
    for name in ("folder", "folder.npy", "folder.npz"):
        (folder / name).mkdir()
    bait = numpy.array([Payload(str(folder / "OPENED"))], dtype=object)
    numpy.save(folder / "object.npy", bait)
    numpy.savez(folder / "object.npz", bait=bait)
    numpy.savez(folder / "objects.npz", fine=grey, bait=bait)
    for name in ("pickle.npy", "pickle.npz"):
        (folder / name).write_bytes(pickle.dumps(bait))
    return folder


def locked(archive: bytes) -> bytes:
    """A zip archive whose members say that they are encrypted."""
    found = bytearray(archive)
    for place in re.finditer(b"PK\x01\x02", archive):
        struct.pack_into("<H", found, place.start() + 8, 1)
    return bytes(found)


@pytest.fixture
def here(files: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That folder, being the current one."""
    monkeypatch.chdir(files)
    return files


# Mistakes.

NAMES = [  # the words, the sentence, and the name that the hint offers
    ("compare --likelihood gausian", "no likelihood named 'gausian'", "'gaussian'"),
    ("compare --likelihood bernouli:p=1", "no likelihood named 'bernouli'", "'bernoulli'"),
    ("compare --likelihood GAUSIAN", "no likelihood named 'GAUSIAN'", "'gaussian'"),
    ("derive gausian", "no likelihood named 'gausian'", "'gaussian'"),
    ("derive gaussian laplac:scale=1", "no likelihood named 'laplac'", "'laplace'"),
    ("compare --likelihood gaussian:sgma=1", "gaussian has no parameter 'sgma'", "gaussian:sigma="),
    ("compare --likelihood laplace:sigma=1", "laplace has no parameter 'sigma'", "laplace:scale="),
    ("compare --likelihood bernoulli:p=1", "bernoulli has no parameter 'p'", "write bernoulli."),
    ("derive laplace:scal=1", "laplace has no parameter 'scal'", "laplace:scale="),
    ("compar", "no command named 'compar'", "'compare'"),
    ("dervie gaussian", "no command named 'dervie'", "'derive'"),
    ("compare --format jsn", "no format named 'jsn'", "'json'"),
    ("derive --format markdwn", "no format named 'markdwn'", "'markdown'"),
    ("compare --loss mee", "no loss named 'mee'", "'mse'"),
    ("compare --loss squared_eror", "no loss named 'squared_eror'", "'squared-error'"),
    ("compare --data digit", "no file or source named 'digit'", "'digits'"),
    ("compare --recon pcaa:3", "no file or source named 'pcaa:3'", "'pca'"),
    ("compare --recon nois:0.1", "no file or source named 'nois:0.1'", "'noise'"),
    ("compare --data two.npz:imags", "no array named 'imags'", "'images'"),
]


@pytest.mark.parametrize(("words", "found", "offered"), NAMES, ids=[words for words, _, _ in NAMES])
def test_an_unknown_name_offers_the_nearest(words: str, found: str, offered: str, here: Path) -> None:
    sentence, hint = complaint(recon(words))
    assert found in sentence
    assert offered in hint


@pytest.mark.parametrize(
    "words",
    ["compare --sigma={}", "derive --sigma={}", "compare --likelihood gaussian:sigma={}", "derive gaussian:sigma={}"],
)
@pytest.mark.parametrize(
    ("value", "rule"),
    [
        ("0", "(0, inf)"), ("-0.0", "(0, inf)"), ("-1", "(0, inf)"), ("nan", "finite number"), ("abc", "finite number"),
        ("inf", "finite number"), ("-inf", "finite number"), ("1e400", "finite number"), ("''", "finite number"),
    ],
)  # fmt: skip
def test_a_sigma_that_is_none_is_refused_with_the_rule(words: str, value: str, rule: str) -> None:
    sentence, _ = complaint(recon(words.format(value)))
    assert "sigma" in sentence
    assert rule in sentence
    assert value.strip("'") in sentence


@pytest.mark.parametrize(
    "words", ["compare --sigma -1", "compare --sigma 1,", "compare --sigma 1 --sigma 0", "derive --sigma 1,0"]
)
def test_every_sigma_of_a_list_is_checked(words: str) -> None:
    assert "sigma" in complaint(recon(words))[0]


@pytest.mark.parametrize(
    "words",
    [f"compare --sigma={1e-200}", f"compare --sigma={1e200}", "derive --sigma=1e-200", "derive laplace:scale=1e-310"],
)
def test_a_noise_whose_slope_is_zero_or_infinite_is_refused(words: str) -> None:
    assert words.rpartition("=")[2] in complaint(recon(words))[0]


WRONG = [  # the words, what the sentence says, what the hint says
    ("compare --likelihood gaussian:sigma=1,sigma=2", "sigma twice", ""),
    ("compare --data ''", "--data is given without a value", "Leave it out, or give it a value."),
    ("compare --data pca:3", "pca makes reconstructions", "--recon"),
    ("compare --data two.npz", "two.npz holds 2 arrays: images, labels", "two.npz:images"),
    ("compare --data none.npz", "none.npz holds 0 arrays", ""),
    ("compare --data readme.npz", "readme.npz", ""),
    ("compare --data notes.txt", "notes.txt has 1 sample", "Give more samples"),
    ("compare --data folder", "'folder' holds", "Give one file of it"),
    ("compare --data folder.npy", "folder.npy cannot be read: Is a directory", ""),
    ("compare --data folder.npz", "folder.npz cannot be read: Is a directory", ""),
    ("compare --data missing.npy", "no file 'missing.npy'", "{here}"),
    ("compare --data missing.npz", "no file 'missing.npz'", "{here}"),
    ("compare --data missing.npz:images", "no file 'missing.npz'", "{here}"),
    ("compare --data grey.npy --recon missing.npy", "no file 'missing.npy'", "{here}"),
    ("compare --data cut.npy", "cut.npy cannot be read: ", "cut short"),
    ("compare --data cut_header.npy", "cut_header.npy cannot be read: ", "cut short"),
    ("compare --data open_header.npy", "open_header.npy cannot be read: ", "damaged"),
    ("compare --data nothing.npy", "nothing.npy cannot be read: ", "cut short"),
    ("compare --data nothing.npz", "nothing.npz cannot be read: ", "cut short"),
    ("compare --data cut.npz", "cut.npz cannot be read: ", "cut short"),
    ("compare --data corrupt.npz:images", "corrupt.npz cannot be read: ", "damaged"),
    ("compare --data encrypted.npz:images", "encrypted.npz cannot be read: ", ""),
    ("compare --data words.npz", "words.npz cannot be read: ", "another format"),
    ("compare --data words.npy", "words.npy cannot be read: ", "another format"),
    ("compare --data zip.npy", "zip.npy", ""),
    ("compare --data empty.npy", "empty.npy is empty: its shape is 0x8", "at least one"),
    ("compare --data flat.npy", "flat.npy is empty: its shape is 5x0", "at least one"),
    ("compare --data scalar.npy", "scalar.npy", "first axis"),
    ("compare --data text.npy", "text.npy holds values of type <U1", "real numbers"),
    ("compare --data complex.npy", "complex.npy holds values of type complex128", "real numbers"),
    ("compare --data dates.npy", "dates.npy holds values of type datetime64[D]", "real numbers"),
    ("compare --data one.npy", "one.npy has 1 sample", "--recon"),
    ("compare --data nan.npy", "nan.npy has 1 NaN and 2 infinite values, the first at index (3, 2)", "finite"),
    ("compare --data grey.npy --recon nan.npy", "nan.npy has 1 NaN and 2 infinite values, the first at index (3", "drop"),
    ("compare --data grey.npy --recon pca:9", "pca:9", "1 to 8:"),
    ("compare --recon pca:0", "pca:0", "1 to 64:"),
    ("compare --recon noise:-1", "noise:-1", "noise:0.1"),
    ("compare --recon noise:x", "'x'", ""),
    ("compare --binarize threshold --data nan.npy", "nan.npy has 1 NaN", "finite"),
    ("compare --binarize threshold --data binary_bad.npy", "from -0.25 to 2", "[0, 1]"),
    ("compare --binarize sample --data binary_bad.npy", "from -0.25 to 2", "[0, 1]"),
    ("compare --dtype float31", "no precision named 'float31'", "float32"),
    ("compare --dtype int64", "no precision named 'int64'", "float64"),
    ("compare --device tpu", "no kind of device named 'tpu'", "cuda"),
    ("compare --device cuda:x", "'cuda:x'", "cuda:N"),
    ("derive --shape 0x28", "'0x28' is no shape", "1x28x28"),
    ("derive --shape 28x", "'28x' is no shape", "1x28x28"),
    ("derive --shape big", "'big' is no shape", "1x28x28"),
]


@pytest.mark.parametrize(("words", "found", "way_out"), WRONG, ids=[words for words, _, _ in WRONG])
def test_a_mistake_is_one_sentence_and_a_way_out(words: str, found: str, way_out: str, here: Path) -> None:
    sentence, hint = complaint(recon(words))
    assert found in sentence
    assert way_out.format(here=here) in hint
    assert not re.search(r"empty|pickle", sentence) or re.search(r"--data (empty|flat)", words)


@pytest.mark.filterwarnings("ignore:overflow")
@pytest.mark.parametrize("made_by", ["pca", "mean"])
@pytest.mark.parametrize(("size", "dtype"), [(1e300, "float64"), (1e30, "float32")])
def test_values_whose_squares_overflow_are_refused_or_do_not_hold(
    size: float,
    dtype: str,
    made_by: str,
    tmp_path: Path,
) -> None:
    numpy.save(tmp_path / "x.npy", (size * numpy.random.default_rng(0).standard_normal((60, 4))).astype(dtype))
    ran = recon(f"compare --data {tmp_path}/x.npy --recon {made_by} --likelihood gaussian --format json")
    if ran.code == 2:
        assert complaint(ran)
    else:
        assert (ran.code, ran.rows[0]["holds"]) == (1, False)


@pytest.mark.parametrize(
    ("x", "mu"),
    [
        ("5x8", "5x1"), ("5x1", "5x8"), ("5x8", "1x8"), ("1x8", "5x8"), ("5x8", "8"), ("5x8", "5"), ("5x8", "5x8x1"),
        ("5x8", "8x5"), ("5x8", "40"), ("40", "5x8"), ("5x8", "grey"),
    ],
)  # fmt: skip
def test_shapes_that_differ_are_refused_even_where_torch_would_broadcast(x: str, mu: str, here: Path) -> None:
    sentence, hint = complaint(recon(f"compare --data {x}.npy --recon {mu}.npy"))
    assert sentence.startswith(f"x has shape {x} and its reconstruction {mu.replace('grey', '40x8')}; they must be equal")
    assert "broadcast" in hint


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (
            "--data binary_bad.npy --recon half.npy --likelihood bernoulli",
            "3 of 40 values of the data (binary_bad.npy) are outside what bernoulli allows, {0, 1}: they run from "
            "-0.25 to 2, the first at index (1, 2) is -0.25.",
        ),
        (
            "--data binary_bad.npy --recon half.npy --likelihood continuous-bernoulli",
            "3 of 40 values of the data (binary_bad.npy) are outside what continuous-bernoulli allows, [0, 1]: they run "
            "from -0.25 to 2, the first at index (1, 2) is -0.25.",
        ),
        (
            "--data half.npy --recon half_bad.npy --likelihood continuous-bernoulli",
            "1 of 40 values of the reconstruction are outside what continuous-bernoulli's mean lies in, (0, 1): they run "
            "from 0.5 to 1, the first at index (2, 7) is 1.",
        ),
        (
            "--data binary.npy --recon binary_bad.npy --likelihood bernoulli",
            "3 of 40 values of the reconstruction are outside what bernoulli's mean lies in, [0, 1]: they run from "
            "-0.25 to 2, the first at index (1, 2) is -0.25.",
        ),
    ],
    ids=["bernoulli", "continuous-bernoulli", "open end", "reconstruction"],
)
def test_values_outside_a_likelihood_are_counted_and_located(words: str, said: str, here: Path) -> None:
    sentence, hint = complaint(recon(f"compare {words}"))
    assert sentence == said
    assert hint


@pytest.mark.parametrize(
    "words", ["compare --seed -1", "compare --seed 1.5", "compare --seed 99999999999999999999", "compare --binarize half",
              "compare --bogus", "calibrate extra", "compare --sigma", "derive --shape", "--bogus"],
)  # fmt: skip
def test_a_usage_error_reads_like_every_other_mistake(words: str) -> None:
    sentence, hint = complaint(recon(words))
    assert words.split()[-2 if "seed" in words or "half" in words else -1] in sentence
    assert "-h" in hint or "--seed 0" in hint


@pytest.mark.parametrize("word", ["cuda", "cuda:0", "cuda:7"])
def test_a_device_that_is_not_there_is_refused_with_those_that_are(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    sentence, hint = complaint(recon(f"compare --device {word}"))
    assert f"no {word} " in sentence
    assert "cpu" in hint
    assert "cuda" not in hint


def test_a_gpu_beyond_the_last_is_refused_with_those_that_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    sentence, hint = complaint(recon("compare --device cuda:7"))
    assert "no cuda:7 " in sentence
    assert "cpu, cuda:0, cuda:1" in hint


@posix
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root may read every file")
@pytest.mark.parametrize("name", ["x.npy", "x.npz"])
def test_a_file_one_may_not_read_is_refused(name: str, tmp_path: Path) -> None:
    (numpy.save if name.endswith("npy") else numpy.savez)(tmp_path / name, numpy.ones((5, 2)))
    (tmp_path / name).chmod(0)
    sentence, _ = complaint(recon(f"compare --data {tmp_path / name}"))
    assert sentence == f"{tmp_path / name} cannot be read: Permission denied."


# Nothing is ever unpickled.


def test_the_bait_works(files: Path) -> None:
    for name in ("object.npy", "pickle.npy"):
        numpy.load(files / name, allow_pickle=True)
        (files / "OPENED").rmdir()
    for name, key in (("object.npz", "bait"), ("objects.npz", "bait")):
        with numpy.load(files / name, allow_pickle=True) as archive:
            assert archive[key].shape == (1,)
        (files / "OPENED").rmdir()


BAITS = ["object.npy", "object.npz", "object.npz:bait", "objects.npz:bait", "pickle.npy", "pickle.npz", "npy:pickle.npz"]


@pytest.mark.parametrize("words", [*(f"--data {bait}" for bait in BAITS), "--data grey.npy --recon object.npy"])
def test_pickled_objects_are_refused_unopened(words: str, here: Path) -> None:
    sentence, hint = complaint(recon(f"compare {words}"))
    assert not (here / "OPENED").exists()
    assert "pickle" in sentence
    assert "numpy.save" in hint


# What the machine refuses, and what is a bug.


def broken(error: BaseException) -> Callable[..., Any]:
    def raising(*_: Any, **__: Any) -> Any:
        raise error

    return raising


@pytest.fixture(params=["compare", "derive laplace --prove"])
def breaking(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[[BaseException], Ran]:
    """Run a command whose engine raises."""

    def run(error: BaseException) -> Ran:
        monkeypatch.setattr("recon_cli.comparison.compare_sources", broken(error))
        monkeypatch.setattr("recon_cli.derivation.derive", broken(error))
        return recon(request.param)

    return run


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        MemoryError("Unable to allocate 3.2 TiB for an array"),
        torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB."),
        RuntimeError("[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["python", "numpy", "cuda", "torch"],
)
def test_too_little_memory_is_a_sentence(error: Exception, breaking: Callable[[BaseException], Ran]) -> None:
    sentence, hint = complaint(breaking(error))
    assert "not enough memory" in sentence
    assert hint


def test_a_full_disk_is_a_sentence(breaking: Callable[[BaseException], Ran]) -> None:
    sentence, hint = complaint(breaking(OSError(errno.ENOSPC, "No space left on device", "runs/model")))
    assert "disk is full" in sentence
    assert "runs/model" in sentence
    assert hint


@pytest.mark.parametrize("error", [RuntimeError("3"), OSError(errno.EIO, "I/O error"), KeyError("sigma"), ValueError("x")])
def test_a_bug_keeps_its_traceback(error: Exception, breaking: Callable[[BaseException], Ran]) -> None:
    ran = breaking(error)
    assert (ran.code, ran.out) == (70, "")
    assert ran.err.startswith("Traceback (most recent call last):")
    assert traceback.format_exception_only(error)[-1].strip() in ran.err
    assert "bug of recon's" in ran.err


def test_ctrl_c_is_130_and_leaves_standard_output_empty(breaking: Callable[[BaseException], Ran]) -> None:
    ran = breaking(KeyboardInterrupt())
    assert (ran.code, ran.out) == (130, "")
    assert ran.err.strip() == "Interrupted."


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs Linux's list of open files")
def test_ctrl_c_in_the_midst_of_reading_is_130(tmp_path: Path) -> None:
    large = tmp_path / "large.npy"
    with large.open("wb") as file:  # zeros that take no room on the disk
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 14)})
        file.truncate(file.tell() + (1 << 36))
    run = subprocess.Popen(
        [sys.executable, "-m", "recon_cli", "data", str(large)],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, encoding="utf-8", env=environment({}),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's background job ignores it
    )  # fmt: skip
    try:
        await_open(large, run)
        out, err = interrupted(run)
    finally:
        run.kill()
    assert run.returncode in (130, -signal.SIGINT)  # the same to a shell: Python ends so where an import was interrupted
    assert (out, err.strip()) == ("", "Interrupted.")


def test_ctrl_c_inside_a_finalizer_is_heard() -> None:
    program = """
import signal, weakref
from recon_cli import cli
class Thing: pass
def command(*_):
    thing = Thing()
    weakref.finalize(thing, signal.raise_signal, signal.SIGINT)
    del thing
    for _ in range(10**9): pass
cli.Commands.invoke = command
cli.main(["data"])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8", env=environment({}), timeout=60)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (130, "", "Interrupted.")


def interrupted(run: subprocess.Popen[str]) -> tuple[str, str]:
    """What a process has written that is told to end, again where a library that it was loading has kept that to itself."""
    for _ in range(10):
        run.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            return run.communicate(timeout=3)
    return run.communicate(timeout=1)


def await_open(file: Path, reader: subprocess.Popen[str]) -> None:
    """Wait until another process has opened a file."""
    deadline = time.monotonic() + 30
    while reader.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(FileNotFoundError):
            if any(link.readlink() == file for link in Path(f"/proc/{reader.pid}/fd").iterdir()):
                return
        time.sleep(0.01)
    pytest.fail("nothing ever read the file")


# Exit codes, and which stream.


@posix
@pytest.mark.parametrize(
    ("words", "redirected", "code", "said"),
    [
        ("derive gaussian", ">&-", 2, "Standard output is closed"),
        ("compare nothing", "2>&-", 2, ""),
        ("derive gaussian", "2>&-", 0, ""),
        ("--help", ">/dev/full", 2, "disk is full"),
    ],
)
def test_a_stream_that_takes_nothing_is_no_refutation(words: str, redirected: str, code: int, said: str) -> None:
    ran = subprocess.run(
        ["sh", "-c", f"{shlex.quote(sys.executable)} -m recon_cli {words} {redirected}"],
        capture_output=True, encoding="utf-8", timeout=60, env=environment({}),
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    assert said in ran.stderr
    assert "Traceback" not in ran.stderr


@pytest.mark.slow
@posix
def test_a_reader_that_goes_away_is_no_refutation() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    ran = subprocess.run(
        [sys.executable, "-m", "recon_cli", "derive", "gaussian"],
        stdout=writing, stderr=subprocess.PIPE, timeout=60, env=environment({}),
    )  # fmt: skip
    os.close(writing)
    assert (ran.returncode, ran.stderr) == (141, b"")


def test_the_default_run_holds_from_outside() -> None:
    ran = process("compare", env={"COLUMNS": "80"})
    assert (ran.code, ran.err) == (0, "")
    for words in ("gaussian", "squared-error", "bernoulli", "binary-cross-entropy", "digits > 1/2", "all 2 hold"):
        assert words in ran.flat
    assert "\x1b" not in ran.out
    assert max(map(len, ran.out.splitlines())) <= 80


@pytest.mark.slow
def test_one_row_that_does_not_hold_is_1_and_leaves_standard_error_empty_from_outside(files: Path) -> None:
    words = "compare --data grey.npy --recon grey_hat.npy --sigma 0.5 --likelihood bernoulli --format json"
    ran = process(words, cwd=files)
    assert (ran.code, ran.err) == (1, "")
    assert {row["likelihood"]: row["holds"] for row in ran.rows} == {"bernoulli": False, "gaussian": True}
    x, mu = numpy.load(files / "grey.npy"), numpy.load(files / "grey_hat.npy")
    assert [row["elements"] for row in ran.rows] == [x.size, x.size]
    assert ran.rows[1]["loss_value"] == pytest.approx(((x - mu) ** 2).mean(), rel=1e-12)


def test_bernoulli_on_grey_levels_is_refuted_with_two_ways_out() -> None:
    ran = recon("compare --likelihood bernoulli")
    assert (ran.code, ran.err) == (1, "")
    for words in ("continuous-bernoulli", "--binarize threshold", "--binarize sample", "refuted", "not proportional", "gap"):
        assert words in ran.flat


def test_a_mistake_from_outside_is_two_lines_on_standard_error() -> None:
    assert "'gaussian'" in complaint(process("compare --likelihood gausian"))[1]


def test_a_loss_that_is_not_its_own_is_not_proportional() -> None:
    ran = recon("compare --likelihood gaussian --loss l1")
    assert (ran.code, ran.err) == (1, "")
    assert "absolute-error and gaussian are not proportional" in ran.flat
    (row,) = recon("compare --likelihood gaussian --loss l1 --format json").rows
    assert row["slope"] is row["offset"] is row["gap"] is row["worst"] is None
    assert row["ratio_min"] < row["ratio_median"] < row["ratio_max"]
    assert 0 < row["cosine"] < 0.99
    assert f"{row['cosine']:.6f}" in ran.flat


LOSSES = ["mse", "l1", "bce", "bce-with-logits"]
OWN = {("gaussian", "mse"), ("laplace", "l1"), ("bernoulli", "bce"), ("bernoulli", "bce-with-logits")}


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace", "bernoulli", "continuous-bernoulli"])
@pytest.mark.parametrize("loss", LOSSES)
def test_a_run_exits_0_exactly_where_the_loss_is_the_likelihood(likelihood: str, loss: str) -> None:
    ran = recon(f"compare --binarize threshold --likelihood {likelihood} --loss {loss} --format json")
    (row,) = ran.rows
    holds = (likelihood, loss) in OWN
    assert (ran.code, row["holds"], row["proportional"]) == ((0, True, True) if holds else (1, False, False))
    assert ran.err == ""
    assert [key for key, value in row.items() if value in ("nan", "inf", "-inf")] == []


@pytest.mark.parametrize("word", ["mse", "sse", "l2", "MSE", "squared-error", "Squared_Error"])
def test_a_loss_is_known_by_every_name(word: str) -> None:
    (row,) = recon(f"compare --likelihood gaussian:sigma=0.5 --loss {word} --format json").rows
    assert (row["loss"], row["slope"], row["holds"]) == ("squared-error", 2.0, True)


@pytest.mark.parametrize("dtype", [">f4", "<f8", ">f8", "f2", "longdouble", "u1", "u2", "u4", "u8", "i1", ">i2", "i4", "i8"])
def test_every_real_type_of_array_gives_the_same_numbers(dtype: str, tmp_path: Path) -> None:
    x = numpy.random.default_rng(1).integers(0, 100, (60, 5)).astype(dtype)
    numpy.save(tmp_path / "x.npy", x)
    ran = recon(f"compare --data {tmp_path}/x.npy --recon mean --likelihood gaussian --dtype float64 --format json")
    assert (ran.code, ran.err) == (0, "")
    train = x[~held_out(60)].astype(float)
    wanted = ((x[held_out(60)].astype(float) - train.mean(axis=0)) ** 2).mean()
    assert ran.rows[0]["loss_value"] == pytest.approx(wanted, rel=1e-12)


def held_out(count: int) -> numpy.ndarray:
    from recon_cli import sources

    return sources.held_out(count, 0.2)


@pytest.mark.parametrize("format", formats.names())
def test_every_format_writes_to_standard_output_alone(format: str) -> None:
    ran = recon(f"compare --sigma 0.5 --format {format}")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out
    assert "gaussian" in ran.out or format in ("github", "sarif")  # of what holds they have nothing to remark


def test_a_sigma_a_row_in_the_order_given() -> None:
    rows = recon("compare --sigma 0.1,0.25 --likelihood laplace:scale=0.2 --sigma 2 --format json").rows
    assert [(row["likelihood"], row["parameters"]) for row in rows] == [
        ("laplace", {"scale": 0.2}),
        ("gaussian", {"sigma": 0.1}),
        ("gaussian", {"sigma": 0.25}),
        ("gaussian", {"sigma": 2.0}),
    ]
    assert [row["slope"] for row in rows] == pytest.approx([5, 50, 8, 0.125], rel=1e-15)
    (one,) = recon("compare --likelihood gaussian:sigma=0.25 --format json").rows
    assert one == rows[2]


# The same twice.


@pytest.mark.parametrize("words", ["--recon noise:0.2", "--binarize sample", "--binarize sample --recon noise:0.2"])
def test_one_seed_gives_one_result(words: str) -> None:
    def run(seed: int) -> str:
        return recon(f"compare --sigma 0.5 {words} --seed {seed} --format json").out

    assert run(3) == run(3)
    assert run(3) != run(4)


@pytest.mark.slow
def test_one_seed_gives_one_result_in_every_process() -> None:
    words = "compare --sigma 0.5 --binarize sample --recon noise:0.2 --seed 3 --format json"
    ran = process(words, env={"PYTHONHASHSEED": "12345"})
    assert ran.code == 0
    assert ran.out == recon(words).out


# Help.


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_lists_every_command_file(flag: str) -> None:
    ran = recon(flag)
    assert (ran.code, ran.err) == (0, "")
    assert {"compare", "derive"} <= set(COMMANDS)
    listed = ran.out.partition("Commands:")[2]
    for name in COMMANDS:
        assert re.search(rf"^  {name.replace('_', '-')}  +\w", listed, re.MULTILINE)


def test_no_word_at_all_is_answered_with_help_and_not_called_an_error() -> None:
    ran = recon("")
    assert ran.code in (0, 2)  # click 8.1, and newer
    assert (ran.out + ran.err).strip() == recon("--help").out.strip()


@pytest.mark.parametrize("name", COMMANDS)
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_every_command_explains_itself_and_each_of_its_options(name: str, flag: str) -> None:
    ran = recon(f"{name} {flag}")
    assert (ran.code, ran.err) == (0, "")
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert " ".join((command.help or "").split()[:6]) in ran.flat
    for option in (each for each in command.params if isinstance(each, click.Option)):
        assert option.help
        assert option.opts[0] in ran.out
    if any("--format" in each.opts for each in command.params):
        for format in formats.names():
            assert format in ran.flat


def test_version_is_that_of_the_package() -> None:
    for ran in (recon("--version"), process("--version")):
        assert (ran.code, ran.out, ran.err) == (0, f"recon, version {recon_cli.__version__}\n", "")


# Where the output goes.


@posix
@pytest.mark.parametrize("words", ["derive laplace --format json", "--help", "compare --help"])
def test_a_reader_that_has_gone_is_no_traceback(words: str) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    try:
        ran = process(words, stdout=writer)
    finally:
        os.close(writer)
    assert ran.err == ""


@pytest.mark.slow
@posix
def test_the_first_line_alone_is_no_traceback() -> None:
    words = f"{shlex.quote(sys.executable)} -u -m recon_cli derive laplace | head -1"
    done = subprocess.run(words, shell=True, capture_output=True, encoding="utf-8", env=environment({}), check=True)
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.slow
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_a_full_disk_under_standard_output_is_a_sentence() -> None:
    with open("/dev/full", "w") as full:
        ran = process("derive laplace --format csv", stdout=full)
    assert "disk is full" in complaint(ran)[0]


@pytest.mark.slow
def test_an_ascii_pipe_gets_ascii_from_outside() -> None:
    ran = process("derive laplace", env={"PYTHONIOENCODING": "ascii"})
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.isascii()
    assert "-log p(x|mu)" in ran.flat


@pytest.mark.parametrize(
    ("words", "format"),
    [*(("compare", format) for format in formats.names()), ("derive laplace", "json")],
)
def test_an_ascii_pipe_takes_every_format(words: str, format: str) -> None:
    ran = recon(f"{words} --format {format}", charset="ascii")
    assert (ran.code, ran.err) == (0, "")
    assert ran.out.isascii()
    if format == "json":
        assert json.loads(ran.out) == json.loads(recon(f"{words} --format json").out)
    if format == "csv":
        assert "bernoulli" in {row["likelihood"] for row in csv.DictReader(io.StringIO(ran.out))}


def on_a_terminal(words: str, code: str = "", **env: str) -> str:
    """What a terminal of 80 columns shows of a run, of recon or of ``code``."""
    import pty

    mine, theirs = pty.openpty()
    whole = environment({"TERM": "xterm-256color", "COLUMNS": "80", **env})
    command = [sys.executable, *(["-c", code] if code else ["-m", "recon_cli"]), *shlex.split(words)]
    shown = b""
    with subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=whole):
        os.close(theirs)
        try:
            while more := os.read(mine, 65536):
                shown += more
        except OSError:  # how Linux ends a terminal
            pass
    os.close(mine)
    return shown.decode()


@posix
def test_a_mistake_has_colour_on_a_terminal_unless_no_color_says_no() -> None:
    coloured, plain = on_a_terminal("nonsense"), on_a_terminal("nonsense", NO_COLOR="1")
    assert COLOUR.search(coloured)
    assert not COLOUR.search(plain)
    for shown in (coloured, plain):
        assert "no command named 'nonsense'" in shown


SLOW = """
import time
import click
from recon_cli.commands._options import Command
from recon_cli.runtime import progress

progress.PATIENCE = 0.01

@click.command(cls=Command)
def think():
    with progress.bar("counting", 2) as advance:
        advance(1, "by one")
    while progress.spinners and not progress.spinners[0].display:
        time.sleep(0.01)
    progress.quiet()
    click.echo("the answer")

think(prog_name="think")
"""


@posix
def test_a_command_that_says_nothing_yet_is_seen_to_work_on_a_terminal_and_nowhere_else() -> None:
    shown = on_a_terminal("", SLOW)
    before, _, after = shown.partition("the answer")
    assert "recon think" in before
    assert before.rindex("recon think") > before.rindex("counting")  # it waits while a bar is there, and no longer
    assert before.rindex("\x1b[?25h") > before.rindex("\x1b[?25l")  # the cursor is back
    assert "recon think" not in after
    piped = subprocess.run([sys.executable, "-c", SLOW], capture_output=True, encoding="utf-8", env=environment({}), check=True)
    assert (piped.stdout, piped.stderr) == ("the answer\n", "")


# Completion.


def completed(words: str, incomplete: str) -> list[str]:
    """What the installed script offers for the last word."""
    if not SCRIPT.exists():
        pytest.skip(f"recon is not installed beside {sys.executable}")
    typed = ["recon", *words.split(), incomplete]
    asked = {"COMP_WORDS": " ".join(typed), "COMP_CWORD": str(len(typed) - 1), "_RECON_COMPLETE": "bash_complete"}
    done = subprocess.run([SCRIPT], capture_output=True, encoding="utf-8", env=environment(asked), check=True)
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("words", "incomplete", "offered"),
    [
        ("", "de", ["derive"]),
        ("derive", "gau", ["gaussian", "gaussian-mixture"]),
        ("compare --likelihood", "cont", ["continuous-bernoulli"]),
        ("compare --loss", "ms", ["mse"]),
        ("compare --format", "ma", ["markdown"]),
        ("compare --data", "dig", ["digits", "dig"]),
        ("compare", "--bin", ["--binarize"]),
        ("train --optimizer", "adam", ["adam", "adamax", "adamw"]),
        ("train --model", "li", ["linear"]),
        ("explain", "recon", ["recon-mean", "recon-sign"]),
        ("list", "mo", ["models"]),
        ("guide", "calib", ["calibrate"]),
    ],
)
def test_words_complete(words: str, incomplete: str, offered: list[str]) -> None:
    assert completed(words, incomplete) == offered


SHELLS = {
    "bash": (
        ["--norc", "-c"],
        "source <(_RECON_COMPLETE=bash_source recon)\nCOMP_WORDS=(recon derive la); COMP_CWORD=2\n_recon_completion recon\n"
        'printf "%s\\n" "${COMPREPLY[@]}"',
    ),
    # zsh completes only while a line is edited, so what would take its offers prints them
    "zsh": (
        ["-f", "-c"],
        "autoload -U compinit && compinit -D\nsource <(_RECON_COMPLETE=zsh_source recon)\n"
        "compadd() { for one in $completions; do print -- $one; done }\n"
        "_describe() { for one in $completions_with_descriptions; do print -- ${one%%:*}; done }\n"
        "words=(recon derive la); CURRENT=3\n_recon_completion",
    ),
    "fish": (["--no-config", "-c"], '_RECON_COMPLETE=fish_source recon | source\ncomplete -C "recon derive la"'),
}


@posix
@pytest.mark.parametrize("shell", SHELLS)
def test_the_completion_script_completes_in_its_shell(shell: str, tmp_path: Path) -> None:
    program = shutil.which(shell)
    if program is None or not SCRIPT.exists():
        pytest.skip(f"needs {shell} and the installed script")
    flags, script = SHELLS[shell]
    path = f"{SCRIPT.parent}{os.pathsep}{os.environ['PATH']}"
    there = environment({"PATH": path, "HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)})
    done = subprocess.run(
        [program, *flags, script],
        capture_output=True,
        encoding="utf-8",
        env=there,
        check=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    offered = {line.partition("\t")[0] for line in done.stdout.split("\n") if line}
    assert "laplace" in offered
    assert all(word.startswith("la") for word in offered)
