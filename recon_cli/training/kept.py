"""The gradient of a batch as native code: made once for an architecture, a likelihood and a loss, and kept.

The next run loads it within milliseconds (:mod:`recon_cli.runtime.kernels`), without torch's compiler, of which the import alone
takes longer than an epoch.
"""

from __future__ import annotations

import functools
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.fx.experimental.proxy_tensor import make_fx

from recon_cli.errors import Remark
from recon_cli.runtime import checksums, kernels
from recon_cli.runtime.devices import Uncompiled, loading_options, vector_options
from recon_cli.runtime.kernels import Description
from recon_cli.training.graph import Graph

if TYPE_CHECKING:
    from recon_cli.training.loop import State

SOURCES = ("identity", "likelihoods", "numerics", "models", "runtime", "training")
READ = ("free_bits", "bf16")  # of the settings: by a batch's objective
Run = Callable[..., tuple[Sequence[Tensor], Tensor]]


class Unsaid(Exception):
    """Something on which a gradient depends, and of which not all can be said."""


class Gradient:
    """The gradient of a batch of ``state``: by the library that is kept for it, or made at the first batch.

    Or ``otherwise``, where not all of recon's own can be said that it depends on, or the compiler makes no library of it.
    """

    def __init__(self, state: State, otherwise: Run) -> None:
        self.objective, self.otherwise = bare(state), otherwise
        self.graph = Graph(state.model, state.noise, self.objective.objective)
        self.run: Run | None = None

    def __call__(self, parts: Sequence[Tensor], x: Tensor, eps: Tensor, weight: Tensor) -> tuple[Sequence[Tensor], Tensor]:
        """Return the gradient for each of ``parts``, and nll, KL and noise: as :meth:`Graph.gradient`."""
        if self.run is None:
            self.shape, self.run = x.shape, self.begin(x, eps, weight)
        return (self.run if x.shape == self.shape else self.otherwise)(parts, x, eps, weight)  # a library asks no shapes

    def begin(self, *batch: Tensor) -> Run:
        """Return what computes it, of batches such as this one."""
        buffers = [*self.graph.buffers()]
        inputs = [*self.graph.parameters(), *buffers, *batch]
        try:
            description = self.description(inputs)
            make = functools.partial(self.library, description, inputs)
            kernel, notes = kernels.loaded_or_made(description, make, "the gradient of a batch")
        except (Unsaid, Uncompiled):
            return self.otherwise
        for note in notes:
            warnings.warn(note, Remark, stacklevel=2)
        run = kernel.results

        def gradient(parts: Sequence[Tensor], *batch: Tensor) -> tuple[Sequence[Tensor], Tensor]:
            *slopes, figures = run(*parts, *buffers, *batch)
            return slopes, figures

        return gradient

    def library(self, description: Description, inputs: Sequence[Tensor]) -> bytes:
        """Return the library as it is made. Raises Uncompiled where that fails, or has failed today."""
        if kernels.tried(description):
            raise Uncompiled(RuntimeError("it failed today"))
        try:
            return make(self.graph, inputs)
        except Uncompiled:
            kernels.first_today(description)
            raise

    def description(self, inputs: Sequence[Tensor]) -> Description:
        """Return everything that the library depends on. Raises Unsaid."""
        given = {name: value for name, value in vars(self.objective).items() if name != "precision"}  # which bf16 says
        saying = Saying([*self.graph.parameters(), *self.graph.buffers()])
        return {
            "what": "gradient", "model": type(self.objective.model).__name__, "noise": type(self.objective.noise).__name__,
            "objective": checksums.digest(repr(saying.of(given)).encode()),
            "inputs": [f"{str(each.dtype)[6:]} {[*each.shape]}" for each in inputs],
            "default": str(torch.get_default_dtype()), "deterministic": torch.are_deterministic_algorithms_enabled(),
            "source": kernels.source(*SOURCES), **kernels.surroundings(),
        }  # fmt: skip


def bare(state: State) -> Any:
    """Return ``state`` with what is said of it in a description, and nothing else: what else it asked for would not be there."""
    settings = types.SimpleNamespace(**{name: getattr(state.settings, name) for name in READ})
    left: Any = object.__new__(type(state))
    parts = {name: getattr(state, name) for name in ("model", "noise", "loss", "precision")}
    vars(left).update(parts, settings=settings)
    return left


