"""Counts of several kinds and levels in an order, beside scipy: each vector of its own total, ratings as bins of a logistic."""

from __future__ import annotations

import numpy
import pytest
import scipy.stats
import torch

import recon_cli
from recon_cli.errors import ReconError
from recon_cli.identity.regions import Lattice
from recon_cli.likelihoods._grey_levels import levels
from recon_cli.likelihoods.categorical import Categorical
from recon_cli.likelihoods.multinomial import Multinomial
from recon_cli.likelihoods.ordinal import Ordinal

DRAWS = numpy.random.default_rng(5)
SHARES = DRAWS.dirichlet(numpy.full(20, 0.3), 200)
TOTALS = DRAWS.integers(0, 60, 200)
COUNTS = numpy.stack([DRAWS.multinomial(total, share) for total, share in zip(TOTALS, SHARES, strict=True)])


def test_each_vector_brings_its_own_total() -> None:
    found = recon_cli.compare(COUNTS, SHARES, "multinomial", device="cpu")
    (row,) = found.rows
    assert row.holds
    assert row.nll == pytest.approx(-scipy.stats.multinomial.logpmf(COUNTS, TOTALS, SHARES).mean(), rel=1e-12)
    assert row.offset < 0
    assert "different units" not in " ".join(found.notes)  # counts beside shares of their total are as they should be


def test_of_one_it_is_the_categorical_and_large_counts_keep_their_digits() -> None:
    hot, shares = torch.eye(3, dtype=torch.float64), torch.tensor(SHARES[:3, :3] / SHARES[:3, :3].sum(axis=1, keepdims=True))
    torch.testing.assert_close(Multinomial().nll(hot, shares), Categorical().nll(hot, shares), rtol=1e-15, atol=0)
    x, mu = torch.tensor([[3e12, 2e12, 5e12 + 7.0]], dtype=torch.float64), torch.tensor([[0.3, 0.2, 0.5]], dtype=torch.float64)
    assert Multinomial().nll(x, mu).item() == pytest.approx(30.018204326674827, rel=1e-14)  # by mpmath; its terms are 1e14


@pytest.mark.parametrize("x", [COUNTS + 0.5, -COUNTS, COUNTS / 10])
def test_what_is_no_count_is_refused(x: numpy.ndarray) -> None:
    with pytest.raises(ReconError, match="vectors of counts"):
        recon_cli.compare(x, SHARES, "multinomial", device="cpu")


def test_ratings_are_bins_of_a_logistic_and_the_end_ones_are_open() -> None:
    x, mu = numpy.arange(5.0), numpy.array([-1.0, 0.7, 2.2, 3.9, 9.0])
    cdf = scipy.stats.logistic(mu, 0.5).cdf
    chances = numpy.where(x < 4, cdf(x + 0.5), 1) - numpy.where(x > 0, cdf(x - 0.5), 0)
    assert Ordinal(scale=0.5).nll(x, mu).numpy() == pytest.approx(-numpy.log(chances), rel=1e-12)
    with pytest.raises(ReconError, match="the whole numbers from 0 to 4") as caught:
        recon_cli.compare(x + 1, mu, "ordinal", device="cpu")
    assert "ordinal:levels=6" in caught.value.hint


def test_all_values_are_looked_at_for_few_numbers_of_levels_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a million different values no number of levels is tried on more than some: it took 12 seconds."""
    asked: list[int] = []
    contains = Lattice.contains
    monkeypatch.setattr(Lattice, "contains", lambda self, values: asked.append(values.numel()) or contains(self, values))
    assert levels(torch.linspace(0, 1, 100_000, dtype=torch.float64) ** 2) is None
    assert sum(asked) < 100_000
    assert levels(torch.arange(17) / 16) == 17
    x = torch.arange(256.0) / 255
    x[77] += 1e-3  # one of many, and not among the few
    assert levels(x) is None


@pytest.mark.parametrize("kinds", [5, 40])
@pytest.mark.parametrize("share", [0.05, 0.9])
def test_of_few_words_and_of_many_every_vector_is_as_scipy_has_it(kinds: int, share: float) -> None:
    """Counts that are mostly zero are computed where they are not: to the last digits, with zeros among the means."""
    draws = numpy.random.default_rng(kinds)
    x = draws.poisson(3.0, (300, kinds)) * (draws.random((300, kinds)) < share) * 1.0
    x[7], x[8] = 0, 0
    x[8, 2] = 9.0
    mu = draws.dirichlet(numpy.ones(kinds), 300)
    mu[9], x[9], mu[9, :2], x[9, 0] = 0, 0, 0.5, 4
    nll, offset = Multinomial().nll(x, mu), Multinomial().offset(x)
    of_scipy = -scipy.stats.multinomial.logpmf(x, x.sum(-1), mu / mu.sum(-1, keepdims=True))
    assert nll.numpy() == pytest.approx(of_scipy, rel=1e-12, abs=1e-12)
    each = [Multinomial().nll(*pair).item() for pair in zip(x, mu, strict=True)]
    assert nll.numpy() == pytest.approx(numpy.stack(each), rel=1e-14)
    assert offset.numpy() == pytest.approx(numpy.stack([Multinomial().offset(each).item() for each in x]), rel=1e-14)


def test_what_is_no_number_or_has_no_chance_shows_among_few_words_too() -> None:
    x = torch.zeros(100, 8, dtype=torch.float64)
    x[:, 0] = 1
    mu = torch.full_like(x, 0.125)
    mu[3, 5], mu[4, 0], mu[4, 1] = torch.nan, 0, 0.25
    nll = Multinomial().nll(x, mu)
    assert nll[3].isnan()
    assert nll[4] == torch.inf
    assert nll.isfinite().sum() == 98
