"""The sphere's integral and the likelihood of directions, in any number of dimensions, against mpmath."""

from __future__ import annotations

import functools
import itertools
import math
from typing import Any

import mpmath
import pytest
import torch
from torch import Tensor

from recon_cli.errors import ReconError
from recon_cli.likelihoods._sphere import concentration, log_integral
from recon_cli.likelihoods.von_mises import VonMises
from recon_cli.likelihoods.von_mises_fisher import VonMisesFisher

EPS = 2.0**-52
DIMENSIONS = (2, 3, 4, 5, 8, 16, 50, 51, 52, 53, 100, 784, 1024, 4095, 4096)
KAPPAS = [10 ** (-10 + i / 2) for i in range(31)]
RADIUS = 25.0  # of (d/2 - 1, kappa), within which the power series is summed
each_dimension = pytest.mark.parametrize("d", DIMENSIONS)


@functools.lru_cache
def bessel(nu: Any, kappa: float) -> Any:
    """I_nu(kappa); mpmath's own stops after too few terms."""
    return mpmath.besseli(nu, mpmath.mpf(kappa), maxterms=10**6)


def truth(d: int, kappa: float) -> Any:
    """log of (2 pi)^(nu + 1) I_nu(kappa) e^-kappa kappa^-nu, at forty digits."""
    with mpmath.workdps(40):
        nu, k = mpmath.mpf(d) / 2 - 1, mpmath.mpf(kappa)
        return mpmath.log(bessel(nu, kappa)) + (nu + 1) * mpmath.log(2 * mpmath.pi) - k - nu * mpmath.log(k)


def mean_cosine(d: int, kappa: float) -> Any:
    """I_(nu + 1)/I_nu, of which the integral's logarithm has the derivative less one."""
    with mpmath.workdps(40):
        nu = mpmath.mpf(d) / 2 - 1
        return bessel(nu + 1, kappa) / bessel(nu, kappa)


def joint(d: int) -> list[float]:
    """Where the series ends, from both sides."""
    square = RADIUS**2 - (d / 2 - 1) ** 2
    middle = math.sqrt(square) if square > 0 else RADIUS
    return [middle * (1 + side * step) for side in (-1, 1) for step in (1e-15, 1e-9, 1e-3)] + [math.nextafter(middle, 0), middle]


# The integral.


@each_dimension
def test_the_integral_is_that_of_bessel_functions(d: int) -> None:
    for kappa in (*KAPPAS, *joint(d)):
        found, due = log_integral(d, kappa).item(), truth(d, kappa)
        off = float(abs(found - due) / EPS)
        assert off <= 4 * max(abs(due), 1), (kappa, found, off)
        assert abs(due) < 0.2 or off <= 8 * abs(due), (kappa, found, off)


def test_series_and_expansion_meet() -> None:
    for d in (2, 3, 50, 51):
        below, above = joint(d)[-2:]
        assert math.hypot(d / 2 - 1, below) <= RADIUS <= math.hypot(d / 2 - 1, above) * (1 + EPS)
        assert log_integral(d, below).item() == pytest.approx(log_integral(d, above).item(), rel=4 * EPS)


@pytest.mark.parametrize(
    ("d", "closed"),
    [
        (3, lambda k: 2 * mpmath.pi * (1 - mpmath.exp(-2 * k)) / k),
        (2, lambda k: 2 * mpmath.pi * mpmath.besseli(0, k) * mpmath.exp(-k)),
        (5, lambda k: 8 * mpmath.pi**2 * (k * mpmath.cosh(k) - mpmath.sinh(k)) * mpmath.exp(-k) / k**3),
    ],
)
@pytest.mark.parametrize("kappa", [1e-6, 0.3, 7.0, 24.9, 300.0])
def test_the_integral_has_its_closed_form(d: int, closed: Any, kappa: float) -> None:
    with mpmath.workdps(60):
        due = mpmath.log(closed(mpmath.mpf(kappa)))
    assert abs(log_integral(d, kappa).item() - due) <= 4 * EPS * max(abs(due), 1)


@each_dimension
def test_without_concentration_it_is_the_area(d: int) -> None:
    area = math.log(2) + d / 2 * math.log(math.pi) - math.lgamma(d / 2)
    assert log_integral(d, 1e-300).item() == pytest.approx(area, rel=1e-14)


@each_dimension
def test_it_is_finite_and_falls_over_the_whole_range_of_numbers(d: int) -> None:
    values = [log_integral(d, 10.0**power).item() for power in range(-300, 301, 4)]
    assert all(map(math.isfinite, values))
    assert all(after <= before + 4 * EPS * max(abs(before), 1) for before, after in itertools.pairwise(values))
    far = (d - 1) / 2 * (math.log(2 * math.pi) - 300 * math.log(10))
    assert values[-1] == pytest.approx(far, rel=1e-13)


