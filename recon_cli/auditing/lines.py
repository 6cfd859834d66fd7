"""At which lines of the user's code what happens to which tensors, from one call: so that a finding can point at its line."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils import _pytree as pytree

from recon_cli.auditing import watching
from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.limiting import OURS
from recon_cli.auditing.probes import benign

Shapes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
TORCH = str(Path(torch.__file__).parent)
PASSING = {__file__, watching.__file__}  # modes of recon's, between torch and the code that called it
REDUCING = frozenset({
    "mean", "sum", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "cross_entropy", "nll_loss", "poisson_nll_loss", "gaussian_nll_loss", "kl_div",
})  # fmt: skip


@dataclass(frozen=True)
class Operation:
    """One operation: its name in torch, the arguments whose values it takes in, where it is written."""

    name: str
    reads: frozenset[str]
    site: str


class LineTrace(TorchFunctionMode):
    """Follows tensors through a call: each operation, what it depends on, and its line."""

    def __init__(self, leaves: Values, files: Mapping[str, str]) -> None:
        super().__init__()
        self.files = files
        self.alive: list[object] = [*leaves.values()]  # so that no identity is used twice
        self.reads = {id(value): frozenset({key}) for key, value in leaves.items()}
        self.steps: list[Operation] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        inputs = tensors(args, kwargs)
        reads = frozenset().union(*(self.reads.get(id(part), frozenset()) for part in inputs))
        if not reads:
            return result
        name = getattr(func, "__name__", "")
        for part in tensors(result, args[:1] if name.endswith("_") else ()):
            self.reads[id(part)] = self.reads.get(id(part), frozenset()) | reads
            self.alive.append(part)
        if site := self.site():
            self.steps.append(Operation(name, reads, site))
        return result

    def site(self) -> str:
        """Return FILE:LINE of the user's code that called torch; empty where recon did."""
        frame = sys._getframe(2)
        while frame is not None:
            file = frame.f_code.co_filename
            if file not in PASSING and not file.startswith(TORCH):
                return "" if file.startswith(OURS) else f"{self.files.get(file) or shortened(file)}:{frame.f_lineno}"
            frame = frame.f_back  # type: ignore[assignment]
        return ""


def tensors(*parts: object) -> list[Tensor]:
    """Return the tensors in nested sequences and dictionaries."""
    return [leaf for leaf in pytree.tree_leaves(parts) if isinstance(leaf, Tensor)]


def shortened(file: str) -> str:
    """Return a file as it is seen from the working directory, where it is below that."""
    try:
        return str(Path(file).relative_to(Path.cwd()))
    except (OSError, ValueError):
        return file


def followed(problem: Problem, files: Mapping[str, str]) -> tuple[tuple[Operation, ...], Shapes | None]:
    """Return the operations of one call in their order, none where it is refused; and shapes that are added although they differ.

    These are of a reconstruction and a latent term; None where there are none.
    """
    fixed = {slot.key for slot in problem.plan.role("target")}
    values = benign(problem).items()
    leaves = {key: value.clone().requires_grad_(value.is_floating_point() and key not in fixed) for key, value in values}
    trace = LineTrace(leaves, files)
    try:
        with trace:
            problem(leaves)
    except Exception:  # of the user's code: without lines the audit says the same
        trace.steps.clear()
    return tuple(trace.steps), next(iter(problem.watch.broadcasts), None)


def defined_at(code: object, files: Mapping[str, str]) -> str:
    """Return FILE:LINE of a function; empty where it has no source file."""
    plain = getattr(code, "__code__", None)
    if (
        plain is None
        or plain.co_filename.startswith((OURS, TORCH))
        or (plain.co_filename not in files and not Path(plain.co_filename).exists())
    ):
        return ""
    return f"{files.get(plain.co_filename) or shortened(plain.co_filename)}:{plain.co_firstlineno}"
