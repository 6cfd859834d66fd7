"""Importance-weighted bounds: never below the one before, the ELBO at one sample, log p(x) in the end."""

from __future__ import annotations

import json
import sys
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import multivariate_normal

import recon_cli
from recon_cli.cli import main
from recon_cli.training.evaluation.bounds import estimates

CHANCE = numpy.random.default_rng(0)
ROWS = (CHANCE.normal(size=(200, 2)) @ CHANCE.normal(size=(2, 6)) + 0.3 * CHANCE.normal(size=(200, 6))).astype("f4")
HOW: dict[str, Any] = {"holdout": 0.0, "latent": 2, "hidden": 16, "device": "cpu"}


@pytest.mark.parametrize("likelihood", ["gaussian", "laplace:scale=0.5", "heteroscedastic-gaussian", "student-t"])
def test_never_below_the_one_before(likelihood: str) -> None:
    found = recon_cli.train(ROWS, likelihood=likelihood, epochs=3, iwae=32, **HOW)
    assert [k for k, _ in found.bounds] == [1, 2, 4, 8, 16, 32]
    values = [value for _, value in found.bounds]
    assert values == sorted(values)
    assert values[-1] > values[0]
    assert values[0] == pytest.approx(-found.result.negative_elbo, abs=0.6)  # other samples of z


def test_it_is_log_p_where_q_is_the_posterior() -> None:
    """A linear Gaussian model at its optimum: the weights are constant, and every bound is the log-likelihood."""
    found = recon_cli.train(ROWS, model="linear", exact=True, sigma=0.5, iwae=8, **HOW)
    decoder = (found.model.spread * found.model.decoder.weight.T).T.detach().double()
    truth = (
        multivariate_normal(ROWS.mean(0).astype("f8"), (decoder @ decoder.T + 0.25 * torch.eye(6)).numpy()).logpdf(ROWS).mean()
    )
    for _, value in found.bounds:
        assert value == pytest.approx(truth, abs=2e-3)


def test_it_comes_to_log_p_from_below() -> None:
    found = recon_cli.train(ROWS, model="linear", epochs=1, sigma=0.5, iwae=4096, **HOW)
    decoder = (found.model.spread * found.model.decoder.weight.T).T.detach().double()
    mean = found.model.decode(torch.zeros(1, 2)).detach().double().numpy()[0]
    truth = multivariate_normal(mean, (decoder @ decoder.T + 0.25 * torch.eye(6)).numpy()).logpdf(ROWS).mean()
    first, last = found.bounds[0][1], found.bounds[-1][1]
    assert first < truth - 1
    assert truth - 0.2 < last < truth + 0.02


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    found = recon_cli.train(ROWS, epochs=1, sigma=0.5, **HOW)
    seen: list[int] = []
    real = found.model.decode
    monkeypatch.setattr(found.model, "decode", lambda z: seen.append(len(z)) or real(z))
    monkeypatch.setattr(sys.modules["recon_cli.training.evaluation.bounds"], "CHUNK", 6 * 100)
    sizes, values, _ = estimates(found.model, found.likelihood, torch.from_numpy(ROWS), 256, 0)
    assert max(seen) <= 100
    assert sum(seen) == 200 * 256
    assert len(values) == 9


def test_bits_per_dimension(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["train", "--epochs", "2", "--iwae", "4", "--format", "json"])
    rows = json.loads(result.stdout)["tables"]["bounds"]
    assert [row["samples"] for row in rows] == [1, 2, 4]
    assert all(row["bits_per_dimension"] == pytest.approx(-row["bound"] / 64 / numpy.log(2)) for row in rows)


@pytest.mark.parametrize("k", ["3", "-1"])
def test_refused(k: str) -> None:
    result = CliRunner().invoke(main, ["train", "--iwae", k])
    assert result.exit_code == 2
    assert "--iwae must be" in result.stderr
