"""Arrays larger than memory: their shape is known, their rows are read when they are asked for."""

from __future__ import annotations

import math
import mmap
import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy

from recon_cli.errors import ReconError

Item = TypeVar("Item")
AROUND = 1 << 17  # bytes: a page that is touched is mapped with as many around it, on Linux


class Lazy(ABC):
    """An array whose rows, along the first axis, are read when they are asked for: ``lazy[10:20]``.

    ``numpy.asarray`` of it reads it all.
    """

    shape: tuple[int, ...]
    dtype: numpy.dtype

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
        found, wanted = self[:], numpy.dtype(dtype or self.dtype)
        return found if found.flags.owndata and found.dtype == wanted else found.astype(wanted)

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


class Stored(Lazy):
    """Numbers that lie one after another in a file, from the byte ``offset`` on, the last axis fastest.

    Mapped to memory, never written; what comes next is asked for ahead, and what was given is let go when more is asked
    for, so that resident memory stays flat. Raises ReconError where the file has changed since it was opened.
    """

    def __init__(self, path: str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        self.path, self.shape, self.offset, self._kind = path, tuple(shape), offset, numpy.dtype(dtype)
        self.dtype = self._kind.newbyteorder("=")
        with open(path, "rb") as file:
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
            self._handle = os.dup(file.fileno())
        weakref.finalize(self, os.close, self._handle)
        self._was, self._given = self._state(), (0, 0)

    def _state(self) -> tuple[int, int]:
        about = os.fstat(self._handle)
        return about.st_size, about.st_mtime_ns

    def flat(self) -> Stored:
        return Stored(self.path, self._kind, (self.size,), self.offset)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        if self._state() != self._was:
            raise ReconError(f"{self.path} changed while it was read.", "Wait until whatever writes it is done, and start again.")
        row = math.prod(self.shape[1:]) * self.dtype.itemsize
        begin, end = self.offset + start * row, self.offset + stop * row
        self._advise("MADV_DONTNEED", max(0, self._given[0] - AROUND), self._given[1])
        self._advise("MADV_WILLNEED", begin, min(2 * end - begin, len(self._map)))
        self._given = begin, end
        found = numpy.frombuffer(self._map, self._kind, (end - begin) // self.dtype.itemsize, begin)
        return found.reshape(stop - start, *self.shape[1:]).astype(self.dtype, copy=False)

    def _advise(self, what: str, begin: int, end: int) -> None:
        """Tell the system about the pages from ``begin`` to ``end``, where it can be told."""
        begin -= begin % mmap.PAGESIZE
        if end > begin and hasattr(mmap, what):
            self._map.madvise(getattr(mmap, what), begin, end - begin)


class Made(Lazy):
    """What ``make`` makes of the rows of another array: ``make(rows, first number's place)``, in the same shape.

    only_checks
        whether it changes nothing, and only raises.
    """

    def __init__(
        self, of: Lazy, dtype: Any, make: Callable[[numpy.ndarray, int], numpy.ndarray], only_checks: bool = False
    ) -> None:
        self.of, self.shape, self.dtype, self.make, self.only_checks = of, of.shape, numpy.dtype(dtype), make, only_checks

    def flat(self) -> Made | None:
        of = self.of.flat()
        return of and Made(of, self.dtype, self.make, self.only_checks)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        return self.make(self.of[start:stop], start * math.prod(self.shape[1:]))

    def unchecked(self, start: int, stop: int) -> numpy.ndarray:
        return self.of.unchecked(start, stop) if self.only_checks else self.rows(start, stop)


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread of its own while the one before it is in use."""
    nothing = object()
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = reader.submit(next, items, nothing)
            yield item  # type: ignore[misc]
