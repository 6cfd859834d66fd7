"""A step made plain: a prior that is learned becomes N(0, 1), draws that meet the same data count as one, data have their sign.

Where the loss is the KL to a prior of a network's own, or of parameters, its mean and scale are read, and set. The average of
some draws is one reconstruction; each alone would weigh a part of it. What is left is the problem of every other step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus

from recon_cli.auditing.divergence import Gaussians
from recon_cli.auditing.latent_fields import DEVIATION, PRIOR, Deviation
from recon_cli.auditing.probes import generator
from recon_cli.auditing.reach.cutting import varied
from recon_cli.auditing.reach.parts import Compared, LiveStep
from recon_cli.auditing.reach.recording import Recorded, Value, operations
from recon_cli.identity.shapes import spell

DEVIATIONS: dict[str, Deviation] = {**DEVIATION, "softplus": softplus, "softplus of the variance": lambda s: softplus(s).sqrt()}
UNIT = {**PRIOR, **dict.fromkeys(("softplus", "softplus of the variance"), math.log(math.e - 1))}
MOST = 4  # tensors of two Gaussians
Copying = tuple[Any, tuple[Any, ...]]  # an operation of torch that copies a batch, and what it is given beside
ATEN: Any = torch.ops.aten


def with_priors(step: LiveStep) -> tuple[LiveStep, list[str]]:
    """Return a step with its learned priors set to N(0, 1), and what is to be said of that.

    Outputs that stand in one term with three or more tensors, and are no such KL, become ``obscure``.
    """
    cut = step.cut
    learned = [n for n in (*cut.leaves, *cut.parameters) if step.values[n].is_floating_point() and step.values[n].numel() > 1]
    if len(learned) < MOST:  # an output beside them is compared with data
        return step, []
    every = LiveStep(replace(cut, leaves=learned, parameters=[n for n in cut.parameters if n not in learned]), step.values)
    fixed: dict[int, Tensor] = {}
    obscure: list[frozenset[int]] = []
    notes: list[str] = []
    for group in groups(every, learned):
        prior = read(every, group) if len(group) <= MOST else None
        if prior is None:
            obscure.append(frozenset(group))
            continue
        pair, kind = prior
        fixed[pair.width] = torch.full_like(step.values[pair.width], UNIT[kind])
        if pair.centre is not None:
            fixed[pair.centre] = torch.zeros_like(step.values[pair.centre])
        what = f"mean and scale, {spell(tuple(step.values[pair.width].shape))}"
        notes.append(f"The prior of the latents is learned ({what}), and the loss has the KL to it; here it is set to N(0, 1).")
    cut = replace(
        cut, leaves=[n for n in cut.leaves if n not in fixed], parameters=[n for n in cut.parameters if n not in fixed],
        constants=[*cut.constants, *fixed],
    )  # fmt: skip
    return LiveStep(cut, {**step.values, **fixed}, tuple(obscure)), [*dict.fromkeys(notes)]


def groups(step: LiveStep, learned: Sequence[int]) -> Iterator[set[int]]:
    """Yield the tensors that stand in one term, where they are three or more and no data are in it."""
    near: dict[int, set[int]] = {n: {n} for n in learned}
    for number in learned:
        for other in step.moved(number):
            together = near[number] | near[other]
            near.update(dict.fromkeys(together, together))
    data = [n for n in step.cut.constants if n not in step.cut.noise and varied(step.values[n])]
    of_data = {output for n in data for output in step.moved(n)}
    for group in {frozenset(each) for each in near.values()}:
        if len(group) > 2 and not group & of_data:
            yield {*group}


def read(step: LiveStep, group: set[int]) -> tuple[Gaussians, str] | None:
    """Return which tensor of a group is what, and the meaning of the prior's scale, where its term is the KL of two Gaussians.

    Their gradients say so, near where they are. The posterior is the one that other outputs are made of.
    """
    values = dict(step.values)
    for number in group:
        value = values[number]
        values[number] = value * (1 + 0.3 * torch.rand(value.shape, generator=generator(number), dtype=value.dtype))
    measured = step.gradients({**values, **{n: step.values[n] for n in step.cut.noise}})
    noise = [n for n in step.cut.noise if spreads_by(step, n, group)]
    for order in itertools.permutations(sorted(group)):
        mean, scale, width, *centre = order
        pair = Gaussians(mean, scale, centre[0] if centre else None, width)
        size = values[scale].numel()
        if values[mean].numel() != size or any(size % values[n].numel() for n in order) or not is_posterior(step, group, pair):
            continue
        draws = [None, *(step.values[n] for n in noise if step.values[n].shape == values[mean].shape)]
        for kind, prior_kind, draw in itertools.product(DEVIATIONS, DEVIATIONS, draws):
            if pair.fit(DEVIATIONS[kind], DEVIATIONS[prior_kind], {n: values[n] for n in order}, measured, draw):
                return pair, prior_kind
    return None


def spreads_by(step: LiveStep, noise: int, group: set[int]) -> bool:
    """Whether noise is multiplied by what is made of some outputs."""
    steps = zip(step.cut.path, operations(step.cut.path, dict.fromkeys(group, "")), strict=True)
    return any(taken.reads and noise in recorded.inputs for recorded, taken in steps)


def is_posterior(step: LiveStep, group: set[int], pair: Gaussians) -> bool:
    """Whether the scale is that of the Gaussian that is drawn from: others are made of it, and of the prior only by way of it."""
    behind = step.cut.behind
    others = [made_of for leaf, made_of in behind.items() if leaf not in group]
    of_prior = any(pair.width in made_of for made_of in others) and pair.width not in behind.get(pair.scale, ())
    return any(pair.scale in made_of for made_of in others) and not of_prior


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
