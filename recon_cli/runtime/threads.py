"""Work shared out among threads, each of which computes alone: nobody waits for another at each operation."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol, TypeVar

from recon_cli.runtime.torch_state import DefaultState, process_settings

Item = TypeVar("Item")
Result = TypeVar("Result")
WARM = 1 << 24  # bytes, that are asked for once and not touched


class WorkSpread(Protocol):
    """Returns the ``work`` of each of ``items``, in order."""

    def __call__(self, work: Callable[[Item], Result], items: Sequence[Item], /) -> list[Result]:
        """Return it."""
        raise NotImplementedError


@contextlib.contextmanager
def shared_out(among_threads: bool = True) -> Iterator[WorkSpread]:
    """Yield a function of ``work`` and ``items`` that returns the work of each, in order: by as many threads as torch uses.

    among_threads
        whether to share it out at all: what a GPU computes one thread asks for.

    Meanwhile each uses one of torch's own: in small tensors an operation takes less time than its threads take to meet.
    """
    import torch

    count = torch.get_num_threads()
    # A block of this size that is freed makes the C library keep up to twice as much of what is freed later, as it does of
    # its own accord in time; until then every tensor of a chunk is new pages, and they take longer than the arithmetic.
    torch.empty(WARM, dtype=torch.uint8)
    if count == 1 or not among_threads:

        def one_by_one(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
            return list(map(work, items))

        yield one_by_one
        return

    def compute(work: Callable[[Item], Result], waiting: Iterator[tuple[int, Item]]) -> list[tuple[int, Result]]:
        with DefaultState(), process_settings().threads.at(1, each=True):
            return [(place, work(item)) for place, item in waiting]

    with ThreadPoolExecutor(count) as pool:

        def share(work: Callable[[Item], Result], items: Sequence[Item]) -> list[Result]:
            if len(items) == 1:
                return [work(items[0])]
            waiting = iter([*enumerate(items)])  # of which each thread takes the next
            tasks = [pool.submit(compute, work, waiting) for _ in range(min(count, len(items)))]
            results = dict(pair for task in tasks for pair in task.result())
            return [results[place] for place in range(len(items))]

        yield share
