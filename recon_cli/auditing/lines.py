"""At which lines of the user's code what happens to which tensors, from one call: so that a finding can point at its line."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.limiting import OURS
from recon_cli.auditing.probes import benign
from recon_cli.auditing.reach.recording import TORCH, Operation, Recorder, operations, shortened

Shapes: TypeAlias = tuple[tuple[int, ...], tuple[int, ...]]
REDUCING = frozenset({
    "mean", "sum", "mse_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy", "binary_cross_entropy_with_logits",
    "nll_loss_forward", "nll_loss2d_forward",
})  # fmt: skip


def followed(problem: Problem, files: Mapping[str, str]) -> tuple[tuple[Operation, ...], Shapes | None]:
    """Return the operations of one call in their order, none where it is refused; and shapes that are added although they differ.

    These are of a reconstruction and a latent term; None where there are none.
    """
    fixed = {slot.key for slot in problem.plan.role("target")}
    values = benign(problem).items()
    leaves = {key: value.clone().requires_grad_(value.is_floating_point() and key not in fixed) for key, value in values}
    recorder = Recorder(files)
    names = {recorder.number(leaf): key for key, leaf in leaves.items()}
    recorder.tape.parameters |= names.keys()
    try:
        with recorder:
            problem(leaves)
    except Exception:  # of the user's code: without lines the audit says the same
        recorder.forget()
    steps = (step for step in operations(recorder.tape.operations, names) if step.reads and step.site)
    return tuple(steps), next(iter(problem.watch.broadcasts), None)


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
