"""Arrays as numpy writes them."""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING

import numpy
from numpy.lib import format as npy_format

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import File, FortranOrdered, Stored
from recon_cli.runtime.limits import fits
from recon_cli.sources._base import Source, Values

if TYPE_CHECKING:
    from _typeshed import SupportsRead

MAGIC = {b"\x93NUMPY": "an array", b"PK\x03\x04": "an archive of arrays", b"PK\x05\x06": "an archive of arrays"}
HEADER = 1 << 14  # bytes: numpy refuses a longer one


class Npy(Source):
    """``x.npy``: one array, read piece by piece where it is large, taken as it is. Never unpickles."""

    takes = "a path"

    def read(self) -> Values:
        return read_file(self.argument, self._read)

    def _read(self) -> Values:
        file = File(self.argument)
        start = file.bytes(0, min(file.size, HEADER))
        check_kind(self.argument, start, "an array")
        begins = io.BytesIO(start)
        dtype, shape, fortran = header(self.argument, begins)
        size = math.prod(shape) * dtype.itemsize
        if size:
            check_end(file, begins.tell() + size, shape)
        if not shape or not size:
            return numpy.ndarray(shape, dtype, file.bytes(begins.tell(), size))
        return (FortranOrdered if fortran else Stored)(file, dtype, shape, begins.tell())


def check_end(file: File, end: int, shape: tuple[int, ...]) -> None:
    """Raise ReconError where bytes follow those of an array that ends at ``end``: numpy would read none of them."""
    if file.size > end:
        behind = file.size - end
        again = MAGIC.get(bytes(file.bytes(end, min(6, behind))))
        raise ReconError(
            f"{file.path} holds {again or f'{behind:,} bytes'} behind its array of shape {spell(shape)}.",
            "Save each array in a file of its own, or all in one: numpy.savez(path, x=x, y=y)."
            if again
            else "Save it again with numpy.save: what is behind belongs to nothing.",
        )


def check_kind(path: str, start: bytes, wanted: str) -> None:
    """Raise an error that says why, unless a file that begins with ``start`` holds what is ``wanted``."""
    if start.startswith(b"\x80"):
        raise pickle_error(path)
    content = next((what for magic, what in MAGIC.items() if start.startswith(magic)), None)
    if content is None:
        raise ValueError("it is no file of numpy's")
    if content != wanted:
        ending = "npz" if content != "an array" else "npy"
        raise ReconError(f"{path} holds {content}, not {wanted}.", f"Read it as what it is: {ending}:{path}, or rename it.")


def header(path: str, file: SupportsRead[bytes]) -> tuple[numpy.dtype, tuple[int, ...], bool]:
    """Return the type and the shape of the array that ``file`` begins with, and whether its first axis is the fastest."""
    version = npy_format.read_magic(file)
    if version not in {(1, 0), (2, 0), (3, 0)}:  # the third differs from the second in how it spells names of fields
        raise ValueError(f"it is of version {'.'.join(map(str, version))} of its format, and numpy knows 1.0 to 3.0")
    read = npy_format.read_array_header_1_0 if version == (1, 0) else npy_format.read_array_header_2_0
    shape, fortran, dtype = read(file)
    if dtype.hasobject:
        raise pickle_error(path)
    if dtype.subdtype:
        way = "Save it as numpy reads it: numpy.save(path, numpy.load(path))."
        raise ReconError(f"{path} holds values of type {dtype}, each an array.", way)
    if any(size < 0 for size in shape):
        raise ValueError(f"it has the shape {shape}")
    fits(path, shape)
    return dtype, shape, fortran and len(shape) > 1


def pickle_error(path: str) -> ReconError:
    """Return the error for what could only be unpickled."""
    return ReconError(
        f"{path} holds pickled objects, and unpickling a file can run any code.",
        "Save it as a plain array: numpy.save(path, array.astype('float32')).",
    )
