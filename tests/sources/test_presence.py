"""Values that are not there, and weights: sums, fits, spectra and counts are of what is there, in every command."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner

import recon_cli.sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.numerics.missing import eigenvalues_of_present

N, D = 100, 6
BY = numpy.random.default_rng(0)
TRUE = BY.normal(size=(N, D)).astype("f4")
HAT = TRUE + 0.1 * BY.normal(size=TRUE.shape).astype("f4")
THERE = BY.random(TRUE.shape) >= 0.2
X = numpy.where(THERE, TRUE, numpy.nan)
EACH, SAMPLES = BY.random(TRUE.shape), BY.random(N)
ERRORS = ((TRUE - HAT).astype("f8")) ** 2
HOW: dict[str, tuple[dict[str, Any], Any]] = {
    "nan": ({"missing": "nan"}, THERE),
    "mask": ({"mask": THERE}, THERE),
    "weights of values": ({"missing": "nan", "weights": EACH}, THERE * EACH),
    "weights of samples": ({"missing": "nan", "weights": SAMPLES}, THERE * SAMPLES[:, None]),
}


@pytest.mark.parametrize("kind", HOW)
def test_compare_and_calibrate_are_of_what_is_there(kind: str) -> None:
    """By numpy, over the entries that are there: the best sigma, the mean nll, and how many they are."""
    how, weights = HOW[kind]
    x = TRUE if kind == "mask" else X
    sigma = math.sqrt((weights * ERRORS).sum() / weights.sum())
    nll = ERRORS / (2 * 0.25) + math.log(2 * math.pi * 0.25) / 2
    (row,) = recon_cli.compare(x, HAT, "gaussian:sigma=0.5", device="cpu", **how).rows
    assert row.holds
    assert row.elements == THERE.sum()
    assert row.nll == pytest.approx((weights * nll).sum() / weights.sum(), rel=1e-6)
    assert row.best is not None
    assert row.best["sigma"] == pytest.approx(sigma, rel=1e-6)
    if kind in ("mask", "weights of values"):  # one of each suffices: every family is fitted
        return
    found = recon_cli.calibrate(x, HAT, **how)
    gaussian = next(row for row in found.noise if row.likelihood == "gaussian")
    assert gaussian.parameters["sigma"] == pytest.approx(sigma, rel=1e-6)
    best = (math.log(2 * math.pi * sigma**2) + 1) / 2 * THERE.sum() / N
    assert gaussian.nll == pytest.approx(best, rel=1e-5)


def test_a_masked_array_says_what_is_not_there() -> None:
    (row,) = recon_cli.compare(numpy.ma.masked_array(TRUE, ~THERE), HAT, device="cpu").rows
    assert row.elements == THERE.sum()
    (row,) = recon_cli.compare([*numpy.ma.masked_array(TRUE, ~THERE)], HAT, device="cpu").rows
    assert row.elements == THERE.sum()


@pytest.mark.slow
def test_a_large_file_is_read_piece_by_piece(tmp_path: Path) -> None:
    x, mu = (numpy.tile(part, (50, 320)).astype("f4") for part in (X, HAT))
    numpy.save(tmp_path / "x.npy", x)
    numpy.save(tmp_path / "mu.npy", mu)
    (row,) = recon_cli.compare(tmp_path / "x.npy", tmp_path / "mu.npy", "laplace", missing="nan", device="cpu").rows
    assert row.elements == 50 * 320 * THERE.sum()
    assert row.holds


def test_classes_have_weights() -> None:
    labels, p = BY.integers(0, 3, 50), BY.dirichlet(numpy.ones(3), 50)
    (row,) = recon_cli.compare(labels, p, "categorical", weights=[1.0, 2.0, 3.0], device="cpu").rows
    each = -numpy.log(p[numpy.arange(50), labels])
    assert row.nll == pytest.approx((each * (labels + 1)).sum() / (labels + 1).sum())
    (row,) = recon_cli.compare(labels.astype(float), p, "categorical", mask=labels > 0, device="cpu").rows
    assert row.nll == pytest.approx(each[labels > 0].mean())


def most_likely(x: numpy.ndarray) -> numpy.ndarray:
    """The eigenvalues of the most likely covariance, by EM of the Gaussian itself: a sample's missing part given the rest."""
    there, (count, size) = ~numpy.isnan(x), x.shape
    mean = numpy.nanmean(x, axis=0)
    cov = numpy.diag(numpy.nanvar(x, axis=0))
    for _ in range(60):
        total, filled = numpy.zeros((size, size)), numpy.where(there, x, 0.0)
        for row, here in enumerate(there):
            gone = ~here
            gain = numpy.linalg.solve(cov[numpy.ix_(here, here)], cov[numpy.ix_(here, gone)])
            filled[row, gone] = mean[gone] + (x[row, here] - mean[here]) @ gain
            total[numpy.ix_(gone, gone)] += cov[numpy.ix_(gone, gone)] - cov[numpy.ix_(gone, here)] @ gain
        mean = filled.mean(axis=0)
        apart = filled - mean
        cov = (apart.T @ apart + total) / count
    return numpy.linalg.eigvalsh(cov)[::-1]


