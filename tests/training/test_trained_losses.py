"""Trained on a loss, measured by the likelihood: the same steps where the loss is its own, others where it is none."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from torch.nn import functional

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.training import Training, lockstep, resume
from recon_cli.training.experiments.lockstep import flat
from recon_cli.training.loop import State
from recon_cli.training.plan import Plan

FEW = sources.read("digits")[:150]
HETEROSCEDASTIC = "heteroscedastic-gaussian"
CHANCE = numpy.random.default_rng(3)
X = CHANCE.normal(size=(200, 2))
Y = numpy.sin(2 * X[:, 0]) + (0.1 + X[:, 1] ** 2) * CHANCE.normal(size=200)


def regression(data: Any = (X, Y), likelihood: str = HETEROSCEDASTIC, **how: Any) -> Training:
    """A short regression; of mean and variance, if not told otherwise."""
    return recon_cli.train(
        data, model="regression", likelihood=likelihood, **{"epochs": 3, "device": "cpu", "holdout": 0.0, **how}
    )  # fmt: skip


def weights(found: Training, part: str) -> dict[str, torch.Tensor]:
    """Those whose name begins so."""
    return {name: value for name, value in found.model.state_dict().items() if name.startswith(part)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    """Whether two sets of weights are the same to the last bit, and there are any."""
    return bool(one) and one.keys() == other.keys() and all(torch.equal(value, other[name]) for name, value in one.items())


# What is trained.


def test_the_likelihoods_own_loss_makes_its_steps() -> None:
    """At sigma^2 = 1/2 the nll is the squared error and a constant: bitwise, of a VAE too."""
    how = {"likelihood": "gaussian", "sigma": math.sqrt(0.5), "optimizer": "sgd", "lr": 1e-3, "device": "cpu", "epochs": 2}
    exact = {**how, "sigma": 0.5, "lr": 1e-3}
    side = {**how, "sigma": 0.5, "lr": 2e-3, "beta": 0.5, "loss": "mse"}
    assert equal(weights(recon_cli.train(FEW, **exact), ""), weights(recon_cli.train(FEW, **side), ""))
    plain = recon_cli.train(FEW, **{**exact, "lr": 2e-3})
    assert not equal(weights(recon_cli.train(FEW, **exact), ""), weights(plain, ""))


@pytest.mark.parametrize("loss", ["beta-nll", "beta-nll:beta=0.25", "faithful", "gaussian-nll"])
@pytest.mark.parametrize("model", ["mlp", "regression"])
def test_a_step_is_down_the_loss(loss: str, model: str) -> None:
    """One step of SGD against a gradient of our own, as the papers write it: torch's functionals, detached by hand."""
    data = (X, Y) if model == "regression" else FEW
    plan = Plan.of(
        data, HETEROSCEDASTIC, device="cpu", model=model, loss=loss, optimizer="sgd", lr=1e-3, batch_size=200, holdout=0
    )
    state, twin = plan.state(), plan.state()
    x = twin.rows[twin.order]
    eps = torch.randn(len(x), plan.settings.latent, generator=twin.generator)
    state.step()
    raw, rates = twin.model(x, eps)
    y, mean, variance = twin.model.target(x), raw[..., 0], raw[..., 1].exp()
    held = variance if loss.startswith("gaussian") else variance.detach()
    nll = functional.gaussian_nll_loss(mean, y, variance, reduction="none")
    if loss == "faithful":
        each = (y - mean) ** 2 / 2 + functional.gaussian_nll_loss(mean.detach(), y, variance, reduction="none")
    else:
        power = {"beta-nll": 0.5, "beta-nll:beta=0.25": 0.25}.get(loss, 0.0)
        each = held.detach() ** power * nll
    found = torch.autograd.grad(each.sum() / len(x) + rates.sum() / len(x), [*twin.model.parameters()])
    for before, after, gradient in zip(twin.model.parameters(), state.model.parameters(), found, strict=True):
        torch.testing.assert_close((before - after) / 1e-3, gradient, rtol=2e-3, atol=2e-3)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_under_the_faithful_loss_the_mean_learns_as_under_half_the_squared_error(optimizer: str) -> None:
    """To rounding (bit for bit where vector and scalar code agree): the mean has a network of its own."""
    how = {"optimizer": optimizer, "lr": 1e-3}
    one = regression(loss="faithful", **how)
    half, nll = regression(likelihood="gaussian", sigma=1.0, **how), regression(**how)
    for name, value in weights(one, "decoder.0").items():
        torch.testing.assert_close(value, half.model.state_dict()[name], rtol=1e-5, atol=1e-6)
    assert not equal(weights(one, "decoder.0"), weights(nll, "decoder.0"))
    assert one.result.rmse == pytest.approx(half.result.rmse, rel=1e-6)
    assert not torch.equal(*(weights(side, "decoder.1")["decoder.1.0.weight"] for side in (one, nll)))


