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
from typing import Any, TypeVar

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.limits import afford, fits

Array = numpy.ndarray
Item = TypeVar("Item")
BAND = 1 << 26  # bytes: of an array in Fortran's order so much is read at once
JUMP = 1 << 14  # bytes: what is read through sooner than jumped over


class Lazy(ABC):
    """An array whose rows, along the first axis, are read when they are asked for: ``lazy[10:20]``.

    ``numpy.asarray`` of it reads it all.
    """

    shape: tuple[int, ...]
    dtype: numpy.dtype
    named: str = "an array"

    @abstractmethod
    def rows(self, start: int, stop: int) -> numpy.ndarray:
        """Rows ``start`` to ``stop``; to be looked at before others are asked for, and never written to."""

    def unchecked(self, start: int, stop: int) -> numpy.ndarray:
        """The same rows, for who finds out what is not finite by other means."""
        return self.rows(start, stop)

    def flat(self) -> Lazy | None:
        """The same numbers along one axis; None where only whole rows can be read."""
        return None

    def spread(self, numbers: int) -> numpy.ndarray:
        """Evenly spread runs of rows, a thousand at most, of about so many numbers, one row at least."""
        wanted = min(len(self), max(1, numbers * len(self) // max(1, self.size)))
        runs = min(wanted, 1000)
        each = wanted // runs
        return numpy.concatenate([self.rows(at, at + each) for at in (len(self) * i // runs for i in range(runs))])

    def blocks(self, numbers: int) -> Iterator[numpy.ndarray]:
        """All rows, in order, some at a time: of about so many numbers."""
        each = max(1, numbers * len(self) // max(1, self.size))
        return (self.rows(at, min(at + each, len(self))) for at in range(0, len(self), each))

    def __getitem__(self, some: slice) -> numpy.ndarray:
        start, stop, step = some.indices(len(self))
        found = self.rows(start, max(start, stop))
        return found if step == 1 else found[::step]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
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


class File:
    """A regular file that is read by position, and is the same from the first byte that is read to the last.

    Nothing is mapped to memory, so a file that is cut while it is read is a ReconError and no signal. Raises ReconError
    for what is no file and, where it is read, for a file that was written to or replaced since it was opened.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        regular(path)
        self._handle = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        weakref.finalize(self, os.close, self._handle)
        self._one = threading.Lock()
        self._was = self._state(os.fstat(self._handle))
        self.size = os.fstat(self._handle).st_size

    def _state(self, about: os.stat_result) -> tuple[int, ...]:
        return about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns

    def unchanged(self) -> None:
        """Raise ReconError unless the file is as it was, and its name still its own; one that was deleted is read to the end."""
        with suppress(FileNotFoundError):
            if self._was == self._state(os.fstat(self._handle)) == self._state(os.stat(self.path)):
                return
            raise ReconError(f"{self.path} changed while it was read.", "Wait until whatever writes it is done, and start again.")

    def fill(self, buffer: Any, begin: int) -> None:
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
        """So many bytes from ``begin`` on."""
        made = bytearray(count)
        self.fill(made, begin)
        self.unchanged()
        return bytes(made)

    def _read(self, buffer: memoryview, begin: int) -> int:
        if hasattr(os, "preadv"):
            return os.preadv(self._handle, [buffer], begin)
        with self._one:
            os.lseek(self._handle, begin, os.SEEK_SET)
            part = os.read(self._handle, len(buffer))
        buffer[: len(part)] = part
        return len(part)

    def ahead(self, begin: int, end: int) -> None:
        """Tell the system, where it can be told, that these bytes are asked for next."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(self._handle, begin, max(0, end - begin), os.POSIX_FADV_WILLNEED)


def regular(path: str) -> int:
    """The size of a file in bytes. Raises ReconError for a pipe, a socket or a device, without opening it."""
    about = os.stat(path)
    if stat.S_ISDIR(about.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(about.st_mode):
        raise ReconError(f"{path} is a pipe or a device, not a file.", "Write its contents to a file first.")
    return about.st_size


class Stored(Lazy):
    """Numbers that lie one after another in a file, from the byte ``offset`` on, the last axis fastest.

    Read by position into memory that is used again as soon as nobody holds what was given, so that it stays flat. Raises
    ValueError where they do not fit into the file, and ReconError where it has changed since it was opened.
    """

    def __init__(self, file: File | str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        self.file = File(file) if isinstance(file, str) else file
        self.named, self.shape, self.offset, self._kind = self.file.path, tuple(shape), offset, numpy.dtype(dtype)
        self.dtype = self._kind.newbyteorder("=")
        self._free: deque[Any] = deque(maxlen=2)
        fits(self.file.path, self.shape)
        if offset + self.nbytes > self.file.size:
            raise ValueError(f"it promises {self.nbytes:,} bytes of numbers, and holds {max(0, self.file.size - offset):,}")

    def flat(self) -> Stored:
        return Stored(self.file, self._kind, (self.size,), self.offset)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        row = math.prod(self.shape[1:]) * self._kind.itemsize
        begin, size = self.offset + start * row, (stop - start) * row
        made = self._room(size)
        self.file.fill(made, begin)
        self.file.unchanged()
        self.file.ahead(begin + size, min(begin + 2 * size, self.offset + self.nbytes))
        found = made.view(self._kind)
        if not self._kind.isnative:
            found = found.byteswap(inplace=True).view(self.dtype)
        return found.reshape(stop - start, *self.shape[1:])

    def _room(self, size: int) -> numpy.ndarray:
        """So many bytes, to be written to: those of an earlier block that nobody holds any more, or new ones."""
        block = self._free.pop() if self._free else b""
        if len(block) != size:
            block = numpy.empty(size, "u1").data
        made = numpy.frombuffer(block, "u1")
        weakref.finalize(made, self._free.append, block)
        return made


class FortranOrdered(Stored):
    """The same where the first axis is the fastest: Fortran's order.

    Rows lie scattered over the whole file, so a band of them is read and kept, from which those next to each other are given.
    """

    def __init__(self, file: File | str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        super().__init__(file, dtype, shape, offset)
        self._begin, self._band, self._lock = 0, numpy.empty((0, *self.shape[1:]), self.dtype), threading.Lock()

    def flat(self) -> Lazy:  # type: ignore[override]
        return Flat(self)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        self.file.unchanged()
        with self._lock:
            if not self._begin <= start <= stop <= self._begin + len(self._band):
                most = max(stop - start, BAND * len(self) // max(1, self.nbytes))
                self._band = self._band[:0]
                self._band, self._begin = self._read(start, min(start + most, len(self))), start
            return self._band[start - self._begin : stop - self._begin]

    def _read(self, start: int, stop: int) -> numpy.ndarray:
        """Some rows, in C's order: a run of each column, or columns whole where the way between runs is short."""
        columns, size = math.prod(self.shape[1:]), self._kind.itemsize
        column = len(self) * size
        made = numpy.empty((columns, stop - start), self._kind)
        each = max(1, JUMP // column) if column - (stop - start) * size < JUMP else 0
        for at in range(0, columns, each or 1):
            if each:
                whole = numpy.empty((min(each, columns - at), len(self)), self._kind)
                self.file.fill(whole, self.offset + at * column)
                made[at : at + len(whole)] = whole[:, start:stop]
            else:
                self.file.fill(made[at], self.offset + at * column + start * size)
        self.file.unchanged()
        return numpy.ascontiguousarray(made.reshape(*self.shape[:0:-1], stop - start).T, self.dtype)


class Flat(Lazy):
    """The numbers of another array along one axis, cut from whole rows of it."""

    def __init__(self, of: Lazy) -> None:
        self.of, self.named, self.shape, self.dtype = of, of.named, (of.size,), of.dtype

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        each = math.prod(self.of.shape[1:])
        first = start // each
        found = self.of.rows(first, -(-stop // each)).reshape(-1)
        return found[start - first * each : stop - first * each]


class Mapped(Lazy):
    """What ``make`` makes of the rows of another array: ``make(rows, first number's place)``, in the same shape.

    only_checks
        whether it changes nothing, and only raises.
    """

    def __init__(
        self, of: Lazy, dtype: Any, make: Callable[[numpy.ndarray, int], numpy.ndarray], only_checks: bool = False
    ) -> None:
        self.of, self.shape, self.dtype, self.make, self.only_checks = of, of.shape, numpy.dtype(dtype), make, only_checks
        self.named = of.named

    def flat(self) -> Mapped | None:
        of = self.of.flat()
        return of and Mapped(of, self.dtype, self.make, self.only_checks)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        return self.make(self.of[start:stop], start * math.prod(self.shape[1:]))

    def unchecked(self, start: int, stop: int) -> numpy.ndarray:
        return self.of.unchecked(start, stop) if self.only_checks else self.rows(start, stop)


def widened(values: Lazy, name: str) -> Mapped:
    """As float32, the numbers of a type that torch has by this ``name`` and numpy has not; ``values`` are their bits."""
    import torch

    kind, bits = getattr(torch, name), values.dtype.newbyteorder("=").str.replace("u", "i")

    def made(rows: numpy.ndarray, place: int) -> numpy.ndarray:
        return torch.from_numpy(rows.view(bits)).view(kind).float().numpy()

    return Mapped(values, "f4", made)


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread of its own while the one before it is in use."""
    nothing = object()
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = reader.submit(next, items, nothing)
            yield item  # type: ignore[misc]
