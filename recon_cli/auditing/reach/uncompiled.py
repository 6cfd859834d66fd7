"""Torch's optimizers without its compiler, which each of them imports in order to hide from it: that takes a second and more."""

from __future__ import annotations

import contextlib
import functools
import inspect
import sys
from collections.abc import Callable, Iterator
from typing import Any

import torch

COMPILER = "torch._dynamo"


@contextlib.contextmanager
def optimizers_without_compiler() -> Iterator[None]:
    """Have no optimizer of torch's import the compiler meanwhile; where something has imported it, leave them as they are.

    For code in which nothing is compiled: outside the compiler what they call in it does nothing.
    """
    spared = [] if COMPILER in sys.modules else [*spared_methods()]
    for kind, name, _, method in spared:
        setattr(kind, name, method)
    try:
        yield
    finally:
        for kind, name, before, method in spared:
            if vars(kind).get(name) is method:  # not where torch has wrapped it for hooks, which an optimizer relies on
                setattr(kind, name, before)


def spared_methods() -> Iterator[tuple[type, str, Callable[..., Any], Callable[..., Any]]]:
    """Yield each method that imports the compiler: its class, its name, itself, and what does the same without."""
    for kind in {each for each in vars(torch.optim).values() if inspect.isclass(each)}:
        for name, method in [*vars(kind).items()]:
            if inspect.isfunction(method) and imports_compiler(method):
                yield kind, name, method, spared(method)


def imports_compiler(function: Any) -> bool:
    """Whether a wrapper of torch's around a method imports the compiler at each call."""
    return hasattr(function, "__wrapped__") and COMPILER in function.__code__.co_names


def spared(method: Callable[..., Any]) -> Callable[..., Any]:
    """Return what ``method`` does where nothing is compiled: a step still sets whether gradients are recorded."""
    inside: Callable[..., Any] = inspect.unwrap(method, stop=lambda each: not imports_compiler(each))
    if "set_grad_enabled" not in method.__code__.co_names:
        return inside

    @functools.wraps(inside)
    def step(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
        with torch.set_grad_enabled(self.defaults["differentiable"]):
            return inside(self, *args, **kwargs)

    return step
