"""Models that were trained elsewhere, measured without training; and quantiles, judged by the share below."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

import recon_cli
from recon_cli.cli import main
from recon_cli.training import evaluate

SOURCE = """
import torch
from torch import nn

class Ppca(nn.Module):
    def __init__(self, latent=2):
        super().__init__()
        self.mean, self.raw, self.log_variance = nn.Linear(6, latent), nn.Linear(latent, 6), nn.Parameter(torch.zeros(latent))

    def encode(self, x):
        mean = self.mean(x.flatten(1))
        return mean, self.log_variance.expand_as(mean)

    def decode(self, z):
        return self.raw(z)
"""
SIGMA = 0.5


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """The optimum of PPCA, whose ELBO is log p(x): Tipping and Bishop (1999)."""
    monkeypatch.chdir(tmp_path)
    Path("vae.py").write_text(SOURCE)
    by = numpy.random.default_rng(0)
    x = by.normal(size=(500, 2)) @ by.normal(size=(2, 6)) + SIGMA * by.normal(size=(500, 6))
    numpy.save("x.npy", x.astype("f4"))
    values, vectors = numpy.linalg.eigh(numpy.cov(x.T, bias=True))
    values, vectors = values[::-1][:2], vectors[:, ::-1][:, :2]
    loadings = vectors * numpy.sqrt(values - SIGMA**2)
    gain = loadings.T / values[:, None]
    state = {
        "mean.weight": gain, "mean.bias": -gain @ x.mean(axis=0), "raw.weight": loadings, "raw.bias": x.mean(axis=0),
        "log_variance": numpy.log(SIGMA**2 / values),
    }  # fmt: skip
    tensors = {name: torch.tensor(numpy.ascontiguousarray(value)).float() for name, value in state.items()}
    save_file(tensors, "w.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{name}": value for name, value in tensors.items()}}, "w.ckpt")
    return tensors


def test_the_bounds_of_ppca_are_its_likelihood(here: dict[str, torch.Tensor]) -> None:
    """The posterior is exact there: ELBO and IWAE are log p(x), and the rate is R(D) of these latents."""
    x = numpy.load("x.npy").astype("f8")
    w = here["raw.weight"].numpy().astype("f8")
    cov = w @ w.T + SIGMA**2 * numpy.eye(6)
    apart = x - x.mean(axis=0)
    quadratic = (apart @ numpy.linalg.inv(cov) * apart).sum(axis=1).mean()
    log_p = -(quadratic + numpy.linalg.slogdet(cov)[1] + 6 * math.log(2 * math.pi)) / 2
    found = evaluate("x.npy", model="vae.py:Ppca", state="w.safetensors", sigma=SIGMA, iwae=16, device="cpu")
    assert -found.figures.negative_elbo == pytest.approx(log_p, abs=0.15)
    assert found.figures.iwae == pytest.approx(log_p, abs=1e-3)
    assert found.figures.active == 2
    assert found.figures.rate == pytest.approx(-here["log_variance"].sum().item() / 2, rel=0.02)
    assert found.figures.distance == pytest.approx(0.0, abs=0.3)
    assert "measured, not trained" in found.verdict()
    assert str(Path("runs").exists()) == "False"
    again = evaluate("x.npy", model="vae.py:Ppca", state="w.ckpt", sigma=SIGMA, iwae=16, device="cpu")
    assert again.figures == found.figures


def test_three_commands_measure_it(here: dict[str, torch.Tensor]) -> None:
    for command in ("train", "compare", "calibrate"):
        words = [command, "--data", "x.npy", "--evaluate", "vae.py:Ppca", "--weights", "w.safetensors", "--format", "json"]
        result = CliRunner().invoke(main, words)
        assert result.exit_code in (0, 1), result.output
        tables = json.loads(result.stdout)["tables"]
        assert tables["result"][0]["active"] == 2
        assert tables["result"][0]["distance"] is not None
        assert len(tables["bounds"]) == 7


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--weights", "x.npy"], "pickled objects other than tensors"),
        (["--weights", "other.safetensors"], "other.safetensors has no log_variance"),
        (["--weights", "nowhere.safetensors"], "no file"),
        (["--weights", "w.safetensors", "--latent", "3"], "log_variance in w.safetensors is 2, and vae.py:Ppca has 3"),
        (["--weights", "w.safetensors", "--epochs", "3"], "--evaluate trains nothing, and takes no --epochs"),
    ],
)
def test_weights_of_something_else_are_refused(words: list[str], said: str, here: dict[str, torch.Tensor]) -> None:
    save_file({"a": torch.ones(2)}, "other.safetensors")
    result = CliRunner().invoke(main, ["train", "--data", "x.npy", "--evaluate", "vae.py:Ppca", *words])
    assert (result.exit_code, said in result.stderr) == (2, True), result.stderr


def test_a_quantile_is_judged_by_the_share_below() -> None:
    by = numpy.random.default_rng(2)
    x = by.uniform(-2, 2, size=800)
    data = numpy.c_[x, x + (0.05 + 0.3 * abs(x)) * by.normal(size=800)]
    found = recon_cli.train(
        data, model="regression", likelihood="asymmetric-laplace:quantile=0.9", epochs=15, device="cpu"
    )  # fmt: skip
    (row,) = found.answers
    assert row.below_error == pytest.approx(math.sqrt(0.9 * 0.1 / found.result.rows_held_out))
    assert abs(row.below - 0.9) < 0.15
    notes = " ".join(found.notes())
    assert "lie below the prediction (standard error" in notes
    assert "too large" not in notes
    assert recon_cli.train(data, model="regression", epochs=1, device="cpu").answers[0].below is None
