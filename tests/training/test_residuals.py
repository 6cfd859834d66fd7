"""Standardised residuals: a model's own draws are calibrated, a sigma off by 2 shows as 4 or 1/4, scipy has the shares."""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import pytest
import scipy.stats
import torch
from click.testing import CliRunner
from test_contract import SIDES

import recon_cli
from recon_cli import likelihoods, sources
from recon_cli.cli import main
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Lattice
from recon_cli.likelihoods.beta import Beta
from recon_cli.likelihoods.gamma import Gamma
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.training.evaluation.residuals import Residuals, calibration, inside, shares, standardised
from recon_cli.training.settings import Settings

FOUR = torch.full((1, 1), 0.4, dtype=torch.float64)
FEW = sources.read("digits")[:200]
HOW: dict[str, Any] = {"latent": 3, "hidden": 8, "device": "cpu", "epochs": 2}
WITH = [  # of what has levels they are sums over them, and take a while
    side
    for side in SIDES
    if isinstance(side.support, Lattice) or side.moments(side.usual_outputs(FOUR, FOUR) if side.head else FOUR)
]
WITHOUT = [side for side in SIDES if side not in WITH]
WITNESS = {
    "gaussian": lambda p: scipy.stats.norm(0, p["sigma"]),
    "laplace": lambda p: scipy.stats.laplace(0, p["scale"]),
    "logistic": lambda p: scipy.stats.logistic(0, p["scale"]),
    "student-t": lambda p: scipy.stats.t(p["df"], 0, p["scale"]),
    "generalized-gaussian": lambda p: scipy.stats.gennorm(p["power"], 0, p["scale"]),
    "asymmetric-laplace": lambda p: scipy.stats.laplace_asymmetric(
        math.sqrt(p["quantile"] / (1 - p["quantile"])), 0, p["scale"] / math.sqrt(p["quantile"] * (1 - p["quantile"]))
    ),
    "hyperbolic-secant": lambda p: scipy.stats.hypsecant(0, p["scale"]),
    "bernoulli": lambda p: scipy.stats.bernoulli(0.4),
    "binomial": lambda p: scipy.stats.binom(int(p["count"]), 0.4 / p["count"]),
    "poisson": lambda p: scipy.stats.poisson(0.4),
    "negative-binomial": lambda p: scipy.stats.nbinom(1 / p["dispersion"], 1 / (1 + p["dispersion"] * 0.4)),
}
DRAWN = [side for side in WITH if side.name in WITNESS]
LINE = [side for side in DRAWN if side.support.low == -math.inf]
each = pytest.mark.parametrize("side", WITH, ids=str)


def outputs(side: Likelihood, *size: int) -> torch.Tensor:
    """What a decoder might give: different for each element."""
    mu = torch.linspace(0.1, 0.9, math.prod(size), dtype=torch.float64).reshape(size)
    return side.usual_outputs(mu, (0.2 + mu).sqrt()) if side.head else mu


@each
def test_a_models_own_draws_have_mean_0_and_variance_1(side: Likelihood) -> None:
    mu = outputs(side, 100, 20 if isinstance(side.support, Lattice) else 400)
    r = standardised(side, side.sample(mu, torch.Generator().manual_seed(0)), mu)
    count, fourth = r.numel(), (r**4).mean().item()
    heavy = side.name == "student-t" or side.parameters.get("power", 1) < 1
    assert r.mean().item() == pytest.approx(0, abs=4 / math.sqrt(count))
    assert r.var().item() == pytest.approx(1, abs=0.3 if heavy else 4 * math.sqrt(fourth / count))


@pytest.mark.parametrize("side", WITHOUT, ids=str)
def test_some_have_no_mean_and_variance(side: Likelihood) -> None:
    alone = ("von-mises", "student-t", "logit-laplace")  # and vectors, whose elements have none of their own
    assert side.name in alone or side.event
    assert side.name != "student-t" or side.parameters["df"] <= 2


@pytest.mark.parametrize("side", DRAWN, ids=str)
def test_moments_are_scipys(side: Likelihood) -> None:
    mean, variance = side.moments(torch.tensor([0.4], dtype=torch.float64))
    frozen = WITNESS[side.name](side.parameters)
    at = 0.4 if side in LINE else 0.0
    assert mean.item() == pytest.approx(at + frozen.mean(), rel=1e-9)
    assert variance.item() == pytest.approx(frozen.var(), rel=1e-6)


