"""How much a file may ask for: what it unpacks to, and what is taken into memory at once, known before memory is taken."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from recon_cli.errors import ReconError

AXES = 32  # of an array: as many as every numpy has
UNPACKED = 1 << 28  # bytes that any file may unpack to
RATIO = 100  # times its own size that a file may unpack to, where that is more
SHARE = 0.5  # of the memory that is free: what may be taken at once
LINE = 1 << 24  # characters of a line, or of a field that goes over several, in a file of text
FIELDS = 1 << 20  # of a line


def afford(path: str, size: int, packed: int | None = None, hint: str = "") -> None:
    """Raise ReconError where ``size`` bytes are too many to be taken at once, or to be unpacked from so many ``packed`` ones."""
    if size <= UNPACKED:
        return
    if packed is not None and size > RATIO * packed:
        raise ReconError(
            f"{path} would unpack to {size:,} bytes, more than {RATIO} times the {packed:,} that it has.",
            hint or "Unpack it, and give it as a .npy or .safetensors file, which is read piece by piece.",
        )
    if size > SHARE * (free := available()):
        raise ReconError(
            f"{path} takes {size / 1e9:.3g} GB at once, and {free / 1e9:.3g} GB are free, of which recon takes {SHARE:.0%}.",
            hint or "Give fewer samples; or a .npy or .safetensors file, which is read piece by piece.",
        )


def fits(path: str, shape: Sequence[int]) -> None:
    """Raise ReconError for more axes than arrays have."""
    if len(shape) > AXES:
        raise ReconError(
            f"{path} holds an array of {len(shape)} axes, and recon reads up to {AXES}.",
            "The first axis counts samples: save it as array.reshape(len(array), -1).",
        )


def available() -> float:
    """Return the bytes of memory that may still be taken, as far as the machine tells: free, and within the limits set for us."""
    limits = [float("inf")]
    with suppress(OSError, ValueError, StopIteration):
        lines = Path("/proc/meminfo").read_text().splitlines()
        limits.append(1024 * int(next(line.split()[1] for line in lines if line.startswith("MemAvailable"))))
    if len(limits) == 1:
        with suppress(AttributeError, OSError, ValueError):
            limits.append(os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    for name in ("memory.max", "memory/memory.limit_in_bytes"):
        with suppress(OSError, ValueError):
            limits.append(int(Path("/sys/fs/cgroup", name).read_text()))
    with suppress(ImportError, OSError, ValueError):
        import resource

        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        most = resource.getrlimit(resource.RLIMIT_AS)[0]
        limits += [max(0, most - used)] * (most != resource.RLIM_INFINITY)
    return min(limits)
