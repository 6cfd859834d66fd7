"""Functions of JAX arrays as functions of torch tensors: jax.vjp behind a torch.autograd.Function, where JAX is installed."""

from __future__ import annotations

import contextlib
import functools
import importlib
import importlib.metadata
import inspect
import re
import types
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import handle_torch_function, has_torch_function
from torch.utils import _pytree as pytree

from recon_cli.auditing.reach.patterns import OTHERS

LIBRARIES = [root for root, library in OTHERS.items() if library in ("JAX", "Flax")]  # whose functions take JAX's arrays


def installed() -> bool:
    """Whether there is a JAX to call, and no file of that name."""
    return any(True for _ in importlib.metadata.distributions(name="jax"))


def library_of(function: object, depth: int = 3) -> str:
    """Return the library whose modules, functions or classes a function reads, or a function that it names; empty for none."""
    code: object = inspect.unwrap(function) if callable(function) else function
    scope: Mapping[str, object] = getattr(code, "__globals__", {})
    for name in getattr(getattr(code, "__code__", None), "co_names", ()):
        if root := root_of(value := scope.get(name)):
            return root
        if depth and callable(value) and (root := library_of(value, depth - 1)):
            return root
    return ""


def root_of(value: object) -> str:
    """Return the library that something is of; empty where of none of these."""
    module = value.__name__ if isinstance(value, types.ModuleType) else getattr(value, "__module__", None)
    root = module.partition(".")[0] if isinstance(module, str) else ""
    return root if root in LIBRARIES else ""


def is_bridged(function: object) -> bool:
    """Whether a function is one of JAX arrays behind a bridge."""
    while function is not None and not getattr(function, "of_jax", False):
        function = getattr(function, "__wrapped__", None)
    return function is not None


def bridged(function: Callable[..., object]) -> Callable[..., object]:
    """Return a function of JAX arrays as one of torch tensors, in nested tuples, lists and dictionaries too; with gradients."""

    @functools.wraps(function)
    def bridge(*args: object, **keywords: object) -> object:
        leaves, tree = pytree.tree_flatten((args, keywords))
        tensors = tuple(leaf for leaf in leaves if isinstance(leaf, Tensor))
        if any("_trace" in tensor.__dict__ for tensor in tensors):  # stand-ins, that only record what is asked of them
            with contextlib.suppress(Exception):
                return traceable(inspect.unwrap(function), {})(*args, **keywords)
        if has_torch_function(tensors):
            return handle_torch_function(bridge, tensors, *args, **keywords)
        floats = [i for i, leaf in enumerate(leaves) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
        shape: list[object] = []

        def called(*values: object) -> list[object]:
            """Return the arrays that come back of these in the places of float tensors, and keep how they are laid."""
            given = [arrays(leaf) if isinstance(leaf, Tensor) else leaf for leaf in leaves]
            for i, value in zip(floats, values, strict=True):
                given[i] = value
            own, keys = pytree.tree_unflatten(given, tree)
            made, kept = jax().tree_util.tree_flatten(function(*own, **keys))
            shape[:] = [kept]
            return list(made)

        results = Vjp.apply(called, *(leaves[i] for i in floats))  # type: ignore[no-untyped-call]
        return jax().tree_util.tree_unflatten(shape[0], results)

    bridge.__dict__["of_jax"] = True
    return bridge


class Named:
    """Stands for a module or function of JAX's: an operation of torch by its name, where it takes stand-ins."""

    def __init__(self, real: object, name: str) -> None:
        self.real, self.name = real, name

    def __getattr__(self, name: str) -> object:
        value = getattr(self.real, name)
        return Named(value, name) if callable(value) or isinstance(value, types.ModuleType) else value

    def __call__(self, *args: object, **keywords: object) -> object:
        inside: Any = [leaf for leaf in pytree.tree_leaves((args, keywords)) if isinstance(leaf, Tensor)]
        real: Any = self.real
        if not inside:
            value = real(*args, **keywords)
            return Named(value, self.name) if callable(value) else value
        return inside[0]._trace.operate(NAMES.get(self.name, self.name), args, keywords)


NAMES = {"take_along_axis": "take_along_dim"}  # what torch calls otherwise


def traceable(function: Callable[..., object], known: dict[object, Callable[..., object]]) -> Callable[..., object]:
    """Return a function, and those of its file that it names, with stand-ins for what is JAX's."""
    plain: Any = inspect.unwrap(function)
    if plain not in known:
        scope = dict(plain.__globals__)
        known[plain] = types.FunctionType(plain.__code__, scope, plain.__name__, plain.__defaults__, plain.__closure__)
        known[plain].__kwdefaults__ = plain.__kwdefaults__
        for name in plain.__code__.co_names:
            value: object = inspect.unwrap(scope[name]) if callable(scope.get(name)) else scope.get(name)
            if root_of(value):
                scope[name] = Named(value, name)
            elif isinstance(value, types.FunctionType):
                scope[name] = traceable(value, known)
    return known[plain]


def keys_of(names: Iterable[str]) -> dict[str, object]:
    """Return a random key for every argument that is called one."""
    keys = [name for name in names if re.fullmatch(r"(prng|rng|random)?_?(key|rng)", name)]
    return {name: jax().random.PRNGKey(0) for name in keys}


def jax() -> Any:
    """Return the module, imported at first need."""
    return importlib.import_module("jax")


def double() -> Any:
    """Return a context in which JAX computes in the type that it is given, float64 too."""
    return jax().enable_x64(True) if hasattr(jax(), "enable_x64") else importlib.import_module("jax.experimental").enable_x64()


def arrays(tensor: Tensor) -> object:
    """Return a tensor as an array."""
    return jax().numpy.asarray(tensor.detach().cpu().numpy())


def tensor_of(array: object) -> Tensor:
    """Return an array as a tensor."""
    return torch.from_numpy(importlib.import_module("numpy").array(array))


class Vjp(torch.autograd.Function):
    """Calls a function of arrays; its derivative is JAX's own."""

    @staticmethod
    def forward(ctx: Any, called: Callable[..., list[object]], *values: Tensor) -> tuple[Tensor, ...]:
        """Return what comes back, as tensors."""
        with double():
            made, ctx.pull = jax().vjp(called, *map(arrays, values))
            return tuple(map(tensor_of, made))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradient by each value."""
        with double():
            return (None, *map(tensor_of, ctx.pull([arrays(grad) for grad in grads])))
