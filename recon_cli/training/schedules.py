"""The learning rate from step to step: three of recon's own, and torch's schedulers by name."""

from __future__ import annotations

import inspect
import math
from collections import abc
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, get_args, get_origin, get_type_hints

import torch
from torch.optim import lr_scheduler

from recon_cli.errors import ReconError, nearest, unknown
from recon_cli.identity.parametric import as_number

Value: TypeAlias = "float | str | list[int]"

SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda _: 1.0,
    "linear": lambda done: 1 - done,
    "cosine": lambda done: (1 + math.cos(math.pi * done)) / 2,
}
# Bases; those that take functions, or others.
UNFIT = ("lrscheduler", "_lrscheduler", "lambda", "multiplicative", "sequential", "chainedscheduler")
OURS = ("optimizer", "last_epoch", "verbose", "scale_fn", "total_steps", "epochs", "steps_per_epoch")  # known, or functions
RATES = ("max_lr", "base_lr", "eta_min", "min_lr")
EXAMPLES = {"gamma": "0.97", "step_size": "30", "milestones": "30,60", "T_0": "10", "max_lr": "0.01"}
TRIED = 20  # units of a schedule, before anything is trained
REFUSALS = (ValueError, TypeError, ArithmeticError, RuntimeError, AssertionError)


def kinds() -> dict[str, type[Any]]:
    """Return torch's schedulers by name in lower case, without their LR: ``exponential``, ``onecycle``, ``plateau``."""
    classes = {short(name): kind for name, kind in vars(lr_scheduler).items() if isinstance(kind, type)}
    return {name: kind for name, kind in classes.items() if issubclass(kind, lr_scheduler.LRScheduler) and name not in UNFIT}


def short(name: str) -> str:
    """Return ``ExponentialLR`` as one writes it."""
    return name.lower().removeprefix("reducelron").removesuffix("lr")


@dataclass(frozen=True)
class Schedule:
    """``NAME[:PARAM=VALUE,...]`` read: one of recon's own (no ``kind``), or torch's and its options."""

    name: str
    kind: type[Any] | None
    options: dict[str, Value]

    @classmethod
    def parse(cls, text: str) -> Schedule:
        """Return the schedule. Raises ReconError for a name or a parameter that there is not, and for a value of another kind."""
        word, _, rest = text.strip().partition(":")
        name, classes = word.strip().lower(), kinds()
        if name in SCHEDULES and not rest.strip():
            return cls(name, None, {})
        name = name if name in classes else short(name)
        if name in SCHEDULES and name not in classes:
            raise ReconError(f"The schedule {name} takes no parameters.", f"Write --schedule {name} alone.")
        if name not in classes:
            raise unknown("schedule", word, {**SCHEDULES, **classes})
        return cls(name, classes[name], options_of(name, classes[name], rest))

    @property
    def takes(self) -> Mapping[str, inspect.Parameter]:
        """What torch's scheduler takes."""
        return inspect.signature(self.kind).parameters if self.kind else {}

    @property
    def each_step(self) -> bool:
        """Whether its lengths are steps; else they are epochs."""
        return not {"total_steps", "step_size_up"}.isdisjoint(self.takes)

    @property
    def judges(self) -> bool:
        """Whether it looks at the objective."""
        return self.name == "plateau"

    @property
    def endless(self) -> bool:
        """Whether it is the same for a run of more epochs."""
        return self.name == "constant" if self.kind is None else not self.lengths(1, 1).keys() - self.options.keys()

    def lengths(self, epochs: int, steps: int) -> dict[str, int]:
        """Return how long the run is, as far as it asks: T_max and total_steps, and where it falls to 0 total_iters."""
        lengths = {"T_max": epochs, "total_steps": epochs * steps}
        lengths |= {"total_iters": epochs} if self.kind is lr_scheduler.PolynomialLR else {}
        return {name: value for name, value in lengths.items() if name in self.takes}

    def scaled(self, factor: float) -> str:
        """Return the same, of a learning rate times ``factor``, as on the command line."""
        parts = []
        for name, value in self.options.items():
            value = value * factor if name in RATES and isinstance(value, float) else value
            parts.append(f"{name}={','.join(map(str, value)) if isinstance(value, list) else value}")
        return ":".join(filter(None, (self.name if parts or not self.kind else f"{self.name}lr", ",".join(parts))))

    def make(self, optimizer: torch.optim.Optimizer, lr: float, epochs: int, steps: int) -> Any:
        """Return torch's scheduler, given the run's length and learning rate where it asks; None of recon's own."""
        usual: dict[str, dict[str, Value]] = {
            "onecycle": {"max_lr": lr}, "cyclic": {"base_lr": lr}, "plateau": {"threshold_mode": "abs"},
        }  # fmt: skip
        options = {**self.lengths(epochs, steps), **usual.get(self.name, {}), **self.options}
        return self.kind(optimizer, **options) if self.kind else None

    def check(self, optimizer: torch.optim.Optimizer, lr: float, epochs: int) -> None:
        """Raise ReconError for what torch refuses, and for a learning rate below 0: its first few units are tried."""
        filled = {*self.options, *self.lengths(1, 1), "optimizer", {"onecycle": "max_lr", "cyclic": "base_lr"}.get(self.name)}
        for name, parameter in self.takes.items():
            if parameter.default is parameter.empty and name not in filled:
                way_out = f"Write --schedule {self.name}:{name}={EXAMPLES.get(name, '1')}, say."
                raise ReconError(f"The schedule {self.name} needs {name}.", way_out)
        try:
            scheduler = self.make(optimizer, lr, epochs, TRIED)
            optimizer.step()
            for _ in range(min(TRIED, epochs) - 1 if scheduler else 0):
                scheduler.step(*[0.0] * self.judges)
                if not all(0 <= float(group["lr"]) < math.inf for group in optimizer.param_groups):
                    raise ValueError(f"its learning rate becomes {float(optimizer.param_groups[0]['lr']):g}")
        except REFUSALS as error:
            why = " ".join(str(error).split()).rstrip(".")
            raise ReconError(f"The schedule {self.name} cannot be had: {why}.", "See torch.optim.lr_scheduler.") from error


