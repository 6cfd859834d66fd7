"""Encoders and decoders of every kind: images of any size in the order of their elements, the same again from a folder."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner

import recon_cli
from recon_cli import models, registry, sources
from recon_cli.benchmark import train
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.models._layers import near
from recon_cli.models.conv import image, pixels
from recon_cli.sources.run import Run

CHANCE = numpy.random.default_rng(0)
HOW: dict[str, Any] = {"epochs": 1, "latent": 2, "hidden": 32, "device": "cpu"}


@pytest.mark.parametrize("model", [model for model in registry.names("models") if model != "regression"])
@pytest.mark.parametrize("numbers", [1, 2])
@pytest.mark.parametrize("shape", [(8, 8), (64,), (9, 13), (3, 8, 10), (11, 8, 3), (1, 28, 28)], ids=str)
def test_as_many_numbers_as_elements(model: str, numbers: int, shape: tuple[int, ...]) -> None:
    encoder, decoder = models.kind(model).networks(shape, numbers, 3, 16, torch.Generator().manual_seed(0))
    elements = math.prod(shape)
    assert encoder(torch.rand(5, elements)).shape == (5, 6)
    assert decoder(torch.rand(5, 3)).shape == (5, elements * numbers)
    again, _ = models.kind(model).networks(shape, numbers, 3, 16, torch.Generator().manual_seed(0))
    assert all(torch.equal(one, other) for one, other in zip(encoder.parameters(), again.parameters(), strict=True))


@pytest.mark.parametrize("shape", [(9, 13), (3, 8, 10), (11, 8, 3)], ids=str)
def test_a_decoders_neighbours_are_neighbours_in_the_image(shape: tuple[int, ...]) -> None:
    """One number of the small image reaches only pixels near it, in every channel alike, in the order of the rows."""
    _, decoder = models.kind("conv").networks(shape, 2, 1, 16, torch.Generator().manual_seed(0))
    with torch.no_grad():
        for part in decoder.first.parameters():
            part.zero_()
        base = decoder(torch.zeros(1, 1))
        height, width = decoder.sizes[0]
        decoder.first.bias.view(-1, height, width)[:, 0, 0] = 5.0
        moved = (decoder(torch.zeros(1, 1)) - base).reshape(-1, 2).abs().sum(1)
    seen = pixels(moved.unsqueeze(0), shape)[0]
    assert seen.shape == image(shape)
    assert (seen[:, 0, 0] > 0).all()
    assert (seen[:, 8:, :] == 0).all()
    assert (seen[:, :, 8:] == 0).all()


def test_pixels_are_where_they_were() -> None:
    x = torch.arange(2 * 9 * 8 * 3.0).reshape(2, 9, 8, 3)
    assert torch.equal(pixels(x.flatten(1), (9, 8, 3)), x.movedim(3, 1))
    assert torch.equal(pixels(x.flatten(1), (3, 9, 8)), x.reshape(2, 3, 9, 8))


@pytest.mark.parametrize("shape", [(7, 9), (10,), (2, 3, 4, 5), (3, 4, 4)], ids=str)
def test_what_is_no_image_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ReconError, match="--model conv takes images of at least 8x8"):
        recon_cli.train(CHANCE.random((20, *shape)), model="conv", **HOW)


@pytest.mark.parametrize("likelihood", ["gaussian", "heteroscedastic-gaussian"])
@pytest.mark.parametrize("model", [model for model in registry.names("models") if model != "regression"])
def test_a_run_reconstructs_as_its_model_did(model: str, likelihood: str, tmp_path: Any) -> None:
    found = recon_cli.train("digits", likelihood=likelihood, model=model, out=tmp_path / "run", **HOW)
    x = sources.split(sources.read("digits"), 0.2, "digits")[1]
    with torch.no_grad():
        witness = found.model.reconstruct(torch.from_numpy(x).flatten(1)).numpy().reshape(x.shape)
    assert numpy.allclose(Run(str(tmp_path / "run")).reconstruct(x, x, 0), witness, atol=1e-6)
    again = recon_cli.training.resume(tmp_path / "run", epochs=2)
    assert again.epochs[0] == found.epochs[0]
    assert again.epochs[1].nll < again.epochs[0].nll
    if found.result.predicted is not None:
        assert found.result.ratio == pytest.approx(found.result.predicted, rel=1e-4)


def test_bfloat16_is_near() -> None:
    one, other = (recon_cli.train("digits", sigma=0.3, bf16=half, **{**HOW, "epochs": 4}) for half in (False, True))
    assert other.result.nll != one.result.nll
    assert other.result.nll == pytest.approx(one.result.nll, rel=0.02)


def test_bfloat16_is_the_same_inside_somebodys_autocast() -> None:
    """Torch keeps the weights that autocast has made small until the outermost autocast ends: steps would never show."""
    how: dict[str, Any] = {**HOW, "sigma": 0.3, "epochs": 1, "bf16": True}
    alone = recon_cli.train("digits", **how)
    with torch.autocast("cpu", torch.bfloat16):
        inside = recon_cli.train("digits", **how)
    assert inside.result.nll == alone.result.nll


def test_of_many_rows_the_figures_of_an_epoch_are_of_some() -> None:
    rows = CHANCE.normal(size=(5000, 4)).astype("f4")
    found = recon_cli.train(rows, holdout=0.0, sigma=1.0, **HOW)
    assert found.epochs[0].nll == pytest.approx(found.result.nll, rel=0.05)
    assert found.epochs[0].nll != found.result.nll


@pytest.mark.slow
def test_training_is_timed_beside_its_products(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "ROWS", 256)
    words = ["bench", "train", "--repeats", "1", "--engine", "eager", "--device", "cpu", "--format", "json"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
    rows = {row["way"]: row for row in json.loads(result.stdout)["tables"]["train"]}
    assert [*rows] == ["products", "recon", "recon, bf16", "tutorial"]
    assert rows["products"]["over_products"] == rows["tutorial"]["tutorial_over"] == 1
    for row in rows.values():
        assert row["over_products"] == pytest.approx(row["seconds"] / rows["products"]["seconds"])
        assert row["samples_per_second"] == pytest.approx(256 / row["seconds"])


@pytest.mark.parametrize("words", [["--repeats", "0"], ["--elements", "10"], ["--device", "cuda:9"]])
def test_training_that_cannot_be_timed_is_a_sentence(words: list[str]) -> None:
    result = CliRunner().invoke(main, ["bench", "train", *words])
    assert result.exit_code == 2, result.output
    assert "hint" in result.stderr


def test_rows_that_are_near_stay_as_they_are_whether_asked_or_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a CPU is asked first, a graph computes; of rows that are far, and of what is no number, both the same."""
    rows = torch.randn(6, 16, generator=torch.Generator().manual_seed(0))
    cases = [rows, rows * torch.tensor([1, 1, 1, 9e3, 1, 1e30])[:, None], rows.clone().fill_(math.nan)]
    alone = [near(case) for case in cases]
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    for mine, case in zip(alone, cases, strict=True):
        assert torch.equal(mine.nan_to_num(-1), near(case).nan_to_num(-1))
    assert alone[0] is rows
    assert alone[1].norm(dim=1).max() < 2e3
