"""One of several processes, as torchrun starts them, or alone: who this is, its share of the work, and what all found."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

from recon_cli.errors import ReconError

Item = TypeVar("Item")
PATIENCE = timedelta(days=1)  # how long the others are waited for where none is known to have died


def count() -> int:
    """How many processes work together: ``WORLD_SIZE``, as torchrun sets it; 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0. Only that one writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Which of those on this machine: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def share(items: int) -> tuple[int, int]:
    """From where to where this process has its share of so many items, in order."""
    if not _together():
        return 0, items
    return items * rank() // count(), items * (rank() + 1) // count()


def _together() -> bool:
    if count() == 1:
        return False
    from torch import distributed

    return distributed.is_initialized()


@contextmanager
def together() -> Iterator[None]:
    """Work together with the other processes that torchrun started; alone, nothing happens.

    A ReconError in one ends all of them with it. What they tell each other are a few numbers at the end, so gloo does,
    over the CPU, whatever the device. Raises ReconError where the others cannot be reached, or where one has died.
    """
    if count() == 1:
        yield
        return
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # what fails is told in a sentence
    from torch import distributed

    try:
        distributed.init_process_group("gloo", timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ReconError(
            f"Process {rank()} of {count()} could not meet the others: {_first_line(error)}.",
            "Start them with torchrun --nproc-per-node=N -m recon_cli compare ...",
        ) from error
    try:
        try:
            yield
        except ReconError as error:
            if not getattr(error, "shared", False):
                gathered(error)
            raise
        gathered(None)
    finally:
        distributed.destroy_process_group()


def gathered(mine: Item) -> list[Item]:
    """What each process has, in order. Raises the first exception that one has instead, or a ReconError for one that died."""
    if not _together():
        if isinstance(mine, Exception):
            raise mine
        return [mine]
    from torch import distributed

    found: list[Item] = [mine] * count()
    try:
        distributed.monitored_barrier(timeout=PATIENCE)
        distributed.all_gather_object(found, mine)
    except RuntimeError as error:
        gone = re.search(r"Rank (\d+) failed", str(error))
        who = f"Process {gone[1]} of {count()} is gone" if gone else f"Process {rank()} lost the others: {_first_line(error)}"
        died = ReconError(f"{who}.", "It has died, or its machine has: see what it said, and start all of them again.")
        died.shared = True  # type: ignore[attr-defined]
        raise died from error
    for other, item in enumerate(found):
        if isinstance(item, Exception) and not isinstance(item, ReconError):
            raise item
        if isinstance(item, ReconError):
            item.shared = True  # type: ignore[attr-defined]
            raise item if other == rank() else _of(item, other)
    return found


def _of(error: ReconError, other: int) -> ReconError:
    """Somebody else's error, with whose it is."""
    said = ReconError(f"Process {other}: {error.message}", error.hint)
    said.shared = True  # type: ignore[attr-defined]
    return said


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
