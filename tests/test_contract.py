"""The laws of the idea, over every likelihood in the registry: three statements set against each other."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import itertools
import math
from collections.abc import Callable
from typing import Any

import mpmath
import numpy
import points
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
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import REDUCTIONS, Loss
from recon_cli.identity.regions import SHARE, Circle, CountVector, Interval, Lattice, Simplex, Sphere
from recon_cli.identity.vectors import RealVector
from recon_cli.likelihoods.gaussian import Gaussian

NOISES = (0.5, 0.3, 2.7)  # away from 1, where a forgotten sigma does not show
SHARES = (0.3, 0.8, 0.45)
NEAR_ONE = 30.0  # the logit of the last share between which and 1 there are hundreds of numbers
DESIGNS = (17.0, 3.0, 256.0)  # whole numbers: trials, levels
FEW = (3.0, 2.0, 1.0)  # of these there are many events, or many numbers for each
KINDS = [likelihoods.find(name) for name in likelihoods.names()]


def values(domain: Interval, name: str, kind: type[Likelihood]) -> tuple[float, ...]:
    """Three values of a parameter."""
    if name == "rank":
        return (2.0, 1.0, 2.0)
    if isinstance(kind().support, CountVector) or name == kind.sized_by:
        return FEW
    if domain.bounds and domain != SHARE:
        return tuple(domain.low + (domain.high - domain.low) * share for share in SHARES)
    return DESIGNS if domain.whole else SHARES if domain == SHARE else NOISES


def instances(kind: type[Likelihood]) -> list[Likelihood]:
    """Three noises, each parameter at a different one of its three values; the one there is without parameters."""
    choices = [values(field.metadata["domain"], field.name, kind) for field in dataclasses.fields(kind)]
    return [kind(*(choice[(i + turn) % 3] for i, choice in enumerate(choices))) for turn in range(3 if choices else 1)]


def noise(side: Likelihood) -> dict[str, float]:
    """The parameters that are noise, not design."""
    return {name: value for name, value in side.parameters.items() if name not in side.design}


SIDES = [side for kind in KINDS for side in instances(kind)]
DTYPES = [torch.float32, torch.float64]
# Two noises, one below 1 and one above it, see what a third does: the first of three is slow.
FIRST = [side for kind in KINDS for side in instances(kind)[:-1][:1]]
each = pytest.mark.parametrize(
    "side", [pytest.param(side, id=str(side), marks=pytest.mark.slow if side in FIRST else ()) for side in SIDES]
)
each_kind = pytest.mark.parametrize("kind", KINDS, ids=[kind.name for kind in KINDS])
each_dtype = pytest.mark.parametrize("dtype", DTYPES, ids=["float32", "float64"])


def grid(side: Likelihood, dtype: torch.dtype, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Every x with every mu at which the nll is finite, exact in the dtype."""
    pairs = itertools.product(points.data(side), points.outputs(side))
    x, mu = (torch.tensor(part, dtype=torch.float64).to(dtype) for part in zip(*pairs, strict=True))
    inner = side.support.contains(x) & side.domain.contains(mu) & points.possible(side, x, mu)
    return x[inner].to(device), mu[inner].to(device)


def rows(*tensors: torch.Tensor) -> list[tuple[Any, ...]]:
    """Events side by side, as numbers or lists of them."""
    return [*zip(*(tensor.tolist() for tensor in tensors), strict=True)]


def report(errors: list[float], bound: float, *columns: Any) -> str:
    """Every point that is off by more than ``bound``."""
    lines = zip(errors, *(column if isinstance(column, list) else column.tolist() for column in columns), strict=True)
    return "\n".join(str(line) for line in lines if not line[0] <= bound)


def terms(side: Likelihood, x: torch.Tensor, mu: torch.Tensor) -> list[mpmath.mpf]:
    """The largest term of the identity at each point: what an error is measured against where terms cancel."""
    if side.relaxation is None and isinstance(side.support, Lattice):
        return [mpmath.mpf(0)] * len(x)  # their loss is the nll itself
    loss = witness.loss(side)
    found = []
    for point in rows(x, mu):
        with mpmath.workdps(30):
            try:
                found.append(abs(mpmath.mpf(float(side.slope)) * loss(*point)))
            except (ValueError, ZeroDivisionError):
                found.append(mpmath.mpf(0))
    normaliser = [1, *(abs(math.log(value)) for value in side.parameters.values())] if side.parameters or side.head else [0]
    rest = [side.offset(x).double().abs().clamp(min=max(normaliser)), side.gap(mu).double().abs()]
    return [max(term, *(mpmath.mpf(part[i].item()) for part in rest)) for i, term in enumerate(found)]


