"""What each tensor of a live step is, by structure alone, and the audit of its loss: the same problem as a function's.

What is compared element by element with a constant is a reconstruction, what stands in a term of its own is a latent; a mean's
gradient is linear in itself. No name is looked at.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.callables import Reached
from recon_cli.auditing.calling import Layout, Problem, Sizes
from recon_cli.auditing.measurements import measure
from recon_cli.auditing.reach.cutting import FLOATS, Cut, cut, inputs_of
from recon_cli.auditing.reach.recording import Derived, Operation
from recon_cli.auditing.result import Audit, audit_of
from recon_cli.auditing.roles import CallPlan, Slot
from recon_cli.auditing.scaling import NONE, Scaling
from recon_cli.auditing.watching import seed
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell

SMALL = 1e-9
REDUCED = {  # losses of torch by the place of their reduction among the arguments
    "mse_loss": 2, "l1_loss": 2, "smooth_l1_loss": 2, "huber_loss": 2, "binary_cross_entropy": 3,
    "binary_cross_entropy_with_logits": 4, "nll_loss_forward": 3, "nll_loss2d_forward": 3, "soft_margin_loss": 2,
}  # fmt: skip
MEAN = 1


@dataclass(frozen=True)
class Compared:
    """An output of the network that is compared with a constant; the axis of its classes, where the constant labels them."""

    output: int
    target: int
    classes: int | None = None
    hot: bool = False


@dataclass
class Step:
    """A loss of a step, its tensors in float64, and what they are."""

    cut: Cut
    values: dict[int, Tensor]

    @classmethod
    def of(cls, derived: Derived) -> Step:
        """Return the step behind a loss. Raises ReconError where nothing of a network is in it, or it cannot be replayed."""
        loss = cut(derived)
        tensors = derived.tape.tensors
        if not loss.leaves:
            raise ReconError(
                f"The loss at {derived.site} is made of no network's output and no parameter.", "Derive one that is."
            )
        numbers = [n for n in (*loss.leaves, *loss.constants) if n not in derived.tape.noise]
        values = {
            n: tensors[n].detach().to(torch.float64) if tensors[n].dtype in FLOATS else tensors[n].detach() for n in numbers
        }
        step = cls(loss, values)
        seed()
        try:
            again = loss.replay({n: tensors[n].detach() for n in loss.leaves})
        except Exception as error:
            raise ReconError(
                f"The step at {derived.site} cannot be replayed: {type(error).__name__}: {str(error).splitlines()[0]}.",
                "Audit the loss as a function: recon audit FILE.py:FUNCTION.",
            ) from error
        recorded = tensors[derived.loss].detach()
        rough = 0.05 if recorded.dtype in (torch.float16, torch.bfloat16) or derived.tape.noise else 1e-3
        if not torch.allclose(again.double().sum(), recorded.double().sum(), rtol=rough, atol=1e-6) and not derived.tape.noise:
            raise ReconError(
                f"Replayed, the loss at {derived.site} is {again.sum().item():.6g}; the step had {recorded.sum().item():.6g}.",
                "Something in it is changed in place: audit the loss as a function, recon audit FILE.py:FUNCTION.",
            )
        return step

    def gradients(self, changed: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return the loss's gradient by every output, with some tensors changed."""
        values = {**self.values, **changed}
        live = {n: values[n].clone().requires_grad_() for n in self.cut.leaves if values[n].is_floating_point()}
        seed()
        loss = self.cut.replay({**values, **live}).sum()
        grads = torch.autograd.grad(loss, [*live.values()], allow_unused=True)
        return {n: torch.zeros_like(v) if g is None else g for (n, v), g in zip(live.items(), grads, strict=True)}

    def differs(self, before: Mapping[int, Tensor], changed: Mapping[int, Tensor]) -> dict[int, Tensor]:
        """Return which gradients are others when some tensors are changed; nothing where the change is refused."""
        try:
            after = self.gradients(changed)
        except Exception:
            return {}
        return {n: (after[n] - before[n]).abs() > SMALL * before[n].abs().max() for n in before}

    def moved(self, before: Mapping[int, Tensor], number: int, half: Tensor) -> dict[int, Tensor]:
        """Return which gradients are others when half of a tensor's elements are, of outputs that have any."""
        for value in turned(self.values[number], half):
            changes = {n: changed for n, changed in self.differs(before, {number: value}).items() if bool(changed.any())}
            if changes:
                return changes
        return {}


