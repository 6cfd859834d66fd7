"""The values of a source as finite numbers: divided, checked and made 0 or 1 where that is asked for."""

from __future__ import annotations

import math
from typing import overload

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.arrays import real
from recon_cli.identity.shapes import spell
from recon_cli.runtime.lazy_arrays import Array, Lazy, Mapped, Values
from recon_cli.sources import _remarks
from recon_cli.sources._base import Source
from recon_cli.sources._presence import weighed
from recon_cli.sources._totals import paired

WHOLE = 1 << 25  # bytes: a smaller file is read at once
# Types that torch has too, in the machine's own byte order; any other number becomes a float64.
TORCH_KNOWS = {name: numpy.dtype(name) for name in ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}


def observed(source: Source, values: Values, word: str, scale: float | None, levels: bool = False) -> tuple[Values, str]:
    """Return :func:`scaled` values of a source, whose ``remarks`` grow by what they look like; ``levels``: bytes are grey.

    Where its ``reading`` has a mask or weights, or says that NaN is missing: what is not there is NaN, and the source is
    ``partial`` and has ``weights``.
    """
    values = loaded(values)
    if source.reading.totals is not None and scale is None:
        scale = 1.0  # counts are no grey levels
    numeric = values.dtype.kind in "fiu" and values.shape and 0 not in values.shape
    levels = source.levels or bool(numeric and values.dtype == numpy.uint8 and (levels or _remarks.looks_grey(values)))
    offset = source.reading.offset
    if numeric:  # looked at before anything is made of them, which takes memory too
        source.levels = levels
        divisor, asked = scale or full_scale(values, levels), scale is not None or bool(offset)
        remarks = _remarks.remarks(values, word, divisor, asked, source.columns, source.without, source.labels)
        source.remarks = (*source.remarks, *remarks)
    source.partial = source.partial or source.reading.missing is not None
    whole = values
    values, done = scaled(values, word, scale, levels, offset, source.partial)
    if source.reading.partial or source.partial:
        values = weighed(source, values, whole, word)
    if source.reading.totals is not None:
        values = paired(source.reading.totals, values, word)
        source.remarks += (f"{word}: each value x with its total n is the pair (x, n - x), a multinomial's of two kinds.",)
    return values, done


def loaded(values: Values) -> Values:
    """Return what lies in a file and is small as an array; all else as it is."""
    return numpy.asarray(values) if isinstance(values, Lazy) and values.nbytes <= WHOLE else values


def full_scale(values: Values, levels: bool) -> int:
    """Return what grey ``levels`` mean as 1: the largest of their type where it is one of unsigned whole numbers, else 1."""
    return int(numpy.iinfo(values.dtype).max) if levels and values.dtype.kind == "u" else 1


