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


@pytest.mark.parametrize(("loss", "width"), [(unlike, 7), (averaged, 8), (shifted, 6)])
def test_what_is_no_product_of_one_beta_does_not_pass(loss: Any, width: int) -> None:
    assert not audit(loss, (width,), 3).holds


# Classes: what e^-loss adds up to over them.

WEIGHTS = torch.tensor([1.0, 2.0, 0.5, 1.0, 3.0])


def entropy(logits: Tensor, target: Tensor, **how: Any) -> Tensor:
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum", **how)


def focal(logits: Tensor, target: Tensor) -> Tensor:
    log_p = logits.log_softmax(-1).gather(-1, target[..., None])[..., 0]
    return -((1 - log_p.exp()) ** 2 * log_p).sum()


@pytest.mark.parametrize(("of", "verdict", "defects"), [
    (entropy, "elbo", ()),
    (lambda r, k: entropy(r / 2, k), "elbo", ()),
    (lambda r, k: entropy(r, k, label_smoothing=0.1), "defective", ("gap",)),
    (lambda r, k: entropy(r, k, weight=WEIGHTS.to(r)), "defective", ("gap",)),
    (focal, "defective", ("gap",)),
])  # fmt: skip
def test_cross_entropies_of_classes(of: Any, verdict: str, defects: tuple[str, ...]) -> None:
    def loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return of(logits, target) + kl(mu, logvar)

    found = audit(loss, (4, 5), 3)
    assert (found.verdict, found.defects) == (verdict, defects)


@pytest.mark.parametrize("classes", [150, pytest.param(1000, marks=pytest.mark.slow)])
def test_smoothed_labels_of_many_classes_are_no_eps_inside_a_logarithm(classes: int) -> None:
    def loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return F.cross_entropy(logits, target, reduction="sum", label_smoothing=0.05) + kl(mu, logvar)

    found = audit(loss, (classes,), 3)
    assert (found.verdict, found.defects) == ("defective", ("gap",))


def test_an_eps_inside_a_logarithm_of_many_classes_is_forgiven() -> None:
    def loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return -(logits.softmax(-1) + 1e-9).log().gather(-1, target[..., None]).sum() + kl(mu, logvar)

    (row,) = audit(loss, (1000,), 3).rows
    assert row.family == "categorical"


@pytest.mark.parametrize(("reduced", "beta", "power"), [
    (lambda nll: nll.mean(), 0.2 * 50, 1.0),
    (lambda nll: nll.sum(-1).mean(), 0.2, 0.0),
])  # fmt: skip
@pytest.mark.parametrize("items", [50, 20])
def test_a_mean_over_the_items_of_a_multinomial_grows_with_them(reduced: Any, beta: float, power: float, items: int) -> None:
    def loss(recon: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return reduced(-torch.log_softmax(recon, 1) * x) + 0.2 * kl(mu, logvar) / len(x)

    found = audit(loss, (items,), 3)
    (row,) = found.rows
    assert row.beta == pytest.approx(beta * (items / 50) ** power, rel=1e-9)
    assert row.tradeoff_dim == power
    assert ("recon-mean" in found.defects) == bool(power)


def test_padding_is_left_out_and_a_mean_over_tokens_is_one_over_tokens() -> None:
    def loss(logits: Tensor, target: Tensor, mu: Tensor, logvar: Tensor, pad: int = 0) -> Tensor:
        nll = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), target.reshape(-1), ignore_index=pad)
        return nll + kl(mu, logvar) / mu.numel()

    found = audit(loss, (12, 30), 20)
    (row,) = found.rows
    assert (row.family, row.tradeoff_dim, row.tradeoff_latent) == ("categorical", 1.0, -1.0)
    assert row.beta == pytest.approx(12 / 20, rel=1e-9)


def picked(logp: Tensor, t: Tensor) -> Tensor:
    return -logp[torch.arange(len(t)), t]


@pytest.mark.parametrize("nll", [
    lambda logits, t: -logits.log_softmax(1).gather(1, t[:, None]),
    lambda probs, t: -probs.gather(1, t.unsqueeze(1)).log(),
    picked,
    *(pytest.param(nll, marks=pytest.mark.hostile) for nll in (
        lambda logp, t: -torch.take_along_dim(logp, t[:, None], 1),
        lambda a, b: -a.log_softmax(1)[range(len(b)), b],
        lambda logits, y: F.one_hot(y, logits.shape[1]) * (logits.logsumexp(1, keepdim=True) - logits),
    )),
])  # fmt: skip
def test_labels_that_pick_are_those_of_rows_where_no_shape_was_given(nll: Any) -> None:
    (row,) = audit(lambda r, t, mu, logvar: nll(r, t).sum() + kl(mu, logvar), args="recon,target,mu,logvar").rows
    assert (row.family, row.verdict, row.beta) == ("categorical", "elbo", pytest.approx(1))
    assert audit(nll, (10,)).rows[0].family == "categorical"
