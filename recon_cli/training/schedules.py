"""The learning rate from step to step: three of recon's own, and torch's schedulers by name."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch.optim import lr_scheduler

from recon_cli.errors import ReconError, nearest, unknown
from recon_cli.identity.parametric import as_number

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
UNFIT = (
    "lrscheduler",
    "_lrscheduler",
    "lambda",
    "multiplicative",
    "sequential",
    "chainedscheduler",
)  # bases; those that take functions, or others
OURS = ("optimizer", "last_epoch", "verbose", "scale_fn", "total_steps", "epochs", "steps_per_epoch")  # known, or functions
RATES = ("max_lr", "base_lr", "eta_min", "min_lr")
EXAMPLES = {"gamma": "0.97", "step_size": "30", "milestones": "30,60", "T_0": "10", "max_lr": "0.01"}
TRIED = 20  # units of a schedule, before anything is trained
REFUSALS = (ValueError, TypeError, ArithmeticError, RuntimeError, AssertionError)


def kinds() -> dict[str, type[Any]]:
    """Torch's schedulers by name in lower case, without their LR: ``exponential``, ``onecycle``, ``plateau``."""
    every = {name: kind for name, kind in vars(lr_scheduler).items() if isinstance(kind, type)}
    found = {short(name): kind for name, kind in every.items() if issubclass(kind, lr_scheduler.LRScheduler)}
    return {name: kind for name, kind in found.items() if name not in UNFIT}


def short(name: str) -> str:
    """``ExponentialLR`` as one writes it."""
    return name.lower().removeprefix("reducelron").removesuffix("lr")


@dataclass(frozen=True)
class Schedule:
    """``NAME[:PARAM=VALUE,...]`` read: one of recon's own (no ``kind``), or torch's and what it is told."""

    name: str
    kind: type[Any] | None
    told: dict[str, Any]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Raises ReconError for a name or a parameter that there is not, and for a value that it cannot have."""
        word, _, rest = text.strip().partition(":")
        name, known = word.strip().lower(), kinds()
        if name in SCHEDULES and not rest.strip():
            return cls(name, None, {})
        name = name if name in known else short(name)
        if name in SCHEDULES and name not in known:
            raise ReconError(f"The schedule {name} takes no parameters.", f"Write --schedule {name} alone.")
        if name not in known:
            raise unknown("schedule", word, {**SCHEDULES, **known})
        return cls(name, kind := known[name], read(name, kind, rest))

    @property
    def each_step(self) -> bool:
        """Whether its lengths are steps; else they are epochs."""
        return self.kind is not None and bool({"total_steps", "step_size_up"} & {*inspect.signature(self.kind).parameters})

    @property
    def judges(self) -> bool:
        """Whether it looks at the objective."""
        return self.name == "plateau"

    @property
    def endless(self) -> bool:
        """Whether it is the same for a run of more epochs."""
        return self.name == "constant" if self.kind is None else not self.lengths(1, 1).keys() - self.told.keys()

    def lengths(self, epochs: int, steps: int) -> dict[str, int]:
        """How long the run is, as far as it asks: T_max and total_steps, and where it falls to 0 total_iters."""
        takes = inspect.signature(self.kind).parameters if self.kind else {}
        asked = {"T_max": epochs, "total_steps": epochs * steps}
        asked |= {"total_iters": epochs} if self.kind is lr_scheduler.PolynomialLR else {}
        return {name: value for name, value in asked.items() if name in takes}

    def scaled(self, factor: float) -> str:
        """The same, of a learning rate times ``factor``, as on the command line."""
        told = {name: value * factor if name in RATES else value for name, value in self.told.items()}
        parts = (f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}" for name, value in told.items())
        return ":".join(filter(None, (self.name if self.told or not self.kind else f"{self.name}lr", ",".join(parts))))

    def make(self, optimizer: torch.optim.Optimizer, lr: float, epochs: int, steps: int) -> Any:
        """Torch's scheduler, told the run's length and learning rate where it asks and was not told."""
        rates = {"onecycle": {"max_lr": lr}, "cyclic": {"base_lr": lr}, "plateau": {"threshold_mode": "abs"}}.get(self.name, {})
        return self.kind(optimizer, **{**self.lengths(epochs, steps), **rates, **self.told})  # type: ignore[misc]

    def check(self, optimizer: torch.optim.Optimizer, lr: float, epochs: int) -> None:
        """Raise ReconError for what torch refuses, and for a learning rate below 0: its first few units are tried."""
        if self.kind is None:
            return
        needed = [name for name, one in inspect.signature(self.kind).parameters.items() if one.default is one.empty]
        filled = {*self.told, *self.lengths(1, 1), "optimizer", {"onecycle": "max_lr", "cyclic": "base_lr"}.get(self.name, "")}
        for name in needed:
            if name not in filled:
                way = f"Write --schedule {self.name}:{name}={EXAMPLES.get(name, '1')}, say."
                raise ReconError(f"The schedule {self.name} needs {name}.", way)
        try:
            made = self.make(optimizer, lr, epochs, TRIED)
            optimizer.step()
            for _ in range(min(TRIED, epochs) - 1):
                made.step(*[0.0] * self.judges)
                if not all(0 <= float(group["lr"]) < math.inf for group in optimizer.param_groups):
                    raise ValueError(f"its learning rate becomes {float(optimizer.param_groups[0]['lr']):g}")
        except REFUSALS as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ReconError(f"The schedule {self.name} cannot be had: {why}.", "See torch.optim.lr_scheduler.") from error


def read(name: str, kind: type[Any], rest: str) -> dict[str, Any]:
    """``gamma=0.1,step_size=30`` as ``kind`` takes them; a part without = belongs to the list before it."""
    takes = {key: one for key, one in inspect.signature(kind).parameters.items() if key not in OURS}
    given: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, (piece.strip() for piece in rest.split(","))):
        before, sign, value = (piece.strip() for piece in part.partition("="))
        key = before if sign else key
        if key not in takes:
            meant = nearest(key or before, takes)
            meant = meant or next((one for one in takes if one.lower() == key.lower()), None)
            hint = f"Did you mean {meant!r}? " if meant else ""
            raise ReconError(f"The schedule {name} has no parameter {key or before!r}.", f"{hint}It takes {', '.join(takes)}.")
        if sign and key in given:
            raise ReconError(f"The schedule {name} is given {key} twice.", "Give it once.")
        given.setdefault(key, []).append(value if sign else before)
    return {key: one_value(f"{name}'s {key}", takes[key], words) for key, words in given.items()}


def one_value(what: str, one: inspect.Parameter, words: list[str]) -> Any:
    """A parameter's value as its annotation (its default, without one) says. Raises ReconError for any other."""
    said = type(one.default).__name__ if one.annotation is one.empty else str(one.annotation)
    if "Iterable" in said:
        return [whole(what, word) for word in words]
    if len(words) > 1:
        raise ReconError(f"{what} is one value; found {','.join(words)!r}.", f"Write {one.name}={words[0]}, say.")
    (word,) = words
    if isinstance(one.default, bool):
        if word.lower() not in ("true", "false"):
            raise ReconError(f"{what} is true or false; found {word!r}.", f"Write {one.name}=true, say.")
        return word.lower() == "true"
    if isinstance(one.default, str):
        if (choices := re.findall(r"['\"](\w+)['\"]", said)) and word not in choices:
            raise unknown(f"choice of {what}", word, choices)
        return word
    return whole(what, word) if "int" in said and "float" not in said else as_number(what, word)


