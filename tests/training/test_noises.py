"""A noise for every element of the data, learned; and a noise by the network, which is the heteroscedastic Gaussian."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import load_file
from test_interruption import outcome, stopped_at

import recon_cli
from recon_cli import likelihoods, sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.identity.parametric import size
from recon_cli.training import lockstep, resume
from recon_cli.training.figures import in_common
from recon_cli.training.noises import Learned, start

LEVELS = ("gaussian", "laplace", "student-t", "huber", "logistic", "hyperbolic-secant", "asymmetric-laplace",
          "generalized-gaussian", "discretized-gaussian:levels=17", "discretized-logistic:levels=17")  # fmt: skip
CHANCE = numpy.random.default_rng(0)
NOISE = numpy.array([0.05, 0.1, 0.2, 0.4, 0.8, 1.6])
CODES = CHANCE.normal(size=(600, 2))
ROWS = (CODES @ CHANCE.normal(size=(2, 6)) * 2 + NOISE * CHANCE.normal(size=(600, 6))).astype("f4")
FACTOR_ANALYSIS = [0.207, 0.286, 0.524, 0.734, 0.887, 1.153, 0.202, 0.300, 0.540, 0.689, 0.894, 1.216]  # scikit-learn's
HOW: dict[str, Any] = {"holdout": 0.0, "latent": 2, "hidden": 16, "device": "cpu", "sigma": "per-element"}


@pytest.mark.parametrize("name", LEVELS)
def test_a_tensor_of_levels_is_each_of_them_values_and_gradients(name: str) -> None:
    """Column by column it is the likelihood of that level alone, and so is every gradient."""
    claim = likelihoods.parse(name)
    chance = torch.Generator().manual_seed(0)
    x = (torch.rand(40, 5, generator=chance, dtype=torch.float64) * 16).round() / 16
    mu = torch.rand(40, 5, generator=chance, dtype=torch.float64, requires_grad=True)
    each = torch.tensor([0.02, 0.1, 0.3, 1.0, 4.0], dtype=torch.float64, requires_grad=True)
    whole = type(claim)(**{**claim.parameters, claim.level_name: each})
    values = whole.nll(x, mu)
    by_mu, by_level = torch.autograd.grad(values.sum(), (mu, each))
    for at in range(5):
        one, mine = each[at].detach().clone().requires_grad_(), mu[:, at].detach().clone().requires_grad_()
        alone = type(claim)(**{**claim.parameters, claim.level_name: one}).nll(x[:, at], mine)
        witness = torch.autograd.grad(alone.sum(), (mine, one))
        torch.testing.assert_close(values[:, at], alone, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_mu[:, at], witness[0], rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(by_level[at], witness[1], rtol=1e-9, atol=1e-9)


def test_its_optimum_is_the_root_mean_square_error_of_each_column() -> None:
    x, mu = torch.from_numpy(ROWS).double(), torch.zeros(600, 6, dtype=torch.float64)
    noise = Learned(recon_cli.likelihoods.gaussian.Gaussian(sigma=torch.ones(6, dtype=torch.float64))).double()
    search = torch.optim.LBFGS(
        noise.parameters(), max_iter=100, tolerance_grad=1e-12, tolerance_change=0.0, line_search_fn="strong_wolfe"
    )

    def cost() -> torch.Tensor:
        search.zero_grad()
        value = noise(x, mu).nll(x, mu).mean()
        value.backward()
        return value

    search.step(cost)
    torch.testing.assert_close(noise(x, mu).sigma, x.square().mean(dim=0).sqrt(), rtol=1e-6, atol=0)
    begun = start(recon_cli.likelihoods.gaussian.Gaussian(), "per-element", x)(x, mu).sigma
    torch.testing.assert_close(begun.double(), x.std(dim=0, correction=0), rtol=1e-5, atol=0)


@pytest.mark.slow
def test_known_noises_are_found() -> None:
    """A linear model of two factors finds the noises that the data were made with, as factor analysis does (to 3 digits)."""
    noise = numpy.tile([0.2, 0.3, 0.5, 0.7, 0.9, 1.2], 2)
    chance = numpy.random.default_rng(0)
    rows = (chance.normal(size=(600, 2)) @ chance.normal(size=(2, 12)) + noise * chance.normal(size=(600, 12))).astype("f4")
    how = {**HOW, "model": "linear", "epochs": 150, "lr": 0.1, "schedule": "cosine", "batch_size": 64}
    found = recon_cli.train(rows, **how)
    sigma = found.likelihood.sigma.numpy()
    assert sigma == pytest.approx(noise, rel=0.15)
    assert sigma == pytest.approx(FACTOR_ANALYSIS, rel=0.1)
    assert found.result.sigma == pytest.approx(math.sqrt((sigma**2).mean()), rel=1e-6)
    one = recon_cli.train(rows, **{**how, "epochs": 50, "sigma": "learned"})
    assert found.result.negative_elbo < one.result.negative_elbo - 1
    assert found.optimum is None
    (note,) = [note for note in found.report().notes if note.startswith("sigma = ")]
    assert f"from {sigma.min():.4g} to {sigma.max():.4g}" in note


@pytest.mark.parametrize("name", LEVELS)
def test_every_family_with_a_sigma_or_a_scale(name: str) -> None:
    digits = sources.read("digits")[:300]
    found = recon_cli.train(digits, likelihood=name, epochs=3, **{**HOW, "sigma_floor": 0.01})
    each = found.likelihood.parameters[found.likelihood.level_name]
    assert each.shape == (64,)
    assert each.min() >= 0.01
    for seen in (*found.epochs, found.result):
        assert all(math.isfinite(value) for value in (seen.nll, seen.kl, seen.loss))
        assert seen.predicted is None
    assert found.epochs[-1].nll < found.epochs[0].nll
    assert str(found.likelihood).startswith(f"{found.likelihood.name}:")
    assert found.report().verdict
    (note,) = [note for note in found.report().notes if note.startswith(f"{found.likelihood.level_name} = ")]
    assert ("; one for all of them is " in note) == (len(found.likelihood.parameters) > 1)


def test_rows_of_the_table_are_the_nll_of_the_levels_found() -> None:
    found = recon_cli.train(ROWS, epochs=2, **HOW)
    sigma, last = found.likelihood.sigma.double(), found.result
    x = torch.from_numpy(ROWS)
    chance = torch.Generator().manual_seed(1)
    with torch.no_grad():
        mu = found.model(x, torch.randn(600, 2, generator=chance))[0].double()
    nll = -torch.distributions.Normal(mu, sigma).log_prob(x.double()).sum(dim=1).mean()
    assert last.nll == pytest.approx(nll.item(), rel=1e-6)
    assert last.loss == pytest.approx((mu - x).square().sum(dim=1).mean().item(), rel=1e-5)


def test_a_run_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("rows.npy", ROWS)
    found = recon_cli.train("rows.npy", out="run", epochs=2, iwae=4, **HOW)
    assert torch.equal(load_file("run/model.safetensors")["likelihood.sigma"], found.likelihood.sigma)
    result = json.loads(Path("run/result.json").read_text())
    assert (
        result["likelihood"]
        == in_common(found.likelihood).spelled(exact=True)
        == f"gaussian:sigma={size(found.likelihood.sigma)!r}"
    )
    assert json.loads(Path("run/config.json").read_text())["noise"] == "per-element"
    pair = sources.pair("rows.npy", "run:run")
    assert numpy.allclose(pair.outputs(("mu", "var"))[..., 1], found.likelihood.sigma.square().numpy())
    assert f"the VAE of run, gaussian:sigma={found.result.sigma:g}" in pair.described
    for words in (["compare", "--likelihood", "gaussian:sigma=1"], ["calibrate"]):
        done = CliRunner().invoke(main, [*words, "--data", "rows.npy", "--recon", "run:run"])
        assert done.exit_code in (0, 1), done.output
    assert resume("run").epochs == found.epochs


def test_interrupted_it_goes_on_to_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", ROWS[:200])
    how = {**HOW, "holdout": 0.1, "batch_size": 16, "latent": 3, "hidden": 8, "epochs": 3, "sigma_floor": 1e-3}
    recon_cli.train("few.npy", out="whole", **how)
    stopped_at(17, monkeypatch, sigma="per-element", sigma_floor=1e-3, epochs=3)
    resume("run")
    assert outcome("run") == outcome("whole")


# By the network.


def test_a_noise_by_the_network_is_the_heteroscedastic_gaussian() -> None:
    how = {**HOW, "epochs": 2, "sigma": "network"}
    found = recon_cli.train(ROWS, **how)
    same = recon_cli.train(ROWS, likelihood="heteroscedastic-gaussian", **{**how, "sigma": None})
    assert found.likelihood.name == "heteroscedastic-gaussian"
    assert found.epochs == same.epochs
    assert any("--sigma network" in note for note in found.report().notes)
    assert recon_cli.train(ROWS, likelihood="heteroscedastic-gaussian", **how).epochs == same.epochs


@pytest.mark.parametrize("name", [*LEVELS[1:], "student-t:df=3"])
def test_any_family_by_the_network(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Values and gradients are the family's own at the level that the decoder gives; a run of it is used from its folder."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", sources.read("digits")[:100])
    found = recon_cli.train("few.npy", likelihood=name, out="run", **{**HOW, "epochs": 3, "sigma": "network"})
    claim, inner = found.likelihood, likelihoods.parse(name)
    assert claim.name == f"{inner.name}-by-network"
    assert found.epochs[-1].nll < found.epochs[0].nll
    assert found.result.ratio == pytest.approx(1, rel=1e-4)
    chance = torch.Generator().manual_seed(0)
    x = (torch.rand(30, 5, generator=chance, dtype=torch.float64) * 16).round() / 16
    raw = torch.randn(30, 5, 2, generator=chance, dtype=torch.float64, requires_grad=True)
    (mine,) = torch.autograd.grad(claim.nll_raw(x, raw).sum(), raw)
    size = raw[..., 1].detach().exp().requires_grad_()
    mu = raw[..., 0].detach().requires_grad_()
    alone = type(inner)(**{**inner.parameters, inner.level_name: size}).nll(x, mu)
    torch.testing.assert_close(claim.nll_raw(x, raw), alone, rtol=1e-12, atol=1e-12)
    by_mu, by_size = torch.autograd.grad(alone.sum(), (mu, size))
    torch.testing.assert_close(mine, torch.stack([by_mu, by_size * size], dim=-1).detach(), rtol=1e-9, atol=1e-9)
    pair = sources.pair("few.npy", "run:run")
    with torch.no_grad():
        assert numpy.array_equal(pair.mu.reshape(100, -1), found.model.reconstruct(torch.from_numpy(pair.x).flatten(1)).numpy())
    assert f"the VAE of run, {claim.name}, " in pair.described
    assert resume("run").epochs == found.epochs


@pytest.mark.parametrize(
    ("name", "draw", "levels"),
    [
        pytest.param("gamma", lambda g, level: g.gamma(level, 3 / level), (2.0, 40.0), marks=pytest.mark.slow),
        ("zero-inflated-poisson", lambda g, level: g.poisson(8, level.shape) * (g.random(level.shape) > level), (0.1, 0.7)),
        pytest.param(
            *("negative-binomial", lambda g, level: g.negative_binomial(1 / level, 1 / (1 + 8 * level)), (0.1, 2.0)),
            marks=pytest.mark.slow,
        ),
        pytest.param("beta", lambda g, level: g.beta(0.4 * level, 0.6 * level), (3.0, 60.0), marks=pytest.mark.slow),
        ("von-mises", lambda g, level: g.vonmises(0.5, level), (1.0, 20.0)),
    ],
)
def test_a_shape_or_a_precision_is_the_decoder_s_too(name: str, draw: Any, levels: tuple[float, float]) -> None:
    """Of two kinds of samples, told apart by the first element: the decoder's numbers are those, and a floor bounds them."""
    generator = numpy.random.default_rng(0)
    kind = numpy.repeat([0.2, 0.8], 300)[:, None] * (10 if likelihoods.find(name)().discrete else 1)
    each = numpy.repeat(levels, 300)[:, None] * numpy.ones((1, 5))
    rows = numpy.concatenate([kind.astype("f8").round(1), draw(generator, each)], axis=1)
    how = {**HOW, "sigma": "network", "epochs": 40, "latent": 1, "lr": 0.02}
    found = recon_cli.train(rows, likelihood=name, **how)
    with torch.no_grad():
        seen = found.model.outputs(torch.from_numpy(rows.astype("f4")))[:, 1:, 1]
    for part, level in zip(seen.split(300), levels, strict=True):
        assert abs(part.log().mean().item() - math.log(level)) < math.log(2)
    if name == "zero-inflated-poisson":
        with pytest.raises(ReconError, match="zeros is a share"):
            recon_cli.train(rows, likelihood=name, **{**how, "sigma_floor": 0.4})
    elif name != "negative-binomial":  # whose dispersion of 0 is a Poisson's: no likelihood without end
        bounded = recon_cli.train(rows, likelihood=name, **{**how, "sigma_floor": 0.4, "epochs": 1})
        with torch.no_grad():
            assert bounded.model.outputs(torch.from_numpy(rows.astype("f4")))[..., 1].max().item() <= 1 / 0.4**2


