"""Files from the net, fetched once and checked: in the cache folder a file is whole, or not there at all."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

from recon_cli.errors import ReconError
from recon_cli.runtime import progress
from recon_cli.sources._files import library

MOST = 1 << 28  # bytes: a server that sends more is cut off
PATIENCE = 30  # seconds without a byte
NEEDS = "Downloading this takes"
STALE = 3600  # seconds after which what a killed download left is taken away


def cache() -> Path:
    """Return the cache folder: the environment's RECON_CACHE, or recon's own in the platform's."""
    pooch = library("pooch", NEEDS)
    return Path(os.environ.get("RECON_CACHE") or pooch.os_cache("recon")).expanduser()


def fetch(urls: Sequence[str], name: str, checksum: str) -> Path:
    """Return the path of ``name`` (``mnist/train-images-idx3-ubyte.gz``) in the cache, downloaded if it is not there yet.

    From the first of ``urls`` that gives a file of this ``checksum`` (``sha256:...``). It is written under a
    temporary name and takes its own when it is whole and checked, in one step: so what is cut, wrong or
    interrupted leaves nothing, and several processes may fetch at once. Raises ReconError with every URL that
    was tried, and why it failed; for a folder that cannot be written; and where pooch is not installed.
    """
    pooch, requests = library("pooch", NEEDS), library("requests", NEEDS)
    target, failures = cache() / name, []
    pooch.get_logger().setLevel("ERROR")
    try:
        was_there = target.is_file()
        for left in target.parent.glob("tmp*"):
            with suppress(FileNotFoundError):  # another process is done with it
                if time.time() - left.stat().st_mtime > STALE:
                    left.unlink()
        for url in urls:
            with ExitStack() as stack:
                bar = DownloadBar(target.name, stack)
                get = pooch.HTTPDownloader(bar, 1 << 16, timeout=PATIENCE, headers={"Accept-Encoding": "identity"})
                try:
                    return Path(pooch.retrieve(url, checksum, target.name, target.parent, downloader=get))
                except (requests.exceptions.RequestException, ValueError) as error:
                    failures.append(f"{url}: {failure(error)}")
    except OSError as error:
        reason = error.strerror or str(error)
        raise ReconError(
            f"{name} cannot be kept in the cache folder {target.parent}: {reason}.",
            "Make room there, or name another: RECON_CACHE.",
        ) from error
    other = f" The file that is there now, {target}, has another checksum than {checksum}." if was_there else ""
    raise ReconError(
        f"{name} cannot be downloaded ({'; '.join(failures)}).{other}",
        f"Put it there by hand, as {target}, or name a mirror: RECON_MIRROR=https://HOST/FOLDER, where {name} is.",
    )


class DownloadBar:
    """What pooch tells of a download, as a bar. Raises ValueError for a file that does not end."""

    total = 0

    def __init__(self, name: str, stack: ExitStack) -> None:
        self.name, self.stack, self.done = name, stack, 0
        self.advance: progress.Advance | None = None

    def update(self, size: int) -> None:
        """So many bytes more."""
        self.done += size
        if self.done > MOST:
            raise ValueError(f"it sends more than {MOST:,} bytes")
        if self.advance is None:
            self.advance = self.stack.enter_context(progress.bar(f"downloading {self.name}", self.total // 1000))
        self.advance(min(self.done, self.total) // 1000, "kB")

    def reset(self) -> None:
        """From the start, as pooch does when all is there."""
        self.done = 0

    def close(self) -> None:
        """Do nothing: the bar goes with the stack."""


def failure(error: Exception) -> str:
    """Return in a few words why a download failed."""
    exceptions = library("requests", NEEDS).exceptions
    response = getattr(error, "response", None)
    if isinstance(error, exceptions.HTTPError) and response is not None:
        return f"the server answers {response.status_code} {response.reason}".rstrip()
    if isinstance(error, exceptions.Timeout) or "timed out" in str(error):
        return f"no answer within {PATIENCE} seconds"
    if isinstance(error, (exceptions.ChunkedEncodingError, exceptions.ContentDecodingError)):
        return "it was cut short"
    if isinstance(error, exceptions.ConnectionError):
        return "it cannot be reached"
    if "hash" in str(error).lower():
        return "what it sends fails its checksum"
    return str(error).partition("\n")[0].rstrip(".")
