"""What each output of the network is in a live step, by structure alone: compared with data, a spread, a latent, a score.

What is compared element by element with a constant is a reconstruction, what stands in a term of its own is a latent; a mean's
gradient is linear in itself. No name is looked at.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from recon_cli.auditing.discrete import fitted, readings
from recon_cli.auditing.norms import is_along
from recon_cli.auditing.probes import generator
from recon_cli.auditing.reach.cutting import Cut, varied
from recon_cli.auditing.remainders import is_score
from recon_cli.auditing.watching import seed

SMALL = 1e-9
FAR = 10.0  # beyond free nats and capacities


@dataclass(frozen=True)
class Compared:
    """An output of the network that is compared with a constant; the axis of its classes, where the constant labels them."""

    output: int
    target: int
    classes: int | None = None
    hot: bool = False


@dataclass
class Parts:
    """What the outputs are, by number; probs are logits of classes or bits, ``rest`` is what is none of these."""

    pairs: list[Compared]
    spreads: list[int]
    means: list[int]
    scales: list[int]
    scores: list[int] = field(default_factory=list)
    codes: list[int] = field(default_factory=list)
    labelled: list[int] = field(default_factory=list)  # compared with labels, beside what is compared with data
    shaping: list[int] = field(default_factory=list)  # of which the covariance of what is compared with data is made
    probs: list[int] = field(default_factory=list)
    rest: list[int] = field(default_factory=list)


@dataclass
class LiveStep:
    """A loss of a step, its tensors in float64 by number; ``obscure`` are those of one term each that was not read."""

    cut: Cut
    values: dict[int, Tensor]
    obscure: tuple[frozenset[int], ...] = ()

    @property
    def ignored(self) -> set[int]:
        """The labels that its losses leave out."""
        losses = [op for op in self.cut.path if op.name.startswith("nll_loss")]
        return {part for op in losses for part in op.arguments[4:5] if isinstance(part, int)}

    def gradients(self, changed: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the loss's gradient by every output, with some tensors changed."""
        values = {n: v for n, v in {**self.values, **changed}.items() if n not in self.cut.noise or n in changed}
        live = {n: values[n].clone().requires_grad_() for n in self.cut.leaves if values[n].is_floating_point()}
        seed()
        loss = self.cut.replay({**values, **live}).sum()
        grads = torch.autograd.grad(loss, [*live.values()], allow_unused=True)
        return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(live.items(), grads, strict=True)}

    @functools.cached_property
    def before(self) -> dict[int, Tensor]:
        """The gradients of the step as it is."""
        return self.gradients({})

    def pull(self, number: int, value: Tensor) -> Tensor:
        """Return the loss's gradient by one output where that has another value; nothing where that is refused."""
        try:
            return self.gradients({number: value})[number]
        except Exception:  # of the user's operations, at other values
            return torch.zeros_like(value)

    def moved(self, number: int, half: Tensor | None = None) -> dict[int, Tensor]:
        """Return which gradients are others when all, or half, of a tensor's elements are, of outputs that have any."""
        half = torch.ones_like(self.values[number], dtype=torch.bool) if half is None else half
        for value in turned(self.values[number], half, self.ignored):
            with contextlib.suppress(Exception):  # the change is refused
                after = self.gradients({number: value}).items()
                changes = {n: ~((grad - self.before[n]).abs() <= SMALL * self.before[n].abs().max()) for n, grad in after}
                if any(bool(changed.any()) for changed in changes.values()):
                    return {n: changed for n, changed in changes.items() if bool(changed.any())}
        return {}

    def vanishes(self, number: int, other: int, sign: float = 1.0) -> bool:
        """Whether an output's gradient is nothing where the output is the other tensor: then they are compared."""
        value, there = self.values[number], sign * self.values[other]
        if there.numel() != value.numel() or not there.is_floating_point():
            return False
        fixed = {other: self.values[other]} if other in self.cut.noise else {}
        grad = self.gradients({**fixed, number: there.reshape(value.shape)})[number]
        return is_nothing(grad, self.gradients(fixed)[number] if fixed else self.before[number])


def is_nothing(gradient: Tensor, beside: Tensor) -> bool:
    """Whether a gradient is no more than another one's rounding."""
    return float(gradient.abs().max()) <= SMALL * float(beside.abs().max())


def turned(value: Tensor, half: Tensor, ignored: Collection[int] = ()) -> list[Tensor]:
    """Return a tensor with half of its elements at the other end of its range; and, further off, on either side of it."""
    if value.dtype == torch.bool:
        return [value ^ half]
    if not value.is_floating_point():
        there = torch.tensor([label for label in value.unique().tolist() if label not in ignored], dtype=value.dtype)
        if len(there) < 2:  # labels that are there, for others may be none
            return [torch.where(half, value + 1, value)]
        at = torch.searchsorted(there, value.contiguous()).clamp(max=len(there) - 1)
        return [torch.where(half & torch.isin(value, there), there[(at + 1) % len(there)], value)]
    low, high = value.min(), value.max()
    width = (high - low) if high > low else torch.ones((), dtype=value.dtype)
    inside = low + high - value if high > low else 1 - value  # of a label, which may not be above 1
    return [torch.where(half, other, value) for other in (inside, high + 9 * width, low - 9 * width)]


