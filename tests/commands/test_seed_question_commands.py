"""The question that recon was made for, point by point: the command to type, and what it prints."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from recon_cli.cli import main

LOSSES = """
import torch
from torch import square
from torch.nn import functional as F


def right(y, t):
    return square(y - t).mean()


def wrong(y, t):
    return (square(y) - t).mean()


def bce(x_hat, x, mu, logvar):
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    return F.binary_cross_entropy(x_hat, x, reduction="sum") + kl


def pseudo(x_hat, x, mu, logvar):
    kl = -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()
    return square(x_hat - x).sum() + kl
"""
POINTS: list[tuple[str, list[str], int, list[str]]] = [
    # The parentheses: the mistake and the pseudo-code are told apart.
    ("audit q.py:wrong", ["compares y with no target", "The parentheses are misplaced: write square(y - t), not square(y) - t",
                          "defective: target-unused"], 1, ["Σ(x̂−x)²"]),
    ("audit q.py:right", ["This is a Gaussian, and there is no KL here", "L = (1/(B·D))·Σ(x̂−x)²"], 0, []),
    # Squared error without the half and a KL: which noise that is.
    ("audit q.py:pseudo", ["a Gaussian with sigma = 0.707107 if beta is 1", "L = Σ(x̂−x)² + KL"], 0, []),
    # Cross-entropy comes from a likelihood too.
    ("audit q.py:bce", ["a Bernoulli with beta = 1: an exact ELBO", "L = CE + KL"], 0, ["sigma²"]),
    ("compare --likelihood bernoulli --binarize threshold", ["binary-cross-entropy is its nll", "holds"], 0, []),
    # The derivative is the likelihood's, scaled by sigma, measured.
    ("compare --sigma 0.5", ["is squared-error × 2", "SGD on the summed squared-error at 2 × η",
                             "at 128 × η", "without weight decay or clipping"], 0, []),
    # The learning rate takes the scale up, to the last bit.
    ("train --sigma 0.5 --against mse --optimizer sgd --epochs 1 --holdout 0.9", ["the same objective divided by the slope 2",
     "every weight equal to the last bit"], 0, []),
    ("train --sigma 0.5 --against mse --optimizer adagrad --epochs 1 --holdout 0.9", ["unscaled: differs by eps only"], 0,
     ["unscaled: is another model"]),
]  # fmt: skip


@pytest.mark.parametrize("point", POINTS, ids=lambda point: point[0])
def test_what_each_command_prints(point: tuple[str, list[str], int, list[str]], tmp_path: Path) -> None:
    command, wanted, code, unwanted = point
    (tmp_path / "q.py").write_text(LOSSES)
    words = command.replace("q.py", str(tmp_path / "q.py")).split()
    result = CliRunner().invoke(main, words)
    flat = " ".join(result.stdout.split())
    assert result.exit_code == code, result.output
    assert [part for part in wanted if part not in flat] == [], flat
    assert [part for part in unwanted if part in flat] == [], flat


def test_a_simple_regression_is_least_squares(tmp_path: Path) -> None:
    """Worked out here by its normal equations."""
    import numpy

    generator = numpy.random.default_rng(0)
    x = generator.normal(size=200)
    y = 1.5 * x - 0.5 + 0.6 * generator.normal(size=200)
    lines = ["x,y", *(f"{a!r},{b!r}" for a, b in zip(x.tolist(), y.tolist(), strict=True))]
    (tmp_path / "reg.csv").write_text("\n".join(lines))
    design = numpy.stack([x, numpy.ones_like(x)], axis=1)
    off = y - design @ numpy.linalg.lstsq(design, y, rcond=None)[0]
    best = 0.5 * numpy.log(2 * numpy.pi * (off**2).mean()) + 0.5
    words = ["train", "--model", "regression", "--hidden", "0", "--data", str(tmp_path / "reg.csv"), "--target", "y"]
    result = CliRunner().invoke(main, [*words, "--epochs", "1", "--holdout", "0"])
    flat = " ".join(result.stdout.split())
    assert f"(least squares) is an nll of {best:.6f}" in flat, flat
