"""A target that is made of several arguments, as of a flow: the family about it, and what it is."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from recon_cli import audit

THREE, SAMPLES = "recon,target,target", "recon,target,target,spread,spread"
GAUSSIAN = "L = (1/(B·D))·Σ(x̂−x)²"


def of_samples(v: Tensor, x: Tensor, eps: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    return F.mse_loss(v, alpha.view(-1, 1) * eps - sigma.view(-1, 1) * x)


# fmt: off
@pytest.mark.parametrize(("loss", "args", "formula", "words"), [
    (lambda v, x0, x1: ((v - (x1 - x0)) ** 2).mean(), "recon,target,spread", GAUSSIAN, "x1 - x0."),
    pytest.param(lambda v, x0, x1: ((v - (x1 - x0)) ** 2).mean(), THREE, GAUSSIAN, "x1 - x0.", marks=pytest.mark.slow),
    (lambda v, x0, x1: (v - x1 + 0.99 * x0).abs().sum(), THREE, "L = Σ|x̂−x|", "x1 - 0.99 x0."),
    pytest.param(lambda v, x0, x1: F.huber_loss(v, x1 - x0, delta=0.3),
        THREE, "L = (1/(B·D))·Σ huber(x̂−x)", "x1 - x0.", marks=pytest.mark.slow),
    pytest.param(lambda v, y, z: 0.3 * F.mse_loss(v, y) + 0.7 * F.mse_loss(v, z),
        THREE, GAUSSIAN, "0.3 y + 0.7 z.", marks=pytest.mark.slow),
    pytest.param(lambda v, y, z: F.mse_loss(v, y * z, reduction="sum"),
        THREE, "L = Σ(x̂−x)²", "a function of y and z.", marks=pytest.mark.slow),
    (lambda q, r, q_next: F.mse_loss(q, r + 0.9 * q_next + 2), THREE, GAUSSIAN, "r + 0.9 q_next + 2."),
    (of_samples, SAMPLES, GAUSSIAN, "a function of x, eps, alpha and sigma, where sigma is given."),
    (lambda s, eps, std: ((s * std[:, None] + eps) ** 2).mean(), "recon,target,spread", "L = (1/(B·D))·Σ w·(x̂−x)²",
     "a function of eps and std, where std is given. Its elements have weights w, a function of std"),
])  # fmt: skip
def test_a_target_of_several_arguments_is_what_the_pull_vanishes_at(
    loss: Callable[..., Any], args: str, formula: str, words: str
) -> None:
    found = audit(loss, (5,), args=args)
    assert (found.verdict, found.defects, found.formula) == ("reconstruction-only", (), formula)
    assert f"What {found.rows[0].term} is compared with is {words}" in found.sentence
    assert "spread" not in [role for _, role, _ in found.roles]


@pytest.mark.parametrize("loss", [
    lambda v, x0, x1: ((v - (x1 - x0).mean(0)) ** 2).mean(),
    lambda v, x0, x1: ((v - (x1 - x0.roll(1, 0))) ** 2).mean(),
    pytest.param(lambda v, x0, x1: (v**2).mean() + ((x1 - x0) ** 2).mean(), marks=pytest.mark.slow),
    pytest.param(lambda v, x0, x1: torch.log1p((v - x1 + x0) ** 2).mean(), marks=pytest.mark.slow),
    pytest.param(lambda v, x0, x1: (((v - x1 * x0) / x0) ** 2).mean(), marks=pytest.mark.slow),
])  # fmt: skip
def test_what_is_no_family_about_a_target_of_several_does_not_pass(loss: Callable[..., Any]) -> None:
    assert not audit(loss, (5,), args=THREE).holds


def flow(model_out, x_1, x_0):
    return (model_out - (x_1 - x_0)).square().mean()


def velocity(pred_v, x_start, noise, sqrt_ac, sqrt_1mac):
    return (pred_v - (sqrt_ac * noise - sqrt_1mac * x_start)).square().mean()


@pytest.mark.parametrize("loss", [flow, velocity])
def test_a_named_prediction_is_it_where_two_are_named_data(loss: Any) -> None:
    report = audit(loss)
    assert (report.rows[0].family, report.verdict) == ("gaussian", "reconstruction-only")
    assert [key for key, role, _ in report.roles if role == "recon"] == [loss.__code__.co_varnames[0]]


def of_a_library(recons, sample, posterior_mean, posterior_logvar):
    kl = 0.5 * (posterior_mean**2 + posterior_logvar.exp() - 1 - posterior_logvar).sum()
    return 0.5 * (recons - sample).square().sum() + kl


def weighed_samples(pred, target, sample_w):
    return (sample_w * (pred - target) ** 2).sum()


def test_a_sample_that_is_compared_is_data_and_weights_of_samples_are_a_mask() -> None:
    assert audit(of_a_library).verdict == "elbo"
    assert ("sample_w", "mask") in [(key, role) for key, role, _ in audit(weighed_samples).roles]
