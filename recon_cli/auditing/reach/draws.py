"""Data as they are compared: draws of the latents that meet the same data over and over count as one; and signs.

The average of some draws is one reconstruction; each alone would weigh a part of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.reach.cutting import varied
from recon_cli.auditing.reach.parts import Compared, LiveStep
from recon_cli.auditing.reach.recording import Recorded, Value

Copying = tuple[Any, tuple[Any, ...]]  # an operation of torch that copies a batch, and what it is given beside
ATEN: Any = torch.ops.aten


def folded(step: LiveStep, pairs: Sequence[Compared], batch: int) -> tuple[LiveStep, int]:
    """Return a step in which draws of one output that are compared with copies of the data are one, and how many they were."""
    most = 1
    for pair in pairs:
        shape, target = step.cut.shapes[pair.output], step.values[pair.target]
        if tuple(target.shape) != shape or not varied(target):
            continue
        for copying, part, count in copies(target, batch):
            step, most = with_copies(with_copies(step, pair.output, copying, part), pair.target, copying, part), max(most, count)
            break
    return step, most


def upright(step: LiveStep, pairs: Sequence[Compared]) -> LiveStep:
    """Return a step whose data are what its outputs come to rest at, where what is added to these has the other sign."""
    for pair in pairs:
        if pair.classes is None and not step.vanishes(pair.output, pair.target) and step.vanishes(pair.output, pair.target, -1.0):
            step = with_copies(step, pair.target, (ATEN.neg.default, ()), -step.values[pair.target])
    return step


def copies(data: Tensor, batch: int) -> list[tuple[Copying, Tensor, int]]:
    """Return how data are made of a batch of them: along a first or a second axis, batch by batch, or row by row."""
    rows, *rest = data.shape or (0,)
    ways: list[tuple[Copying, Tensor, int]] = []
    if rest and rest[0] == batch and rows > 1 and rows != batch:
        ways.append(((ATEN.expand.default, ([*data.shape],)), data[0], rows))
    if rows == batch and data.ndim in (3, 5) and rest[0] > 1:  # of four axes the second has the channels, alike in grey images
        ways.append(((ATEN.expand.default, ([*data.shape],)), data[:, :1], rest[0]))
    if rows > batch and rows % batch == 0:
        count = rows // batch
        ways.append(((ATEN.repeat.default, ([count, *(1 for _ in rest)],)), data[:batch], count))
        ways.append(((ATEN.repeat_interleave.self_int, (count, 0)), data[::count], count))
    return [(copying, part, count) for copying, part, count in ways if bool((copying[0](part, *copying[1]) == data).all())]


def with_copies(step: LiveStep, number: int, copying: Copying, part: Tensor) -> LiveStep:
    """Return a step in which a tensor is made of a smaller one, by copying it."""
    cut = step.cut
    if number not in (*cut.leaves, *cut.constants):  # done with another output
        return step
    new = max(cut.shapes) + 1
    made = Recorded(copying[0], (Value(new), *copying[1]), {}, (number,), "")
    shape = tuple(part.shape)
    small = part if number in cut.constants else first(step.values[number], copying, shape)
    values = {n: value for n, value in step.values.items() if n != number} | {new: small.clone()}

    def renamed(numbers: Sequence[int]) -> list[int]:
        return [new if n == number else n for n in numbers]

    cut = replace(
        cut, leaves=renamed(cut.leaves), constants=renamed(cut.constants), path=[made, *cut.path],
        shapes={**cut.shapes, new: shape}, behind={new if n == number else n: others for n, others in cut.behind.items()},
    )  # fmt: skip
    return replace(step, cut=cut, values=values)


def first(value: Tensor, copying: Copying, shape: tuple[int, ...]) -> Tensor:
    """Return the first draw of each sample."""
    if copying[0] is ATEN.expand.default:
        return value[0] if len(shape) < value.ndim else value[:, :1]
    return value[: shape[0]] if copying[0] is ATEN.repeat.default else value[:: value.shape[0] // shape[0]]