def halved(value: Tensor, number: int = 7) -> Tensor:
    """Return which half of a tensor's elements is to be changed."""
    return torch.rand(value.shape, generator=generator(number)) < 0.5


def parts_of(step: LiveStep) -> Parts:
    """Return what each output of the network is."""
    # with a gradient, here or far from here, as a KL has beyond its free nats
    alive = [n for n, grad in step.before.items() if bool(grad.any()) or bool(step.pull(n, far(step.values[n])).any())]
    pairs = comparisons(step)
    weak = {pair.output for pair in pairs if not varied(step.values[pair.target])}  # a prior's zeros, a score's ones
    pairs = [pair for pair in pairs if varied(step.values[pair.target])]
    pairs, spreads, unclear = apart(step, pairs)
    outputs = {pair.output for pair in pairs} | {*spreads, *unclear}
    rest = [number for number in alive if number not in outputs]
    pulled = {n for pair in pairs for n in step.moved(pair.target)}
    mixed = [number for number in rest if number in pulled]  # data pull at them: they stand in no term of their own
    forms = len(pairs) == 1 and not spreads and not unclear and is_form(step, pairs[0].output, pairs[0].target)
    shaping = [n for n in mixed if forms and step.values[n].shape[:1] == step.values[pairs[0].output].shape[:1]]
    mixed += [n for n in alive if n in step.cut.foreign and step.values[n].numel() == 1]  # a term that came ready
    stopped = [n for n in step.cut.leaves if n not in alive and step.values[n].is_floating_point() and counts(step, n)]
    rest, mixed = [n for n in rest if n not in mixed], [n for n in mixed if n not in shaping]
    codes = coupled(step, rest)
    probs = [number for number in rest if number not in codes and is_discrete(step, number)]
    rest = [number for number in rest if number not in (*codes, *probs)]
    means, scales = latents_of(step, rest)
    scores = [n for n in rest if n in weak and n not in scales and not (n in means and scales)]
    scores += [n for n in means if not scales and n not in scores and not centred(step, n)]
    means = [n for n in means if n not in scores]
    if scores and rest and not means:  # without them the others may be latents
        means, scales = latents_of(step, [n for n in rest if n not in scores])
    scores = [n for n in scores if not {*step.moved(n)} & {*rest} - {n}]  # whose gradient is its own alone
    unknown = [n for n in rest if n not in (*means, *scales, *scores)]
    scores += [n for n in unknown if is_straight(step, n)]
    scores = [n for n in scores if is_score(functools.partial(step.pull, n), step.values[n].shape)]
    main = [pair for pair in pairs if pair.classes is None] or pairs[:1]
    labelled = [pair.output for pair in pairs if pair not in main]
    return Parts(
        main, spreads, means, scales, scores, codes, labelled, shaping,
        probs, [*unclear, *mixed, *stopped, *(n for n in rest if n not in (*means, *scales, *scores))],
    )  # fmt: skip


def with_targets(step: LiveStep) -> LiveStep:
    """Return the step without, among its noise, what an output is compared with: as a diffusion model's, and data drawn so."""
    targets = {n for n in step.cut.noise if any(step.vanishes(leaf, n) for leaf in step.cut.leaves)}
    return LiveStep(replace(step.cut, noise=step.cut.noise - targets), step.values) if targets else step


def counts(step: LiveStep, number: int) -> bool:
    """Whether an output moves the loss's value, which may be without a gradient: it is detached, or has one of its own making."""
    fixed = {n: value for n, value in step.values.items() if n in (*step.cut.leaves, *step.cut.constants)}
    try:
        here, there = (step.cut.replay({**fixed, number: by * step.values[number] + 1 - by}).sum() for by in (1.0, 0.5))
    except Exception:
        return False
    return bool((here - there).abs() > SMALL * here.abs())


def far(value: Tensor, by: float = FAR, number: int = 9) -> Tensor:
    """Return values that are normal and wide, for a tensor."""
    return by * torch.randn(value.shape, generator=generator(number), dtype=torch.float64)


def centred(step: LiveStep, number: int) -> bool:
    """Whether an output's gradient is nothing where the output is, as that of a mean whose prior's mean is 0."""
    value = step.values[number]
    return is_nothing(step.pull(number, torch.zeros_like(value)), step.pull(number, far(value)))


