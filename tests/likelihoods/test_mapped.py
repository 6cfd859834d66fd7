"""Mapped over rows by ``torch.func.vmap``, data or means or both, a formula gives what it gives of each, and no warning."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import points
import pytest
import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods._by_decoder import by_network

SIDES = [likelihoods.parse(name) for name in likelihoods.names()] + [by_network(likelihoods.parse("student-t"))]


@pytest.fixture(autouse=True)
def warned_always() -> Iterator[None]:
    """Torch warns of each use: of its own accord of the first in the process alone, whichever test that is in."""
    before = torch.is_warn_always_enabled()
    torch.set_warn_always(True)
    yield
    torch.set_warn_always(before)


@pytest.mark.parametrize("side", SIDES, ids=str)
def test_it_is_the_same_of_each_row(side: Likelihood) -> None:
    x, mu = (part.reshape(2, 2, *part.shape[1:]) for part in points.ordinary(side))
    losses = [loss for loss in (side.loss, side.raw_loss, *side.losses) if loss is not None]

    def all_of_it(x: Tensor, mu: Tensor) -> Tensor:
        raw = side.nll_raw(x, side.link.forward(mu)).sum()
        return raw + side.nll(x, mu).sum() + sum(loss(x, loss.link.forward(mu)).sum() for loss in losses)

    derivative = torch.func.grad(all_of_it, argnums=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "An output with one or more elements was resized")  # of torch's own huber_loss
        for dims in ((0, 0), (0, None), (None, 0)):
            rows = (x if dims[0] == 0 else x[0], mu if dims[1] == 0 else mu[0])
            for function in (all_of_it, derivative):
                due = torch.stack(
                    [function(*(part[i] if dim == 0 else part for part, dim in zip(rows, dims, strict=True))) for i in range(2)]
                )
                torch.testing.assert_close(torch.func.vmap(function, in_dims=dims)(*rows), due, rtol=1e-12, atol=1e-12)
