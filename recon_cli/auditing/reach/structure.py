"""What derivatives tell of arguments before anything is known of them: whose gradients lean on whom, and how on themselves."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from os.path import commonprefix

from torch import Tensor

from recon_cli.auditing.answers import picker
from recon_cli.auditing.calling import Layout, Problem, Sizes
from recon_cli.auditing.divergence import Gaussians
from recon_cli.auditing.latent_fields import DEVIATION
from recon_cli.auditing.probes import benign, counted, gradients, keep

SAME = 1e-9
SMALL = ((5,), (5, 1, 1))  # data and latents of one size: every argument may meet every other


@dataclass(frozen=True)
class Structure:
    """How a loss depends on its arguments.

    groups
        arguments that lean on one another: a second derivative across each pair, or a chain of them.
    flat, bent
        those whose own gradient does not change with them (data, masks, KLs), and those for which it is no line.
    unread
        those without a gradient.
    leaning
        the pairs with a second derivative across them.
    divergences
        of those that stand in a KL of two Gaussians: the role of each, and the meaning of a scale.
    """

    groups: list[set[str]]
    flat: frozenset[str]
    bent: frozenset[str]
    unread: frozenset[str]
    leaning: set[frozenset[str]] = field(default_factory=set)
    divergences: Mapping[str, tuple[str, str | None]] = field(default_factory=dict)

    def beside(self, other: Structure) -> Structure:
        """Return how it depends on them in one way or another."""
        groups = self.groups
        for more in other.groups:
            joined = [group for group in groups if group & more]
            groups = [group for group in groups if group not in joined] + [more.union(*joined)]
        bent, leaning = self.bent | other.bent, self.leaning | other.leaning
        return Structure(groups, self.flat & other.flat, bent, self.unread & other.unread, leaning, self.divergences)


def structures(problem: Problem) -> Iterator[Structure | None]:
    """Yield how a loss depends on its arguments; then with what it does of counts, among which are zeros, if that is more.

    None where it does not take all of them in one size.
    """
    small = [problem.at(sizes=Sizes(3, shape, shape), layout=Layout(), memo={}) for shape in SMALL if not problem.shapes]
    seen = None
    for at in small:
        with contextlib.suppress(Exception):  # of the user's code, called as it may not be meant
            seen = measured_at(at, benign) or measured_at(at, counted)  # the second where the first are no numbers to it
        if seen is not None:
            break
    yield seen
    named = {slot.key for slot in problem.plan.slots() if slot.role in ("unknown", "target")}
    if seen is not None and any({key} in seen.groups for key in seen.bent & named):
        with contextlib.suppress(Exception):
            other = measured_at(at.at(memo={}), counted)
            yield from [seen.beside(other)] if other is not None and other.leaning - seen.leaning else []


def measured_at(problem: Problem, made: Callable[[Problem, int], dict[str, Tensor]]) -> Structure | None:
    """Return how a loss depends on its arguments, at values of one kind; None where its gradients are no numbers there."""
    values = made(problem, 1)
    live = [{key: value.clone().requires_grad_(value.is_floating_point()) for key, value in made(problem, n).items()}
            for n in (1, 3, 5, 7)]  # fmt: skip
    result = problem.raw(live[0])
    pick, how = picker(problem, result, live)
    chosen = problem.at(pick=pick, picked=how)
    keep(chosen, values, chosen.chosen(result).sum(), {key: leaf for key, leaf in live[0].items() if leaf.requires_grad})
    return measured(chosen, values)


def measured(problem: Problem, values: Mapping[str, Tensor]) -> Structure | None:
    """Return what gradients do where each argument in turn goes half of the way, and all of it, to the other end of its range."""
    keys = [slot.key for slot in problem.plan.slots() if slot.key in values and values[slot.key].is_floating_point()]
    before = gradients(problem, values, keys)[1]
    if not keys or not all(bool(grad.isfinite().all()) for grad in before.values()):
        return None
    ends = {key: values[key].min() + values[key].max() - values[key] for key in keys}
    far = {key: gradients(problem, {**values, key: ends[key]}, keys)[1] for key in keys}
    groups, leaning = list[set[str]](), set[frozenset[str]]()
    for key in keys:
        moved = {each for each in keys if each != key and unlike(far[key][each], before[each])}
        leaning |= {frozenset((key, each)) for each in moved}
        joined = [group for group in groups if group & {key, *moved}]
        groups = [group for group in groups if group not in joined] + [{key, *moved}.union(*joined)]
    flat = {key for key in keys if not unlike(far[key][key], before[key])}
    bent: set[str] = set()
    for some in itertools.zip_longest(*(sorted(group - flat) for group in groups)):  # one of each group: they move no other
        halfway = {key: (values[key] + ends[key]) / 2 for key in some if key is not None}
        half = gradients(problem, {**values, **halfway}, keys)[1] if halfway else {}
        bent |= {key for key in halfway if unlike(far[key][key] + before[key], 2 * half[key])}
    unread = frozenset(key for key in keys if not bool(before[key].any()) and key in flat and {key} in groups)
    divergences: dict[str, tuple[str, str | None]] = {}
    for group in groups:
        divergences |= divergence([key for key in keys if key in group], bent, values, before)
    return Structure(groups, frozenset(flat), frozenset(bent), unread, leaning, divergences)


def divergence(
    keys: Sequence[str], bent: Collection[str], values: Mapping[str, Tensor], measured: Mapping[str, Tensor]
) -> dict[str, tuple[str, str | None]]:
    """Return what each of some arguments is, where gradients are those of a KL of two Gaussians that they describe."""
    means, scales = [key for key in keys if key not in bent], [key for key in keys if key in bent]
    if len(scales) != 2 or len(means) not in (1, 2):
        return {}
    for (scale, width), (meaning, other) in itertools.product((scales, scales[::-1]), itertools.product(DEVIATION, DEVIATION)):
        means.sort(key=lambda mean: len(commonprefix([mean, scale]) + commonprefix([mean[::-1], scale[::-1]])), reverse=True)
        pair = Gaussians(means[0], scale, means[1] if means[1:] else None, width)
        if pair.fit(DEVIATION[meaning], DEVIATION[other], {key: values[key] for key in keys}, measured):
            prior = {means[1]: ("prior", None)} if means[1:] else {}
            return {means[0]: ("mu", None), scale: ("scale", meaning), width: ("prior", other), **prior}
    return {}


def unlike(one: Tensor, other: Tensor) -> bool:
    """Whether two gradients differ by more than rounding."""
    return not bool((one - other).abs().max() <= SAME * max(float(one.abs().max()), float(other.abs().max())))
