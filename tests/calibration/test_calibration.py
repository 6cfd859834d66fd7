"""The spectrum and what follows from it: against numpy, scipy, scikit-learn, mpmath and the known figures of the digits."""

from __future__ import annotations

import math

import mpmath
import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import recon_cli
from recon_cli import sources
from recon_cli.calibration import Eigenvalues, ModelPoint, eigenvalues, model, point, ppca
from recon_cli.errors import ReconError
from recon_cli.numerics.spectrum import Blocks, moments, rate, sweep

DIGITS = sources.read("digits").reshape(1797, 64).astype(float)
FOUND = eigenvalues(Blocks(DIGITS))
HALVES = st.integers(-3000, 3000).map(lambda power: 10.0 ** (power / 1000))
SPECTRA = st.lists(HALVES, min_size=1, max_size=12).map(lambda values: known(*values))


def known(*values: float) -> Eigenvalues:
    """A spectrum of these eigenvalues."""
    return Eigenvalues(numpy.array(sorted(values, reverse=True)), len(values), 1000, math.fsum(values))


def near(value: float, rel: float = 1e-10) -> object:
    """To ten digits."""
    return pytest.approx(value, rel=rel)


def random(samples: int, dimensions: int, seed: int = 0) -> numpy.ndarray:
    """Correlated rows whose variances fall over three decades."""
    generator = numpy.random.default_rng(seed)
    turn = numpy.linalg.qr(generator.standard_normal((dimensions, dimensions)))[0]
    return generator.standard_normal((samples, dimensions)) * numpy.geomspace(1, 0.03, dimensions) @ turn


# The covariance, from blocks.


@pytest.mark.parametrize("cuts", [[], [1], [999], [10, 11, 500], [300, 300, 600]])
def test_the_blocks_make_no_difference(cuts: list[int]) -> None:
    x = random(1000, 20)
    seen = moments(numpy.split(x, cuts))
    assert seen.samples == 1000
    assert seen.covariance == pytest.approx(numpy.cov(x.T, bias=True), rel=1e-12, abs=1e-15)
    assert seen.mean == pytest.approx(x.mean(axis=0), abs=1e-14)
    assert seen.trace == near(x.var(axis=0).sum(), 1e-13)


@pytest.mark.parametrize("mean", [0.0, 1e6, -1e12])
def test_a_large_mean_costs_no_digits(mean: float) -> None:
    x = random(300, 3) + mean
    with mpmath.workdps(50):
        exact = mpmath.matrix(x.tolist())
        middle = [mpmath.fsum(exact[:, j]) / 300 for j in range(3)]
        wanted = [
            [
                float(mpmath.fsum((exact[i, j] - middle[j]) * (exact[i, k] - middle[k]) for i in range(300)) / 300)
                for k in range(3)
            ]
            for j in range(3)
        ]
    assert moments(Blocks(x)).covariance == pytest.approx(numpy.array(wanted), rel=1e-12, abs=1e-14)
    assert moments([x[:7], x[7:250], x[250:]]).covariance == pytest.approx(numpy.array(wanted), rel=1e-12, abs=1e-14)


def test_a_generator_of_blocks_will_do() -> None:
    assert eigenvalues(block for block in numpy.split(DIGITS, 3)).values == pytest.approx(FOUND.values, rel=1e-12, abs=1e-15)


def test_the_blocks_are_not_written_to() -> None:
    x = random(50, 4)
    before = x.copy()
    eigenvalues(Blocks(x))
    assert (x == before).all()


def test_eigenvalues_are_numpy_s() -> None:
    wanted = numpy.linalg.eigvalsh(numpy.cov(DIGITS.T, bias=True))[::-1]
    assert FOUND.values[:61] == pytest.approx(wanted[:61], rel=1e-10, abs=1e-16)
    assert (FOUND.rank, FOUND.exact) == (61, True)
    assert not FOUND.values[61:].any()
    assert FOUND.values[:5] == pytest.approx([0.6988567, 0.63916657, 0.55355288, 0.39470357, 0.2713847], abs=5e-8)
    assert FOUND.trace == near(4.693276317822724, 1e-14)


