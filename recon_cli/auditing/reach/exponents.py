"""How the weights of a live step move with its sizes: as measured on part of it, by its recorded reductions, by literals.

The step is replayed on part of its batch, of a sample or of the latents, and its gradients are compared. Where that cannot be,
a mean over a recorded tensor divides by sizes that are known. A literal that a term is divided by is a size where it equals
one, and one alone; what cannot be known is None.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from torch import Tensor

from recon_cli.auditing.reach.cutting import Cut
from recon_cli.auditing.reach.parts import LiveStep
from recon_cli.auditing.reach.recording import Recorded
from recon_cli.auditing.scaling import NONE, Scaling, power

REDUCED = {  # losses of torch by the place of their reduction among the arguments
    "mse_loss": 2, "l1_loss": 2, "smooth_l1_loss": 2, "huber_loss": 2, "binary_cross_entropy": 3,
    "binary_cross_entropy_with_logits": 4, "nll_loss_forward": 3, "nll_loss2d_forward": 3, "soft_margin_loss": 2,
}  # fmt: skip
SCALES = ("div", "mul", "div_", "mul_")
SHAPED = {"view", "_unsafe_view", "reshape", "_reshape_alias", "expand"}  # whose second argument is a shape
AxisOf: TypeAlias = Callable[[int], "int | None"]  # of a tensor, by its number, the axis of which a part is taken
MEAN = 1
LARGE = 16  # from here on a literal that equals a size is one
ORDINARY = 2  # a whole number up to which a literal belongs to a formula, as in 1/2


@dataclass
class Divided:
    """What a term is divided by: exponents of the batch and of what it has a sample, None where not known; and in words."""

    batch: float | None = 0.0
    own: float | None = 0.0
    words: list[str] = field(default_factory=list)

    def by(self, batch: float | None = 0.0, own: float | None = 0.0) -> None:
        """Divide by powers of the sizes; None where it cannot be known whether."""
        self.batch = None if batch is None or self.batch is None else self.batch - batch
        self.own = None if own is None or self.own is None else self.own - own


@dataclass(frozen=True)
class Sized:
    """One output on its way to the loss: its sizes, and what they are called."""

    output: int
    batch: int
    own: int
    what: str


def growth(
    step: LiveStep, output: int, means: Sequence[int], scales: Sequence[int], batch: int, elements: int, latents: int
) -> tuple[Scaling, list[str]]:  # fmt: skip
    """Return the exponents in B, D and K of one reconstruction beside the KL of these means, and what literals were taken for."""
    loss = step.cut
    ways = {n: way(loss, n) for n in (output, *means)}
    if not all(ways.values()):
        return Scaling(), []
    made = [{op.made for op, _ in ways[n]} for n in ways]
    both = made[0] & set().union(*made[1:])
    rows = {shape[0] for shape in map(loss.shapes.get, loss.leaves) if shape and shape[0] % batch == 0}

    def samples(number: int) -> int | None:
        if number in loss.parameters or not (shape := loss.shapes[number]):
            return None
        return 0 if shape[0] in rows else 1 if shape[1:2] == (batch,) else None

    by_batch = powers(step, [*ways], batch, samples)
    by_own = element_powers(step, [output], [*means, *scales]) | element_powers(step, means, [output])
    terms = [Sized(output, batch, elements, "elements of a sample")] + [Sized(n, batch, latents, "latents") for n in means]
    rec, *kls = [divided(loss, t, ways[t.output], both, Divided(by_batch[t.output], by_own[t.output])) for t in terms]
    if not kls:
        return Scaling(batch=(None, rec.batch, None), dim=(None, rec.own, None)), []
    kl = kls[0] if all((each.batch, each.own) == (kls[0].batch, kls[0].own) for each in kls) else Divided(None, None)
    scaling = Scaling(
        batch=NONE if rec.batch is None or kl.batch is None else (kl.batch - rec.batch, rec.batch, kl.batch),
        dim=NONE if rec.own is None else (-rec.own + 0.0, rec.own, 0.0),
        latent=NONE if kl.own is None else (kl.own, 0.0, kl.own),
    )
    words = [f"the reconstruction is {each}" for each in rec.words] + [f"the KL is {each}" for each in kl.words]
    return scaling, [*dict.fromkeys(words), *overall(loss, ways[output], both, batch)]


def way(loss: Cut, output: int, without: int | None = None) -> list[tuple[Recorded, int]]:
    """Return the operations from an output to the loss, each with what it takes in on the way; none that leads over a tensor."""
    steps, reached = [], {output} - {without}
    for operation in loss.path:
        if taken := reached.intersection(operation.inputs):
            reached.update(made for made in operation.made if made != without)
            steps += [(operation, number) for number in sorted(taken)]
    return steps if loss.loss in reached else []


def divided(
    loss: Cut, term: Sized, steps: Sequence[tuple[Recorded, int]], both: set[tuple[int, ...]], measured: Divided
) -> Divided:  # fmt: skip
    """Return what a term is divided by on its way: as measured, else by what its operations average over; and by literals.

    A literal that divides both terms moves no trade-off. One that stands on one of several ways says nothing of the others.
    """
    read, share = Divided(), 1
    literals: list[tuple[Recorded, int]] = []
    for taker, number in steps:
        sizes = averaged(taker, loss.shapes[number], term.batch)
        own = taker.made not in both and taker.name in SCALES
        literals += [(taker, number)] if own or "alpha" in taker.keywords else []
        if sizes and way(loss, term.output, number):
            read.by(None, None)
        for size, of_batch in sizes:
            read.by(batch=of_batch and size > 1)
            share *= 1 if of_batch else size
    read.by(own=1 if share == term.own > 1 else 0 if share == 1 else None)
    result = Divided(read.batch if measured.batch is None else measured.batch, read.own if measured.own is None else measured.own)
    for taker, number in literals:
        if not way(loss, term.output, number):
            literal(result, loss, taker, number, term, share)
            continue
        literal(part := Divided(), loss, taker, number, term, share)
        result.by(*(None if each != 0 else 0 for each in (part.batch, part.own)))
    return result


def averaged(taker: Recorded, shape: tuple[int, ...], batch: int) -> list[tuple[int, bool]]:
    """Return the sizes that an operation averages over, and whether each is the batch's."""
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