def test_a_noise_that_moves_with_the_sample_is_found() -> None:
    """Laplace noise of two sizes, told apart by the first element: the decoder's scales are those."""
    chance = numpy.random.default_rng(0)
    kind = numpy.repeat([-1.0, 1.0], 400)[:, None]
    rows = numpy.concatenate([kind, chance.laplace(size=(800, 5)) * numpy.where(kind > 0, 1.0, 0.1)], axis=1)
    found = recon_cli.train(rows, likelihood="laplace", **{**HOW, "sigma": "network", "epochs": 60, "latent": 1, "lr": 0.01})
    with torch.no_grad():
        scales = found.model.outputs(torch.from_numpy(rows.astype("f4")))[:, 1:, 1]
    assert scales[:400].median().item() == pytest.approx(0.1, rel=0.2)
    assert scales[400:].median().item() == pytest.approx(1.0, rel=0.2)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--sigma", "per-element"], "4 of the 64 elements are the same in every training row"),
        (
            ["--sigma", "per-element", "--likelihood", "von-mises"],
            "per-element is for a sigma or a scale of single numbers, and von-mises has kappa",
        ),
        (["--sigma", "per-element", "--likelihood", "bernoulli"], "bernoulli has no noise parameter"),
        (["--sigma", "per-element", "--likelihood", "gaussian:sigma=1"], "given twice"),
        (["--sigma", "per-element", "--model", "linear", "--exact"], "--exact is of one noise for all elements"),
        (["--sigma", "per-element", "--against", "mse"], "The noise of gaussian is per-element"),
        (["--sigma", "per-elemnt"], "learned, optimal, per-element or network; found"),
        (
            ["--sigma", "network", "--likelihood", "von-mises-fisher"],
            "not of vectors, and von-mises-fisher has kappa",
        ),
        (["--sigma", "network", "--likelihood", "student-t:scale=1"], "given twice"),
        (["--sigma", "network", "--likelihood", "bernoulli"], "bernoulli has no noise parameter"),
        (["--sigma", "network", "--likelihood", "gaussian:sigma=1"], "given twice"),
        (["--sigma", "network", "--model", "linear", "--exact"], "heteroscedastic-gaussian has no closed form"),
        (["--sigma", "network", "--likelihood", "laplace", "--against", "l1"], "are not of the same kind of number"),
    ],
)
def test_what_cannot_be(words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(main, ["train", *words])
    assert result.exit_code == 2, result.output
    assert said in " ".join(result.stderr.split())
    assert "hint: " in result.stderr
    assert not [*tmp_path.iterdir()]


def test_side_by_side_needs_one_noise() -> None:
    with pytest.raises(ReconError, match="per-element"):
        lockstep("mse", sigma="per-element", epochs=1)
