"""One of several processes, as torchrun starts them, or alone: which this is, its share of the work, and what all computed."""

from __future__ import annotations

import functools
import gc
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, ParamSpec, TypeVar, cast

from recon_cli.errors import ReconError

if TYPE_CHECKING:
    import torch
    from torch.distributed import ProcessGroup

Item = TypeVar("Item")
Arguments = ParamSpec("Arguments")
was_connected: list[bool] = []  # not empty: this process has met the others
at_work: list[bool] = []  # not empty: it does something for all now
PATIENCE = timedelta(days=1)  # how long the others are waited for where none is known to have died


if int(os.environ.get("WORLD_SIZE", "1")) > 1:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "FATAL")  # before torch is imported: what fails is told in a sentence


class SharedError(ReconError):
    """An error that every process knows of, so that one of them tells it."""


def count() -> int:
    """Return how many processes work together: ``WORLD_SIZE``, as torchrun sets it; 1 without."""
    return int(os.environ.get("WORLD_SIZE", "1"))


def rank() -> int:
    """Return which of them this is, from 0. Only process 0 writes."""
    return int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Return which of those on this machine this is, from 0: its GPU."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def restarts() -> int:
    """Return how often torchrun has started these processes anew."""
    return int(os.environ.get("TORCHELASTIC_RESTART_COUNT", "0"))


def may_restart() -> bool:
    """Whether torchrun would start them anew: ``--max-restarts``."""
    return int(os.environ.get("TORCHELASTIC_MAX_RESTARTS", "0")) > 0


def is_launched() -> bool:
    """Whether torchrun started this process, be it alone."""
    return "TORCHELASTIC_RUN_ID" in os.environ or count() > 1


def share(items: int) -> tuple[int, int]:
    """Return from where to where this process has its share of so many items, in order."""
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
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    try:
        store, number, size = next(rendezvous("env://"))
        store = PrefixStore(f"attempt {restarts()}", store)  # where those that died left no address
        distributed.init_process_group("gloo", store=store, rank=number, world_size=size, timeout=PATIENCE)
    except (RuntimeError, ValueError, OSError) as error:
        raise ReconError(
            f"Process {rank()} of {count()} could not meet the others: {_first_line(error)}.",
            "Start them with torchrun --nproc-per-node=N -m recon_cli ...",
        ) from error
    was_connected.append(True)
    try:
        try:
            yield
        except ReconError as error:
            if not isinstance(error, SharedError):
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
    """Return the group by which tensors on ``device`` are summed: NCCL's where each process has its own GPU; None is gloo's."""
    import torch
    from torch import distributed

    own = device.type == "cuda" and int(os.environ.get("LOCAL_WORLD_SIZE", "1")) <= torch.cuda.device_count()
    if not all(all_gather(own)):
        return None
    return cast("ProcessGroup", distributed.new_group(backend="nccl", timeout=PATIENCE))


def on_first_process(work: Callable[Arguments, Item]) -> Callable[Arguments, Item]:
    """Have ``work`` done by the first process for all: each returns its result, or raises its error. Alone, nothing changes."""

    @functools.wraps(work)
    def call(*arguments: Arguments.args, **named: Arguments.kwargs) -> Item:
        if not is_distributed() or at_work:
            return work(*arguments, **named)
        outcome: Item | Exception | None = None
        if rank() == 0:
            at_work.append(True)
            try:
                outcome = work(*arguments, **named)
            except Exception as error:
                outcome = error
            finally:
                at_work.clear()
        return cast(Item, all_gather(outcome)[0])

    return call


def is_reported_elsewhere(error: Exception) -> bool:
    """Whether another process tells it: the first what all know, and the first on each machine what was wrong from the start."""
    return rank() > 0 if isinstance(error, SharedError) else local_rank() > 0 and not was_connected


def all_gather(mine: Item) -> list[Item]:
    """Return what each process has, in order. Raises the first exception that one has instead, ReconError for one that died."""
    if not is_distributed():
        if isinstance(mine, Exception):
            raise mine
        return [mine]
    from torch import distributed

    items: list[Item] = [mine] * count()
    try:
        distributed.monitored_barrier(timeout=PATIENCE)
        distributed.all_gather_object(items, mine)
    except RuntimeError as error:
        raise _lost(error) from error
    for other, item in enumerate(items):
        if isinstance(item, ReconError):
            whose = "" if other == rank() else f"Process {other}: "
            raise SharedError(f"{whose}{item.message}", item.hint) from item
        if isinstance(item, Exception):
            raise item
    return items


def _lost(error: RuntimeError) -> ReconError:
    """Return the error for a process that is not there any more: gloo names it, or nothing can be sent to it."""
    gone = re.search(r"Rank (\d+) failed", str(error))
    who = [int(gone[1])] if gone else [other for other in range(count()) if other != rank() and not _is_there(other)]
    if len(who) == 1:
        what = f"Process {who[0]} of {count()} is gone"
    elif who:
        what = f"Processes {', '.join(map(str, who[:-1]))} and {who[-1]} of {count()} are gone"
    else:
        what = f"Process {rank()} lost the others: {_first_line(error)}"
    return SharedError(f"{what}.", "It has died, or its machine has: see what it said, and start all of them again.")


def _is_there(other: int) -> bool:
    """Whether the connection to another process stands: something can be sent to it, which nobody waits for."""
    import torch
    from torch import distributed

    try:
        distributed.isend(torch.zeros(1), other, tag=1)
    except RuntimeError:
        return False
    return True


def _first_line(error: Exception) -> str:
    return str(error).strip().split("\n")[0].rstrip(".")
