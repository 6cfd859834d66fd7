"""Whole-number labels where a likelihood is of classes, and the end of whole numbers that nobody named."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner
from PIL import Image

import recon_cli
from recon_cli.cli import main
from recon_cli.errors import ReconError

DRAWS = numpy.random.default_rng(0)


def table(tmp_path: Path) -> str:
    x = DRAWS.normal(size=(60, 2))
    rows = [f"{a:.3f},{b:.3f},{int(a > 0) + int(b > 1)}" for a, b in x]
    (tmp_path / "classes.csv").write_text("\n".join(["a,b,kind", *rows]))
    return str(tmp_path / "classes.csv")


def test_labels_of_a_regression_become_classes(tmp_path: Path) -> None:
    trained = recon_cli.train(
        table(tmp_path), likelihood="categorical", model="regression", target="kind", epochs=1, hidden=4, write=None
    )
    assert any("labels 0 to 2 are one-hot vectors of 3 classes" in str(note) for note in trained.report().notes)
    assert 0 < trained.result.nll < 3


@pytest.mark.parametrize(("shape", "classes"), [((50,), 4), ((50, 1), 4), ((50, 3), 5)])
def test_labels_of_an_autoencoder_become_classes(shape: tuple[int, ...], classes: int) -> None:
    x = DRAWS.integers(0, classes, shape)
    x.flat[0] = classes - 1
    trained = recon_cli.train(x, likelihood="categorical", epochs=1, latent=1, hidden=4, write=None)
    assert any(f"of {classes} classes" in str(note) for note in trained.report().notes)


def test_what_is_one_hot_stays_and_what_is_no_label_is_refused() -> None:
    trained = recon_cli.train(numpy.eye(3)[DRAWS.integers(0, 3, 50)], likelihood="categorical", epochs=1, latent=1, write=None)
    assert not any("labels" in str(note) for note in trained.report().notes)
    with pytest.raises(ReconError, match="outside what categorical allows"):
        recon_cli.train(DRAWS.normal(size=(20, 3)), likelihood="categorical", epochs=1, write=None)
    with pytest.raises(ReconError, match="at least two classes|there would be"):
        recon_cli.train(numpy.array([0, 1, 10**9] * 9), likelihood="categorical", epochs=1, write=None)


@pytest.mark.parametrize(("word", "end"), [("ordinal", "levels=4"), ("ordinal:scale=0.5", "levels=4"), ("binomial", "count=3")])
def test_whole_numbers_end_where_the_data_do_unless_an_end_is_named(word: str, end: str) -> None:
    x = numpy.array([[0, 3], [1, 2], [2, 0], [3, 3]] * 8)
    trained = recon_cli.train(x, likelihood=word, epochs=1, latent=1, hidden=4, write=None)
    assert end in str(trained.likelihood)
    assert any("as the data are" in str(note) for note in trained.report().notes)
    named = recon_cli.train(x, likelihood="ordinal:levels=9", epochs=1, latent=1, hidden=4, write=None)
    assert "levels=9" in str(named.likelihood)


def test_a_quiet_calibration_of_few_pictures_says_its_answer(tmp_path: Path) -> None:
    for i in range(12):
        Image.fromarray(DRAWS.integers(0, 255, (8, 8), dtype=numpy.uint8)).save(tmp_path / f"{i}.png")
    (tmp_path / "bad.png").write_bytes(b"\x89PNG broken")
    result = CliRunner().invoke(main, ["calibrate", "--data", str(tmp_path), "--skip-bad", "-q"])
    assert result.exit_code == 0
    assert "no noise is named: at sigma = " in result.stdout