def turned(value: Tensor, half: Tensor) -> list[Tensor]:
    """Return a tensor with half of its elements at the other end of its range; and, further off, on either side of it."""
    low, high = value.min(), value.max()
    if not value.is_floating_point():
        return [torch.where(half, (value - low + 1) % (high - low + 1) + low if high > low else value, value)]
    width = (high - low) if high > low else torch.ones((), dtype=value.dtype)
    return [torch.where(half, other, value) for other in (low + high - value, high + 9 * width, low - 9 * width)]


def comparisons(step: Step, before: Mapping[int, Tensor]) -> tuple[list[Compared], list[int]]:
    """Return outputs that are compared with constants element by element, and constants that weigh them (masks)."""
    pairs: list[Compared] = []
    masks: list[int] = []
    for number in step.cut.constants:
        value = step.values.get(number)
        if value is None or value.numel() < 2:
            continue
        half = torch.rand(value.shape, generator=torch.Generator().manual_seed(7)) < 0.5
        if value.dtype == torch.bool:
            masks.append(number)
            continue
        for output, changed in step.moved(before, number, half).items():
            gone = step.differs(before, {number: torch.zeros_like(value)}) if value.is_floating_point() else {}
            zero = output in gone and not bool(step.gradients({number: torch.zeros_like(value)})[output].any())
            if zero and value.is_floating_point() and bool(((value == 0) | (value == 1)).all()):
                masks.append(number)
            elif (pair := paired(output, number, changed, half, value)) is not None:
                pairs.append(pair)
    return pairs, masks


def paired(output: int, number: int, changed: Tensor, half: Tensor, value: Tensor) -> Compared | None:
    """Return how an output is compared with a constant, by which of its gradients half of the constant moves."""
    shape = changed.shape
    if value.numel() == changed.numel() and value.is_floating_point():
        if not bool((changed.flatten() & ~half.flatten()).any()):
            return Compared(output, number)
        for axis in (changed.ndim - 1, 1):
            if changed.ndim > 1 and not bool((changed.any(axis) & ~half.reshape(shape).any(axis)).any()):
                return Compared(output, number, axis, hot=True)
    for axis in (changed.ndim - 1, 1) if changed.ndim > 1 else ():
        rest = changed.any(axis)
        if not value.is_floating_point() and rest.numel() == value.numel() and not bool((rest.flatten() & ~half.flatten()).any()):
            return Compared(output, number, axis)
    return None


def latents_of(step: Step, before: Mapping[int, Tensor], rest: list[int]) -> tuple[list[int], list[int]]:
    """Return the outputs that are means of latents, and their scales (as many, or none), in pairs."""
    linear = []
    for number in rest:
        value = step.values[number]
        grads = [step.gradients({number: value * by})[number] for by in (2.0, 3.0)]
        bend = (grads[1] - 2 * grads[0] + before[number]).abs().max()
        if bend <= 1e-6 * grads[1].abs().max() and bool((grads[1] - before[number]).abs().max() > 0):
            linear.append(number)
    means, scales = [], []
    left = [number for number in rest if number not in linear]
    for number in linear:
        same = [other for other in left if step.values[other].numel() == step.values[number].numel()]
        means.append(number)
        if same:
            nearest = min(same, key=lambda other: abs(other - number))
            scales.append(nearest)
            left.remove(nearest)
    if len(scales) not in (0, len(means)) or left:
        return [], []
    return means, scales


