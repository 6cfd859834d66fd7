"""Native code that torch's compiler made, kept on disk: made once, loaded without the compiler, and only as it was written.

A kernel is a shared library, and loading one runs it. So the folder is the user's own and nobody else may write there; a
checksum stands beside each library; and what it was made for and by is compared, every word of it, before it is loaded.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import hashlib
import json
import os
import platform
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import recon_cli
from recon_cli.runtime import checksums
from recon_cli.runtime.files import cause

if TYPE_CHECKING:
    from torch import Tensor
    from torch.fx import GraphModule

LIBRARY, ABOUT = "kernel.so", "kernel.json"
MOST = 100  # kernels, of 1.5 MB each: of more, those longest unused are taken away
DAY = 86400  # seconds
OWNED = hasattr(os, "geteuid")  # whether files have an owner here; where they have none, nothing is kept
Description = Mapping[str, object]


class UnusableKernel(Exception):
    """A kernel that is there and cannot be loaded, or a place where none can be kept; says why."""


class Kernel:
    """Returns what the function it was made from returns, of tensors of the dtypes and shapes it was made for.

    As many threads as torch uses in this process.
    """

    def __init__(self, path: Path) -> None:
        import torch

        self.run = getattr(torch._C, "_aoti").AOTIModelContainerRunnerCpu(str(path), 1).run  # noqa: B009  (which torch's types leave out)
        self.set_threads = getattr(ctypes.CDLL(str(path)), "omp_set_num_threads", None)  # of the OpenMP that it is linked to

    def __call__(self, *tensors: Tensor) -> Tensor:
        return self.results(*tensors)[0]

    def results(self, *tensors: Tensor) -> list[Tensor]:
        """Return all that it returns, where that is several tensors."""
        import torch

        if self.set_threads is not None:
            self.set_threads(torch.get_num_threads())
        results: list[Tensor] = self.run([tensor.contiguous() for tensor in tensors])
        return results


def folder() -> Path:
    """Return where kernels are kept: ``RECON_CACHE``, or recon's folder in the user's cache, and ``kernels`` in it."""
    if own := os.environ.get("RECON_CACHE"):
        return Path(own).expanduser() / "kernels"
    usual = Path("~/Library/Caches" if sys.platform == "darwin" else "~/.cache").expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or usual) / "recon" / "kernels"


def name_of(description: Description) -> str:
    """Return the name of the kernel that is described: what it measures, in words, and a hash of everything."""
    words = "-".join(str(value) for value in list(description.values())[:3])
    return f"{words}-{hashlib.sha256(json.dumps(description).encode()).hexdigest()[:16]}"


@functools.cache
def surroundings() -> dict[str, str]:
    """Return what native code depends on beside its own source: torch, Python, the system and every feature of the processor."""
    import torch

    features = platform.processor()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        features = "\n".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    return {
        "torch": torch.__version__,
        "python": platform.python_version(),
        "system": f"{platform.platform()} {'-'.join(platform.libc_ver())}",
        "processor": f"{torch.backends.cpu.get_cpu_capability()} {checksums.digest(features.encode())}",
    }


@functools.cache
def source(*names: str) -> str:
    """Return the SHA-256 of recon's code in some of its folders and files."""
    root = Path(recon_cli.__file__).parent
    files = [file for name in names for file in (sorted((root / name).rglob("*.py")) if "." not in name else [root / name])]
    return checksums.digest(*(file.read_bytes() for file in files))


def load(description: Description) -> Kernel | None:
    """Return the kernel that is described; None where there is none. Raises UnusableKernel for one that is there and unfit."""
    place = folder() / name_of(description)
    if not OWNED:
        return None
    try:
        if not is_own(folder()) or not is_own(place):
            return None
        about = checksums.parse_json(checksums.verify(read(place / ABOUT)))
        if about.get("made for") != json.loads(json.dumps(description)):
            raise UnusableKernel("it was made for something else")
        if about.get("library") != checksums.digest(read(place / LIBRARY)):
            raise UnusableKernel("its checksum is another than when recon wrote it")
        kernel = Kernel(place / LIBRARY)
    except (OSError, ValueError, RuntimeError, AttributeError) as error:
        raise UnusableKernel(cause(error)) from error
    with contextlib.suppress(OSError):  # a folder that is only read
        os.utime(place)
    return kernel


