"""Tensors as safetensors writes them."""

from __future__ import annotations

import math
import re
import struct
from itertools import chain
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.checksums import parse_json
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import File, Stored, widened
from recon_cli.sources import _remarks
from recon_cli.sources._base import Source, Values
from recon_cli.sources._files import choose, path_and_choice

PLAIN = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?",
    "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "u1",
}  # fmt: skip
# What numpy has no type for, by torch's name.
TORCHS = {
    "BF16": "bfloat16", "F8_E5M2": "float8_e5m2", "F8_E4M3": "float8_e4m3fn", "F8_E8M0": "float8_e8m0fnu",
    "F8_E5M2FNUZ": "float8_e5m2fnuz", "F8_E4M3FNUZ": "float8_e4m3fnuz",
}  # fmt: skip
HEADER = 100_000_000  # bytes: the format has no longer one


class Safetensors(Source):
    """``x.safetensors``, or ``x.safetensors:name`` where it holds several tensors.

    Read piece by piece where it is large. What numpy has no type for (bfloat16, float8) becomes float32.
    """

    takes = "a path"

    def read(self) -> Values:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Values:
        file = File(path)
        tensors, begin = header(file)
        name = choose(path, wanted, sorted(tensors), "tensor")
        self.remarks = _remarks.beside(path, name, tensors, lambda other: tensors[other]["shape"])
        kind, shape, start = tensors[name]["dtype"], tensors[name]["shape"], begin + tensors[name]["data_offsets"][0]
        plain = numpy.dtype(PLAIN.get(kind) or (f"<u{width(kind)}" if kind in TORCHS else "V1"))
        if plain.kind == "V":
            raise ReconError(f"{name} in {path} holds values of type {kind}.", "recon reads real numbers: save them as F32.")
        if not shape or 0 in shape:
            values = numpy.ndarray(shape, plain, file.bytes(start, math.prod(shape) * plain.itemsize))
            return values if kind in PLAIN else values.astype("f4")
        stored = Stored(file, plain, shape, start)
        return stored if kind in PLAIN else widened(stored, TORCHS[kind])


def width(kind: str) -> int:
    """Return how many bytes a number of a type takes: as many as its name says bits."""
    return 1 if kind == "BOOL" else int(re.findall(r"\d+", kind)[0]) // 8


def header(file: File) -> tuple[dict[str, Any], int]:
    """Return what a file says of its tensors, by name, and the byte that their numbers begin with.

    Raises ValueError unless they fill the file, one after another without a gap, each as long as its shape says.
    """
    if file.size < 8:
        raise ValueError("its header is cut short")
    (length,) = struct.unpack("<Q", file.bytes(0, 8))
    if length > min(HEADER, file.size - 8):
        raise ValueError(f"its header promises {length:,} bytes")
    tensors = parse_json(file.bytes(8, length))
    if not isinstance(tensors, dict):
        raise ValueError("its header is no table of tensors")
    tensors.pop("__metadata__", None)
    end = 0
    for about in sorted(tensors.values(), key=lambda about: about["data_offsets"]):
        start, stop = about["data_offsets"]
        whole = all(isinstance(size, int) and size >= 0 for size in chain(about["shape"], (start, stop)))
        has_width = about["dtype"] in PLAIN or about["dtype"] in TORCHS
        due = math.prod(about["shape"]) * width(about["dtype"]) if has_width else stop - start
        if not whole or start != end or stop - start != due or due < 0:
            raise ValueError("its header does not say where its tensors are")
        end = stop
    if 8 + length + end != file.size:
        raise ValueError(f"its header promises {8 + length + end:,} bytes, and it has {file.size:,}")
    return tensors, 8 + length
