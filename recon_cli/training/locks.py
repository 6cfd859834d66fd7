"""One process at a time in the folder of a run."""

from __future__ import annotations

import errno
import os
import socket
import time
from pathlib import Path
from typing import TextIO

from recon_cli.errors import ReconError

try:
    import fcntl
except ImportError:  # Windows: nothing keeps two processes out of one folder there
    fcntl = None  # type: ignore[assignment]

LOCK = ".lock"


class Lock:
    """Keeps a folder for this process, until it is released or the process has ended, however it did.

    The system holds the lock, on a file that says whose it is; that file may stay behind, and then holds nobody back. Where the
    file system knows no locks (and on Windows) there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.path = folder, folder / LOCK
        self.file: TextIO | None = None

    def take(self) -> None:
        """Raises ReconError, naming the process, where another holds it."""
        while fcntl is not None and self.file is None:
            file = open(self.path, "a+", encoding="utf-8", errors="replace")  # noqa: SIM115
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.path.exists(self.path) and os.path.samestat(os.fstat(file.fileno()), os.stat(self.path)):
                    file.truncate(0)
                    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
                    file.flush()
                    self.file = file
                    return
                file.close()  # the one who had it has taken the file away meanwhile
            except OSError as error:
                holder = self._holder(file)
                file.close()
                if error.errno not in (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES):
                    return
                raise ReconError(
                    f"The folder {self.folder} is not empty: {holder} is at work in it.",
                    "Wait until it has ended (it ends if you stop it, as with Ctrl-C), or give another folder.",
                ) from None

    def release(self) -> None:
        """Others may have it, and no file stays."""
        if self.file is not None:
            self.path.unlink(missing_ok=True)
            self.file.close()
            self.file = None

    @staticmethod
    def _holder(file: TextIO) -> str:
        """Whose it is; they write it just after they have it."""
        for _ in range(20):
            file.seek(0)
            if said := file.readline(200).strip():
                return said
            time.sleep(0.01)
        return "another process"
