"""Archives of arrays as numpy writes them."""

from __future__ import annotations

from pathlib import Path

from recon_cli.errors import ReconError, unknown
from recon_cli.sources import Array, Source
from recon_cli.sources.npy import guarded, load


class Npz(Source):
    """``x.npz``, or ``x.npz:name`` where it holds several arrays. Never unpickles."""

    takes = "a path"

    def read(self) -> Array:
        path, name = self.argument, ""
        if not Path(path).exists() and ":" in path:
            path, _, name = path.rpartition(":")
        with load(path, "an archive of arrays") as archive:
            names = list(archive.keys())
            if not name and len(names) != 1:
                raise ReconError(
                    f"{path} holds {len(names)} arrays: {', '.join(names) or 'none'}.",
                    f"Choose one, as in {path}:{names[0]}." if names else "Give another file.",
                )
            if name and name not in names:
                raise unknown("array", name, names)
            found = guarded(path, lambda: archive[name or names[0]])
        if not isinstance(found, Array):
            raise ReconError(f"{name or names[0]} in {path} is no array.", f"{path} holds {', '.join(names)}.")
        return found
