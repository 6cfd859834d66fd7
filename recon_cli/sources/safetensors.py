"""Tensors as safetensors writes them."""

from __future__ import annotations

import json
import struct

import numpy

from recon_cli.sources import Array, Source, choose, divided, guarded
from recon_cli.stored import Lazy, Stored

PLAIN = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U8": "u1", "BOOL": "?"}


class Safetensors(Source):
    """``x.safetensors``, or ``x.safetensors:name`` where it holds several tensors.

    Read piece by piece where it is large. What numpy has no type for (bfloat16, float8) becomes float32.
    """

    takes = "a path"

    def read(self) -> Array | Lazy:
        path, wanted = divided(self.argument)
        return guarded(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array | Lazy:
        from safetensors import safe_open

        with safe_open(path, framework="pt") as file:
            name = choose(path, wanted, sorted(file.keys()), "tensor")
            about = file.get_slice(name)
            kind, shape = PLAIN.get(about.get_dtype()), about.get_shape()
            if kind and shape and 0 not in shape:
                return Stored(path, numpy.dtype(kind), shape, place(path, name))
            values = file.get_tensor(name)
        try:
            return values.numpy()
        except TypeError:
            return values.float().numpy()


def place(path: str, name: str) -> int:
    """The byte that a tensor begins with: its offset behind the header, whose length the first eight bytes are."""
    with open(path, "rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        return 8 + length + json.loads(file.read(length))[name]["data_offsets"][0]
