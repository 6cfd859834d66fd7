"""Arrays larger than memory: their shape is known, their rows are read when they are asked for."""

from __future__ import annotations

import errno
import math
import os
import stat
import threading
import weakref
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import Any, TypeVar

import numpy
from numpy.typing import DTypeLike

from recon_cli.errors import ReconError
from recon_cli.runtime.limits import afford, fits

Array = numpy.ndarray
Item = TypeVar("Item")
BAND = 1 << 26  # bytes: of an array in Fortran's order so much is read at once
JUMP = 1 << 14  # bytes: what is read through sooner than jumped over


class Lazy(ABC):
    """An array whose rows, along the first axis, are read when they are asked for: ``lazy[10:20]``.

    ``numpy.asarray`` of it reads it all.

    named
        what it is called in an error: the file, as a rule.
    """

    shape: tuple[int, ...]
    dtype: numpy.dtype
    named: str = "an array"

    @abstractmethod
    def rows(self, start: int, stop: int) -> Array:
        """Return rows ``start`` to ``stop``; to be looked at before others are asked for, and never written to."""

    def unchecked(self, start: int, stop: int) -> Array:
        """Return the same rows, for a caller that finds out what is not finite by other means."""
        return self.rows(start, stop)

    def flat(self) -> Lazy | None:
        """Return the same numbers along one axis; None where only whole rows can be read."""
        return None

    def spread(self, numbers: int) -> Array:
        """Return evenly spread runs of rows, a thousand at most, of about so many numbers in all, one row at least."""
        wanted = min(len(self), max(1, numbers * len(self) // max(1, self.size)))
        runs = min(wanted, 1000)
        each = wanted // runs
        return numpy.concatenate([self.rows(at, at + each) for at in (len(self) * i // runs for i in range(runs))])

    def min(self) -> float:
        """Return the least number; all are read, some at a time."""
        return float(min(rows.min() for rows in blocks(self, BAND // self.dtype.itemsize)))

    def max(self) -> float:
        """Return the largest number; all are read, some at a time."""
        return float(max(rows.max() for rows in blocks(self, BAND // self.dtype.itemsize)))

    def __getitem__(self, some: slice) -> Array:
        start, stop, step = some.indices(len(self))
        rows = self.rows(start, max(start, stop))
        return rows if step == 1 else rows[::step]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: DTypeLike | None = None, copy: bool | None = None) -> Array:
        afford(self.named, self.nbytes)
        return self[:].astype(dtype or self.dtype, copy=False)

    @property
    def ndim(self) -> int:
        """How many axes."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """How many numbers."""
        return math.prod(self.shape)

    @property
    def nbytes(self) -> int:
        """How many bytes they take in memory."""
        return self.size * self.dtype.itemsize


Values = Array | Lazy  # numbers whose first axis counts samples: in memory, or in a file


def blocks(values: Values, numbers: int) -> Iterator[Array]:
    """Return all rows, in order, some at a time: as many as have about so many numbers, one at least."""
    each = max(1, numbers * len(values) // max(1, values.size))
    return (values[at : min(at + each, len(values))] for at in range(0, len(values), each))


class File:
    """A regular file that is read by position, and is the same from the first byte that is read to the last.

    Nothing is mapped to memory, so a file that is cut while it is read is a ReconError and no signal. That is one copy of
    each byte, by the system: 0.13 s of 512 MB, 6 % of what ``compare`` takes of the processor for them. Raises
    ReconError for what is no file and, where it is read, for a file that was written to or replaced since it was opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        file_size(path)
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self._position = threading.Lock()
        self._opened = _identity(os.fstat(self._handle))
        self.size = os.fstat(self._handle).st_size

    def unchanged(self) -> None:
        """Raise ReconError unless the file is as it was, and its name still its own; one that was deleted is read to the end."""
        with suppress(FileNotFoundError):
            if self._opened == _identity(os.fstat(self._handle)) == _identity(os.stat(self.path)):
                return
            raise ReconError(f"{self.path} changed while it was read.", "Wait until whatever writes it is done, and start again.")

    def fill(self, buffer: memoryview | bytearray, begin: int) -> None:
        """Read bytes from ``begin`` on until the buffer is full; ``unchanged`` then says whether they are still the file's.

        Raises ReconError where the file ends before.
        """
        left = memoryview(buffer).cast("B")
        while left:
            count = self._read(left, begin)
            if not count:
                self.unchanged()
                raise ReconError(f"{self.path} ends before its numbers do.", "It may be cut short: write it again.")
            left, begin = left[count:], begin + count

    def bytes(self, begin: int, count: int) -> bytes:
        """Return so many bytes from ``begin`` on."""
        content = bytearray(count)
        self.fill(content, begin)
        self.unchanged()
        return bytes(content)

    def _read(self, buffer: memoryview, begin: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._handle, [buffer], begin)
        with self._position:
            os.lseek(self._handle, begin, os.SEEK_SET)
            part = os.read(self._handle, len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def ahead(self, begin: int, end: int) -> None:
        """Tell the system, where it can be told, that these bytes are asked for next."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._handle, begin, max(0, end - begin), os.POSIX_FADV_WILLNEED)


def _identity(status: os.stat_result) -> tuple[int, ...]:
    """Return what differs as soon as a file is replaced or written to."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def file_size(path: str) -> int:
    """Return the size of a file in bytes. Raises ReconError for a pipe, a socket or a device, without opening it."""
    status = os.stat(path)
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(status.st_mode):
        raise ReconError(f"{path} is a pipe or a device, not a file.", "Write its contents to a file first.")
    return status.st_size


class Stored(Lazy):
    """Numbers that lie one after another in a file, from the byte ``offset`` on, the last axis fastest.

    Read by position into memory that is used again as soon as nobody holds the rows that were returned, so that it stays
    flat. Raises ValueError where they do not fit into the file, and ReconError where it has changed since it was opened.
    """

    def __init__(self, file: File | str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        self.file = File(file) if isinstance(file, str) else file
        self.named, self.shape, self.offset, self._dtype_on_disk = self.file.path, tuple(shape), offset, numpy.dtype(dtype)
        self.dtype = self._dtype_on_disk.newbyteorder("=")
        self._free: deque[memoryview] = deque(maxlen=2)
        fits(self.file.path, self.shape)
        if offset + self.nbytes > self.file.size:
            raise ValueError(f"it promises {self.nbytes:,} bytes of numbers, and holds {max(0, self.file.size - offset):,}")

    def flat(self) -> Lazy | None:
        return Stored(self.file, self._dtype_on_disk, (self.size,), self.offset)

    def rows(self, start: int, stop: int) -> Array:
        row = math.prod(self.shape[1:]) * self._dtype_on_disk.itemsize
        begin, size = self.offset + start * row, (stop - start) * row
        content = self._buffer(size)
        self.file.fill(content.data, begin)
        self.file.unchanged()
        self.file.ahead(begin + size, min(begin + 2 * size, self.offset + self.nbytes))
        values = content.view(self._dtype_on_disk)
        if not self._dtype_on_disk.isnative:
            values = values.byteswap(inplace=True).view(self.dtype)
        return values.reshape(stop - start, *self.shape[1:])

    def _buffer(self, size: int) -> Array:
        """Return so many bytes to be written to: those of an earlier block that nobody holds any more, or new ones."""
        block = self._free.pop() if self._free else memoryview(b"")
        if len(block) != size:
            block = numpy.empty(size, "u1").data
        content = numpy.frombuffer(block, "u1")
        weakref.finalize(content, self._free.append, block)
        return content


class FortranOrdered(Stored):
    """Numbers that lie in a file with the first axis the fastest: Fortran's order.

    Rows lie scattered over the whole file, so a band of them is read and kept, from which those next to each other come.
    """

    def __init__(self, file: File | str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        super().__init__(file, dtype, shape, offset)
        self._begin, self._band, self._lock = 0, numpy.empty((0, *self.shape[1:]), self.dtype), threading.Lock()

    def flat(self) -> Lazy | None:
        return Flat(self)

    def rows(self, start: int, stop: int) -> Array:
        self.file.unchanged()
        with self._lock:
            if not self._begin <= start <= stop <= self._begin + len(self._band):
                most = max(stop - start, BAND * len(self) // max(1, self.nbytes))
                self._band = self._band[:0]
                self._band, self._begin = self._read(start, min(start + most, len(self))), start
            return self._band[start - self._begin : stop - self._begin]

    def _read(self, start: int, stop: int) -> Array:
        """Return some rows in C's order: read run by run of each column, or whole columns where runs lie close together."""
        columns, size = math.prod(self.shape[1:]), self._dtype_on_disk.itemsize
        column = len(self) * size
        values = numpy.empty((columns, stop - start), self._dtype_on_disk)
        each = max(1, JUMP // column) if column - (stop - start) * size < JUMP else 0
        for at in range(0, columns, each or 1):
            if each:
                whole = numpy.empty((min(each, columns - at), len(self)), self._dtype_on_disk)
                self.file.fill(whole.data, self.offset + at * column)
                values[at : at + len(whole)] = whole[:, start:stop]
            else:
                self.file.fill(values[at].data, self.offset + at * column + start * size)
        self.file.unchanged()
        return numpy.ascontiguousarray(values.reshape(*self.shape[:0:-1], stop - start).T, self.dtype)


class Flat(Lazy):
    """The numbers of another array along one axis, cut from whole rows of it."""

    def __init__(self, of: Lazy) -> None:
        self.of, self.named, self.shape, self.dtype = of, of.named, (of.size,), of.dtype

    def rows(self, start: int, stop: int) -> Array:
        each = math.prod(self.of.shape[1:])
        first = start // each
        values = self.of.rows(first, -(-stop // each)).reshape(-1)
        return values[start - first * each : stop - first * each]


class Mapped(Lazy):
    """What ``make`` makes of the rows of another array: ``make(rows, first number's place)``, in the same shape.

    only_checks
        whether it changes nothing, and only raises.
    """

    def __init__(self, of: Lazy, dtype: DTypeLike, make: Callable[[Array, int], Array], only_checks: bool = False) -> None:
        self.of, self.shape, self.dtype, self.make, self.only_checks = of, of.shape, numpy.dtype(dtype), make, only_checks
        self.named = of.named

    def flat(self) -> Lazy | None:
        of = self.of.flat()
        return Mapped(of, self.dtype, self.make, self.only_checks) if of is not None else None

    def rows(self, start: int, stop: int) -> Array:
        return self.make(self.of[start:stop], start * math.prod(self.shape[1:]))

    def unchecked(self, start: int, stop: int) -> Array:
        return self.of.unchecked(start, stop) if self.only_checks else self.rows(start, stop)


class Sliced(Lazy):
    """What a library reads from a file, or computes, when it is sliced: an HDF5 data set, zarr's, a sparse matrix row by row.

    of
        has a shape, a dtype, and ``of[start:stop]``, which gives an array, or a sparse matrix.
    """

    def __init__(self, of: Any, named: str) -> None:
        self.of, self.named, self.shape = of, named, tuple(int(size) for size in of.shape)
        self.dtype = numpy.dtype(of.dtype).newbyteorder("=")
        self.lock = threading.Lock()
        fits(named, self.shape)
        if self.shape and self.shape[0]:
            afford(named, self.nbytes // len(self), hint="Save it with smaller samples.")

    def rows(self, start: int, stop: int) -> Array:
        with self.lock:
            try:
                part = self.of[start:stop]
            except (OSError, ValueError, KeyError) as error:
                raise ReconError(
                    f"{self.named} cannot be read: {error}.", "It may be damaged, or still being written."
                ) from error
        part = part.toarray() if hasattr(part, "toarray") else part
        return numpy.asarray(part).astype(self.dtype, copy=False).reshape(stop - start, *self.shape[1:])


def widened(bits: Lazy, name: str) -> Lazy:
    """Return as float32 the numbers of a type that torch has by this ``name`` and numpy has not, from their ``bits``."""
    import torch

    dtype, whole = getattr(torch, name), bits.dtype.newbyteorder("=").str.replace("u", "i")
    return Mapped(bits, "f4", lambda rows, _: torch.from_numpy(rows.view(whole)).view(dtype).float().numpy())


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield the same items, each made by a thread of its own while the one before it is in use."""
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(lambda: [*islice(items, 1)])
        while item := coming.result():
            coming = reader.submit(lambda: [*islice(items, 1)])
            yield item[0]
