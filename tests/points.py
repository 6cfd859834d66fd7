"""Where to look: points of every region, ordinary ones, its ends, and those where algorithms change."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import SHARE, Circle, CountVector, Interval, Lattice, Outputs, Simplex, Sphere
from recon_cli.identity.vectors import RealVector, VectorOutputs

DIRECTIONS = [
    (1.0, 0.0, 0.0),
    (0.0, 0.0, -1.0),
    (0.6, 0.8, 0.0),
    (-0.6, 0.0, 0.8),
    (2 / 3, 2 / 3, 1 / 3),
    (0.6, 0.8, 1e-9),
    (-1.0, 0.0, 0.0),
]
TALLIES = [(1.0, 0.0, 0.0), (2.0, 0.0, 1.0), (0.0, 0.0, 0.0), (5.0, 17.0, 16.0), (0.0, 1e6, 0.0), (2.0**24, 1e9, 1.0)]
VECTORS = [(0.0, 0.0, 0.0), (1.0, -0.5, 2.5), (1e-20, 0.3, -0.7), (1e6, 0.1, -3.0)]
SHARES = [(0.2, 0.3, 0.5), (0.5, 0.5, 1e-30), (1e-9, 1e-6, 1 - 1e-6 - 1e-9), (0.0, 0.25, 0.75), (1 - 2**-20, 2**-21, 2**-21)]


def inside(region: Interval) -> list[Any]:
    """Points of a region: ordinary ones, its ends where they belong, and close to them."""
    if isinstance(region, Sphere):
        return DIRECTIONS
    if isinstance(region, Simplex):
        return [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)] if region.whole else SHARES
    if isinstance(region, CountVector):
        return TALLIES
    if isinstance(region, Outputs) and len(region.parts) % 3 == 0:
        return [mixture(region, turn) for turn in range(6)]
    if isinstance(region, Outputs):
        return [(mean, var) for mean in (-3.0, 0.0, 0.1, 2.5, 1e6) for var in (1e-12, 1e-6, 0.04, 1.0, 2.5, 1e9)]
    if isinstance(region, Circle):
        return [-3.0, -0.7, 0.0, 1e-20, 0.1, 0.5, 2.5, 3.14, 6.2, 1e6]
    if isinstance(region, Lattice):
        last = int(region.levels - 1)
        return [k / last for k in sorted({0, 1, last // 2, last - 1, last})]
    if region.whole and region.high < math.inf:
        return [float(k) for k in sorted({0, 1, int(region.high) // 2, int(region.high) - 1, int(region.high)})]
    if region.whole:
        return [0.0, 1.0, 2.0, 15.0, 16.0, 17.0, 1000.0, 2.0**24, 1e9]
    if (region.low, region.high) == (0, math.inf):
        return [1e-30, 0.1, 0.5, 1.0, 2.0, 2.5, 16.0, 17.5, 990.0, 2.0**24 + 4, 1e9, 1.5e9]
    if region.low == 0:
        points = [1e-30, 1e-6, 0.1, 0.25, 0.3, 0.5, 0.5 + 2**-20, 0.7, 0.75, 0.9, 1 - 2**-20]
        points = [point * region.high for point in points]
        return [0.0, *points, region.high] if region.closed else points
    return [-1e6, -3.0, -0.7, 0.0, 1e-20, 0.1, 0.5, 1.0, 2.5, 1e6]


def data(side: Likelihood) -> list[Any]:
    """Points of the support: vectors as long as this likelihood takes them."""
    if isinstance(side.support, RealVector):
        return [vector[: side.length or 3] for vector in VECTORS]
    return AMOUNTS if side.atoms else inside(side.support)


def outputs(side: Likelihood) -> list[Any]:
    """What a decoder may give: of vectors for each component."""
    if isinstance(side.domain, VectorOutputs):
        return [given(side, turn) for turn in range(5)]
    return data(side) if isinstance(side.domain, RealVector) else AMOUNTS[1:] if side.atoms else inside(side.domain)


def given(side: Likelihood, turn: int) -> tuple[Any, ...]:
    """A mean, and of a covariance what the decoder gives, for each component: large and small, near to singular and not."""
    means, sizes = (0.3, -2.0, 1e6, 0.0, -0.7), (0.7, 1e-3, 1e4, 1.0, 30.0)
    factors = (0.5, -3.0, 1e3, 0.0, 1e-9, -1.2, 40.0)
    rows = []
    for k in range(side.length or 3):
        parts = side.domain.of(k)
        row = [factors[(turn * 3 + i * 2 + k * 5) % len(factors)] for i in range(len(parts))]
        for i, (name, region) in enumerate(parts):
            row[i] = sizes[(turn + k * 2) % len(sizes)] if region.low == 0 else means[(turn + k) % 5] if name == "mu" else row[i]
        rows.append(tuple(row))
    return tuple(rows)


AMOUNTS = [0.0, 1e-6, 0.1, 0.5, 1.0, 2.0, 17.5, 990.0]


def mixture(region: Outputs, turn: int) -> tuple[float, ...]:
    """Locations, scales and weights of a mixture: near and far, narrow and wide, of even shares and of none but one."""
    count = len(region.parts) // 3
    choices = ((-3.0, 0.1, 0.0, 2.5, 0.7, 1e6), (1e-6, 0.04, 1.0, 2.5, 0.3, 1e9), (1.0, 1e-9, 3.0, 0.5, 1.0, 1e6, 2.0))
    return tuple(choice[(turn + (2 + i) * k) % len(choice)] for i, choice in enumerate(choices) for k in range(count))


def possible(side: Likelihood, x: torch.Tensor, mu: torch.Tensor) -> torch.Tensor:
    """Whether the density at each x is positive: not where a mean at an end rules it out."""
    if isinstance(side.domain, Simplex):
        return ~((x > 0) & (mu == 0)).any(dim=-1)
    if side.head or side.event:
        return torch.ones(len(x), dtype=torch.bool)
    return ~(((mu == side.domain.low) | (mu == side.domain.high)) & (x != mu))


def bent(side: Likelihood) -> bool:
    """Whether the density may have a cusp at mu."""
    return side.support.low == -math.inf or "Abs" in side.density


def raw_points(side: Likelihood) -> list[Any]:
    """Raw outputs: of both signs, near zero, and far out."""
    if isinstance(side.domain, VectorOutputs):
        return side.link.forward(torch.tensor(outputs(side), dtype=torch.float64)).tolist()
    if side.event:
        return [(0.3, -0.2, 1.0), (0.0, 0.0, 1e-9), (30.0, -30.0, 1.9), (-7.3, 0.4, 0.4), (1e-9, 2.0, 40.0), (250.0, 0.5, -300.0)]
    if side.sized_by:
        count = len(side.head) // 3
        choices = ((-2.0, 0.3, 30.0, 0.0, -0.4), (-8.0, 0.0, 2.1, -1.0), (0.0, -30.0, 1e-9, 30.0, 2.0))
        turns = range(7)
        return [tuple(c[(t + (1 + i) * k) % len(c)] for i, c in enumerate(choices) for k in range(count)) for t in turns]
    if side.atoms:
        return [-7.3, -2.0, -0.4, 0.0, 1e-9, 0.3, 1.9, 8.0]
    if side.head:
        return [(mean, level) for mean in (-2.0, 0.0, 0.3, 30.0) for level in (-30.0, -1.0, 0.0, 1e-9, 2.1, 30.0)]
    return [-30.0, -7.3, -2.0, -0.4, 0.0, 1e-9, 0.3, 1.9, 2.1, 8.0, 30.0]


def mean(side: Likelihood, where: float) -> Any:
    """What the decoder gives for one event: a mean at a share of the way, of this likelihood's shape."""
    if isinstance(side.domain, RealVector):
        return (where, 0.2, -where)[: side.length or 3]
    if isinstance(side.domain, VectorOutputs):
        mean, other = torch.tensor([where, 0.2, -where])[: side.length or 3], torch.tensor([0.5, -0.4, 0.3])
        plain = side.usual_outputs(mean.double(), torch.full_like(mean, 0.7).double())
        mixed = torch.arange(plain.shape[-1]) > 1 if side.sized_by == "rank" else torch.ones_like(plain[..., 1:]).tril(-1).bool()
        mixed = mixed.expand(plain.shape) if side.sized_by == "rank" else torch.cat([mixed[..., :1] & False, mixed], dim=-1)
        return plain.where(~mixed, other[: len(mean), None].double()).tolist()
    if isinstance(side.domain, Sphere):
        return (2 / 3, 2 / 3, 1 / 3) if where > 0.4 else (0.6, 0.0, -0.8)
    if isinstance(side.domain, Simplex):
        return (where, (1 - where) / 3, 1 - where - (1 - where) / 3)
    if side.sized_by:
        count = len(side.head) // 3
        return (
            *(where + 0.8 * k for k in range(count)),
            *(0.7 / (1 + k) for k in range(count)),
            *(1.0 + k for k in range(count)),
        )
    if side.head:
        return (where, 0.7)
    bounded = type(side.domain) is Interval and math.isfinite(side.domain.high)
    return where * side.domain.high if bounded else where


