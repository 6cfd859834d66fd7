"""A prior of the latents that is learned, by a network of its own or as parameters: where the loss is the KL to it, it is read.

Then the prior's mean and scale are set to those of N(0, 1), and what is left is the problem of every other step.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import softplus

from recon_cli.auditing.divergence import DEVIATION, PRIOR, Gaussians
from recon_cli.auditing.latent_fields import Deviation
from recon_cli.auditing.probes import generator
from recon_cli.auditing.reach.cutting import varied
from recon_cli.auditing.reach.parts import LiveStep
from recon_cli.auditing.reach.recording import operations
from recon_cli.identity.shapes import spell

DEVIATIONS: dict[str, Deviation] = {**DEVIATION, "softplus": softplus, "softplus of the variance": lambda s: softplus(s).sqrt()}
UNIT = {**PRIOR, **dict.fromkeys(("softplus", "softplus of the variance"), math.log(math.e - 1))}
MOST = 4  # tensors of two Gaussians


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
    before = step.gradients({})
    near: dict[int, set[int]] = {n: {n} for n in learned}
    for number in learned:
        every = torch.ones_like(step.values[number], dtype=torch.bool)
        for other in step.moved(before, number, every):
            together = near[number] | near[other]
            near.update(dict.fromkeys(together, together))
    of_data: set[int] = set()
    for number in step.cut.constants:
        if number not in step.cut.noise and varied(step.values[number]):
            of_data |= {*step.moved(before, number, torch.ones_like(step.values[number], dtype=torch.bool))}
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