def is_straight(step: LiveStep, number: int) -> bool:
    """Whether a gradient is the same wherever the output is: a score of which the mean is taken."""
    grads = [step.pull(number, far(step.values[number], by)) for by in (1.0, 7.0)]
    return bool(grads[0].any()) and bool(((grads[0] - grads[1]).abs() <= 1e-9 * grads[0].abs().max()).all())


def comparisons(step: LiveStep) -> list[Compared]:
    """Return outputs that are compared with constants element by element; one for each output."""
    pairs: dict[int, Compared] = {}
    for number in step.cut.constants:
        value = step.values[number]
        if value.numel() < 2 or value.dtype == torch.bool or number in step.cut.noise:
            continue
        half = halved(value)
        for output, changed in step.moved(number, half).items():
            if weighs(step, number, output, changed, half):
                continue
            pair = paired(output, number, changed, half, value)
            if (
                pair is None
                and value.is_floating_point()
                and (is_along(step.before[output], step.values[output], value) or is_form(step, output, number))
            ):
                pair = Compared(output, number)
            if pair is not None and (output not in pairs or better(step, pair, pairs[output])):
                pairs[output] = pair
    return [*pairs.values()]


def better(step: LiveStep, pair: Compared, other: Compared) -> bool:
    """Whether a comparison explains its output more than another does: with data, where the output's gradient vanishes."""
    marks = [
        (varied(step.values[each.target]), each.classes is None and step.vanishes(each.output, each.target))
        for each in (pair, other)
    ]
    return marks[0] > marks[1]


def broadcast(step: LiveStep) -> list[tuple[int, int]]:
    """Return the outputs that meet constants of more elements, which each of theirs is compared with many of."""
    sizes = {n: value.numel() for n, value in step.values.items()}
    data = [n for n in step.cut.constants if step.values[n].is_floating_point() and varied(step.values[n])]
    return [(output, n) for n in data for output in step.moved(n) if 1 < sizes[output] < sizes[n]]


def weighs(step: LiveStep, number: int, output: int, changed: Tensor, half: Tensor) -> bool:
    """Whether a constant weighs an output's elements (a mask): where it is zero there is no gradient, each for itself."""
    value = step.values[number]
    if not value.is_floating_point() or (
        changed.numel() == half.numel() and bool((changed.flatten() & ~half.flatten()).any())
    ):  # of a distribution over classes, an element moves its neighbours
        return False
    gone = step.gradients({number: torch.zeros_like(value)})[output]
    return not bool(gone.any()) and bool(step.before[output].any())


def paired(output: int, number: int, changed: Tensor, half: Tensor, value: Tensor) -> Compared | None:
    """Return how an output is compared with a constant, by which of its gradients half of the constant moves."""
    shape = changed.shape
    if value.numel() == changed.numel() and value.is_floating_point():
        if not bool((changed.flatten() & ~half.flatten()).any()):
            return Compared(output, number)
        for axis in (changed.ndim - 1, 1):
            if (
                changed.ndim > 1
                and are_events(value.reshape(shape), axis)
                and not bool((changed.any(axis) & ~half.reshape(shape).any(axis)).any())
            ):
                return Compared(output, number, axis, hot=True)
    for axis in (changed.ndim - 1, 1) if changed.ndim > 1 else ():
        rest = changed.any(axis)
        if not value.is_floating_point() and rest.numel() == value.numel() and not bool((rest.flatten() & ~half.flatten()).any()):
            return Compared(output, number, axis)
    return None


def is_form(step: LiveStep, output: int, number: int) -> bool:
    """Whether an output's gradient is a matrix times its distance from a constant."""
    shape, data = step.values[output].shape, step.values[number]
    if shape.numel() != data.numel() or not step.vanishes(output, number):
        return False
    residual = far(step.values[output], 0.1)
    once, twice = (step.pull(output, data.reshape(shape) + by * residual) for by in (1, 2))
    return bool(once.any()) and bool((twice - 2 * once).abs().max() <= SMALL * once.abs().max())


def are_events(value: Tensor, axis: int) -> bool:
    """Whether vectors along an axis are what a likelihood of vectors has for data: shares or counts of classes, or directions."""
    shares = bool((value >= 0).all()) and bool((value.sum(axis) - 1).abs().max() < 1e-5)
    counted = bool((value >= 0).all()) and bool((value % 1 == 0).all())
    return shares or counted or bool((value.norm(dim=axis) - 1).abs().max() < 1e-5)


