"""``recon bench``: both sides in one run; the figures are shown, never asserted."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
from click.testing import CliRunner

from recon_cli import likelihoods
from recon_cli.benchmark import train
from recon_cli.benchmark.compare import LENGTH, USUAL, Spread, Timing, bench, busy_meanwhile, load, naive, peak, sample, written
from recon_cli.benchmark.sparse import sparse_file
from recon_cli.cli import main
from recon_cli.comparison import cases
from recon_cli.errors import ReconError
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.runtime.devices import Uncompiled


def test_every_column_is_measured() -> None:
    words = ["bench", "--elements", "1000,3000", "--repeats", "2", "--device", "cpu", "--engine", "eager", "--files"]
    result = CliRunner().invoke(main, [*words, "--format", "json"])
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)["tables"]
    assert len(tables["bench"]) == len(tables["files"]) == 2 * len(USUAL)
    assert {row["elements"] for row in tables["bench"]} == {1000, 3000}
    for row in tables["bench"]:
        assert row["over_read"] > 0
        assert row["under_distribution_least"] <= row["under_distribution"] <= row["under_distribution_most"]
        assert (row["under_functional"] is None) is (row["functional"] is None)
        assert row["gigabytes"] == pytest.approx(8 * row["elements"] / row["recon"] / 1e9)
        assert "distributions." in row["distribution_call"]
        assert row["functional"] is None or "F." in row["functional_call"]
    for row in tables["files"]:
        assert row["over_sum"] == pytest.approx(row["compare"] / row["sum"])


def test_training_beside_its_products_and_the_tutorial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for module in (train, train.rivals):
        monkeypatch.setattr(module, "ROWS", 100)
    if not (there := find_spec("pythae") is not None):  # there, but without what it needs
        (tmp_path / "pythae.py").write_text("import nothing_of_that_name")
        monkeypatch.syspath_prepend(str(tmp_path))
    told: list[int] = []
    report = train.bench_training(repeats=2, engine="eager", device="cpu", progress=lambda done, words: told.append(done))
    (table,) = report.tables
    ways = {row["way"]: row for row in table.rows}
    assert [*ways] == ["products", "recon", "recon, bf16", "tutorial", *(["pythae"] if there else [])]
    assert told == [0, 1, 2]
    for row in ways.values():
        assert row["seconds"] > 0
        assert row["first"] > 0
        assert row["samples_per_second"] == pytest.approx(100 / row["seconds"])
        assert row["over_products"] == pytest.approx(row["seconds"] / ways["products"]["seconds"])
        assert row["tutorial_over"] == pytest.approx(ways["tutorial"]["seconds"] / row["seconds"])


@pytest.mark.slow
def test_convolutions_beside_two_tutorials(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (train, train.rivals):
        monkeypatch.setattr(module, "PICTURES", 8)
    rows = train.bench_training(repeats=1, engine="eager", device="cpu", model="conv").tables[0].rows
    assert [row["way"] for row in rows] == ["recon", "recon, bf16", "tutorial", "tutorial, transposed"]
    assert all(row["seconds"] > 0 and row["over_products"] is None for row in rows)


def test_a_benchmark_of_training_is_of_one_epoch_at_least() -> None:
    with pytest.raises(ReconError, match="at least one epoch"):
        train.bench_training(repeats=0)


def test_the_peak_is_what_was_taken() -> None:
    import numpy
    import torch

    held = []
    for _ in range(2):  # memory that was freed and is kept between what is held: what is taken from there is taken too
        freed = [numpy.ones(20_000_000, dtype="u1") for _ in range(6)]
        held.append(numpy.ones(100_000, dtype="u1"))
        del freed
    found = peak(lambda: numpy.ones(50_000_000, dtype="u1").sum(), torch.device("cpu"))
    assert found is None or 45 < found < 100


def test_what_people_write_finds_the_slope() -> None:
    import torch

    x, mu = torch.rand(100), torch.rand(100)
    ratios = written(Gaussian(0.5), "-distributions.Normal(mu, sigma).log_prob(x)", x, mu)
    assert ratios == pytest.approx((2.0, 2.0, 2.0), rel=1e-5)


def test_progress_is_told() -> None:
    told: list[int] = []
    bench("laplace", elements=[10], repeats=1, engine="eager", device="cpu", progress=lambda done, words: told.append(done))
    assert told == [1]


@pytest.mark.parametrize("words", [["--elements", "0"], ["--repeats", "0"], ["--device", "cuda:9"]])
def test_what_cannot_be_timed_is_a_sentence(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "hint" in result.stderr


def test_every_likelihood_is_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of vectors, and those whose decoder gives several numbers for an element, too."""
    names = [
        "categorical",
        "heteroscedastic-gaussian",
        "von-mises-fisher",
        "discretized-logistic-mixture",
        "zero-inflated-poisson",
    ]
    monkeypatch.setattr("recon_cli.likelihoods.names", lambda: names)
    result = CliRunner().invoke(
        main, ["bench", "--all", "--elements", "4000", "--repeats", "1", "--engine", "eager", "--format", "json"]
    )
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["tables"]["bench"]
    assert [row["likelihood"].partition(":")[0] for row in rows] == names
    assert all(0 < row["elements"] <= 4000 and row["recon"] > 0 for row in rows)
    assert all(row["under_distribution"] > 0 for row in rows[:2])


