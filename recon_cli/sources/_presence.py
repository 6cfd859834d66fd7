"""Which values of a source are there, and how much each counts: NaN, masks and weights, checked and said."""

from __future__ import annotations

import math
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.arrays import as_array
from recon_cli.identity.shapes import spell
from recon_cli.runtime.lazy_arrays import Array, Lazy, Mapped, Values
from recon_cli.sources import _registry
from recon_cli.sources._base import Source


def weighed(source: Source, values: Values, whole: Values, word: str) -> Values:
    """Return ``values`` with NaN where they are not there by the mask of a source; its ``weights`` and ``remarks`` are set.

    ``whole`` are the values as they were read, among which classes are looked up. Raises ReconError for a mask or weights of
    another shape, a mask that is not 0 and 1, and weights that are below 0, not finite, or 0 everywhere.
    """
    reading = source.reading
    if reading.mask is not None:
        mask = fitting(reading.mask, values.shape, "mask", word)
        if not ((mask == 0) | (mask == 1)).all():
            raise ReconError(f"The mask of {word} holds other values than 0 and 1.", "1 (or True) is there, 0 (or False) is not.")
        values = without(values, mask == 0)
        source.partial = True
    if reading.weights is not None:
        source.weights = weights_of(source, values.shape, whole, word)
    if source.partial and not isinstance(values, Lazy):
        count = int(numpy.isnan(values).sum())
        if count == values.size:
            raise ReconError(
                f"None of the {count:,} values of {word} is there.", "The mask is 1 (or True) where a value is there."
            )
        share = f"{count:,} of its {values.size:,} values are not there ({count / values.size:.3%})"
        source.remarks += (f"{word}: {share}: sums, fits and counts are of the rest.",)
    return values


def without(values: Values, absent: Array) -> Values:
    """Return ``values`` with NaN where ``absent``, which has their shape or can be broadcast to it."""
    kind = numpy.result_type(values.dtype, numpy.float32)
    if not isinstance(values, Lazy):
        return numpy.where(numpy.broadcast_to(absent, values.shape), numpy.nan, values).astype(kind)
    each, absent = math.prod(values.shape[1:]), numpy.broadcast_to(absent, values.shape)

    def make(rows: Array, place: int) -> Array:
        first = place // each
        return numpy.where(absent[first : first + len(rows)], numpy.nan, rows).astype(kind)

    return Mapped(values, kind, make)


def read(given: Any, what: str) -> Array:
    """Return the numbers of a mask or of weights: a source named as on the command line, or an array."""
    if isinstance(given, (str, bytes)) or hasattr(given, "__fspath__"):
        source = _registry.parse(str(given))
        return numpy.asarray(source.read())
    return as_array(given, what)


def fitting(given: Any, shape: tuple[int, ...], what: str, word: str) -> Array:
    """Return what is given, such that it can be broadcast to the data's shape: one a sample, or alike for all samples."""
    values = read(given, what)
    if values.shape == shape:
        return values
    if values.shape == shape[:1] or values.shape == (shape[0], *(1,) * (len(shape) - 1)):
        return values.reshape(-1, *(1,) * (len(shape) - 1))
    if values.shape == shape[1:] and len(shape) > 1:
        return values.reshape(1, *values.shape)
    if len(shape) > 1 and values.shape == (shape[0], math.prod(shape[1:])):
        return values.reshape(shape)
    samples = next(iter(shape), 0)
    raise ReconError(
        f"The {what} of {word} {'has' if what == 'mask' else 'have'} shape {spell(values.shape)}, and the data {spell(shape)}.",
        f"Give one of the data's shape; or of {samples:,}, one a sample"
        + (f"; or of {spell(shape[1:])}, alike for all samples." if len(shape) > 1 else "."),
    )


def weights_of(source: Source, shape: tuple[int, ...], whole: Values, word: str) -> Array:
    """Return how much every value or sample counts: of the data's shape, or (N,); what it was taken for is said."""
    values = read(source.reading.weights, "weights")
    if values.dtype.kind not in "fiub":
        raise ReconError(f"The weights of {word} are no numbers.", "Give one for each value, sample or class.")
    values = values.astype(numpy.float64)
    if not numpy.isfinite(values).all() or (values < 0).any():
        which = "not finite" if not numpy.isfinite(values).all() else "below 0"
        raise ReconError(
            f"{int(((values < 0) | ~numpy.isfinite(values)).sum()):,} weights of {word} are {which}.",
            "Weights are numbers from 0 up.",
        )
    if not values.any():
        raise ReconError(f"All weights of {word} are 0.", "Nothing would count: give some that are more.")
    classes = classes_of(whole, values) if values.ndim == 1 and values.shape != shape[:1] else None
    if classes is not None:
        source.remarks += (f"{word}: its {len(values):,} weights are of the classes 0 to {len(values) - 1}.",)
        chosen: Array = values[classes]
        return chosen
    full = fitting(values, shape, "weights", word)
    if full.shape[0] == shape[0] and full.size == shape[0]:
        source.remarks += (f"{word}: its weights are of its {shape[0]:,} samples, from {values.min():g} to {values.max():g}.",)
        return full.reshape(-1)
    source.remarks += (f"{word}: its weights are of its values, from {values.min():g} to {values.max():g}.",)
    return numpy.broadcast_to(full, shape).copy()


def classes_of(whole: Values, weights: Array) -> Array | None:
    """Return the class of each sample where the data are labels, or one-hot, of as many classes as there are weights."""
    if isinstance(whole, Lazy) or whole.dtype.kind not in "fiub":
        return None
    if whole.ndim == 1 and (whole == numpy.rint(whole)).all() and whole.min() >= 0 and whole.max() < len(weights):
        return whole.astype(numpy.int64)
    if (
        whole.ndim == 2
        and whole.shape[1] == len(weights)
        and ((whole == 0) | (whole == 1)).all()
        and (whole.sum(axis=1) == 1).all()
    ):
        classes: Array = whole.argmax(axis=1)
        return classes
    return None