def test_in_a_vae_the_decoders_trunk_hears_the_variance() -> None:
    """Mean and variance have one decoder there, so this is not so: the README says it."""
    how = {"optimizer": "sgd", "lr": 1e-3, "device": "cpu", "epochs": 1}
    one = recon_cli.train(FEW, likelihood=HETEROSCEDASTIC, loss="faithful", **how)
    half = recon_cli.train(FEW, likelihood="gaussian", sigma=1.0, **how)
    assert not equal(weights(one, "decoder.0"), weights(half, "decoder.0"))


def test_at_beta_one_the_mean_learns_as_under_half_the_squared_error() -> None:
    """Seitzer and others (2022), section 4: to rounding, var^1/var being 1."""
    how = {"optimizer": "sgd", "lr": 1e-3}
    one, half = regression(loss="beta-nll:beta=1", **how), regression(likelihood="gaussian", sigma=1.0, **how)
    for name, value in weights(one, "decoder.0").items():
        torch.testing.assert_close(value, half.model.state_dict()[name], rtol=1e-4, atol=1e-5)


@pytest.mark.trained
@pytest.mark.parametrize("seed", [0, 1])
def test_what_the_papers_show(seed: int) -> None:
    """A sinusoid with noise of 0.01 (Seitzer and others 2022, figure 1): at equal steps the nll's mean is the worst.

    Where the mean is not fitted yet the variance grows, and divides the mean's gradient. Root mean squared distance from the
    true mean after 780 steps, of six seeds: nll 0.236 to 0.260, beta-nll 0.217 to 0.247, faithful 0.212 to 0.218, in this
    order in each; after 1,500 (batches of 16), of eight: 0.21 to 0.28, 0.13 to 0.21, 0.04 to 0.18.
    """
    chance = numpy.random.default_rng(seed)
    x = chance.uniform(0, 12, 400)
    mean = 0.4 * numpy.sin(2 * math.pi * x / 3)
    y = mean + 0.01 * numpy.random.default_rng(seed + 9).normal(size=400)
    rows = torch.from_numpy(numpy.column_stack([x, y]).astype("f4"))
    off = {}
    for loss in (None, "beta-nll", "faithful"):
        found = regression((x, y), loss=loss, epochs=60, batch_size=32, seed=seed)
        with torch.no_grad():
            off[loss] = math.sqrt(((found.model.reconstruct(rows)[:, 0].numpy() - mean) ** 2).mean())
    assert off["faithful"] < off["beta-nll"] < 0.97 * off[None]


# What is measured, and said.


def test_the_nll_is_measured_and_the_loss_shown() -> None:
    found = regression(loss="beta-nll:beta=0.5", holdout=0.2)
    with torch.no_grad():
        rows = torch.from_numpy(numpy.column_stack([X, Y]).astype("f4"))[sources.held_out(200, 0.2)]
        mean, variance = found.model.outputs(rows).unbind(dim=-1)
        nll = functional.gaussian_nll_loss(mean, rows[:, 2:], variance, full=True)
        beta = (variance**0.5 * functional.gaussian_nll_loss(mean, rows[:, 2:], variance, reduction="none")).mean()
    assert found.result.nll == pytest.approx(nll.item(), rel=1e-4)
    assert found.result.loss == pytest.approx(beta.item(), rel=1e-4)
    assert found.result.predicted is None
    notes = " ".join(found.report().notes)
    assert "Trained on beta-nll:beta=0.5; nll is measured. It is no likelihood: its weight var^beta" in notes
    assert found.report().tables[0].columns[2].title == "beta-nll"


