"""Archives of arrays as numpy writes them."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile
from zlib import error as ZlibError

from recon_cli.errors import ReconError, unknown
from recon_cli.sources import Array, Source
from recon_cli.sources.npy import load, unreadable


class Npz(Source):
    """``x.npz``, or ``x.npz:name`` where it holds several arrays. Never unpickles."""

    def read(self) -> Array:
        path, name = self.argument, ""
        if not Path(path).exists() and ":" in path:
            path, _, name = path.rpartition(":")
        archive = load(path)
        if isinstance(archive, Array):
            return archive
        with archive:
            names = list(archive.keys())
            if not name and len(names) != 1:
                raise ReconError(
                    f"{path} holds {len(names)} arrays: {', '.join(names) or 'none'}.",
                    f"Choose one, as in {path}:{names[0]}." if names else "Give another file.",
                )
            if name and name not in names:
                raise unknown("array", name, names)
            try:
                return archive[name or names[0]]
            except (ValueError, EOFError, BadZipFile, ZlibError, OSError, NotImplementedError) as error:
                raise unreadable(path, error) from error
