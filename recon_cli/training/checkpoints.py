"""A run as it stands, written down so that it goes on to the same bits; and Ctrl-C, which waits for that."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.sources import guarded

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.training.loop import State
    from recon_cli.training.runs import Run

CHECKPOINT = "checkpoint.safetensors"


class Interrupted(KeyboardInterrupt):
    """Ctrl-C, after the step was finished and written down. Says where."""


def pack(state: State, seconds: float) -> bytes:
    """Network, noise, optimizer, generator and position in the data, as one safetensors file."""
    from safetensors.torch import save

    tensors = {f"network.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"noise.{name}": value for name, value in state.noise.state_dict().items()}
    plain: dict[str, Any] = {}
    for at, one in state.optimizer.state_dict()["state"].items():
        for name, value in one.items():
            (tensors if isinstance(value, torch.Tensor) else plain)[f"optimizer.{at}.{name}"] = value
    tensors |= {"generator": state.generator.get_state(), "order": state.order, "trace": state.trace}
    tensors |= {f"best.{name}": value for name, value in state.watch.best.items()}
    position = {"epoch": state.epoch, "at": state.at, "seconds": seconds, "optimizer": plain}
    position |= {"watch": state.watch.pack(), "schedule": state.scheduler.pack()}
    return save(
        {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}, {"position": json.dumps(position)}
    )


def unpack(path: Path, state: State) -> float:
    """Put ``state`` where the file at ``path`` says; the seconds it took to get there. Raises ReconError for another run's."""
    from safetensors import safe_open

    def read() -> tuple[dict[str, Tensor], dict[str, Any]]:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, json.loads((file.metadata() or {})["position"])  # noqa: SIM118

    try:
        tensors, position = guarded(str(path), read)
        part = {name: under(tensors, name) for name in ("network", "noise")}
        state.model.load_state_dict(part["network"])
        state.noise.load_state_dict(part["noise"])
        of_optimizer: dict[int, dict[str, Any]] = {}
        for name, value in {**under(tensors, "optimizer"), **under(position["optimizer"], "optimizer")}.items():
            at, _, key = name.partition(".")
            of_optimizer.setdefault(int(at), {})[key] = value
        state.optimizer.load_state_dict({**state.optimizer.state_dict(), "state": of_optimizer})
        state.scheduler.unpack(position.get("schedule", {}))
        state.watch.unpack(position.get("watch", {}), under(tensors, "best"))
        state.generator.set_state(tensors["generator"])
        if len(tensors["order"]) != len(state.rows) or len(tensors["trace"]) != state.steps:
            raise ValueError(f"it is of {len(tensors['order']):,} training rows, and these are {len(state.rows):,}")
        state.order, state.trace = tensors["order"].to(state.order), tensors["trace"].to(state.trace)
        state.epoch, state.at = int(position["epoch"]), int(position["at"])
        return float(position["seconds"])
    except (ReconError, KeyError, ValueError, TypeError, RuntimeError) as error:
        why = error.message if isinstance(error, ReconError) else str(error).split("\n")[0]
        raise ReconError(
            f"{path} is no checkpoint of this run: {why}.".replace("..", "."),
            f"Without it the run starts from the beginning: remove {path}, and --resume again.",
        ) from error


def under(named: dict[str, Any], first: str) -> dict[str, Any]:
    """Those whose name begins with ``first`` and a dot, without it."""
    return {name[len(first) + 1 :]: value for name, value in named.items() if name.startswith(f"{first}.")}


class Keeper:
    """Called between steps: writes ``state`` down every so many seconds, and where Ctrl-C was pressed.

    seconds
        in the training loop so far, those before a resumption included.
    """

    def __init__(self, run: Run, state: State, every: float, before: float = 0.0) -> None:
        self.run, self.state, self.every = run, state, every
        self.began = time.perf_counter() - before
        self.due = time.monotonic() + every
        self.pressed: Callable[[], bool] = lambda: False

    @property
    def seconds(self) -> float:
        """In the training loop."""
        return time.perf_counter() - self.began

    def __call__(self) -> None:
        state = self.state
        stop, due = state.agreed(self.pressed(), time.monotonic() >= self.due)
        if stop and state.epoch < state.settings.epochs:
            self.save()
            raise Interrupted(f"epoch {state.epoch + 1} of {state.settings.epochs}, step {state.at} of {state.steps}")
        if due or not self.every:
            self.save()

    def save(self) -> None:
        """The state as it is, unless it has left the numbers (which the next step says)."""
        self.state.check()
        if self.run.path is not None and all(value.isfinite().all() for value in self.state.model.parameters()):
            self.run.put(CHECKPOINT, pack(self.state, self.seconds))
            self.run.kept = True
        self.due = time.monotonic() + self.every

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Ctrl-C is noted and waits for the end of the step, a second one does not; nor the first where nothing is kept."""
        pressed: list[int] = []
        before = signal.getsignal(signal.SIGINT)

        def note(number: int, frame: Any) -> None:
            pressed.append(number)
            if len(pressed) > 1:
                raise KeyboardInterrupt

        alone = threading.current_thread() is threading.main_thread()  # which alone is interrupted
        if self.run.path is None or before != signal.default_int_handler or not alone:
            yield
            return
        signal.signal(signal.SIGINT, note)
        self.pressed = lambda: bool(pressed)
        try:
            yield
        finally:
            signal.signal(signal.SIGINT, before)