def test_a_noise_that_the_loss_has_not_is_the_best_for_each_batch() -> None:
    """Unasked, it is optimal; at the end the training rows' RMSE, in closed form."""
    found = regression(likelihood="gaussian", loss="mse", epochs=5)
    assert found.whose == "optimal"
    assert found.result.sigma == pytest.approx(found.result.rmse, rel=1e-6)
    assert any("gaussian's own, but for the slope" in note for note in found.notes())
    other = regression(likelihood="laplace", loss="mse", epochs=2)
    assert any("another likelihood's, not laplace's" in note for note in other.notes())


@pytest.mark.parametrize(
    ("likelihood", "sigma", "loss", "said"),
    [
        ("gaussian", "learned", "mse", "squared-error has no sigma in it, so training on it gives a learned one no gradient"),
        ("laplace", "learned", "l1", "absolute-error has no scale in it"),
        ("gaussian", None, "beta-nll", "not of the same kind"),
        (HETEROSCEDASTIC, None, "mse", "not of the same kind"),
        ("gaussian", None, "bce", r"binary-cross-entropy takes means in \[0, 1\]"),
        ("gaussian", None, "bta-nll", "no loss named 'bta-nll'"),
        (HETEROSCEDASTIC, None, "beta-nll:beta=-1", "cannot have beta"),
    ],
)
def test_refused(likelihood: str, sigma: Any, loss: str, said: str) -> None:
    with pytest.raises(ReconError, match=said):
        regression(likelihood=likelihood, sigma=sigma, loss=loss)


def test_data_that_the_loss_does_not_allow() -> None:
    with pytest.raises(ReconError, match=r"values of the data \(data\) are outside what discretized-gaussian allows"):
        regression(likelihood="gaussian", loss="discretized-gaussian")


def test_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.savetxt("t.csv", numpy.column_stack([X, Y]), delimiter=",", header="a,b,y", comments="")
    words = ["train", "--model", "regression", "--data", "t.csv", "--likelihood", HETEROSCEDASTIC, "--device", "cpu"]
    result = CliRunner().invoke(main, [*words, "--loss", "beta-nll", "--epochs", "2", "--out", "run"])
    assert result.exit_code == 0, result.output
    assert "Trained on beta-nll;" in result.stdout
    assert resume("run", loss="beta-nll").settings.loss == "beta-nll"
    wrong = CliRunner().invoke(main, [*words, "--loss", "beta-nil"])
    assert (wrong.exit_code, "Did you mean 'beta-nll'?" in wrong.stderr) == (2, True)


# Side by side.


def test_against_one_that_is_no_likelihood_they_part() -> None:
    found = lockstep("faithful", data=(X, Y), model="regression", likelihood=HETEROSCEDASTIC, device="cpu", epochs=1)
    assert not found.holds
    assert any("Right: faithful, which is no likelihood: mean and variance are" in note for note in found.notes())


@pytest.mark.parametrize(("loss", "against", "word"), [("mse", "mse", "bitwise"), ("l1", "mse", "no"), ("l1", "l1", "bitwise")])
def test_a_loss_against_a_loss(loss: str, against: str, word: str) -> None:
    found = lockstep(
        against, data=FEW, sigma=0.5, loss=loss, optimizer="sgd", lr=1e-3, device="cpu", epochs=1, hidden=16, latent=2
    )
    assert found.word(found.variants[0]) == word
    note = next(note for note in found.notes() if note.startswith("Left"))
    assert note.startswith(f"Left: {loss} + 1 KL. Right: ")
    assert ("the same objective" in note) == (word != "no")


def test_a_state_of_another_loss_is_the_rival() -> None:
    """The loss's side of --against is a state whose settings name it, and nothing else."""
    plan = Plan.of(FEW, sigma=0.5, device="cpu", optimizer="sgd")
    side = dataclasses.replace(plan, settings=dataclasses.replace(plan.settings, loss="mse")).state()
    assert type(side) is State
    assert side.loss is not None
    assert torch.equal(flat(side), flat(plan.state()))
