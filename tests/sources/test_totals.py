"""Counts out of totals of their own: methylated reads of all, alleles of a coverage."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
import scipy.stats
from click.testing import CliRunner

import recon_cli
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.sources import _values


def counts() -> tuple[numpy.ndarray, numpy.ndarray, numpy.ndarray]:
    draws = numpy.random.default_rng(0)
    totals, share = draws.integers(0, 30, (40, 5)), draws.uniform(0.1, 0.9, (40, 5))
    return draws.binomial(totals, share), totals, share


def test_each_value_is_a_binomial_of_its_own_total() -> None:
    x, totals, share = counts()
    exact = -scipy.stats.binom.logpmf(x, totals, share)
    found = recon_cli.compare(x, share, "binomial", totals=totals, device="cpu")
    assert found.holds
    assert found.rows[0].nll == pytest.approx(exact.mean(), rel=1e-12)
    (row,) = recon_cli.calibrate(x, share, totals=totals).noise
    assert row.nll == pytest.approx(exact.sum(axis=1).mean(), rel=1e-12)
    each = recon_cli.compare(x % 3, share, "binomial", totals=numpy.full(40, 7), device="cpu")
    assert each.rows[0].nll == pytest.approx(-scipy.stats.binom.logpmf(x % 3, 7, share).mean(), rel=1e-12)
    weighted = recon_cli.compare(x, share, "binomial", totals=totals, weights=numpy.arange(1.0, 41.0), device="cpu")
    assert weighted.rows[0].nll == pytest.approx(numpy.average(exact.mean(axis=1), weights=numpy.arange(1, 41)), rel=1e-12)


@pytest.mark.parametrize("streamed", [False, True])
def test_files_are_read_piece_by_piece_with_their_totals(streamed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    x, totals, share = counts()
    monkeypatch.setattr(_values, "WHOLE", 0 if streamed else 1 << 25)
    for name, values in (("x", x.astype(float)), ("n", totals), ("p", share)):
        numpy.save(tmp_path / f"{name}.npy", values)
    monkeypatch.chdir(tmp_path)
    words = [
        "compare",
        "--data",
        "x.npy",
        "--recon",
        "p.npy",
        "--totals",
        "n.npy",
        "--likelihood",
        "binomial",
        "--format",
        "json",
    ]
    result = CliRunner().invoke(main, [*words, "--device", "cpu"])
    assert result.exit_code == 0
    exact = -scipy.stats.binom.logpmf(x, totals, share).mean()
    assert f'"nll": {exact:.10f}'[:-1] in result.stdout
    trained = CliRunner().invoke(main, ["train", "--data", "x.npy", "--totals", "n.npy", "--epochs", "1", "--latent", "1", "-q"])
    assert trained.exit_code == 0


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda x, n, p: (x, n - 1, p), "values of data have totals that do not fit"),
        (lambda x, n, p: (x, n + 0.5, p), "a total of .*, is no count"),
        (lambda x, n, p: (x, n[:7], p), "totals of data have shape 7x5"),
        (lambda x, n, p: (x, n, n), "with totals it is of shares, between 0 and 1"),
    ],
)
def test_totals_that_do_not_fit_are_refused(change, says: str) -> None:
    x, totals, share = change(*counts())
    with pytest.raises(ReconError, match=says):
        recon_cli.compare(x, share, "binomial", totals=totals, device="cpu")


def test_totals_are_a_binomials() -> None:
    x, totals, share = counts()
    with pytest.raises(ReconError, match="Totals are a binomial's, and gaussian has none"):
        recon_cli.compare(x, share, "gaussian", totals=totals, device="cpu")
