"""A linear Gaussian model reaches PPCA: the closed forms against scipy, scikit-learn and known values, and what is found."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from scipy.stats import multivariate_normal
from torch.nn.utils import parametrize

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.models.linear import Linear
from recon_cli.numerics.spectrum import Eigenvalues
from recon_cli.training import sweep
from recon_cli.training.experiments.optimum import Whitened, condensed, measure, predict, spectrum, turn

DIGITS = torch.from_numpy(sources.read("digits").reshape(-1, 64))
CHANCE = numpy.random.default_rng(0)
ROWS = (CHANCE.normal(size=(300, 3)) @ CHANCE.normal(size=(3, 8)) + 0.3 * CHANCE.normal(size=(300, 8))).astype("f4")
HOW = {"model": "linear", "holdout": 0.0, "device": "cpu", "latent": 2}


def test_the_spectrum_of_the_digits() -> None:
    """The figures of shared/numerics.md, computed there with numpy."""
    found = spectrum(DIGITS).values
    assert found.sum() == pytest.approx(4.693276317822724, rel=1e-9)
    assert found[:5].tolist() == pytest.approx([0.6988567, 0.63916657, 0.55355288, 0.39470357, 0.2713847], rel=1e-6)
    assert spectrum(DIGITS[:40]).values[:39].tolist() == pytest.approx(
        numpy.linalg.svd(DIGITS[:40].double() - DIGITS[:40].double().mean(0), compute_uv=False)[:39] ** 2 / 40, rel=1e-9
    )


@pytest.mark.parametrize(("latent", "elbo"), [(2, 0.00570672), (10, 17.45194702)])
def test_the_best_noise_is_ppcas(latent: int, elbo: float) -> None:
    found = predict(spectrum(DIGITS), latent, None)
    assert found.elbo == pytest.approx(elbo, abs=1e-8)
    assert found.active == latent
    assert found.distortion == pytest.approx(64 * found.sigma**2)
    pca = pytest.importorskip("sklearn.decomposition").PCA(latent).fit(DIGITS.numpy())
    assert found.sigma**2 == pytest.approx(pca.noise_variance_ * 1796 / 1797, rel=1e-5)  # its covariance is over N - 1


@pytest.mark.parametrize(("variance", "elbo", "active", "kl", "distortion"), [
    (0.1, -1.66157666, 12, 5.479385186216, 2.210569665566), (1.0, -61.15870428, 0, 0.0, 4.693276317822724),
])  # fmt: skip
def test_at_a_noise_it_is_reverse_water_filling(variance: float, elbo: float, active: int, kl: float, distortion: float) -> None:
    found = predict(spectrum(DIGITS), 24, math.sqrt(variance))
    assert found.elbo == pytest.approx(elbo, abs=1e-7)
    assert (found.active, found.kl, found.distortion) == (
        active,
        pytest.approx(kl, abs=1e-9),
        pytest.approx(distortion, abs=1e-9),
    )


def test_no_noise_is_best_where_the_latents_leave_nothing() -> None:
    few = Eigenvalues(numpy.array([2.0, 1.0]), 2, 10, 3.0)
    assert predict(Eigenvalues(numpy.array([2.0, 1.0, 0.0]), 3, 10, 3.0), 2, None) is None
    assert predict(few, 5, None) is None
    assert predict(few, 5, 0.5).active == 2


def test_fewer_rows_say_the_same() -> None:
    few = condensed(torch.from_numpy(ROWS))
    assert few.shape == (16, 8)
    assert torch.allclose(few.mean(0), torch.from_numpy(ROWS).double().mean(0), atol=1e-12)
    assert torch.allclose(torch.cov(few.T, correction=0), torch.cov(torch.from_numpy(ROWS).double().T, correction=0), atol=1e-12)
    assert condensed(torch.from_numpy(ROWS[:10])).shape == (10, 8)


def test_the_expectation_over_z_is_the_one_of_many_samples() -> None:
    rows = torch.from_numpy(ROWS)
    vae = Linear(rows, recon_cli.likelihoods.gaussian.Gaussian(), 2, 1, torch.Generator().manual_seed(0))
    with torch.no_grad():
        vae.encoder.log_variance.copy_(torch.tensor([-1.0, 0.5]))
        mean, log_variance = vae.encode(rows)
        chance = torch.Generator().manual_seed(1)
        draws = [mean + (log_variance / 2).exp() * torch.randn(mean.shape, generator=chance) for _ in range(4000)]
        sampled = torch.stack([(rows - vae.decode(z)).square().sum(1).mean() for z in draws]).double().mean().item()
    assert measure(vae, 0.5, rows).distortion == pytest.approx(sampled, rel=2e-3)


@pytest.mark.parametrize("sigma", ["learned", "optimal", 0.5, 1.2, 9.0])
@pytest.mark.parametrize("device", ["cpu"])
def test_lbfgs_reaches_it(sigma: Any, device: str) -> None:
    found = recon_cli.train(ROWS, sigma=sigma, exact=True, **HOW)
    best = found.optimum
    assert -1e-9 < best.gap < 1e-6
    assert best.reached(1e-6)
    assert best.found.kl == pytest.approx(best.predicted.kl, abs=1e-4)
    assert best.found.distortion == pytest.approx(best.predicted.distortion, rel=1e-4)
    assert found.model.mean.dtype == torch.float32
    decoder = (found.model.spread * found.model.decoder.weight.T).T.detach().double()
    covariance = decoder @ decoder.T + best.found.sigma**2 * torch.eye(8)
    truth = multivariate_normal(ROWS.mean(0).astype("f8"), covariance.numpy()).logpdf(ROWS).mean()
    assert best.found.elbo == pytest.approx(truth, abs=1e-4)  # the bound is tight: it is the log-likelihood


@pytest.mark.slow
def test_training_with_samples_comes_near() -> None:
    found = recon_cli.train(ROWS, epochs=400, lr=0.02, schedule="cosine", batch_size=64, **HOW)
    assert found.optimum.reached(0.05)
    assert found.optimum.gap > 1e-7  # not the closed form itself


def test_a_schedule_ends_at_0() -> None:
    from recon_cli.training.schedules import SCHEDULES

    for name, middle in (("constant", 1.0), ("linear", 0.5), ("cosine", 0.5)):
        values = [SCHEDULES[name](at / 4) for at in range(5)]
        assert values[0] == 1
        assert values[2] == pytest.approx(middle)
        assert values[-1] == pytest.approx(1.0 if name == "constant" else 0.0)
    fast, slow = (recon_cli.train(ROWS, epochs=3, schedule=name, **HOW) for name in ("constant", "cosine"))
    moved = [
        (run.model.decoder.weight - recon_cli.train(ROWS, epochs=1, lr=1e-12, **HOW).model.decoder.weight).norm()
        for run in (fast, slow)
    ]
    assert moved[1] < moved[0]


def test_nothing_is_predicted_of_other_models() -> None:
    assert recon_cli.train(ROWS, epochs=1, holdout=0.0, device="cpu").optimum is None
    assert recon_cli.train(ROWS, epochs=1, beta=2.0, **HOW).optimum is None
    assert recon_cli.train(ROWS, epochs=1, likelihood="laplace", **HOW).optimum is None
    assert recon_cli.train(ROWS, epochs=1, **{**HOW, "latent": 8}).optimum is None


@pytest.mark.slow
def test_a_sweep_is_judged() -> None:
    found = sweep("sigma=0.4,1,9", data=ROWS, exact=True, **HOW)
    assert [run.optimum.found.active for run in found.runs] == [2, 2, 0]
    assert found.report().holds
    table = found.report().tables[1]
    assert [row["active_predicted"] for row in table.rows] == [2, 2, 0]
    short = sweep("lr=1e-2,5e-3", data=ROWS, epochs=20, sigma=0.5, **HOW)
    assert not short.report().holds
    assert short.report().verdict.startswith("refuted: 2 of 2")
    assert [row["lr"] for row in short.report().tables[0].rows] == [1e-2, 5e-3]
    assert sweep("latent=1,2", data=ROWS, epochs=1, device="cpu").report().holds
    assert sweep("lr=1e-2,5e-3", data=ROWS, epochs=20, sigma=0.5, loss="mse", **HOW).report().holds  # sought another optimum


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--exact"], "--exact takes expectations in closed form"),
        (["--exact", "--model", "linear", "--loss", "mse"], "--exact minimises nll + beta KL"),
        (["--exact", "--model", "linear", "--likelihood", "laplace"], "--exact is of the gaussian"),
        (["--model", "linea"], "Did you mean 'linear'"),
        (["--schedule", "cosin"], "Did you mean 'cosine'"),
        (["--sweep", "sigm=1"], "no setting to sweep named 'sigm'"),
        (["--sweep", "sigma=1,a"], "--sweep sigma must be a finite number"),
        (["--sweep", "sigma"], "--sweep sigma must be a finite number"),
        (["--sweep", "sigma=1,-1"], "--sigma must be a positive number"),
        (["--sweep", "sigma=1", "--sigma", "0.5"], "--sigma is given, and swept too"),
        (["--sweep", "lr=1", "--lr", "0.5"], "--lr is given, and swept too"),
        (["--sweep", "latent=1.5"], "--latent must be a whole number"),
        (["--sweep", "sigma=1", "--out", "x"], "--sweep and --out do not go together"),
    ],
)
def test_refused(words: list[str], said: str) -> None:
    result = CliRunner().invoke(main, ["train", *words])
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert " hint: " in result.stderr


def test_a_noise_that_runs_to_0_is_named() -> None:
    flat = numpy.repeat(ROWS[:, :2], 4, axis=1)
    with pytest.raises(ReconError, match="The 2 latents are as many as"):
        recon_cli.train(flat, exact=True, **HOW)
    assert recon_cli.train(flat, exact=True, sigma_floor=0.3, epochs=3, **HOW).result.sigma == pytest.approx(0.3)


@pytest.mark.slow
def test_on_the_command_line(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    numpy.save("x.npy", ROWS)
    words = ["train", "--model", "linear", "--exact", "--data", "x.npy", "--holdout", "0", "--latent", "2", "--format", "json"]
    found = json.loads(CliRunner().invoke(main, [*words, "--out", "run"]).stdout)
    assert found["tables"]["optimum"][0]["gap"] < 1e-6
    again = json.loads(CliRunner().invoke(main, ["train", "--resume", "run", "--format", "json"]).stdout)
    assert again["tables"]["optimum"] == found["tables"]["optimum"]
    compared = CliRunner().invoke(
        main, ["compare", "--data", "x.npy", "--recon", "run:run", "--sigma", "0.3", "--format", "json"]
    )
    assert compared.exit_code == 0, compared.output
    swept = CliRunner().invoke(main, [*words, "--sweep", "sigma=0.5,1"])
    assert swept.exit_code == 0, swept.output
    assert [row["sigma"] for row in json.loads(swept.stdout)["tables"]["sweep"]] == [0.5, 1.0]


def test_turned_latents_are_at_right_angles_and_reconstruct_the_same() -> None:
    chance = torch.Generator().manual_seed(0)
    mean, basis = torch.nn.Linear(7, 3), torch.randn(7, 3, generator=chance, dtype=torch.float64)
    mean, x = mean.double(), torch.randn(20, 7, generator=chance, dtype=torch.float64)
    before = mean(x) @ basis.T
    parametrize.register_parametrization(mean, "weight", Whitened(x))
    torch.testing.assert_close(mean(x) @ basis.T, before, rtol=1e-9, atol=1e-9)
    turn(mean, basis)
    torch.testing.assert_close(mean(x) @ basis.T, before, rtol=1e-9, atol=1e-9)
    square = basis.T @ basis
    torch.testing.assert_close(square, square.diagonal().diag(), rtol=0, atol=1e-12)


@pytest.mark.slow
def test_close_eigenvalues_and_still_pixels_take_few_rounds() -> None:
    """Three pixels of the digits never change, and two of the eigenvalues lie 4 % apart."""
    found = recon_cli.train("digits", model="linear", exact=True, holdout=0.0, latent=12, sigma=0.1, epochs=12, device="cpu")
    assert found.optimum.gap < 1e-8