def audit_step(derived: Derived) -> Audit:
    """Return the audit of one loss of a step, at the step's own sizes, on its own data.

    Raises ReconError where it is not recognised what its tensors are, saying what was seen.
    """
    step = Step.of(derived)
    before = step.gradients({})
    alive = [number for number, grad in before.items() if bool((grad != 0).any())]
    pairs, _ = comparisons(step, before)
    scores = {pair.output for pair in pairs if step.values[pair.target].double().std() == 0}
    pairs = distinct([pair for pair in pairs if pair.output not in scores or step.values[pair.target].double().std() > 0])
    scores -= {pair.output for pair in pairs}
    outputs = {pair.output for pair in pairs} | scores
    spreads = [n for n in alive if n not in outputs and any(spread_of(step, before, n, pair) for pair in pairs)]
    rest = [number for number in alive if number not in outputs and number not in spreads]
    codes = coupled(step, before, rest)
    rest = [number for number in rest if number not in codes]
    means, scales = latents_of(step, before, rest)
    unexplained = [number for number in rest if number not in (*means, *scales)]
    if not pairs or unexplained or len(spreads) > 1 or len(pairs) > 1 and spreads:
        raise unrecognised(derived, step, pairs, unexplained)
    problem, names = problem_of(step, pairs, spreads, means, scales, derived)
    growths = [static(step, pair, means, problem.sizes) for pair in pairs]
    measured = measure(problem, "", {}, growths=growths)
    notes = [
        f"The output {spell(tuple(step.values[n].shape))} is compared with one number: a score, a term of its own."
        for n in scores
    ]
    notes += [
        f"Outputs {spell(tuple(step.values[n].shape))} are compared with one another: codes, a term of their own."
        for n in codes[:1]
    ]
    measured = replace(measured, notes=(*measured.notes, *notes))
    measured = replace(measured, steps=step.cut.lines(names), site=derived.site, switch="")
    return audit_of(measured)


def distinct(pairs: list[Compared]) -> list[Compared]:
    """Return one comparison for each output."""
    return [*{pair.output: pair for pair in reversed(pairs)}.values()][::-1]


def coupled(step: Step, before: Mapping[int, Tensor], rest: list[int]) -> list[int]:
    """Return outputs that are compared with one another and with nothing else, as codes and their quantised neighbours."""
    codes = []
    for number in rest:
        others = [n for n in rest if n != number and step.values[n].numel() == step.values[number].numel()]
        for other in others:
            value = step.values[other]
            half = torch.rand(value.shape, generator=torch.Generator().manual_seed(8)) < 0.5
            changed = step.moved(before, other, half).get(number)
            if (
                changed is not None
                and not bool((changed.flatten() & ~half.flatten()).any())
                and is_difference(step, number, other)
            ):
                codes += [n for n in (number, other) if n not in codes]
    return codes


def is_difference(step: Step, one: int, other: int) -> bool:
    """Whether an output's gradient vanishes where it is the other: then they are compared, and neither with a prior."""
    there = step.gradients({one: step.values[other].reshape(step.values[one].shape)})[one]
    return float(there.abs().max()) <= 1e-9 * float(step.gradients({})[one].abs().max())


def spread_of(step: Step, before: Mapping[int, Tensor], number: int, pair: Compared) -> bool:
    """Whether an output is the spread of a reconstruction: as large, and moved by its target."""
    value = step.values[pair.target]
    if not value.is_floating_point() or step.values[number].numel() != step.values[pair.output].numel():
        return False
    return number in step.moved(before, pair.target, torch.ones_like(value, dtype=torch.bool))


def unrecognised(derived: Derived, step: Step, pairs: list[Compared], rest: list[int]) -> ReconError:
    """Return the error for a step whose tensors are not all explained, with what was seen."""
    shapes = ", ".join(spell(tuple(step.values[number].shape)) for number in rest)
    seen = f"{len(pairs)} of the network's outputs compared with data" if pairs else "no output of the network compared with data"
    more = f", and {len(rest)} whose part is not recognised ({shapes})" if rest else ""
    return ReconError(
        f"The loss at {derived.site} is not recognised: {seen}{more}.",
        "Audit the loss as a function of its tensors: recon audit FILE.py:FUNCTION.",
    )


