"""Questions that people ask in public, as small data with the right value beside them: scipy knows the truth."""

from __future__ import annotations

import math

import numpy
import pytest
import scipy.stats
import torch

import recon_cli
from recon_cli import likelihoods
from recon_cli.errors import ReconError


def positive() -> dict[str, numpy.ndarray]:
    """Positive data and shares with a noise in proportion to what they are, and their true means."""
    draws = numpy.random.default_rng(8)
    mu = numpy.exp(draws.normal(size=(500, 16)))
    gamma = mu * draws.gamma(3.0, 1 / 3.0, size=mu.shape)
    log_normal = mu * numpy.exp(0.3 * draws.normal(size=mu.shape))
    share = draws.uniform(0.1, 0.9, size=(500, 16))
    return {"mu": mu, "gamma": gamma, "log-normal": log_normal, "share": share, "beta": draws.beta(10 * share, 10 * (1 - share))}


@pytest.mark.parametrize(
    ("name", "mean", "word", "nats"),
    [
        ("gamma", "mu", "gamma:shape=3", 0.731940),
        ("log-normal", "mu", "log-normal:sigma=0.3", 0.214003),
        ("beta", "share", "beta:precision=10", -0.702628),
    ],
)
def test_positive_data_cost_what_they_do(name: str, mean: str, word: str, nats: float) -> None:
    data = positive()
    (row,) = recon_cli.compare(data[name], data[mean], word, device="cpu").rows
    assert row.nll == pytest.approx(nats, abs=1e-6)
    kind = likelihoods.find(name)
    best = kind.fit(torch.from_numpy(data[name]), torch.from_numpy(data[mean]))
    (wanted,) = likelihoods.parse(word).parameters.values()
    assert [*best.parameters.values()] == pytest.approx([wanted], rel=0.05)


@pytest.mark.slow
def test_the_noise_of_the_right_family_fits_best() -> None:
    data = positive()
    for name, mean in (("gamma", "mu"), ("log-normal", "mu"), ("beta", "share")):
        rows = recon_cli.calibrate(data[name][:40], data[mean][:40]).noise
        assert min((row for row in rows if row.kind == "density"), key=lambda row: row.nll).likelihood == name


def test_counts_with_extra_zeros() -> None:
    side = likelihoods.parse("zero-inflated-negative-binomial:dispersion=0.5,zeros=0.4")
    x = torch.arange(200.0, dtype=torch.float64)
    mu = torch.full_like(x, 3.0)
    assert side.nll(x, mu)[0].item() == pytest.approx(0.701179, abs=1e-6)
    assert likelihoods.parse("negative-binomial:dispersion=0.5").nll(0.0, 3.0).item() == pytest.approx(1.832581, abs=1e-6)
    assert (-side.nll(x, mu)).exp().sum().item() == pytest.approx(1.0, abs=1e-12)
    exact = numpy.log(0.6) + scipy.stats.nbinom.logpmf(numpy.arange(1, 200), 2, 2 / 5)
    numpy.testing.assert_allclose(side.nll(x, mu)[1:].numpy(), -exact, rtol=1e-12)


@pytest.mark.parametrize("zeros", [1e-6, 0.3, 0.999])
@pytest.mark.parametrize("mean", [1e-3, 0.7, 3.0, 60.0])
def test_a_hurdle_is_poisson_without_its_zeros(zeros: float, mean: float) -> None:
    x = numpy.arange(1, 200)
    exact = math.log1p(-zeros) + scipy.stats.poisson.logpmf(x, mean) - numpy.log(-numpy.expm1(-mean))
    side = likelihoods.parse(f"hurdle-poisson:zeros={zeros}")
    found = side.nll(torch.from_numpy(x).double(), torch.full((199,), mean, dtype=torch.float64))
    numpy.testing.assert_allclose(found.numpy(), -exact, rtol=1e-11)
    assert side.nll(0.0, mean).item() == pytest.approx(-math.log(zeros), rel=1e-14)


def test_no_share_of_zeros_fits_counts_without_any() -> None:
    with pytest.raises(ReconError, match="none of them are 0"):
        likelihoods.find("hurdle-poisson").fit(torch.ones(5), torch.ones(5))