def test_what_the_compiler_cannot_take_is_timed_without_it_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*asked: object) -> None:
        raise Uncompiled(RuntimeError("no"))

    monkeypatch.setattr("recon_cli.comparison.kernels.find", fails)
    report = bench("gaussian", elements=[1000], repeats=1, device="cpu")
    assert [row["engine"] for row in report.tables[0].rows] == ["eager"]
    assert any("gaussian is timed without the compiler" in str(note) for note in report.notes)


def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0, 0.0, 0.0), raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    assert "a load of 3.0 on 2 cores" in load()[0]
    monkeypatch.setattr(os, "getloadavg", lambda: (0.2, 9.0, 9.0))
    assert load() == []


def test_how_much_others_took_is_said() -> None:
    rows = bench("gaussian", elements=[1000], repeats=1, engine="eager", device="cpu").tables[0].rows
    row = Timing(**{**rows[0], "away": 0.4})
    assert busy_meanwhile([replace(row, away=0.3), row, replace(row, away=0.9)])[0].startswith("Other programs took 40% of")
    assert busy_meanwhile([replace(row, away=0.01)]) == busy_meanwhile([replace(row, away=None)]) == []


def test_ratios_are_those_of_each_turn() -> None:
    ratio = Spread.of([2.0, 9.0, 4.0]).over(Spread.of([1.0, 3.0, 8.0]))
    assert ratio == Spread(2.0, 0.5, 3.0, (2.0, 3.0, 0.5))


@pytest.mark.parametrize("name", likelihoods.names())
def test_there_are_data_for_every_likelihood(name: str) -> None:
    """Which its engine takes, and what people write for it too: those that no call or formula is known of are named."""
    import torch

    likelihood = likelihoods.parse(name).of_vectors(LENGTH)
    x, mu = sample(likelihood, 300)
    case = cases.admit(likelihood, None, x, mu, torch.device("cpu"), torch.float32, "data", False)
    assert case.numbers <= 300
    call = naive(likelihood)
    assert (not any(call)) is (name == "tweedie")
    for each in filter(None, call):
        assert len(written(likelihood, each, x, mu)) == 3


def test_the_least_and_the_most_are_around_the_median() -> None:
    (row,) = bench("gaussian", elements=[1000], repeats=3, engine="eager", device="cpu").tables[0].rows
    assert row["recon_least"] <= row["recon"] <= row["recon_most"]


def test_sparse_files_take_no_room_and_are_compared() -> None:
    words = ["bench", "--sparse", "--elements", "1000,5000000", "--repeats", "1", "--engine", "eager", "--format", "json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["tables"]["sparse"]
    assert [row["elements"] for row in rows] == [1000, 5_000_000]
    for row in rows:
        assert row["each"] == pytest.approx(1e9 * row["seconds"] / row["elements"])
        assert row["gigabytes"] == pytest.approx(8 / row["each"])


def test_a_sparse_file_is_no_larger_than_its_header(tmp_path: Path) -> None:
    import numpy

    path = sparse_file(tmp_path / "x.npy", 10_000_000)
    assert os.path.getsize(path) == 128 + 40_000_000
    assert not hasattr(os.stat(path), "st_blocks") or os.stat(path).st_blocks * 512 < 100_000
    assert numpy.load(path, mmap_mode="r").shape == (10_000_000,)
    with pytest.raises(ReconError, match="cannot be made"):
        sparse_file(tmp_path / "not there" / "x.npy", 10)


@pytest.mark.parametrize("words", [["--files"], ["--device", "cpu"], ["--elements", "0"], ["--likelihood", "log-normal"]])
def test_what_sparse_files_are_not_for_is_a_sentence(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", "--sparse", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
