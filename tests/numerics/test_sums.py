"""Sums do not depend on how the data are cut, ordered or compiled."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

import points
import pytest
import torch
from torch import Tensor

from recon_cli import compare, likelihoods
from recon_cli.comparison import Claim, tally
from recon_cli.comparison.tally import Tally, chunks, measure
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods.gaussian import Gaussian

SIDES = [likelihoods.parse(name) for name in likelihoods.names()]
SUMS = ("nll", "loss", "offset", "gap", "nll_square", "loss_square")
COUNTED = ("elements", "ratio_elements", "ratio_excluded", "infinite")
EXTREMES = ("drift", "worst", "ratio_min", "ratio_max")
MEANS = ("nll", "loss_value", "offset", "gap")
EVENTS = 4000
each = pytest.mark.parametrize("side", SIDES, ids=str)
each_size = pytest.mark.parametrize("size", [1, 7, 1000])


def drawn(side: Likelihood, count: int) -> tuple[Tensor, Tensor]:
    """Data that the likelihood itself drew about four means, in turn."""
    means = torch.tensor([points.mean(side, where) for where in (0.21, 0.33, 0.58, 0.83)], dtype=torch.float64)
    mu = means.repeat(-(-count // 4), *(1,) * (means.ndim - 1))[:count].contiguous()
    return side.sample(mu, torch.Generator().manual_seed(7)), mu


def total(side: Likelihood, parts: Iterable[tuple[Tensor, Tensor]]) -> Tally:
    """What is seen on all parts."""
    return sum((measure(side, *part) for part in parts), Tally())


def ragged(x: Tensor, mu: Tensor, seed: int = 3) -> list[tuple[Tensor, Tensor]]:
    """Cut at random between events: pieces of one event, and of many."""
    generator = torch.Generator().manual_seed(seed)
    cuts = torch.randint(1, len(x), (40,), generator=generator)
    ends = sorted({0, 1, len(x) - 1, len(x), *cuts.tolist()})
    return [(x[start:end], mu[start:end]) for start, end in itertools.pairwise(ends)]


def same(found: Tally, due: Tally, sizes: dict[str, float]) -> None:
    """Equal counts, sums to 1e-14 of their terms. (A last digit may depend on the lane of the vector unit.)"""
    for name in COUNTED:
        assert getattr(found, name) == getattr(due, name), name
    for name in SUMS:
        off = abs(getattr(found, name) - getattr(due, name))
        assert off <= 1e-14 * max(abs(getattr(due, name)), sizes.get(name, 0.0)), name


def sizes(side: Likelihood, x: Tensor, mu: Tensor) -> dict[str, float]:
    """What each sum is of, without signs: sums of both signs are as good as these."""
    parts = {"nll": side.nll(x, mu), "loss": side.loss(x, mu), "offset": side.offset(x), "gap": side.gap(mu)}
    return {name: part.abs().sum().item() for name, part in parts.items()}


def test_a_million_elements_have_one_sum() -> None:
    side = Gaussian(sigma=0.37)
    x, mu = drawn(side, 1_000_000)
    whole, order = measure(side, x, mu), torch.randperm(len(x), generator=torch.Generator().manual_seed(1))
    assert whole.elements == 1_000_000
    assert whole.nll == pytest.approx(math.fsum(side.nll(x, mu).tolist()), rel=1e-14)
    for other in (ragged(x, mu), chunks(side, x, mu), ragged(x[order], mu[order])):
        same(total(side, other), whole, {})


@each
def test_sums_do_not_depend_on_where_the_data_are_cut(side: Likelihood) -> None:
    x, mu = drawn(side, EVENTS)
    whole, size = measure(side, x, mu), sizes(side, x, mu)
    assert (whole.elements, whole.infinite) == (EVENTS, 0)
    for name, part in {"nll": side.nll(x, mu), "loss": side.loss(x, mu)}.items():
        assert getattr(whole, name) == pytest.approx(math.fsum(part.tolist()), rel=1e-13, abs=1e-14 * size[name])
    cut = total(side, ragged(x, mu))
    same(cut, whole, size)
    torch.testing.assert_close(torch.cat(cut.ratios), torch.cat(whole.ratios), rtol=1e-12, atol=1e-12)
    assert cut.worst == pytest.approx(whole.worst, abs=2)


@each
def test_sums_do_not_depend_on_the_order_of_the_data(side: Likelihood) -> None:
    x, mu = drawn(side, EVENTS)
    order = torch.randperm(EVENTS, generator=torch.Generator().manual_seed(1))
    same(total(side, ragged(x[order], mu[order])), measure(side, x, mu), sizes(side, x, mu))


@each
@each_size
def test_chunks_are_of_whole_events_and_lose_none(side: Likelihood, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tally, "CHUNK", size)
    x, mu = drawn(side, 60)
    x, mu = (part.reshape(5, 12, *part.shape[1:]) for part in (x, mu))
    event, numbers = x.shape[2:], mu[0, 0].numel()
    parts = [*chunks(side, x, mu)]
    for a, b in parts:
        assert a.shape[1:] == event
        assert b.shape == (*a.shape, *mu.shape[x.ndim :])
        assert len(a) == 1 or b.numel() <= size
    assert len(parts) == -(-60 // max(1, size // numbers))
    assert torch.equal(torch.cat([a for a, _ in parts]), x.flatten(0, 1))
    assert torch.equal(torch.cat([b for _, b in parts]), mu.flatten(0, 1))


@each
@each_size
def test_a_comparison_does_not_depend_on_its_chunks(side: Likelihood, size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    x, mu = drawn(side, 60)
    (whole,) = compare(x, mu, side, device="cpu").rows
    monkeypatch.setattr(tally, "CHUNK", size)
    (cut,) = compare(x, mu, side, device="cpu").rows
    assert whole.holds is (whole.gap == 0)
    for name, value in dataclasses.asdict(whole).items():
        found = getattr(cut, name)
        if isinstance(value, float):
            slack = 2 if name == "worst" else 1e-14 if name in MEANS else 1e-12
            assert found == pytest.approx(value, rel=1e-14 if name in MEANS else 1e-12, abs=slack), name
        elif not isinstance(value, dict):
            assert found == value, name


@each
def test_tallies_add_in_any_grouping(side: Likelihood) -> None:
    x, mu = drawn(side, 300)
    a, b, c = (measure(side, *part) for part in ((x[:3], mu[:3]), (x[3:40], mu[3:40]), (x[40:], mu[40:])))
    left, right = (a + b) + c, a + (b + c)
    same(left, right, sizes(side, x, mu))
    assert [getattr(left, name) for name in EXTREMES] == [getattr(right, name) for name in EXTREMES]
    assert [len(part) for part in left.ratios] == [len(part) for part in right.ratios]
    assert torch.equal(torch.cat(left.ratios), torch.cat(right.ratios))
    assert a + Tally() == a
    assert Tally() + a == a


@pytest.mark.inductor
def test_the_real_compiler_gives_every_value_and_gradient() -> None:
    """All of them in one function: minutes of compiling."""
    torch._dynamo.reset()
    cases: list[tuple[Likelihood, Tensor, Tensor, bool]] = []
    for side in SIDES:
        x, mu = points.ordinary(side)
        cases += [(side, x, mu, False), (side, x, side.link.forward(mu), True)]

    def every(xs: list[Tensor], mus: list[Tensor]) -> list[Tensor]:
        return [(side.nll_raw if raw else side.nll)(x, mu) for (side, *_, raw), x, mu in zip(cases, xs, mus, strict=True)]

    def run(function: Any) -> tuple[list[Tensor], tuple[Tensor, ...]]:
        mus = [mu.clone().requires_grad_() for _, _, mu, _ in cases]
        values = function([x for _, x, _, _ in cases], mus)
        return values, torch.autograd.grad(sum(value.sum() for value in values), mus)

    compiled = torch.compile(every, backend="inductor", fullgraph=True)
    for found, due in zip(run(compiled), run(every), strict=True):
        for (side, *_, raw), got, wanted in zip(cases, found, due, strict=True):
            torch.testing.assert_close(
                got, wanted, rtol=2 * 2.0**-52, atol=2 * 2.0**-52, msg=lambda said, side=side, raw=raw: f"{side} {raw}: {said}"
            )


USUAL = ("gaussian", "bernoulli", "student-t", "categorical", "heteroscedastic-gaussian")
WHOLE = [pytest.param(side, marks=() if side.name in USUAL else pytest.mark.inductor, id=str(side)) for side in SIDES]


@pytest.mark.parametrize("side", WHOLE)
def test_the_compiler_takes_a_look_whole(side: Likelihood) -> None:
    torch._dynamo.reset()
    x, mu = drawn(side, 64)

    def look(x: Tensor, mu: Tensor) -> Tensor:
        return tally.reduced(claim, x, mu)

    claim = Claim.of(side)
    found = torch.compile(look, backend="aot_eager", fullgraph=True)(x, mu)
    torch.testing.assert_close(found, look(x, mu), rtol=1e-12, atol=1e-10)
