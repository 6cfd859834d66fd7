"""Tables as Parquet holds them, read row by row; and what other tables of Arrow's have in common with them."""

from __future__ import annotations

import io
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.identity.shapes import spell
from recon_cli.runtime.files import read_file, unreadable
from recon_cli.runtime.images import fitted, pixels, spelled
from recon_cli.runtime.lazy_arrays import Array, File, Lazy
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, column_places, is_exclusion, library, path_and_choice
from recon_cli.sources._reading import ReadOptions

if TYPE_CHECKING:
    import pyarrow
    from pyarrow.parquet import FileMetaData

PIECE = 1 << 22  # bytes read in one go
SMALLER = "Write it anew in smaller row groups, or the numbers as a .npy file, which is read piece by piece."
Stream = Callable[[int, int], "tuple[int, Iterator[pyarrow.Table | pyarrow.RecordBatch]]"]


class Parquet(Source):
    """``x.parquet``, or ``x.parquet:a``, one column of it: numbers, lists of them of one length, or png and jpeg images.
    ``x.parquet:-a`` is all but that.

    Columns of plain numbers may stand side by side, ``x.parquet:a,b``, and do where a table has no others. Lists, nested
    ones too, are a sample each; images, as Hugging Face stores them or as plain bytes, are grey levels. Takes pyarrow.
    """

    takes = "a path"
    heeds = frozenset({"columns", "drop", "size", "colour"})
    rows: Rows | None = None

    def read(self) -> Lazy:
        path, wanted = path_and_choice(self.argument)
        library("pyarrow")
        self.rows = read_file(path, lambda: self._open(path, wanted))
        self.levels = self.rows.pictures
        self.columns = self.rows.columns if len(self.rows.columns) > 1 else ()
        return self.rows

    def _open(self, path: str, wanted: str) -> Rows:
        from pyarrow.parquet import ParquetFile

        whole = File(path)
        file = ParquetFile(path, pre_buffer=False, buffer_size=PIECE)
        columns = columns_of(self, path, wanted, file.schema_arrow)
        afford_columns(path, file.metadata, columns)
        groups = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
        starts = [0, *accumulate(groups)]

        def stream(row: int, step: int) -> tuple[int, Iterator[pyarrow.RecordBatch]]:
            first = next((i for i in range(len(groups)) if row < starts[i + 1]), 0)
            return starts[first], file.iter_batches(step, range(first, len(groups)), columns)

        return Rows(path, starts[-1], stream, columns, files=[whole], reading=self.reading)

    def describe(self) -> str:
        return self.rows.described() if self.rows else ""