def test_the_spectrum_is_of_the_most_likely_covariance() -> None:
    x = (BY.normal(size=(120, 2)) @ BY.normal(size=(2, 5)) + 0.3 * BY.normal(size=(120, 5))).astype("f8")
    x[BY.random(x.shape) < 0.15] = numpy.nan
    found, how = eigenvalues_of_present(x)
    assert found.values == pytest.approx(most_likely(x), rel=2e-3)
    assert "4 factors" in how
    whole = numpy.where(numpy.isnan(x), 0.0, x)
    weights = BY.random(120)
    mean = weights @ whole / weights.sum()
    covariance = ((whole - mean).T * weights) @ (whole - mean) / weights.sum()
    found, how = eigenvalues_of_present(whole, weights)
    assert found.values == pytest.approx(numpy.linalg.eigvalsh(covariance)[::-1], rel=1e-9)


BAD: list[tuple[dict[str, Any], str]] = [
    ({"weights": -EACH}, "below 0"),
    ({"weights": numpy.zeros(N)}, "All weights of .* are 0"),
    ({"weights": EACH * numpy.nan}, "not finite"),
    ({"weights": EACH[:7]}, "weights of .* have shape 7x6, and the data 100x6"),
    ({"mask": THERE[:, :5]}, "mask of .* has shape 100x5"),
    ({"mask": 2 * THERE}, "other values than 0 and 1"),
    ({"mask": numpy.zeros((N, D))}, "None of the 600 values"),
    ({"missing": "zero"}, "no choice of --missing"),
    ({"mask": "nowhere.npy"}, "no file"),
]


@pytest.mark.parametrize(("how", "said"), BAD)
@pytest.mark.parametrize("function", ["compare", "calibrate", "train"])
def test_masks_and_weights_that_fit_nothing_are_refused(function: str, how: dict[str, Any], said: str) -> None:
    call = {"compare": lambda: recon_cli.compare(TRUE, HAT, **how), "calibrate": lambda: recon_cli.calibrate(TRUE, **how)}
    with pytest.raises(ReconError, match=said):
        call.get(function, lambda: recon_cli.train(TRUE, **how))()


def test_every_command_says_how_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("x.npy", X)
    numpy.save("mu.npy", HAT)
    numpy.save("m.npy", numpy.arange(D) > 0)
    small = ["--epochs", "1", "--hidden", "4", "--latent", "2", "--out", "run"]
    for words in (
        ["data", "x.npy"],
        ["compare", "--data", "x.npy", "--recon", "mu.npy"],
        ["calibrate", "--data", "x.npy", "--recon", "mu.npy"],
        ["train", "--data", "x.npy", *small],
    ):
        result = CliRunner().invoke(main, [*words, "--missing", "nan", "--mask", "m.npy", "--format", "json"])
        assert result.exit_code in (0, 1), result.output
        gone = N * D - THERE[:, 1:].sum()
        assert f"{gone:,} of its 600 values are not there" in " ".join(json.loads(result.stdout)["notes"])
    assert CliRunner().invoke(main, ["data", "x.npy"]).exit_code == 2
    resumed = CliRunner().invoke(main, ["train", "--resume", "run", "--epochs", "2", "--missing", "nan"])
    assert resumed.exit_code in (0, 1), resumed.output


