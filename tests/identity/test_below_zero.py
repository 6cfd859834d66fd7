"""An nll below 0 is said to be no mistake, with the least that is possible."""

from __future__ import annotations

import math

import pytest
import torch
from click.testing import CliRunner

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main


def test_the_floor_is_the_closed_form() -> None:
    sentence = recon_cli.Gaussian(sigma=0.1).below_zero(-1.0, 784)
    assert f"= {784 / 2 * math.log(2 * math.pi * 0.01):.6g} nats a sample" in sentence
    assert f"{math.log2(2 * math.pi * 0.01) / 2:.4g} bits per dimension" in sentence


def test_nothing_costs_less_than_the_floor() -> None:
    x = torch.linspace(-5, 5, 1001, dtype=torch.float64)
    for name in likelihoods.names():
        likelihood = likelihoods.find(name)()
        if "The least that" in (sentence := likelihood.below_zero(-1.0, 1)):
            least = float(sentence.partition(" nats a sample")[0].rpartition("= ")[2])
            assert likelihood.nll(x, torch.zeros_like(x)).min().item() == pytest.approx(least, rel=1e-5, abs=1e-9), name


@pytest.mark.parametrize("name", ["poisson", "categorical", "discretized-logistic", "bernoulli"])
def test_a_probability_is_never_below_zero(name: str) -> None:
    assert likelihoods.find(name)().below_zero(-1.0, 10) == ""


def test_every_command_says_it() -> None:
    assert "An nll below 0 is no mistake" in " ".join(CliRunner().invoke(main, ["compare", "--sigma", "0.1"]).stdout.split())
    assert "An nll below 0" not in CliRunner().invoke(main, ["compare", "--sigma", "0.5"]).stdout
    assert "An nll below 0" in CliRunner().invoke(main, ["calibrate", "--likelihood", "gaussian"]).stdout
    trained = recon_cli.train("digits", epochs=1, hidden=64, latent=4, device="cpu", sigma=0.2)
    assert ("An nll below 0" in str(trained)) == (trained.result.nll < 0)