def test_fewer_samples_than_dimensions_by_either_matrix() -> None:
    x = random(40, 300)
    whole, gram = eigenvalues(Blocks(x)), eigenvalues([x[:9], x[9:30], x[30:]], exact=100)
    assert whole.rank == gram.rank == 39
    assert gram.exact
    assert len(gram.values) == 300
    assert gram.values[:39] == pytest.approx(whole.values[:39], rel=1e-9)


def test_randomised_eigenvalues_are_within_what_they_say() -> None:
    x = random(2000, 400)
    true = numpy.linalg.eigvalsh(numpy.cov(x.T, bias=True))[::-1]
    found = eigenvalues(numpy.split(x, 4), exact=100, most=40)
    assert not found.exact
    assert found.error is not None
    assert abs(found.values - true[:40]).max() <= found.error < 0.1 * true[40]
    assert found.values == pytest.approx(true[:40], rel=1e-3)
    assert found.trace == near(true.sum())
    assert found.tail(40) == near(true.sum() - found.values.sum())
    again = eigenvalues(numpy.split(x, 2), exact=100, most=40)
    assert again.values == pytest.approx(found.values, rel=1e-10)


def test_what_a_part_of_the_spectrum_says_is_right_and_the_rest_is_left_open() -> None:
    whole = known(8, 4, 2, 1, 0.5, 0.25)
    part = Eigenvalues(whole.values[:3], 6, 1000, whole.trace, 0.0)
    for sigma2 in (10, 5, 3, 2):
        assert point(part, sigma2) == point(whole, sigma2)
    assert point(part, 0.3, 2) == point(whole, 0.3, 2)
    assert ppca(part, 3) == ppca(whole, 3)
    assert point(part, 1.9).active is None
    assert ppca(part, 4).sigma2 is None
    for distortion in (20, 15, 9, 7.8):
        assert rate(part, distortion) == near(rate(whole, distortion))
    assert rate(part, 3) is None


@pytest.mark.parametrize(
    ("x", "said"),
    [
        (numpy.full((5, 3), 0.1), "no variance: all samples are alike"),
        (numpy.ones((1, 3)), "no variance: there is one sample"),
        (numpy.array([[1e200, 0], [-1e200, 0]]), "squares overflow"),
    ],
)
def test_what_has_no_spectrum(x: numpy.ndarray, said: str) -> None:
    with pytest.raises(ReconError, match=said):
        eigenvalues(Blocks(x))


# What follows: probabilistic PCA, fixed noise, reverse water-filling.


def gaussian_log_likelihood(x: numpy.ndarray, covariance: numpy.ndarray) -> float:
    """The mean of log N(x; mean of x, covariance), by a Cholesky factor: no eigenvalue in sight."""
    factor = numpy.linalg.cholesky(covariance)
    z = numpy.linalg.solve(factor, (x - x.mean(axis=0)).T)
    return float(-(z**2).sum() / 2 / len(x) - numpy.log(numpy.diag(factor)).sum() - x.shape[1] / 2 * math.log(2 * math.pi))


def model_covariance(x: numpy.ndarray, latent: int, sigma2: float) -> numpy.ndarray:
    """W W' + sigma^2 I at the optimum of Tipping and Bishop for that sigma^2."""
    values, axes = numpy.linalg.eigh(numpy.cov(x.T, bias=True))
    scale = numpy.sqrt(numpy.maximum(values[-latent:] - sigma2, 0)) if latent else numpy.zeros(0)
    w = axes[:, x.shape[1] - latent :] * scale
    return w @ w.T + sigma2 * numpy.eye(x.shape[1])


@pytest.mark.parametrize("latent", [1, 2, 10, 40])
@pytest.mark.parametrize("sigma2", [2.0, 0.3, 0.02])
def test_log_likelihoods_are_those_of_the_model_s_density(latent: int, sigma2: float) -> None:
    wanted = gaussian_log_likelihood(DIGITS, model_covariance(DIGITS, latent, sigma2))
    assert point(FOUND, sigma2, latent).log_likelihood == near(wanted)


