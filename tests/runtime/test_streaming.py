"""Files larger than memory: read piece by piece, and nothing of it shows in the result."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import recon_cli
from recon_cli import likelihoods, sources
from recon_cli.cli import main
from recon_cli.comparison import cases, compare_sources, engines, tally
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.numerics.compensated import Total
from recon_cli.runtime import lazy_arrays
from recon_cli.runtime.lazy_arrays import Lazy, Stored, blocks, prefetch
from recon_cli.sources import _pair, _remarks, _values

WORDS = (
    "gaussian:sigma=0.5", "laplace:scale=0.3", "student-t", "poisson", "bernoulli", "categorical", "von-mises-fisher",
    "heteroscedastic-gaussian", "discretized-logistic",
)  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def small_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every file is read piece by piece, and every piece is small."""
    monkeypatch.setattr(_values, "WHOLE", 0)
    monkeypatch.setattr(cases, "PIECE", 500)
    monkeypatch.setattr(cases, "CHUNK", 200)
    monkeypatch.setattr(tally, "CHUNK", 130)


def drawn(side: Likelihood, rows: int = 300) -> tuple[numpy.ndarray, numpy.ndarray]:
    """Data and means for a likelihood, float32."""
    generator = torch.Generator().manual_seed(3)
    mu = torch.rand(rows, 4, 3, generator=generator).clamp(0.05, 0.95)
    if side.head:
        mu = torch.stack([mu, mu + 0.5], dim=-1)
    if side.event:
        mu = mu / (mu.sum(dim=-1, keepdim=True) if side.name == "categorical" else mu.norm(dim=-1, keepdim=True))
    x = side.sample(mu.double(), generator).float()
    if side.name == "von-mises-fisher":
        x = x / x.norm(dim=-1, keepdim=True)
    return x.numpy(), mu.numpy()


def rows(found: recon_cli.comparison.Comparison) -> list[dict[str, Any]]:
    return [{key: value for key, value in vars(row).items() if key not in ("noise", "data")} for row in found.rows]


def same(left: Any, right: Any) -> None:
    """Equal, numbers to 1e-12 of their size."""
    assert left == pytest.approx(right, rel=1e-12, abs=1e-14) if isinstance(right, float) else left == right


@pytest.mark.parametrize("word", WORDS)
def test_a_file_read_in_pieces_is_the_array(word: str, here: Path, small_pieces: None) -> None:
    side = likelihoods.parse(word)
    x, mu = drawn(side)
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    pair = sources.pair("x.npy", "mu.npy")
    assert isinstance(pair.x, Lazy)
    assert isinstance(pair.mu, Lazy)
    (found,) = rows(compare_sources("x.npy", "mu.npy", [side], device="cpu"))
    (due,) = rows(recon_cli.compare(x, mu, side, device="cpu"))
    for key in due:
        same(found[key], due[key])


def test_labels_are_read_in_pieces_too(here: Path, small_pieces: None) -> None:
    _, mu = drawn(likelihoods.parse("categorical"))
    labels = numpy.random.default_rng(0).integers(0, 3, mu.shape[:-1])
    numpy.save("x.npy", labels)
    numpy.save("mu.npy", mu)
    (found,) = rows(compare_sources("x.npy", "mu.npy", [likelihoods.parse("categorical")], device="cpu"))
    same(found["nll"], -numpy.log(numpy.take_along_axis(mu.astype("f8"), labels[..., None], -1)).mean())