class Saying:
    """Says what things are in full, in words and numbers: all their fields, and theirs. Of ``inputs``, which each is."""

    def __init__(self, inputs: Sequence[Tensor]) -> None:
        self.places = {id(each): f"input {place}" for place, each in enumerate(inputs)}

    def of(self, value: Any) -> object:
        """Return what a value is. Raises Unsaid for what is not recon's, torch's layers or plain."""
        if id(value) in self.places:
            return self.places[id(value)]
        if value is None or isinstance(value, (bool, int, float, str, bytes, torch.dtype)):
            return value
        if isinstance(value, (list, tuple)):
            return [type(value).__name__, *map(self.of, value)]
        if isinstance(value, Mapping):
            return [type(value).__name__, *((self.of(name), self.of(each)) for name, each in value.items())]
        if isinstance(value, (set, frozenset)) and not value:
            return "nothing"
        self.places[id(value)] = f"the same as {len(self.places)}"
        if isinstance(value, type):
            return known(value)
        if isinstance(value, types.MethodType):
            return [self.of(value.__func__), self.of(value.__self__)]
        if isinstance(value, types.FunctionType):
            return self.of_function(value)
        kind = known(type(value))
        plain = kind.startswith("recon_cli.") or isinstance(value, (nn.Module, types.SimpleNamespace))
        if not plain or any(vars(each).get("__slots__") for each in type(value).__mro__):
            raise Unsaid(kind)
        return [kind, self.of(vars(value))]

    def of_function(self, value: types.FunctionType) -> object:
        """Return what a function is: where it is written, which one it is there, and what it has from around it."""
        code = value.__code__
        plain = [each for each in code.co_consts if not isinstance(each, types.CodeType)]
        around = [cell.cell_contents for cell in value.__closure__ or ()]
        return [
            ours(value.__module__), value.__qualname__, code.co_firstlineno, code.co_code, code.co_names, repr(plain),
            self.of(value.__defaults__), self.of(value.__kwdefaults__), self.of(around),
        ]  # fmt: skip


def known(kind: type) -> str:
    """Return the name by which a class is found, and no other. Raises Unsaid where there is none, or it is somebody's own."""
    place: Any = sys.modules.get(ours(kind.__module__))
    for name in kind.__qualname__.split("."):
        place = getattr(place, name, None)
    if place is not kind:
        raise Unsaid(kind.__qualname__)
    return f"{kind.__module__}.{kind.__qualname__}"


def ours(module: str) -> str:
    """Return the name of a module whose code a description names: recon's, or torch's. Raises Unsaid for another."""
    if module.split(".")[0] not in ("recon_cli", "torch", "builtins", "types"):
        raise Unsaid(module)
    return module


def make(graph: Graph, inputs: Sequence[Tensor]) -> bytes:
    """Return the library that torch's compiler makes of a gradient: of parameters, buffers and a batch. Raises Uncompiled."""
    count = len([*graph.parameters()])

    def flat(*tensors: Tensor) -> list[Tensor]:
        x, eps, weight = tensors[-3:]
        slopes, figures = graph.gradient(tensors[:count], x, eps, weight, tensors[count:-3])
        return [*slopes, figures]

    class Flat(nn.Module):
        def forward(self, *tensors: Tensor) -> Any:
            return traced(*tensors)

    given = tuple(each.detach().contiguous() for each in inputs)
    try:
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            with compiling():
                traced = make_fx(flat, tracing_mode="fake")(*given)
            traced.graph.eliminate_dead_code()
            module = torch.export.export(Flat(), given).module()
            return kernels.compiled_ahead(module, given, vector_options() | loading_options())
    except Exception as error:
        raise Uncompiled(error) from error


@contextmanager
def compiling() -> Iterator[None]:
    """Have everybody know meanwhile that values are not there to be looked at, as torch's compiler has it."""
    before = torch.compiler.is_compiling()
    setattr(torch.compiler, "_is_compiling_flag", True)  # noqa: B010  (which torch's types leave out)
    try:
        yield
    finally:
        setattr(torch.compiler, "_is_compiling_flag", before)  # noqa: B010