def scaled(
    values: Values, word: str, scale: float | None = None, levels: bool = False, offset: float = 0.0, partial: bool = False
) -> tuple[Values, str]:
    """Return ``values``, less ``offset``, divided by ``scale``, and words for it; empty where nothing was asked or done.

    They are finite numbers, or NaN where ``partial``.

    With None, grey ``levels`` are divided by the largest of their type, and all else is taken as it is. Whole
    numbers of up to 16 bits become a float32; each quotient is rounded from float64. What is large and lies in a
    file is read, divided and checked when it is asked for.
    """
    divisor = full_scale(values, levels) if scale is None else scale
    if offset and values.dtype.kind in "fiub":
        done = f"less {offset:g}" + f", divided by {divisor:g}" * (divisor != 1)
    elif divisor == 1 or values.dtype.kind not in "fiub":
        divisor, done = 1, "" if scale is None else "taken as they are"
    else:
        done = f"divided by {divisor:g}"
    values = loaded(values)
    if not isinstance(values, Lazy):
        return divided_by(values, divisor, word, 0, offset, partial), done
    kind = divided_by(numpy.zeros(1, values.dtype), divisor, word, 0, offset).dtype
    each, plain = math.prod(values.shape[1:]), divisor == 1 and not offset and kind == values.dtype and kind.kind == "f"
    return Mapped(values, kind, lambda rows, place: divided_by(rows, divisor, word, place // each, offset, partial), plain), done


def divided_by(
    values: Array, divisor: float, word: str, first: int = 0, offset: float = 0.0, partial: bool = False
) -> Array:  # fmt: skip
    """Return ``values`` less ``offset``, divided, if they are finite numbers, at least one (or NaN, where ``partial``).

    ``first`` is which sample they begin with.
    """
    if divisor == 1 and not offset:
        return numbers(values, word, first, partial)
    if offset:
        values = real(values, word)
        values = (values - numpy.float64(offset)).astype(numpy.result_type(values.dtype, numpy.float32))
    quotients = numpy.empty(values.shape, numpy.result_type(values.dtype, numpy.float32))
    try:
        with numpy.errstate(over="raise", divide="raise"):
            numpy.divide(values, divisor, out=quotients, dtype=numpy.float64, casting="same_kind")
    except FloatingPointError:
        raise ReconError(
            f"{word} divided by {divisor:g} leaves the range of {quotients.dtype}.", "Choose another --scale."
        ) from None
    return numbers(quotients, word, first, partial)


def numbers(values: Array, word: str, first: int = 0, partial: bool = False) -> Array:
    """Return ``values`` if they are finite numbers, at least one; or NaN, where ``partial``.

    In an error ``word`` names them, and ``first`` is which sample they begin with.
    """
    values = real(values, word)
    if values.dtype == bool:
        values = values.astype(numpy.uint8)
    if values.dtype.kind in "fiu":
        values = values.astype(TORCH_KNOWS.get(values.dtype.str[1:], numpy.float64), copy=False)
    if values.ndim == 0:
        raise ReconError(f"{word} holds a single number.", "The first axis counts samples: give an array of at least one axis.")
    if values.size == 0:
        raise ReconError(
            f"{word} is empty: its shape is {spell(values.shape)}.", "The first axis counts samples; give at least one."
        )
    with numpy.errstate(over="ignore", invalid="ignore"):  # what is not finite spoils the sum; else no mask is made
        if values.dtype.kind == "f" and not numpy.isfinite(values.sum()) and not (finite := allowed(values, partial)).all():
            bad = tuple(int(i) for i in numpy.argwhere(~finite)[0])
            among = f" among samples {first:,} to {first + len(values) - 1:,}" * bool(first)
            gone = "; or say that NaN is not there: --missing nan" * bool(numpy.isnan(values).any() and not partial)
            raise ReconError(
                f"{word} has {numpy.isnan(values).sum():,} NaN and {numpy.isinf(values).sum():,} infinite values{among}, "
                f"the first at index {(bad[0] + first, *bad[1:])}.",
                f"Every value must be finite: mend the file or drop those samples{gone}.",
            )
    return values


def allowed(values: Array, partial: bool) -> Array:
    """Return where values are finite; where some may be missing, NaN is allowed too."""
    where: Array = ~numpy.isinf(values) if partial else numpy.isfinite(values)
    return where


@overload
def binarized(values: Array, how: str | None, seed: int, word: str) -> Array: ...


@overload
def binarized(values: Values, how: str | None, seed: int, word: str) -> Values: ...


def binarized(values: Values, how: str | None, seed: int, word: str) -> Values:
    """Return grey levels made 0 or 1: ``threshold`` (1 above one half) or ``sample`` (1 with that probability).

    Raises ReconError unless every value is in [0, 1]. With None the values stay as they are.
    """
    if how is None:
        return values
    if isinstance(values, Lazy):
        kind = numpy.result_type(values.dtype, numpy.float32)
        return Mapped(values, kind, lambda rows, place: zero_or_one(rows, how, seed, word, place))
    return zero_or_one(values, how, seed, word)


def zero_or_one(values: Array, how: str, seed: int, word: str, place: int = 0) -> Array:
    """Return the same of some of the values, ``place`` numbers from the first: each draw has its place in the sequence."""
    if not (numpy.isnan(values) | ((values >= 0) & (values <= 1))).all():
        raise ReconError(
            f"{word} cannot be binarised: its values run from {values.min():g} to {values.max():g}.",
            "Only grey levels in [0, 1] can be made 0 or 1: scale them first.",
        )
    draws = numpy.random.Generator(numpy.random.PCG64(seed).advance(place))
    level = 0.5 if how == "threshold" else draws.random(values.shape)
    binary = (values > level).astype(numpy.result_type(values.dtype, numpy.float32))
    return numpy.where(numpy.isnan(values), values, binary) if values.dtype.kind == "f" else binary