def whole(what: str, word: str) -> int:
    """A whole number, or a ReconError."""
    if (value := as_number(what, word, "30")) != int(value):
        raise ReconError(f"{what} must be a whole number; found {word!r}.", "Give one, such as 30.")
    return int(value)


class Scheduler:
    """Sets the learning rate of every step of a run of ``steps`` an epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: str, lr: float, epochs: int, steps: int) -> None:
        self.optimizer, self.lr, self.schedule = optimizer, lr, Schedule.parse(schedule)
        self.torchs = self.schedule.make(optimizer, lr, epochs, steps) if self.schedule.kind else None
        self.every, self.total = 1 if self.schedule.each_step else steps, epochs * steps

    def __call__(self, step: int) -> None:
        """Before step number ``step`` of the run, from 0."""
        if self.torchs is None:
            if self.schedule.name != "constant":
                for group in self.optimizer.param_groups:
                    group["lr"] = self.lr * SCHEDULES[self.schedule.name](step / self.total)
        elif step and step % self.every == 0 and not self.schedule.judges:
            self.torchs.step()

    def after(self, objective: float) -> None:
        """Once an epoch is whole: what a plateau is of."""
        if self.schedule.judges:
            self.torchs.step(objective)

    def pack(self) -> dict[str, Any]:
        """As JSON: the numbers of torch's scheduler, and what it has set in the optimizer."""
        if self.torchs is None:
            return {}
        state = {name: value for name, value in self.torchs.state_dict().items() if simple(value)}
        names = ("lr", "momentum", "betas")
        return {"state": state, "groups": [{name: group[name] for name in names if name in group} for group in self.groups]}

    def unpack(self, packed: dict[str, Any]) -> None:
        """Where :meth:`pack` left it; after the optimizer's own state."""
        if self.torchs is None:
            return
        self.torchs.load_state_dict({**self.torchs.state_dict(), **packed["state"]})
        for group, was in zip(self.groups, packed["groups"], strict=True):
            group.update({name: tuple(value) if isinstance(value, list) else value for name, value in was.items()})
        self.optimizer._opt_called = True  # type: ignore[attr-defined]  # it was, in another process

    @property
    def rate(self) -> float:
        """As it is now."""
        return float(self.groups[0]["lr"])

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's."""
        return self.optimizer.param_groups


def simple(value: Any) -> bool:
    """Whether JSON has it."""
    if isinstance(value, list):
        return all(map(simple, value))
    return value is None or isinstance(value, (bool, int, float, str))
