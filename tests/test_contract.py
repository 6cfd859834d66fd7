"""The laws of the idea, over every likelihood in the registry: three statements set against each other."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math

import mpmath
import numpy
import pytest
import scipy.integrate
import scipy.stats
import sympy
import torch
import witness
from hypothesis import given, settings
from hypothesis import strategies as st

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.losses import REDUCTIONS, Loss
from recon_cli.regions import SHARE, UNIT

NOISES = (0.5, 0.3, 2.7)  # away from 1, where a forgotten sigma does not show
SHARES = (0.3, 0.8, 0.45)
KINDS = [likelihoods.find(name) for name in likelihoods.names()]


def instances(kind: type[Likelihood]) -> list[Likelihood]:
    """Three noises, each parameter at a different one of its three values; the one there is without parameters."""
    fields = dataclasses.fields(kind)
    values = [SHARES if field.metadata["domain"] == SHARE else NOISES for field in fields]
    return [kind(*(value[(i + turn) % 3] for i, value in enumerate(values))) for turn in range(3 if fields else 1)]


SIDES = [side for kind in KINDS for side in instances(kind)]
DTYPES = [torch.float32, torch.float64]
each = pytest.mark.parametrize("side", SIDES, ids=str)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def grid(side: Likelihood, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Every x with every mu at which the nll is finite, exact in the dtype."""
    pairs = itertools.product(witness.inside(side.support), witness.inside(side.domain))
    x, mu = torch.tensor([*pairs], dtype=torch.float64).T.to(dtype).contiguous()
    inner = side.support.contains(x) & side.domain.contains(mu)
    edge = ((mu == side.domain.low) | (mu == side.domain.high)) & (x != mu)
    return x[inner & ~edge].to(device), mu[inner & ~edge].to(device)


def report(errors: list[float], bound: float, *columns: torch.Tensor) -> str:
    """Every point that is off by more than ``bound``."""
    rows = zip(errors, *(column.tolist() for column in columns), strict=True)
    return "\n".join(str(row) for row in rows if not row[0] <= bound)


def terms(side: Likelihood, x: torch.Tensor, mu: torch.Tensor) -> list[mpmath.mpf]:
    """The largest term of the identity at each point: what an error is measured against where terms cancel."""
    loss = witness.loss(side)
    found = []
    for a, b in zip(x.tolist(), mu.tolist(), strict=True):
        with mpmath.workdps(30):
            try:
                found.append(abs(mpmath.mpf(float(side.slope)) * loss(a, b)))
            except (ValueError, ZeroDivisionError):
                found.append(mpmath.mpf(0))
    normaliser = [1, *(abs(math.log(value)) for value in side.parameters.values())] if side.parameters else [0]
    rest = [side.offset(x).double().abs().clamp(min=max(normaliser)), side.gap(mu).double().abs()]
    return [max(term, *(mpmath.mpf(part[i].item()) for part in rest)) for i, term in enumerate(found)]


def cancelling(dtype: torch.dtype) -> float:
    """How much of a large term an error may be measured against: all of it in float64, next to none in
    float32, which is computed in float64 and rounded once."""
    return 1.0 if dtype == torch.float64 else 1e-7


def terms_of_one(side: Likelihood) -> float:
    """Shares are differences from terms such as x/mu and log mu, of size one at least."""
    return 1.0 if side.domain.high == 1 else 0.0


