"""Archives of arrays as numpy writes them."""

from __future__ import annotations

from recon_cli.errors import ReconError
from recon_cli.sources import Array, Source, choose, divided, guarded
from recon_cli.sources.npy import load, plain


class Npz(Source):
    """``x.npz``, or ``x.npz:name`` where it holds several arrays. Never unpickles."""

    takes = "a path"

    def read(self) -> Array:
        path, wanted = divided(self.argument)
        with load(path, "an archive of arrays") as archive:
            names = list(archive.keys())
            name = choose(path, wanted, names, "array")
            found = guarded(path, lambda: plain(path, lambda: archive[name]))
        if not isinstance(found, Array):
            raise ReconError(f"{name} in {path} is no array.", f"{path} holds {', '.join(names)}.")
        return found
