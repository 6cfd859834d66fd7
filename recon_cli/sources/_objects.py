"""What people have at hand in Python, as a source: told by what it can do (a shape, rows, items, batches), not by whose it is."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.identity.arrays import as_array
from recon_cli.identity.parametric import as_whole
from recon_cli.identity.shapes import spell
from recon_cli.runtime.lazy_arrays import Array, Lazy, Sliced, Stored, Values
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, column_places
from recon_cli.sources._reading import ReadOptions
from recon_cli.sources._registry import parse

WHOLE = 1 << 25  # bytes: batches of so many together are kept in memory, more in a file
GROUP = 64  # items of a data set that are stacked at once


def source_of(data: Any, word: str = "data", seed: int = 0, reading: ReadOptions | None = None) -> tuple[Source, str]:
    """Return the source of a word of the command line, a path, or an object; and what to call it."""
    if isinstance(data, (str, Path)):
        return parse(str(data), seed, reading), str(data)
    return Given(data, word, seed, reading), word


class Given(Source):
    """An object of Python's: an array of anybody's, a table, a data set of samples, a loader or generator of batches.

    Of pairs (x, y) x is taken, and that is said. The names of a table's columns are kept. What is larger than memory allows
    stays where it is and is read by slices; batches are written to a temporary file as they come. A masked array's mask says
    what is not there. ``shuffled`` is whether a loader gave them in another order than they lie in.
    """

    shuffled: bool = False

    def __init__(self, data: Any, word: str = "data", seed: int = 0, reading: ReadOptions | None = None) -> None:
        super().__init__("", seed)
        self.data, self.word, self.reading = data, word, reading or ReadOptions()

    def read(self) -> Values:
        return self._values(self.data)

    def _values(self, data: Any) -> Values:
        if data is None:
            raise ReconError(f"{self.word} is None.", "Give an array, a table, a data set, a loader, or the name of a file.")
        if isinstance(data, (Lazy, numpy.ma.MaskedArray)):
            return data if isinstance(data, Lazy) else self._unmasked(data)
        if hasattr(data, "var_names") and hasattr(data, "X"):
            self.columns = [str(name) for name in data.var_names]
            return self._values(data.X)
        if hasattr(data, "to_numpy") or hasattr(data, "column_names"):
            names = getattr(data, "columns", None) if not hasattr(data, "column_names") else data.column_names
            if hasattr(data, "features"):
                return self._items(data) if hasattr(data, "__len__") else self._streamed(data)
            return as_array(data.to_numpy(), self.word) if names is None else self._table(data, [str(name) for name in names])
        if hasattr(data, "tocsr"):
            self.remarks += (f"{self.word}: it is a sparse matrix of {spell(data.shape)}, and is made dense.",)
            rows = Sliced(data.tocsr(), self.word)
            return rows if rows.nbytes > WHOLE else numpy.asarray(rows)
        if isinstance(data, Mapping) or (hasattr(data, "keys") and hasattr(data, "__getitem__")):
            return self._values(data[self._chosen(data)])
        if self._by_slices(data):
            return Sliced(data, self.word)
        is_array = hasattr(data, "__array__") or hasattr(data, "__dlpack__") or hasattr(data, "detach")
        if is_array and not hasattr(data, "__next__"):
            return as_array(data if hasattr(data, "__array__") else numpy.from_dlpack(data), self.word)
        if isinstance(data, (list, tuple)):
            return self._sequence(data)
        if hasattr(data, "__next__") or (
            hasattr(data, "__iter__") and not (hasattr(data, "__getitem__") and hasattr(data, "__len__"))
        ):
            return self._streamed(data)
        if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not isinstance(data, (str, bytes)):
            return self._items(data)
        return as_array(data, self.word)

    def _by_slices(self, data: Any) -> bool:
        """Whether it is an array that lies elsewhere and is large: an HDF5 data set, zarr's, of dask."""
        if hasattr(data, "__array_interface__") or hasattr(data, "detach") or not hasattr(data, "__getitem__"):
            return False
        shape, dtype = getattr(data, "shape", None), getattr(data, "dtype", None)
        if not isinstance(shape, tuple) or not isinstance(dtype, numpy.dtype) or dtype.kind not in "fiub" or not shape:
            return False
        return bool(numpy.prod([float(size) for size in shape]) * dtype.itemsize > WHOLE)

    def _unmasked(self, data: numpy.ma.MaskedArray) -> Array:
        """Return a masked array with NaN where it is masked."""
        if not numpy.ma.count_masked(data):
            return as_array(data.data, self.word)
        seen = as_array(data.compressed(), self.word)
        if self.reading.missing is None and seen.dtype.kind == "f" and (nan := int(numpy.isnan(seen).sum())):
            raise ReconError(f"{self.word} has {nan:,} NaN that are not masked.", "Mask them too, or say missing='nan'.")
        self.partial = True
        wide = numpy.result_type(data.dtype, numpy.float32)
        return numpy.where(numpy.ma.getmaskarray(data), numpy.nan, data.data).astype(wide)

    def _table(self, data: Any, names: list[str]) -> Array:
        """Return the numbers of a table, whose columns are ``names``: those that are asked for."""

        def place(name: str) -> int:
            if name not in names and (number := as_whole(name)) is not None and number < len(names):
                return number
            return names.index(choose(self.word, name, names, "column"))

        places = column_places(self.reading.choice, names, place) if self.reading.choice else [*range(len(names))]
        self.columns = [names[at] for at in places]
        if hasattr(data, "columns") and not hasattr(data, "column_names"):
            columns = [data.iloc[:, at] if hasattr(data, "iloc") else data[names[at]] for at in places]
        else:
            columns = [data.column(at) for at in places]
        return numpy.stack([self._column(column, names[at]) for column, at in zip(columns, places, strict=True)], axis=1)

    def _column(self, column: Any, name: str) -> Array:
        """Return a column as numbers, NaN where it has none. Raises ReconError, which names it, for words and dates."""
        values = numpy.asarray(column.to_numpy())
        if values.dtype.kind == "O":
            try:
                values = numpy.array([numpy.nan if is_missing(value) else value for value in values], dtype=numpy.float64)
            except (TypeError, ValueError):
                values = values.astype(str)
        if values.dtype.kind not in "fiub":
            what = "dates or spans of time" if values.dtype.kind in "mM" else "words"
            raise ReconError(
                f"The column {name!r} of {self.word} holds {what}, no numbers.",
                f"Leave it out: drop={name!r}; or turn it into numbers.",
            )
        return values

    def _chosen(self, data: Any) -> str:
        """Return which of the arrays of a mapping is meant: the only one."""
        names = [str(name) for name in getattr(data, "data_vars", data)]
        wanted = self.reading.columns
        if len(names) != 1 and not wanted:
            raise ReconError(
                f"{self.word} holds {len(names):,} arrays: {listed(names) or 'none'}.", "Give one of them, as in data['x']."
            )
        return choose(self.word, wanted, names, "array")

    def _sequence(self, data: list[Any] | tuple[Any, ...]) -> Values:
        """Return a list of samples as one array; of a pair (x, y), x."""
        if any(isinstance(part, numpy.ma.MaskedArray) for part in data):
            return self._unmasked(numpy.ma.stack(data))
        if isinstance(data, tuple) and len(data) == 2 and all(hasattr(part, "shape") and len(part.shape) for part in data):
            first, second = (tuple(part.shape) for part in data)
            if first != second and first[0] == second[0]:
                return self._values(self._first(data))
        if isinstance(data, list) and data and isinstance(data[0], (tuple, Mapping)) and not isinstance(data[0], numpy.ndarray):
            head = data[0]
            if isinstance(head, Mapping) or any(hasattr(part, "shape") and len(part.shape) for part in head):
                return self._items(data)
        return as_array(data, self.word)

    def _first(self, item: Any) -> Any:
        """Return x of a pair (x, y), or of a row with names; what is left out is said."""
        if isinstance(item, (tuple, list)) and item and not all(isinstance(part, (int, float)) for part in item):
            first, *others = item
            if others:
                self._say(f"{self.word}: of its pairs (x, y) x is taken, and the {len(others)} behind it left out.")
            return first
        if isinstance(item, Mapping):
            several = [
                name
                for name, value in item.items()
                if not isinstance(value, (int, float, str, bytes, numpy.number)) and getattr(value, "shape", (1,)) != ()
            ]
            if not several:  # a row of a table
                self.columns = [str(name) for name in item]
                return [*item.values()]
            name = self.reading.columns or (several[0] if len(several) == 1 else "")
            if name not in item:
                raise ReconError(
                    f"{self.word} gives {listed(map(str, item))}.", "Say which is meant, columns='image', or give data['image']."
                )
            if left := [str(other) for other in item if other != name]:
                self._say(f"{self.word}: of its columns {name} is taken, and {listed(left)} left out.")
            return item[name]
        return item

    def _say(self, remark: str) -> None:
        self.remarks = (*self.remarks, *([remark] if remark not in self.remarks else []))

    def _items(self, data: Any) -> Values:
        """Return what a data set gives item by item, a sample each."""
        if not len(data):
            raise ReconError(f"{self.word} is empty.", "Give at least one sample.")
        return self._gathered(stacks((self._sample(data[at]) for at in range(len(data))), self.word))

    def _sample(self, item: Any) -> Array:
        return as_array(self._first(item), self.word)

    def _streamed(self, data: Iterable[Any]) -> Values:
        """Return what a loader or generator gives batch by batch; an iterable data set, sample by sample."""
        self.shuffled = type(getattr(data, "sampler", None)).__name__ == "RandomSampler"
        if self.shuffled:
            self.remarks += (
                f"{self.word}: its loader shuffles: samples come in another order than they lie in, and each time in another.",
            )
        if any(kind.__name__ == "IterableDataset" for kind in type(data).__mro__):
            return self._gathered(stacks(map(self._sample, data), self.word))
        return self._gathered(self._sample(batch) for batch in data)

    def _gathered(self, batches: Iterator[Array]) -> Values:
        """Return batches as one array: in memory where they are small, else in a temporary file, which is deleted already."""
        kept: list[Array] = []
        count, shape, dtype = 0, (), numpy.dtype("f4")
        for batch in batches:
            if not batch.ndim:
                raise ReconError(f"{self.word} gives single numbers, not batches.", "Give batches: (B, ...), B counting samples.")
            if kept and batch.shape[1:] != shape:
                raise ReconError(
                    f"{self.word} gives samples of {spell(batch.shape[1:])} after others of {spell(shape)}.",
                    "Cut or pad them to one shape.",
                )
            dtype = numpy.result_type(dtype, batch.dtype) if kept else batch.dtype
            kept.append(batch)
            count, shape = count + len(batch), batch.shape[1:]
            if sum(part.nbytes for part in kept) > WHOLE:
                return self._spooled(kept, batches, dtype)
        if not count:
            raise ReconError(
                f"{self.word} is empty, or was gone through before.", "Make the generator anew, or give a DataLoader."
            )
        return numpy.concatenate(kept)

    def _spooled(self, first: list[Array], rest: Iterator[Array], dtype: numpy.dtype) -> Values:
        """Write batches to a temporary file, and return what reads it."""
        count, shape = 0, first[0].shape[1:]
        handle, path = tempfile.mkstemp(suffix=".recon")
        try:
            with os.fdopen(handle, "wb") as file:
                for batch in (part for group in (first, rest) for part in group):
                    if batch.shape[1:] != shape:
                        raise ReconError(
                            f"{self.word} gives samples of {spell(batch.shape[1:])} after others of {spell(shape)}.",
                            "Cut or pad them to one shape.",
                        )
                    numpy.ascontiguousarray(batch, dtype).tofile(file)
                    count += len(batch)
            stored = Stored(path, dtype, (count, *shape), 0)
            stored.named = self.word
            return stored
        finally:
            os.unlink(path)