@pytest.mark.parametrize("side", LINE, ids=str)
def test_shares_are_scipys(side: Likelihood) -> None:
    frozen = WITNESS[side.name](side.parameters)
    mean, sd = frozen.mean(), frozen.std()
    wanted = [frozen.cdf(mean + k * sd) - frozen.cdf(mean - k * sd) for k in (1, 2, 3)]
    assert shares(side, outputs(side, 2, 5)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("side", [one for one in WITH if one.name in ("huber", "heteroscedastic-gaussian")], ids=str)
def test_shares_of_the_others_are_those_of_draws(side: Likelihood) -> None:
    mu = outputs(side, 200, 1000)
    found = inside(standardised(side, side.sample(mu, torch.Generator().manual_seed(1)), mu))
    assert shares(side, mu) == pytest.approx(found, abs=4 * math.sqrt(0.25 / 200_000))


def test_shares_that_depend_on_mu_are_no_integral() -> None:
    for name in ("continuous-bernoulli", "poisson", "bernoulli", "discretized-logistic"):
        side = likelihoods.parse(name)
        assert shares(side, outputs(side, 2, 5)) is None


def test_continuous_bernoulli_near_one_half() -> None:
    """Both formulas where they meet, against the integrals of e^(k x)."""
    side = likelihoods.parse("continuous-bernoulli")
    k = torch.tensor([-30.0, -0.051, -0.049, -1e-5, 0.0, 1e-9, 0.0499, 0.0501, 3.0, 700.0], dtype=torch.float64)
    mean, variance = side.moments(k.sigmoid().clamp(max=1 - 1e-15))
    for at, m, v in zip(k.tolist()[:-1], mean.tolist(), variance.tolist(), strict=False):
        x = torch.linspace(0, 1, 2_000_001, dtype=torch.float64)
        weight = (at * x - max(at, 0)).exp()
        weight[[0, -1]] /= 2
        exact = ((weight * x).sum() / weight.sum()).item()
        assert m == pytest.approx(exact, rel=1e-8)
        assert v == pytest.approx(((weight * (x - exact) ** 2).sum() / weight.sum()).item(), rel=1e-7)
    assert torch.isfinite(variance).all()


class Same(torch.nn.Module):
    """A model that gives what it was told, whatever the rows and draws."""

    latents = 1

    def __init__(self, raw: torch.Tensor, side: Likelihood) -> None:
        super().__init__()
        self.raw, self.link = raw, side.link

    def forward(self, x: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.raw[: len(x)], eps * 0

    def target(self, x: torch.Tensor) -> torch.Tensor:
        return x

    def counts(self, x: torch.Tensor) -> None:
        return None


def measured(side: Likelihood, factor: float = 1.0) -> Residuals:
    """Draws of a likelihood whose noise is ``factor`` times as large, judged by it."""
    mu = outputs(side, 400, 100)
    name = next(iter(side.noise), None)
    wider = dataclasses.replace(side, **{name: side.parameters[name] * factor}) if name else side
    at = torch.stack([mu[..., 0], mu[..., 1] * factor**2], dim=-1) if side.head else mu
    rows = wider.sample(at, torch.Generator().manual_seed(2))
    return calibration(Same(side.link.forward(mu), side), side, rows, Settings(latent=1), "draws")


RIGHT = (
    *("gaussian:sigma=0.3", "laplace:scale=0.4", "heteroscedastic-gaussian", "student-t:df=9,scale=0.5", "logistic:scale=0.2"),
    *("bernoulli", "poisson", "negative-binomial:dispersion=0.5", "continuous-bernoulli", "binomial:count=5"),
)


@pytest.mark.parametrize("word", RIGHT)
def test_a_model_that_is_right(word: str) -> None:
    found = measured(likelihoods.parse(word))
    assert found.elements == 40_000
    assert found.variance == pytest.approx(1, abs=0.06)
    for share, predicted in zip(found.within, found.predicted, strict=True):
        spread = math.hypot(found.error, math.sqrt(predicted * (1 - predicted) / 40_000))
        assert share == pytest.approx(predicted, abs=4 * spread)


@pytest.mark.parametrize(
    "word", ["gaussian:sigma=0.3", "laplace:scale=0.4", "heteroscedastic-gaussian", "huber:scale=0.2,delta=1"]
)
@pytest.mark.parametrize("factor", [2.0, 0.5])
def test_a_sigma_that_is_off_by_2(word: str, factor: float) -> None:
    side = likelihoods.parse(word)
    found = measured(side, factor)
    assert found.variance == pytest.approx(factor**2, rel=0.06)
    said = found.words(side, "held-out")
    size, way = (float(part) for part in [said.split(" is ")[1].split()[0]] * 2)
    assert size == pytest.approx(2, rel=0.03) == way
    assert f"times too {'small' if factor > 1 else 'large'} for the held-out rows" in said


def test_a_mean_that_is_off_counts_too() -> None:
    found = Residuals("x", 10, 3.0, 16.0, (0.1, 0.2, 0.3), (0.1, 0.2, 0.3), 0.0)
    assert found.factor == 5
    assert "sigma is 5 times too small" in found.words(Gaussian(), "training")
    assert Residuals("x", 1000, 0.0, 1.01, (), (), 0.0).words(Gaussian(), "training").startswith("Calibrated: sigma is right")


def test_what_few_elements_cannot_tell_is_not_said() -> None:
    few, many = (Residuals("x", n, 0.0, 1.1, (), (), 0.0).words(Gaussian(), "training") for n in (97, 97_000))
    assert "Calibrated: sigma is right for the training rows to 14%" in few
    assert "sigma is 1.05 times too small" in many
    none = Residuals("x", 19, 0.0, 1.56, (), (), 0.0).words(Gaussian(), "training")
    assert none.startswith("Whether sigma is right cannot be told of 19 values")


def test_a_number_that_is_no_scale_is_not_said_to_be_off_by_the_deviation_s_factor() -> None:
    for likelihood, name in ((Gamma(shape=20.0), "shape"), (Beta(precision=20.0), "precision")):
        said = Residuals("x", 10_000, 0.0, 5.0, (), (), 0.0).words(likelihood, "held-out")
        assert said.startswith(f"The standard deviation at this {name} is 2.24 times too small")


def test_optimal_noise_is_calibrated_on_its_own_rows() -> None:
    found = recon_cli.train(FEW, sigma="optimal", holdout=0.0, **HOW)
    assert found.calibration.factor == pytest.approx(1, rel=1e-5)
    assert any(note.startswith("Calibrated: sigma") for note in found.report().notes)
    small = recon_cli.train(FEW, sigma=found.result.sigma / 4, holdout=0.0, **{**HOW, "lr": 1e-9})
    assert small.calibration.factor > 2


def test_on_the_command_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    shown = json.loads(CliRunner().invoke(main, ["train", "--epochs", "1", "--format", "json"]).stdout)
    (row,) = shown["tables"]["calibration"]
    assert (row["data"], row["elements"]) == ("digits, held-out", 352 * 64)
    assert [row[f"predicted_{k}"] for k in (1, 2, 3)] == pytest.approx([math.erf(k / math.sqrt(2)) for k in (1, 2, 3)], abs=1e-9)
    assert len([note for note in shown["notes"] if "for the held-out rows" in note]) == 1
    latents = shown["tables"]["latents"]
    busy = [row["kl"] for row in latents if row["active"]]
    assert busy == sorted((row["kl"] for row in latents if row["kl"] > 0.01), reverse=True)
    assert [row["active"] for row in latents] == [True] * len(busy) + [False] * (24 - len(busy))
    assert len(busy) > 2
    assert sum(row["kl"] for row in latents) == pytest.approx(shown["tables"]["result"][0]["kl"], rel=1e-9)
    assert sum(row["active"] for row in latents) == shown["tables"]["result"][0]["active"]
    assert sorted(row["latent"] for row in latents) == [*range(24)]


@pytest.mark.parametrize(("likelihood", "offset"), [("gaussian", math.log2(255)), ("discretized-logistic", 0.0)])
def test_bits_per_dimension_of_8_bit_data(likelihood: str, offset: float) -> None:
    rows = torch.randint(0, 256, (200, 8, 8), generator=torch.Generator().manual_seed(0)).byte().numpy()
    found = recon_cli.train(rows, likelihood=likelihood, scale=255.0, iwae=2, **HOW)
    wanted = found.result.negative_elbo / 64 / math.log(2) + offset
    assert found.result.bits_per_dimension == pytest.approx(wanted, rel=1e-12)
    tables = {table.name: table.rows for table in found.report().tables}
    wanted = -tables["bounds"][1]["bound"] / 64 / math.log(2) + offset
    assert tables["bounds"][1]["bits_per_dimension"] == pytest.approx(wanted, rel=1e-12)
    assert sum("bits/dim are the negative ELBO of 8-bit levels" in note for note in found.report().notes) == 1
    assert wanted >= 8 - 1e-6  # uniform bytes have 8 bits each


def test_other_data_have_none() -> None:
    found = recon_cli.train(FEW, **HOW)
    assert found.result.bits_per_dimension is None
    assert not any("bits/dim" in note for note in found.report().notes)


def test_vectors_have_none() -> None:
    rows = torch.randn(60, 4, 3, generator=torch.Generator().manual_seed(0))
    found = recon_cli.train(rows / rows.norm(dim=-1, keepdim=True), likelihood="von-mises-fisher", **HOW)
    assert found.calibration is None
    assert "calibration" not in {table.name for table in found.report().tables}
