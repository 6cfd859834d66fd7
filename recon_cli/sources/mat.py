"""Arrays as MATLAB writes them: SVHN, Frey faces."""

from __future__ import annotations

import os
from typing import Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.files import read_file
from recon_cli.runtime.limits import afford
from recon_cli.sources._base import Array, Source
from recon_cli.sources._files import choose, library, path_and_choice

COLOURS = (1, 3, 4)


class Mat(Source):
    """``x.mat``, or ``x.mat:name``; ``x.mat:name.T`` where its columns are the samples, as those of Frey faces (``ff``) are.

    Images (height, width, colours, N), as SVHN has them, are turned so that N comes first, and that is said. Version 7.3 is
    HDF5, and takes h5py.
    """

    takes = "a path"

    def read(self) -> Array:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._read(path, wanted))

    def _read(self, path: str, wanted: str) -> Array:
        wanted, turned = wanted.removesuffix(".T"), wanted.endswith(".T")
        arrays = variables(path)
        big = [name for name, array in arrays.items() if array.ndim > 1 and min(array.shape) > 1]
        name = choose(path, wanted, big if not wanted and len(big) == 1 else [*arrays], "array")
        values = arrays[name]
        if turned:
            return numpy.ascontiguousarray(numpy.moveaxis(values, -1, 0))
        if values.ndim == 4 and values.shape[2] in COLOURS and values.shape[0] not in COLOURS:
            self.remarks = (
                f"{path}: {name} is {'x'.join(map(str, values.shape))}, and its last axis is taken to count the samples.",
            )
            return numpy.ascontiguousarray(numpy.moveaxis(values, -1, 0))
        if values.ndim == 2 and values.shape[1] > values.shape[0]:
            rows, columns = values.shape
            self.remarks = (
                f"{path}: {name} is read as {rows:,} samples of {columns:,} numbers; {path}:{name}.T takes its columns.",
            )
        return values


def variables(path: str) -> dict[str, Array]:
    """Return the arrays of numbers in a file by name, their axes in MATLAB's order."""
    from scipy.io import loadmat

    size = os.path.getsize(path)
    try:
        content: dict[str, Any] = loadmat(path, verify_compressed_data_integrity=True)
    except NotImplementedError:  # 7.3
        h5py = library("h5py", "MATLAB's version 7.3 takes", extra="hdf5")
        with h5py.File(path, "r") as file:
            sizes = {name: item for name, item in file.items() if hasattr(item, "shape")}
            afford(path, sum(item.size * item.dtype.itemsize for item in sizes.values()), size)
            content = {name: item[()].T for name, item in sizes.items()}
    arrays = {name: value for name, value in content.items() if isinstance(value, numpy.ndarray) and value.dtype.kind in "fiub"}
    if not arrays:
        raise ReconError(
            f"{path} holds no array of numbers: {', '.join(n for n in content if n[0] != '_') or 'nothing'}.",
            "Save it as one: save('x.mat', 'x').",
        )
    return arrays