def literal(result: Divided, loss: Cut, taker: Recorded, number: int, term: Sized, share: int) -> None:
    """Divide by the size that a literal equals; by what is not known where it equals several, or is a number of the data.

    ``share`` is how many of a sample's elements an average is taken over beside.
    """
    batch, own, what = term.batch, term.own, term.what
    others = [part for part in taker.arguments[:2] if getattr(part, "number", None) != number]
    if "alpha" in taker.keywords:  # of what is added
        others = [taker.keywords["alpha"]] if getattr(taker.arguments[1], "number", None) == number else []
    if len(taker.arguments) < 2 or len(others) != 1:
        return
    other = getattr(others[0], "number", None)
    of_data = other is not None and other in loss.constants and loss.values[other].numel() == 1
    if other is not None and of_data:
        value = float(loss.values[other])
    elif isinstance(others[0], (int, float)) and others[0]:
        value = abs(float(others[0]))
    else:
        return
    divides = taker.name.startswith("div")
    by = value if divides else 1 / value if value else 0.0
    sign, number_of = (1, by) if by >= 1 else (-1, 1 / by if by else 0.0)
    whole = math.isclose(number_of, round(number_of), rel_tol=1e-6)
    if number_of <= ORDINARY or not whole:
        if of_data and divides and by > ORDINARY:
            result.by(None, None)
            result.words.append(f"divided by {by:.6g}, which the data decide")
        return
    count = round(number_of)
    did = "divided" if sign > 0 else "multiplied"
    sizes = {"batch size": (batch, 1, 0), f"number of {what}": (own, 0, 1), "size of the whole batch": (batch * own, 1, 1)}
    equal = {name: powers for name, powers in sizes.items() if powers[0] > 1 and powers[0] == count}
    by_hand = sign > 0 and not divides and len(f"{value:.12g}") <= 6  # 0.25 may be a weight as well as 1/4
    small = count < LARGE and not (sign > 0 and "batch size" in equal)  # a weight of 5 beside 5 latents
    if len({(b, o) for _, b, o in equal.values()}) == 1 and not by_hand and not small:
        ((name, (_, by_batch, by_own)),) = [*equal.items()][:1]
        result.by(sign * by_batch, sign * by_own)
        result.words.append(f"{did} by {count}, which is the {name} here")
    elif equal:
        batches, owns = (any(powers[i] for powers in equal.values()) for i in (1, 2))
        result.by(None if batches else 0.0, None if owns else 0.0)
        result.words.append(f"{did} by {count}, which is the {' or the '.join(equal)}, or a weight: not known which")
    elif of_data and divides and count <= batch * own:
        result.by(1, 1 if share == 1 else 0 if share == own else None)
        result.words.append(f"divided by {count}, which the data decide: how many elements count")
    elif count > LARGE and own % count == 0:  # an axis of it, or a weight
        result.by(0.0, None)