def off_by(
    got: list[float], exact: list[Any], dtype: torch.dtype, size: list[Any], bound: float, leeway: Callable[[int], Any]
) -> list[float]:
    """Errors in eps. Beyond the largest number of the dtype an infinity is right, and nothing else.

    One over the bound is measured against the witness's leeway too: only a formula that cancels, or magnifies, asks for it.
    """
    eps, last = torch.finfo(dtype).eps, torch.finfo(dtype).max
    errors = []
    for i, (value, true) in enumerate(zip(got, exact, strict=True)):
        if abs(true) > last and math.isinf(value) and (value > 0) == (true > 0):
            errors.append(0.0)
            continue
        (error,) = witness.off_by([value], [true], eps, [size[i]])
        if error > bound and math.isfinite(value):
            (error,) = witness.off_by([value], [true], eps, [max(size[i], cancelling(dtype) * leeway(i))])
        errors.append(error)
    return errors


def cancelling(dtype: torch.dtype) -> float:
    """How much of a large term an error may be measured against: all of it in float64, next to none in
    float32, which is computed in float64 and rounded once."""
    return 1.0 if dtype == torch.float64 else 1e-7


def terms_of_one(side: Likelihood) -> float:
    """Shares are differences from terms such as x/mu and log mu, of size one at least."""
    return 1.0 if side.domain.high == 1 or side.head else 0.0


