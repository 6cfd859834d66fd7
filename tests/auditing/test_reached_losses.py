"""Losses as their authors write them: what a first audit says of them is true, and what a message asks for is enough."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch.distributions import Normal, kl_divergence

from recon_cli.auditing import audit

ROWS = {"shape": (6,), "latent": 3}


def decoder_and_prior(x, qz, pz, px):
    return (-px.log_prob(x).sum(-1) + kl_divergence(qz, pz).sum(-1)).mean()


def of_another_variance(x, x_hat, mu, std):
    return -Normal(x_hat, 0.5).log_prob(x).sum() + kl_divergence(Normal(mu, std), Normal(0.3, 2)).sum()


def prior_by_arguments(x, x_hat, mu, logvar, prior_mu, prior_logvar, halves=1):
    apart = (logvar.exp() + (mu - prior_mu) ** 2) / prior_logvar.exp()
    return -Normal(x_hat, 0.3).log_prob(x).sum() + 0.5 * (halves * (prior_logvar - logvar) + apart - 1).sum()


@pytest.mark.parametrize(("loss", "beta"), [(decoder_and_prior, 1), (of_another_variance, 0.25), (prior_by_arguments, 0.09)])
def test_a_prior_of_its_own_beside_a_normalised_likelihood(loss: Callable[..., Any], beta: float) -> None:
    result = audit(loss, **ROWS)
    assert result.verdict == "elbo"
    assert result.rows[0].tradeoff == pytest.approx(beta)


def test_a_misprinted_kl_beside_a_normalised_likelihood_is_none() -> None:
    def misprinted(x, x_hat, mu, logvar, prior_mu, prior_logvar):
        return prior_by_arguments(x, x_hat, mu, logvar, prior_mu, prior_logvar, halves=2)

    assert audit(misprinted, **ROWS).defects == ("kl-not-kl",)
    assert torch.is_grad_enabled()
