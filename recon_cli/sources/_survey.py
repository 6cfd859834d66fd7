"""What is in a source: its shape, its range, and which likelihoods its values allow."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy

from recon_cli import likelihoods, sources
from recon_cli.identity.alike import Numbers, absent, distinct
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.shapes import spell
from recon_cli.likelihoods._grey_levels import Grid, elsewhere, levels
from recon_cli.report import Report, Table, column
from recon_cli.runtime.images import MOST, gallery
from recon_cli.runtime.lazy_arrays import Array, Lazy, blocks
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources._reading import ReadOptions

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


class Questioned:
    """A likelihood that is asked which values it takes, of the design that some of the data have.

    some, single, vectors
        of the data: as they are, those that are there, and the vectors along the last axis that are there whole.
    """

    def __init__(self, kind: type[Likelihood], some: Array, single: Array, vectors: Array) -> None:
        self.on: Grid | None = elsewhere(kind(), some)
        seen: Numbers = vectors if kind.event and vectors.size else single
        self.likelihood = kind.designed(seen if self.on is None else self.on.to_unit(seen))
        self.outside = 0.0

    @property
    def question(self) -> object:
        """What decides which values it takes."""
        return self.likelihood.support, self.on, bool(self.likelihood.event)

    def outside_of(self, whole: Array, single: Array) -> float:
        """Return the share of the values, or of the ``whole`` vectors, that it does not take."""
        part: Numbers = whole if self.likelihood.event else single if self.on is None else self.on.to_unit(single)
        return float((~self.likelihood.support.contains(part)).mean()) if part.size else 0.0

    @property
    def row(self) -> Taken:
        """Its row of the report."""
        design = ",".join(f"{key}={float(value):g}" for key, value in self.likelihood.design.items())
        name = f"{self.likelihood.name}:{design}" if design else self.likelihood.name
        return Taken(likelihood=name, allowed=not self.outside, takes=str(self.likelihood.support), outside=self.outside)


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
    source, word = sources.source_of(data, reading=reading)
    values, about = sources.samples(source, word, scale)
    parts: Iterable[Array]
    some, parts = (values.spread(SOME), blocks(values, SOME)) if isinstance(values, Lazy) else (values, pieces(values))
    single, vectors = present(some), present(some, vectors=True)
    few = distinct(single.flatten()[:SOME])
    asked = [Questioned(likelihoods.find(name), some, single, vectors) for name in likelihoods.names()]
    least, most, mean, done, there = math.inf, -math.inf, 0.0, 0, 0
    for block in parts:
        done += block.size
        whole, x = present(block, vectors=True), present(block)
        there += x.size
        if not x.size:
            continue
        least, most = min(least, x.min().item()), max(most, x.max().item())
        part = x.sum(dtype=numpy.float64).item() / values.size
        mean += part if math.isfinite(part) else (x / numpy.float64(values.size)).sum().item()
        shares = dict[object, float]()  # the same question is put once
        for each in asked:
            if each.question not in shares:
                shares[each.question] = each.outside_of(whole, x)
            each.outside += shares[each.question] * block.size / values.size
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
    rows = [each.row for each in asked]
    size = math.prod(values.shape[1:])
    picture = None
    if size <= SOME:
        picture = gallery(
            "the first samples", [("x", numpy.nan_to_num(values[:MOST].reshape(-1, size)))], values.shape[1:] or (1,)
        )
    tables = [Table.of("source", Described, [row]), Table.of("likelihoods", Taken, rows)]
    verdict = f"{sum(row.allowed for row in rows)} of {len(rows)} likelihoods allow these data"
    names = [row.likelihood.partition(":")[0] for row in rows if row.allowed]
    return Report(
        "data", tables, [f"{about}.", *source.remarks], verdict, True, [picture] if picture else [],
        lead=[f"{', '.join(names)}."] * bool(names),
    )  # fmt: skip


def weighted_mean(values: Array, weights: Array) -> float:
    """Return the mean of the values that are there, as they, or their samples, count."""
    weights = weights.reshape(len(values), *(1,) * (values.ndim - 1)) if weights.ndim == 1 else weights
    there = numpy.where(numpy.isnan(values), 0.0, numpy.broadcast_to(weights, values.shape))
    return float((there * numpy.nan_to_num(values.astype(numpy.float64))).sum() / there.sum())


def present(x: Array, vectors: bool = False) -> Array:
    """Return the values that are there, not NaN; or the ``vectors``, along the last axis, that are there whole."""
    gone: Array = absent(x)
    if not gone.any():
        return x
    there: Array = x[~gone.any(axis=-1)] if vectors and x.ndim > 1 else x[~gone]
    return there


def pieces(values: Array) -> list[Array]:
    """Return the same numbers, some at a time, vectors along the last axis whole: temporaries of all would fill the memory."""
    if values.size <= SOME or values.ndim < 2:
        return [values]
    vectors = values.reshape(-1, values.shape[-1])
    return numpy.array_split(vectors, min(len(vectors), -(-values.size // SOME)))
