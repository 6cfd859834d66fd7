"""A training step, recorded: every operation on what the network computes.

Operations on data alone are not kept: what they make is a constant of the step.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType, MappingProxyType
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from recon_cli.auditing import watching
from recon_cli.auditing.limiting import OURS
from recon_cli.auditing.restoring import folder
from recon_cli.runtime import torch_state

TORCH = str(Path(torch.__file__).parent)
PASSING = {__file__, watching.__file__, torch_state.__file__}  # modes of recon's, between torch and the code that called it
RANDOM = {"randn_like", "rand_like", "randint_like", "bernoulli", "normal", "randn", "rand", "multinomial", "normal_functional"}
NUMBER = "_local_scalar_dense"  # what ``item`` is to torch
NORMAL = {"randn_like", "randn", "normal_"}
EMPTY = {"zeros_like", "ones_like", "full_like", "empty_like", "new_zeros", "new_ones", "new_full", "new_empty"}


@dataclass(frozen=True)
class Recorded:
    """One operation: what is called with which arguments (tensors by number), what it made, and where that is written."""

    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    made: tuple[int, ...]
    site: str
    derives: bool = True  # whether gradients go through it
    aliases: tuple[tuple[int, int], ...] = ()  # numbers, new and old, of what lies where it has written

    @property
    def name(self) -> str:
        """The operation's name in torch, without its overload."""
        return name_of(getattr(self.function, "operation", self.function))

    @functools.cached_property
    def inputs(self) -> list[int]:
        """The numbers of the tensors that it takes, or writes over by way of others."""
        return [*numbers((self.arguments, self.keywords)), *(old for _, old in self.aliases)]


@dataclass(frozen=True)
class Operation:
    """One operation: its name in torch, the named tensors whose values it takes in, where it is written."""

    name: str
    reads: frozenset[str]
    site: str


@dataclass(frozen=True)
class Value:
    """A tensor of the step by its number."""

    number: int


@dataclass
class Tape:
    """What was recorded: operations in their order, tensors by number, which of them are parameters and standard normal noise."""

    operations: list[Recorded] = field(default_factory=list)
    tensors: dict[int, Tensor] = field(default_factory=dict)
    parameters: set[int] = field(default_factory=set)
    noise: set[int] = field(default_factory=set)
    foreign: set[int] = field(default_factory=set)  # what was computed, with a gradient, before recording began
    maker: dict[int, int] = field(default_factory=dict)  # number of a tensor to the index of its operation


