"""Arrays as MNIST's own files have them."""

from __future__ import annotations

import gzip
import io
import math
import re
import struct
from pathlib import Path
from typing import TYPE_CHECKING

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import File, Stored
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Source, Values
from recon_cli.sources._files import read_into

if TYPE_CHECKING:
    from _typeshed import SupportsRead

TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
GZIP = b"\x1f\x8b"
MOST = 32  # axes


class Idx(Source):
    """``x.idx``, ``x.gz``, ``train-images-idx3-ubyte``: one array; unpacked, or read piece by piece where it is large.

    Two zero bytes, the type, the number of axes, their sizes as big-endian 32-bit numbers, then the values
    (LeCun, Cortes and Burges, 1998). Unsigned bytes are grey levels, but along a single axis labels.
    """

    takes = "a path"

    @classmethod
    def reads(cls, path: str) -> bool:
        name = Path(path).name.lower()
        other = re.search(r"\.(csv|tsv|tab|txt|jsonl?|ndjson|tar|arrow|parquet|h5|npy)\.gz$", name)
        return other is None and re.search(r"(\.(idx|gz)|\bidx\d+-\w+)$", name) is not None

    def read(self) -> Values:
        return read_file(self.argument, self._read)

    def _read(self) -> Values:
        path, whole = self.argument, File(self.argument)
        start = whole.bytes(0, min(whole.size, 4 + 4 * MOST))
        if start[:2] == GZIP:
            with gzip.open(path, "rb") as file:
                dtype, shape = self._header(file)
                size = math.prod(shape) * dtype.itemsize
                # No deflated byte stands for more than 1,032: a size beyond that is refused before memory is taken.
                self._check(size, min(size, 1032 * whole.size), shape)
                afford(path, size, whole.size, f"Unpack it: gunzip {path}; what is unpacked is read piece by piece.")
                content = bytearray(size)
                self._check(size, read_into(file, content) + len(file.read(1)), shape)
            return numpy.ndarray(shape, dtype, content)
        dtype, shape = self._header(io.BytesIO(start))
        begin, size = 4 + 4 * len(shape), math.prod(shape) * dtype.itemsize
        self._check(size, whole.size - begin, shape)
        if size and shape:
            return Stored(whole, dtype, shape, begin)
        return numpy.ndarray(shape, dtype, whole.bytes(begin, size))

    def _header(self, file: SupportsRead[bytes]) -> tuple[numpy.dtype, tuple[int, ...]]:
        """Return the type and the shape that a file promises, which say whether its values are grey levels."""
        magic = file.read(4)
        if len(magic) < 4:
            raise ValueError("its header is cut short")
        if magic[:2] != b"\0\0":
            raise ReconError(
                f"{self.argument} is no IDX file: it begins with the bytes {magic.hex(' ')}, not with 00 00.",
                "recon reads what a .gz holds only as IDX: unpack any other format first.",
            )
        if magic[2] not in TYPES:
            known = ", ".join(f"{code:#04x}" for code in TYPES)
            raise ReconError(
                f"{self.argument} holds values of type {magic[2]:#04x}, which IDX does not have.",
                f"Its types are {known}: the file may be damaged, or of another format.",
            )
        if magic[3] > MOST:
            raise ValueError(f"its header promises {magic[3]} axes")
        sizes = file.read(4 * magic[3])
        if len(sizes) < 4 * magic[3]:
            raise ValueError("its header is cut short")
        self.levels = magic[3] > 1
        return numpy.dtype(TYPES[magic[2]]), struct.unpack(f">{magic[3]}I", sizes)

    def _check(self, promised: int, present: int, shape: tuple[int, ...]) -> None:
        """Raise ReconError unless the values take as many bytes as the header promises."""
        if promised != present:
            raise ReconError(
                f"{self.argument} promises {spell(shape)} values in {promised:,} bytes, and holds "
                f"{'fewer' if present < promised else 'more'}.",
                "It is cut short, or its header is damaged: fetch it again.",
            )
