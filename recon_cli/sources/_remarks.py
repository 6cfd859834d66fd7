"""What values look like where they are taken for something else: grey levels, labels and row numbers among features, other units.

Each is a sentence, with the way out. Columns are looked at as a whole, all else in the first rows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import TYPE_CHECKING, TypeAlias

import numpy

from recon_cli.errors import ReconError, printable
from recon_cli.runtime.images import LEAST
from recon_cli.runtime.lazy_arrays import Array, Lazy

if TYPE_CHECKING:
    from torch import Tensor

Numbers: TypeAlias = "Array | Lazy | Tensor"
SOME = 1 << 16  # numbers
FEW = 8  # numbers that say nothing yet
WIDE = 17  # columns: so many alike may be pixels
CLASSES = 100  # labels at most
LABELS = {"label", "labels", "class", "classes", "target", "targets", "y", "digit", "category", "species", "outcome"}
MISSING = {99, 999, 9999, 99999, 999999, 9999999, 32767, 32768, 2147483647, 2147483648, 1e15}  # what stands for no value, or more
COUNTERS = {"", "unnamed: 0", "index", "id", "idx", "row", "rowid", "level_0", "__index_level_0__", "rownames", "no", "#", "uid"}
SPARSE = (("data", "indices", "indptr"), ("data", "row", "col"), ("values", "col_indices", "crow_indices"))  # parts of a matrix


def first(values: Numbers) -> Array:
    """Return the first rows, one at least, as float64: of tensors and files too."""
    size = math.prod(values.shape)
    return as_float64(values[: max(1, SOME * len(values) // max(1, size))])


def may_be_images(shape: Sequence[int]) -> bool:
    """Whether samples of that shape may be images: of two sides at least, or a square's pixels in a row, grey or colours."""
    if len(shape) == 1:
        return any(shape[0] % colours == 0 and math.isqrt(n := shape[0] // colours) ** 2 == n >= 64 for colours in (1, 3))
    return len(shape) > 1 and sorted(shape)[-2] >= LEAST


def looks_grey(values: Numbers) -> bool:
    """Whether they are bytes that look like images: of such a shape, and above half of 255 somewhere (no masks, no classes)."""
    return str(values.dtype).rpartition(".")[2] == "uint8" and may_be_images(values.shape[1:]) and first(values).max() > 127


def remarks(
    values: Numbers,
    word: str,
    divisor: float = 1,
    asked: bool = False,
    names: Sequence[str] = (),
    without: str | None = "",
    labels: bool = False,
) -> Iterator[str]:
    """Yield what ``values``, before they are divided, look like; nothing of labels where ``labels`` are wanted.

    asked
        whether it was the user who chose the divisor: then only what it makes of the values is said.
    without
        what leaves a column out, where its name or number follows; empty where nothing does, None where columns were chosen.
    """
    if not len(values.shape) or 0 in values.shape:
        return
    some = first(values)
    if math.isfinite(low := some.min()) and math.isfinite(high := some.max()):
        if without is not None and (filler := missing(some)) is not None:
            count = int((some == filler).sum())
            yield (
                f"{word}: {count:,} of its values are {filler:g}, far from all others, as marks for a missing value are, and "
                "they are taken as they are; drop those samples, or put values there."
            )
        if divisor > 1 and 0 < high <= 1 and low >= 0:
            yield f"{word}: its values are in [0, 1] before they are divided by {divisor:g}; --scale none leaves them there."
        if divisor == 1 and not asked and (top := levels(some, values.shape[1:])):
            kind = "whole numbers" if (some == numpy.rint(some)).all() else "numbers"
            yield (
                f"{word}: its values are {kind} from {low:g} to {high:g}, as grey levels are, and they are taken as they are; "
                f"--scale {top} brings them into [0, 1]."
            )
        if len(values.shape) == 2 and values.shape[1] > 1 and without is not None:
            yield from column_remarks(values, some, word, names, without, labels)


def missing(some: Array) -> float | None:
    """Return the least or largest value where it stands twice, is one that people write for none, and far from all others."""
    for end in (some.min(), some.max()):
        if abs(end) not in MISSING and abs(end) < max(MISSING):
            continue
        rest = some[some != end]
        if len(rest) and some.size - len(rest) > 1 and abs(end) > 10 * abs(rest).max():
            return float(end)
    return None


def levels(some: Array, shape: Sequence[int]) -> int:
    """Return 255 or 65535 where these look like grey levels of 8 or 16 bits, else 0: images, or a table up to just that."""
    high, whole = some.max(), (some == numpy.rint(some)).all()
    top = 255 if high <= 255 else 65535
    table = len(shape) == 1 and shape[0] >= WIDE and whole and high == 255
    if some.min() < 0 or not top / 2 < high <= top or not (table or (may_be_images(shape) and (whole or len(shape) > 1))):
        return 0
    return top if whole or top == 255 else 0


def column_remarks(values: Numbers, some: Array, word: str, names: Sequence[str], without: str, labels: bool) -> Iterator[str]:
    """Yield what is to be said of single columns of a table: one that counts the rows, and one of labels."""
    every = values if not isinstance(values, Lazy) else some
    count = values.shape[1]

    def sentence(at: int, what: str) -> str:
        which = f"column {printable(repr(names[at]), 60)}" if names and names[at] else {0: "first column"}.get(at, "last column")
        if without:
            chosen = names[at] if names and names[at] and "," not in names[at] else at
            way = f"{without}{chosen} leaves it out"
        else:
            ways = {0: "x[:, 1:] is without it", count - 1: "x[:, :-1] is without it"}
            way = ways.get(at, "leave it out where you save them")
        return f"{word}: its {which} {what}, and is taken as a feature like the other {count - 1:,}; {way}."

    lowered = [name.strip().lower() for name in names]
    counters = {i for i, name in enumerate(lowered) if name in COUNTERS or re.search("[ _.](id|names)$", name)}
    for at in {0, *counters}:
        column = as_float64(every[:, at])
        steps = numpy.diff(numpy.sort(column))
        if len(column) < 3 or not (column == numpy.rint(column)).all():
            continue
        if (numpy.diff(column) == 1).all():
            yield sentence(at, f"counts the rows, {column[0]:g} to {column[-1]:g}")
        elif len(column) > FEW and (steps == 1).all():
            yield sentence(at, f"holds each of {column.min():g} to {column.max():g} once, as numbers of rows do")
        elif len(column) > FEW and at in counters and steps.all():
            yield sentence(at, "holds another whole number in every row, as what names them does")
    if labels:
        return
    label_columns = [i for i, name in enumerate(lowered) if name in LABELS and (name != "y" or "x" not in lowered)]
    for at in label_columns:
        yield sentence(at, f"may be a label, with {len(numpy.unique(as_float64(every[:, at]))):,} different values")
    if not label_columns and (width := one_hot(some)):
        places = f"{count - abs(width)} to {count - 1}" if width < 0 else f"0 to {width - 1}"
        yield (
            f"{word}: in its columns {places} (the first is 0) one is 1 and the others 0 in every row, as one-hot labels are, "
            f"and they are taken as features like the other {count - abs(width):,}; leave them out where they are labels."
        )
    if not label_columns and (last := label_column(every, some)) is not None:
        column = as_float64(every[:, last])
        yield sentence(last, f"holds the whole numbers {column.min():g} to {column.max():g} alone, as labels do")


def as_float64(part: Array | Tensor) -> Array:
    """Return an array or tensor of any type, those that numpy has not (bfloat16) too, as float64."""
    return numpy.asarray(part if isinstance(part, numpy.ndarray) else part.detach().cpu().double()).astype(numpy.float64)


def one_hot(some: Array) -> int:
    """Return how many columns in front, or minus how many at the end, are one-hot beside others that are not; else 0."""
    for sign in (-1, 1):
        here = some[:, ::sign]
        binary = ((here == 0) | (here == 1)).all(axis=0) & (here == 1).any(axis=0)
        run = len(binary) if binary.all() else int(binary.argmin())
        sums = here[:, :run].cumsum(axis=1)
        for width in range(3, run + 1):
            if (sums[:, width - 1] == 1).all() and not binary.all() and len(some) >= 2 * width:
                return sign * width
    return 0


def label_column(every: Array | Tensor, some: Array) -> int | None:
    """Return the first or last column where it alone looks like classes: 0 (or 1) to K, in balance, beside other features."""
    if some.shape[1] < 5:
        return None
    for at in (some.shape[1] - 1, 0):
        rest = numpy.delete(some, at, axis=1)
        column = as_float64(every[:, at])
        labels, counts = numpy.unique(column, return_counts=True)
        classes = len(labels)
        complete = labels[0] in (0, 1) and (labels == labels[0] + numpy.arange(classes)).all()
        if not complete or not 2 <= classes <= CLASSES or len(column) < 5 * classes or counts.max() > 0.8 * len(column):
            continue
        whole = (rest == numpy.rint(rest)).all(axis=0)
        if whole.mean() < 0.5:
            if classes > 2 or not ((rest == 0) | (rest == 1)).all(axis=0).any():
                return at
        elif some.shape[1] >= WIDE and rest.max() > labels[-1] and (rest.max(axis=0) == rest.max()).mean() >= 0.1:
            return at
    return None


def beside(path: str, name: str, names: Collection[str], shape: Callable[[str], Sequence[int]]) -> tuple[str, ...]:
    """Return what is to be said of an array in a file whose ``names`` hold a mask of its shape too.

    Raises ReconError where it is one of the parts that a sparse matrix was saved in.
    """
    for parts in SPARSE:
        fronts = {name.removesuffix(part) for part in parts if name.endswith(part)}
        for front in (front for front in fronts if {front + part for part in parts} <= {*names}):
            first, second = (tuple(shape(front + part)) for part in parts[:2])
            if first == second and len(first) == 1:
                one = printable(repr(name), 60)
                raise ReconError(
                    f"{path} holds a sparse matrix in parts, and {one} alone is no part of it that has samples.",
                    "Save the matrix whole: numpy.save(path, x.toarray()); or scipy.sparse.save_npz(path, x), which recon reads.",
                )
    masks = [] if "mask" in name.lower() else [other for other in names if "mask" in other.lower()]
    return tuple(
        f"{path}: {printable(repr(other), 60)} beside {printable(repr(name), 60)} has its shape, as a mask has, and is not "
        "heeded: every value counts; leave samples with masked values out before you save them."
        for other in masks
        if tuple(shape(other)) == tuple(shape(name))
    )


def array_remarks(x: Numbers, mu: Numbers | None, word: str) -> Iterator[str]:
    """Yield what is to be said of arrays as they came: what the data look like, and whether ``mu`` is in their units."""
    for one in remarks(x, word):
        yield one.replace("--scale 255 brings", "x / 255 brings").replace("--scale 65535 brings", "x / 65535 brings")
    sentence, way = ("", "") if mu is None else unit_mismatch(x, mu)
    if sentence:
        yield f"{sentence} {way.replace('--scale 255', 'x / 255').replace('--recon-scale 255', 'x_hat / 255')}"


def unit(low: float, high: float) -> int:
    """Return which scale values from ``low`` to ``high`` may have: 1 for [0, 1], 2 for [-1, 1], 255 for [0, 255], else 0."""
    if low >= 0:
        return 1 if high <= 1 else 255 if high <= 255 else 0
    return 2 if low >= -1 and high <= 1 else 0


def unit_mismatch(x: Numbers, mu: Numbers) -> tuple[str, str]:
    """Return what is wrong where data and reconstructions look as if in different units, and the way out; empty if nothing is.

    Their ranges have little in common and their means differ; or they go together, and by another slope than one.
    """
    if len(mu.shape) == len(x.shape) + 1 and mu.shape[-1] == 2 and tuple(mu.shape[:-1]) == tuple(x.shape):
        mu = mu[..., 0] if not isinstance(mu, Lazy) else first(mu)[..., 0]
    if tuple(mu.shape[1:]) != tuple(x.shape[1:]) or not (len(x.shape) and len(mu.shape)) or math.prod(x.shape) < FEW:
        return "", ""
    count = min(len(a := first(x)), len(b := first(mu)))
    if b.ndim > 1 and (b >= 0).all() and (abs(b.sum(axis=-1) - 1) < 1e-3).all() and not (a < 0).any() and not (a % 1).any():
        return "", ""  # counts, and the shares of their total
    a, b = a[:count].ravel(), b[:count].ravel()
    whole = not (absent := numpy.isnan(a)).any()
    a, b = a[~absent], b[~absent]
    if not (len(a) and numpy.isfinite(a).all() and numpy.isfinite(b).all()):
        return "", ""
    (low, high), (least, most) = (a.min(), a.max()), (b.min(), b.max())
    if max(abs(low), abs(high), abs(least), abs(most)) > 1e100:
        return "", ""
    mine, theirs = unit(low, high), unit(least, most)
    common = max(0.0, min(high, most) - max(low, least)) / (max(high, most) - min(low, least) or 1)
    spread, shift = a.std(), abs(a.mean() - b.mean())
    same = mine == theirs
    elsewhere = shift > (0.5 if same else 0.1) * spread or (whole and len(x.shape) == 2 and column_shift(a, b, x.shape[1]) > 1)
    ranges = common <= (0.4 if same else 0.6) and elsewhere and (not same or mine == 0)
    slope = numpy.mean((a - a.mean()) * (b - b.mean())) / (b.var() or 1)
    explained = slope**2 * b.var() / (spread**2 or 1)
    slopes = explained > 0.8 and not 0.6 < slope < 1.7 and not (same and mine in (1, 2))
    if not (ranges or slopes):
        return "", ""
    sentence = f"The data run from {low:.4g} to {high:.4g}, and their reconstructions from {least:.4g} to {most:.4g}"
    if slopes:
        more = a.mean() - slope * b.mean()
        sentence += f" (the data are about {slope:.3g} × the reconstructions {'−' if more < 0 else '+'} {abs(more):.3g})"
    if {mine, theirs} == {1, 255} and max(high, most) > 127:
        way = f"{'--scale' if mine == 255 else '--recon-scale'} 255 brings both into [0, 1]"
    elif {mine, theirs} == {1, 2}:
        way = f"bring both into [0, 1]: ({'x' if mine == 2 else 'x_hat'} + 1)/2"
    else:
        way = "undo the scaling of one of them; of a decoder's raw output take the link first (sigmoid, exp)"
    return f"{sentence}: they look as if in different units.", f"{way[0].upper()}{way[1:]}."


def column_shift(x: Array, mu: Array, count: int) -> float:
    """Return how far apart a column's means are, in its standard deviations: the median over the columns that vary."""
    x, mu = x.reshape(-1, count), mu.reshape(-1, count)
    spread = x.std(axis=0)
    off = abs(x.mean(axis=0) - mu.mean(axis=0))[spread > 0] / spread[spread > 0]
    return float(numpy.median(off)) if len(off) else 0.0


def unit_remarks(x: Numbers, mu: Numbers, free: bool) -> list[str]:
    """Return what is to be said where data and reconstructions look as if in different units.

    Raises ReconError where one looks like bytes and the other is in [0, 1], if their scales were left ``free``.
    """
    sentence, way = unit_mismatch(x, mu)
    if sentence and free and "255" in way:
        raise ReconError(sentence, f"{way[:-1]}; --scale none compares them as they are.")
    return [f"{sentence} {way}"] if sentence else []
