"""Fitting on a sample first does not show: the optimum is that of all data, and so are the refusals."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity import fitting
from recon_cli.identity.fitting import Cost, Free

COUNT = 5 * fitting.SAMPLE + 64


def data(word: str) -> tuple[Tensor, Tensor]:
    """A likelihood's draws as images of 16 columns, the noise of each column of its own size."""
    mu = torch.linspace(0.2, 0.8, COUNT, dtype=torch.float64).reshape(-1, 4, 16)
    x = likelihoods.parse(word).sample(mu, torch.Generator().manual_seed(5))
    return (x, mu) if likelihoods.parse(word).discrete else (mu + (x - mu) * torch.linspace(0.5, 1.5, 16), mu)


WORDS = [
    "student-t:df=5,scale=0.3",
    "huber:scale=0.2,delta=1.3",
    "logistic:scale=0.1",
    "generalized-gaussian:scale=0.2,power=1.4",
]
WORDS += ["asymmetric-laplace:scale=0.1,quantile=0.3"]
SLOW = [pytest.param("negative-binomial:dispersion=2", marks=pytest.mark.trained)]


@pytest.mark.parametrize("word", WORDS + SLOW)
def test_many_elements_end_where_their_own_slope_is_zero(word: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x, mu = data(word)
    kind, calls, call = type(likelihoods.parse(word)), [], Cost.__call__

    def counted(cost: Cost) -> Tensor:
        calls.append(cost.count)
        return call(cost)

    monkeypatch.setattr(Cost, "__call__", counted)
    best = kind.fit(x, mu)
    assert 0 < calls.count(COUNT) < 10 < calls.count(fitting.SAMPLE)
    cost = Cost(Free(best, torch.float64), x.flatten(), mu.flatten())
    assert cost.slope(cost.here).abs().max() < 1e-12
    assert (torch.linalg.eigvalsh(cost.hessian(1e-4)) > 0).all()
    assert (torch.linalg.solve(cost.hessian(1e-4), cost.slope(cost.here)).abs() < 1e-10).all()


@pytest.mark.parametrize("count", [512, 3 * fitting.SAMPLE // 32])
def test_a_search_ends_where_its_numbers_are_none(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of which torch's L-BFGS takes no notice: it would go on to its last step, each as long as one that searches."""
    numbers, call = [], Cost.__call__

    def noted(cost: Cost) -> Tensor:
        numbers.append(cost.here)
        return call(cost)

    monkeypatch.setattr(Cost, "__call__", noted)
    monkeypatch.setattr(fitting, "SAMPLE", fitting.SAMPLE // 128)
    x = torch.where(torch.arange(count) % 4 == 0, 1.0, 0.0) * torch.linspace(0.1, 1, count)
    with pytest.raises(ReconError, match="grows without end"):
        likelihoods.find("generalized-gaussian").fit(x, torch.zeros(count))
    lost = [bool(each.isnan().all()) for each in numbers]
    assert any(lost)
    assert sum(lost) <= 2  # once of the sample, once of all


def test_the_last_steps_evaluate_nothing_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """Newton's, from a search that has all but ended: a Hessian by differences, and then until a step is good to rounding."""
    x = torch.linspace(-1, 1, 101, dtype=torch.float64) ** 3
    noise = Free(likelihoods.parse("logistic:scale=0.2"), torch.float64)
    fitting.descend(noise, x, torch.zeros_like(x))
    cost, numbers, call = Cost(noise, x, torch.zeros_like(x)), [], Cost.__call__
    cost.move(cost.here + 1e-6)

    def noted(cost: Cost) -> Tensor:
        numbers.append(cost.here.item())
        return call(cost)

    monkeypatch.setattr(Cost, "__call__", noted)
    fitting.polish(cost)
    assert len(numbers) == len({*numbers}) <= 2 + 2
    assert cost.slope(cost.here).abs() < 1e-15


def test_many_elements_end_at_scipy_s_optimum() -> None:
    optimize, stats = pytest.importorskip("scipy.optimize"), pytest.importorskip("scipy.stats")
    x, mu = data(WORDS[2])
    off = (x - mu).numpy().ravel()
    best = optimize.minimize_scalar(lambda s: -stats.logistic.logpdf(off, 0, s).mean(), bracket=(0.05, 0.2), tol=1e-10)
    found = likelihoods.find("logistic").fit(x, mu)
    assert found.nll(x, mu).mean().item() == pytest.approx(best.fun, abs=1e-12)
    assert found.scale == pytest.approx(best.x, rel=1e-7)


def test_what_no_sample_shows_is_fitted_on_all() -> None:
    x, mu = data(WORDS[0])
    x, mu = x.flatten(), mu.flatten()
    places = (torch.arange(fitting.SAMPLE, dtype=torch.float64) * fitting.GOLDEN % 1 * COUNT).long()
    x[places] = mu[places] + (x[places] - mu[places]) / 50
    best = likelihoods.find("student-t").fit(x, mu)
    cost = Cost(Free(best, torch.float64), x, mu)
    assert cost.slope(cost.here).abs().max() < 1e-12


@pytest.mark.slow
def test_many_values_reconstructed_exactly_are_refused() -> None:
    x, mu = data(WORDS[0])
    x[::2] = mu[::2]
    with pytest.raises(ReconError, match="grows without end"):
        likelihoods.find("student-t").fit(x, mu)
