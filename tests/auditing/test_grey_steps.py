"""Squared error on grey levels in a live step: the Gaussian, its sigma in grey levels and in units of their range."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recon_cli
from recon_cli.auditing.result import Audit

# a loss of the raw output on 0 to 255, its family, and the mean that it is of
LOSSES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], str, str]] = {
    "255 sigmoid": (lambda o, x: 0.5 * (255 * o.sigmoid() - x).square().sum(), "gaussian", "255·sigmoid(r)"),
    "tanh": (lambda o, x: 0.5 * (127.5 * (o.tanh() + 1) - x).square().sum(), "gaussian", "127.5·(tanh(r)+1)"),
    "absolute": (lambda o, x: F.l1_loss(255 * o.sigmoid(), x, reduction="sum"), "laplace", "255·sigmoid(r)"),
    "raw": (lambda o, x: 0.5 * (o - x).square().sum(), "gaussian", ""),
    "sigmoid and 255 times": (lambda o, x: 0.5 * (o.sigmoid() * 255 - x).square().sum(), "gaussian", "255·sigmoid(r)"),
}


def audited(of: Callable[[Tensor, Tensor], Tensor], top: int = 255, low: float = 0.0) -> Audit:
    torch.manual_seed(0)
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(6, 8), nn.Linear(4, 6), torch.randint(0, top + 1, (5, 6)).float() + low
        mu, logvar = encoder(x / top).chunk(2, 1)
        out = decoder(mu + torch.randn_like(mu) * (logvar / 2).exp())
        (of(out, x) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()).backward()
    return step.audit()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if i < 1 else [pytest.mark.hostile]) for i, name in enumerate(LOSSES)]
)
def test_grey_levels_in_a_step(name: str) -> None:
    of, family, mean = LOSSES[name]
    found = audited(of)
    assert (found.verdict, found.rows[0].family, found.rows[0].sigma) == ("elbo", family, pytest.approx(1))
    assert f"whose mean is {mean}" in found.sentence or not mean
    assert any("= 1 is in grey levels, of 0 to 255: in units of that range it is 0.00392157" in note for note in found.notes)


# a loss on levels up to a number, from a number up: its family and the mean
RANGES: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int, float, str, str]] = {
    "4 bits": (lambda o, x: 0.5 * (15 * o.sigmoid() - x).square().sum(), 15, 0, "gaussian", "15·sigmoid(r)"),
    "16 bits": (lambda o, x: F.l1_loss(65535 * o.sigmoid(), x, reduction="sum"), 65535, 0, "laplace", "65535·sigmoid(r)"),
    "both signs": (lambda o, x: 0.5 * (127.5 * o.tanh() - x).square().sum(), 255, -127.5, "gaussian", "127.5·tanh(r)"),
    "3 bits": (lambda o, x: 0.5 * (7 * (o.tanh() + 1) / 2 - x).square().sum(), 7, 0, "gaussian", "3.5·tanh(r) + 3.5"),
    "percent": (lambda o, x: F.l1_loss(100 * o.sigmoid(), x, reduction="sum"), 100, 0, "laplace", "100·sigmoid(r)"),
    "bins": (lambda o, x: 0.5 * (256 * o.sigmoid() - 0.5 - x).square().sum(), 255, 0, "gaussian", "256·sigmoid(r) - 0.5"),
    "softplus": (lambda o, x: 0.5 * (20 * F.softplus(o) - x).square().sum(), 63, 0, "gaussian", "20·softplus(r)"),
    "12 bits": (lambda o, x: 0.5 * (4095 * o.sigmoid() - x).square().sum(), 4095, 0, "gaussian", "4095·sigmoid(r)"),
    "counts": (
        lambda o, x: F.poisson_nll_loss(15 * o.sigmoid(), x, log_input=False, reduction="sum"), 15, 0, "poisson", "15·sigmoid(r)"
    ),
    "raw": (lambda o, x: 0.5 * (o - x).square().sum(), 15, 0, "gaussian", ""),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.hostile] * (i > 2)) for i, n in enumerate(RANGES)])
def test_levels_of_any_range_in_a_step(name: str) -> None:
    of, top, low, family, mean = RANGES[name]
    found = audited(of, top, low)
    assert (found.verdict, found.rows[0].family) == ("elbo", family)
    assert found.rows[0].tradeoff == pytest.approx(1)
    assert f"whose mean is {mean}" in found.sentence or not mean
