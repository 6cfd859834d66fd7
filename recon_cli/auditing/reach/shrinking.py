"""A step's loss replayed on part of its batch, of a sample or of the latents: how the gradients grow with that size, measured.

What is written as a number stays what it was: this is of the operations alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from torch import Tensor

from recon_cli.auditing.reach.cutting import Cut
from recon_cli.auditing.reach.parts import LiveStep
from recon_cli.auditing.reach.recording import Recorded
from recon_cli.auditing.scaling import power

SHAPED = {"view", "_unsafe_view", "reshape", "_reshape_alias", "expand"}  # whose second argument is a shape
AxisOf: TypeAlias = Callable[[int], "int | None"]  # of a tensor, by its number, the axis of which a part is taken


def batch_powers(step: LiveStep, outputs: Collection[int], batch: int) -> dict[int, float | None]:
    """Return d log gradient / d log B for some outputs, from half of the batch; None where that cannot be replayed."""
    rows = {step.cut.shapes[n][0] for n in step.cut.leaves if step.cut.shapes[n] and step.cut.shapes[n][0] % batch == 0}

    def axis(number: int) -> int | None:
        shape = step.cut.shapes[number]
        if number in step.cut.parameters or not shape:
            return None
        return 0 if shape[0] in rows else 1 if len(shape) > 1 and shape[1] == batch else None

    return powers(step, outputs, batch, axis)


def element_powers(step: LiveStep, outputs: Sequence[int], others: Collection[int]) -> dict[int, float | None]:
    """Return d log gradient / d log of a sample's size for outputs of one shape, from half of each axis, which agree.

    others
        the outputs that are of another kind, as latents beside reconstructions are.
    """
    shape = step.cut.shapes[outputs[0]] if outputs else ()
    if any(step.cut.shapes[n] != shape for n in outputs):
        return dict.fromkeys(outputs)
    apart = {step.cut.shapes[n] for n in others}
    results = []
    for at in range(1 - len(shape), 0):

        def axis(number: int, at: int = at) -> int | None:
            own = step.cut.shapes[number]
            return len(own) + at if len(own) >= -at and own[at] == shape[at] and own not in apart else None

        results += [powers(step, outputs, shape[at], axis)] if shape[at] > 1 else []
    agreed = {n: {each[n] for each in results} for n in outputs}
    return {n: each.pop() if len(each) == 1 else None for n, each in agreed.items()}


def powers(step: LiveStep, outputs: Collection[int], size: int, axis: AxisOf) -> dict[int, float | None]:
    """Return d log gradient / d log size for outputs, from half of an axis; None where the gradients are no one multiple."""
    loss, fixed = step.cut, {n: step.values[n] for n in step.cut.noise}
    nothing: dict[int, float | None] = dict.fromkeys(outputs)
    if size < 2:
        return nothing

    def part(number: int, tensor: Tensor) -> Tensor:
        at = axis(number)
        return tensor if at is None else tensor.narrow(at, 0, tensor.shape[at] // size * (size // 2)).contiguous()

    smaller = {n: part(n, value) for n, value in step.values.items() if n in loss.shapes}
    path = [resized(operation, loss, size) for operation in loss.path]
    try:
        whole = step.gradients(fixed)
        less = LiveStep(replace(loss, path=path), smaller).gradients({n: smaller[n] for n in fixed})
    except Exception:  # its shapes are written otherwise
        return nothing
    return {n: power_of(part(n, whole[n]), less[n], size) for n in outputs}


def power_of(whole: Tensor, less: Tensor, size: int) -> float | None:
    """Return the power by which one gradient is a multiple of another, of half the size; None where it is no clear one."""
    if whole.shape != less.shape or not bool(whole.any()):
        return None
    factor = ((less * whole).sum() / (whole * whole).sum()).item()
    if bool((less - factor * whole).abs().max() > 1e-7 * less.abs().max()) or factor <= 0:
        return None
    exponent = power(factor, 1.0, (size // 2) / size)
    return exponent if exponent is not None and exponent == round(exponent) else None


def resized(operation: Recorded, loss: Cut, size: int) -> Recorded:
    """Return an operation that takes half of a size: where a shape is written, the first that goes with what it is given."""
    if operation.name not in SHAPED:
        return operation

    def call(tensor: Tensor, _shape: Sequence[int], *rest: Any, **more: Any) -> Any:
        old = loss.shapes[operation.made[0]]
        for new in (old, *smaller(old, size)):
            try:
                return operation.function(tensor, [*new], *rest, **more)
            except RuntimeError:
                continue
        raise ValueError("no shape goes with it")

    return replace(operation, function=NamedCall(operation.function, call))


class NamedCall:
    """A function under the name of an operation of torch."""

    def __init__(self, operation: Any, call: Callable[..., Any]) -> None:
        self.operation, self.call = operation, call

    def __str__(self) -> str:
        return str(self.operation)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.call(*args, **kwargs)


def smaller(shape: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """Return a shape with one axis halved that is that size, or else a multiple of it."""
    axes = [i for i, n in enumerate(shape) if n == size] + [i for i, n in enumerate(shape) if n > size and n % size == 0]
    return [(*shape[:i], shape[i] // size * (size // 2), *shape[i + 1 :]) for i in axes]
