"""What is printed of a loss: no digits of an eps, thresholds as the command line has them, lines that hold at the data's ends."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from click.testing import CliRunner
from torch import Tensor

from recon_cli import audit
from recon_cli.cli import main

SIZES: dict[str, Any] = {"shape": (6,), "latent": 3}


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def test_the_digits_of_an_eps_are_no_weight() -> None:
    found = audit(
        lambda recon, x, mu, logvar: -(x * (recon + 1e-8).log() + (1 - x) * (1 - recon + 1e-8).log()).sum() + kl(mu, logvar),
        **SIZES,
    )
    assert found.formula == "L = CE + KL"
    assert all("1.0" not in line and "1 *" not in line for _, line in found.conversions)


def test_a_threshold_is_spelled_as_the_command_line_has_it() -> None:
    found = audit(lambda y, x, mu, logvar: 100 * F.huber_loss(y, x, delta=0.1, reduction="sum") + kl(mu, logvar), **SIZES)
    assert "a huber of threshold 0.1, which is huber:scale=0.1,delta=1" in found.sentence
    assert "a huber of threshold 0.1" in audit(lambda y, x: F.huber_loss(y, x, delta=0.1), (6,)).sentence


def test_the_line_of_an_exponential_holds_at_zero() -> None:
    found = audit(lambda recon, x, mu, logvar: (x / recon + recon.log()).sum() + kl(mu, logvar), **SIZES)
    line = dict(found.conversions)["a negative ELBO"].partition(" + 0.5 * (mu")[0]
    at = {"torch": torch, "recon": torch.tensor(0.5), "x": torch.tensor(0.0)}
    assert torch.isfinite(eval(line, at))


def test_a_half_is_missing_from_a_loss_that_is_divided_as_a_whole() -> None:
    found = audit(lambda recon, x, mu, logvar: ((recon - x).square().sum() + kl(mu, logvar)) / 100, **SIZES)
    assert found.defects == ("half-missing",)


def test_steps_go_with_a_script() -> None:
    result = CliRunner().invoke(main, ["audit", "--steps", "21", "train.py"])
    assert result.exit_code == 2
    assert "recon audit --steps 21 --run train.py" in result.output
    result = CliRunner().invoke(main, ["audit", "--run", "--steps", "21", "train.py"])
    assert result.exit_code == 2
    assert "After --run comes a script" in result.output
