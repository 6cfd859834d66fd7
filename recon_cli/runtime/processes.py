"""One of several processes, as torchrun starts them, or alone: who this is, its share of the work, and what all found."""

from __future__ import annotations

import functools
import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

from recon_cli.errors import ReconError

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

Item = TypeVar("Item")
Words = ParamSpec("Words")
met: list[bool] = []  # whether this process has ever met the others
at_work: list[bool] = []  # whether it does something for all now
PATIENCE = timedelta(days=1)  # how long the others are waited for where none is known to have died


if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # before torch is imported: what fails is told in a sentence


def count() -> int:
    """How many processes work together: ``WORLD_SIZE``, as torchrun sets it; 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Which of them this is, from 0. Only that one writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Which of those on this machine: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """How often torchrun has started these processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether torchrun would start them anew: ``--max-restarts``."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def is_launched() -> bool:
    """Whether torchrun started this process, be it alone."""
    return "TORCHELASTIC_RUN_ID" in os.environ or count() > 1


def share(items: int) -> tuple[int, int]:
    """From where to where this process has its share of so many items, in order."""
    if not is_distributed():
        return 0, items
    return items * rank() // count(), items * (rank() + 1) // count()


def is_distributed() -> bool:
    """Whether this is one of several processes that work together."""
    if count() == 1:
        return False
    from torch import distributed

    return distributed.is_initialized()


@contextmanager
def connected() -> Iterator[None]:
    """Work together with the other processes that torchrun started; alone, nothing happens.

    A ReconError in one ends all of them with it. What they tell each other is little, so gloo does, over the CPU, whatever
    the device (but gradients: see :func:`group`). Raises ReconError where the others cannot be reached, or where one has died.
    """
    if count() == 1:
        yield
        return
    from torch import distributed

    try:
        store, *who = next(distributed.rendezvous("env://"))
        mine = distributed.PrefixStore(f"attempt {restarts()}", store)  # where those that died left no address
        distributed.init_process_group("gloo", store=mine, rank=who[0], world_size=who[1], timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ReconError(
            f"Process {rank()} of {count()} could not meet the others: {_first_line(error)}.",
            "Start them with torchrun --nproc-per-node=N -m recon_cli ...",
        ) from error
    met.append(True)
    try:
        try:
            yield
        except ReconError as error:
            if not getattr(error, "shared", False):
                all_gather(error)
            raise
        except RuntimeError as error:
            if "gloo" in str(error) or isinstance(error, distributed.DistBackendError):
                raise _lost(error) from error
            raise
        all_gather(None)
    finally:
        gc.collect()  # what still holds the group ends before it does
        distributed.destroy_process_group()


def group(device: torch.device) -> ProcessGroup | None:
    """By whom tensors on ``device`` are summed: NCCL where every process has a GPU of its own; None is gloo."""
    import torch
    from torch import distributed

    mine = int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count() if device.type == "cuda" else False
    return distributed.new_group(backend="nccl", timeout=PATIENCE) if all(all_gather(mine)) else None


def on_first_process(work: Callable[Words, Item]) -> Callable[Words, Item]:
    """Decorates what one process does for all: every one has what the first found, or its error. Alone, nothing changes."""

    @functools.wraps(work)
    def call(*words: Words.args, **named: Words.kwargs) -> Item:
        if not is_distributed() or at_work:
            return work(*words, **named)
        found: Any = None
        if rank() == 0:
            at_work.append(True)
            try:
                found = work(*words, **named)
            except Exception as error:
                found = error
            finally:
                at_work.clear()
        return all_gather(found)[0]

    return call


def is_reported_elsewhere(error: Exception) -> bool:
    """Whether another process says it: the first what all know, and the first on each machine what was wrong from the start."""
    return rank() > 0 if getattr(error, "shared", False) else local_rank() > 0 and not met


def all_gather(mine: Item) -> list[Item]:
    """What each process has, in order. Raises the first exception that one has instead, or a ReconError for one that died."""
    if not is_distributed():
        if isinstance(mine, Exception):
            raise mine
        return [mine]
    from torch import distributed

    found: list[Item] = [mine] * count()
    try:
        distributed.monitored_barrier(timeout=PATIENCE)
        distributed.all_gather_object(found, mine)
    except RuntimeError as error:
        raise _lost(error) from error
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


def _lost(error: RuntimeError) -> ReconError:
    """Somebody is not there any more."""
    gone = re.search(r"Rank (\d+) failed", str(error))
    who = f"Process {gone[1]} of {count()} is gone" if gone else f"Process {rank()} lost the others: {_first_line(error)}"
    died = ReconError(f"{who}.", "It has died, or its machine has: see what it said, and start all of them again.")
    died.shared = True  # type: ignore[attr-defined]
    return died


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
