"""How a step's latents are drawn: from the means and the scales that its loss weighs, to what its decoder is given."""

from __future__ import annotations

import functools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.divergence import Latent
from recon_cli.auditing.probes import uniform
from recon_cli.auditing.reach.cutting import REARRANGING, TOGETHER, WEIGHTED, Cut, between, made_of, varied, weights
from recon_cli.auditing.reach.recording import Recorded, Tape
from recon_cli.auditing.sampling import Drawn, Missampled, judged, line_of, undrawn
from recon_cli.auditing.watching import FLOATS, seed


@dataclass(frozen=True)
class Drawing:
    """What a step makes of the outputs in its loss before weights take it in again.

    cut
        its leaves are those outputs as the network made them (``roots``), its path leads to all that is given to weights.
    given
        by what is given to weights, which of the loss's outputs come of it.
    roots
        of each output of the loss, the tensor that it is a part of, or another arrangement.
    behind
        of each output of the loss, the roots that it is made of.
    joint
        roots that are no layer's own output: the difference of two, say, of which the latents are drawn one by one.
    """

    cut: Cut
    given: Mapping[int, frozenset[int]]
    roots: Mapping[int, int]
    behind: Mapping[int, frozenset[int]]
    joint: frozenset[int]

    @functools.cached_property
    def values(self) -> dict[int, Tensor]:
        """Values for the roots, by number."""
        cut = self.cut
        return {n: uniform(cut.shapes[n], 0.3, 1.4, 80 + n) for n in cut.leaves if cut.values[n].dtype in FLOATS}

    def value(self, number: int, noise: float | None = None, roots: Mapping[int, Tensor] | None = None) -> Tensor:
        """Return a tensor of the step with other outputs, and with one number for all normal noise."""
        cut, given = self.cut, {**self.values, **(roots or {})}
        if number in given:
            return given[number]
        fixed = {n: v.double() if v.is_floating_point() else v for n, v in cut.values.items() if n not in cut.noise}
        if noise is not None:
            fixed |= {n: torch.full(cut.shapes[n], noise, dtype=torch.float64) for n in cut.noise}
        seed()
        return replace(cut, loss=number).replay({**fixed, **given})

    def before(self, number: int) -> set[int]:
        """Return what a tensor is made of, and itself; of data that are laid beside it, as a condition, nothing."""
        needed, data = {number}, {*self.cut.constants} - self.cut.noise
        for operation in reversed(self.cut.path):
            if needed.intersection(operation.made):
                needed.update(n for n in operation.inputs if operation.name not in TOGETHER or n not in data)
        return needed

    def drawn(self, number: int) -> Drawn:
        """Return one of the tensors that a decoder may be given."""
        live = {n: value.clone().requires_grad_() for n, value in self.values.items()}
        t0, t1, t2 = (self.value(number, noise, live) for noise in (0.0, 1.0, 2.0))
        behind, cut = self.before(number), self.cut
        still = not behind & cut.noise
        other = still and any(varied(cut.values[n]) for n in behind & {*cut.constants})
        return Drawn((t0.detach(), t1.detach(), t2.detach()), other, still and not other, not t0.requires_grad)


def origin(tape: Tape, leaf: int) -> int:
    """Return the tensor that a leaf is only a part of, or another arrangement."""
    while leaf in tape.maker and tape.operations[tape.maker[leaf]].name in REARRANGING:
        taken = tape.operations[tape.maker[leaf]].inputs
        if len(taken) != 1:
            break
        leaf = taken[0]
    return leaf


def drawing(tape: Tape, loss: Cut) -> Drawing:
    """Return what a step makes of the outputs in its loss before it gives that to weights again."""
    of_weights, roots = weights(tape), {leaf: origin(tape, leaf) for leaf in loss.leaves}
    own, path = {*roots.values()}, list[Recorded]()
    after: dict[int, frozenset[int]] = {root: frozenset() for root in own}  # nothing but what was given to weights before
    comes_of = made_of(tape.operations, own)  # of which other roots anything is made
    derived, taken_in = {*own}, dict[int, set[int]]()
    for operation in tape.operations:
        taken = operation.inputs
        inside = derived.intersection(taken)
        weighed = operation.name in WEIGHTED and any(number in of_weights for number in taken)
        into = frozenset(inside) if weighed else frozenset()
        before = frozenset().union(*(after.get(n, frozenset()) for n in taken), into)
        after.update(dict.fromkeys(operation.made, before))
        if inside and not weighed and not own.intersection(operation.made):
            path.append(operation)
            derived.update(operation.made)
        taken_in.update({n: set() for n in into if n not in taken_in})
    given = {n: frozenset(leaf for leaf, root in roots.items() if n in after.get(root, ())) for n in taken_in}
    needed, kept = {*given, *loss.leaves}, list[Recorded]()
    for operation in reversed(path):
        if needed.intersection(operation.made):
            needed.update(operation.inputs)
            kept.append(operation)
    cut = between(tape, loss.loss, sorted(own & needed), kept[::-1])
    joint = frozenset(n for n in own if n in tape.maker and tape.operations[tape.maker[n]].name not in WEIGHTED)
    return Drawing(cut, given, roots, {leaf: comes_of.get(root, frozenset()) for leaf, root in roots.items()}, joint)


def is_cut_off(drawing: Drawing, outputs: Collection[int], number: int) -> bool:
    """Whether what is compared with data is made of nothing of some output; False where that is not known."""
    root = drawing.roots.get(number)
    if root is None or root in drawing.joint or drawing.cut.foreign:  # of what was computed before the step was watched
        return False
    return not any(root in drawing.behind.get(output, {root}) for output in outputs)


def missampled(
    drawing: Drawing, outputs: Collection[int], mean: int, scale: int | None, latent: Latent, names: tuple[str, str]
) -> Missampled | None:  # fmt: skip
    """Return how what a decoder is given is no draw of the posterior of some mean and scale; None where nothing shows that.

    Without a scale, whether anything is drawn.
    """
    cut = drawing.cut
    roots = {drawing.roots[n] for n in (mean, *([] if scale is None else [scale])) if n in drawing.roots}
    if not roots or not {mean, scale} - {None} <= cut.shapes.keys():
        return None
    if cut.foreign:
        return None
    plain = not roots & drawing.joint
    if all(is_cut_off(drawing, outputs, n) for n in (mean, *([] if scale is None else [scale]))):
        return undrawn(names, f"Draw it with a gradient: rsample() and not sample(), no detach(): {line_of(latent, names)}")
    try:
        m = drawing.value(mean)
        s = m if scale is None else drawing.value(scale)
        live = {n: value.clone().requires_grad_() for n, value in drawing.values.items()}
        root = drawing.roots[mean]
        (where,) = torch.autograd.grad(drawing.value(mean, None, live).sum(), live[root])
        moved = {root: drawing.values[root] + 0.3 * where}
        own = {n for n, leaves in drawing.given.items() if leaves.intersection(outputs)}
        ways = set().union(*(drawing.before(n) for n in own))
        order = {number: i for i, operation in enumerate(cut.path) for number in operation.made}
        candidates = [n for n in (*order, mean, root) if n in ways and math.prod(cut.shapes[n]) % m.numel() == 0]
        latest = sorted({*candidates}, key=lambda n: order.get(n, -1), reverse=True)
        heard = not plain or any(not torch.equal(drawing.value(n, 0.0), drawing.value(n, 0.0, moved)) for n in own)
        return judged([drawing.drawn(n) for n in latest], m, None if scale is None else s, latent, names, heard)
    except Exception:  # of the step's operations, at other values
        return None
