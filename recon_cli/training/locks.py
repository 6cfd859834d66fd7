"""One process at a time in the folder of a run."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from recon_cli.errors import ReconError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes out of one folder there
    fcntl = None  # type: ignore[assignment]

LOCK = ".recon-lock"


class Lock:
    """Keeps a folder for this process, until it is released or the process has ended, however it did.

    The system holds the lock, on a file that says whose it is; that file may stay behind, and then holds nobody back. Where the
    file system knows no locks (and on Windows) there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self.handle: int | None = None

    def take(self) -> None:
        """Take the lock. Raises ReconError, naming the process, where another holds it."""
        while fcntl is not None and self.handle is None:
            handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                holder = self._holder(handle)
                os.close(handle)
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    return
                raise ReconError(
                    f"The folder {self.folder} is not empty: {holder} is at work in it.",
                    "Wait until it has ended (Ctrl-C makes it save what it has and end), or give another folder.",
                ) from None
            if self._there(handle):
                self.handle = handle
                with suppress(OSError):
                    os.ftruncate(handle, 0)
                    os.write(handle, f"process {os.getpid()} on {socket.gethostname()}\n".encode())
            else:  # the one who had it has taken the file away meanwhile
                os.close(handle)

    def release(self) -> None:
        """Let others have it, and leave no file."""
        if self.handle is not None:
            with suppress(OSError):
                self.path.unlink(missing_ok=True)
            os.close(self.handle)
            self.handle = None

    def _there(self, handle: int) -> bool:
        """Return whether it is the file that others would find."""
        try:
            return os.path.samestat(os.fstat(handle), os.stat(self.path))
        except FileNotFoundError:
            return False

    @staticmethod
    def _holder(handle: int) -> str:
        """Return whose it is; they write it just after they have it."""
        for _ in range(20):
            if words := os.pread(handle, 200, 0).decode(errors="replace").strip():
                return "".join(letter for letter in words if letter.isprintable())
            time.sleep(0.01)
        return "another process"
