"""Vectors whose components go together: a covariance that is known or fitted, and those that a decoder gives."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import mpmath
import numpy
import pytest
import scipy.stats
import torch

import recon_cli
from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.likelihoods._by_decoder import floored
from recon_cli.likelihoods._vectors import half_square, whitened
from recon_cli.likelihoods.cholesky_gaussian import CholeskyGaussian
from recon_cli.likelihoods.low_rank_gaussian import LowRankGaussian
from recon_cli.likelihoods.multivariate_gaussian import MultivariateGaussian

COVARIANCE = numpy.array([[1, 0.9, 0.5], [0.9, 1, 0.3], [0.5, 0.3, 1]])


def residuals(count: int = 4000) -> tuple[numpy.ndarray, numpy.ndarray]:
    draws = numpy.random.default_rng(12)
    mu = draws.normal(size=(count, 3))
    return mu + draws.multivariate_normal(numpy.zeros(3), COVARIANCE, size=count), mu


def test_a_known_covariance_is_scipys_density_and_half_its_mahalanobis_distance() -> None:
    x, mu = residuals(50)
    side = MultivariateGaussian.of(COVARIANCE)
    exact = -scipy.stats.multivariate_normal.logpdf(x - mu, numpy.zeros(3), COVARIANCE)
    numpy.testing.assert_allclose(side.nll(x, mu).numpy(), exact, rtol=1e-13)
    squares = numpy.einsum("ni,ij,nj->n", x - mu, numpy.linalg.inv(COVARIANCE), x - mu)
    numpy.testing.assert_allclose(side.loss(torch.tensor(x), torch.tensor(mu)).numpy(), squares, rtol=1e-12)
    assert side.slope == 0.5
    constant = numpy.linalg.slogdet(2 * numpy.pi * COVARIANCE)[1] / 2
    numpy.testing.assert_allclose(side.offset(x).numpy(), numpy.full(50, constant), rtol=1e-13)
    assert recon_cli.compare(x, mu, side, device="cpu").holds
    for again in (copy.deepcopy(side), pickle.loads(pickle.dumps(side)), likelihoods.parse(side.spelled(exact=True))):
        assert again == side


@pytest.mark.parametrize("weighted", [False, True])
def test_the_fitted_covariance_is_the_mean_of_the_products(weighted: bool) -> None:
    x, mu = residuals()
    weights = numpy.random.default_rng(1).integers(1, 4, len(x)).astype(float) if weighted else numpy.ones(len(x))
    moments = (x - mu).T @ ((x - mu) * weights[:, None]) / weights.sum()
    side = MultivariateGaussian()
    best = side.weighted_fit(*map(torch.tensor, (x, mu, weights))) if weighted else side.fit(*map(torch.tensor, (x, mu)))
    numpy.testing.assert_allclose(best.covariance, moments, rtol=1e-12)
    assert best.scale**2 == pytest.approx(numpy.trace(moments) / 3, rel=1e-12)
    cost = 0.5 * (numpy.linalg.slogdet(2 * numpy.pi * moments)[1] + 3)
    rows = recon_cli.calibrate(x, mu, likelihood=("multivariate-gaussian",), weights=weights if weighted else None).noise
    assert rows[0].nll == pytest.approx(cost, rel=1e-12)


def test_a_covariance_is_kept_where_only_its_scale_is_learned(tmp_path: Path) -> None:
    x, mu = residuals()
    numpy.save(tmp_path / "cov.npy", COVARIANCE)
    side = likelihoods.parse(f"multivariate-gaussian:covariance={tmp_path / 'cov.npy'},scale=2")
    numpy.testing.assert_array_equal(side.covariance, 4 * COVARIANCE)
    refitted = side.fit(torch.tensor(x), torch.tensor(mu))
    assert refitted.matrix == side.matrix
    squares = numpy.einsum("ni,ij,nj->n", x - mu, numpy.linalg.inv(COVARIANCE), x - mu)
    assert refitted.scale == pytest.approx(numpy.sqrt(squares.mean() / 3), rel=1e-12)


@pytest.mark.parametrize(
    ("matrix", "says"),
    [
        ([[1.0, 2.0], [2.0, 1.0]], "not positive definite: its eigenvalues run from -1 to 3"),
        ([[1.0, 1.0], [1.0, 1.0]], "not positive definite"),
        ([[1.0, 0.5], [0.1, 1.0]], "is symmetric, and this is off by 0.4"),
        ([1.0, 2.0], r"is a square matrix, and this has shape \(2,\)"),
        ([[numpy.nan]], "not finite"),
    ],
)
def test_what_is_no_covariance_is_refused_in_a_sentence(matrix: list[list[float]], says: str) -> None:
    with pytest.raises(ReconError, match=says):
        MultivariateGaussian.of(matrix)


def test_vectors_of_another_length_and_too_few_of_them_are_refused() -> None:
    x, mu = residuals(2)
    with pytest.raises(ReconError, match="of vectors of 2 numbers, and these have 3"):
        MultivariateGaussian.of(numpy.eye(2)).nll(x, mu)
    with pytest.raises(ReconError, match="of 2 vectors of 3 numbers"):
        MultivariateGaussian.fit(torch.tensor(x), torch.tensor(mu))
    with pytest.raises(ReconError, match="is of vectors of 2 components, and these have 3"):
        CholeskyGaussian().nll(x, numpy.zeros((2, 3, 3)))
    with pytest.raises(ReconError, match="the noise of cholesky-gaussian is a matrix"):
        floored(CholeskyGaussian(), 0.1)


def given(family: str, x: torch.Tensor) -> tuple[torch.Tensor, torch.distributions.Distribution]:
    mu = torch.randn(x.shape, generator=torch.Generator().manual_seed(1), dtype=x.dtype)
    more = torch.randn(*x.shape, 4, generator=torch.Generator().manual_seed(2), dtype=x.dtype)
    if family == "low-rank-gaussian":
        var, factor = more[..., 0].exp(), more[..., 1:3]
        own = torch.distributions.LowRankMultivariateNormal(mu, factor, var)
        return torch.cat([mu[..., None], var[..., None], factor], dim=-1), own
    root = more.tril(-1) + torch.diag_embed(more.diagonal(dim1=-2, dim2=-1).exp())
    return torch.cat([mu[..., None], root], dim=-1), torch.distributions.MultivariateNormal(mu, scale_tril=root)


@pytest.mark.parametrize("family", ["low-rank-gaussian", "cholesky-gaussian"])
def test_a_covariance_from_the_decoder_is_torchs_density(family: str) -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    outputs, own = given(family, x)
    found = recon_cli.compare(x, outputs, family, device="cpu")
    assert found.holds
    assert found.rows[0].nll == pytest.approx(-own.log_prob(x).mean().item(), rel=1e-12)
    loss = likelihoods.parse(f"{family}:{'rank=2' if family[0] == 'l' else 'size=4'}").module(raw=False)
    assert loss(outputs, x).item() == pytest.approx(-own.log_prob(x).mean().item(), rel=1e-6)
    bad = outputs.clone()
    bad[0, 1, 1 if family[0] == "l" else 2] = -1.0
    with pytest.raises(ReconError, match="for component 1"):
        recon_cli.compare(x, bad, family, device="cpu")


@pytest.mark.parametrize("family", ["low-rank-gaussian", "cholesky-gaussian", "multivariate-gaussian"])
def test_it_trains(family: str) -> None:
    x, _ = residuals(300)
    trained = recon_cli.train(x, likelihood=family, epochs=3, latent=1, hidden=8, write=None)
    assert numpy.isfinite(trained.result.nll)
    both = recon_cli.train((x[:, :1], x[:, 1:]), likelihood=family, model="regression", epochs=2, write=None)
    assert numpy.isfinite(both.result.nll)


@pytest.mark.parametrize("size", [1e3, 1e6])
def test_nothing_is_lost_along_a_factor_that_is_large(size: float) -> None:
    """Torch's own, a difference of squares, has five digits left at 1e6, and no right sign of some gradients."""
    factor = size * numpy.array([1.0, -2.0, 0.5])
    e = factor * 3e-3 + numpy.array([1.0, 0.5, -0.2])
    outputs = torch.tensor(numpy.stack([-e, numpy.ones(3), factor], axis=-1), requires_grad=True)
    value = LowRankGaussian().nll(torch.zeros(3, dtype=torch.float64), outputs)
    (slope,) = torch.autograd.grad(value, outputs)
    with mpmath.workdps(50):
        f, exact_e = mpmath.matrix([*map(mpmath.mpf, factor)]), mpmath.matrix([*map(mpmath.mpf, e)])
        whole = mpmath.eye(3) + f * f.T
        inverse = whole**-1
        w = inverse * exact_e
        exact = ((exact_e.T * w)[0] + mpmath.log(mpmath.det(whole))) / 2 + 1.5 * mpmath.log(2 * mpmath.pi)
        assert abs(value.item() / exact - 1) < 1e-15 * 4
        for k in range(3):
            assert abs(slope[k, 1].item() / ((inverse[k, k] - w[k] ** 2) / 2) - 1) < 1e-8


def test_substitution_by_component_is_that_of_the_solver_with_its_derivatives() -> None:
    draw = torch.Generator().manual_seed(3)
    lower = torch.randn(7, 5, 5, generator=draw, dtype=torch.float64) + 3 * torch.eye(5, dtype=torch.float64)
    pair = torch.randn(7, 5, generator=draw, dtype=torch.float64).requires_grad_(), lower.requires_grad_()
    found, due = half_square(*pair), whitened(*pair).square().sum(dim=-1) / 2
    torch.testing.assert_close(found, due, rtol=1e-13, atol=0)
    for one, other in zip(*(torch.autograd.grad(each.sum(), pair) for each in (found, due)), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_a_formula_of_many_components_is_not_written_out() -> None:
    with pytest.raises(ReconError, match="written out for 5 components at most"):
        recon_cli.derive("cholesky-gaussian:size=9")
    with pytest.raises(ReconError, match="not written out, of 5 at most"):
        recon_cli.derive(MultivariateGaussian.of(numpy.eye(7)))
