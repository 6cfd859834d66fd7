"""Columns of several kinds in one reconstruction are a product of likelihoods, of one beta."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from recon_cli.auditing import audit

NOISE = torch.tensor([0.1, 0.3])


def kl(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def classes(recon: Tensor, x: Tensor) -> Tensor:
    return -(x * F.log_softmax(recon, 1)).sum()


def mixed(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    real = (0.5 * ((x[:, :2] - recon[:, :2]) / NOISE) ** 2 + torch.log(NOISE)).sum()
    return (2 * (real + classes(recon[:, 2:], x[:, 2:])) + kl(mu, logvar)) / len(x)


def two_of_classes(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    both = classes(recon[:, :3], x[:, :3]) + classes(recon[:, 3:7], x[:, 3:7])
    return both + 3 * (recon[:, 7:] - x[:, 7:]).abs().sum() + kl(mu, logvar)


def coins(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    flips = F.binary_cross_entropy_with_logits(recon[:, 3:], x[:, 3:], reduction="sum")
    return classes(recon[:, :3], x[:, :3]) + flips + kl(mu, logvar)


def unlike(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return 2 * classes(recon[:, :3], x[:, :3]) + classes(recon[:, 3:], x[:, 3:]) + kl(mu, logvar)


def shifted(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return classes(recon[:, :3], x[:, :3].roll(1, 1)) + 0.5 * (recon[:, 3:] - x[:, 3:]).square().sum() + kl(mu, logvar)


def averaged(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
    return (recon[:, :4].mean(1) - x[:, :4].mean(1)).square().sum() + (recon[:, 4:] - x[:, 4:]).square().sum() + kl(mu, logvar)


@pytest.mark.parametrize(("loss", "width", "family", "beta"), [
    (mixed, 5, "categorical + gaussian", 0.5),
    (two_of_classes, 9, "categorical + laplace", 1.0),
    (coins, 6, "bernoulli + categorical", 1.0),
])  # fmt: skip
def test_blocks_are_recognised_and_have_one_beta(loss: Any, width: int, family: str, beta: float) -> None:
    found = audit(loss, (width,), 3)
    (row,) = found.rows
    assert (row.family, row.verdict) == (family, "elbo" if beta == 1 else "beta-elbo")
    assert row.beta == pytest.approx(beta, rel=1e-9)
    assert found.defects == ()
    assert any("weigh differently" in note for note in found.notes) == (loss is mixed)


@pytest.mark.parametrize(("loss", "width"), [(unlike, 7), (averaged, 8), (shifted, 6)])
def test_what_is_no_product_of_one_beta_does_not_pass(loss: Any, width: int) -> None:
    assert not audit(loss, (width,), 3).holds
