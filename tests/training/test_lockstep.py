"""Likelihood and loss side by side: one trajectory where the identity says so, bitwise where it can be, two where it does not."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.training import lockstep
from recon_cli.training.experiments.lockstep import Lockstep, flat
from recon_cli.training.plan import Plan
from recon_cli.training.settings import Settings

FEW = sources.read("digits")[:150]


def run(against: str = "mse", **how: Any) -> Lockstep:
    """Side by side for a few steps, the last batch of each epoch smaller than the others."""
    return lockstep(
        against, **{"data": FEW, "sigma": 0.5, "optimizer": "sgd", "lr": 1e-3, "hidden": 32, "latent": 4, "epochs": 2,
                    "batch_size": 33, "device": "cpu", **how},
    )  # fmt: skip


def words(found: Lockstep) -> dict[str, str]:
    return {variant.name: found.word(variant) for variant in found.variants}


@pytest.mark.parametrize("sigma", [0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize(
    "how", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 0.3}, {"beta": 4.0}], ids=str
)
def test_sgd_is_bitwise_where_the_slope_is_a_power_of_two(sigma: float, how: dict[str, Any]) -> None:
    found = run(sigma=sigma, **how)
    assert words(found) == {"scaled": "bitwise", "unscaled": "no", "KL unchanged": "no"}
    assert found.slope == 1 / (2 * sigma**2)
    assert found.variants[0].settings.lr == 1e-3 * found.slope


@pytest.mark.parametrize("sigma", [0.3, 0.1, 1.7])
@pytest.mark.parametrize("name", ["sgd", "adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad"])
def test_otherwise_it_is_equal_to_rounding(name: str, sigma: float) -> None:
    found = run(sigma=sigma, optimizer=name)
    assert found.holds
    assert found.word(found.variants[0]) == "to rounding"
    assert max(found.variants[0].apart) < 1e-3
    assert words(found)["KL unchanged"] == "no"


@pytest.mark.parametrize("how", [{}, {"weight_decay": 0.3}, {"eps": 1e-4}], ids=str)
@pytest.mark.parametrize("name", ["adam", "adamw", "nadam", "adamax", "rmsprop", "adagrad"])
def test_the_adam_family_is_bitwise_with_eps_scaled_and_not_without(name: str, how: dict[str, Any]) -> None:
    found = run(sigma=0.25, optimizer=name, **how)
    tiny = name == "adagrad" and not how  # its eps is 1e-10: nothing hangs on it
    assert words(found) == {"scaled": "bitwise", "unscaled": "to rounding" if tiny else "no", "KL unchanged": "no"}


@pytest.mark.parametrize("name", ["radam", "adadelta", "asgd"])
def test_these_are_not_invariant(name: str) -> None:
    found = run(optimizer=name)
    assert not found.holds
    assert "refuted" in found.verdict()


def test_unscaled_sgd_is_off_by_the_slope_at_the_first_step() -> None:
    found = run(sigma=0.25, momentum=0.9)
    unscaled = found.variants[1].apart
    assert unscaled[0] == pytest.approx(1 - 1 / 8, rel=1e-4)  # a step of 1/8 the length


@pytest.mark.parametrize(
    ("against", "how", "word"),
    [
        ("l1", {"likelihood": "laplace:scale=0.25", "sigma": None}, "bitwise"),
        ("l1", {"likelihood": "laplace:scale=0.3", "sigma": None}, "to rounding"),
        ("bce", {"likelihood": "bernoulli", "sigma": None, "binarize": "threshold"}, "bitwise"),
        ("bce-with-logits", {"likelihood": "bernoulli", "sigma": None, "binarize": "threshold"}, "bitwise"),
        ("bce", {"likelihood": "continuous-bernoulli", "sigma": None}, "no"),
        ("l1", {}, "no"),
    ],
)
def test_other_pairs(against: str, how: dict[str, Any], word: str) -> None:
    found = run(against, **how)
    assert words(found)["scaled"] == word
    assert found.holds == (word != "no")


def test_beta_is_a_sigma() -> None:
    """Half the squared error and beta KL: sigma^2 = beta, by the weights that the sides were told."""
    found = run(sigma=0.5, beta=1.0)
    (note,) = [note for note in found.report().notes if note.startswith("Left")]
    assert "0.5 × squared-error + 0.25 KL" in note
    assert found.variants[0].settings.beta == 0.5
    plain = run(sigma=0.5, beta=0.0)
    assert words(plain) == {"scaled": "bitwise", "unscaled": "no"}


def test_the_losss_side_is_what_people_write() -> None:
    """Against a loop of our own with torch's mse_loss and SGD, to rounding."""
    how = {"data": FEW, "holdout": 0.0, "sigma": 0.5, "hidden": 8, "latent": 2, "device": "cpu", "batch_size": 64, "epochs": 1}
    plan = Plan.of(**how, optimizer="sgd", lr=1e-3, momentum=0.9)
    loss = run(**how).loss
    side = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings.rescaled(2.0), loss=loss.name)).state()
    while side.at < side.steps:
        side.step()
    mine = plan.state()
    search = torch.optim.SGD(mine.model.parameters(), lr=2e-3, momentum=0.9)
    for batch in mine.order.split(64):
        x = mine.rows[batch]
        mean, log_variance = mine.model.encode(x)
        z = mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=mine.generator)
        kl = -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum() / len(x)
        search.zero_grad()
        (functional.mse_loss(mine.model.decode(z), x, reduction="sum") / len(x) + 0.5 * kl).backward()
        search.step()
    torch.testing.assert_close(flat(mine), flat(side), rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("slope", [2.0, 50.0])
def test_what_rescaling_changes(slope: float) -> None:
    for name, lr, decay in (("sgd", slope, 1 / slope), ("adam", 1, 1 / slope), ("adamw", 1, 1), ("rprop", 1, None)):
        told = Settings(optimizer=name, lr=0.1, weight_decay=None if decay is None else 0.5, beta=3.0).rescaled(slope)
        assert told.lr == pytest.approx(0.1 * lr)
        assert told.weight_decay == (None if decay is None else pytest.approx(0.5 * decay))
        assert told.beta == pytest.approx(3 / slope)
        assert told.eps == (pytest.approx(1e-8 / slope) if "adam" in name else None)


@pytest.mark.parametrize(("words", "code"), [(["--optimizer", "sgd"], 0), (["--optimizer", "radam"], 1), ([], 0)])
def test_the_verdict_is_the_exit_code(words: list[str], code: int) -> None:
    result = CliRunner().invoke(
        main, ["train", "--sigma", "0.5", "--against", "mse", "--epochs", "2", "--hidden", "8", "--format", "json", *words]
    )
    assert result.exit_code == code, result.output
    found = json.loads(result.stdout)
    assert list(found["tables"]) == ["steps", "lockstep"]
    assert len(found["tables"]["steps"]) == 24
    equal = [row["equal"] for row in found["tables"]["lockstep"]]
    assert equal == ([None, "bitwise", "no", "no"] if not code else [None, "no", "no", "no"])
    assert found["verdict"].startswith("refuted" if code else "holds")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "The noise of gaussian is learned"),
        (["--sigma", "optimal"], "The noise of gaussian is optimal"),
        (["--sigma", "0.5", "--out", "x"], "--against and --out do not go together"),
        (["--sigma", "0.5", "--resume", "x"], "--against and --resume do not go together"),
        (["--sigma", "0.5", "--optimizer", "sgd", "--lr", "1e6"], "Training broke off at epoch 1, step 2"),
        (["--likelihood", "heteroscedastic-gaussian"], "not of the same kind"),
    ],
)
def test_refused(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["train", "--against", "mse", *words])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert " hint: " in result.stderr


def test_an_unknown_loss() -> None:
    with pytest.raises(ReconError, match="no loss named"):
        run("mze")
