"""Bins of a Gaussian: those that are open or wide are computed apart, and as many terms of a series are taken as count."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon_cli.likelihoods.discretized_gaussian import DiscretizedGaussian
from recon_cli.numerics.cases import by_cases

NOISES = (0.3, 0.1, 0.02, 0.004, 1e-4)  # of 256 levels: all bins narrow but the open ones; some; none
DISTANCES = (0.0, 1e-9, 0.5, 1.0, 2.0, 5.0, 12.0, 60.0, 300.0)  # in units of scale


def grid(scale: float) -> tuple[Tensor, Tensor]:
    """Levels and means: at the ends and between, far apart and near."""
    x = torch.tensor([0, 1, 100, 254, 255], dtype=torch.float64) / 255
    distances = torch.tensor([sign * distance for distance in DISTANCES for sign in (-1, 1)], dtype=torch.float64)
    x, off = (part.reshape(-1) for part in torch.meshgrid(x, distances, indexing="ij"))
    return x, x + scale * off


def second(function: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
    """The derivative of the derivative, forward over reverse: elementwise."""
    first = torch.func.grad(lambda mu: function(mu).sum())
    return lambda mu: torch.func.jvp(first, (mu,), (torch.ones_like(mu),))[1]


@pytest.mark.parametrize("scale", NOISES)
def test_alone_together_and_where_nothing_can_be_asked_it_is_the_same(scale: float) -> None:
    x, mu = grid(scale)
    side = DiscretizedGaussian(scale=scale)
    for of in (side.nll, side.loss.values):
        for derivative in (
            lambda function: function,
            lambda function: torch.func.grad(lambda mu: function(mu).sum()),
            second,
        ):
            together = derivative(lambda mu, of=of: of(x, mu))(mu)
            alone = [derivative(lambda mu, of=of, k=k: of(x[k : k + 1], mu))(mu[k : k + 1]) for k in range(len(mu))]
            torch.testing.assert_close(together, torch.cat(alone), rtol=2e-14, atol=1e-13)
    asked = torch.func.vmap(lambda x, mu: side.nll(x, mu))(x.reshape(10, -1), mu.reshape(10, -1))
    torch.testing.assert_close(asked.reshape(-1), side.nll(x, mu), rtol=1e-15, atol=1e-15)


def test_noises_of_each_element_are_those_alone() -> None:
    scales = torch.tensor(NOISES, dtype=torch.float64)
    x, mu = torch.full((5,), 100 / 255, dtype=torch.float64), torch.full((5,), 0.4, dtype=torch.float64)

    def nll(scales: Tensor) -> Tensor:
        return DiscretizedGaussian().with_unchecked(scale=scales, admits=True).nll(x, mu).sum()

    value, slopes = torch.func.grad_and_value(nll)(scales)[::-1]
    each = [torch.func.grad_and_value(lambda s, k=k: DiscretizedGaussian().with_unchecked(scale=s, admits=True).nll(x[k], mu[k]))(
        scales[k]) for k in range(5)]  # fmt: skip
    torch.testing.assert_close(value, torch.stack([each[k][1] for k in range(5)]).sum(), rtol=1e-14, atol=0)
    torch.testing.assert_close(slopes, torch.stack([each[k][0] for k in range(5)]), rtol=1e-13, atol=0)


def test_only_the_rare_are_computed_apart() -> None:
    asked = []

    def of_rare(values: Tensor, number: Tensor | float) -> Tensor:
        asked.append(values.numel())
        return values * number

    values = torch.arange(12.0).reshape(3, 4)
    for rare, due in ((values > 9, [2]), (values > 99, []), (values >= 0, [12])):
        asked.clear()
        found = by_cases(rare, of_rare, lambda: -values, (values, 1.0), (2.0, 1.0))
        torch.testing.assert_close(found, torch.where(rare, 2 * values, -values))
        assert asked == due
