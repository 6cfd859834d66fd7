"""Whether a reconstruction can stand for a likelihood at all: the target pulls at it, and e^-loss has an integral."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.divergence import Latent
from recon_cli.auditing.elements import normalisation, over_classes
from recon_cli.auditing.matching import latent_keys
from recon_cli.auditing.measuring import MADE, ReconstructionTerm, sign_of
from recon_cli.auditing.normalisation import COINS
from recon_cli.auditing.probes import Elements, additivity, benign, data_of, element_weights, gradients, value_at
from recon_cli.auditing.quadrature import slowly
from recon_cli.auditing.reach.roles import Pair
from recon_cli.auditing.scaling import Scaling, product
from recon_cli.identity.regions import REAL

# What a reconstruction that misses its target is in.
ALONE, BESIDE, OF_MEAN, MOVED = "R(x̂)", "R(x̂) + S(x)", "R(x̂, mean x)", "R(x̂, x elsewhere)"
TRIED = 4  # elements of a target, each moved alone
FURTHER = (0.02, 0.98, -3.0, 4.0, -1e3, 1e3)  # and where to, beyond grey levels too
ENDS = {1.0: (1.0, 255.0), -1.0: (0.0, -1.0)}  # of the data that people clamp to
FAR = (1e6, 1e8)  # residuals between which a loss must grow faster than a logarithm


@dataclass(frozen=True)
class Astray:
    """A reconstruction that is not compared with its target: the evidence, what to write instead.

    left
        what the term is a function of, as a formula.
    other
        what it compares with instead, where that is of the target.
    """

    evidence: str
    fix: str
    left: str = ""
    other: str = ""


def astray(problem: Problem, pair: Pair, broadcast: bool) -> tuple[Astray, ReconstructionTerm] | None:
    """Return the finding of a target that a reconstruction is not compared with, and that reconstruction, of no family."""
    base = benign(problem)
    others = [key for key in latent_keys(problem) if key in base]
    worst = 0.0 if problem.layout.classes else additivity(problem, base, pair[0].key, others)
    additive = worst <= 1e-7
    finding = unused(problem, additive, pair)
    if finding is None or (finding.left == OF_MEAN and broadcast):
        return None  # of shapes that broadcast each target meets many reconstructions: that is said already
    sign = sign_of(problem, base, pair)
    return finding, ReconstructionTerm(additive=additive, worst=worst, sign=sign)


def unused(problem: Problem, additive: bool, pair: Pair) -> Astray | None:
    """Return the finding of a target whose elements pull at nothing, or at all reconstructions alike; None of any other."""
    recon, target = pair
    if target is None or sum(slot.role in ("recon", "decoder") for slot in problem.plan.slots()) > 1:
        return None  # of several reconstructions one may be compared with another
    base, names = benign(problem), (recon.key, target.key)
    x, r = base[target.key], base[recon.key]
    before = gradients(problem, base, [recon.key])[1][recon.key]
    if not bool(before.isfinite().all()) or not bool(before.abs().max() > 0):
        return None
    elementwise, alike, small = additive and x.shape == r.shape, laid_alike(problem, pair), 1e-9 * before.abs().max()
    ordered = elementwise and x.numel() >= 3 and not problem.layout.classes
    alive = before.flatten().nonzero().flatten() if elementwise else torch.arange(x.numel())
    at = [int(alive[int(0.618034 * i % 1 * len(alive))]) for i in range(1, TRIED + 1)] if len(alive) else []  # on no axis alone

    def change(new: Tensor) -> Tensor:
        """Return by how much the gradients of a reconstruction are others than before, of another target."""
        return (gradients(problem, {**base, target.key: new}, [recon.key])[1][recon.key] - before).abs()

    def others(new: Tensor, index: int) -> list[Tensor]:
        return shifted(problem, new, r if elementwise else None, index)

    together = x
    for index in {*at}:
        together, *_ = others(together, index)
    if its_own(change(together), {*at}, small, ordered, alike):  # one call for what is sound
        return None
    changes: list[tuple[Tensor, int]] = []
    worth = False
    for index in at:
        near, *far = others(x, index)
        most = change(near)
        if not bool(most.isfinite().all()):
            return None
        for new in far if not bool(most.max() > small) else ():  # |e| pulls the same wherever on one side its target is
            further = change(new)
            most = torch.maximum(most, further) if bool(further.isfinite().all()) else most
        worth |= value_at(problem, {**base, target.key: near}) != value_at(problem, base)
        changes.append((most, index))
    apart = [each for each, _ in changes if bool(each.max() > small)]
    if apart:
        elsewhere = next((each for each in changes if reordered(*each, small, alike)), None) if ordered else None
        if elsewhere is not None:
            return misaligned(names, elsewhere[1], x, reordered(*elsewhere, small, False))
        if not ordered or any(bool((each > 0.99 * each.max()).sum() < 3) for each in apart):
            return None
        evidence = f"one element of {target.key} moves the gradients of many of {recon.key} alike: they are compared with a mean"
        return Astray(evidence, f"Compare element with element: ({recon.key} - {target.key})**2.", left=OF_MEAN)
    if elementwise and bool(change(across(problem, x, r)).max() > small):  # a condition on data left out those that were tried
        return None
    if worth:
        evidence = f"{target.key} moves the loss and no gradient of {recon.key}: it is added beside the loss, not compared with"
        return Astray(evidence, misplaced(problem, base, *names), left=BESIDE)
    evidence = f"{target.key} moves neither the loss nor a gradient of {recon.key}: {recon.key} is compared with something else"
    return Astray(evidence, f"Compare with the target: ({recon.key} - {target.key})**2.", left=ALONE)


def its_own(change: Tensor, elements: set[int], small: Tensor, ordered: bool, alike: bool) -> bool:
    """Whether elements of a target, moved all at once, have moved gradients of their own and no others."""
    if not bool(change.isfinite().all()) or not bool(change.max() > small):
        return False
    places, count = {*(change > small).flatten().nonzero().flatten().tolist()}, change.numel()
    if ordered and not alike:
        rows = [{index * len(change) // count for index in some} for some in (places, elements)]
        return len(elements) >= len(places) and rows[0] == rows[1]
    return not ordered or places <= elements and len(elements) < count


def laid_alike(problem: Problem, pair: Pair) -> bool:
    """Whether reconstruction and target come in one shape, so that their elements belong together one by one."""
    named = [problem.shapes.get(slot.key) or problem.shapes.get(slot.group) for slot in pair if slot is not None]
    return problem.layout.recon == problem.layout.target and len({*named}) == 1


def reordered(change: Tensor, at: int, small: Tensor, alike: bool) -> bool:
    """Whether an element of a target moves gradients, and not its own (of other layouts, as patches: none of its own sample)."""
    own = change.flatten()[at] if alike else change[at * len(change) // change.numel()]
    return bool(change.max() > small) and not bool(own.max() > small)


def misaligned(names: tuple[str, str], at: int, x: Tensor, whole: bool) -> Astray:
    """Return the finding of a target whose elements are compared with other elements of the reconstruction than their own."""
    (recon, target), (sample, element) = names, divmod(at, x.numel() // len(x))
    evidence = f"element {element} of sample {sample} of {target} moves gradients of other elements of {recon}, and not its own"
    fix = "Compare each element with its own: no flip, roll, transpose or shuffle on one side alone."
    if whole:
        evidence = f"sample {sample} of {target} moves gradients of other samples of {recon}, and none of its own"
        fix = "Compare each sample with its own: no flip, roll or shuffle of the batch."
    return Astray(evidence, fix, left=MOVED, other=f"{target} in another order")


def made_over(problem: Problem, rec: ReconstructionTerm, pair: Pair) -> Astray | None:
    """Return that a gradient vanishes elsewhere than at its target; None of patches: that may be how they are laid."""
    recon, target = pair
    if target is None or not rec.centre or not laid_alike(problem, pair):
        return None
    r, x = recon.key, target.key
    evidence = f"the gradient of {r} vanishes not at {x} but at {rec.centre}, so {r} is not the mean of {x}"
    fix = f"Compare with {x} as it is, and add nothing of {r} alone; or make that of {x} before the loss."
    return Astray(evidence, fix, other=f"something else than {x}")


def misplaced(problem: Problem, base: dict[str, Tensor], r: str, x: str) -> str:
    """Return what to write, by what the loss is of a reconstruction alone: its square, its size, itself, or something else."""
    moved = {**base, r: base[r] - 0.5}
    grad = gradients(problem, moved, [r])[1][r]
    for pull, word in ((moved[r], "square"), (moved[r].sign(), "abs")):
        each = grad / pull
        if bool((each - each.median()).abs().max() <= 1e-9 * each.median().abs()):
            return f"The parentheses are misplaced: write {word}({r} - {x}), not {word}({r}) - {x}."
    return f"Compare with the target before the loss is taken: square({r} - {x})."


def across(problem: Problem, x: Tensor, r: Tensor) -> Tensor:
    """Return a target with all its elements on the other side of their reconstructions; as it is, where it is no such numbers."""
    return (r + torch.where(x < r, 0.95, 0.05)) / 2 if x.is_floating_point() and not problem.layout.binary else x


def shifted(problem: Problem, x: Tensor, r: Tensor | None, index: int) -> list[Tensor]:
    """Return a target with one element at other values, first on the other side of its reconstruction, so that signs turn too."""
    new = x.clone()
    flat = new.reshape(-1)
    if not x.is_floating_point():
        flat[index] = (flat[index] + 1) % max(2, int(x.max()) + 1)
        return [new]
    if x.ndim == 3:  # one of several classes
        event = new.reshape(-1, x.shape[-1])[index // x.shape[-1]]
        event.copy_(event.roll(1))
        return [new]
    if problem.layout.binary:
        flat[index] = 1 - flat[index]
        return [new]
    here = r.reshape(-1)[index] if r is not None else flat.new_tensor(0.5)
    flat[index] = (here + (0.95 if flat[index] < here else 0.05)) / 2
    targets = [new]
    ends = () if problem.data is None else (problem.data.min().item(), problem.data.max().item())
    for value in (*FURTHER, *ends):
        targets.append(new.clone())
        targets[-1].reshape(-1)[index] = value
    return targets


def normalised(
    problem: Problem, rec: ReconstructionTerm, pair: Pair, latent: Latent | None, scaling: Scaling
) -> ReconstructionTerm:
    """Return the reconstruction with what its e^-loss adds up to over the data, where it is of no family that is known.

    It is weighed as it is beside its KL, and where a KL is beside the point or a size moves its weight, as it is written: a mean
    undone.
    """
    if rec.recognised or not rec.additive or rec.normal is not None:
        return rec
    b = abs(latent.weight) if latent is not None and latent.weight else None
    written = undone(problem, scaling)
    weights = [written] if b is None else [1 / b] if rec.location and not scaling.moves else [1 / b, written]
    meaning = latent.meaning if latent else None
    if problem.layout.classes:
        sums = over_classes(problem, pair, meaning, weights)
    else:
        sums = normalisation(problem, pair, rec.location, meaning, weights)
    if sums is None:
        return rec
    beta = b * sums.weight if b is not None and not rec.location and sums.kind == "real" else None
    domain = rec.domain if sums.support == COINS else "positive"  # only of shares the ends are data
    return replace(rec, normal=replace(sums, beta=beta), domain=domain)


def undone(problem: Problem, scaling: Scaling) -> float:
    """Return by what a reconstruction's mean is a sum."""
    sizes = problem.sizes.batch, scaling.length or problem.sizes.D, problem.sizes.K
    return 1 / product(sizes, (scaling.batch[1], scaling.dim[1], scaling.latent[1]))