class Recorder(TorchDispatchMode):
    """Records operations on what depends on parameters; of a function, with ``files`` as ``site`` takes them."""

    def __init__(self, files: Mapping[str, str] | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.files = files
        self.tape = Tape()
        self.numbers: dict[int, int] = {}
        self.draws: dict[Any, Tensor] = {}  # what is standard normal, by where it lies: an identity does not outlive its call
        self.alive: list[Tensor] = []  # so that no identity is used twice
        self.lying: dict[int, dict[int, Tensor]] = {}  # those that have numbers, by the memory that they are in
        self.recording = True

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing is compiled while it records, and to say so to torch's compiler takes a second, to import it."""
        return False

    def forget(self) -> None:
        """Let go of all that was recorded."""
        self.tape, self.numbers, self.draws, self.alive, self.lying = Tape(), {}, {}, [], {}

    def number(self, tensor: Tensor) -> int:
        """Return the number of a tensor, a new one if it has none; what is derived by and made by nothing is a parameter."""
        key = id(tensor)
        if key not in self.numbers:
            self.numbers[key] = self.new(tensor)
            if tensor.requires_grad and tensor.is_leaf:
                self.tape.parameters.add(self.numbers[key])
            elif tensor.requires_grad:
                self.tape.foreign.add(self.numbers[key])
            elif place(tensor) in self.draws:
                self.tape.noise.add(self.numbers[key])
        return self.numbers[key]

    def new(self, tensor: Tensor) -> int:
        """Keep a tensor, so that its identity is used once, and return its number."""
        number = len(self.tape.tensors)
        self.tape.tensors[number] = tensor
        self.lying.setdefault(memory(tensor), {})[id(tensor)] = tensor
        return number

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name, mutable = described(func)
        if not self.recording or (mutable and self.is_update(args)):
            return func(*args, **kwargs)
        written = self.written(args) if mutable else []
        self.keep(written)
        result = func(*args, **kwargs)
        live = any(self.depends(part) for part in tensors(args)) or bool(kwargs and any(map(self.depends, tensors(kwargs))))
        if name in RANDOM or name == "normal_":
            if name in NORMAL and (name != "normal_" or tuple(args[1:]) in ((), (0, 1)) and not kwargs):
                for part in tensors(result):  # what is written to counts that when the call is over
                    self.draws[place(part, after=name == "normal_")] = part
            return result
        outputs = [*tensors(result)] if live and name not in EMPTY else []
        if not outputs and not (live and name == NUMBER):
            if mutable:  # data that are written to are others from here on
                for part in written:
                    self.numbers.pop(id(part), None)
            return result
        spelled = self.spelled(args), {key: self.spelled(value) for key, value in kwargs.items()}
        own = {id(part) for part in outputs}
        others = [(part, self.numbers[id(part)]) for part in written if id(part) in self.numbers and id(part) not in own]
        made = []
        for part in (*outputs, *(part for part, _ in others)):  # what is made in place is another value of the same tensor
            self.numbers[id(part)] = self.new(part)
            made.append(self.numbers[id(part)])
            self.tape.maker[made[-1]] = len(self.tape.operations)
        aliases = zip(made[len(outputs) :], (old for _, old in others), strict=True)
        self.tape.operations.append(
            Recorded(func, *spelled, tuple(made), site(self.files), torch.is_grad_enabled(), tuple(aliases))
        )
        return result

    def written(self, args: Any) -> list[Tensor]:
        """Return what an operation writes to: its first argument, and what that is a view of, where operations have made it."""
        first = {id(part): part for part in tensors(args[:1])}
        beside = {key: each for part in first.values() for key, each in self.lying.get(memory(part), {}).items()}
        whole = {key: each for key, each in beside.items() if self.numbers.get(key) in self.tape.maker and not each._is_view()}
        return [*(first | whole).values()]

    def is_update(self, args: Any) -> bool:
        """Whether parameters are written to, without a gradient: an optimizer's step, which is no part of a loss."""
        return not torch.is_grad_enabled() and any(part.is_leaf and part.requires_grad for part in tensors(args[:1]))

    def keep(self, parts: Sequence[Tensor]) -> None:
        """Keep what tensors are before they are written to, where a number has been given to that."""
        for part in [part for part in parts if id(part) in self.numbers]:
            number = self.numbers[id(part)]
            maker = self.tape.maker.get(number)
            if maker is None or number not in dict(self.tape.operations[maker].aliases):  # else it was kept as that began
                self.alive.append(part)
                self.tape.tensors[number] = part.detach().clone()

    def depends(self, tensor: Tensor) -> bool:
        """Whether a tensor is a parameter, or made of one."""
        number = self.numbers.get(id(tensor))
        if number is None:
            return tensor.requires_grad
        return number in self.tape.maker or number in self.tape.parameters or number in self.tape.foreign

    def spelled(self, part: Any) -> Any:
        """Return an argument with tensors by their numbers."""
        if isinstance(part, Tensor):
            return Value(self.number(part))
        if isinstance(part, (list, tuple)):
            return [self.spelled(each) for each in part]
        return part


def numbers(part: Any) -> Iterator[int]:
    """Yield the numbers of the tensors in an argument."""
    if isinstance(part, Value):
        yield part.number
    elif isinstance(part, dict):
        yield from numbers(list(part.values()))
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from numbers(each)


@functools.cache
def described(function: Any) -> tuple[str, bool]:
    """Return the name of an operation of torch, without its overload, and whether it writes to what it is given."""
    return name_of(function), function._schema.is_mutable


@functools.lru_cache(maxsize=4096)
def name_of(function: Any) -> str:
    """Return the name of an operation of torch, without its overload."""
    return str(function).split(".")[1]


def tensors(part: Any) -> Iterator[Tensor]:
    """Yield the tensors in what an operation takes or makes."""
    if isinstance(part, Tensor):
        yield part
    elif isinstance(part, (list, tuple)):
        for each in part:
            yield from tensors(each)
    elif isinstance(part, dict):
        yield from tensors([*part.values()])


def memory(tensor: Tensor) -> int:
    """Return the memory that a tensor is in, which its views share."""
    try:
        return int(tensor.untyped_storage()._cdata)
    except (RuntimeError, NotImplementedError):  # of a kind that lies nowhere
        return id(tensor)


def place(tensor: Tensor, after: bool = False) -> Any:
    """Return where a tensor's numbers lie, how many they are, and how often it has been written to."""
    try:
        return tensor.data_ptr(), tuple(tensor.shape), tensor._version + after
    except RuntimeError:  # of a kind that lies nowhere
        return id(tensor)


def site(files: Mapping[str, str] | None = None) -> str:
    """Return FILE:LINE of the code that called torch, empty where recon did.

    ``files`` are names for files by those that Python runs them by; without it what has no file is passed over.
    """
    frame: FrameType | None = sys._getframe(2)
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in PASSING and not file.startswith(TORCH) and not (files is None and file.startswith("<")):
            return "" if file.startswith(OURS) else line_of(frame, files or {})
        frame = frame.f_back
    return ""


def operations(recorded: Iterable[Recorded], names: Mapping[int, str]) -> Iterator[Operation]:
    """Yield each operation with which of some tensors it takes in, as they are or by way of others."""
    reads = {number: frozenset({name}) for number, name in names.items()}
    for each in recorded:
        taken = frozenset().union(*(reads.get(number, frozenset()) for number in each.inputs))
        reads.update((number, reads.get(number, frozenset()) | taken) for number in each.made)
        yield Operation(each.name, taken, each.site)


def derivation_site(depth: int) -> tuple[str, bool]:
    """Return FILE:LINE of the user's code that derives a loss, libraries left out; and whether it calls for that itself.

    It does not where a trainer of some library does: then its line is that which starts the trainer.
    """
    running = [*frames(depth + 1)]
    own = next((each for each in running if not is_library(each.f_code.co_filename)), None)
    direct = own is None or own is running[0] or any("backward" in name for name in own.f_code.co_names)
    return line_of(own or running[0] if running else None), direct


def frames(depth: int) -> Iterator[FrameType]:
    """Yield what is running outside torch and recon, from within."""
    frame: FrameType | None = sys._getframe(depth)
    while frame is not None:
        file = frame.f_code.co_filename
        if not file.startswith((OURS, TORCH)) and not file.startswith("<"):
            yield frame
        frame = frame.f_back


def variables(frame: FrameType) -> list[tuple[str, int]]:
    """Return the name and the identity of every tensor that running code has a name for.

    Before Python 3.13 a function's variables are copied to a dictionary that the frame keeps: it is emptied, so that nothing
    lives longer for having been looked at, unless the code itself has it, from ``locals()``.
    """
    copy = frame.f_locals
    named = [(name, id(value)) for name, value in copy.items() if isinstance(value, Tensor) and name.isidentifier()]
    if type(copy) is dict and frame.f_code.co_flags & inspect.CO_OPTIMIZED and sys.getrefcount(copy) <= 3:
        copy.clear()
    return named


def line_of(frame: FrameType | None, files: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return FILE:LINE of what is running."""
    file = "" if frame is None else frame.f_code.co_filename
    return f"{files.get(file) or shortened(file, folder())}:{frame.f_lineno}" if frame is not None else ""


@functools.lru_cache(maxsize=256)
def shortened(file: str, here: str | None) -> str:
    """Return a file as it is seen from a folder, where it is below that."""
    return str(Path(file).relative_to(here)) if here is not None and Path(file).is_relative_to(here) else file


def is_library(place: str) -> bool:
    """Whether a file is of an installed library."""
    return "site-packages" in place or "dist-packages" in place