def stacks(samples: Iterator[Array], word: str) -> Iterator[Array]:
    """Yield samples some at a time, along a first axis. Raises ReconError where their shapes differ."""
    while group := [*islice(samples, GROUP)]:
        shapes = {sample.shape for sample in group}
        if len(shapes) > 1:
            both = " and ".join(sorted(spell(shape) for shape in shapes)[:2])
            raise ReconError(
                f"{word} gives samples of several shapes: {both}.",
                "Cut or pad them to one, as torchvision.transforms.Resize does.",
            )
        afford(word, len(group) * group[0].nbytes)
        yield numpy.stack(group)


def in_order(data: Source, recon: Source) -> None:
    """Raise ReconError where data or their reconstructions come out of a loader that shuffles: they are not each other's."""
    for source in (data, recon):
        if isinstance(source, Given) and source.shuffled:
            raise ReconError(
                f"{source.word} comes from a loader that shuffles, so its samples are not those of the other side, one by one.",
                "Give DataLoader(..., shuffle=False).",
            )


def is_missing(value: object) -> bool:
    """Whether an object stands for no value."""
    return value is None or type(value).__name__ in ("NAType", "NaTType")


def pairs(data: Any) -> tuple[Array, Array] | None:
    """Return x and y of a data set or loader that gives pairs (x, y); None for what gives no pairs."""
    if (
        isinstance(data, (str, Path, list, Mapping))
        or hasattr(data, "__array__")
        or hasattr(data, "to_numpy")
        or hasattr(data, "detach")
    ):
        return None
    if isinstance(data, tuple):
        return (data[0], data[1]) if len(data) == 2 else None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__"):
        if not len(data) or not isinstance(data[0], (tuple, list)) or len(data[0]) != 2:
            return None
        items = [data[at] for at in range(len(data))]
        return tuple(numpy.stack([as_array(item[part], "data") for item in items]) for part in (0, 1))  # type: ignore[return-value]
    if type(data).__name__ == "DataLoader":
        batches = [*data]
        if batches and isinstance(batches[0], (tuple, list)) and len(batches[0]) == 2:
            return tuple(numpy.concatenate([as_array(batch[part], "data") for batch in batches]) for part in (0, 1))  # type: ignore[return-value]
    return None
