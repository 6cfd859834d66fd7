"""A likelihood of residuals alone fits many events in cells as it fits them one by one, and says so truly."""

from __future__ import annotations

import math

import pytest
import torch

from recon_cli import likelihoods
from recon_cli.calibration import noise
from recon_cli.identity.regions import Lattice, check, first_of, violation
from recon_cli.identity.residuals import CELLS, residuals

KINDS = [kind for kind in map(likelihoods.find, likelihoods.names()) if kind().of_residual is not None]
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])


def events(count: int, grey: bool = False) -> tuple[torch.Tensor, torch.Tensor]:
    """Data and means whose residuals are of many sizes, on 256 levels where they are grey."""
    draw = torch.Generator().manual_seed(3)
    mu = torch.rand(count, generator=draw)
    wide = torch.randn(count, generator=draw) * 10 ** (-2 + torch.rand(count, generator=draw))
    x = (mu + wide).clamp(0, 1)
    return ((x * 255).round() / 255 if grey else x), mu


def test_the_families_that_say_so() -> None:
    names = {kind.name for kind in KINDS}
    assert names >= {"gaussian", "laplace", "student-t", "huber", "discretized-logistic"}
    assert not names & {"bernoulli", "poisson", "gamma", "beta", "heteroscedastic-gaussian", "log-normal"}


@each_kind
def test_its_nll_is_of_the_residual_alone(kind: type) -> None:
    likelihood = kind().admitted()
    grey = isinstance(likelihood.support, Lattice)
    x, mu = (part.double() for part in events(400, grey))
    apart = torch.stack([x == end for end in likelihood.of_residual]).any(0) if likelihood.of_residual else x != x
    place = torch.where(apart, x, 100 / 255 if grey else -0.7)
    torch.testing.assert_close(likelihood.nll(place, place - (x - mu)), likelihood.nll(x, mu), rtol=1e-10, atol=1e-12)


@each_kind
def test_a_fit_in_cells_is_that_of_every_event(kind: type, monkeypatch: pytest.MonkeyPatch) -> None:
    grey = isinstance(kind().support, Lattice)
    x, mu = (part.reshape(-1, 8).numpy() for part in events(4096, grey))
    found = []
    for many in (1 << 30, 0):
        monkeypatch.setattr(noise, "MANY", many)
        rows, left = noise.every_noise(x, lambda head: mu, False, lambda done, words: None, asked=[kind.name])
        assert left == ()
        found.append(rows[0])
    whole, cells = found
    assert cells.in_cells
    assert not whole.in_cells
    assert cells.nll == pytest.approx(whole.nll, rel=1e-7, abs=1e-7)
    assert cells.nll_at_unit == pytest.approx(whole.nll_at_unit, rel=1e-7)
    assert cells.bits_per_dimension == whole.bits_per_dimension or math.isclose(
        cells.bits_per_dimension, whole.bits_per_dimension, rel_tol=1e-6
    )
    if kind.name not in {"huber", "hyperbolic"}:  # near Laplace's limit their two numbers are decided by their ratio alone
        assert cells.parameters == pytest.approx(whole.parameters, rel=1e-4)


def test_number_mean_and_variance_are_kept() -> None:
    x, mu = events(1 << 12)
    ends = (0.0, 1.0)
    summed = residuals(x, mu, ends)
    assert summed is not None
    assert summed.sums.shape == (3, 3, CELLS)
    for wanted in ((), ends):
        data, means, count = summed.condensed(wanted, 0.5)
        off, exact = data - means, x.double() - mu.double()
        assert {*data.tolist()} == {0.5, *wanted}
        assert count.sum() == len(x)
        torch.testing.assert_close((count * off).sum(), exact.sum())
        torch.testing.assert_close((count * off**2).sum(), (exact**2).sum())
        torch.testing.assert_close((count * off.abs()).sum(), exact.abs().sum())


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 1e300])
def test_what_is_beyond_the_cells_is_not_summed_up(bad: float) -> None:
    x = torch.tensor([0.0, 1.0, bad, 0.3], dtype=torch.float64)
    assert residuals(x, torch.zeros_like(x)) is None


def test_what_lies_outside_is_counted_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    values = torch.rand(40, 5)
    values[7, 2] = values[30, 0] = 1.5
    region = likelihoods.find("continuous-bernoulli").support
    whole = violation(values, region)
    monkeypatch.setattr("recon_cli.identity.some.SOME", 8)
    assert violation(values, region) == whole
    assert (whole.outside, whole.events) == (2, 200)
    assert "(7, 2)" in whole.fault
    check(values.clamp(0, 1), region, "x", "it allows")
    assert first_of(values > 1) == (7, 2)