@pytest.mark.parametrize("latent", [1, 2, 10, 40])
def test_ppca_is_scikit_learn_s_with_its_n_minus_one_accounted_for(latent: int) -> None:
    decomposition = pytest.importorskip("sklearn.decomposition")
    fitted = decomposition.PCA(latent, svd_solver="full").fit(DIGITS)
    n, d = DIGITS.shape
    mine = ppca(FOUND, latent)
    assert fitted.noise_variance_ * (n - 1) / n == near(mine.sigma2)
    # its model has covariance C n/(n - 1), with C mine: -[log det C + d log(n/(n - 1)) + d log 2 pi + d (n - 1)/n]/2
    assert fitted.score(DIGITS) == near(mine.log_likelihood - (d * math.log(n / (n - 1)) + d * (n - 1) / n - d) / 2)


def test_the_figures_of_the_digits() -> None:
    assert ppca(FOUND, 2).log_likelihood == pytest.approx(0.00570672, abs=5e-9)
    assert ppca(FOUND, 10).log_likelihood == pytest.approx(17.45194702, abs=5e-9)
    assert ppca(FOUND, 10).sigma2 == pytest.approx(0.0227513723, abs=5e-11)
    some, none = point(FOUND, 0.1), point(FOUND, 1.0)
    assert (some.active, none.active) == (12, 0)
    assert some.log_likelihood == pytest.approx(-1.66157666, abs=5e-9)
    assert none.log_likelihood == pytest.approx(-61.15870428, abs=5e-9)
    assert some.rate == near(5.479385186216, 1e-12)
    assert some.distortion == near(2.210569665566, 1e-12)
    assert (none.rate, none.distortion) == (0.0, near(FOUND.trace))


@pytest.mark.parametrize("latent", [1, 5, 20])
def test_ppca_is_the_best_of_all_noises(latent: int) -> None:
    optimize = pytest.importorskip("scipy.optimize")
    best = ppca(FOUND, latent)

    def cost(log_noise: float) -> float:
        return -point(FOUND, math.exp(log_noise), latent).log_likelihood

    found = optimize.minimize_scalar(cost, bracket=(-8, -2), options={"xtol": 1e-12})
    assert -found.fun == near(best.log_likelihood, 1e-12)
    assert math.exp(found.x) == pytest.approx(best.sigma2, rel=1e-6)
    assert point(FOUND, best.sigma2, latent).log_likelihood == near(best.log_likelihood)


@given(SPECTRA, HALVES)
def test_elbo_rate_and_distortion_add_up(found: Eigenvalues, sigma2: float) -> None:
    here = point(found, sigma2)
    d = found.dimensions
    elbo = -here.rate - here.distortion / (2 * sigma2) - d / 2 * math.log(2 * math.pi * sigma2)
    assert here.log_likelihood == pytest.approx(elbo, rel=1e-10, abs=1e-9)
    assert here.distortion == near(sum(min(value, sigma2) for value in found.values))
    assert here.rate == pytest.approx(sum(max(0, math.log(value / sigma2)) / 2 for value in found.values), rel=1e-9, abs=1e-9)


@given(SPECTRA)
def test_counts_flip_exactly_at_the_eigenvalues(found: Eigenvalues) -> None:
    for value in map(float, found.values):
        apart = 1e-13 * found.dimensions * float(found.values[0])  # nearer than rounding of the largest they are ties
        over, under = value + apart, value - apart
        above = int((found.values > over).sum())
        ties = int((found.values > under).sum()) - above
        assert point(found, value).active <= above + ties - 1
        assert point(found, over).active == above
        assert point(found, under).active == above + ties
        assert point(found, under, 1).active == 1


@given(SPECTRA, HALVES)
def test_r_of_d_undoes_the_water_level(found: Eigenvalues, sigma2: float) -> None:
    here = point(found, sigma2)
    assert rate(found, here.distortion) == pytest.approx(here.rate, rel=1e-8, abs=1e-8)


def test_the_slope_of_r_of_d_is_that_of_the_noise() -> None:
    for sigma2 in (0.3, 0.1, 0.02, 0.003):
        d = point(FOUND, sigma2).distortion
        step = 1e-6 * d
        slope = (rate(FOUND, d + step) - rate(FOUND, d - step)) / (2 * step)
        assert slope == pytest.approx(-1 / (2 * sigma2), rel=1e-6)


