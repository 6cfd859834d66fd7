"""Whether a reconstruction can stand for a likelihood at all: the target pulls at it, and e^-loss has an integral."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.judging import Finding, Scaling, recognised
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.measuring import Reconstruction, additivity, benign, element_weights, gradients, sign_of, value_at
from recon_cli.auditing.roles import Slot

Pair = tuple[Slot, Slot | None]
ALONE, BESIDE, OF_MEAN = "R(x̂)", "R(x̂) + S(x)", "R(x̂, mean x)"  # what a reconstruction that misses its target is in
TRIED = 6  # elements of a target, each moved alone
FAR = (1e6, 1e8)  # residuals between which a loss must grow faster than a logarithm


def spreads(problem: Problem, pair: Pair) -> bool:
    """Whether a decoder's own scale is in the loss: where nothing moves with it, it is an argument that is not read."""
    slots = problem.plan.role("spread")
    if not slots:
        return False
    values = benign(problem)
    _, grads = gradients(problem, values, [slots[0].key])
    moved = {**values, slots[0].key: 1.3 * values[slots[0].key]}
    return bool((grads[slots[0].key] != 0).any()) or value_at(problem, moved) != value_at(problem, values)


def astray(problem: Problem, pair: Pair, common: Sequence[Finding]) -> tuple[Finding, Reconstruction] | None:
    """What is wrong where a target is not what a reconstruction is compared with, and that reconstruction, of no family."""
    base = benign(problem)
    others = [key for key in latent_keys(problem) if key in base]
    worst = 0.0 if problem.layout.classes else additivity(problem, base, pair[0].key, others)
    additive = worst <= (1e-7 if problem.dtype == torch.float64 else 1e-2)
    found = unused(problem, additive, pair)
    if found is None or (found.left == OF_MEAN and any(each.code == "broadcast" for each in common)):
        return None  # of shapes that broadcast each target meets many reconstructions: that is said already
    sign = sign_of(problem, base, pair)
    return found, Reconstruction(pair[0], None, None, additive, worst, (1.0, 1.0), 1.0, "real", sign, False)


def unused(problem: Problem, additive: bool, pair: Pair) -> Finding | None:
    """A target whose elements pull at nothing, or at all reconstructions alike: something else is what is compared with."""
    recon, target = pair
    if target is None or sum(slot.role in ("recon", "decoder") for slot in problem.plan.slots()) > 1:
        return None  # of several reconstructions one may be compared with another
    base = benign(problem)
    x, r = base[target.key], base[recon.key]
    _, grads = gradients(problem, base, [recon.key])
    before = grads[recon.key]
    if not bool(before.isfinite().all()) or not bool(before.abs().max() > 0):
        return None
    elementwise = additive and x.shape == r.shape
    changes, worth = [], False
    for index in spots(x, before if elementwise else None):
        moved = {**base, target.key: shifted(problem, x, r if elementwise else None, index)}
        after = gradients(problem, moved, [recon.key])[1][recon.key]
        change = (after - before).abs()
        if not bool(change.isfinite().all()):
            return None
        worth |= value_at(problem, moved) != value_at(problem, base)
        changes.append((index, change))
    small = 1e-9 * before.abs().max()
    if any(bool(change.max() > small) for _, change in changes):
        if not elementwise or x.numel() < 3 or problem.layout.classes:
            return None
        elsewhere = next((at for at, change in changes if reordered(change, at, small)), None)
        if elsewhere is not None:
            sample = elsewhere * len(x) // x.numel()
            said = f"sample {sample} of {target.key} moves gradients of other samples of {recon.key}, and none of its own"
            fix = "Compare each sample with its own: no flip, roll or shuffle of the batch."
            return Finding("target-unused", said, fix, broken=True, left=BESIDE)
        apart = [change for _, change in changes if bool(change.max() > small)]
        if any(bool((change > 0.99 * change.max()).sum() < 3) for change in apart):
            return None
        said = f"one element of {target.key} moves the gradients of many of {recon.key} alike: they are compared with a mean"
        fix = f"Compare element with element: ({recon.key} - {target.key})**2."
        return Finding("target-unused", said, fix, broken=True, left=OF_MEAN)
    if worth:
        said = f"{target.key} moves the loss and no gradient of {recon.key}: it is added beside the loss, not compared with"
        fix = misplaced(problem, base, recon.key, target.key)
    else:
        said = f"{target.key} moves neither the loss nor a gradient of {recon.key}: {recon.key} is compared with something else"
        fix = f"Compare with the target: ({recon.key} - {target.key})**2."
    return Finding("target-unused", said, fix, broken=True, left=BESIDE if worth else ALONE)