def read(path: Path) -> bytes:
    """Return the bytes of a file of the user's own. Raises UnusableKernel for anybody else's, FileNotFoundError for none."""
    if not is_own(path):
        raise FileNotFoundError(2, f"it has no {path.name}")
    return path.read_bytes()


def is_own(path: Path) -> bool:
    """Return whether a path is there. Raises UnusableKernel where it is not this user's alone to write, or leads elsewhere."""
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return False
    if stat.S_ISLNK(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o022:
        raise UnusableKernel(f"{path} is a link, or another user may write there")
    return True


def keep(description: Description, library: bytes) -> None:
    """Keep a kernel in place of one that is there, whole or not at all. Raises UnusableKernel where it cannot be kept."""
    root, name = folder(), name_of(description)
    if not OWNED:
        raise UnusableKernel("files have no owners on this system")
    about = {"made for": description, "library": checksums.digest(library)}
    try:
        root.mkdir(mode=0o700, parents=True, exist_ok=True)
        is_own(root)
        with tempfile.TemporaryDirectory(prefix=".", dir=root, ignore_cleanup_errors=True) as room:
            fresh = Path(room, "new")
            fresh.mkdir(mode=0o700)
            for file, content in ((LIBRARY, library), (ABOUT, checksums.json_file(about))):
                (fresh / file).write_bytes(content)
                (fresh / file).chmod(0o600)
            with contextlib.suppress(FileNotFoundError):
                os.rename(root / name, Path(room, "old"))
            os.rename(fresh, root / name)
        kept = sorted((place for place in root.iterdir() if place.name[0] != "."), key=lambda place: place.stat().st_mtime)
        for place in kept[:-MOST]:
            shutil.rmtree(place, ignore_errors=True)
    except OSError as error:
        raise UnusableKernel(cause(error)) from error


def tried(description: Description) -> bool:
    """Return whether :func:`first_today` has been asked of a kernel within a day."""
    with contextlib.suppress(OSError):
        return time.time() - mark_of(description).stat().st_mtime < DAY
    return False


def mark_of(description: Description) -> Path:
    """Return the file that says when a kernel was tried."""
    return folder() / f".{name_of(description)}.tried"


def first_today(description: Description) -> bool:
    """Return whether nobody has asked this of a kernel for a day: what cannot be made is not tried again and again."""
    if tried(description):
        return False
    mark = mark_of(description)
    try:
        mark.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        mark.touch()
    except OSError:
        return False
    return OWNED


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Make kernels one at a time: another process waits here, and then finds what this one made.

    Where no lock can be had, several at once, and the last one's is kept.
    """
    with contextlib.ExitStack() as stack:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            folder().mkdir(mode=0o700, parents=True, exist_ok=True)
            handle = os.open(folder(), os.O_RDONLY)
            stack.callback(os.close, handle)
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def loaded_or_made(description: Description, make: Callable[[], bytes], name: str) -> tuple[Kernel, tuple[str, ...]]:
    """Return the kernel that is described, loaded, or made and kept; and, in sentences, why it was not loaded or is not kept.

    Raises what ``make`` raises.
    """
    notes: list[str] = []
    with contextlib.suppress(UnusableKernel):
        if kernel := load(description):
            return kernel, ()
    with alone():
        try:
            if kernel := load(description):  # another process has made it meanwhile
                return kernel, ()
        except UnusableKernel as error:
            notes.append(f"The kernel kept for {name} could not be loaded ({error}), and was made anew.")
        library = make()
        try:
            keep(description, library)
        except UnusableKernel as error:
            notes.append(f"The kernel made for {name} could not be kept in {folder()} ({error}).")
    return load_fresh(library), tuple(notes)


def compiled_ahead(module: GraphModule, inputs: tuple[Tensor, ...], options: Mapping[str, Any]) -> bytes:
    """Return the library that torch's compiler makes of an exported module: for such inputs, of which it is run once."""
    import torch

    with tempfile.TemporaryDirectory() as room:
        path = Path(room, LIBRARY)
        where = {"aot_inductor.output_path": str(path), "cpp.dynamic_threads": True}
        torch._inductor.aot_compile(module, inputs, options={**where, **options})
        library = path.read_bytes()
    load_fresh(library)(*inputs)  # what it calls that is not in it shows when it runs
    return library


def load_fresh(library: bytes) -> Kernel:
    """Return a kernel that was just made, from a file that is gone again."""
    with tempfile.TemporaryDirectory() as room:
        path = Path(room, LIBRARY)
        path.write_bytes(library)
        return Kernel(path)