class Rows(Lazy):
    """Columns of a table, row by row: going forward takes constant memory, a piece at a time.

    stream
        from a row, and how many to read in one go, the row that its pieces (tables) begin with, and these.
    paths
        whether an image may be a path to a file, where it is not bytes.
    files
        that may not change while they are read.
    reading
        what size and colours images are to have.
    """

    begin: int
    piece: Array  # the rows from ``begin`` on that were read last
    pieces: Iterator[pyarrow.Table | pyarrow.RecordBatch]

    def __init__(
        self, where: str, count: int, stream: Stream, columns: Sequence[str], paths: bool = False, files: Sequence[File] = (),
        reading: ReadOptions | None = None,
    ) -> None:  # fmt: skip
        self.reading = reading or ReadOptions()
        self.where, self.stream, self.columns, self.paths, self.files = where, stream, columns, paths, files
        self.named = where
        self.changed, self.images = Counter[str](), 0
        self.pictures, self.shape, self.step = False, (count,), 1
        self.is_open, self.lock = False, threading.Lock()
        if not count:
            raise ReconError(f"{where} has no rows.", "Give at least one sample.")
        self._restart(0)
        first = self._next()
        self.dtype, self.shape, self.is_open = first.dtype, (count, *first.shape[1:]), True
        self.step = max(1, PIECE // max(1, first.nbytes))
        self.first, self.changed, self.images = [*self.changed], Counter(), 0
        self._restart(0)

    def rows(self, start: int, stop: int) -> Array:
        with self.lock:
            return self._fill(numpy.empty((stop - start, *self.shape[1:]), self.dtype), start)

    def described(self) -> str:
        """Return what these images are and what reading them changed; empty for what are no images."""
        if not self.pictures:
            return ""
        if self.images >= len(self):
            changes = [f"{count:,} {how}" for how, count in self.changed.items()]
        else:
            changes = [f"the first {how}" for how in self.first]
        one = numpy.broadcast_to(numpy.zeros((), self.dtype), self.shape[1:])
        return ", ".join([f"{self.where}: {len(self):,} images of {spelled(one)}", *changes])

    def _fill(self, values: Array, start: int) -> Array:
        """Return ``values`` filled with the rows from ``start`` on."""
        begin, pieces = self.stream(start, self.step)
        if start < self.begin or begin > self.begin + len(self.piece):
            self.begin, self.pieces, self.piece = begin, pieces, self.piece[:0]
        done = 0
        while done < len(values):
            here = start + done - self.begin
            if here >= len(self.piece):
                self.piece = self._next()
                continue
            part = self.piece[here : here + len(values) - done]
            values[done : done + len(part)] = part
            done += len(part)
        return values

    def _restart(self, row: int) -> None:
        """Read on from ``row``, or from a little before."""
        self.begin, self.pieces = self.stream(row, self.step)
        self.piece = numpy.empty((0, *self.shape[1:]))

    def _next(self) -> Array:
        """Return the next piece as an array, shape (rows, ...)."""
        self.begin, self.piece = self.begin + len(self.piece), self.piece[:0]
        for file in self.files:
            file.unchanged()
        try:
            values = self._read()
            for file in self.files:
                file.unchanged()
            return values
        except (MemoryError, ReconError):
            raise
        except Exception as error:
            raise unreadable(self.where, error) from error

    def _read(self) -> Array:
        piece = next(self.pieces, None)
        if piece is None:
            raise ValueError(f"it promises {len(self):,} rows, and holds fewer")
        parts = [self._values(piece.column(i), name) for i, name in enumerate(self.columns)]
        with numpy.errstate(invalid="ignore"):  # NaN of any kind is refused later
            values = parts[0] if len(parts) == 1 else numpy.stack(parts, axis=1)
        if self.is_open and (values.dtype, values.shape[1:]) != (self.dtype, self.shape[1:]):
            here, first = (f"{each.dtype} of shape {spell(each.shape[1:])}" for each in (values, self))
            raise self._refused(self.columns[0], self.begin, f"{here}, and the first {first}")
        return values

    def _values(self, column: pyarrow.Array | pyarrow.ChunkedArray, name: str) -> Array:
        """Return a column as an array, made chunk by chunk."""
        row, parts = self.begin, []
        for chunk in getattr(column, "chunks", [column]):
            parts.append(self._plain(chunk, name, row, 1))
            row += len(chunk)
        sizes = {part.shape[1:] for part in parts}
        if len(sizes) > 1:
            raise self._refused(
                name, self.begin, f"followed by others of another shape: {' and '.join(sorted(map(spell, sizes)))}"
            )
        return numpy.concatenate(parts)

    def _plain(self, array: pyarrow.Array, name: str, row: int, each: int) -> Array:
        """Return an array of Arrow's as numbers; ``each`` of its entries are one row, the first of them ``row``."""
        from pyarrow import types

        if hasattr(array, "storage"):
            array = array.storage
        kind = array.type
        if types.is_dictionary(kind):
            array = array.dictionary_decode()
            kind = array.type
        if array.null_count and self.reading.missing is not None and is_number(kind):
            array = array.cast("float64")  # whose nulls are NaN
        elif array.null_count:
            at = int(numpy.argmax(array.is_null().to_numpy(zero_copy_only=False)))
            raise self._refused(name, row + at // each, "empty (null) there, and every sample must have a value")
        if is_image(kind):
            return self._images(array, name, row)
        if types.is_fixed_size_list(kind) or types.is_list(kind) or types.is_large_list(kind):
            sizes = array.value_lengths().to_numpy(zero_copy_only=False)
            other = sizes != sizes[:1]
            if other.any():
                at = int(numpy.argmax(other))
                raise self._refused(name, row + at // each, f"{sizes[at]} long, and the first of these {sizes[0]}")
            size = int(sizes[0]) if len(sizes) else 0
            inner = self._plain(array.flatten(), name, row, each * max(size, 1))
            return inner.reshape(len(array), size, *inner.shape[1:])
        numbers: Array = array.to_numpy(zero_copy_only=False)
        if self.reading.missing is not None and numbers.dtype.kind in "iub":  # in another piece some may be missing
            numbers = numbers.astype(numpy.float64)
        return numbers

    def _images(self, array: pyarrow.Array, name: str, row: int) -> Array:
        """Return images of one size, (rows, height, width) or with a last axis of 3."""
        self.pictures = True
        images: Array | None = None
        for i, value in enumerate(array):
            image, changes = self._image(value.as_py(), name, row + i)
            image, more = fitted(image, self.reading.size, self.reading.colour)
            changes = (*changes, *more)
            if images is None:
                images = numpy.empty((len(array), *image.shape), image.dtype)
            first = numpy.broadcast_to(images.dtype.type(), self.shape[1:] or images.shape[1:])
            if image.shape != first.shape or image.dtype != images.dtype:
                way = "--size HEIGHTxWIDTH and --colour grey|rgb make them alike."
                raise self._refused(name, row + i, f"{spelled(image)}, and the first {spelled(first)}", way)
            images[i] = image
            self.changed.update(changes)
            self.images += 1
        return numpy.empty((0, *self.shape[1:])) if images is None else images

    def _image(self, value: dict[str, Any] | bytes, name: str, row: int) -> tuple[Array, tuple[str, ...]]:
        """Return one image from its bytes, or from the file that they are in, and what reading it changed."""
        inside, path = (value.get("bytes"), value.get("path")) if isinstance(value, dict) else (value, None)
        try:
            if inside is not None:
                return pixels(io.BytesIO(inside))
            if path is None or not self.paths:
                raise ValueError("its bytes are not in the table")
            return read_file(path, lambda: pixels(path))
        except (MemoryError, ReconError):
            raise
        except Exception as error:
            raise unreadable(f"Row {row:,} of {name} in {self.where} (the first is 0)", error) from error

    def _refused(
        self, name: str, row: int, what: str, way: str = "Mend or drop those rows, or choose another column."
    ) -> ReconError:
        return ReconError(
            f"{name} in {self.where} is, in row {row:,} (the first is 0), {what}.",
            way,
        )


def index_columns(schema: pyarrow.Schema) -> list[str]:
    """Return the columns that name the rows, as pandas stores its index."""
    listed_there = (schema.pandas_metadata or {}).get("index_columns", ())
    return [name for name in schema.names if name in listed_there or re.fullmatch(r"__index_level_\d+__", name)]


def columns_of(source: Source, where: str, wanted: str, schema: pyarrow.Schema) -> list[str]:
    """Return the columns that are asked for; without a word the only one that recon reads, or all where all are plain numbers.

    ``-a,-b`` are all but these; pandas's index is left out unless it is asked for, and that is said in the source's remarks.
    Raises ReconError for one that is not there, or twice, and for what is no number, no list of numbers and no image.
    """
    types, every = dict(zip(schema.names, schema.types, strict=True)), schema.names

    def named(name: str) -> str:
        return choose(where, name, every, "column")

    names = [wanted] if wanted in types else [name.strip() for name in wanted.split(",")]
    source.without = None
    if not wanted or is_exclusion(wanted, every):
        source.without = f"{where}:{wanted}{',' * bool(wanted)}-"
        pool = [every[at] for at in column_places(wanted, every, lambda name: every.index(named(name)))] if wanted else every
        left = [name for name in pool if name in index_columns(schema) and len(pool) > 1]
        pool = [name for name in pool if name not in left]
        remark = "{0}: the column {1!r} is the index of the rows, and is left out; {0}:{1} reads it."
        source.remarks += tuple(remark.format(where, name) for name in left)
        names = pool if wanted or all(is_number(types[name]) for name in pool) else [choose(where, "", pool, "column")]
    names = [named(name) for name in names] if len(types) < len(every) or wanted else names
    if not names:
        raise ReconError(f"{where} holds 0 columns.", "Give another file.")
    for name in names:
        if len(names) > 1 and not is_number(types[name]):
            raise ReconError(
                f"{name} in {where} holds {types[name]}; only columns of plain numbers stand side by side.",
                f"Choose it alone, as in {where}:{name}.",
            )
        if not is_readable(types[name]):
            good = [other for other in types if is_readable(types[other])]
            raise ReconError(
                f"{name} in {where} holds {types[name]}, and recon reads numbers, lists of numbers, and images.",
                f"Choose another column: {listed(good)}." if good else "Give another file.",
            )
    return names


def afford_columns(path: str, about: FileMetaData, columns: Sequence[str]) -> None:
    """Raise ReconError for columns that unpack to far more than the file, or of which a row alone takes too much."""
    size = os.path.getsize(path)
    for i in range(about.num_row_groups):
        group = about.row_group(i)
        parts = [group.column(j) for j in range(group.num_columns)]
        parts = [part for part in parts if part.path_in_schema.partition(".")[0] in columns or part.path_in_schema in columns]
        row = 8 * sum(part.num_values for part in parts) // max(1, group.num_rows)
        afford(path, max(row, *(part.total_uncompressed_size for part in parts), 0), size, SMALLER)


def is_number(kind: pyarrow.DataType) -> bool:
    """Whether a type of Arrow's is of plain numbers."""
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def is_readable(kind: pyarrow.DataType) -> bool:
    """Whether it is of numbers, lists of them, or images."""
    kind = getattr(kind, "storage_type", kind)
    return is_number(kind) or is_image(kind) or (hasattr(kind, "value_type") and is_readable(kind.value_type))


def is_image(kind: pyarrow.DataType) -> bool:
    """Whether it is of bytes, alone or as Hugging Face stores an image, beside a path."""
    from pyarrow import types

    if types.is_struct(kind):
        return {field.name for field in kind} == {"bytes", "path"}
    return bool(types.is_binary(kind) or types.is_large_binary(kind))