@pytest.mark.parametrize(
    ("word", "x", "mu", "what"),
    [
        ("gamma", [[0.0, 1.0]], [[1.0, 1.0]], "1 of 2 values of the data (data) are outside what gamma allows, (0, inf)"),
        (
            "log-normal",
            [[-1.0, 1.0]],
            [[1.0, 1.0]],
            "are outside what log-normal allows, (0, inf)",
        ),
        ("gamma", [[2.0, 1.0]], [[0.0, 1.0]], "gamma's mean lies in"),
        ("beta", [[1.0, 0.5]], [[0.5, 0.5]], "outside what beta allows, (0, 1)"),
        ("logit-laplace", [[0.0, 0.5]], [[0.5, 0.5]], "outside what logit-laplace allows, (0, 1)"),
        ("zero-inflated-poisson", [[0.5, 1.0]], [[0.5, 0.5]], "outside what zero-inflated-poisson allows, the whole numbers"),
        ("hurdle-poisson", [[0.0, 1.0]], [[0.0, 0.5]], "hurdle-poisson's mean lies in, (0, inf)"),
    ],
)
def test_what_a_family_does_not_allow_is_said(word: str, x: list[list[float]], mu: list[list[float]], what: str) -> None:
    with pytest.raises(ReconError) as caught:
        recon_cli.compare(x, mu, word, device="cpu")
    assert what in caught.value.message


def test_soft_labels_cost_their_entropy_at_least() -> None:
    draws = numpy.random.default_rng(0)
    q, p = draws.dirichlet(numpy.ones(5), size=200), draws.dirichlet(numpy.ones(5), size=200)
    found = recon_cli.compare(q, p, "categorical", device="cpu")
    assert found.rows[0].nll == pytest.approx(2.108467, abs=1e-6)
    (note,) = [note for note in found.notes if "H(q)" in note]
    assert "H(q) = 1.29647 nats and the divergence KL(q || p) = 0.811994" in note
    smooth = numpy.full((1, 1000), 1e-4)
    smooth[0, 0] += 0.9
    least = recon_cli.compare(smooth, smooth, "categorical", device="cpu")
    assert least.rows[0].nll == pytest.approx(1.014848, abs=1e-6)
    assert not any("H(q)" in note for note in recon_cli.compare(numpy.eye(5), p[:5], "categorical", device="cpu").notes)
    loss = likelihoods.parse("categorical").module()
    assert loss(torch.from_numpy(p), torch.from_numpy(q)).item() == pytest.approx(2.108467, abs=1e-6)


def test_shares_that_do_not_add_up_are_refused() -> None:
    with pytest.raises(ReconError, match=r"outside what categorical allows, probabilities that add up to 1.*adds up to 0.9"):
        recon_cli.compare([[0.5, 0.4]], [[0.5, 0.5]], "categorical", device="cpu")


@pytest.mark.slow
def test_residuals_that_go_together_are_told_what_a_full_covariance_costs() -> None:
    """Three columns of correlations 0.9, 0.5 and 0.3; and none where the columns have nothing to do with one another."""
    draws = numpy.random.default_rng(12)
    covariance = numpy.array([[1, 0.9, 0.5], [0.9, 1, 0.3], [0.5, 0.3, 1]])
    mu = draws.normal(size=(4000, 3))
    x = mu + draws.multivariate_normal(numpy.zeros(3), covariance, size=4000)
    moments = (x - mu).T @ (x - mu) / 4000
    best = -scipy.stats.multivariate_normal.logpdf(x - mu, numpy.zeros(3), moments).mean()
    each = -scipy.stats.norm.logpdf(x - mu, 0, numpy.sqrt(numpy.diagonal(moments))).sum(axis=1).mean()
    (said,) = [note for note in recon_cli.calibrate(x, mu).report().notes if "go together" in note]
    assert f"full covariance (6 numbers) costs {best:.6g} nats a sample at its best, a sigma for each column {each:.6g}" in said
    apart = mu + draws.normal(size=mu.shape)
    assert not [note for note in recon_cli.calibrate(apart, mu).report().notes if "go together" in note]


def test_a_mixture_whose_components_the_decoder_gives() -> None:
    """Of two components, as many as the last axis has numbers for; one Gaussian about the mean costs 1.6 nats more."""
    draws = numpy.random.default_rng(12)
    means = draws.normal(size=(4000, 1)) + numpy.array([[-1.0, 1.0]])
    y = numpy.where(draws.random(4000) < 0.7, means[:, 0], means[:, 1]) + 0.1 * draws.normal(size=4000)
    true = -numpy.log(0.7 * scipy.stats.norm.pdf(y, means[:, 0], 0.1) + 0.3 * scipy.stats.norm.pdf(y, means[:, 1], 0.1)).mean()
    outputs = numpy.concatenate([means, numpy.full_like(means, 0.1), numpy.full_like(means, 1) * [0.7, 0.3]], axis=1)
    found = recon_cli.compare(y[:, None], outputs[:, None], "gaussian-mixture", device="cpu")
    (row,) = found.rows
    assert row.holds
    assert row.nll == pytest.approx(true, rel=1e-12)
    assert any("gaussian-mixture:components=2" in note for note in found.notes)
    with pytest.raises(ReconError, match="takes 12 numbers for each element"):
        recon_cli.compare(y[:, None], outputs[:, None], "gaussian-mixture:components=4", device="cpu")
