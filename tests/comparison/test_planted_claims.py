"""Claims that are wrong on purpose: refuted in every dtype, and the true ones hold in all of them."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from points import inside, mean

from recon_cli import compare, likelihoods
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Lattice
from recon_cli.identity.tensors import wide
from recon_cli.likelihoods.continuous_bernoulli import ContinuousBernoulli

DTYPES = ["bfloat16", "float16", "float32", "float64"]
NAMES = [name for name in likelihoods.names() if not bool((likelihoods.find(name)().gap(torch.full((1, 3), 0.3)) != 0).any())]


def made(name: str, dtype: str) -> tuple[Likelihood, torch.Tensor, torch.Tensor]:
    """A likelihood, data of its own and means, ordinary ones, as numbers of that dtype."""
    side = likelihoods.find(name)().admitted()  # numbers of two bytes are looked at before they are widened, by compare
    generator = torch.Generator().manual_seed(5)
    precision = getattr(torch, dtype)
    most = 1 if side.design and isinstance(side.support, Lattice) else 17
    some = [mean(side, where) for where in (0.21, 0.58, 0.83)] if side.sized_by else inside(side.domain)
    points = torch.tensor([point for point in some if side.sized_by or moderate(point, most)], dtype=torch.float64)
    mu = points[torch.randint(len(points), (300,), generator=generator)].to(precision)
    x = side.sample(wide(mu), generator).to(precision)
    good = side.support.contains(x)  # a positive draw may be 0 in two bytes
    return side, x[good], mu[good]


def moderate(point: Any, most: float) -> bool:
    """Whether a mean is one that every dtype has, away from the ends."""
    return all(0.04 <= abs(value) <= most for value in (point if isinstance(point, tuple) else (point,)))


def planted(side: Likelihood, **changes: Any) -> Likelihood:
    """The same with something of it changed."""
    kind = type(f"Planted{type(side).__name__}", (type(side),), changes)
    kind.name = side.name
    return kind(**side.parameters)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_true_claims_hold_and_planted_ones_do_not(name: str, dtype: str) -> None:
    side, x, mu = made(name, dtype)
    assert compare(x, mu, side, device="cpu", dtype=dtype).rows[0].holds

    def leaning(self: Any, x: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        nll = type(side).nll(side, x, mu)
        return nll + 0.05 * mu.square().reshape(*nll.shape, -1).mean(dim=-1)

    def as_it_is(self: Any, x: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
        return type(side).nll(side, x, mu)

    steep = planted(side, slope=property(lambda self: 1.01 * side.slope), nll=as_it_is)
    for wrong in (steep, planted(side, nll=leaning)):
        assert not compare(x, mu, wrong, device="cpu", dtype=dtype).rows[0].holds


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_gap_that_is_left_out_is_refuted(dtype: str) -> None:
    generator = torch.Generator().manual_seed(0)
    x, near = torch.rand(200, 20, generator=generator), 0.5 + 0.02 * torch.randn(200, 20, generator=generator)
    forgotten = planted(ContinuousBernoulli(), gap=Likelihood.gap)
    for mu in (near, torch.rand(200, 20, generator=generator).clamp(0.1, 0.9)):
        for side in (ContinuousBernoulli(), forgotten):
            (row,) = compare(x, mu, side, loss="bce", device="cpu", dtype=dtype).rows
            assert not row.holds
            assert not row.proportional