def test_r_of_d_at_its_ends() -> None:
    found = known(3, 2, 1)
    assert rate(found, 6) == rate(found, 60) == 0
    assert rate(found, 0) == math.inf
    assert rate(found, 3) == near(math.log(6) / 2)


def test_no_noise_is_left_when_the_latents_are_enough() -> None:
    flat = Eigenvalues(numpy.array([2.0, 1.0, 0.0]), 3, 100, 3.0)
    assert ppca(flat, 1).sigma2 == 0.5
    assert (ppca(flat, 2).sigma2, ppca(flat, 2).log_likelihood) == (None, None)
    full = ppca(known(2, 1), 2)
    assert full.sigma2 is None
    assert full.log_likelihood == near(-(math.log(2) + 2 * math.log(2 * math.pi) + 2) / 2)


@given(SPECTRA)
def test_the_sweep_begins_above_the_largest(found: Eigenvalues) -> None:
    noises = sweep(found)
    assert noises == sorted(set(noises), reverse=True)
    assert point(found, noises[0]).active == 0
    assert point(found, noises[1]).active > 0 or noises[1] == found.values[0]
    assert noises[-1] > 1e-4 * found.values[0] >= noises[-1] / 2.6


# All of it in one call.


def test_calibrate_is_exported_and_reads_arrays() -> None:
    found = recon_cli.calibrate(DIGITS, latent=10, sigma=0.1, sigma2=[0.1])
    assert found.ppca[0] == ppca(FOUND, 10)
    assert [row.active for row in found.points] == [10]
    assert found.predicted.active == 10
    assert found.sigma == 0.1


def test_a_model_is_set_against_the_bound() -> None:
    mean, axes = DIGITS.mean(axis=0), numpy.linalg.eigh(numpy.cov(DIGITS.T, bias=True))[1][:, -20:]

    def at(mu: numpy.ndarray, nats: float | None) -> ModelPoint:
        return model(FOUND, sources.Pair(DIGITS, mu, False, "", ""), nats)

    nothing = at(numpy.broadcast_to(mean, DIGITS.shape), 1.5)
    assert nothing.distortion == near(FOUND.trace)
    assert (nothing.bound, nothing.distance) == (pytest.approx(0, abs=1e-12), pytest.approx(1.5))
    linear = (DIGITS - mean) @ axes @ axes.T + mean
    assert at(linear, 40.0).distortion == near(FOUND.values[20:].sum())
    assert at(linear, 40.0).distance == near(40 - rate(FOUND, at(linear, None).distortion))
    assert at(linear, None).distance is None


def test_a_noise_that_was_not_asked_for_collapses_nothing() -> None:
    far = recon_cli.calibrate(DIGITS[:50], DIGITS[:50] + 5.0)
    assert far.sigma == near(5.0)
    assert far.predicted.active == 0
    assert not far.collapses
    assert recon_cli.calibrate(DIGITS[:50], sigma=5.0).collapses


def test_the_weights_of_laplace_are_of_its_own_fit_or_of_the_same_variance() -> None:
    def laplace(found: object) -> float:
        return next(row.kl_weight for row in found.weights if row.convention == "l1 sum + KL sum")

    assert laplace(recon_cli.calibrate(DIGITS, sigma=0.3)) == near(0.3 / math.sqrt(2))
    assert laplace(recon_cli.calibrate(DIGITS[:50], DIGITS[:50] + 0.25, likelihood=["laplace"])) == near(0.25)


def test_without_a_sigma_the_best_of_a_linear_model_is_shown() -> None:
    found = recon_cli.calibrate(DIGITS, latent=10)
    assert found.sigma == near(math.sqrt(ppca(FOUND, 10).sigma2))
    assert recon_cli.calibrate(DIGITS).sigma == near(math.sqrt(ppca(FOUND, 16).sigma2))
    assert [row.latent for row in recon_cli.calibrate(DIGITS).ppca] == [1, 2, 4, 8, 16, 32]