@each_dtype
@each
def test_nll_is_the_density(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    exact = [nll(side)(a, b) for a, b in zip(x.tolist(), mu.tolist(), strict=True)]
    found = side.nll(x, mu)
    assert found.dtype == dtype
    eps = torch.finfo(dtype).eps
    size = [max(abs(value), term * cancelling(dtype)) for value, term in zip(exact, terms(side, x, mu), strict=True)]
    bound = 0.51 if dtype == torch.float32 else 4
    errors = witness.off_by(found.tolist(), exact, eps, size)
    assert max(errors) <= bound, report(errors, bound, x, mu, found)


def nll(side: Likelihood):
    """The witness for x at an end of the support too, where mpmath meets 0 * log 0."""
    exact = witness.nll(side)

    def at(x: float, mu: float):
        return mpmath.mpf(0) if side.domain == UNIT and x == mu and mu in (0, 1) else exact(x, mu)

    return at


@each_dtype
@each
def test_gradient_is_the_derivative_of_the_density(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    inner = ~((mu == side.domain.low) | (mu == side.domain.high) | (x == mu) & (side.support.low < 0))
    x, mu = x[inner], mu[inner].requires_grad_()
    (found,) = torch.autograd.grad(side.nll(x, mu).sum(), mu)
    points = [*zip(x.tolist(), mu.tolist(), strict=True)]
    exact = [*itertools.starmap(witness.gradient(side), points)]
    reach = [abs(value) < torch.finfo(dtype).max for value in exact]  # a density's slope may be beyond float32
    x, mu, found = (part[torch.tensor(reach)] for part in (x, mu.detach(), found))
    points, exact = ([part for part, within in zip(parts, reach, strict=True) if within] for parts in (points, exact))
    loss = witness.loss(side, 1)
    own = [max(abs(float(side.slope) * loss(*point)), terms_of_one(side)) for point in points]
    size = [max(abs(value), term * cancelling(dtype)) for value, term in zip(exact, own, strict=True)]
    bound = 0.6 if dtype == torch.float32 else 6
    errors = witness.off_by(found.tolist(), exact, torch.finfo(dtype).eps, size)
    assert max(errors) <= bound, report(errors, bound, x, mu.detach(), found)


@each
def test_the_claim_is_the_density(side: Likelihood, device: str) -> None:
    x, mu = grid(side, torch.float64, device)
    loss = witness.loss(side)
    offset, gap = side.offset(x).tolist(), side.gap(mu).tolist()
    for i, (a, b) in enumerate(zip(x.tolist(), mu.tolist(), strict=True)):
        if b in (0, 1) and side.domain == UNIT:
            continue
        claimed = mpmath.mpf(float(side.slope)) * loss(a, b) + offset[i] + gap[i]
        size = abs(float(side.slope) * loss(a, b)) + abs(offset[i]) + abs(gap[i]) + (1 if side.parameters else 0)
        assert abs(claimed - nll(side)(a, b)) <= 8 * 2**-52 * max(size, 1e-300), (a, b)


@each_dtype
@each
def test_the_identity_in_code_is_off_by_less_than_four_roundings(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    x, mu = x[abs(mu) < 1e5], mu[abs(mu) < 1e5]
    parts = [float(side.slope) * side.loss(x, mu).double(), side.offset(x).double(), side.gap(mu).double()]
    value = side.nll(x, mu).double()
    size = value.abs() + sum(part.abs() for part in parts)
    off = (value - sum(parts)).abs() / (torch.finfo(dtype).eps * size.clamp(min=1e-300))
    assert off.max() < 4


@each
@pytest.mark.parametrize("where", [0.15, 0.5, 0.8])
def test_the_density_adds_up_to_one(side: Likelihood, where: float) -> None:
    assert abs(witness.total(side, where) - 1) < 1e-12


@each_dtype
@each
def test_the_raw_output_gives_the_nll_of_its_mean(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    raw = torch.tensor([-30.0, -7.3, -2.0, -0.4, 0.0, 1e-9, 0.3, 1.9, 2.1, 8.0, 30.0], dtype=torch.float64).to(dtype)
    x = torch.tensor([*witness.inside(side.support)][:3], dtype=dtype)
    x, raw = (part.reshape(-1).to(device) for part in torch.meshgrid(x, raw, indexing="ij"))
    raw = raw.requires_grad_()
    found = side.nll_raw(x, raw)
    (slope,) = torch.autograd.grad(found.sum(), raw)
    points = [*zip(x.tolist(), raw.tolist(), strict=True)]
    truth = [*itertools.starmap(witness.nll(side, raw=True), points)]
    moved = [*itertools.starmap(witness.gradient(side, raw=True), points)]
    eps, bound = torch.finfo(dtype).eps, 0.51 if dtype == torch.float32 else 4
    own = max(terms_of_one(side), bool(side.parameters))
    size = [max(abs(value), max(abs(r), own) * cancelling(dtype)) for value, (_, r) in zip(truth, points, strict=True)]
    errors = witness.off_by(found.tolist(), truth, eps, size)
    assert max(errors) <= bound, report(errors, bound, x, raw.detach(), found)
    size = [max(abs(value), mpmath.mpf(cancelling(dtype))) for value in moved]
    kinks = [i for i, (a, r) in enumerate(points) if side.support.low < 0 and a == r]
    errors = [error for i, error in enumerate(witness.off_by(slope.tolist(), moved, eps, size)) if i not in kinks]
    assert max(errors) <= bound + 2


@each
def test_the_offset_is_not_given_mu(side: Likelihood) -> None:
    assert [*inspect.signature(type(side).offset).parameters] == ["self", "x"]


@each
def test_float_results_follow_the_dtype_and_shape_of_their_arguments(side: Likelihood, device: str) -> None:
    x = torch.tensor([[0.0, 1.0, 1.0]], device=device)
    mu = torch.full((1, 3), 0.25, device=device)
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for found in (side.nll(x.to(dtype), mu.to(dtype)), side.offset(x.to(dtype)), side.gap(mu.to(dtype))):
            assert (found.dtype, found.shape, found.device) == (dtype, x.shape, x.device)
    assert side.nll(x, mu.double()).dtype == torch.float64


@each
@pytest.mark.parametrize(("x", "mu"), [((3,), (3, 1)), ((1, 3), (3,)), ((2, 3), (1, 3)), ((), (1,))])
def test_nothing_is_ever_broadcast(side: Likelihood, x: tuple[int, ...], mu: tuple[int, ...]) -> None:
    with pytest.raises(ReconError, match="never broadcasts"):
        side.nll(torch.ones(x), torch.full(mu, 0.5))
    with pytest.raises(ReconError, match="never broadcasts"):
        side.loss(torch.ones(x), torch.full(mu, 0.5))


def draws(side: Likelihood, count: int, seed: int = 0, where: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    mu = torch.full((count,), where, dtype=torch.float64)
    return side.sample(mu, torch.Generator().manual_seed(seed)), mu


@each
@pytest.mark.parametrize("where", [0.3, 0.5, 0.97])
def test_samples_follow_the_density(side: Likelihood, where: float) -> None:
    x, mu = draws(side, 20_000, where=where)
    assert side.support.contains(x).all()

    def density(value: float) -> float:
        return math.exp(-side.nll(torch.tensor([value], dtype=torch.float64), mu[:1]).item())

    if side.support.whole:
        values, counts = numpy.unique(x.numpy(), return_counts=True)
        expected = numpy.array([density(value) for value in values])
        often = expected * len(x) >= 5
        rest = [(counts[~often].sum(), (1 - expected[often].sum()) * len(x))] if not often.all() else []
        seen, due = zip(*zip(counts[often], expected[often] * len(x), strict=True), *rest, strict=True)
        chance = scipy.stats.chisquare(seen, numpy.array(due) * len(x) / sum(due)).pvalue
        assert expected.sum() > 0.999
    else:
        points = where + numpy.sinh(numpy.linspace(-45, 45, 40_001)) / 1e4  # from 1e-8 to 1e15 away, for any tail
        low, high = side.support.low, side.support.high
        points = numpy.unique([*points[(points > low) & (points < high)], *(end for end in (low, high) if math.isfinite(end))])
        nlls = side.nll(torch.tensor(points), torch.full((len(points),), where, dtype=torch.float64)).numpy()
        mass = scipy.integrate.cumulative_simpson(numpy.exp(-nlls), x=points, initial=0)
        assert mass[-1] == pytest.approx(1, abs=1e-3)
        chance = scipy.stats.kstest(x.numpy(), lambda value: numpy.interp(value, points, mass / mass[-1])).pvalue
    assert chance > 1e-3


@each
def test_fit_finds_the_noise_that_made_the_data(side: Likelihood) -> None:
    x, mu = draws(side, 200_000)
    best = type(side).fit(x, mu)
    for name, value in side.parameters.items():
        assert best.parameters[name] == pytest.approx(value, rel=0.02 if len(side.parameters) == 1 else 0.1)

    def cost(other: Likelihood) -> float:
        return other.nll(x, mu).mean().item()

    for name, value in best.parameters.items():
        for factor in (0.99, 1.01):
            assert cost(dataclasses.replace(best, **{name: value * factor})) > cost(best)
    assert cost(best) <= cost(side)


@each
def test_with_slope_finds_the_noise_of_a_weight(side: Likelihood) -> None:
    again = type(side).with_slope(float(side.slope), **side.loss.parameters)
    assert float(again.slope) == pytest.approx(float(side.slope), rel=1e-15)
    for name, value in side.parameters.items():
        assert again.parameters[name] == pytest.approx(value, rel=1e-15)


@each_kind
@pytest.mark.parametrize("slope", [0.0, -2.0, math.nan, math.inf])
def test_no_noise_has_an_impossible_slope(kind: type[Likelihood], slope: float) -> None:
    with pytest.raises(ReconError):
        kind.with_slope(slope)


@each
def test_the_spelling_is_read_back(side: Likelihood) -> None:
    assert likelihoods.parse(str(side)) == side
    assert hash(likelihoods.parse(str(side))) == hash(side)


@each_kind
def test_noise_outside_its_domain_is_refused(kind: type[Likelihood]) -> None:
    for field in dataclasses.fields(kind):
        for value in (0.0, -1.0, math.nan, math.inf):
            with pytest.raises(ReconError, match=field.name):
                kind(**{field.name: value})
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), field.name, 2.0)


@each_kind
def test_every_public_word_is_explained(kind: type[Likelihood]) -> None:
    assert kind.__doc__
    assert ">>>" in kind.__doc__
    assert "log p(x | mu)" in kind.__doc__
    for loss in kind().losses:
        assert type(loss).__doc__
        assert likelihoods.losses()[loss.name] is type(loss)


@each
def test_autograd_agrees_with_differences_to_the_second_order(side: Likelihood) -> None:
    x = torch.tensor([0.0, 1.0, 1.0, 0.0], dtype=torch.float64)
    mu = torch.tensor([0.21, 0.33, 0.58, 0.83], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda mu: side.nll(x, mu), mu)
    assert torch.autograd.gradgradcheck(lambda mu: side.nll(x, mu), mu)
    raw = side.link.forward(mu.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: side.nll_raw(x, raw), raw)
    assert torch.autograd.gradgradcheck(lambda raw: side.nll_raw(x, raw), raw)


@each
def test_functorch_and_the_compiler_take_it(side: Likelihood) -> None:
    torch._dynamo.reset()
    x = torch.tensor([[0.0, 1.0], [1.0, 0.0]], dtype=torch.float64)
    mu = torch.tensor([[0.2, 0.4], [0.7, 0.9]], dtype=torch.float64)
    plain = torch.func.grad(lambda mu: side.nll(x, mu).sum())(mu)
    mapped = torch.func.vmap(torch.func.grad(lambda x, mu: side.nll(x, mu).sum(), argnums=1))(x, mu)
    assert torch.equal(plain, mapped)
    compiled = torch.compile(lambda x, mu: side.nll(x, mu), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, mu), side.nll(x, mu), rtol=1e-15, atol=1e-15)
    meta = side.nll(x.to("meta"), mu.to("meta"))
    assert meta.shape == x.shape


@each_kind
def test_the_noise_can_be_learned(kind: type[Likelihood]) -> None:
    names = [field.name for field in dataclasses.fields(kind)]
    if not names:
        pytest.skip(f"{kind.name} has no noise")
    values = [torch.tensor(0.37, dtype=torch.float64, requires_grad=True) for _ in names]
    x, mu = torch.tensor([0.1, 0.9]).double(), torch.tensor([0.3, 0.4]).double()
    assert torch.autograd.gradcheck(lambda *values: kind(**dict(zip(names, values, strict=True))).nll(x, mu), values)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_nll_is_finite_wherever_density_is_positive(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    share = st.floats(1e-12, 1 - 1e-12)
    domains = {field.name: field.metadata["domain"] for field in dataclasses.fields(kind)}
    side = kind(**{name: data.draw(share if domain == SHARE else st.floats(0.05, 20)) for name, domain in domains.items()})
    real = st.floats(-1e3, 1e3)
    x = data.draw(st.sampled_from([0.0, 1.0]) if side.support.whole else (share if side.support.low == 0 else real))
    mu = data.draw(share if side.domain.low == 0 else real)
    point = torch.tensor([mu], dtype=torch.float64, requires_grad=True)
    value = side.nll(torch.tensor([x], dtype=torch.float64), point)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(point.grad) or x == mu  # |x - mu|^power has a cusp there


@pytest.mark.parametrize("loss", [kind() for kind in dict.fromkeys(likelihoods.losses().values())], ids=lambda loss: loss.name)
@each_dtype
def test_a_loss_is_its_formula_value_and_gradient(loss: Loss, dtype: torch.dtype, device: str) -> None:
    x = torch.tensor([0.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.25], dtype=dtype, device=device)
    mu = torch.tensor([0.25, 0.75, 0.9, 0.01, 0.999, 0.999, 0.5], dtype=dtype, device=device)
    point = loss.link.forward(mu).detach().requires_grad_()
    value = loss(x, point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    r = sympy.Symbol("r", real=True)
    cost = witness.formula(loss.formula, loss, raw=True)
    points = [*zip(x.tolist(), point.tolist(), strict=True)]
    exact = [*itertools.starmap(witness.function(cost, "x", "r"), points)]
    moved = [*itertools.starmap(witness.function(sympy.diff(cost, r), "x", "r"), points)]
    eps = torch.finfo(dtype).eps
    assert max(witness.off_by(value.tolist(), exact, eps)) < 3
    assert max(witness.off_by(slope.tolist(), moved, eps, [max(abs(value), 1) for value in moved])) < 3


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=lambda reduction: reduction.name)
def test_a_reduction_is_the_sum_over_its_count(reduction) -> None:
    values = torch.arange(24.0).reshape(4, 2, 3)
    expected = {"sum": values.sum(), "mean": values.mean(), "batch-mean": values.flatten(1).sum(1).mean()}
    assert reduction(values) == pytest.approx(expected[reduction.name].item())
    assert reduction.count(4, 6) * reduction(values) == pytest.approx(values.sum().item())