def overall(loss: Cut, steps: Sequence[tuple[Recorded, int]], both: set[tuple[int, ...]], batch: int) -> list[str]:
    """Return, in words, the number that both terms are multiplied by: gradient accumulation, loss scaling."""
    factor = 1.0
    for taker, number in steps:
        if taker.made in both and taker.name in SCALES:
            others = [part for part in taker.arguments[:2] if getattr(part, "number", None) != number]
            for other in others[:1]:
                tensor = loss.values.get(getattr(other, "number", -1))
                value = tensor.item() if tensor is not None and tensor.numel() == 1 else other
                if isinstance(value, (int, float)) and value:
                    factor = factor / value if taker.name.startswith("div") else factor * value
    plain = [1.0, 1 / batch] if batch > 1 else [1.0]
    if any(math.isclose(abs(factor), number) for number in plain):
        return []
    size = f" (1/{batch} is the batch's, perhaps)" if math.isclose(1 / abs(factor) % batch, 0, abs_tol=1e-9) else ""
    return [f"all of the loss is multiplied by {abs(factor):.6g}{size}: that scales the gradients and no trade-off"]


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

    def part(number: int, tensor: Tensor) -> Tensor:
        at = axis(number)
        return tensor if at is None else tensor.narrow(at, 0, tensor.shape[at] // size * (size // 2)).contiguous()

    smaller = {n: part(n, value) for n, value in step.values.items() if n in loss.shapes}
    path = [resized(operation, loss, size) for operation in loss.path]
    try:
        whole = step.gradients(fixed)
        less = LiveStep(replace(loss, path=path), smaller).gradients({n: smaller[n] for n in fixed})
    except Exception:  # its shapes are written otherwise
        return dict.fromkeys(outputs)

    def power_of(here: Tensor, there: Tensor) -> float | None:
        factor = ((there * here).sum() / (here * here).sum()).item() if here.shape == there.shape and bool(here.any()) else 0.0
        if factor <= 0 or bool((there - factor * here).abs().max() > 1e-7 * there.abs().max()):
            return None
        exponent = power(factor, 1.0, (size // 2) / size)
        return exponent if exponent is not None and exponent == round(exponent) else None

    return {n: power_of(part(n, whole[n]), less[n]) for n in outputs}


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

    call.__dict__["operation"] = operation.function  # whose name it has
    return replace(operation, function=call)


def smaller(shape: tuple[int, ...], size: int) -> list[tuple[int, ...]]:
    """Return a shape with one axis halved that is that size, or else a multiple of it."""
    axes = [i for i, n in enumerate(shape) if n == size] + [i for i, n in enumerate(shape) if n > size and n % size == 0]
    return [(*shape[:i], shape[i] // size * (size // 2), *shape[i + 1 :]) for i in axes]
