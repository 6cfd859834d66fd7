"""A term in the reconstruction alone, which couples its elements, is no part of the likelihood beside it, and is named."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F
from torch import Tensor

from recon_cli import audit

SUMS: dict[str, Any] = {"reduction": "sum"}


def variation(r: Tensor, power: int = 1) -> Tensor:
    return (r[..., 1:] - r[..., :-1]).abs().pow(power).sum() + (r[..., 1:, :] - r[..., :-1, :]).abs().pow(power).sum()


def isotropic(r: Tensor) -> Tensor:
    across, down = r[..., 1:, :-1] - r[..., :-1, :-1], r[..., :-1, 1:] - r[..., :-1, :-1]
    return (across**2 + down**2 + 1e-8).sqrt().sum()


# fmt: off
@pytest.mark.parametrize(("loss", "family", "formula"), [
    (lambda recon, x: F.mse_loss(recon, x, **SUMS) + 0.1 * variation(recon), "gaussian", "L = Σ(x̂−x)² + S(recon)"),
    pytest.param(lambda recon, x: (recon - x).abs().mean() + 0.1 * variation(recon, 2),
        "laplace", "L = (1/(B·D))·Σ|x̂−x| + S(recon)", marks=pytest.mark.slow),
    (lambda recon, x: F.binary_cross_entropy(recon, x, **SUMS) + isotropic(recon), "bernoulli", "L = CE + S(recon)"),
    pytest.param(lambda recon, x: F.binary_cross_entropy_with_logits(recon, x, **SUMS) + variation(recon),
        "bernoulli", "L = CE + S(recon)", marks=pytest.mark.slow),
])  # fmt: skip
def test_a_prior_of_the_reconstruction_is_a_term_of_its_own(loss: Callable[..., Any], family: str, formula: str) -> None:
    found = audit(loss, (1, 4, 4))
    assert (found.rows[0].family, found.verdict, found.defects, found.formula) == (family, "unrecognised", (), formula)
    assert "the term in recon: it is of recon alone and couples its elements" in found.sentence


def test_its_beta_is_that_of_the_likelihood() -> None:
    def loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        kl = 0.5 * (mu**2 + logvar.exp() - 1 - logvar).sum()
        return 0.5 * F.mse_loss(recon, x, reduction="sum") + 0.1 * (recon[..., 1:] - recon[..., :-1]).abs().sum() + kl

    found = audit(loss)  # of images, whose rows were taken for classes
    assert (found.rows[0].family, found.verdict) == ("gaussian", "unrecognised")
    assert found.rows[0].beta == pytest.approx(1)


@pytest.mark.parametrize("loss", [
    lambda recon, x: F.mse_loss(recon, x, **SUMS) + variation(recon - x),
    lambda recon, x: F.mse_loss(recon, x, **SUMS) + 10 * (recon.mean() - x.mean()) ** 2,
    lambda recon, x: (recon - x).square().mean() + variation(recon) * x.mean(),
])
def test_what_couples_the_data_is_no_prior(loss: Callable[..., Any]) -> None:
    assert audit(loss, (1, 4, 4)).verdict == "not-factorised"
