"""What is in a source: its shape, its range, and which likelihoods its values allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli import likelihoods, sources
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import as_tensor
from recon_cli.likelihoods._grey_levels import elsewhere, levels
from recon_cli.report import Report, Table, column
from recon_cli.runtime.images import MOST, gallery
from recon_cli.runtime.lazy_arrays import Array, Lazy, blocks
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources._reading import ReadOptions

if TYPE_CHECKING:
    from torch import Tensor

SOME = 1 << 20  # elements looked at for how many values differ


@dataclass(frozen=True, kw_only=True)
class Described:
    """A source: ``distinct`` and ``levels`` are None where the values are too many, or on none."""

    source: str = column("source", "*")
    samples: int = column("samples", brief=True)
    absent: int = column("values not there", None, default=0)
    shape: str = column("shape of one", brief=True)
    dtype: str = column("type", brief=True)
    least: float = column("least", brief=True)
    most: float = column("most", brief=True)
    mean: float = column("mean", brief=True)
    distinct: int | None = column("different values", brief=True)
    levels: int | None = column("levels k/(n - 1)")


@dataclass(frozen=True, kw_only=True)
class Taken:
    """Whether a likelihood takes the values of a source, and the share that is outside what it takes."""

    likelihood: str = column("likelihood", "*")
    allowed: bool = column("ok")
    takes: str = column("takes")
    outside: float = column("outside", None)


@in_default_state
def survey(
    data: Any, scale: float | None = None, progress: Callable[[int, str], None] | None = None, reading: ReadOptions | None = None
) -> Report:
    """Describe a source, named or an object: a row for it, a row for each likelihood, a few samples as a picture.

    A likelihood with a design (trials, levels) is asked with the one that the data have; ``outside`` is the share of
    values (of vectors, where it takes vectors) that it does not take. ``distinct``, ``levels`` and the design are those
    of a million evenly spread values where the data lie in a large file, else ``distinct`` and ``levels`` of the first
    million; None where they are too many, or none.
    """
    import torch

    source, word = sources.source_of(data, reading=reading)
    values, about = sources.samples(source, word, scale)
    parts: Iterable[Array]
    some, parts = (values.spread(SOME), blocks(values, SOME)) if isinstance(values, Lazy) else (values, pieces(values))
    looked_at = as_tensor(some)
    classes = [likelihoods.find(name) for name in likelihoods.names()]
    few = torch.unique(present(looked_at).flatten()[:SOME])
    grids = [elsewhere(kind(), looked_at) for kind in classes]
    single, vectors = present(looked_at), present(looked_at, vectors=True)
    seen = [vectors if kind.event and vectors.numel() else single for kind in classes]
    candidates = [
        kind.designed(part if on is None else on.to_unit(part)) for kind, part, on in zip(classes, seen, grids, strict=True)
    ]
    least, most, mean, outside, done, there = math.inf, -math.inf, 0.0, [0.0] * len(candidates), 0, 0
    for block in parts:
        x = as_tensor(block)
        done += x.numel()
        whole, x = present(x, vectors=True), present(x)
        there += x.numel()
        if not x.numel():
            continue
        least, most = min(least, x.min().item()), max(most, x.max().item())
        part = x.double().sum().item() / values.size
        mean += part if math.isfinite(part) else (x.double() / values.size).sum().item()
        taken = [whole if each.event else x if on is None else on.to_unit(x) for each, on in zip(candidates, grids, strict=True)]
        shares = [
            (~each.support.contains(part)).double().mean().item() if part.numel() else 0.0
            for each, part in zip(candidates, taken, strict=True)
        ]
        outside = [total + share * block.size / values.size for total, share in zip(outside, shares, strict=True)]
        if progress is not None:
            progress(100 * done // values.size, word)
    mean *= values.size / max(1, there)
    if source.weights is not None:
        mean = weighted_mean(numpy.asarray(values), source.weights)
        source.remarks += (f"{word}: the mean is weighted; all else is of the values as they are.",)
    grid = levels(few) if len(few) <= 1 << 16 else None
    row = Described(
        source=word,
        samples=len(values),
        absent=values.size - there,
        shape=spell(values.shape[1:]),
        dtype=str(values.dtype),
        least=least,
        most=most,
        mean=mean,
        distinct=len(few) if len(few) <= 1 << 16 else None,
        levels=None if grid is None else int(grid),
    )
    rows = []
    for likelihood, share in zip(candidates, outside, strict=True):
        design = ",".join(f"{key}={float(value):g}" for key, value in likelihood.design.items())
        name = f"{likelihood.name}:{design}" if design else likelihood.name
        rows.append(Taken(likelihood=name, allowed=not share, takes=str(likelihood.support), outside=share))
    size = math.prod(values.shape[1:])
    picture = None
    if size <= SOME:
        picture = gallery(
            "the first samples", [("x", numpy.nan_to_num(values[:MOST].reshape(-1, size)))], values.shape[1:] or (1,)
        )
    tables = [Table.of("source", Described, [row]), Table.of("likelihoods", Taken, rows)]
    verdict = f"{outside.count(0)} of {len(rows)} likelihoods allow these data"
    return Report("data", tables, [f"{about}.", *source.remarks], verdict, True, [picture] if picture else [])


def weighted_mean(values: Array, weights: Array) -> float:
    """Return the mean of the values that are there, as they, or their samples, count."""
    weights = weights.reshape(len(values), *(1,) * (values.ndim - 1)) if weights.ndim == 1 else weights
    there = numpy.where(numpy.isnan(values), 0.0, numpy.broadcast_to(weights, values.shape))
    return float((there * numpy.nan_to_num(values.astype(numpy.float64))).sum() / there.sum())


def present(x: Tensor, vectors: bool = False) -> Tensor:
    """Return the values that are there, not NaN; or the ``vectors``, along the last axis, that are there whole."""
    if not x.is_floating_point() or not (absent := x.isnan()).any():
        return x
    if vectors and x.ndim > 1:
        return x[~absent.any(dim=-1)]
    return x[~absent]


def pieces(values: Array) -> list[Array]:
    """Return the same numbers, some at a time, vectors along the last axis whole: temporaries of all would fill the memory."""
    if values.size <= SOME or values.ndim < 2:
        return [values]
    vectors = values.reshape(-1, values.shape[-1])
    return numpy.array_split(vectors, min(len(vectors), -(-values.size // SOME)))
