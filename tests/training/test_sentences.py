"""Hints of a training run name what would mend it: no learning rate where no step was made, none that nobody gave."""

from __future__ import annotations

from pathlib import Path

import numpy
import pytest
from click.testing import CliRunner

from recon_cli import calibrate
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.training import train
from recon_cli.training.experiments.lockstep import lockstep

FEW = numpy.random.default_rng(0).random((64, 6)).astype("float32")


@pytest.mark.parametrize("asked", ["bce", "poisson", "negative-binomial", "bce-with-logits"])
@pytest.mark.parametrize("option", ["--against", "--loss"])
def test_a_loss_that_does_not_take_every_mean_is_refused_as_that(asked: str, option: str) -> None:
    result = CliRunner().invoke(main, ["train", "--data", "digits", "--sigma", "1", option, asked])
    assert result.exit_code == 2
    assert "takes means in" in result.output
    assert f"Try {option} squared-error, or another --likelihood." in result.output.replace("\n ", "")
    assert "--lr" not in result.output


def test_data_that_a_loss_does_not_take_are_refused_before_training() -> None:
    with pytest.raises(ReconError, match="discretized-gaussian allows"):
        lockstep("discretized-gaussian", data=3 * FEW, sigma=1.0, epochs=1)


def test_a_noise_that_is_given_is_to_be_given_larger() -> None:
    with pytest.raises(ReconError) as caught:
        train(data=FEW, sigma=1e-30, epochs=1, out=None)
    assert "take a larger one, as in --sigma 0.1" in caught.value.hint
    with pytest.raises(ReconError, match="A floor keeps"):
        train(data=FEW, sigma=1e-30, sigma_floor=1e-3, epochs=1, out=None)


def test_what_is_beyond_numbers_before_the_first_step_is_no_learning_rate() -> None:
    with pytest.raises(ReconError) as caught:
        train(data=FEW * 1e25, sigma=1.0, epochs=1, out=None)
    assert "step 1" in caught.value.message
    assert "No step was made yet, so it is not --lr" in caught.value.hint


def test_the_learning_rate_of_a_hint_is_the_one_that_was_given() -> None:
    with pytest.raises(ReconError) as caught:
        lockstep("mse", sigma=0.05, optimizer="sgd", lr=1.0, epochs=1)
    assert "lower --lr, which is 1." in caught.value.hint


def test_every_size_that_a_weight_is_left_open_in_is_introduced(tmp_path: Path) -> None:
    found = calibrate(loss="mse", reduction="sum", kl_weight=0.001, kl_reduction="sum").report()
    words = " ".join(found.notes)
    literals = " ".join(str(row["literal"]) for row in next(each for each in found.tables if each.name == "weights").rows)
    for size, meaning in (("B", "batch size"), ("D", "number of elements"), ("K", "number of latents")):
        assert size in literals
        assert meaning in words


def test_a_noise_that_is_solved_for_is_not_said_to_be_learned() -> None:
    found = train(data=FEW, model="linear", exact=True, latent=2, epochs=3, out=None)
    said = " ".join(found.notes())
    assert "the best in every round, errors expected over z" in said
    assert "learned with the network" not in said


def test_a_sweep_names_its_loss() -> None:
    words = ["--sweep", "sigma=0.5,1", "--epochs", "1", "--hidden", "4", "--format", "markdown"]
    result = CliRunner().invoke(main, ["train", *words])
    assert "| squared-error |" in result.stdout


def test_what_is_no_density_has_no_bound() -> None:
    found = train(likelihood="bernoulli", epochs=1, hidden=4, latent=2, out=None)
    titles = {column.title for table in found.report().tables for column in table.columns}
    assert "nll + KL" in titles
    assert not any("ELBO" in title for title in titles)
