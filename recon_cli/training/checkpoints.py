"""A run as it stands, written down so that it goes on to the same bits; and Ctrl-C and SIGTERM, which wait for that."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.runtime import checksums
from recon_cli.runtime.files import read_file

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.training.loop import State
    from recon_cli.training.runs import RunFolder

CHECKPOINT = "checkpoint.safetensors"


# What waits for the end of the step, and what it does where nobody waits for it; SIGHUP is a terminal that is gone.
WAITS = {"SIGINT": signal.default_int_handler, "SIGTERM": signal.SIG_DFL, "SIGHUP": signal.SIG_DFL}


class Interrupted(KeyboardInterrupt):
    """Ctrl-C or another signal to stop, after the step was finished and written down. Says where.

    code
        what a program exits with for it: 130 for Ctrl-C, 143 for SIGTERM, 129 for SIGHUP.
    """

    def __init__(self, where: str, number: int = signal.SIGINT) -> None:
        super().__init__(where)
        self.code = 128 + number


def pack(state: State, seconds: float, **about: str) -> bytes:
    """Return network, noise, optimizer, generator and position in the data, as one safetensors file that says ``about`` too."""
    from safetensors.torch import save

    tensors = {f"network.{name}": value for name, value in state.model.state_dict().items()}
    tensors |= {f"noise.{name}": value for name, value in state.noise.state_dict().items()}
    plain: dict[str, Any] = {}
    for at, one in state.optimizer.state_dict()["state"].items():
        for name, value in one.items():
            (tensors if isinstance(value, torch.Tensor) else plain)[f"optimizer.{at}.{name}"] = value
    tensors |= {"generator": state.generator.get_state(), "order": state.order, "trace": state.trace}
    for name, parts in {"best": state.watch.best, "average": state.average.mean}.items():
        tensors |= {f"{name}.{part}": value for part, value in parts.items()}
    position = {"epoch": state.epoch, "at": state.at, "seconds": seconds, "optimizer": plain}
    position |= {"watch": state.watch.pack(), "schedule": state.scheduler.pack()}
    content = save({name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()})
    return checksums.tensor_file(content, {"position": json.dumps(position), **about})


def unpack(path: Path, state: State, run: str) -> tuple[float, str]:
    """Put ``state`` where the file at ``path`` says: the seconds it took to get there, and the digest of the metrics till there.

    Raises ReconError for a file that is not as it was written, and for one of another run than ``run``.
    """
    from safetensors.torch import load

    content = read_file(str(path), path.read_bytes)
    try:
        tensors: dict[str, Tensor] = load(checksums.verify(content))
        about = checksums.metadata(content)
        if about["run"] != run:
            raise ValueError("it is of a run with other settings")
        position = checksums.parse_json(about["position"].encode(), float)  # the best of no epochs is inf
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
        state.average.unpack(under(tensors, "average"))
        state.generator.set_state(tensors["generator"])
        if len(tensors["order"]) != len(state.rows) or len(tensors["trace"]) != state.steps:
            raise ValueError(f"it is of {len(tensors['order']):,} training rows, and these are {len(state.rows):,}")
        if not torch.equal(tensors["order"].sort().values, torch.arange(len(state.rows))):
            raise ValueError("its order of the rows leaves some out")
        state.order, state.trace = tensors["order"].to(state.order), tensors["trace"].to(state.trace)
        state.epoch, state.at = int(position["epoch"]), int(position["at"])
        if not (0 <= state.at <= state.steps and 0 <= state.epoch < 1 << 63 and len(of_optimizer) <= len(state.parameters)):
            raise ValueError("its place in the data is none of this run")
        return float(position["seconds"]), str(about["metrics"])
    except (ReconError, LookupError, ValueError, TypeError, AttributeError, ArithmeticError, RuntimeError) as error:
        why = error.message if isinstance(error, ReconError) else str(error).split("\n")[0]
        raise ReconError(
            f"{path} is no checkpoint of this run: {why}.".replace("..", "."),
            f"Without it the run starts from the beginning: remove {path}, and --resume again.",
        ) from error


def under(named: dict[str, Any], first: str) -> dict[str, Any]:
    """Return the entries whose names begin with ``first`` and a dot, by what follows it."""
    return {name[len(first) + 1 :]: value for name, value in named.items() if name.startswith(f"{first}.")}


class Keeper:
    """Called between steps: writes ``state`` down every so many seconds, and where a signal asked to stop.

    seconds
        in the training loop so far, those before a resumption included.
    """

    def __init__(self, run: RunFolder, state: State, every: float, before: float = 0.0) -> None:
        self.run, self.state, self.every = run, state, every
        self.began = time.perf_counter() - before
        self.due = time.monotonic() + every
        self.pressed: list[int] = []

    @property
    def seconds(self) -> float:
        """Seconds spent in the training loop."""
        return time.perf_counter() - self.began

    def __call__(self) -> None:
        state = self.state
        stop, due = state.agreed(bool(self.pressed), time.monotonic() >= self.due)
        if stop and state.epoch < state.settings.epochs:
            self.save()
            where = f"epoch {state.epoch + 1} of {state.settings.epochs}, step {state.at} of {state.steps}"
            raise Interrupted(where, *self.pressed[:1])
        if due or not self.every:
            self.save()

    def save(self) -> None:
        """Write down the state as it is, unless it has left the numbers (which the next step says)."""
        self.state.check()
        if self.run.path is not None and all(value.isfinite().all() for value in self.state.model.parameters()):
            about = {"run": self.run.identity, "metrics": self.run.digest.hexdigest()}
            self.run.put(CHECKPOINT, pack(self.state, self.seconds, **about))
            self.run.has_work = True
        self.due = time.monotonic() + self.every

    @contextmanager
    def patience(self) -> Iterator[None]:
        """Have signals to stop noted, and wait for the end of the step: Ctrl-C, SIGTERM, SIGHUP.

        Not where nothing is kept, nor those that the caller has a use for; a second Ctrl-C does not wait.
        """

        def note(number: int, frame: object) -> None:
            del frame
            self.pressed.append(number)
            if self.pressed.count(signal.SIGINT) > 1:
                raise KeyboardInterrupt

        alone = threading.current_thread() is threading.main_thread()  # which alone is interrupted
        writes = self.run.path is not None and not self.state.settings.exact
        numbers = {getattr(signal, name): usual for name, usual in WAITS.items() if hasattr(signal, name)}
        ours = {number: usual for number, usual in numbers.items() if alone and writes and signal.getsignal(number) == usual}
        for number in ours:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, usual in ours.items():
                signal.signal(number, usual)
