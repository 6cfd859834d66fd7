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


class Inside(nn.Module):
    """A loss whose scale is a parameter of a module inside."""

    def __init__(self, of: Any) -> None:
        super().__init__()
        self.of, self.decoder = of, nn.Module()
        self.decoder.log_sigma = nn.Parameter(torch.tensor(0.4))

    def forward(self, x_hat: Tensor, x: Tensor, mu: Tensor, logvar: Tensor) -> Tensor:
        return self.of(x_hat - x, self.decoder.log_sigma) + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()


def logistic(e: Tensor, p: Tensor) -> Tensor:
    z = e / p.exp()
    return z + 2 * nn.functional.softplus(-z)


def student(e: Tensor, p: Tensor) -> Tensor:
    return 2.5 * ((e / p.exp()) ** 2 / 4).log1p()


# a loss of e/exp(p), whatever its family, with what it has of log of that scale
SCALED: dict[str, tuple[Any, bool]] = {
    "logistic": (lambda e, p: logistic(e, p).sum(), True),
    "logistic, whole": (lambda e, p: (logistic(e, p) + p).sum(), False),
    "student": (lambda e, p: student(e, p).sum(), True),
    "gaussian": (lambda e, p: (0.5 * (e / p.exp()) ** 2).sum(), True),
    "gaussian, whole": (lambda e, p: (0.5 * (e / p.exp()) ** 2 + p).sum(), False),
    "logistic, once a batch": (lambda e, p: logistic(e, p).sum() + p, True),
    "student, whole": (lambda e, p: (student(e, p) + p).sum(), False),
    "StudentT": (lambda e, p: -torch.distributions.StudentT(4.0, 0.0, p.exp()).log_prob(e).sum(), False),
    "huber": (lambda e, p: nn.functional.huber_loss(e / p.exp(), 0 * e, reduction="sum"), True),
    "huber, whole": (lambda e, p: nn.functional.huber_loss(e / p.exp(), 0 * e, reduction="sum") + 12 * len(e) * p, False),
    "a power": (lambda e, p: ((e.abs() / p.exp()) ** 1.5).sum(), True),
    "a quantile": (lambda e, p: (torch.maximum(0.3 * e, -0.7 * e) / p.exp()).sum(), True),
    "of no name": (lambda e, p: (e / p.exp() + (-e / p.exp()).exp()).sum(), True),
    "of no name, whole": (lambda e, p: (e / p.exp() + (-e / p.exp()).exp() + p).sum(), False),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if i < 3 else [pytest.mark.hostile]) for i, name in enumerate(SCALED)]
)
def test_a_scale_of_any_family_and_of_a_module_inside_needs_its_logarithm(name: str) -> None:
    of, wrong = SCALED[name]
    result = audit(Inside(of), (2, 6), 3)
    assert (result.verdict, CODE in result.defects) == (("defective", True) if wrong else ("elbo", False))
    assert all("decoder.log_sigma" in finding.evidence for finding in result.findings if finding.code == CODE)
