"""Archives of arrays as numpy writes them."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from zipfile import ZIP_DEFLATED, ZIP_STORED, ZipFile, ZipInfo

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.identity.shapes import spell
from recon_cli.runtime.files import read_file
from recon_cli.runtime.limits import afford
from recon_cli.sources import _remarks
from recon_cli.sources._base import Array, Source
from recon_cli.sources._files import choose, path_and_choice, read_into
from recon_cli.sources.npy import check_kind, header


class Npz(Source):
    """``x.npz``, or ``x.npz:name`` where it holds several arrays; a sparse matrix of scipy's is read whole. Never unpickles."""

    takes = "a path"

    def read(self) -> Array:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array:
        with open(path, "rb") as file:
            check_kind(path, file.read(6), "an archive of arrays")
        with ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if {"format", "shape", "data"} <= {*members}:
                return self._sparse(path, wanted, {name: unpacked(path, archive, info) for name, info in members.items()})
            name = choose(path, wanted, list(members), "array")
            if archive.open(members[name]).read(6) != b"\x93NUMPY":
                raise ReconError(f"{name} in {path} is no array.", f"{path} holds {listed(members)}.")
            self.remarks = _remarks.beside(path, name, members, lambda other: header(path, archive.open(members[other]))[1])
            return unpacked(path, archive, members[name])

    def _sparse(self, path: str, wanted: str, archive: Mapping[str, Array]) -> Array:
        """Return the sparse matrix of an archive that scipy.sparse.save_npz wrote, made dense."""
        if wanted:
            raise ReconError(
                f"{path} is a sparse matrix of scipy's, and {wanted!r} alone is no part of it that has samples.",
                f"Read it whole: {path}; or save what you mean as an array, numpy.save(path, x.toarray()).",
            )
        values, layout = dense(path, archive)
        stored = len(archive["data"])
        what = f"a sparse matrix ({layout}) of {spell(values.shape)}, {stored:,} numbers of it stored"
        self.remarks = (f"{path}: it is {what}, and is made dense.",)
        return values


def unpacked(path: str, archive: ZipFile, info: ZipInfo) -> Array:
    """Return the array that a member holds, in no more memory than it promises."""
    name = info.filename.removesuffix(".npy")
    if info.compress_type not in {ZIP_STORED, ZIP_DEFLATED}:
        raise ValueError(f"{name} is packed in another way than numpy packs")
    afford(f"{name} in {path}", info.file_size, os.path.getsize(path))
    with archive.open(info) as file:
        dtype, shape, fortran = header(path, file)
        size = math.prod(shape) * dtype.itemsize
        if size > info.file_size - file.tell():
            raise ValueError(f"{name} promises {size:,} bytes of numbers, and holds fewer")
        content = bytearray(size)
        if read_into(file, content) < size:
            raise ValueError(f"{name} is cut short")
        file.read(1)  # behind the last byte the checksum is compared
    return numpy.ndarray(shape, dtype, content, order="F" if fortran else "C")


def dense(path: str, archive: Mapping[str, Array]) -> tuple[Array, str]:
    """Return a sparse matrix with all its zeros, and its format.

    Raises ReconError for one that is too large, or stored by blocks or diagonals. Not by scipy.sparse, which takes an index
    of 0.5 for 0, drops numbers behind the index, and has no float16.
    """
    name = archive["format"].item()
    layout = name.decode() if isinstance(name, bytes) else str(name)
    shape, data = tuple(int(size) for size in archive["shape"]), archive["data"]
    if layout not in ("csr", "csc", "coo"):
        way = "Save it as x.tocsr(), or dense: numpy.save(path, x.toarray())."
        raise ReconError(f"{path} is a sparse matrix of scipy's in the format {layout}, which recon does not read.", way)
    if len(shape) != 2:
        raise ValueError(f"it is a sparse matrix of shape {spell(shape)}")
    way = "Choose fewer rows or columns, and save numpy.save(path, x.toarray())."
    afford(f"{path}, a sparse matrix made dense,", math.prod(shape) * data.itemsize, hint=way)
    if layout == "coo":
        places = archive["row"], archive["col"]
    else:
        counts = numpy.diff(archive["indptr"])
        if len(counts) != shape[layout == "csc"] or archive["indptr"][0] != 0 or (counts < 0).any():
            raise ValueError("its index does not fit its shape")
        along = numpy.repeat(numpy.arange(len(counts)), counts)
        places = (along, archive["indices"]) if layout == "csr" else (archive["indices"], along)
    fits = (len(at) == len(data) and (at >= 0).all() and (at < size).all() for at, size in zip(places, shape, strict=True))
    if not all(fits):
        raise ValueError("its index does not fit its numbers")
    values = numpy.zeros(shape, data.dtype)
    numpy.add.at(values, places, data)
    return values, layout
