"""Data of few values, or in cells, and means in cells stand for every event: to what the wider cells show, and no further."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from recon_cli import likelihoods
from recon_cli.calibration import noise
from recon_cli.calibration.many import Condensed, ManyEvents
from recon_cli.identity.joint import Axis, joint, levels
from recon_cli.identity.regions import POSITIVE, REAL, SHARE, UNIT, violation

DRAW = torch.Generator().manual_seed(5)
MEANS = torch.rand(512, 64, generator=DRAW)
DATA = {
    "grey": (torch.bernoulli(MEANS, generator=DRAW) * torch.rand(512, 64, generator=DRAW) * 255).round() / 255,
    "count": torch.poisson((5 * MEANS + 0.1) * torch.rand(512, 64, generator=DRAW) * 2, generator=DRAW),
    "positive": (5 * MEANS + 0.1) * (0.3 * torch.randn(512, 64, generator=DRAW)).exp(),
}
KINDS = {
    "continuous-bernoulli": ("grey", MEANS.clamp(1e-5, 1 - 1e-5)),
    "exponential": ("grey", MEANS + 0.1),
    "poisson": ("count", 5 * MEANS + 0.1),
    "negative-binomial": ("count", 5 * MEANS + 0.1),
    "gamma": ("positive", 5 * MEANS + 0.1),
    "log-normal": ("positive", 5 * MEANS + 0.1),
}


@pytest.mark.parametrize("name", KINDS)
def test_a_fit_in_cells_is_that_of_every_event(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    kind, means = KINDS[name]
    results = []
    for many in (1 << 30, 0):
        monkeypatch.setattr(noise, "MANY", many)
        monkeypatch.setattr("recon_cli.identity.joint.MOST", 1 << 22)
        monkeypatch.setattr("recon_cli.identity.joint.FULL", 0)
        rows, left = noise.every_noise(
            DATA[kind].numpy(), lambda head: means.numpy(), False, lambda done, words: None, asked=[name]
        )
        assert left == ()
        results.append(rows[0])
    whole, cells = results
    assert (whole.in_cells, cells.in_cells) == ("", "both" if kind == "positive" else "means")
    assert cells.nll == pytest.approx(whole.nll, rel=1e-6, abs=64e-7)
    assert cells.nll_at_unit == pytest.approx(whole.nll_at_unit, rel=1e-6, abs=64e-7)
    assert cells.parameters == pytest.approx(whole.parameters, rel=1e-3)


def test_number_sums_and_products_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recon_cli.identity.joint.FULL", 0)
    x, mu = 1 + 2 * MEANS.double().square(), MEANS.double() + 1
    sums = joint(x.float(), mu.float(), None, POSITIVE, POSITIVE, False)
    assert sums is not None
    for some, means, count in (sums.condensed(), sums.coarser().condensed()):
        assert count.sum() == x.numel()
        assert bool((some > 0).all() & (means > 0).all())
        for got, exact in ((some, x), (means, mu), (some * means, x * mu), (some**2, x**2), (means**2, mu**2)):
            torch.testing.assert_close((count * got).sum(), exact.sum(), rtol=1e-6, atol=0.0)


def test_both_ends_keep_their_digits() -> None:
    """0 and 1, and what is next to them, are counted from the nearer end: 1 is no 0, nor is -0 a 1."""
    mu = torch.tensor([0.0, -0.0, 1.0, 1 - 2.0**-24, 2.0**-140, 0.5, 0.25]).repeat(8)
    axis = Axis(UNIT, 6)
    taken, moved = axis.used(mu, None)
    cell, away = axis.cells(mu)
    end = axis.ends(taken)[axis.places(taken)[cell].long()]
    assert moved == 0
    assert torch.equal(end + away.double(), mu.double())
    assert torch.equal(end, (mu > 0.5).double())
    moved = Axis(SHARE, 6).used(mu, SHARE)
    assert moved[1] == 5 * 8


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf, 1e300])
def test_what_is_not_finite_is_not_summed_up(bad: float) -> None:
    mu = torch.tensor([0.1, bad] * 32, dtype=torch.float64)
    assert joint(torch.ones(64), mu, levels(torch.ones(64)), REAL, REAL, False) is None
    assert levels(torch.tensor([1.0, math.nan])) is None


@pytest.mark.parametrize("x", [torch.tensor([3, 0, 3, 255], dtype=torch.uint8), torch.tensor([0.0, -0.0, 0.5, 0.5 + 2**-20])])
def test_levels(x: torch.Tensor) -> None:
    known = levels(x)
    assert known is not None
    assert known.counts.sum() == x.numel()
    assert torch.equal(known.values[known.places(x).long()], x)
    assert levels(torch.rand(5000)) is None


@pytest.mark.parametrize(
    "region", [UNIT, SHARE, POSITIVE, likelihoods.find("poisson").support, likelihoods.find("bernoulli").support]
)
def test_levels_say_what_lies_outside_as_every_value_does(region: object) -> None:
    x = DATA["count"]
    many = ManyEvents(x, x)
    assert many.levels is not None
    assert many.violation(x, region) == violation(x, region)


def test_cells_that_are_too_wide_are_not_believed() -> None:
    """Where an nll changes within a hundredth of a cell, wider cells give another."""
    mu = 69 + 3 * torch.rand(4096, 4, generator=DRAW)
    few = ManyEvents(torch.full_like(mu, 70), mu).condensed(likelihoods.find("ordinal")(levels=100), False)
    assert isinstance(few, Condensed)
    near = [few.is_near(partial(noise.each_event, likelihoods.find("ordinal")(levels=100, scale=scale))) for scale in (9, 0.01)]
    assert near == [True, False]