@each_dtype
@each
def test_nll_is_the_density(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    exact = [*itertools.starmap(nll(side), rows(x, mu))]
    found = side.nll(x, mu)
    assert found.dtype == dtype
    size = [max(abs(value), term * cancelling(dtype)) for value, term in zip(exact, terms(side, x, mu), strict=True)]
    bound = 0.51 if dtype == torch.float32 else 4
    points = rows(x, mu)
    errors = off_by(found.tolist(), exact, dtype, size, bound, lambda i: witness.leeway(side, False, *points[i])[0])
    assert max(errors) <= bound, report(errors, bound, x, mu, found)


@each
def test_a_batch_costs_the_sum_of_its_elements(side: Likelihood, device: str) -> None:
    """And so do its gradients: by the raw output, and by each number of a noise that is being learned."""
    x, mu = grid(side, torch.float32, device)
    inner = side.link.forward(mu).isfinite()
    kept = inner if inner.ndim == 1 else inner.flatten(1).all(dim=1)
    x, raw = x[kept], side.link.forward(mu)[kept]

    def both(of: Any) -> tuple[torch.Tensor, ...]:
        number = functools.partial(torch.tensor, dtype=torch.float64, device=device, requires_grad=True)
        learned = {name: number(value) for name, value in noise(side).items()}
        claim, free = dataclasses.replace(side, **learned), raw.double().requires_grad_()
        value = of(claim, free)
        slopes = torch.autograd.grad(value, [free, *learned.values()], allow_unused=True)
        return value.detach(), *(slope for slope in slopes if slope is not None)

    found = both(lambda claim, free: claim.total(x, free))
    exact = both(lambda claim, free: claim.nll_raw(x, free).sum())
    assert side.total(x, raw).dtype == torch.float64
    for mine, one in zip(found, exact, strict=True):
        torch.testing.assert_close(mine, one, rtol=1e-12, atol=0.0, equal_nan=True)


def test_a_batch_in_float32_costs_what_it_does_in_float64_to_a_rounding_or_two() -> None:
    """While a Gaussian's sigma is learned; whatever the size of the errors beside the data."""
    generator = torch.Generator().manual_seed(2)
    for size in (1.0, 1e-2, 1e-4):
        x = torch.rand(64, 784, generator=generator)
        raw, sigma = x + size * torch.randn(64, 784, generator=generator), torch.tensor(1.3 * size)

        def both(*numbers: torch.Tensor, x: torch.Tensor = x) -> tuple[torch.Tensor, ...]:
            free, level = (number.clone().requires_grad_() for number in numbers)
            cost = Gaussian(sigma=level).total(x, free)
            return cost.detach(), *torch.autograd.grad(cost, (free, level))

        mine, exact = both(raw, sigma), both(raw.double(), sigma.double(), x=x.double())
        assert mine[0].dtype == torch.float64
        for one, other in zip(mine, exact, strict=True):
            torch.testing.assert_close(one.double(), other, rtol=3 * torch.finfo(torch.float32).eps, atol=0.0)


@each_kind
def test_a_batch_is_not_broadcast(kind: type[Likelihood]) -> None:
    last = (3,) * kind.event
    raw = torch.full((2, 4, *last, *((len(head),) if (head := kind().head) else ())), 0.5)
    with pytest.raises(ReconError):
        kind().total(torch.full((4, *last), 0.5), raw)


def test_a_batch_of_elements_with_a_noise_each() -> None:
    x, raw, sigma = (torch.rand(shape, generator=torch.Generator().manual_seed(1)) + 0.1 for shape in ((5, 3), (5, 3), 3))
    claim = Gaussian(sigma=sigma.double())
    exact = scipy.stats.norm.logpdf(x.double(), raw.double(), sigma.double()).sum()
    assert claim.total(x, raw).item() == pytest.approx(-exact, rel=1e-13)


def nll(side: Likelihood):
    """The witness for x at an end of the support too, where mpmath meets 0 * log 0."""
    exact = witness.nll(side)
    ends = (side.domain.low, side.domain.high) if type(side.domain) is Interval and side.domain.low == 0 else ()

    def at(x: Any, mu: Any):
        return mpmath.mpf(0) if x == mu and mu in ends else exact(x, mu)

    return at


def flatten(parts: Any) -> list[Any]:
    """Numbers, or lists of numbers, end to end."""
    return [number for part in parts for number in (flatten(part) if isinstance(part, list) else [part])]


@each_dtype
@each
def test_gradient_is_the_derivative_of_the_density(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    if not side.event and not side.head:
        kink = (x == mu) & points.bent(side)
        inner = ~((mu == side.domain.low) | (mu == side.domain.high) | kink) if not isinstance(side.domain, Circle) else ~kink
        x, mu = x[inner], mu[inner]
    if isinstance(side.domain, Simplex):
        x, mu = x[(mu > 0).all(dim=-1)], mu[(mu > 0).all(dim=-1)]
    mu.requires_grad_()
    (found,) = torch.autograd.grad(side.nll(x, mu).sum(), mu)
    moved = [*itertools.starmap(witness.gradient(side), rows(x, mu))]
    exact, got = flatten(moved), flatten(found.tolist())
    loss = witness.loss(side, 1)
    own = [max(abs(float(side.slope) * loss(*point)), terms_of_one(side)) for point in rows(x, mu)]
    own = [size for size, parts in zip(own, moved, strict=True) for _ in parts]
    where = [(point, k) for point, parts in zip(rows(x, mu), moved, strict=True) for k in range(len(parts))]
    reach = [abs(value) < torch.finfo(dtype).max for value in exact]  # a density's slope may be beyond float32
    exact, got, own, where = ([*itertools.compress(part, reach)] for part in (exact, got, own, where))
    size = [max(abs(value), term * cancelling(dtype)) for value, term in zip(exact, own, strict=True)]
    bound = 0.6 if dtype == torch.float32 else 6
    errors = off_by(got, exact, dtype, size, bound, lambda i: witness.leeway(side, False, *where[i][0])[1][where[i][1]])
    assert max(errors) <= bound, report(errors, bound, where, got)


@each
def test_the_claim_is_the_density(side: Likelihood, device: str) -> None:
    x, mu = grid(side, torch.float64, device)
    loss = witness.loss(side)
    offset, gap = side.offset(x).tolist(), side.gap(mu).tolist()
    for i, (a, b) in enumerate(rows(x, mu)):
        if side.domain.low == 0 and {0, side.domain.high} & {*witness.flat(b)}:
            continue
        claimed = mpmath.mpf(float(side.slope)) * loss(a, b) + offset[i] + gap[i]
        size = abs(float(side.slope) * loss(a, b)) + abs(offset[i]) + abs(gap[i]) + (1 if side.parameters else 0)
        assert abs(claimed - nll(side)(a, b)) <= 8 * 2**-52 * max(size, 1e-300), (a, b)


@each_dtype
@each
def test_the_identity_in_code_is_off_by_less_than_four_roundings(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    x, mu = grid(side, dtype, device)
    near = abs(mu).reshape(len(x), -1).amax(dim=1) < 1e5
    x, mu = x[near], mu[near]
    parts = [float(side.slope) * side.loss(x, mu).double(), side.offset(x).double(), side.gap(mu).double()]
    value = side.nll(x, mu).double()
    whole, size = sum(parts), value.abs() + sum(part.abs() for part in parts)
    last = torch.finfo(dtype).max
    beyond = (value.isinf() & (whole > last)) | (parts[0].isinf() & (value > float(side.slope) * last))
    for i, (off, point) in enumerate(zip((value - whole).abs().tolist(), rows(x, mu), strict=True)):
        unit = 4 * torch.finfo(dtype).eps
        assert beyond[i] or off < unit * max(size[i].item(), 1e-300) or off < unit * witness.leeway(side, False, *point)[0], point


@pytest.mark.parametrize(
    ("side", "where"),
    [
        pytest.param(side, where, marks=pytest.mark.slow if side in FIRST else ())
        for kind in KINDS
        for side, where in zip(instances(kind), (0.15, 0.5, 0.8), strict=False)
        if not kind.atoms  # a series at each place: derive adds it up, term by term, and by number
    ],
    ids=str,
)
def test_the_density_adds_up_to_one(side: Likelihood, where: float) -> None:
    assert abs(witness.total(side, points.mean(side, where)) - 1) < 1e-12


@each_dtype
@each
def test_the_raw_output_gives_the_nll_of_its_mean(side: Likelihood, dtype: torch.dtype, device: str) -> None:
    some = points.data(side)
    pairs = itertools.product(some[:2] + some[-1:], points.raw_points(side))
    x, raw = (torch.tensor(part, dtype=dtype, device=device) for part in zip(*pairs, strict=True))
    raw = raw.requires_grad_()
    found = side.nll_raw(x, raw)
    (slope,) = torch.autograd.grad(found.sum(), raw)
    truth = [*itertools.starmap(witness.nll(side, raw=True), rows(x, raw))]
    moved = [*itertools.starmap(witness.gradient(side, raw=True), rows(x, raw))]
    bound = 0.51 if dtype == torch.float32 else 4
    own = max(terms_of_one(side), bool(side.parameters))
    reach = [max(abs(part) for part in witness.flat(r)) for _, r in rows(x, raw)]
    size = [max(abs(value), max(far, own) * cancelling(dtype)) for value, far in zip(truth, reach, strict=True)]
    where = rows(x, raw)
    errors = off_by(found.tolist(), truth, dtype, size, bound, lambda i: witness.leeway(side, True, *where[i])[0])
    says = f"digits are lost on the way over {side.link.name}: write {type(side).__name__}.nll_raw from the raw output\n"
    assert max(errors) <= bound, says + report(errors, bound, x, raw.detach(), found)
    kinks = [a == r and side.support.low == -math.inf for (a, r), parts in zip(rows(x, raw), moved, strict=True) for _ in parts]
    size = [max(abs(value), mpmath.mpf(cancelling(dtype))) for value in flatten(moved)]
    places = [(point, k) for point, parts in zip(where, moved, strict=True) for k in range(len(parts))]
    got, exact = flatten(slope.tolist()), flatten(moved)
    errors = off_by(got, exact, dtype, size, bound, lambda i: witness.leeway(side, True, *places[i][0])[1][places[i][1]])
    assert max(error for error, kink in zip(errors, kinks, strict=True) if not kink) <= bound + 2


@each
def test_the_offset_is_not_given_mu(side: Likelihood) -> None:
    assert [*inspect.signature(type(side).offset).parameters] == ["self", "x"]


@each
def test_float_results_follow_the_dtype_and_shape_of_their_arguments(side: Likelihood, device: str) -> None:
    x, mu = (part.to(device)[None] for part in points.ordinary(side))
    shape = x.shape[: x.ndim - side.event]
    for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64):
        for found in (side.nll(x.to(dtype), mu.to(dtype)), side.offset(x.to(dtype)), side.gap(mu.to(dtype))):
            assert (found.dtype, found.shape, found.device) == (dtype, shape, x.device)
    assert side.nll(x.float(), mu).dtype == torch.float64
    assert side.sample(mu[0]).shape == x[0].shape


@each
@pytest.mark.parametrize(("x", "mu"), [((3,), (3, 1)), ((1, 3), (3,)), ((2, 3), (1, 3)), ((), (1,))])
def test_nothing_is_ever_broadcast(side: Likelihood, x: tuple[int, ...], mu: tuple[int, ...]) -> None:
    for refused in (side.nll, side.loss):
        with pytest.raises(ReconError, match="never broadcasts" if not side.head else "for each element") as caught:
            refused(torch.ones(x), torch.full(mu, 0.5))
        assert caught.value.hint


def draws(side: Likelihood, count: int, seed: int = 0, where: float = 0.3) -> tuple[torch.Tensor, torch.Tensor]:
    mean = torch.tensor(points.mean(side, where), dtype=torch.float64)
    mu = mean.expand(count, *mean.shape).contiguous()
    return side.sample(mu, torch.Generator().manual_seed(seed)), mu


@each
@pytest.mark.parametrize("where", [0.3, 0.5, 0.97])
def test_samples_follow_the_density(side: Likelihood, where: float) -> None:
    bounded = type(side.support) is Interval and not side.support.closed and side.support.high < math.inf
    x, mu = draws(side, 20_000, where=min(where, 1.07 - where) if bounded else where)  # numbers are dense near 0, not near 1
    assert side.support.contains(x).all()

    def density(events: Any) -> numpy.ndarray:
        known = torch.as_tensor(numpy.asarray(events), dtype=torch.float64)
        return (-side.nll(known, mu[:1].expand(len(known), *mu.shape[1:]))).exp().numpy()

    if side.support.whole or isinstance(side.support, Lattice):
        seen, counts = numpy.unique(x.numpy(), return_counts=True, axis=0)
        expected = density(seen)
        often = expected * len(x) >= 5
        rest = [(counts[~often].sum(), (1 - expected[often].sum()) * len(x))] if not often.all() else []
        found, due = zip(*zip(counts[often], expected[often] * len(x), strict=True), *rest, strict=True)
        chance = scipy.stats.chisquare(found, numpy.array(due) * len(x) / sum(due)).pvalue if len(found) > 1 else 1.0
        assert expected.sum() > 0.999
    elif isinstance(side.support, RealVector):  # in units of the density's own width: independent, and each standard normal
        bends = torch.func.hessian(lambda x: side.nll(x, mu[0]))(side.centre(mu[0]))
        white = (x - side.centre(mu)) @ torch.linalg.cholesky(bends)
        chance = min(scipy.stats.kstest(part.numpy(), "norm").pvalue for part in white.T)
        pairs = [white[:, i] * white[:, k] for k in range(white.shape[1]) for i in range(k)]
        chance = min([chance, *(scipy.stats.ttest_1samp(pair.numpy(), 0).pvalue for pair in pairs)])
    elif isinstance(side.support, Sphere):  # by the height over mu: in three dimensions that is uniform where kappa is 0
        heights = numpy.linspace(-1, 1, 4001)
        pole = mu[0] / mu[0].norm()
        across = torch.linalg.svd(pole[None]).Vh[1]
        ring = torch.tensor(heights)[:, None] * pole + torch.tensor(1 - heights**2).clamp(min=0).sqrt()[:, None] * across
        mass = scipy.integrate.cumulative_simpson(2 * math.pi * density(ring), x=heights, initial=0)
        assert mass[-1] == pytest.approx(1, abs=1e-6)
        chance = scipy.stats.kstest((x @ pole).numpy(), lambda value: numpy.interp(value, heights, mass)).pvalue
        around = torch.atan2(x @ torch.linalg.cross(pole, across), x @ across).numpy()
        chance = min(chance, scipy.stats.kstest(around, scipy.stats.uniform(-math.pi, 2 * math.pi).cdf).pvalue)
    else:
        middle = float(mu.reshape(len(mu), -1)[0, 0])
        share, apart = 0.0, torch.zeros(len(x), dtype=torch.bool)
        if side.atoms:  # those by their chance, and the others by their density
            share, apart = density(side.atoms).sum(), torch.isin(x, torch.tensor(side.atoms).to(x))
        elif bounded:  # and so those that are so near to 1 that few numbers are between them and it
            share, apart = float(witness.beyond(side, mu[0].tolist(), NEAR_ONE)), x.logit() > NEAR_ONE
        chance = scipy.stats.binomtest(int(apart.sum()), len(apart), min(share, 1.0)).pvalue
        x = x[~apart]
        reach = numpy.sinh(numpy.linspace(-45, 45, 40_001)) / 1e4  # from 1e-8 to 1e15 away, for any tail
        low, high = side.support.low, side.support.high
        if isinstance(side.support, Circle):
            x, reach, low, high = middle + torch.remainder(x - middle + math.pi, 2 * math.pi) - math.pi, reach, *(
                middle + turn * math.pi for turn in (-1, 1)
            )  # fmt: skip
        places = middle + reach
        places = numpy.unique([*places[(places > low) & (places < high)], *(end for end in (low, high) if math.isfinite(end))])
        if side.atoms or (
            type(side.support) is Interval and not side.support.closed
        ):  # evenly in log x or logit x: there may be poles
            line = torch.linspace(-300, 300 if high == math.inf else NEAR_ONE, 20_001, dtype=torch.float64)
            places = (line.sigmoid() if high < math.inf else line.exp()).numpy()
            mass = density(places) * places * (1 - places if high < math.inf else 1)
            mass = scipy.integrate.cumulative_simpson(mass, x=line.numpy(), initial=0)
        else:
            mass = scipy.integrate.cumulative_simpson(density(places), x=places, initial=0)
        assert mass[-1] == pytest.approx(1 - share, abs=1e-3)
        chance = min(chance, scipy.stats.kstest(x.numpy(), lambda value: numpy.interp(value, places, mass / mass[-1])).pvalue)
    assert chance > 1e-3


@each
def test_fit_finds_the_noise_that_made_the_data(side: Likelihood) -> None:
    count = 20_000 if len(noise(side)) == 1 or side.costly else 60_000
    x, mu = draws(side, count, where=2.7 if side.support.whole and side.support.high == math.inf and not side.event else 0.3)
    best = side.fit(x, mu)
    assert best.design == side.design
    for name, value in noise(side).items():
        assert best.parameters[name] == pytest.approx(value, rel=0.03 if len(noise(side)) == 1 else 0.15)

    def cost(other: Likelihood) -> float:
        return other.nll(x, mu).mean().item()

    for name, value in noise(best).items():
        for factor in (0.99, 1.01):
            assert cost(dataclasses.replace(best, **{name: value * factor})) > cost(best)
    assert cost(best) <= cost(side)


@each
def test_with_slope_finds_the_noise_of_a_weight(side: Likelihood) -> None:
    again = type(side).with_slope(float(side.slope), side.loss)
    says = (
        f"{type(side).__name__}.with_slope({float(side.slope)!r}, {side.loss}) must be {side} again, and is {again}: "
        "write with_slope so that it takes the slope and the loss's own numbers back"
    )
    assert float(again.slope) == pytest.approx(float(side.slope), rel=1e-15), says
    for name, value in side.parameters.items():
        other = dataclasses.replace(side, **{name: value * 0.9 if name not in side.design else value + 1})
        if (other.slope, other.loss) != (side.slope, side.loss):  # else no weight and no loss tells it
            assert again.parameters[name] == pytest.approx(value, rel=1e-15), says


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
        for value in (0.0, -1.0, math.nan, math.inf, *([16.5] if field.metadata["domain"].whole else [])):
            with pytest.raises(ReconError, match=field.name):
                kind(**{field.name: value})
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(kind(), field.name, 2.0)


@each_kind
def test_nll_is_written_from_the_density_and_not_from_the_claim(kind: type[Likelihood]) -> None:
    code = inspect.getsource(kind.nll)
    for claim in ("self.loss", "self.offset", "self.gap"):
        assert claim not in code, f"{kind.__name__}.nll uses {claim}: a comparison of the two would compare a thing with itself"


@each_kind
def test_every_public_word_is_explained(kind: type[Likelihood]) -> None:
    text = kind.__dict__["__doc__"] or ""
    example = f">>> {kind.__name__}().nll(1.0, 0.5)"
    assert ">>>" in text, f"the docstring of {kind.__name__} needs an example that runs, at its end: {example}"
    assert "-log p(x | mu" in text, f"the docstring of {kind.__name__} begins with its formula: -log p(x | mu) = ..."
    for loss in (*kind().losses, *kind.impostors):
        assert type(loss).__dict__["__doc__"], f"{type(loss).__name__} needs a docstring: the formula, and what it is"
        assert likelihoods.losses()[loss.name] is type(loss)
        assert (loss.event, loss.head) == (kind.event, kind().head)
    assert all(loss.reason and loss not in kind().losses for loss in kind.impostors)


@each
def test_autograd_agrees_with_differences_to_the_second_order(side: Likelihood) -> None:
    x, mu = points.ordinary(side)
    mu.requires_grad_()
    assert torch.autograd.gradcheck(lambda mu: side.nll(x, mu), mu)
    assert torch.autograd.gradgradcheck(lambda mu: side.nll(x, mu), mu)
    raw = side.link.forward(mu.detach()).requires_grad_()
    assert torch.autograd.gradcheck(lambda raw: side.nll_raw(x, raw), raw)
    assert torch.autograd.gradgradcheck(lambda raw: side.nll_raw(x, raw), raw)


@pytest.mark.parametrize("side", [instances(kind)[0] for kind in KINDS], ids=str)
def test_functorch_and_the_compiler_take_it(side: Likelihood) -> None:
    torch._dynamo.reset()
    x, mu = (part.reshape(2, 2, *part.shape[1:]) for part in points.ordinary(side))
    raw = side.link.forward(mu)
    for nll, point in ((side.nll, mu), (side.nll_raw, raw)):
        plain = torch.func.grad(lambda point, nll=nll: nll(x, point).sum())(point)
        mapped = torch.func.vmap(torch.func.grad(lambda x, point, nll=nll: nll(x, point).sum(), argnums=1))(x, point)
        torch.testing.assert_close(plain, mapped, rtol=1e-15, atol=1e-15)
        forward = torch.func.hessian(lambda point, nll=nll: nll(x, point).sum())(point)
        back = torch.func.jacrev(torch.func.jacrev(lambda point, nll=nll: nll(x, point).sum()))(point)
        torch.testing.assert_close(forward, back, rtol=1e-12, atol=1e-12)
    compiled = torch.compile(lambda x, mu: side.nll(x, mu), backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x, mu), side.nll(x, mu), rtol=1e-15, atol=1e-15)
    meta = side.nll(x.to("meta"), mu.to("meta"))
    assert meta.shape == x.shape[: x.ndim - side.event]


@each_kind
def test_the_noise_can_be_learned(kind: type[Likelihood]) -> None:
    side = instances(kind)[0]
    names = [*noise(side)]
    if not names:
        pytest.skip(f"{kind.name} has no noise")
    lows = [(field.metadata["domain"].bounds or (0.0, 1.0))[0] for field in dataclasses.fields(kind) if field.name in names]
    learned = [torch.tensor(low + 0.37, dtype=torch.float64, requires_grad=True) for low in lows]
    x, mu = points.ordinary(side)

    def nll(*learned: torch.Tensor) -> torch.Tensor:
        return kind(**side.design, **dict(zip(names, learned, strict=True))).nll(x, mu)

    assert torch.autograd.gradcheck(nll, learned)


def somewhere(region: Interval) -> st.SearchStrategy[Any]:
    """Any point of a region, up to a thousand away."""
    if isinstance(region, (Simplex, Sphere, Lattice, CountVector)):
        return st.sampled_from(points.inside(region))
    if region.whole:
        return st.integers(0, int(min(region.high, 1e6))).map(float)
    if region.low == 0:
        return st.floats(1e-12, 1 - 1e-12).map(lambda share: share * min(region.high, 1e3))
    return st.floats(-1e3, 1e3)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_nll_is_finite_wherever_density_is_positive(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    domains = {field.name: field.metadata["domain"] for field in dataclasses.fields(kind)}
    numbers = {SHARE: st.floats(1e-12, 1 - 1e-12)}
    numbers |= {domain: st.floats(domain.low + 1e-3, domain.high - 1e-3) for domain in domains.values() if domain.bounds}
    side = kind(
        **{
            name: data.draw(
                st.sampled_from(FEW if name == kind.sized_by else DESIGNS)
                if domain.whole
                else numbers.get(domain, st.floats(0.05, 20))
            )
            for name, domain in domains.items()
        }
    )
    vectors = isinstance(side.support, RealVector)
    x = data.draw(st.sampled_from(points.data(side)) if vectors else somewhere(side.support))
    if side.sized_by or vectors:
        outputs = st.sampled_from(points.outputs(side))
    else:
        outputs = st.tuples(st.floats(-1e3, 1e3), st.floats(1e-12, 1e12)) if side.head else somewhere(side.domain)
    mu = data.draw(outputs)
    events = torch.tensor([x], dtype=torch.float64)
    point = torch.tensor([mu], dtype=torch.float64, requires_grad=True)
    value = side.nll(events, point)
    value.sum().backward()
    assert torch.isfinite(value) or not points.possible(side, events, point)
    assert torch.isfinite(point.grad).all() or x == mu or not torch.isfinite(value)  # |x - mu|^power has a cusp there


LOSSES = [kind(**{kind.sized_by: 2.0} if kind.sized_by else {}) for kind in dict.fromkeys(likelihoods.losses().values())]


@pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
@each_dtype
def test_a_loss_is_its_formula_value_and_gradient(loss: Loss, dtype: torch.dtype, device: str) -> None:
    owner = next(
        kind(**{kind.sized_by: 2.0} if kind.sized_by else {})
        for kind in KINDS
        if loss.name in {own.name for own in (*kind().losses, *kind.impostors)}
    )
    if owner.event or owner.head or isinstance(owner.support, Lattice):
        x, mu = points.ordinary(owner, dtype)
    else:
        low, high = (end if loss.support.contains(end) else inner for end, inner in ((0.0, 0.125), (1.0, 0.875)))
        x = torch.tensor([low, high] * 3 + [0.25 if loss.support.contains(0.25) else 1.0], dtype=dtype)
        mu = torch.tensor([0.25, 0.75, 0.9, 0.01, 0.999, 0.999, 0.5], dtype=dtype)
    point = loss.link.forward(mu.to(device)).detach().requires_grad_()
    x = x.to(device)
    value = loss(x, point)
    (slope,) = torch.autograd.grad(value.sum(), point)
    raw = loss.link.formula != "r"
    xs, mus = witness.symbols(loss, raw)
    stopped = {f"stop({name})": f"held_{name}" for name in loss.head}
    text = functools.reduce(lambda text, pair: text.replace(*pair), stopped.items(), loss.formula)
    held = {sympy.Symbol(f"held_{name}"): mu for name, mu in zip(loss.head, mus, strict=False)}
    cost = witness.formula(text, loss, raw)
    where = rows(x, point)
    exact = [*itertools.starmap(witness.function(cost.subs(held), [*xs, *mus]), where)]
    parts = [witness.function(sympy.diff(cost, last).subs(held), [*xs, *mus]) for last in mus]
    moved = [part(*at) for at in where for part in parts]
    eps = torch.finfo(dtype).eps
    size = [max(abs(value), 1 if loss.event or loss.head else abs(value)) for value in exact]
    assert max(witness.off_by(value.tolist(), exact, eps, size)) < 3
    bound = 6 if loss.sized_by else 3  # a sum of several, each rounded
    assert max(witness.off_by(flatten(slope.tolist()), moved, eps, [max(abs(value), 1) for value in moved])) < bound


def test_cross_entropy_takes_soft_labels_as_torch_does(device: str) -> None:
    x = torch.tensor([[0.1, 0.7, 0.2], [0.0, 0.5, 0.5]], dtype=torch.float64, device=device)
    raw = torch.tensor([[0.3, -1.0, 2.0], [5.0, 0.0, 0.1]], dtype=torch.float64, device=device, requires_grad=True)
    loss = likelihoods.loss("cross-entropy")
    for found, expected in zip(
        (loss(x, raw), *torch.autograd.grad(loss(x, raw).sum(), raw)),
        (torch.nn.functional.cross_entropy(raw, x, reduction="none"), raw.softmax(dim=-1) - x),
        strict=True,
    ):
        torch.testing.assert_close(found, expected, rtol=1e-14, atol=1e-15)


@pytest.mark.parametrize("reduction", REDUCTIONS, ids=lambda reduction: reduction.name)
def test_a_reduction_is_the_sum_over_its_count(reduction) -> None:
    values = torch.arange(24.0).reshape(4, 2, 3)
    expected = {"sum": values.sum(), "mean": values.mean(), "batch-mean": values.flatten(1).sum(1).mean()}
    assert reduction(values) == pytest.approx(expected[reduction.name].item())
    assert reduction.count(4, 6) * reduction(values) == pytest.approx(values.sum().item())