def test_the_mean_of_a_source_is_weighted(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", X)
    numpy.save(tmp_path / "w.npy", SAMPLES)
    words = ["data", str(tmp_path / "x.npy"), "--missing", "nan", "--weights", str(tmp_path / "w.npy"), "--format", "json"]
    (row,) = json.loads(CliRunner().invoke(main, words).stdout)["tables"]["source"]
    weights = THERE * SAMPLES[:, None]
    assert row["mean"] == pytest.approx((weights * TRUE).sum() / weights.sum(), rel=1e-6)
    assert row["absent"] == (~THERE).sum()


RUN: dict[str, Any] = {"epochs": 4, "device": "cpu", "latent": 2, "hidden": 8, "seed": 1}


def test_training_is_of_what_is_there() -> None:
    """What lies below a mask changes nothing; a weight of 0 is a value that is not there; equal weights are none."""
    first = recon_cli.train(X, missing="nan", **RUN).result
    for other, how in ((numpy.where(THERE, TRUE, 1e6), {"mask": THERE}), (TRUE, {"weights": THERE.astype(float)})):
        found = recon_cli.train(other, **how, **RUN).result
        assert found.nll == pytest.approx(first.nll, rel=0.02)
    plain, alike = recon_cli.train(HAT, **RUN).result, recon_cli.train(HAT, weights=numpy.full(N, 3.0), **RUN).result
    assert alike.negative_elbo == pytest.approx(plain.negative_elbo, rel=1e-5)
    assert alike.mean_alone == pytest.approx(plain.mean_alone, rel=1e-5)


def test_a_sample_that_weighs_twice_is_there_twice() -> None:
    """Full-batch steps on weights of 1 and 2 are those on the rows repeated."""
    weights = numpy.tile([1.0, 2.0], 20)
    how = {**RUN, "epochs": 6, "holdout": 0.0, "optimizer": "sgd", "lr": 1e-3, "likelihood": "gaussian:sigma=1", "beta": 0.0}
    x = TRUE[:40]
    weighted = recon_cli.train(x, weights=weights, batch_size=40, **how).model
    repeated = recon_cli.train(numpy.repeat(x, weights.astype(int), axis=0), batch_size=60, **how)
    assert isinstance(repeated.model, torch.nn.Module)
    centre = {name: value for name, value in repeated.model.state_dict().items() if "decoder" in name}
    mine = weighted.state_dict()
    off = max(float((mine[name] - value).abs().max()) for name, value in centre.items())
    assert off < 0.05


def test_vectors_are_there_whole_or_not_at_all() -> None:
    x = numpy.eye(3)[BY.integers(0, 3, 60)]
    x[0, 0] = numpy.nan
    with pytest.raises(ReconError, match="takes vectors, and here some of their numbers are not there"):
        recon_cli.train(x, missing="nan", likelihood="categorical", **RUN)
    (row,) = recon_cli.compare(x, numpy.full((60, 3), 1 / 3), "categorical", missing="nan", device="cpu").rows
    assert row.elements == 59


def test_columns_are_predicted_by_name_where_y_is_there() -> None:
    pandas = pytest.importorskip("pandas")
    a = BY.normal(size=200)
    table = pandas.DataFrame({"a": a, "price": 2 * a + 0.1 * BY.normal(size=200)})
    table.loc[5:40, "price"] = numpy.nan
    found = recon_cli.train(table, model="regression", target="price", missing="nan", hidden=0, epochs=30, device="cpu")
    assert found.answers[0].target == "price"
    assert found.answers[0].rmse == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("word", ["", "nan", "NA", "null"])
def test_empty_cells_of_a_table_are_not_there(word: str, tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text(f"a,b\n1,{word}\n2,3\n{word},4\n")
    found = recon_cli.sources.read(str(path), reading=recon_cli.sources.ReadOptions(missing="nan"))
    assert numpy.array_equal(found, [[1, numpy.nan], [2, 3], [numpy.nan, 4]], equal_nan=True)
    with pytest.raises(ReconError, match="--missing nan takes it as not there"):
        recon_cli.sources.read(str(path))
    path.write_text("a,b\n1,red\n2,3\n")
    with pytest.raises(ReconError, match="'red' in line 2"):
        recon_cli.sources.read(str(path), reading=recon_cli.sources.ReadOptions(missing="nan"))


def test_nulls_of_a_parquet_table_are_not_there(tmp_path: Path) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    parquet.write_table(pyarrow.table({"a": [1, None, 3], "b": [1.0, 2.0, None]}), tmp_path / "x.parquet")
    found = recon_cli.sources.read(tmp_path / "x.parquet", reading=recon_cli.sources.ReadOptions(missing="nan"))
    assert numpy.array_equal(found, [[1, 1], [numpy.nan, 2], [3, numpy.nan]], equal_nan=True)
    with pytest.raises(ReconError, match="empty"):
        recon_cli.sources.read(tmp_path / "x.parquet")
