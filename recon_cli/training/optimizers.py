"""Torch's optimizers, with nothing around their steps that is for torch's compiler or its profiler."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import nn

    from recon_cli.training.settings import Settings

UNFIT = ("optimizer", "lbfgs", "muon", "sparseadam")  # need a closure, matrices only, sparse gradients


def optimizers() -> dict[str, type[torch.optim.Optimizer]]:
    """Return torch's optimizers by name in lower case: those that train any dense parameter from one gradient."""
    classes = {name.lower(): kind for name, kind in vars(torch.optim).items() if isinstance(kind, type)}
    return {name: kind for name, kind in classes.items() if issubclass(kind, torch.optim.Optimizer) and name not in UNFIT}


def bare(kind: type[torch.optim.Optimizer]) -> type[torch.optim.Optimizer]:
    """Return an optimizer whose methods are those of ``kind`` as torch wrote them, without what torch has put around them.

    That is for its compiler, which is loaded for it (more than a second), for its profiler, and for hooks: of which there are
    none here.
    """
    methods = {name: inspect.unwrap(method) for name, method in inspect.getmembers(kind, inspect.isfunction)}
    return type(kind.__name__, (kind,), {name: method for name, method in methods.items() if method is not getattr(kind, name)})


@torch.no_grad()
def step(optimizer: torch.optim.Optimizer) -> None:
    """Make the optimizer's step from the gradients that are there; torch wraps that of every class when it is first made."""
    inspect.unwrap(type(optimizer).step)(optimizer)


def optimizer_of(model: nn.Module, noise: nn.Module, settings: Settings) -> torch.optim.Optimizer:
    """Return the optimizer that was asked for, over network and noise; no weight decay pulls the noise towards 1."""
    groups: list[dict[str, Any]] = [{"params": [*model.parameters()]}]
    takes = inspect.signature(settings.optimizer_class).parameters
    if "weight_decay" in takes and settings.optimizer_options.get("weight_decay", takes["weight_decay"].default):
        groups.append({"params": [*noise.parameters()], "weight_decay": 0.0})
    else:  # one group is one call
        groups[0]["params"] += noise.parameters()
    fused = "fused" in takes and next(model.parameters()).device.type in ("cpu", "cuda")
    return settings.new_optimizer(groups, **({"fused": True} if fused else {}))
