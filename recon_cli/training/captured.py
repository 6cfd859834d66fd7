"""A step of training on a GPU, captured once as CUDA graphs: from then on it is asked for in two calls instead of a hundred.

A small network's step is over before the next one's operations are asked for, one after another. What is replayed computes the
same numbers: the same operations on the same places, of which only the contents change.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

if TYPE_CHECKING:
    from torch import Tensor

Result = TypeVar("Result")
WARM_UPS = 2  # calls before one is captured, in which libraries choose their ways and take their memory
READS = ("_local_scalar_dense", "nonzero", "masked_select", "unique", "_unique", "_unique2", "unique_dim", "lift_fresh")
SOLVES = ("linalg_", "_linalg_", "cholesky", "triangular_solve", "lu_", "ormqr", "geqrf")  # some by libraries that wait
NORMS = ("linalg_vector_norm",)


class Uncapturable(Exception):
    """What was to be captured cannot be: it reads something back, copies to the GPU, or asks a library that waits."""


def captures(device: torch.device) -> bool:
    """Return whether steps on a device can be captured."""
    return device.type == "cuda"


class NothingWaits(TorchDispatchMode):
    """Raises Uncapturable for an operation that a capture would not outlive: after a failed one nothing is as it was."""

    def __torch_dispatch__(
        self, func: Any, types: Sequence[type], args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Return what the operation returns."""
        del types
        name = func._schema.name.partition("::")[2].rstrip("_")
        result = func(*args, **(kwargs or {}))
        places = {each.device.type for each in (*args, result) if isinstance(each, torch.Tensor)}
        waits = name in READS and "cpu" not in places
        moves = name in ("_to_copy", "copy") and len(places) > 1
        if waits or moves or (name.startswith(SOLVES) and name not in NORMS):
            raise Uncapturable(f"{name} cannot be captured")
        return result


@contextmanager
def no_waiting() -> Iterator[None]:
    """Raise Uncapturable for what has to wait for the GPU, meanwhile."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("error")
    try:
        with NothingWaits():  # type: ignore[no-untyped-call]
            yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise Uncapturable(str(error)) from error
    finally:
        torch.cuda.set_sync_debug_mode(before)


class Captured(Generic[Result]):
    """``work`` of tensors on a GPU, captured at its first call; each call's results are in the places of the first one's.

    It computes from its arguments, and from tensors that stay where they are.

    plain
        the same work not compiled, by which is seen whether it can be captured; where it cannot, each call does the work.
    warm_ups
        how often it is done before, so that libraries have chosen their ways.
    """

    def __init__(self, work: Callable[..., Result], plain: Callable[..., object] | None = None, warm_ups: int = WARM_UPS) -> None:
        self.work, self.plain, self.warm_ups = work, plain, warm_ups
        self.rooms: list[Tensor] = []
        self.graph: torch.cuda.CUDAGraph | None = None
        self.can_be = True

    def __call__(self, *tensors: Tensor) -> Result:
        if self.graph is None and self.can_be:
            try:
                self.capture([each.clone() for each in tensors])
            except Uncapturable:
                self.can_be = False
        if self.graph is None:
            return self.work(*tensors)
        for room, values in zip(self.rooms, tensors, strict=True):
            room.copy_(values)
        self.graph.replay()
        return self.results

    def capture(self, rooms: list[Tensor]) -> None:
        """Capture the work of tensors that stay where they are."""
        beside, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(beside):
            if self.plain is not None:
                self.plain(*rooms)
                with no_waiting():
                    self.plain(*rooms)
            for _ in range(self.warm_ups):
                self.work(*rooms)
        torch.cuda.current_stream().wait_stream(beside)
        with torch.cuda.graph(graph, capture_error_mode="thread_local"):
            self.results = self.work(*rooms)
        self.rooms, self.graph = rooms, graph


class CapturedOptimizer:
    """The steps of an optimizer on a GPU: the first as it is, the second captured, and from then on replayed.

    Its learning rates are read from the GPU's memory, so that they may change from step to step; where another number of it
    has changed (a schedule of momenta), or the gradients lie elsewhere, the step is made as it is.
    """

    def __init__(self, optimizer: torch.optim.Optimizer) -> None:
        self.optimizer, self.made, self.captured = optimizer, 0, Captured(self.step, warm_ups=0)
        self.groups = optimizer.param_groups
        self.rates = [torch.zeros((), device=group["params"][0].device) for group in self.groups]
        self.known: list[float] = [0.0] * len(self.rates)
        self.like: object = None

    @staticmethod
    def takes(optimizer: torch.optim.Optimizer) -> bool:
        """Return whether an optimizer can read its learning rate from the GPU's memory, in one pass over all parameters."""
        return all(group.get("fused") and "capturable" in group for group in optimizer.param_groups)

    def __call__(self) -> None:
        """Make a step."""
        for at, group in enumerate(self.groups):
            if self.known[at] != group["lr"]:
                self.known[at] = group["lr"]
                self.rates[at].fill_(group["lr"])
        self.made += 1
        like = self.surroundings()
        if self.made == 1 or (self.like is not None and like != self.like):
            self.step()
        else:
            self.like = like
            self.captured()

    def surroundings(self) -> list[object]:
        """Return what a captured step has in it beside the contents of tensors."""
        numbers = [{name: value for name, value in group.items() if name not in ("lr", "params")} for group in self.groups]
        places = [part.grad.data_ptr() for group in self.groups for part in group["params"] if part.grad is not None]
        return [numbers, places]

    def step(self) -> None:
        """Make a step as it is."""
        with self.rates_in_memory():
            self.optimizer.step()

    @contextmanager
    def rates_in_memory(self) -> Iterator[None]:
        """Have the optimizer read its learning rates from the GPU's memory meanwhile."""
        before: list[dict[str, Any]] = [{name: group[name] for name in ("lr", "capturable")} for group in self.groups]
        for group, rate in zip(self.groups, self.rates, strict=True):
            group.update(lr=rate, capturable=True)
        try:
            yield
        finally:
            for group, numbers in zip(self.groups, before, strict=True):
                group.update(numbers)
