"""A norm of what is left is one fact with one verdict, whatever it is taken along and in whatever layout."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import recon_cli
from recon_cli import audit

# a norm, and what it is of
NORMS: dict[str, tuple[Any, str]] = {
    "of all": (lambda y, x: torch.norm(y - x), "the whole batch"),
    "of rows": (lambda y, x: (y - x).flatten(1).norm(dim=1).mean(), "each sample"),
    "along an axis": (lambda y, x: (y - x).norm(dim=1).mean(), ""),
    "root of a mean": (lambda y, x: F.mse_loss(y, x).sqrt(), "the whole batch"),
    "root of a mean of each": (lambda y, x: (y - x).square().flatten(1).mean(1).sqrt().mean(), "each sample"),
    "with an eps": (lambda y, x: (F.mse_loss(y, x) + 1e-8).sqrt(), "the whole batch"),
    "pairwise": (lambda y, x: F.pairwise_distance(y.flatten(1), x.flatten(1)).sum(), "each sample"),
    "dist": (lambda y, x: torch.dist(y, x), "the whole batch"),
    "weighed": (lambda y, x: 7 * (y - x).flatten(1).norm(dim=1).sum(), "each sample"),
}
SHAPES = [(6,), (1, 4, 5), (3, 4, 5)]


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if i == 2 else [pytest.mark.hostile]) for i, name in enumerate(NORMS)]
)
def test_a_norm_is_one_in_every_layout(name: str) -> None:
    of, what = NORMS[name]
    for shape in SHAPES:
        found = audit(of, shape)
        assert (found.verdict, found.defects) == ("not-factorised", ("not-additive",)), shape
        assert f"the Euclidean norm of {what}" in found.sentence


def test_beside_a_kl_too() -> None:
    def loss(y: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return (y - x).flatten(1).norm(dim=1).sum() + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()

    assert audit(loss, (6,), 3).verdict == "not-factorised"


def test_what_looks_like_a_norm_and_is_none() -> None:
    assert audit(lambda y, x: (y - x).norm(p=1), (6,)).rows[0].family == "laplace"
    assert audit(lambda y, x: (y - x).norm() ** 2, (6,)).rows[0].family == "gaussian"
    found = audit(lambda y, x: 12 * (y - x).square().mean().log(), (6,), batch=4)  # a Gaussian at its best sigma
    assert found.rows[0].family == "gaussian"


def test_in_a_step() -> None:
    with recon_cli.watch() as step:
        model, x = nn.Linear(6, 6), torch.rand(5, 6)
        (model(x) - x).norm(dim=1).mean().backward()
    assert step.audit().verdict == "not-factorised"
    assert "each sample" in step.audit().sentence


def log_weights(y: Tensor, x: Tensor, z: Tensor) -> Tensor:
    return -0.5 * (y - x).square().sum(-1) - 0.5 * z.square().sum(-1)


@pytest.mark.parametrize("loss", [
    lambda log_w: -(log_w.logsumexp(0) - torch.tensor(len(log_w)).log()).mean(),
    lambda log_px, log_pz, log_qz: -(log_px + log_pz - log_qz).logsumexp(0).mean(),
    lambda log_weights: -(log_weights.softmax(0).detach() * log_weights).sum(0).mean(),
    lambda y, x, z: -log_weights(y, x, z).logsumexp(0),
])  # fmt: skip
def test_an_importance_weighted_bound_is_said_to_be_one(loss: Any) -> None:
    found = audit(loss, (6,), 3, batch=5)
    assert (found.verdict, found.holds, found.defects) == ("unrecognised", False, ())
    assert "an importance-weighted bound of 5 samples" in found.sentence


def test_an_importance_weighted_bound_in_a_step() -> None:
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(6, 6), nn.Linear(3, 6), torch.rand(5, 6)
        mu, logvar = encoder(x).chunk(2, 1)
        z = torch.distributions.Normal(mu, (logvar / 2).exp()).rsample((7,))
        log_q = torch.distributions.Normal(mu, (logvar / 2).exp()).log_prob(z).sum(-1)
        (-(log_weights(decoder(z), x, z) - log_q).logsumexp(0).mean()).backward()
    assert step.audit().verdict == "unrecognised"
    assert "an importance-weighted bound of 7 samples" in step.audit().sentence
