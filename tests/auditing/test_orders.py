"""Losses that compare with another sample's target, or are cut off: no likelihood, whatever their shape near zero."""

from __future__ import annotations

from typing import Any

import pytest

from recon_cli import audit


def divergence(mu: Any, logvar: Any) -> Any:
    """Of a Gaussian posterior to its prior."""
    return -0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()


def shuffled(recon: Any, x: Any, mu: Any, logvar: Any) -> Any:
    return 0.5 * (recon - x.flip(0)).square().sum() + divergence(mu, logvar)


def cut(recon: Any, x: Any, mu: Any, logvar: Any) -> Any:
    return 0.5 * (recon - x).square().clamp(max=100).sum() + divergence(mu, logvar)


@pytest.mark.parametrize(("loss", "code"), [(shuffled, "target-unused"), (cut, "no-density")])
def test_what_is_no_likelihood_of_the_target_does_not_pass(loss: Any, code: str) -> None:
    found = audit(loss)
    assert code in found.rows[0].defects
    assert not found.report().holds