def reordered(change: Tensor, at: int, small: Tensor) -> bool:
    """Whether an element of a target moves gradients, and none of its own sample's; within one, layouts may differ (patches)."""
    own = change[at * len(change) // change.numel()]
    return bool(change.max() > small) and not bool(own.max() > small)


def misplaced(problem: Problem, base: dict[str, Tensor], r: str, x: str) -> str:
    """What to write, by what the loss is of a reconstruction alone: its square, its size, itself, or something else."""
    moved = {**base, r: base[r] - 0.5}
    grad = gradients(problem, moved, [r])[1][r]
    for pull, word in ((moved[r], "square"), (moved[r].sign(), "abs")):
        each = grad / pull
        if bool((each - each.median()).abs().max() <= 1e-9 * each.median().abs()):
            return f"The parentheses are misplaced: write {word}({r} - {x}), not {word}({r}) - {x}."
    return f"Compare with the target before the loss is taken: square({r} - {x})."


def spots(x: Tensor, pull: Tensor | None) -> list[int]:
    """A few elements of a target, spread evenly over those whose reconstructions have a gradient."""
    alive = torch.arange(x.numel()) if pull is None else pull.flatten().nonzero().flatten()
    step = max(1, len(alive) // TRIED)
    return alive[::step][:TRIED].tolist()


def shifted(problem: Problem, x: Tensor, r: Tensor | None, index: int) -> Tensor:
    """A target with one element at another value: on the other side of its reconstruction, so that signs turn too."""
    new = x.clone()
    flat = new.reshape(-1)
    if not x.is_floating_point():
        flat[index] = (flat[index] + 1) % max(2, int(x.max()) + 1)
    elif x.ndim == 3:  # one of several classes
        event = new.reshape(-1, x.shape[-1])[index // x.shape[-1]]
        event.copy_(event.roll(1))
    elif problem.layout.binary:
        flat[index] = 1 - flat[index]
    else:
        here = r.reshape(-1)[index] if r is not None else flat.new_tensor(0.5)
        flat[index] = (here + (0.95 if flat[index] < here else 0.05)) / 2
    return new


def of_the_density(
    problem: Problem, rec: Reconstruction, pair: Pair, b: float | None, scale: Scaling, unmoved: Finding | None
) -> list[Finding]:
    """Where e^-loss has no finite integral over the data: the loss stays bounded, or grows no faster than a logarithm."""
    recon, target = pair
    known = recognised(rec)
    if known and (rec.match is None or rec.match.link == "target made over"):  # a constant, standardised, is no constant
        return []
    base = benign(problem)
    plain = target is not None and not problem.layout.classes and not problem.layout.binary and rec.additive
    if not plain or base[target.key].shape != base[recon.key].shape or not base[target.key].is_floating_point():  # type: ignore[union-attr]
        return []
    weights, _ = element_weights(problem, base, pair)
    weighed, count = weights.sum().item(), base[recon.key].numel()

    def at(x: float, r: float = 0.5) -> float:
        values = {**base, recon.key: torch.full_like(base[recon.key], r), target.key: torch.full_like(base[target.key], x)}  # type: ignore[union-attr]
        return value_at(problem, values) / weighed

    if not all(map(math.isfinite, (at(0.5, 3.0), at(0.5, -3.0)))):  # predictions that are shares or rates: data of their own kind
        return []
    # The most that the loss may weigh: as it is written, beside its KL, and with a mean undone.
    moves = b is None or any(abs(part[0] or 0) > 1e-6 for part in (scale.batch, scale.dim, scale.latent))
    most = max(1.0, 1 / b if b else 1.0) * (count if moves else 1)
    for side, word in ((1.0, "plus"), (-1.0, "minus")):
        near, far = (at(side * size) for size in FAR)
        growth = most * (far - near) / math.log(FAR[1] / FAR[0])
        falls = growth < -1e-6
        if not math.isfinite(growth) or growth > 1 + 1e-6 or (falls and not unmoved):
            continue
        how = "falls without end" if falls else "stays bounded" if abs(growth) < 1e-6 else "grows no faster than a logarithm"
        said = f"as {target.key} goes to {word} infinity the loss of an element {how}: e^-loss has no finite integral over x"  # type: ignore[union-attr]
        fix = "No noise has this loss: take one that grows, as |e|, or log(1 + e^2/s^2) weighed 1."
        return [Finding("no-density", said, fix, known)]
    return []