def problem_of(
    step: Step, pairs: list[Compared], spreads: list[int], means: list[int], scales: list[int], derived: Derived
) -> tuple[Problem, dict[int, str]]:
    """Return the loss as a function of named tensors, at the step's sizes; and the names by number."""
    shapes = {number: tuple(value.shape) for number, value in step.values.items()}
    first = pairs[0]
    B = shapes[means[0]][0] if means else shapes[first.output][0]
    D = math.prod(shapes[first.output]) // B
    K = sum(math.prod(shapes[n]) for n in means) // B if means else 1
    sample: tuple[int, ...] = (D,)
    layout = Layout()
    if first.classes is not None:
        V = shapes[first.output][first.classes]
        sample = (D // V, V) if first.classes == len(shapes[first.output]) - 1 else (V, D // V)
        layout = Layout(classes=("last" if sample[1] == V else "first") + ("-hot" if first.hot else ""))
    several = len(pairs) > 1
    slots: list[Slot] = []
    where: dict[str, list[int]] = {}
    for i, pair in enumerate(pairs, 1):
        end, group = (str(i), str(i)) if several else ("", "")
        slots.append(
            Slot(
                f"recon{end}",
                "recon",
                f"an output of the network that is compared with data, {spell(shapes[pair.output])}",
                group=group,
            )
        )
        slots.append(Slot(f"x{end}", "target", f"the data that it is compared with, {spell(shapes[pair.target])}", group=group))
        where |= {f"recon{end}": [pair.output], f"x{end}": [pair.target]}
    for key, role, numbers in (("spread", "spread", spreads), ("mu", "mu", means), ("scale", "scale", scales)):
        if numbers:
            slots.append(Slot(key, role, f"an output of the network, {' and '.join(spell(shapes[n]) for n in numbers)}"))
            where[key] = numbers
    widths = {n: math.prod(shapes[n]) // B for n in (*means, *scales)}

    def loss(**tensors: Tensor) -> Tensor:
        values = {n: v for n, v in step.values.items() if n in step.cut.constants}
        for key, numbers in where.items():
            whole = tensors[key]
            parts = whole.split([widths[n] for n in numbers], dim=1) if len(numbers) > 1 else [whole]
            for n, part in zip(numbers, parts, strict=True):
                values[n] = laid(part, shapes[n], layout, pairs, n)
        others = {n: step.values[n] for n in step.cut.leaves if n not in values}
        dtype = tensors["recon" if not several else "recon1"].dtype
        return step.cut.replay({n: v.to(dtype) if v.is_floating_point() else v for n, v in {**others, **values}.items()}).sum()

    named = (
        {}
        if layout.classes
        else {
            slot.key: (math.prod(shapes[where[slot.key][0]]) // B,)
            for slot in slots
            if slot.role in ("recon", "target", "spread")
        }
    )
    plan = CallPlan(keywords={slot.key: slot for slot in slots})
    reached = Reached(loss, spelled=f"the loss at {derived.site}", notes=("cut out of a live training step",))
    problem = Problem(
        reached, plan, Sizes(B, sample, (K,)), layout, shapes=named, pick=lambda result: result, picked="what is derived"
    )
    return problem, {numbers[0]: key for key, numbers in where.items()}


def laid(value: Tensor, shape: tuple[int, ...], layout: Layout, pairs: list[Compared], number: int) -> Tensor:
    """Return a tensor of the problem in the shape that it has in the step."""
    pair = next((pair for pair in pairs if pair.output == number), None)
    if not layout.classes or pair is None or pair.classes != 1 or len(shape) < 3:
        return value.reshape(shape)
    return value.reshape(shape)


def static(step: Step, pair: Compared, means: list[int], sizes: Sizes) -> Scaling:
    """Return the exponents in B, D and K, by the sizes that the recorded reductions divide by; None where that is not known."""
    classes = 1 if pair.classes is None else step.values[pair.output].shape[pair.classes]
    rec = divisors(step, pair.output, sizes.batch, sizes.D // classes)
    kl = divisors(step, means[0], sizes.batch, sizes.K) if means else None
    r_b, r_d = rec if rec is not None else (None, None)
    k_b, k_k = kl if kl is not None else (None, None)
    over = None if r_b is None or k_b is None else k_b - r_b
    return Scaling(
        batch=(over, r_b, k_b), dim=NONE if r_d is None else (-r_d if means else None, r_d, 0.0),
        latent=NONE if k_k is None else (k_k, 0.0, k_k),
    )  # fmt: skip


def divisors(step: Step, output: int, batch: int, own: int) -> tuple[float, float] | None:
    """Return the exponents of the batch and of what an output has a sample, by what its term is divided by on its way."""
    by_batch, by_own, number = 0.0, 0.0, output
    tensors = step.cut.tape.tensors
    while number != step.cut.loss:
        taker = next((op for op in step.cut.path if number in inputs_of(op)), None)
        if taker is None:
            return None
        for size, of_batch in averaged(taker, number, tensors, batch):
            if size == 1:
                continue
            if of_batch:
                by_batch -= 1
            else:
                by_own -= 1
        by = literal(taker, number, tensors)
        if by is not None and batch > 1:
            if math.isclose(by, batch):
                by_batch -= 1
            elif own > 1 and math.isclose(by, own):
                by_own -= 1
            elif own > 1 and math.isclose(by, batch * own):
                by_batch, by_own = by_batch - 1, by_own - 1
        number = taker.made[0]
    return by_batch, by_own


def averaged(taker: Operation, number: int, tensors: Mapping[int, Tensor], batch: int) -> list[tuple[int, bool]]:
    """Return the sizes that an operation averages over, and whether each is the batch's."""
    shape = tuple(tensors[number].shape)
    total = math.prod(shape)
    whole = [(batch, True), (total // batch, False)] if total % batch == 0 else [(total, False)]
    if taker.name == "mean":
        axes = taker.arguments[1] if len(taker.arguments) > 1 else taker.keywords.get("dim")
        if not isinstance(axes, (list, tuple, int)) or axes == []:
            return whole
        axes = [axes] if isinstance(axes, int) else axes
        axes = sorted(axis % len(shape) for axis in axes)
        first = [(shape[0], True)] if 0 in axes and shape[0] == batch else []
        others = math.prod(shape[axis] for axis in axes if not (axis == 0 and first))
        return [*first, (others, False)]
    place = REDUCED.get(taker.name)
    if place is None:
        return []
    how = taker.arguments[place] if len(taker.arguments) > place else taker.keywords.get("reduction", MEAN)
    if how != MEAN:
        return []
    if taker.name.startswith("nll_loss"):
        events = total // shape[1 if len(shape) > 1 else 0]
        return [(batch, True), (events // batch, False)] if events % batch == 0 else [(events, False)]
    return whole


def literal(taker: Operation, number: int, tensors: Mapping[int, Tensor]) -> float | None:
    """Return the number that an operation divides by, or whose inverse it multiplies with; None where it does neither."""
    if taker.name not in ("div", "mul", "div_", "mul_") or len(taker.arguments) < 2:
        return None
    others = [part for part in taker.arguments[:2] if getattr(part, "number", None) != number]
    if len(others) != 1:
        return None
    other = others[0]
    if hasattr(other, "number"):
        tensor = tensors[other.number]
        if tensor.numel() != 1:
            return None
        other = tensor.item()
    if not isinstance(other, (int, float)) or not other:
        return None
    return float(other) if taker.name.startswith("div") else 1 / other
