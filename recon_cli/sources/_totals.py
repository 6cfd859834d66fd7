"""Counts out of totals that differ from value to value: each value x and its total n as a vector of counts, (x, n - x)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell
from recon_cli.runtime.lazy_arrays import Array, Lazy, Values
from recon_cli.sources import _registry
from recon_cli.sources._presence import fitting


class Pairs(Lazy):
    """Rows of another array, each number of them made a pair when they are asked for."""

    def __init__(self, values: Lazy, make: Callable[[Array, int], Array]) -> None:
        self.values, self.make, self.named = values, make, values.named
        self.shape, self.dtype = (*values.shape, 2), numpy.result_type(values.dtype, numpy.float32)

    def rows(self, start: int, stop: int) -> Array:
        return self.make(self.values.rows(start, stop), start)


def paired(given: Any, values: Values, word: str) -> Values:
    """Return the pairs (x, n - x) of ``values`` x and their totals n, a source or an array, along a last axis of two.

    Totals have the data's shape, or are one a sample, or alike for all samples. Raises ReconError for another shape, and for a
    total that is no whole number, or below its value.
    """
    source = _registry.parse(str(given)) if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__") else None
    totals: Values = fitting(given, values.shape, "totals", word) if source is None else source.read()
    if totals.shape != values.shape:
        totals = fitting(numpy.asarray(totals), values.shape, "totals", word)

    def make(rows: Array, start: int) -> Array:
        those = totals[start : start + len(rows)] if len(totals) == len(values) else totals[:]
        of = numpy.broadcast_to(numpy.asarray(those, dtype=numpy.float64), rows.shape)
        missing = numpy.isnan(rows) if rows.dtype.kind == "f" else numpy.zeros(rows.shape, bool)
        bad = ~missing & ~((of % 1 == 0) & (of >= 0) & (of < numpy.inf))
        above = ~missing & ~bad & (rows > of)
        for wrong, what in ((bad, "is no count"), (above, "is above its total")):
            if wrong.any():
                place = tuple(int(i) for i in numpy.argwhere(wrong)[0])
                number = f"{rows[place]:g} of {of[place]:g}" if wrong is above else f"a total of {of[place]:g}"
                raise ReconError(
                    f"{int(wrong.sum()):,} of {wrong.size:,} values of {word} have totals that do not fit: the first, at index "
                    f"{(place[0] + start, *place[1:])}, {number}, {what}.",
                    "Totals are whole numbers, each at least its value: give how many there were of what each value counts.",
                )
        pair = numpy.stack([rows, of - rows], axis=-1)
        return numpy.where(missing[..., None], numpy.nan, pair).astype(numpy.result_type(rows.dtype, numpy.float32))

    return Pairs(values, make) if isinstance(values, Lazy) else make(values, 0)


def shares(mu: Values, x: Values, word: str) -> Values:
    """Return the pairs (p, 1 - p) of reconstructed shares p, beside data that are pairs. Raises ReconError for another shape."""
    if mu.shape == x.shape:
        return mu
    if mu.shape != x.shape[:-1]:
        raise ReconError(
            f"{word} has shape {spell(mu.shape)}, and the data with totals {spell(x.shape[:-1])}.",
            "Give the share that is reconstructed of each total, between 0 and 1.",
        )

    def make(rows: Array, start: int) -> Array:
        del start
        if not ((rows >= 0) & (rows <= 1)).all():
            raise ReconError(
                f"{word} runs from {rows.min():g} to {rows.max():g}, and with totals it is of shares, between 0 and 1.",
                "Divide reconstructed counts by their totals.",
            )
        return numpy.stack([rows, 1 - rows], axis=-1)

    return Pairs(mu, make) if isinstance(mu, Lazy) else make(numpy.asarray(mu), 0)
