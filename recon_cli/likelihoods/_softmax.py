"""Probabilities of classes from logits, and their cross-entropy with what was counted, to the last digit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon_cli.identity.losses import Link
from recon_cli.numerics.compensated import two_sum

if TYPE_CHECKING:
    from torch import Tensor

SOFTMAX = Link(
    "softmax", "exp(r[k])/Sum(exp(r[j]), (j, 1, K))", lambda mu: mu.log(), lambda raw: raw.softmax(dim=-1)
)  # fmt: skip


def cross_entropy_of_logits(x: Tensor, raw: Tensor) -> Tensor:
    """Return n log sum_k e^(r_k - m) + sum_k x_k (m - r_k), n = sum_k x_k, m the largest logit, whose own 1 is left to log1p.

    The gradient is n softmax(r) - x; where x is all of one class, by the other classes' shares there.
    """
    import torch

    from recon_cli.numerics.stable import with_derivatives

    most, at = raw.max(dim=-1, keepdim=True)
    others = torch.arange(raw.shape[-1], device=raw.device) != at
    below, lost = two_sum(raw, -most)
    weight = below.exp() * (1 + lost.where(lost.isfinite(), 0))
    tail = weight.where(others, 0).sum(dim=-1)
    total = x.sum(dim=-1, keepdim=True)
    all_of_one = (x == total).detach()
    whole, rest = weight.sum(dim=-1, keepdim=True), weight.where(~all_of_one, 0).sum(dim=-1, keepdim=True)
    slope = (total * (weight / whole) - x).where(~all_of_one, -total * (rest / whole))
    value = total.squeeze(-1) * tail.log1p() - (below.where(x > 0, 0) * x).sum(dim=-1)
    return with_derivatives(value, (slope, raw))