@pytest.mark.parametrize("how", ["threshold", "sample", None])
def test_grey_levels_made_binary_in_pieces_are_the_same(how: str | None, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = numpy.random.default_rng(0).integers(0, 256, (70, 5, 4), dtype="u1")
    Path("x.idx").write_bytes(bytes([0, 0, 8, 3]) + numpy.array(grey.shape, ">u4").tobytes() + grey.tobytes())
    whole = sources.binarized(sources.read("x.idx"), how, 7, "x")
    monkeypatch.setattr(_values, "WHOLE", 0)
    values, said = sources.samples(sources.parse("x.idx"), "x.idx")
    assert "divided by 255" in said
    made = sources.binarized(values, how, 7, "x")
    assert isinstance(made, Lazy)
    assert made.dtype == whole.dtype
    assert numpy.array_equal(numpy.concatenate([made[0:13], made[13:14], made[14:70]]), whole)


def test_grey_levels_are_bernoullis_relaxation_in_pieces_too(here: Path, small_pieces: None) -> None:
    x, mu = drawn(likelihoods.parse("bernoulli"))
    x[200:] = 0.25  # the first pieces are 0 or 1
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    found = compare_sources("x.npy", "mu.npy", [likelihoods.parse("bernoulli")], device="cpu")
    due = recon_cli.compare(x, mu, "bernoulli", device="cpu")
    same(found.rows[0].nll, due.rows[0].nll)
    same(found.rows[0].gap, due.rows[0].gap)
    assert "33% of the values are neither 0 nor 1" in found.notes[1]
    assert found.notes[1:] == due.notes


def test_a_sample_larger_than_a_piece_is_cut(here: Path, small_pieces: None) -> None:
    x, mu = (numpy.random.default_rng(i).normal(size=(2, 1234)).astype("f4") for i in (0, 1))
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    found = compare_sources("x.npy", "mu.npy", [likelihoods.parse("gaussian")], device="cpu")
    same(found.rows[0].nll, recon_cli.compare(x, mu, "gaussian", device="cpu").rows[0].nll)


@given(st.lists(st.integers(-(2**70), 2**70), min_size=1, max_size=40), st.randoms())
def test_a_total_is_the_same_in_any_order(numbers: list[int], random: Any) -> None:
    values = [number / 2**30 for number in numbers]
    due, mixed = math.fsum(values), [*values]
    random.shuffle(mixed)
    assert float(sum(mixed, Total())) == due
    half = len(mixed) // 2
    assert float(sum(mixed[:half], Total()) + sum(mixed[half:], Total())) == due


@pytest.mark.slow
@settings(max_examples=15)
@given(chunk=st.integers(40, 5000), piece=st.integers(100, 5000), threads=st.sampled_from([1, 2]))
def test_neither_chunks_nor_pieces_nor_threads_show(chunk: int, piece: int, threads: int) -> None:
    side = likelihoods.parse("student-t")
    x, mu = drawn(side)
    (due,) = rows(recon_cli.compare(x, mu, side, device="cpu"))
    before = torch.get_num_threads()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(cases, "PIECE", piece)
        patched.setattr(tally, "CHUNK", chunk)
        torch.set_num_threads(threads)
        try:
            (found,) = rows(recon_cli.compare(x, mu, side, device="cpu"))
        finally:
            torch.set_num_threads(before)
    for key in due:
        same(found[key], due[key])


@pytest.mark.parametrize("piece", [97, 1000, 10**6])
def test_the_sample_is_evenly_spread_whatever_the_pieces(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cases, "PIECE", piece)
    monkeypatch.setattr(cases, "CHUNK", 97)
    x = torch.arange(9600.0)
    case = cases.admit(likelihoods.parse("gaussian"), None, x, x + 1, torch.device("cpu"), torch.float64, "x", False)
    case = dataclasses.replace(case, sample=3000)
    found = engines.run(case)
    groups = found.x.reshape(-1, 16)
    assert torch.equal(groups - groups[:, :1], torch.arange(16.0).expand(200, 16).double())
    assert (groups[:, 0] % 16 == 0).all()
    assert (groups[:, 0] // 48).tolist() == [*range(200)]  # one of every three groups
    assert all(40 < (groups[:, 0] // 16 % 3 == place).sum() < 95 for place in range(3))
    assert found.tally.elements == 9600
    assert found.tally.ratio_elements == found.tally.sampled == 3200
    assert "one in 3" in found.notes[0]
    everything = engines.run(case, gradients="all")
    assert everything.tally.ratio_elements == 9600
    assert everything.notes == ()


# What can go wrong with a file.


def test_a_file_that_changes_while_it_is_read_is_a_sentence(here: Path) -> None:
    numpy.save("x.npy", numpy.zeros((100, 10), "f4"))
    found = sources.parse("x.npy").read()
    assert found[0:50].shape == (50, 10)
    os.truncate("x.npy", 1000)
    with pytest.raises(ReconError, match=r"x\.npy changed while it was read"):
        found[50:100]
    numpy.save("x.npy", numpy.zeros((100, 10), "f4"))
    found = sources.parse("x.npy").read()
    with open("x.npy", "r+b") as file:
        file.seek(500)
        file.write(b"more")
    os.utime("x.npy", ns=(1, 1))
    with pytest.raises(ReconError, match="changed"):
        found[0:50]


def test_a_file_that_vanishes_while_it_is_read_is_read_to_the_end(here: Path) -> None:
    numpy.save("x.npy", x := numpy.random.default_rng(0).normal(size=(100, 10)))
    found = sources.parse("x.npy").read()
    os.remove("x.npy")
    assert numpy.array_equal(found, x)


def test_what_is_not_finite_is_found_wherever_it_is(here: Path, small_pieces: None, monkeypatch: pytest.MonkeyPatch) -> None:
    x, mu = drawn(likelihoods.parse("gaussian"))
    x[250, 2, 1] = numpy.nan
    monkeypatch.setattr(_remarks, "SOME", 100)
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    result = CliRunner().invoke(main, ["compare", "--data", "x.npy", "--recon", "mu.npy", "--device", "cpu"])
    assert result.exit_code == 2
    assert "x.npy has 1 NaN and 0 infinite values among samples 224 to 255, the first at index (250, 2, 1)." in result.stderr


def test_what_is_outside_the_support_is_found_wherever_it_is(here: Path, small_pieces: None) -> None:
    x, mu = drawn(likelihoods.parse("poisson"))
    x[250, 2, 1] = 0.5
    numpy.save("x.npy", x)
    numpy.save("mu.npy", mu)
    with pytest.raises(ReconError, match=r"1 of 384 values of the data \(x.npy, samples 224 to 255\) are outside"):
        compare_sources("x.npy", "mu.npy", [likelihoods.parse("poisson")], device="cpu")


def test_files_of_different_lengths_are_refused_with_both(here: Path, small_pieces: None) -> None:
    numpy.save("x.npy", numpy.zeros((100, 10), "f4"))
    numpy.save("mu.npy", numpy.zeros((90, 10), "f4"))
    with pytest.raises(ReconError, match="x has shape 100x10 and its reconstruction 90x10"):
        compare_sources("x.npy", "mu.npy", device="cpu")


def test_a_file_too_large_for_components_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pair, "FITTED", 100)
    monkeypatch.setattr(_values, "WHOLE", 0)
    numpy.save("x.npy", numpy.zeros((100, 10), "f4"))
    with pytest.raises(ReconError, match="from data that fit in memory"):
        compare_sources("x.npy", device="cpu")


def test_reading_ahead_ends_where_it_fails() -> None:
    def items() -> Any:
        yield 1
        yield 2
        raise ReconError("no more")

    found = []
    with pytest.raises(ReconError, match="no more"):
        found.extend(prefetch(items()))
    assert list(prefetch(iter(range(5)))) == [0, 1, 2, 3, 4]


def sparse(name: str, count: int) -> None:
    """A file of zeros, float32, that takes no place on the disk."""
    with open(name, "wb") as file:
        numpy.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (count // 1000, 1000)})
        file.truncate(file.tell() + 4 * count)


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(here: Path) -> None:
    pytest.importorskip("resource")
    sparse("small.npy", 4_000_000)
    sparse("large.npy", 20_000_000)
    script = (
        "import resource, sys; from recon_cli.comparison import compare_sources\n"
        "compare_sources('small.npy', 'small.npy', device='cpu')\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "found = compare_sources('large.npy', 'large.npy', device='cpu')\n"
        "print(found.rows[0].elements, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    elements, more = map(int, done.stdout.split())
    assert elements == 20_000_000
    assert more < 24 * 1024  # KB: the file has 80 MB, twice


# Interrupted.


def test_an_interrupted_measurement_says_what_it_saw(small_pieces: None) -> None:
    x, mu = drawn(likelihoods.parse("gaussian"))

    def stop(done: int, words: str) -> None:
        if done > 50:
            raise KeyboardInterrupt

    found = recon_cli.compare(x, mu, "gaussian", "laplace", device="cpu", progress=stop)
    assert len(found.rows) == 1
    report = found.report()
    assert not report.whole
    assert report.verdict.startswith("partial, interrupted: ")
    seen = found.rows[0].elements
    assert len(x) * 6 < seen < x.size
    assert f"only {seen:,} of {x.size:,} elements were measured" in " ".join(report.notes)
    same(found.rows[0].nll, recon_cli.compare(x[: seen // 12], mu[: seen // 12], "gaussian", device="cpu").rows[0].nll)


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="how long a process has worked is told by Linux only")
def test_ctrl_c_prints_what_was_seen(here: Path) -> None:
    sparse("x.npy", 2_000_000_000)
    words = "compare --data x.npy --recon x.npy --likelihood gaussian --device cpu --engine eager --format json"
    child = subprocess.Popen(
        [sys.executable, "-m", "recon_cli", *words.split()],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        end = time.monotonic() + 60
        while time.monotonic() < end and int(Path(f"/proc/{child.pid}/stat").read_text().split()[13]) < 350:
            time.sleep(0.05)  # so many hundredths of a second of work: beyond start-up, far from the end
        child.send_signal(signal.SIGINT)
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    assert child.returncode == 130, err
    found = json.loads(out)
    assert found["verdict"].startswith("partial")
    assert 0 < found["tables"]["identity"][0]["elements"] < 2_000_000_000
    assert b"Traceback" not in err


def test_a_long_row_of_numbers_is_looked_at_in_runs(here: Path) -> None:
    numpy.save("x.npy", numpy.arange(50_000.0))
    found = sources.parse("x.npy").read()
    asked = []
    rows = found.rows
    found.rows = lambda start, stop: asked.append(stop - start) or rows(start, stop)
    some = found.spread(10_000)
    assert asked == [10] * 1000
    assert numpy.array_equal(some.reshape(1000, 10), numpy.arange(0.0, 50_000, 50)[:, None] + numpy.arange(10))


def test_stored_rows_are_an_arrays(here: Path) -> None:
    x = numpy.random.default_rng(0).normal(size=(7, 3)).astype(">f8")
    Path("x.bin").write_bytes(b"head" + x.tobytes())
    found = Stored("x.bin", x.dtype, x.shape, 4)
    assert found.dtype.isnative
    assert (found.ndim, found.size, found.nbytes, len(found)) == (2, 21, 168, 7)
    assert numpy.array_equal(found, x)
    assert numpy.array_equal(found[2:5], x[2:5])
    assert numpy.array_equal(found[1:7:2], x[1:7:2])
    assert numpy.array_equal(found.flat()[4:9], x.reshape(-1)[4:9])
    assert numpy.array_equal(found.spread(6), x[[0, 3]])
    assert numpy.array_equal(numpy.concatenate([*blocks(found, 6)]), x)
    assert numpy.array_equal(found.flat().spread(5), x.reshape(-1)[[0, 4, 8, 12, 16]])
    assert lazy_arrays.Mapped(found, "f4", lambda rows, place: rows + place)[2:3].tolist() == (x[2:3] + 6).tolist()