def ordinary(side: Likelihood, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    """Four plain events, and what the decoder gave for them."""
    if isinstance(side.support, (Simplex, Sphere, CountVector, RealVector)):
        some = data(side)
        x = [some[i % len(some)] for i in (1, 2, 0, 1)]
    else:
        line = type(side.support) is Interval
        high = min(side.support.high, 1.0) if line and side.support.whole else 1.0
        low, high = (end if not line or side.support.contains(end) else inner for end, inner in ((0.0, 0.4), (high, 0.7)))
        x = [low, high, high, low]
    mus = [mean(side, where) for where in (0.21, 0.33, 0.58, 0.83)]
    return torch.tensor(x, dtype=dtype), torch.tensor(mus, dtype=dtype)


RESIDUALS = [0.0, 1e-20, -1e-8, 0.1, -0.7, 1.0, 5.0, -17.5, 37.5, -89.0, 720.0, 1e5, -1e8, 1e20]
EXTREMES = [1e-20, 1e-3, 0.3, 1.0, 2.7, 40.0, 1e8, 1e20]
POWERS = [0.3, 1.0, 1.5, 2.0, 3.0, 8.0]
KAPPAS = [1e-10, 0.3, 1.0, 6.28, 24.9, 25.1, 1e3, 1e5]
DEGREES = [0.3, 1.0, 2.0, 31.0, 65.0, 1e4, 1e15]
DISPERSIONS = [1e-12, 1e-4, 0.3, 1.0, 40.0, 1e6]
GROUND = {"power": POWERS, "kappa": KAPPAS, "df": DEGREES, "dispersion": DISPERSIONS, "delta": [1e-3, 0.5, 1.0, 1.345, 8.0]}
DESIGN = {
    "components": [2.0, 3.0],
    "rank": [1.0, 2.0],
    "size": [2.0, 3.0],
    "levels": [2.0, 17.0, 256.0, 65536.0],
    "count": [1.0, 2.0, 15.0, 16.0, 33.0, 1e4, 2.0**24 + 1],
}
COUNTS = [0.0, 1.0, 2.0, 14.0, 15.0, 16.0, 17.0, 100.0, 2.0**24 + 1, 1e9]
MEANS = [1e-310, 1e-30, 1e-10, 1e-8, 0.5, 1.0, 2.0, 14.5, 15.0, 16.0, 99.0, 2.0**24 + 1, 1e9 + 7, 3e9]
CHANCES = [
    1e-30,
    1e-12,
    1e-7,
    0.01,
    0.2499,
    0.25,
    0.499,
    0.4990001,
    0.5 - 1e-9,
    0.5,
    0.5 + 2**-20,
    0.501,
    0.7501,
    1 - 2**-24,
    1 - 2**-53,
]


def noises(kind: type[Likelihood]) -> list[Likelihood]:
    """Each parameter at every one of its hard values, the others moving along."""
    fields = dataclasses.fields(kind)
    if kind.atoms:
        return [kind(power=power, dispersion=size) for power, size in ((1.5, 0.3), (1.05, 2.0), (1.9, 40.0), (1.999, 0.1))]
    choices = [
        DESIGN.get(field.name)
        or GROUND.get(field.name)
        or ([1e-6, 0.3, 0.5, 0.999] if field.metadata["domain"] == SHARE else EXTREMES)
        for field in fields
    ]
    turns = max((len(choice) for choice in choices), default=1)
    return [kind(*(choice[(turn + 3 * i) % len(choice)] for i, choice in enumerate(choices))) for turn in range(turns)]


def pairs(side: Likelihood) -> list[tuple[Any, Any]]:
    """Data and means at which something may go wrong, for one noise."""
    domain, scale = side.domain, float(side.parameters.get("sigma", side.parameters.get("scale", 1.0)))
    if isinstance(side.support, RealVector):
        return [(x, mu) for x in data(side) for mu in outputs(side)] + near(side)
    if isinstance(domain, Sphere):
        turns = [0.0, 1e-12, 1e-8, 1e-3, 0.5, 1.5707, 3.0, 3.14159265]
        return [((1.0, 0.0, 0.0), (math.cos(turn), math.sin(turn), 0.0)) for turn in turns]
    if isinstance(domain, Simplex):
        kinds = inside(side.support)
        shares = [(chance, (1 - chance) / 2, (1 - chance) / 2) for chance in CHANCES]
        return [(x, mu) for x in kinds for mu in shares]
    if side.sized_by:
        xs = inside(side.support)[:5] if isinstance(side.support, Lattice) else [-0.7, 0.0, 1.0, 2.5]
        return [(x, (*(x + at for at in mu[: len(mu) // 3]), *mu[len(mu) // 3 :])) for x in xs for mu in inside(side.domain)]
    if side.head:
        return [(x, (x + e, var)) for x in (0.0, 1.0) for e in RESIDUALS[:12] for var in (1e-38, 1e-8, 1e-6, 0.04, 1.0, 1e8)]
    if isinstance(domain, Circle):
        turns = [0.0, 1e-20, 1e-8, 0.5, 1.5707963, 3.14, 3.14159265, -2.0, 100.0, 1e6]
        return [(x, x - turn) for x in (0.0, 1.0, 3.0) for turn in turns]
    if isinstance(side.support, Lattice):
        last = side.support.levels - 1
        levels = sorted({0.0, 1.0, last // 2, last})
        return [(k / last, k / last + e * scale) for k in levels for e in [*RESIDUALS[:11], 0.5 / last / scale]]
    if side.atoms:
        return [(x, mu) for x in AMOUNTS for mu in (*AMOUNTS[1:], x + 0.5, x * (1 + 1e-9) + 1e-9)]
    if domain.low == 0 and domain.high == math.inf:
        return [(x, mu) for x in COUNTS for mu in (*MEANS, x + 0.5)]
    if domain.low == 0:
        xs = inside(side.support) if side.support.whole else [0.0, 0.3, 0.5, 1.0]
        return [(x, chance * domain.high) for x in xs for chance in CHANCES]
    return [(x, x + e * unit) for x in (0.0, 1.0, -0.7) for e in RESIDUALS for unit in {1.0, min(max(scale, 1e-15), 1e15)}]


def near(side: Likelihood) -> list[tuple[Any, Any]]:
    """Vectors near to what the decoder gave, and in its own directions."""
    found = []
    for mu in outputs(side):
        centre = [row[0] if isinstance(row, tuple) else row for row in mu]
        found += [(tuple(c + e * (1 - k % 2 / 3) for k, c in enumerate(centre)), mu) for e in (0.0, 1e-8, 0.3, -17.5, 1e5)]
    return found


def raw_pairs(side: Likelihood) -> list[tuple[Any, Any]]:
    """Data and raw outputs, where the decoder's output is not the mean itself."""
    far = [0.0, 1e-12, -1e-5, 0.5, -2.0, 8.0, -17.3, 20.0, 37.5, -88.0, 100.0]
    if isinstance(side.domain, VectorOutputs):
        return [(x, raw) for x in data(side) for raw in raw_points(side)] + [
            (x, side.link.forward(torch.tensor(mu, dtype=torch.float64)).tolist()) for x, mu in near(side)
        ]
    if side.event:
        return [(x, (0.3, r, -r / 3)) for x in inside(side.support)[:3] for r in far]
    if side.sized_by:
        xs = inside(side.support)[:5] if isinstance(side.support, Lattice) else [-0.7, 0.0, 1.0, 2.5]
        return [(x, raw) for x in xs for raw in raw_points(side)]
    if side.head:
        return [(x, (x + e, level)) for x in (0.0, 1.0) for e in RESIDUALS[:11] for level in (*far, -60.0)]
    low = -200.0 if side.domain.high < math.inf else -60.0
    xs = COUNTS if side.support.whole and side.support.high == math.inf else inside(side.support)
    if side.atoms:
        return [(x, r) for x in AMOUNTS for r in (*far[:8], 3.0)]
    return [(x, r) for x in (xs if side.support.whole else [0.0, 0.3, 0.5, 1.0]) for r in (*far, 3.0, low)]