@each_dimension
def test_a_learned_concentration_has_the_mean_cosine_for_gradient(d: int) -> None:
    for kappa in (1e-10, 1e-3, 0.7, 20.0, *joint(d)[:6], 300.0, 1e5):
        point = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
        (slope,) = torch.autograd.grad(log_integral(d, point), point)
        assert slope.item() == pytest.approx(float(mean_cosine(d, kappa) - 1), rel=1e-13)


@pytest.mark.parametrize("d", [2, 3, 51, 52, 784])
@pytest.mark.parametrize("kappa", [0.3, 20.0, 24.0, 400.0])
def test_second_derivatives_exist(d: int, kappa: float) -> None:
    point = torch.tensor(kappa, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradgradcheck(lambda kappa: log_integral(d, kappa), point)


# Directions.


def directions(d: int, count: int = 4) -> tuple[Tensor, Tensor]:
    """Random ones, and means at several angles to them: any, near, nearly the same, nearly opposite."""
    generator = torch.Generator().manual_seed(d)
    x, other = torch.randn(2, count, d, dtype=torch.float64, generator=generator)
    x = x / x.norm(dim=-1, keepdim=True)
    other = other / other.norm(dim=-1, keepdim=True)
    weight = torch.tensor([0.0, 1.0, 1e6, -30.0], dtype=torch.float64)[:count, None]
    mu = other + weight * x
    return x, mu / mu.norm(dim=-1, keepdim=True)


def exact(x: list[float], mu: list[float], kappa: float) -> tuple[Any, list[Any]]:
    """The nll of the directions of two vectors, and its gradient by the second, at forty digits."""
    with mpmath.workdps(40):
        square, size, dot = (mpmath.fdot(a, b) for a, b in ((x, x), (mu, mu), (x, mu)))
        length = mpmath.sqrt(square * size)
        slope = [-kappa * (a - dot / size * b) / length for a, b in zip(map(mpmath.mpf, x), map(mpmath.mpf, mu), strict=True)]
        return kappa * (1 - dot / length) + truth(len(x), kappa), slope


@pytest.mark.parametrize("d", [784, 4096])
@pytest.mark.parametrize("kappa", [1e-3, 50.0, 1e5])
def test_the_nll_of_long_vectors_and_its_gradient(d: int, kappa: float) -> None:
    x, mu = directions(d)
    point = mu.clone().requires_grad_()
    side = VonMisesFisher(kappa=kappa)
    value = side.nll(x, point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    for row in range(len(x)):
        due, moved = exact(x[row].tolist(), mu[row].tolist(), kappa)
        terms = max(abs(due), abs(truth(d, kappa)))
        assert abs(value[row].item() - due) <= 4 * EPS * terms
        size = mpmath.sqrt(mpmath.fsum(part**2 for part in moved))
        off = max(abs(found - part) for found, part in zip(slope[row].tolist(), moved, strict=True))
        assert off <= 6 * EPS * size, float(off / EPS / size)


@pytest.mark.parametrize("d", [2, 3, 784])
def test_lengths_do_not_matter(d: int) -> None:
    x, mu = directions(d)
    side = VonMisesFisher(kappa=7.0)
    for factor in (2.0**-900, 2.0**900):
        assert torch.equal(side.nll(x, factor * mu), side.nll(x, mu))
        assert torch.equal(side.admitted().nll_raw(factor * x, mu), side.nll(x, mu))
        assert (side.nll_raw(factor * x, mu) == math.inf).all()


@pytest.mark.parametrize("d", [2, 3, 50, 784])
@pytest.mark.parametrize("kappa", [0.5, 8.0, 3000.0])
def test_the_fitted_concentration_is_where_the_mean_cosine_is_that_of_the_data(d: int, kappa: float) -> None:
    cosine = mean_cosine(d, kappa)
    assert concentration(d, float(1 - cosine)) == pytest.approx(kappa, rel=1e-9)


@pytest.mark.parametrize(
    ("turn", "said"), [(0.0, "reconstructed exactly"), (math.pi, "no nearer than by chance"), (2.0, "no nearer than by chance")]
)
def test_a_concentration_that_none_is_best_is_said_in_a_sentence(turn: float, said: str) -> None:
    angle = torch.linspace(-3, 3, 7, dtype=torch.float64)

    def vectors(angle: Tensor) -> Tensor:
        return torch.stack([angle.cos(), angle.sin()], dim=-1)

    for refused in (
        lambda: VonMises.fit(angle, angle + turn),
        lambda: VonMisesFisher.fit(vectors(angle), vectors(angle + turn) if turn else vectors(angle)),
    ):
        with pytest.raises(ReconError, match=said) as caught:
            refused()
        assert caught.value.hint.endswith(".")
        assert caught.value.message.endswith(".")
