"""Free nats and capacities: how many nats, and of what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from recon_cli import audit


def nats(mu: Tensor, logvar: Tensor) -> Tensor:
    return 0.5 * (mu**2 + logvar.exp() - logvar - 1)


# what is made of each latent's KL, [B, K], and what is said of that
FORMS: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "each": (lambda kl: kl.clamp(min=0.5).sum(), "costs nothing up to 0.5 nats of each latent of each sample"),
    "batch": (
        lambda kl: len(kl) * torch.max(kl.sum(1).mean(), torch.tensor(4.0)),
        "costs nothing up to 4 nats of a sample, the mean of the batch",
    ),
    "capacity": (
        lambda kl: 10 * len(kl) * (kl.sum(1).mean() - 5).abs(), "driven up to 5 nats of a sample, the mean of the batch"
    ),
    "sample": (
        lambda kl: kl.sum(1).clamp(min=3).sum(), "costs nothing up to 3 nats of each sample, summed over its latents"
    ),
    "latent": (
        lambda kl: len(kl) * kl.mean(0).clamp(min=0.25).sum(), "up to 0.25 nats of each latent, the mean of the batch"
    ),
    "relu": (lambda kl: (kl - 0.1).relu().sum(), "costs nothing up to 0.1 nats of each latent of each sample"),
    "capacity of each": (lambda kl: (kl.sum(1) - 2).abs().sum(), "driven up to 2 nats of each sample, summed over its latents"),
    "squared": (
        lambda kl: (kl.sum(1) - 2).square().sum(), "value of 2 nats of each sample, summed over its latents, by the square"
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if i < 2 else [pytest.mark.hostile]) for i, name in enumerate(FORMS)]
)
def test_the_threshold_and_whose_it_is_are_said(name: str) -> None:
    of, words = FORMS[name]
    found = audit(lambda y, x, mu, logvar: 0.5 * (y - x).square().sum() + of(nats(mu, logvar)), (6,), 4)
    assert any(words in note for note in found.notes), found.notes


def test_what_bends_otherwise_is_no_capacity() -> None:
    found = audit(lambda y, x, mu, logvar: 0.5 * (y - x).square().sum() + (mu**4 - mu**2).sum() + logvar.exp().sum(), (6,), 4)
    assert not found.holds
    assert "capacity" not in found.sentence
