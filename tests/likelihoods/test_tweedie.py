"""Amounts that are often nothing: the density beside sums of Gamma densities, its power found, and no division by zero."""

from __future__ import annotations

import math

import numpy
import pytest
import scipy.stats
import torch

import recon_cli
from recon_cli.errors import ReconError
from recon_cli.likelihoods.tweedie import Tweedie


def compound(x: numpy.ndarray, mu: float, power: float, dispersion: float) -> numpy.ndarray:
    """The density as what it is: of every number of amounts, its Poisson chance times the Gamma density of their sum."""
    rate = mu ** (2 - power) / (dispersion * (2 - power))
    shape, unit = (2 - power) / (power - 1), dispersion * (power - 1) * mu ** (power - 1)
    n = numpy.arange(1, 400)
    logs = scipy.stats.poisson.logpmf(n, rate) + scipy.stats.gamma.logpdf(x[:, None], n * shape, scale=unit)
    return numpy.where(x == 0, -rate, numpy.logaddexp.reduce(logs, axis=1))


@pytest.mark.parametrize(("power", "dispersion"), [(1.1, 0.5), (1.5, 2.0), (1.9, 0.3)])
def test_it_is_a_sum_of_poisson_many_gamma_amounts(power: float, dispersion: float) -> None:
    x, mu = numpy.array([0.0, 1e-3, 0.4, 2.0, 30.0]), 1.7
    side = Tweedie(power=power, dispersion=dispersion)
    numpy.testing.assert_allclose(side.nll(x, numpy.full(5, mu)).numpy(), -compound(x, mu, power, dispersion), rtol=1e-11)
    raw = torch.full((5,), math.log(mu), dtype=torch.float64)
    numpy.testing.assert_allclose(side.nll_raw(x, raw).numpy(), -compound(x, mu, power, dispersion), rtol=1e-11)
    deviance = 2 * (x ** (2 - power) / ((1 - power) * (2 - power)) - x * mu ** (1 - power) / (1 - power))
    deviance += 2 * mu ** (2 - power) / (2 - power)
    numpy.testing.assert_allclose(side.loss(torch.tensor(x), torch.full((5,), mu)).numpy(), deviance, rtol=1e-6)


def test_many_terms_are_as_exact_as_few() -> None:
    """With 1e10 amounts it is a Gaussian to five digits; the sum over them is by the trapezoidal rule."""
    side = Tweedie(power=1.5, dispersion=1e-10)
    found = side.nll([1.00001], [1.0]).item()
    assert found == pytest.approx(-scipy.stats.norm.logpdf(1.00001, 1.0, 1e-5), abs=1e-4)
    assert math.isfinite(Tweedie(power=1.001, dispersion=1e-6).nll([1e6], [1e6]).item())


@pytest.mark.slow
def test_calibrate_ranks_chances_and_densities_apart() -> None:
    draws = numpy.random.default_rng(0)
    x = numpy.where(draws.random((300, 2)) < 0.5, 0, draws.gamma(2, 1.5, (300, 2)))
    found = recon_cli.calibrate(x, numpy.full_like(x, x.mean()), likelihood=("tweedie", "exponential"))
    assert [(row.likelihood, row.kind) for row in found.noise] == [("tweedie", "mixed"), ("exponential", "density")]
    assert any("ranked apart" in str(note) for note in found.report().notes)
    rows = recon_cli.calibrate(x + 0.1, numpy.full_like(x, x.mean()), likelihood=("tweedie",)).noise
    assert rows[0].kind == "density"


def test_amounts_below_zero_and_other_powers_are_refused() -> None:
    with pytest.raises(ReconError, match=r"outside what tweedie allows, \[0, inf\)"):
        recon_cli.compare([[-1.0, 1.0]], [[1.0, 1.0]], "tweedie", device="cpu")
    with pytest.raises(ReconError, match="power = 2.5"):
        Tweedie(power=2.5)


def test_it_trains_with_its_dispersion_from_the_network() -> None:
    draws = numpy.random.default_rng(0)
    x = numpy.where(draws.random((80, 3)) < 0.5, 0, draws.gamma(2, 1.5, (80, 3)))
    trained = recon_cli.train(x, likelihood="tweedie", sigma="network", epochs=1, latent=1, hidden=4, write=None)
    assert math.isfinite(trained.result.nll)
