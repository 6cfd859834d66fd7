"""A training step, watched: every operation on what the network computes, and every loss that is derived.

Operations on data alone are not kept: what they make is a constant of the step. Nothing is kept when watching ends.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten

from recon_cli.auditing.lines import OURS, TORCH, shortened

RANDOM = {"randn_like", "rand_like", "randint_like", "bernoulli", "normal", "randn", "rand", "multinomial", "normal_functional"}
EMPTY = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


@dataclass(frozen=True)
class Operation:
    """One operation: what is called with which arguments (tensors by number), what it made, and where that is written."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    made: tuple[int, ...]
    site: str

    @property
    def name(self) -> str:
        """The operation's name in torch, without its overload."""
        return str(self.function).split(".")[1]


@dataclass(frozen=True)
class Value:
    """A tensor of the step by its number."""

    number: int


@dataclass
class Tape:
    """What was recorded: operations in their order, tensors by number, which of them are parameters and standard normal noise."""

    operations: list[Operation] = field(default_factory=list)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    parameters: set[int] = field(default_factory=set)
    noise: set[int] = field(default_factory=set)
    maker: dict[int, int] = field(default_factory=dict)  # number of a tensor to the index of its operation


@dataclass(frozen=True)
class Derived:
    """A loss that was derived, at a line, and how often by then; ``tape`` is what was recorded until then."""

    loss: int
    site: str
    tape: Tape


class Finished(BaseException):
    """One iteration has shown every loss: no ``except Exception`` of the script's own catches this."""


class Recorder(TorchDispatchMode):
    """Records operations on what depends on parameters."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.tape = Tape()
        self.numbers: dict[int, int] = {}
        self.recording = True

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor, a new one if it has none; what is derived by and made by nothing is a parameter."""
        key = id(tensor)
        if key not in self.numbers:
            self.numbers[key] = self.new(tensor)
            if tensor.requires_grad and tensor.is_leaf:
                self.tape.parameters.add(self.numbers[key])
        return self.numbers[key]

    def new(self, tensor: Tensor) -> int:
        """Keep a tensor, so that its identity is used once, and return its number."""
        number = len(self.tape.tensors)
        self.tape.tensors[number] = tensor
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not self.recording:
            return result
        inputs = [part for part in tree_flatten((args, kwargs))[0] if isinstance(part, Tensor)]
        live = [part for part in inputs if self.depends(part)]
        name = str(func).split(".")[1]
        outputs = [part for part in tree_flatten(result)[0] if isinstance(part, Tensor)]
        if name in RANDOM or (name in ("normal_", "randn") and outputs):
            if name in ("randn_like", "randn", "normal_"):
                self.tape.noise.update(self.number(part) for part in outputs)
            return result
        if not live or not outputs or name in EMPTY:
            return result
        spelled = self.spelled(args), {key: self.spelled(value) for key, value in kwargs.items()}
        made = []
        for part in outputs:  # what is made in place is another value of the same tensor
            self.numbers[id(part)] = self.new(part)
            made.append(self.numbers[id(part)])
            self.tape.maker[made[-1]] = len(self.tape.operations)
        self.tape.operations.append(Operation(func, *spelled, tuple(made), site(2)))
        return result

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, or made of one."""
        number = self.numbers.get(id(tensor))
        if number is None:
            return tensor.requires_grad and tensor.is_leaf
        return number in self.tape.maker or number in self.tape.parameters

    def spelled(self, part: Any) -> Any:
        """Return an argument with tensors by their numbers."""
        if isinstance(part, Tensor):
            return Value(self.number(part))
        if isinstance(part, (list, tuple)):
            return [self.spelled(each) for each in part]
        return part


def site(depth: int) -> str:
    """Return FILE:LINE of the code outside torch and recon that is running."""
    frame = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((OURS, TORCH)) and not file.startswith("<"):
            return f"{shortened(file)}:{frame.f_lineno}"
        frame = frame.f_back  # type: ignore[assignment]
    return ""


class Watching:
    """Watches what runs within: the losses that it derives, until one iteration has shown each site once.

    ``stop`` ends the code by raising Finished when a site comes again; else it goes on, unwatched.
    """

    def __init__(self, iteration: int = 1, stop: bool = False) -> None:
        self.iteration, self.stop = iteration, stop
        self.losses: list[Derived] = []
        self.counts: dict[str, int] = {}
        self.recorder = Recorder()
        self.before: dict[str, Any] = {}
        self.over = False
        self.thread = threading.get_ident()

    def __enter__(self) -> Watching:
        self.before = {
            "backward": Tensor.backward,
            "all": torch.autograd.backward,
            "grad": torch.autograd.grad,
            "compile": torch.compile,
        }
        Tensor.backward = self.watched(Tensor.backward, lambda args: args[0])  # type: ignore[method-assign]
        torch.autograd.backward = self.watched(torch.autograd.backward, lambda args: args[0])
        torch.autograd.grad = self.watched(torch.autograd.grad, lambda args: args[0])
        torch.compile = uncompiled
        self.recorder.__enter__()  # type: ignore[no-untyped-call]
        return self

    def __exit__(self, *error: Any) -> None:
        self.recorder.__exit__(*error)  # type: ignore[no-untyped-call]
        Tensor.backward, torch.autograd.backward = self.before["backward"], self.before["all"]  # type: ignore[method-assign]
        torch.autograd.grad, torch.compile = self.before["grad"], self.before["compile"]

    def watched(self, call: Callable[..., Any], loss_of: Callable[..., Any]) -> Callable[..., Any]:
        """Return a call that derives, which is recorded and itself records nothing."""

        def derive(*args: Any, **kwargs: Any) -> Any:
            if not self.recorder.recording:
                return call(*args, **kwargs)
            loss = loss_of(args) if args else kwargs.get("tensors", kwargs.get("outputs"))
            loss = loss[0] if isinstance(loss, (list, tuple)) and loss else loss
            self.derived(loss, site(2))
            self.recorder.recording = False
            try:
                return call(*args, **kwargs)
            finally:
                self.recorder.recording = not self.over

        return derive

    def derived(self, loss: Any, where: str) -> None:
        """Keep a loss that is derived, at the iteration that is looked at; end when its site has been there before."""
        self.counts[where] = self.counts.get(where, 0) + 1
        if self.counts[where] > self.iteration:
            self.over, self.recorder.recording = True, False
            if self.stop:
                raise Finished
        elif self.counts[where] == self.iteration and isinstance(loss, Tensor):
            self.losses.append(Derived(self.recorder.number(loss), where, self.recorder.tape))
        elif self.counts[where] < self.iteration:  # of another iteration: what was recorded is not needed
            self.recorder.tape, self.recorder.numbers = Tape(), {}


def uncompiled(model: Any = None, **_: Any) -> Any:
    """Return what torch.compile is given: a step is watched as it is written."""
    return (lambda each: each) if model is None else model
