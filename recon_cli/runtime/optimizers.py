"""Torch's optimizers without what it puts around their methods: for its compiler, which they import, a second and more; hooks."""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch


UNFIT = ("optimizer", "lbfgs", "muon", "sparseadam")  # need a closure, matrices only, sparse gradients


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Return torch's optimizers by name in lower case: those that train any dense parameter from one gradient."""
    import torch

    known: Mapping[str, Any] = vars(torch.optim)
    return {each.lower(): kind for each, kind in known.items() if isinstance(kind, type) and each.lower() not in UNFIT}


def plain_methods(kind: type[torch.optim.Optimizer]) -> dict[str, Callable[..., Any]]:
    """Return those methods of an optimizer that torch has put something around, as it wrote them; a step records no gradient."""
    import torch

    def recording(step: Callable[..., Any]) -> Callable[..., Any]:
        def plain(self: torch.optim.Optimizer, *args: Any, **kwargs: Any) -> Any:
            with torch.set_grad_enabled(self.defaults.get("differentiable", False)):
                return step(self, *args, **kwargs)

        return plain

    methods = {name: inspect.unwrap(each) for name, each in inspect.getmembers(kind, inspect.isfunction)}
    changed = {name: each for name, each in methods.items() if each is not getattr(kind, name)}
    return {name: recording(each) if name == "step" else each for name, each in changed.items()}


def bare(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimizer whose methods are those of ``kind`` as torch wrote them, for a training without hooks."""
    methods = plain_methods(kind)
    methods["step"].__dict__["hooked"] = True  # so that torch leaves it as it is
    return type(kind.__name__, (kind,), methods)


def fuses(kind: type[torch.optim.Optimizer], device: torch.device) -> bool:
    """Return whether torch makes an optimizer's step in one pass over all parameters on a device: not all that say so do."""
    import torch

    if "fused" not in inspect.signature(kind).parameters or device.type not in ("cpu", "cuda"):
        return False
    if device.type == "cpu":
        return True
    part = torch.zeros(1, device=device, requires_grad=True)
    part.grad = torch.zeros_like(part)
    try:
        new: Any = bare(kind)
        new([part], lr=1.0, fused=True).step()
    except RuntimeError:
        return False
    return True


@contextlib.contextmanager
def optimizers_without_compiler() -> Iterator[None]:
    """Have no optimizer of torch's import the compiler meanwhile; where something has imported it, leave them as they are.

    For code in which nothing is compiled: outside the compiler what they call in it does nothing.
    """
    import torch

    known: list[Any] = [*vars(torch.optim).values()] if "torch._dynamo" not in sys.modules else []
    kinds = {each for each in known if isinstance(each, type)}
    spared = [(kind, name, each) for kind in kinds for name, each in plain_methods(kind).items() if name in vars(kind)]
    before = [vars(kind)[name] for kind, name, _ in spared]
    for change in spared:
        setattr(*change)
    try:
        yield
    finally:
        for (kind, name, method), own in zip(spared, before, strict=True):
            if vars(kind).get(name) is method:  # not where torch has wrapped it for hooks, which an optimizer relies on
                setattr(kind, name, own)
