"""Which samples are held out: the same ones, whatever their number or the machine."""

from __future__ import annotations

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Array


def held_out(count: int, fraction: float) -> Array:
    """Return which of ``count`` samples are held out: a mask that never changes, whatever the count or machine.

    Sample i is held out where a hash of i falls into the lowest ``fraction`` of its range, so order and periods in
    the file do not matter.
    """
    return scattered(numpy.arange(1, count + 1)).astype(numpy.float64) < fraction * 2.0**64


def scattered(places: Array) -> Array:
    """Return a hash of whole numbers, 64 bits each: SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    mixed = places.astype(numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> numpy.uint64(shift))) * numpy.uint64(factor)
    return mixed ^ (mixed >> numpy.uint64(31))


def split(values: Array, fraction: float, word: str) -> tuple[Array, Array]:
    """Return training samples and held-out samples. Raises ReconError where one of them would be empty."""
    mask = held_out(len(values), fraction)
    if mask.all() or (fraction > 0 and not mask.any()):
        count = f"{len(values)} sample{'s' * (len(values) != 1)}"
        raise ReconError(
            f"{word} has {count}: too few to keep a fraction of {fraction:g} back and fit on the rest.",
            "Give more samples; or reconstructions of your own (compare --recon FILE), or keep none back (train --holdout 0).",
        )
    return values[~mask], values[mask]
