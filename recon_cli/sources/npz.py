"""Archives of arrays as numpy writes them."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy

from recon_cli.errors import ReconError, listed
from recon_cli.losses import spell
from recon_cli.sources import FITTED, Array, Source, choose, divided, guarded
from recon_cli.sources.npy import load, plain


class Npz(Source):
    """``x.npz``, or ``x.npz:name`` where it holds several arrays; a sparse matrix of scipy's is read whole. Never unpickles."""

    takes = "a path"

    def read(self) -> Array:
        path, wanted = divided(self.argument)
        with load(path, "an archive of arrays") as archive:
            names = list(archive.keys())
            if {"format", "shape", "data"} <= {*names}:
                return self._sparse(path, wanted, archive)
            name = choose(path, wanted, names, "array")
            found = guarded(path, lambda: plain(path, lambda: archive[name]))
        if not isinstance(found, Array):
            raise ReconError(f"{name} in {path} is no array.", f"{path} holds {listed(names)}.")
        return found

    def _sparse(self, path: str, wanted: str, archive: Mapping[str, Array]) -> Array:
        """The sparse matrix of an archive that scipy.sparse.save_npz wrote, made dense."""
        if wanted:
            raise ReconError(
                f"{path} is a sparse matrix of scipy's, and {wanted!r} alone is no part of it that has samples.",
                f"Read it whole: {path}; or save what you mean as an array, numpy.save(path, x.toarray()).",
            )
        values, kind = guarded(path, lambda: plain(path, lambda: whole(path, archive)))
        stored = len(archive["data"])
        said = f"it is a sparse matrix ({kind}) of {spell(values.shape)}, {stored:,} numbers of it stored, and is made dense"
        self.remarks = (f"{path}: {said}.",)
        return values


def whole(path: str, archive: Mapping[str, Array]) -> tuple[Array, str]:
    """A sparse matrix with all its zeros, and its format. Raises ReconError for one too large, or of blocks or diagonals."""
    kind = archive["format"].item()
    kind = kind.decode() if isinstance(kind, bytes) else str(kind)
    shape, data = tuple(int(size) for size in archive["shape"]), archive["data"]
    if kind not in ("csr", "csc", "coo"):
        way = "Save it as x.tocsr(), or dense: numpy.save(path, x.toarray())."
        raise ReconError(f"{path} is a sparse matrix of scipy's in the format {kind}, which recon does not read.", way)
    if len(shape) != 2 or math.prod(shape) * data.itemsize > FITTED:
        raise ReconError(
            f"{path} is a sparse matrix of {spell(shape)}, {math.prod(shape) * data.itemsize / 1e9:.3g} GB when made dense.",
            "Choose fewer rows or columns, and save numpy.save(path, x.toarray()).",
        )
    if kind == "coo":
        places = archive["row"], archive["col"]
    else:
        counts = numpy.diff(archive["indptr"])
        if len(counts) != shape[kind == "csc"] or archive["indptr"][0] != 0 or (counts < 0).any():
            raise ValueError("its index does not fit its shape")
        along = numpy.repeat(numpy.arange(len(counts)), counts)
        places = (along, archive["indices"]) if kind == "csr" else (archive["indices"], along)
    fits = (len(at) == len(data) and (at >= 0).all() and (at < size).all() for at, size in zip(places, shape, strict=True))
    if not all(fits):
        raise ValueError("its index does not fit its numbers")
    values = numpy.zeros(shape, data.dtype)
    numpy.add.at(values, places, data)
    return values, kind
