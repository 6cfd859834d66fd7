"""Arrays in a file of the hierarchical data format: HDF5, netCDF 4, and tables as pandas keeps them there."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import Sliced, Values
from recon_cli.sources import _remarks
from recon_cli.sources._base import Source
from recon_cli.sources._files import choose, library, path_and_choice

if TYPE_CHECKING:
    import h5py

ENDINGS = {".h5", ".hdf5", ".hdf", ".he5", ".nc", ".h5py"}


class Hdf5(Source):
    """``x.h5``, or ``x.h5:group/name`` where it holds several arrays. Takes h5py; read piece by piece where it is large.

    Unsigned bytes that look like images are grey levels. Of a table that pandas keeps there (``to_hdf``), its one block of
    numbers is ``x.h5:key/block0_values``.
    """

    takes = "a path"

    @classmethod
    def reads(cls, path: str) -> bool:
        return Path(path).suffix.lower() in ENDINGS

    def read(self) -> Values:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._open(path, wanted))

    def _open(self, path: str, wanted: str) -> Values:
        library("h5py", extra="hdf5")
        import h5py

        arrays = datasets(h5py.File(path, "r"))
        name = choose(path, wanted.strip("/"), main(arrays) if not wanted else [*arrays], "array")
        self.remarks = _remarks.beside(path, name, arrays, lambda other: arrays[other].shape)
        array = arrays[name]
        if array.dtype.kind not in "fiub":
            what = f"holds {'text or objects' if array.dtype.kind in 'OS' else f'values of type {array.dtype}'}"
            raise ReconError(f"{name} in {path} {what}, and recon reads real numbers.", "Choose another array.")
        if not array.shape:
            return numpy.asarray(array[()])
        return Sliced(array, path)


def datasets(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Return the arrays of a file by their names, groups before a slash, as they come."""
    import h5py

    arrays: dict[str, h5py.Dataset] = {}

    def add(name: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            arrays[name] = item

    file.visititems(add)
    return arrays


def main(arrays: dict[str, Any]) -> list[str]:
    """Return the names of arrays among which one is to be chosen: without those that only name the axes, as netCDF has them."""
    scales = {name for name, array in arrays.items() if array.attrs.get("CLASS") == b"DIMENSION_SCALE"}
    numbers = [name for name, array in arrays.items() if name not in scales and array.dtype.kind in "fiub" and array.shape]
    return numbers if len(numbers) == 1 else [name for name in arrays if name not in scales]
