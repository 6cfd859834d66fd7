"""One likelihood becomes another: at which parameter exactly, and on the way there at which rate."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import SquaredError
from recon_cli.identity.regions import REAL
from recon_cli.likelihoods.asymmetric_laplace import AsymmetricLaplace
from recon_cli.likelihoods.bernoulli import Bernoulli
from recon_cli.likelihoods.binomial import Binomial
from recon_cli.likelihoods.categorical import Categorical
from recon_cli.likelihoods.discretized_gaussian import DiscretizedGaussian
from recon_cli.likelihoods.discretized_logistic import DiscretizedLogistic
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.likelihoods.generalized_gaussian import GeneralizedGaussian
from recon_cli.likelihoods.heteroscedastic_gaussian import HeteroscedasticGaussian
from recon_cli.likelihoods.huber import Huber, HuberLoss, SmoothL1
from recon_cli.likelihoods.laplace import Laplace
from recon_cli.likelihoods.logistic import Logistic
from recon_cli.likelihoods.negative_binomial import NegativeBinomial
from recon_cli.likelihoods.poisson import Poisson
from recon_cli.likelihoods.student_t import StudentT
from recon_cli.likelihoods.von_mises import VonMises
from recon_cli.likelihoods.von_mises_fisher import VonMisesFisher

EPS = 2.0**-52
RESIDUALS = (0.0, 1e-9, -0.01, 0.2, -0.7, 1.0, 1.7, -3.0)
COUNTS, MEANS = (0.0, 1.0, 2.0, 5.0, 16.0), (0.01, 0.5, 1.0, 3.7, 12.0)
SCALES = (0.05, 1.0, 3.0)
Nll = Callable[[Tensor, Tensor], Tensor]
each_scale = pytest.mark.parametrize("scale", SCALES)


def numbers(*values: float) -> Tensor:
    """In float64."""
    return torch.tensor(values, dtype=torch.float64)


def every(xs: Any, mus: Any) -> tuple[Tensor, Tensor]:
    """Each x with each mu."""
    x, mu = torch.meshgrid(numbers(*xs), numbers(*mus), indexing="ij")
    return x.flatten(), mu.flatten()


def errors(scale: float = 1.0) -> tuple[Tensor, Tensor]:
    """Data zero, and means off by the residuals in units of ``scale``, or in units of one."""
    mu = torch.cat([scale * numbers(*RESIDUALS), numbers(*RESIDUALS)])
    return torch.zeros_like(mu), mu


def both(nll: Nll, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """Values, and the gradient by mu."""
    point = mu.clone().requires_grad_()
    value = nll(x, point)
    return value.detach(), torch.autograd.grad(value.sum(), point)[0]


def same(one: Nll, other: Nll, x: Tensor, mu: Tensor, eps: float = 4.0) -> None:
    """Values and gradients within so many units of rounding of the larger one, or of one where terms cancel."""
    for found, due in zip(both(one, x, mu), both(other, x, mu), strict=True):
        torch.testing.assert_close(found, due, rtol=eps * EPS, atol=eps * EPS)


def order(rest: Callable[[float], Tensor], step: float) -> float:
    """The power of ``step`` that what is left goes with, by its largest entry at the step and at half of it."""
    one, half = (rest(part).abs().max().item() for part in (step, step / 2))
    return math.log2(one / half)


# Equal, to rounding.


@each_scale
def test_a_power_of_one_is_laplace(scale: float) -> None:
    same(GeneralizedGaussian(scale=scale, power=1.0).nll, Laplace(scale=scale).nll, *errors(scale))


@each_scale
def test_a_power_of_two_is_gaussian(scale: float) -> None:
    same(GeneralizedGaussian(scale=math.sqrt(2) * scale, power=2.0).nll, Gaussian(sigma=scale).nll, *errors(scale), eps=8)


@each_scale
def test_the_median_is_laplace_of_twice_the_scale(scale: float) -> None:
    x, mu = errors(scale)
    off = mu != 0  # where the pinball's slope is that of its upper side, and laplace's is zero
    same(AsymmetricLaplace(scale=scale, quantile=0.5).nll, Laplace(scale=2 * scale).nll, x[off], mu[off])
    assert torch.equal(AsymmetricLaplace(scale=scale).nll(x, mu), Laplace(scale=2 * scale).nll(x, mu))


@each_scale
def test_many_degrees_of_freedom_are_gaussian(scale: float) -> None:
    x, mu = errors()
    same(StudentT(df=1e18, scale=scale).nll, Gaussian(sigma=scale).nll, x, scale * mu)


@each_scale
def test_a_huber_that_never_bends_is_gaussian(scale: float) -> None:
    x, mu = errors()
    same(Huber(scale=scale, delta=40.0).nll, Gaussian(sigma=scale).nll, x, scale * mu)


@pytest.mark.parametrize("var", [0.25, 0.3, 7.0])
def test_one_variance_for_all_is_gaussian(var: float) -> None:
    x, mu = errors()
    whole, constant = HeteroscedasticGaussian(), Gaussian(sigma=math.sqrt(var))

    def head(part: float) -> Callable[[Tensor], Tensor]:
        return lambda mean: torch.stack([mean, torch.full_like(mean, part)], dim=-1)

    same(lambda x, mean: whole.nll(x, head(var)(mean)), constant.nll, x, mu, eps=8)
    same(lambda x, mean: whole.nll_raw(x, head(math.log(var))(mean)), constant.nll, x, mu, eps=8)


def test_one_trial_is_bernoulli() -> None:
    shares = (1e-300, 1e-9, 0.1, 0.5, 0.75, 1 - 2**-30)
    same(Binomial(count=1).nll, Bernoulli().nll, *every((0.0, 1.0), shares))
    same(Binomial(count=1).nll_raw, Bernoulli().nll_raw, *every((0.0, 1.0), (-800.0, -30.0, -1.0, 0.0, 1e-9, 2.0, 40.0)))


def test_two_classes_are_bernoulli() -> None:
    two = Categorical()
    x, mu = every((0.0, 1.0), (2.0**-40, 0.125, 0.375, 0.5, 0.75, 1 - 2**-30))  # 1 - mu is exact
    hot = torch.stack([1 - x, x], dim=-1)
    same(lambda x, mu: two.nll(hot, torch.stack([1 - mu, mu], dim=-1)), Bernoulli().nll, x, mu)
    x, raw = every((0.0, 1.0), (-800.0, -30.0, -1.0, 0.0, 1e-9, 2.0, 40.0))
    hot = torch.stack([1 - x, x], dim=-1)
    same(lambda x, raw: two.nll_raw(hot, torch.stack([torch.zeros_like(raw), raw], dim=-1)), Bernoulli().nll_raw, x, raw)


@pytest.mark.parametrize("kappa", [1e-6, 0.3, 4.0, 24.9, 25.1, 1e4])
def test_directions_in_the_plane_are_angles(kappa: float) -> None:
    x, mu = every((0.0, 1.0, -2.5), (0.0, 0.3, -1.2, 2.0, 3.1))

    def vectors(angle: Tensor) -> Tensor:
        return torch.stack([angle.cos(), angle.sin()], dim=-1)

    angles, plane = VonMises(kappa=kappa), VonMisesFisher(kappa=kappa)
    for found, due in zip(both(lambda x, mu: plane.nll(vectors(x), vectors(mu)), x, mu), both(angles.nll, x, mu), strict=True):
        torch.testing.assert_close(found, due, rtol=4 * EPS, atol=4 * EPS * max(kappa, 1))


@pytest.mark.parametrize("d", [2, 3, 64, 784])
@pytest.mark.parametrize("sigma", [0.03, 0.5, 3.0])
def test_squared_error_between_unit_vectors_is_cosine_distance_at_kappa_one_over_its_variance(d: int, sigma: float) -> None:
    draw = torch.randn(2, 50, d, dtype=torch.float64, generator=torch.Generator().manual_seed(d))
    x, mu = draw / draw.norm(dim=-1, keepdim=True)
    sphere, space = VonMisesFisher(kappa=1 / sigma**2), Gaussian(sigma=sigma)
    angular, of_sphere = both(lambda x, mu: sphere.nll(x, mu) - sphere.offset(x), x, mu)
    square, of_space = both(lambda x, mu: (space.nll(x, mu) - space.offset(x)).sum(dim=-1), x, mu)
    terms = max(1 / sigma**2, sphere.offset(x).abs().max().item(), d * abs(space.normaliser))
    torch.testing.assert_close(angular, square, rtol=0, atol=8 * EPS * terms)
    along = of_space - (of_space * mu).sum(dim=-1, keepdim=True) * mu  # what moves mu on the sphere
    torch.testing.assert_close(of_sphere, along, rtol=8 * EPS, atol=8 * EPS / sigma**2)


def test_smooth_l1_at_one_is_half_the_squared_error_of_shares_to_the_bit() -> None:
    x, mu = torch.rand(2, 1000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    for found, due in zip(both(SmoothL1(beta=1.0), x, mu), both(SquaredError(), x, mu), strict=True):
        assert torch.equal(found, due / 2)
    same(SmoothL1(beta=0.25), lambda x, mu: HuberLoss(delta=0.25)(x, mu) / 0.25, x, mu)


# With a rate: the first terms of the way there, and that what is left is of the next order.


@each_scale
@pytest.mark.parametrize("delta", [3.5, 4.0, 5.0])
def test_huber_goes_to_gaussian_as_its_tails_do(delta: float, scale: float) -> None:
    x, mu = errors()
    off = Huber(scale=scale, delta=delta).nll(x, scale * mu) - Gaussian(sigma=scale).nll(x, scale * mu)
    first = 2 * math.exp(-(delta**2) / 2) / math.sqrt(2 * math.pi) / delta**3  # of log(erf(d/sqrt 2) + 2 phi(d)/d)
    assert first * (1 - 3 / delta**2) < off.min() + 8 * EPS
    assert off.max() - 8 * EPS < first


@each_scale
def test_huber_goes_to_laplace_with_the_fourth_power_of_delta(scale: float) -> None:
    x, mu = errors()
    mu = scale * mu[mu.abs() > 0.005]

    def rest(delta: float) -> Tensor:
        return Huber(scale=delta * scale, delta=delta).nll(x[: len(mu)], mu) - Laplace(scale=scale).nll(x[: len(mu)], mu)

    def more(delta: float) -> Tensor:
        return rest(delta) + delta**4 / 6

    assert order(rest, 0.06) == pytest.approx(4, abs=0.01)
    assert order(more, 0.06) == pytest.approx(6, abs=0.03)


def test_the_tip_that_huber_cuts_from_laplace_is_half_of_delta_squared() -> None:
    def rest(delta: float) -> Tensor:
        zero = numbers(0.0)
        return Huber(scale=delta * 0.7, delta=delta).nll(zero, zero) - Laplace(scale=0.7).nll(zero, zero) - delta**2 / 2

    assert order(rest, 0.06) == pytest.approx(4, abs=0.01)


@each_scale
def test_student_goes_to_gaussian_as_one_over_the_degrees_of_freedom(scale: float) -> None:
    x, z = errors()

    def rest(step: float) -> Tensor:
        off = StudentT(df=1 / step, scale=scale).nll(x, scale * z) - Gaussian(sigma=scale).nll(x, scale * z)
        return off - step * (1 / 4 + z**2 / 2 - z**4 / 4)

    def more(step: float) -> Tensor:
        return rest(step) - step**2 * (z**6 / 6 - z**4 / 4)

    assert order(rest, 1e-4) == pytest.approx(2, abs=0.01)
    assert order(more, 1e-4) == pytest.approx(3, abs=0.01)
    assert more(1e-4).abs().max() < 1e-9
    assert rest(1e-15).abs().max() < 16 * EPS


@pytest.mark.parametrize("raw", [False, True])
@pytest.mark.parametrize(("kind", "sign"), [(lambda step: Binomial(count=1 / step), 1), (NegativeBinomial, -1)])
def test_counts_go_to_poisson_from_both_sides(kind: Callable[[float], Likelihood], sign: int, raw: bool) -> None:
    x, mu = every(COUNTS, MEANS)

    def off(step: float) -> Tensor:
        side, limit = kind(step), Poisson()
        found = side.nll_raw(x, side.link.forward(mu)) if raw else side.nll(x, mu)
        return found - (limit.nll_raw(x, limit.link.forward(mu)) if raw else limit.nll(x, mu))

    def rest(step: float) -> Tensor:
        return off(step) - sign * step * ((x - mu) ** 2 - x) / 2

    assert order(off, 2.0**-18) == pytest.approx(1, abs=0.001)
    assert order(rest, 2.0**-13) == pytest.approx(2, abs=0.01)
    assert (rest(2.0**-13).abs() * 2.0**26 < (1 + x + mu) ** 3).all()
    assert rest(2.0**-50).abs().max() < (640 if raw else 64) * EPS  # of a logit of -35


@pytest.mark.parametrize("kappa", [1e3, 1e4])
def test_angles_near_each_other_are_gaussian(kappa: float) -> None:
    z = numbers(*RESIDUALS)

    def rest(step: float) -> Tensor:
        sigma = step**0.5
        off = VonMises(kappa=1 / step).nll(torch.zeros_like(z), sigma * z) - Gaussian(sigma=sigma).nll(0 * z, sigma * z)
        return off - step * (1 / 8 - z**4 / 24)

    assert order(rest, 1 / kappa) == pytest.approx(2, abs=0.01)
    assert ((rest(1 / kappa) - (1 / 16 + z**6 / 720) / kappa**2).abs() < 3 / kappa**3 + 8 * EPS).all()


def curvature_of_gaussian(r: Tensor, s: float) -> Tensor:
    return r**2 / s**4 - 1 / s**2


def curvature_of_logistic(r: Tensor, s: float) -> Tensor:
    f = (r / s).sigmoid()
    return (1 - 6 * f * (1 - f)) / s**2


FINE = [
    (DiscretizedGaussian, lambda s: Gaussian(sigma=s), curvature_of_gaussian),
    (DiscretizedLogistic, lambda s: Logistic(scale=s), curvature_of_logistic),
]


@pytest.mark.parametrize(("kind", "continuous", "curvature"), FINE, ids=["gaussian", "logistic"])
@pytest.mark.parametrize("scale", [0.2, 0.7])
def test_a_fine_lattice_has_the_density_and_the_width_of_a_bin(kind: Any, continuous: Any, curvature: Any, scale: float) -> None:
    x, mu = every((0.25, 0.5, 0.75), (-0.3, 0.2, 0.25, 0.9))

    def rest(step: float) -> Tensor:
        """-log P less nll - log Delta - Delta^2/24 p''/p."""
        found = kind(scale=scale, levels=1 + 1 / step).nll(x, mu)
        return found - continuous(scale).nll(x, mu) + math.log(step) + step**2 / 24 * curvature(x - mu, scale)

    assert order(rest, 2.0**-5) == pytest.approx(4, abs=0.02)
    assert rest(2.0**-16).abs().max() < 32 * EPS


# Units.

SCALED = [name for name in likelihoods.names() if likelihoods.find(name)().level_name in ("sigma", "scale")]
MOVED = [name for name in SCALED if likelihoods.find(name)().support == REAL]


@pytest.mark.parametrize("name", MOVED)
def test_other_units_add_the_logarithm_of_the_unit(name: str) -> None:
    x, mu = errors()
    plain = likelihoods.find(name)()
    unit = plain.level_name
    for factor in (1 / 255, 256.0):
        moved = dataclasses.replace(plain, **{unit: factor * float(plain.parameters[unit])})
        found = moved.nll(factor * x, factor * mu)
        torch.testing.assert_close(found, plain.nll(x, mu) + math.log(factor), rtol=8 * EPS, atol=8 * EPS)


@pytest.mark.parametrize(("unit", "bits"), [(256.0, 8.0), (255.0, 7.994353436858858)])
def test_eight_bits_a_value_are_what_stored_pictures_add(unit: float, bits: float) -> None:
    x = torch.arange(256, dtype=torch.float64)
    mu = x.flip(0) * 0.9 + 11.5
    stored = Gaussian(sigma=0.1 * unit).nll(x, mu).mean() / math.log(2)
    shares = Gaussian(sigma=0.1).nll(x / unit, mu / unit).mean() / math.log(2)
    assert stored.item() == pytest.approx(shares.item() + bits, rel=8 * EPS)


def test_bits_per_dimension_of_grey_levels_are_those_of_shares_and_7_994() -> None:
    x = torch.arange(1, 255, dtype=torch.float64) / 255
    mu, scale = 0.9 * x + 0.04, 0.1
    bits = DiscretizedGaussian(scale=scale).nll(x, mu) / math.log(2)
    shares = (Gaussian(sigma=scale).nll(x, mu) - curvature_of_gaussian(x - mu, scale) / 24 / 255**2) / math.log(2)
    assert (bits - shares - 7.994353436858858).abs().max() < 1e-8
