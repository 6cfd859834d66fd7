"""Where numbers end: gradients at cusps and ends of a support, noises of any size, data that a dtype hardly holds."""

from __future__ import annotations

import dataclasses
import itertools
import math
import random
import warnings
from pathlib import Path
from typing import Any

import mpmath
import numpy
import points
import pytest
import torch
import witness
from test_contract import KINDS

import recon_cli
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import Lattice
from recon_cli.sources._survey import survey

each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
OWN = {"power": (0.06, 30), "kappa": (1e-8, 1e5), "df": (0.1, 1e6), "dispersion": (1e-10, 1e5), "delta": (1e-12, 16)}


def joints(side: Likelihood, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Every x of the support beside every mean, the ends of the domain and x itself among them."""
    xs, mus = points.data(side), points.outputs(side)
    if not side.event and not side.head:
        ends = [end for end in (side.domain.low, side.domain.high) if math.isfinite(end)]
        places = [(x, mu) for x in xs for mu in (*mus, *ends, x)]
    else:
        places = [*itertools.product(xs, mus), *([] if side.head else [(x, x) for x in xs])]
    x, at = (torch.tensor(part, dtype=dtype) for part in zip(*places, strict=True))
    good = side.support.contains(x) & side.domain.contains(at) & points.possible(side, x, at)
    return x[good], at[good]


def lost(of: Any, x: torch.Tensor, at: torch.Tensor, noise: Any = ()) -> list[Any]:
    """The places where a value is finite and its gradient NaN; or infinite, where in float64 it is within the dtype's range."""
    point = at.clone().requires_grad_()
    value = of(x, point)
    good = value.isfinite()
    by, *others = torch.autograd.grad(value[good].sum(), [point, *noise], allow_unused=True)
    by = torch.zeros_like(at) if by is None else by
    bad = (
        by.isnan()
        if at.dtype == torch.float64
        else ~by.isfinite() & (by.isnan() | (x[(...,) + (None,) * (by.ndim - x.ndim)] == at))
    )
    bad = bad if bad.ndim == value.ndim else bad.flatten(value.ndim).any(dim=-1)
    found = [(x[i].tolist(), at[i].tolist()) for i in (bad & good).nonzero().flatten().tolist()]
    return found + [part for part in others if part is not None and part.isnan().any()]


@each_kind
def test_where_a_value_is_finite_its_gradient_is_a_number(kind: type[Likelihood]) -> None:
    """At x = mu, at the ends of the support, with a mean at an end of its domain: nll, loss, learned noise, raw output."""
    for side in points.noises(kind):
        for dtype in (torch.float64, torch.float32):
            x, at = joints(side, dtype)
            assert not lost(side.nll, x, at), side
            assert not lost(side.loss, x, at), side
            raw = torch.tensor(points.raw_points(side), dtype=dtype)
            events = torch.tensor(points.data(side), dtype=dtype)
            many = events.repeat(len(raw), *[1] * (events.ndim - 1)), raw.repeat_interleave(len(events), 0)
            assert not lost(side.nll_raw, *many), side
        learned = {
            name: torch.tensor(float(value), dtype=torch.float64, requires_grad=True) for name, value in side.noise.items()
        }
        if learned:
            assert not lost(dataclasses.replace(side, **learned).nll, *joints(side, torch.float64), learned.values()), side


def test_training_goes_on_at_the_cusp() -> None:
    """Where a mean meets its datum, the gradient of a power below 1 is 0, a subgradient."""
    side = recon_cli.likelihoods.find("generalized-gaussian")(power=0.5)
    for of in (side.nll, side.loss, side.nll_raw):
        mu = torch.tensor([1.0, 2.0], requires_grad=True)
        of(torch.tensor([1.0, 1.0]), mu).sum().backward()
        assert mu.grad.tolist() == [0.0, 0.5]


def drawn(kind: type[Likelihood], draws: random.Random) -> Likelihood:
    """Noise of any size, on a logarithmic scale."""
    noise = {}
    for field in dataclasses.fields(kind):
        low, high = OWN.get(field.name, (1e-20, 1e20))
        noise[field.name] = math.exp(draws.uniform(math.log(low), math.log(high)))
        if ends := field.metadata["domain"].bounds:
            noise[field.name] = draws.uniform(ends[0] + 1e-6, ends[1] - 1e-6)
        if field.name in points.DESIGN:
            noise[field.name] = draws.choice([2.0, 3.0] if field.name == kind.sized_by else [2.0, 17.0, 256.0])
    return kind(**noise)


def near(kind: type[Likelihood]) -> list[Likelihood]:
    """Noises whose normaliser is near 1 though its factors are not."""
    if kind.name == "huber":
        return [kind(scale=scale, delta=delta) for scale, delta in ((1e-18, 2.1e-18), (3e-12, 6e-12), (1e-9, 2.3e-9), (0.4, 6.0))]
    if kind.name == "generalized-gaussian":
        return [kind(scale=0.49 / math.gamma(1 + 1 / power), power=power) for power in (0.0625, 0.1, 0.3)]
    return []


@each_kind
def test_any_noise_is_as_exact_as_its_terms(kind: type[Likelihood]) -> None:
    """Errors in eps of a nat, or of the largest of nll, slope * loss, offset and gap: no part of a normaliser is one."""
    draws = random.Random(5)
    for side in [*near(kind), *(drawn(kind, draws) for _ in range(6 if dataclasses.fields(kind) else 1))]:
        if isinstance(side.support, Lattice):
            continue  # test_contract has them, beside a witness with enough digits
        places = draws.sample(points.pairs(side), 4)
        scale = float(side.parameters.get("sigma", side.parameters.get("scale", 0)))
        if scale and not side.event:
            places = [(0.0, 0.0), *((0.0, scale * size) for size in (1e-3, -0.7, 1.3, 5.0, 40.0))]
        x, mu = (torch.tensor(part, dtype=torch.float64) for part in zip(*places, strict=True))
        good = side.support.contains(x) & side.domain.contains(mu) & points.possible(side, x, mu)
        good &= (mu.abs() > 1e-300) | (mu == 0) if mu.ndim == 1 else True
        rows = [*zip(x[good].tolist(), mu[good].tolist(), strict=True)]
        if not rows:
            continue
        rest = side.offset(x[good]).abs().tolist(), side.gap(mu[good]).abs().tolist(), side.nll(x[good], mu[good]).tolist()
        for (datum, mean), offset, gap, got in zip(rows, *rest, strict=True):
            with mpmath.workdps(80):
                true = witness.nll(side)(datum, mean)
                size = max(abs(true), offset, gap, 1, abs(float(side.slope) * witness.loss(side)(datum, mean)))
                off = float(abs(got - true) / size) / 2**-52
            assert off <= 4, f"{side} at x = {datum}, mu = {mean}: {got}, off by {off:.3g} eps"


def never_refuted(side: str, size: float) -> bool:
    """Whether a true claim holds in float32, or is said to leave its range; in float64 it holds."""
    draws = numpy.random.default_rng(1)
    x = draws.normal(0, size, (9, 5)).astype(numpy.float32)
    mu = x + draws.normal(0, size, x.shape).astype(numpy.float32)
    try:
        fine = recon_cli.compare(x, mu, side.format(size), device="cpu").holds
    except ReconError as error:
        fine = "range of float32" in error.message
    return fine and recon_cli.compare(x, mu, side.format(size), dtype="float64", device="cpu").holds


@pytest.mark.parametrize("size", [1e-30, 3e-19, 1e-10, 1e30])
@pytest.mark.parametrize("side", ["gaussian:sigma={}", "generalized-gaussian:scale={},power=3"])
def test_a_true_claim_is_not_refuted_at_the_ends_of_the_range(side: str, size: float) -> None:
    assert never_refuted(side, size)


@pytest.mark.hostile
@pytest.mark.parametrize("size", [1e-38, 1e-36, 1e-22, 1e-20, 1e-19, 1e-18, 1e-17, 1e-5, 1e5, 1e17, 1e18, 1e19, 1e25, 1e37])
@pytest.mark.parametrize(
    "side",
    [
        "gaussian:sigma={}",
        "generalized-gaussian:scale={},power=3",
        "laplace:scale={}",
        "huber:scale={},delta=1",
        "hyperbolic-secant:scale={}",
        "logistic:scale={}",
    ],
)
def test_no_true_claim_is_refuted_at_any_size(side: str, size: float) -> None:
    assert never_refuted(side, size)


def test_the_mean_of_the_largest_numbers_is_a_number(tmp_path: Path) -> None:
    numpy.save(tmp_path / "x.npy", numpy.full((3, 4), 1.7e308))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        row = survey(str(tmp_path / "x.npy")).tables[0].rows[0]
    assert row["mean"] == pytest.approx(1.7e308)
