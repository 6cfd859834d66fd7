"""Free nats and capacities: how many nats, and of what."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

import recon_cli
from recon_cli import audit
from recon_cli.auditing.result import Audit


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


def by_mean(of: Callable[[Tensor], Tensor]) -> Audit:
    """The audit of a Gaussian's mean over a batch beside a function of each latent's KL, [B, K]."""
    return audit(lambda y, x, mu, logvar: 0.5 * (y - x).square().sum() / len(y) + of(nats(mu, logvar)), (6,), 4)


# a square of the KL's distance from a target: its weight in the formula, the verdict
SQUARES: dict[str, tuple[Callable[[Tensor], Tensor], str, str]] = {
    "mean": (lambda kl: 3 * (kl.sum(1).mean() - 2).square(), "+ 3·(KL − C)²", "beta-elbo"),
    "sum": (lambda kl: (kl.sum() - 8).square(), "+ 16·(KL − C)²", "shape-dependent"),
    "each": (lambda kl: (kl.sum(1) - 2).square().mean(), "+ (1/B)·(KL − C)²", "beta-elbo"),
    "latent": (lambda kl: (kl.mean(0) - 0.5).square().sum(), "+ (KL − C)²", "beta-elbo"),
    "of means": (lambda kl: (kl.mean() - 0.5).square(), "+ (1/K^2)·(KL − C)²", "shape-dependent"),
    "far": (lambda kl: (kl.sum(1).mean() - 300).square(), "+ (KL − C)²", "beta-elbo"),
    "from 0": (lambda kl: kl.sum(1).mean().square(), "+ (KL − C)²", "beta-elbo"),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.hostile] * (i > 1)) for i, n in enumerate(SQUARES)])
def test_a_square_of_the_distance_has_its_own_weight_and_the_sizes_that_it_moves_with(name: str) -> None:
    of, formula, verdict = SQUARES[name]
    found = by_mean(of)
    assert found.formula.endswith(formula)
    assert (found.verdict, found.rows[0].beta) == (verdict, None)
    assert ("at B = 4, 1 at twice that" in found.sentence) == (name == "sum")


def test_the_place_where_a_kl_turns_moves_with_the_batch_that_it_is_added_up_over() -> None:
    found = audit(lambda y, x, mu, logvar: 0.5 * (y - x).square().sum() + (nats(mu, logvar).sum() - 8).abs(), (6,), 4)
    assert (found.verdict, found.defects) == ("beta-elbo", ())
    assert "2 nats of a sample, the mean of the batch (at B = 4, 1 at twice that)" in found.sentence


@pytest.mark.parametrize("of", [
    lambda kl: torch.nn.functional.smooth_l1_loss(kl.sum(1).mean(), torch.tensor(2.0)),
    lambda kl: (2 - kl.sum(1).mean()).relu(),
    lambda kl: kl.sum(1).mean().log1p(),
    lambda kl: kl.sum(1).mean().exp(),
    lambda kl: 0.1 * kl.sum(1).mean() + (kl.sum(1).mean() - 2).relu(),
])  # fmt: skip
def test_another_function_of_the_kl_is_no_kl_and_no_pass(of: Callable[[Tensor], Tensor]) -> None:
    found = by_mean(of)
    assert (found.verdict, found.holds) == ("unrecognised", False)
    assert "it is a function of the KL, and no number of KLs" in found.sentence


def test_a_capacity_far_off_is_no_kl_of_the_wrong_sign() -> None:
    found = by_mean(lambda kl: 5 * (kl.sum(1).mean() - 300).abs())
    assert (found.verdict, found.rows[0].beta) == ("beta-elbo", pytest.approx(5))
    assert "driven up to 300 nats" in found.sentence


def test_what_bends_otherwise_is_no_capacity() -> None:
    found = audit(lambda y, x, mu, logvar: 0.5 * (y - x).square().sum() + (mu**4 - mu**2).sum() + logvar.exp().sum(), (6,), 4)
    assert not found.holds
    assert "capacity" not in found.sentence


# a KL that is given: what is made of it, the weight and words of a note
GIVEN: dict[str, tuple[Callable[[Tensor], Tensor], float | None, str]] = {
    "driven": (lambda kl: 5 * (kl.mean() - 2).abs(), 5, "driven up to 2 nats of a sample, the mean of the batch"),
    "free": (lambda kl: kl.clamp(min=3.0).mean(), 1, "costs nothing up to 3 nats of each sample"),
    "squared": (lambda kl: (kl.mean() - 2).square(), None, "value of 2 nats of a sample, the mean of the batch, by the square"),
    "plain": (lambda kl: 4 * kl.mean(), 4, ""),
}


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.hostile] * (i > 1)) for i, n in enumerate(GIVEN)])
def test_a_kl_that_is_given_turns_as_one_that_is_computed(name: str) -> None:
    of, beta, words = GIVEN[name]
    found = audit(lambda y, x, kld: 0.5 * (y - x).square().sum(1).mean() + of(kld), (6,), 4)
    assert (found.verdict, found.defects) == ("elbo" if name == "plain" else "beta-elbo", ())
    assert found.rows[0].beta == (None if beta is None else pytest.approx(beta))
    assert any(words in note for note in found.notes) or not words


def test_a_square_in_a_live_step() -> None:
    torch.manual_seed(0)
    with recon_cli.watch() as step:
        encoder, decoder, x = torch.nn.Linear(6, 8), torch.nn.Linear(4, 6), torch.rand(5, 6)
        mu, logvar = encoder(x).chunk(2, 1)
        y = decoder(mu + torch.randn_like(mu) * (logvar / 2).exp())
        (0.5 * (y - x).square().sum(1).mean() + 3 * (nats(mu, logvar).sum(1).mean() - 2).square()).backward()
    found = step.audit()
    assert (found.verdict, found.formula) == ("beta-elbo", "L = (0.5/B)·Σ(x̂−x)² + 3·(KL − C)²")
