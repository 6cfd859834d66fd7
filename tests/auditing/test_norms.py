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


def rows(y: Tensor, x: Tensor) -> Tensor:
    return -0.5 * (y - x).square().sum(-1)


def of_bits(y: Tensor, x: Tensor) -> Tensor:
    return -F.binary_cross_entropy_with_logits(y, x, reduction="none").sum(-1)


# of 4 samples of each of two, of 8 in all, or of a sample's own four of two numbers each
LAYOUTS: dict[str, tuple[Any, Any]] = {
    "B k, D": (lambda recon, x: -rows(recon, x).view(-1, 4).logsumexp(1).mean(), (6,)),
    "k B, D": (lambda recon, x: -of_bits(recon, x).view(4, -1).logsumexp(0).mean(), (6,)),
    "B, k, D": (lambda recon, x: -rows(recon, x).logsumexp(1).mean(), {"recon": (4, 6), "x": (4, 6)}),
    "one x": (lambda recon, x: -rows(recon, x[:, None]).logsumexp(1).mean(), {"recon": (4, 6), "x": (6,)}),
    "B, k": (lambda log_w: -log_w.view(-1, 4).logsumexp(1).mean(), (4,)),
    "shares": (
        lambda recon, x: -F.binary_cross_entropy(recon, x, reduction="none").sum(-1).neg().view(-1, 4).logsumexp(1).sum(), (6,),
    ),
    "by hand": (lambda recon, x: -rows(recon, x).view(-1, 4).exp().mean(1).log().sum(), (6,)),
    "and a KL": (
        lambda recon, x, mu, logvar, z: -(
            rows(recon, x) - 0.5 * z.square().sum(-1) + 0.5 * ((z - mu) ** 2 / logvar.exp() + logvar).sum(-1)
        ).view(-1, 4).logsumexp(1).mean(), (6,),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.hostile] * (i > 2)) for i, n in enumerate(LAYOUTS)])
def test_a_bound_is_of_the_samples_that_are_weighed_beside_one_another_whatever_the_layout(name: str) -> None:
    of, shape = LAYOUTS[name]
    found = audit(of, shape, 3, batch=8)
    assert (found.verdict, found.holds, found.defects) == ("unrecognised", False, ())
    assert "an importance-weighted bound of 4 samples" in found.sentence
    assert found.formula == "L = Σ −log mean w"


@pytest.mark.parametrize("layout", ["k, B, D", pytest.param("B, k, D", marks=pytest.mark.hostile), "by hand"])
def test_an_importance_weighted_bound_in_a_step_of_any_layout(layout: str) -> None:
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(6, 6), nn.Linear(3, 6), torch.rand(5, 6)
        mu, logvar = (each[:, None] if layout == "B, k, D" else each for each in encoder(x).chunk(2, 1))
        q = torch.distributions.Normal(mu, (logvar / 2).exp())
        z = mu + q.scale * torch.randn((5, 7, 3) if layout == "B, k, D" else (7, 5, 3))
        w = log_weights(decoder(z), x[:, None] if layout == "B, k, D" else x, z) - q.log_prob(z).sum(-1)
        (-(w.exp().mean(0).log() if layout == "by hand" else w.logsumexp(int(layout[0] == "B"))).mean()).backward()
    assert step.audit().verdict == "unrecognised"
    assert "an importance-weighted bound of 7 samples" in step.audit().sentence


def test_an_importance_weighted_bound_in_a_step() -> None:
    with recon_cli.watch() as step:
        encoder, decoder, x = nn.Linear(6, 6), nn.Linear(3, 6), torch.rand(5, 6)
        mu, logvar = encoder(x).chunk(2, 1)
        z = torch.distributions.Normal(mu, (logvar / 2).exp()).rsample((7,))
        log_q = torch.distributions.Normal(mu, (logvar / 2).exp()).log_prob(z).sum(-1)
        (-(log_weights(decoder(z), x, z) - log_q).logsumexp(0).mean()).backward()
    assert step.audit().verdict == "unrecognised"
    assert "an importance-weighted bound of 7 samples" in step.audit().sentence


@pytest.mark.parametrize(("loss", "weighed"), [
    (lambda y, x: F.mse_loss(y, x).sqrt(), "(1/(B^0.5·D^0.5))·‖x̂−x‖"),
    (lambda y, x: (y - x).norm(), "‖x̂−x‖"),
    (lambda y, x: 3 * (y - x).flatten(1).norm(dim=1).sum(), "3·Σ‖x̂−x‖"),
    (lambda y, x: (y - x).flatten(1).norm(dim=1).mean(), "(1/B)·Σ‖x̂−x‖"),
])  # fmt: skip
def test_a_norm_has_its_weight_in_the_formula(loss: Any, weighed: str) -> None:
    assert audit(loss, shape=(1, 4, 5), batch=6).formula == f"L = {weighed}"