def density(problem: Problem, rec: ReconstructionTerm, pair: Pair, b: float | None, scaling: Scaling) -> tuple[str, str]:
    """Return in words to which side a loss of real data grows too slowly for an integral of e^-loss; empty where to none.

    And, where it grows no further because it clamps the data to the ends of what they are, within what it is a likelihood.
    """
    if not (rec.recognised and rec.match and rec.match.link != MADE):
        return "", ""  # a constant, standardised, is no constant
    known = rec.match.candidate.kind() if rec.match.candidate else None
    if known is not None and (known.support != REAL or not (rec.within or known.name == "student-t")):
        return "", ""  # it grows as a line at least; angles, shares and counts do not run to infinity, or were looked into
    (recon, target), base = pair, benign(problem)
    if target is None or problem.layout.classes or problem.layout.binary or not rec.additive or data_of(base, pair) is None:
        return "", ""
    at = Elements(problem, base, recon.key, target.key, element_weights(problem, base, pair)[0]).value
    if not all(map(math.isfinite, (at(0.5, 3.0), at(0.5, -3.0)))):  # predictions that are shares or rates: data of their own kind
        return "", ""
    # The most that the loss may weigh: as it is written, beside its KL, and with a mean undone.
    most = max(undone(problem, scaling), 1 / b if b else 0.0)
    held: dict[float, float] = {}
    for word, side in (("plus", 1.0), ("minus", -1.0)):
        growth = most * (at(side * FAR[1], 0.5) - at(side * FAR[0], 0.5)) / math.log(FAR[1] / FAR[0])
        if not -1e-6 <= growth <= 1 + 1e-6:
            continue
        if (end := clamped_at(at, side)) is None:
            return f"as {target.key} goes to {word} infinity the loss of an element {slowly(growth)}", ""
        held[side] = end
    if not held:
        return "", ""
    low, high = held.get(-1.0), held.get(1.0)
    words = f"up to {high:g}" if low is None else f"from {low:g} up" if high is None else f"from {low:g} to {high:g}"
    return "", f"{target.key} {words}, which it clamps {target.key} to"


def clamped_at(at: Callable[..., float], side: float) -> float | None:
    """Return the end of the data that a loss takes what lies beyond for, whatever the prediction; None where it does for none.

    Of a residual that is cut off the end moves with the prediction. Just inside, the loss is another.
    """
    for end in ENDS[side]:
        beyond, there, inside = ([at(x, r) for r in (0.2, 0.5, 0.9)] for x in (end + side * FAR[0], end, end - 0.01 * side))
        if beyond == there and all(math.isfinite(one) and one != other for one, other in zip(there, inside, strict=True)):
            return end
    return None
