"""A scale that is trained needs its logarithm once for every element that it divides."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from recon_cli.auditing import audit

CODE = "log-scale-missing"


class Loss(nn.Module):
    def __init__(self, of: Any, start: Tensor) -> None:
        super().__init__()
        self.of, self.p = of, nn.Parameter(start)

    def forward(self, x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return self.of(x_hat - x, self.p) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def found(of: Any, *shape: int, start: float = 0.0) -> tuple[str, bool]:
    result = audit(Loss(of, torch.full(shape, start)), (2, 6), 3)
    return result.verdict, CODE in result.defects


@pytest.mark.parametrize("of", [
    lambda e, p: (0.5 * (e / p.exp()) ** 2).sum(),
    lambda e, p: (e**2).sum() / (2 * p.exp()) + 0.5 * p.sum(),
    lambda e, p: (e**2).sum() / (2 * p.exp()) + 6 * p.sum(),  # for each sample's element, and not each sample
    lambda e, p: (0.5 * (e / p.exp()) ** 2 - p).sum(),
    lambda e, p: (e.abs() / p.exp()).sum(),
    lambda e, p: (e.abs() / p.exp()).flatten(1).sum(1).mean() + p.sum(),
    lambda e, p: (p * e**2).sum(),
    lambda e, p: (0.5 * (e / (nn.functional.softplus(p) + 0.1)) ** 2).sum(),
])  # fmt: skip
def test_a_trained_scale_without_its_logarithm_does_not_pass(of: Any) -> None:
    assert found(of, 1, start=0.4) == ("defective", True)


@pytest.mark.parametrize("of", [
    lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).sum(),
    lambda e, p: 0.3 * (0.5 * (e / p.exp()) ** 2 + p).sum(),
    lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).mean(),
    lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).flatten(1).sum(1).mean(),
    lambda e, p: 0.5 * (-p).exp().sum() * (e**2).mean() + 0.5 * p.sum(),
    lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).sum() / 12,  # a size as a number
    lambda e, p: (e.abs() / p.exp() + p + math.log(2)).sum(),
    lambda e, p: (p * e**2 - 0.5 * p.log()).sum(),
    lambda e, p: (0.5 * (e / nn.functional.softplus(p)) ** 2 + nn.functional.softplus(p).log()).sum(),
])  # fmt: skip
def test_a_trained_scale_with_its_logarithm_passes(of: Any) -> None:
    assert not found(of, 1, start=0.4)[1]


def test_a_scale_for_each_element_along_an_axis_is_one_too() -> None:
    assert found(lambda e, p: (0.5 * (e / p.exp()) ** 2).sum(), 2, 1) == ("defective", True)
    assert found(lambda e, p: (0.5 * (e / p.exp()) ** 2).sum() + p.sum(), 2, 1) == ("defective", True)
    assert not found(lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).sum(), 2, 1)[1]


@pytest.mark.parametrize("of", [
    lambda e, p: (e**2).sum() + 0 * p.sum(),
    lambda e, p: (e**2).sum() + (p**2).sum(),
    pytest.param(lambda e, p: 0.5 * ((e + p) ** 2).sum(), marks=pytest.mark.slow),
    lambda e, p: (0.5 * (e / p.detach().exp()) ** 2).sum(),
])  # fmt: skip
def test_what_is_trained_and_no_scale_is_left_alone(of: Any) -> None:
    assert not found(of, 1, start=0.4)[1]
