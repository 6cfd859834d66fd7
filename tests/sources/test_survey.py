"""``recon data``: what is in a source, and which likelihoods allow it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner

from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.likelihoods._grey_levels import levels


def surveyed(*words: str) -> tuple[dict, dict[str, dict]]:
    """The row of a source, and those of the likelihoods by name."""
    result = CliRunner().invoke(main, ["data", *words, "--format", "json"])
    assert result.exit_code == 0, result.output
    tables = json.loads(result.stdout)["tables"]
    return tables["source"][0], {row["likelihood"]: row for row in tables["likelihoods"]}


def test_the_digits_are_surveyed() -> None:
    row, rows = surveyed()
    assert (row["samples"], row["shape"], row["dtype"]) == (1797, "8x8", "float32")
    assert (row["least"], row["most"], row["distinct"], row["levels"]) == (0.0, 1.0, 17, 17.0)
    assert row["mean"] == pytest.approx(0.3052601)
    assert {name.partition(":")[0] for name in rows} == {*likelihoods.names()}
    assert rows["discretized-logistic:levels=17"]["allowed"]
    assert not rows["bernoulli"]["allowed"]
    assert rows["bernoulli"]["takes"] == "{0, 1}"
    assert rows["bernoulli"]["outside"] == pytest.approx(48280 / 115008)
    assert rows["gaussian"]["outside"] == 0.0


@pytest.mark.parametrize(
    ("values", "allowed", "refused"),
    [
        (
            [[0, 3], [7, 2]],
            ["poisson", "binomial:count=7", "gaussian"],
            ["bernoulli", "continuous-bernoulli", "von-mises-fisher"],
        ),
        ([[0.0, 1.0], [1.0, 0.0]], ["bernoulli", "categorical", "binomial:count=1", "von-mises-fisher"], []),
        ([[0.6, 0.8], [1.0, 0.0]], ["von-mises-fisher", "continuous-bernoulli"], ["categorical", "poisson"]),
        ([[-1.5, 2.0], [0.25, 0.0]], ["laplace", "von-mises"], ["poisson", "discretized-gaussian:levels=256"]),
    ],
)
def test_what_the_values_allow(values: list, allowed: list[str], refused: list[str], tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.array(values))
    _, rows = surveyed(str(tmp_path / "x.npy"))
    assert all(rows[name]["allowed"] for name in allowed)
    assert not any(rows[name]["allowed"] for name in refused)


@pytest.mark.parametrize("count", [2, 3, 17, 255, 256, 1024, 65536])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_levels_are_counted(count: int, dtype: torch.dtype) -> None:
    assert levels((torch.arange(count, dtype=torch.float64) / (count - 1)).to(dtype)) == count


def test_what_lies_on_no_levels_has_none() -> None:
    assert levels(torch.rand(1000, generator=torch.Generator().manual_seed(0))) is None
    assert levels(torch.tensor([0.0, 2.0])) is None


def test_a_survey_of_nothing_is_a_sentence() -> None:
    result = CliRunner().invoke(main, ["data", "nowhere.npy"])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert "nowhere.npy" in result.stderr
