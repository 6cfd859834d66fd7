"""Arrays larger than memory: their shape is known, their rows are read when they are asked for."""

from __future__ import annotations

import math
import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy

from recon_cli.errors import ReconError

Item = TypeVar("Item")


class Lazy(ABC):
    """An array whose rows, along the first axis, are read when they are asked for: ``lazy[10:20]``.

    ``numpy.asarray`` of it reads it all.
    """

    shape: tuple[int, ...]
    dtype: numpy.dtype

    @abstractmethod
    def rows(self, start: int, stop: int) -> numpy.ndarray:
        """Rows ``start`` to ``stop``, an array of one's own."""

    def flat(self) -> Lazy | None:
        """The same numbers along one axis; None where only whole rows can be read."""
        return None

    def spread(self, numbers: int) -> numpy.ndarray:
        """Evenly spread rows, of about so many numbers, one at least."""
        wanted = min(len(self), max(1, numbers * len(self) // max(1, self.size)))
        return numpy.concatenate([self.rows(at, at + 1) for at in (len(self) * i // wanted for i in range(wanted))])

    def blocks(self, numbers: int) -> Iterator[numpy.ndarray]:
        """All rows, in order, some at a time: of about so many numbers."""
        each = max(1, numbers * len(self) // max(1, self.size))
        return ahead(self.rows(at, min(at + each, len(self))) for at in range(0, len(self), each))

    def __getitem__(self, some: slice) -> numpy.ndarray:
        start, stop, step = some.indices(len(self))
        return self.rows(start, max(start, stop))[::step]

    def __len__(self) -> int:
        return self.shape[0]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> numpy.ndarray:
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


class Stored(Lazy):
    """Numbers that lie one after another in a file, from the byte ``offset`` on, the last axis fastest.

    Read, not mapped: a map's pages stay with the process, and a file that is cut while it is mapped kills it. Raises
    ReconError where the file changes while it is read.
    """

    def __init__(self, path: str, dtype: numpy.dtype, shape: Sequence[int], offset: int) -> None:
        self.path, self.shape, self.offset, self._kind = path, tuple(shape), offset, numpy.dtype(dtype)
        self.dtype = self._kind.newbyteorder("=")
        self._file = open(path, "rb", buffering=0)  # noqa: SIM115 - open as long as it is read
        self._one = threading.Lock()
        self._was = self._state()

    def _state(self) -> tuple[int, int]:
        about = os.fstat(self._file.fileno())
        return about.st_size, about.st_mtime_ns

    def flat(self) -> Stored:
        return Stored(self.path, self._kind, (self.size,), self.offset)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        made = numpy.empty((stop - start, *self.shape[1:]), self.dtype)
        bytes_ = memoryview(made.reshape(-1).view(numpy.uint8))
        with self._one:
            self._file.seek(self.offset + start * math.prod(self.shape[1:]) * self.dtype.itemsize)
            done = 0
            while done < len(bytes_) and (count := self._file.readinto(bytes_[done:])):
                done += count
        if done < len(bytes_) or self._state() != self._was:
            raise ReconError(f"{self.path} changed while it was read.", "Wait until whatever writes it is done, and start again.")
        return made if self._kind.isnative else made.byteswap(inplace=True)


class Made(Lazy):
    """What ``make`` makes of the rows of another array: ``make(rows, first number's place)``, in the same shape."""

    def __init__(self, of: Lazy, dtype: Any, make: Callable[[numpy.ndarray, int], numpy.ndarray]) -> None:
        self.of, self.shape, self.dtype, self.make = of, of.shape, numpy.dtype(dtype), make

    def flat(self) -> Made | None:
        of = self.of.flat()
        return of and Made(of, self.dtype, self.make)

    def rows(self, start: int, stop: int) -> numpy.ndarray:
        return self.make(self.of[start:stop], start * math.prod(self.shape[1:]))


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """The same items, each made by a thread of its own while the one before it is in use."""
    nothing = object()
    with ThreadPoolExecutor(1, "reader") as reader:
        coming = reader.submit(next, items, nothing)
        while (item := coming.result()) is not nothing:
            coming = reader.submit(next, items, nothing)
            yield item  # type: ignore[misc]
