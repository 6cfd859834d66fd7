"""Counts of genes in cells, as AnnData keeps them: what scVI and scanpy read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, listed
from recon_cli.runtime.files import read_file
from recon_cli.runtime.lazy_arrays import Sliced, Values
from recon_cli.sources._base import Source
from recon_cli.sources._files import library, path_and_choice

if TYPE_CHECKING:
    import anndata


class H5ad(Source):
    """``x.h5ad``: its X, a row a cell; ``x.h5ad:counts``: that layer, or an embedding of obsm. Takes anndata.

    A sparse matrix is made dense some rows at a time. The columns are called as var_names has them.
    """

    takes = "a path"

    def read(self) -> Values:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._open(path, wanted))

    def _open(self, path: str, wanted: str) -> Values:
        library("anndata", extra="anndata")
        import anndata

        data = anndata.read_h5ad(path, backed="r")
        values = chosen(data, path, wanted)
        if values.shape[1] == len(data.var_names):
            self.columns = [str(name) for name in data.var_names]
        if hasattr(values, "format") or "Sparse" in type(values).__name__ or type(values).__module__.startswith("scipy"):
            self.remarks = (f"{path}: it is a sparse matrix, and is made dense some rows at a time.",)
        return Sliced(values, path)


def chosen(data: anndata.AnnData, path: str, wanted: str) -> Any:
    """Return the matrix of an AnnData that is ``wanted``: X, a layer, or an embedding."""
    if wanted in ("", "X"):
        if data.X is None:
            raise ReconError(f"{path} has no X.", f"Its layers are {listed(data.layers)}: choose one, {path}:NAME.")
        return data.X
    for part in (data.layers, data.obsm):
        if wanted in part:
            return part[wanted]
    raise ReconError(f"{path} has no {wanted!r}.", f"Known: X, {listed([*data.layers, *data.obsm])}.")