def options_of(name: str, kind: type[Any], text: str) -> dict[str, Value]:
    """Return ``gamma=0.1,step_size=30`` as ``kind`` takes them; a part without = belongs to the list before it."""
    takes = {key: one for key, one in inspect.signature(kind).parameters.items() if key not in OURS}
    words: dict[str, list[str]] = {}
    key = ""
    for part in filter(None, (piece.strip() for piece in text.split(","))):
        before, sign, value = (piece.strip() for piece in part.partition("="))
        key = before if sign else key
        if key not in takes:
            meant = nearest(key or before, takes)
            hint = f"Did you mean {meant!r}? " if meant else ""
            raise ReconError(f"The schedule {name} has no parameter {key or before!r}.", f"{hint}It takes {', '.join(takes)}.")
        if sign and key in words:
            raise ReconError(f"The schedule {name} is given {key} twice.", "Give it once.")
        words.setdefault(key, []).append(value if sign else before)
    types = get_type_hints(kind.__init__, localns=vars(abc))  # some of whose names torch imports for type checkers alone
    return {key: value_of(name, key, types.get(key, type(takes[key].default)), parts) for key, parts in words.items()}


def value_of(name: str, key: str, type_: Any, words: list[str]) -> Value:
    """Return a parameter's value as its type has it. Raises ReconError for any other."""
    what, choices = f"{name}'s {key}", get_args(type_)
    is_number = type_ not in (bool, str) and get_origin(type_) is not Literal
    is_whole = is_number and float not in (type_, *choices)
    numbers = [as_number(what, word, "30" if is_whole else "0.5") for word in words] if is_number else []
    if is_whole:
        for word, number in zip(words, numbers, strict=True):
            if number != int(number):
                raise ReconError(f"{what} must be a whole number; found {word!r}.", "Give one, such as 30.")
        numbers = [int(number) for number in numbers]
    if get_origin(type_) is Iterable:
        return [int(number) for number in numbers]
    if len(words) > 1:
        raise ReconError(f"{what} is one value; found {','.join(words)!r}.", f"Write {key}={words[0]}, say.")
    (word,) = words
    if type_ is bool and word.lower() not in ("true", "false"):
        raise ReconError(f"{what} is true or false; found {word!r}.", f"Write {key}=true, say.")
    if get_origin(type_) is Literal and word not in choices:
        raise unknown(f"choice of {what}", word, choices)
    return numbers[0] if numbers else word.lower() == "true" if type_ is bool else word


class Scheduler:
    """Sets the learning rate of every step of a run of ``steps`` an epoch."""

    def __init__(self, optimizer: torch.optim.Optimizer, schedule: str, lr: float, epochs: int, steps: int) -> None:
        self.optimizer, self.lr, self.schedule = optimizer, lr, Schedule.parse(schedule)
        self.torchs = self.schedule.make(optimizer, lr, epochs, steps)
        vars(optimizer)["_opt_called"] = True  # as it will be when the schedule goes on, though past torch's wrapper of its step
        self.every, self.total = 1 if self.schedule.each_step else steps, epochs * steps

    def __call__(self, step: int) -> None:
        """Set the rate before step number ``step`` of the run, from 0."""
        if self.torchs is None:
            if self.schedule.name != "constant":
                for group in self.groups:
                    group["lr"] = self.lr * SCHEDULES[self.schedule.name](step / self.total)
        elif step and step % self.every == 0 and not self.schedule.judges:
            self.torchs.step()

    def after(self, objective: float) -> None:
        """Look at what a plateau is of, once an epoch is whole."""
        if self.schedule.judges:
            self.torchs.step(objective)

    def pack(self) -> dict[str, Any]:
        """Return as JSON the numbers of torch's scheduler, and what it has set in the optimizer."""
        if self.torchs is None:
            return {}
        state = {name: value for name, value in self.torchs.state_dict().items() if is_simple(value)}
        names = ("lr", "momentum", "betas")
        return {"state": state, "groups": [{name: group[name] for name in names if name in group} for group in self.groups]}

    def unpack(self, packed: Mapping[str, Any]) -> None:
        """Go on from where :meth:`pack` left it; after the optimizer's own state."""
        if self.torchs is None:
            return
        self.torchs.load_state_dict({**self.torchs.state_dict(), **packed["state"]})
        for group, was in zip(self.groups, packed["groups"], strict=True):
            group.update({name: tuple(value) if isinstance(value, list) else value for name, value in was.items()})

    @property
    def rate(self) -> float:
        """The learning rate as it is now."""
        return float(self.groups[0]["lr"])

    @property
    def groups(self) -> list[dict[str, Any]]:
        """The optimizer's."""
        return self.optimizer.param_groups


def is_simple(value: object) -> bool:
    """Return whether JSON has it."""
    if isinstance(value, list):
        return all(map(is_simple, value))
    return value is None or isinstance(value, (bool, int, float, str))
