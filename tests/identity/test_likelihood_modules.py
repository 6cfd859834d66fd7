"""A likelihood as a module of torch's: arguments in torch's order, noise that is learned and kept, what is refused."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch.nn import functional

from recon_cli import likelihoods
from recon_cli.errors import ReconError


def pair(generator: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draws = torch.Generator().manual_seed(generator)
    mu = torch.rand(6, 4, generator=draws) + 0.1
    return mu, mu + 0.3 * torch.randn(6, 4, generator=draws)


def test_input_comes_first_as_in_torch() -> None:
    mu, counts = torch.tensor([1.5, 2.5]), torch.tensor([1.0, 4.0])
    found = likelihoods.parse("poisson").module("none")(mu, counts)
    exact = functional.poisson_nll_loss(mu, counts, log_input=False, reduction="none") + (counts + 1).lgamma()
    torch.testing.assert_close(found, exact)
    raw = likelihoods.parse("poisson").module("none", raw=True)(mu.log(), counts)
    torch.testing.assert_close(raw, exact)


@pytest.mark.parametrize(("reduction", "count"), [("mean", 24), ("sum", 1), ("batch-mean", 6)])
def test_reductions(reduction: str, count: int) -> None:
    mu, x = pair()
    side = likelihoods.parse("laplace:scale=0.2")
    torch.testing.assert_close(
        side.module(reduction)(mu, x).double(), side.nll(x.double(), mu.double()).sum() / count, rtol=1e-6, atol=0
    )
    assert side.module("none")(mu, x).shape == x.shape


def test_the_noise_is_learned_kept_and_given_back() -> None:
    mu, x = pair()
    loss = likelihoods.parse("gaussian").module()
    steps = torch.optim.LBFGS(loss.parameters(), max_iter=50, tolerance_grad=1e-9)

    def cost() -> torch.Tensor:
        steps.zero_grad()
        value = loss(mu, x)
        value.backward()
        return value

    steps.step(cost)
    best = (x - mu).square().mean().sqrt().item()
    assert loss.likelihood.parameters["sigma"] == pytest.approx(best, rel=1e-3)
    assert [*loss.state_dict()] == ["noise.free.sigma"]
    again = likelihoods.parse("gaussian").module()
    again.load_state_dict(loss.state_dict())
    assert again(mu, x) == loss(mu, x)
    assert copy.deepcopy(loss).likelihood == loss.likelihood
    assert not any(each.requires_grad for each in likelihoods.parse("gaussian").module(learned=False).parameters())


def test_shares_and_designs_stay_what_they_are() -> None:
    loss = likelihoods.parse("asymmetric-laplace:scale=0.5,quantile=0.9").module()
    assert loss.likelihood.parameters == pytest.approx({"scale": 0.5, "quantile": 0.9})
    assert likelihoods.parse("binomial:count=9").module().likelihood == likelihoods.parse("binomial:count=9")


def test_labels_are_taken_as_cross_entropy_takes_them() -> None:
    raw, labels = torch.randn(5, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2, 1, 1, 0])
    found = likelihoods.parse("categorical").module(raw=True)(raw, labels)
    torch.testing.assert_close(found, functional.cross_entropy(raw, labels))


@pytest.mark.parametrize(
    ("word", "input", "target", "what"),
    [
        ("poisson", [1.0, 4.0], [1.5, 2.5], "2 of 2 values of the target are outside what poisson allows"),
        ("bernoulli", [0.0, 1.0], [0.2, 0.7], "values of the target"),
        ("bernoulli", [1.2, 0.5], [1.0, 0.0], "1 of 2 values of the input are outside what bernoulli allows"),
        ("gamma", [1.0, 2.0], [0.0, 1.0], "1 of 2 values of the target are outside what gamma allows, (0, inf)"),
        ("gamma", [-1.0, 2.0], [0.5, 1.0], "1 of 2 values of the input"),
        ("gaussian", [math.nan, 1.0], [math.nan, 1.0], "1 of 2 values of the target"),
        ("gaussian", [1.0], [1.0, 2.0], "never"),
    ],
)
def test_what_leaves_its_region_is_an_error(word: str, input: list[float], target: list[float], what: str) -> None:
    loss = likelihoods.parse(word).module()
    with pytest.raises(ReconError) as caught:
        loss(torch.tensor(input), torch.tensor(target))
    assert what in f"{caught.value.message} {caught.value.hint}"


def test_another_reduction_is_refused() -> None:
    with pytest.raises(ReconError, match="no reduction"):
        likelihoods.parse("gaussian").module("average")


@pytest.mark.slow
def test_the_compiler_takes_it() -> None:
    torch._dynamo.reset()
    mu, x = pair()
    loss = likelihoods.parse("laplace:scale=0.2").module()
    compiled = torch.compile(lambda mu, x: loss(mu, x), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(mu, x), loss(mu, x))