def apart(step: LiveStep, pairs: list[Compared]) -> tuple[list[Compared], list[int], list[int]]:
    """Return the comparisons; among what looked like one the spreads, as large and coupled with a mean; and what is neither.

    Of two outputs that change one another's gradients the mean is the one whose gradient vanishes at its target; of none that
    does, as a shape and a rate, the first is taken for it.
    """
    spreads: list[int] = []
    unclear: list[int] = []
    for pair in pairs:
        moved = step.moved(pair.output)
        others = [each for each in pairs if each is not pair and each.output in moved]
        for other in others:
            here, there = step.vanishes(pair.output, pair.target), step.vanishes(other.output, other.target)
            same = step.values[other.output].numel() == step.values[pair.output].numel()
            first = pair.output == min(pair.output, other.output)  # of two that are alike: a shape and a rate
            if same and not here and (there or not first):
                spreads.append(pair.output)
            elif same and not here and pair.classes is None:
                continue
            elif not here or not same:
                unclear.append(pair.output)
    spreads = [*dict.fromkeys(spreads)]
    return [pair for pair in pairs if pair.output not in (*spreads, *unclear)], spreads, [n for n in unclear if n not in spreads]


def latents_of(step: LiveStep, rest: list[int]) -> tuple[list[int], list[int]]:
    """Return the outputs that are means of latents, and their scales (as many, or none), in pairs."""
    linear = [number for number in rest if is_linear(step, number) or (len(rest) > 1 and is_scaled(step, number))]
    means, scales = [], []
    left = [number for number in rest if number not in linear]
    for number in linear:
        same = [other for other in left if step.values[other].numel() == step.values[number].numel()]
        means.append(number)
        if same:
            nearest = min(same, key=lambda other: abs(other - number))
            scales.append(nearest)
            left.remove(nearest)
    if scales and len(scales) < len(means):  # the others are none
        with_scale = [m for m in means if any(step.values[s].shape == step.values[m].shape for s in scales)]
        means = with_scale if len(with_scale) == len(scales) else means
    return (means, scales) if len(scales) in (0, len(means)) else ([], [])


def is_discrete(step: LiveStep, number: int) -> bool:
    """Whether an output is the logits of classes or bits, of which the loss has the KL to some prior."""
    value = step.values[number]
    for reading in readings(len(value), tuple(value.shape[1:])) if value.ndim > 1 else ():
        if reading.form == "logits":
            pull = step.pull(number, reading.value.reshape(value.shape))
            if bool(pull.any()) and fitted(reading, pull.reshape(len(value), -1)) is not None:
                return True
    return False


def is_linear(step: LiveStep, number: int) -> bool:
    """Whether an output's gradient is linear in itself, near or, beyond free nats, far out."""
    for by in (1.0, FAR * 10):
        once = far(step.values[number], by)
        one, two, three = (step.pull(number, k * once) for k in (1, 2, 3))
        bend, rise = (three - 2 * two + one).abs().max(), (three - one).abs().max()
        if bool(bend <= 1e-9 * three.abs().max()) and bool(rise > 1e-9 * three.abs().max()):
            return True
    return False


def is_scaled(step: LiveStep, number: int) -> bool:
    """Whether an output's gradient is a number times itself, and another one further out, as of a function of a KL."""
    there = [far(step.values[number], by) for by in (1.0, 3.0)]
    ratios = [step.pull(number, value) / value for value in there]
    first, other = (each.flatten()[0] for each in ratios)
    even = all(bool(((each - one).abs() <= 1e-7 * one.abs()).all()) for each, one in zip(ratios, (first, other), strict=True))
    return even and bool(first.isfinite()) and bool(first != other)


def coupled(step: LiveStep, rest: list[int]) -> list[int]:
    """Return outputs that are compared with one another and with nothing else, as codes and their quantised neighbours.

    In whatever order of their axes.
    """
    codes: list[int] = []
    for other in rest:
        half = halved(step.values[other], 8)
        for number, changed in step.moved(other, half).items():
            if number not in rest or number == other or changed.numel() != half.numel():
                continue
            if any(meet(step, number, other, changed, half, order) for order in orders(changed.ndim)):
                codes += [n for n in (number, other) if n not in codes]
    return codes


def orders(axes: int) -> Iterator[tuple[int, ...]]:
    """Yield the orders that axes may be brought to, beginning with their own."""
    return itertools.permutations(range(axes)) if axes <= 4 else iter([tuple(range(axes))])


def meet(step: LiveStep, number: int, other: int, changed: Tensor, half: Tensor, order: tuple[int, ...]) -> bool:
    """Whether an output, its axes in that order, is compared with another one element by element: alike, it has no gradient.

    They are made alike where they are positive, which an activation on the way leaves as it is.
    """
    if bool((changed.permute(order).flatten() & ~half.flatten()).any()):
        return False
    alike = step.values[other].abs() + 1
    inside = alike.reshape([changed.shape[axis] for axis in order]).permute([order.index(i) for i in range(len(order))])
    there = step.gradients({number: inside, other: alike})[number]
    return is_nothing(there, step.gradients({number: 2 * inside, other: alike})[number])
