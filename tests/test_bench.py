"""``recon bench``: both sides in one run; the figures are shown, never asserted."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from recon_cli.benchmarking import USUAL, bench, written
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.likelihoods.gaussian import Gaussian


def test_every_column_is_measured() -> None:
    words = ["bench", "--elements", "1000,3000", "--repeats", "2", "--device", "cpu", "--format", "json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = json.loads(result.stdout)["tables"]["bench"]
    assert len(rows) == 2 * len(USUAL)
    assert {row["elements"] for row in rows} == {1000, 3000}
    for row in rows:
        assert row["over_read"] == pytest.approx(row["recon"] / row["read"])
        assert row["under_written"] == pytest.approx(row["written"] / row["recon"])
        assert row["gigabytes"] == pytest.approx(8 * row["elements"] / row["recon"] / 1e9)


def test_what_people_write_finds_the_slope() -> None:
    import torch

    x, mu = torch.rand(100), torch.rand(100)
    ratios = written(Gaussian(0.5), "-distributions.Normal(mu, sigma).log_prob(x)", x, mu)
    assert ratios == pytest.approx((2.0, 2.0, 2.0), rel=1e-5)


def test_progress_is_told() -> None:
    told: list[int] = []
    bench("laplace", elements=[10], repeats=1, device="cpu", progress=lambda done, words: told.append(done))
    assert told == [1]


@pytest.mark.parametrize(
    "words", [["--elements", "0"], ["--repeats", "0"], ["--likelihood", "categorical"], ["--device", "cuda:9"]]
)
def test_what_cannot_be_timed_is_a_sentence(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "hint" in result.stderr


def test_likelihoods_of_vectors_are_refused() -> None:
    with pytest.raises(ReconError, match="takes vectors"):
        bench("von-mises-fisher")
