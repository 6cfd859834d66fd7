"""The audit of a loss that a live step derived: its tensors are known by structure, the problem is that of a function."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.auditing.calling import Layout, Problem, Sizes
from recon_cli.auditing.divergence import Latent
from recon_cli.auditing.measurements import Measurements, measure
from recon_cli.auditing.measuring import is_wide
from recon_cli.auditing.probes import POINTS, generator
from recon_cli.auditing.reach.call_plans import CallPlan, Slot
from recon_cli.auditing.reach.callables import Reached
from recon_cli.auditing.reach.cutting import Cut, made_of, varied
from recon_cli.auditing.reach.drawing import is_cut_off, missampled
from recon_cli.auditing.reach.exponents import growth
from recon_cli.auditing.reach.losses import DerivedLoss
from recon_cli.auditing.reach.misreadings import misreading
from recon_cli.auditing.reach.parts import LiveStep, Parts, broadcast, is_linear, parts_of, with_targets
from recon_cli.auditing.reach.plain import folded, upright, with_priors
from recon_cli.auditing.remainders import CROSSES, crosses
from recon_cli.auditing.result import Audit, audit_of
from recon_cli.auditing.sampling import undrawn
from recon_cli.auditing.survival import Beside
from recon_cli.auditing.trained_scales import Replay
from recon_cli.auditing.watching import FLOATS, seed
from recon_cli.errors import ReconError
from recon_cli.identity.shapes import spell

STEPS = 64  # roundings of its narrowest type by which a loss that is replayed may be another


def audit_step(derived: DerivedLoss) -> Audit:
    """Return the audit of one loss of a step, at the step's own sizes, on its own data.

    Raises ReconError where it is not recognised what its tensors are, saying what was seen.
    """
    step, notes = step_of(derived)
    step, said = with_priors(step)
    notes += said
    parts = parts_of(step)
    if parts.means:
        whole, count = folded(step, parts.pairs, step.cut.shapes[parts.means[0]][0])
        step, parts = (whole, parts_of(whole)) if count > 1 else (step, parts)
        notes += [f"Of each sample {count} draws are compared with the same data: they are taken for one."] * (count > 1)
    turned = upright(step, parts.pairs)
    step, parts = (turned, parts_of(turned)) if turned is not step else (step, parts)
    for term in step.obscure:  # codes, the square of whose distances is taken, are clear all the same
        if not (term <= {*parts.codes} and all(is_linear(step, n) for n in term)):
            parts.rest += sorted(term - {*parts.rest})
    if not parts.pairs or parts.rest or len(parts.spreads) > 1 or (len(parts.pairs) > 1 and parts.spreads):
        raise unrecognised(derived, step, parts)
    problem, names = problem_of(step, parts, derived)
    sizes, growths, words = problem.sizes, [], []
    for pair in parts.pairs:
        classes = 1 if pair.classes is None else step.values[pair.output].shape[pair.classes]
        scaling, said = growth(
            step, pair.output, [*parts.means, *parts.probs], parts.scales, sizes.batch, sizes.D // classes, sizes.K
        )
        growths.append(scaling)
        words += [each for each in said if each not in words]
    measured = measure(problem, "", {}, growths=growths)
    notes += [f"{each[:1].upper()}{each[1:]}." for each in words]
    score = "is compared with one number, or its mean is taken: a score or a penalty, a term of its own"
    of_no_data = [(n, "The output", score) for n in parts.scores]
    of_no_data += [(n, "Outputs", "are compared with one another: codes, a term of their own") for n in parts.codes[:1]]
    of_no_data += [(n, "The output", "is compared with labels: a classifier's term, of its own") for n in parts.labelled]
    notes += [f"{what} {spell(step.cut.shapes[n])} {why}." for n, what, why in of_no_data]
    measured = replace(
        measured, notes=(*measured.notes, *notes), steps=step.cut.lines(names), site=derived.site, switch="",
        data=beside(step, parts, measured),
    )  # fmt: skip
    measured = replace(measured, **posterior(derived, parts, measured.latent))
    audit = in_own_words(audit_of(measured), step.cut, derived.names, names)
    if why := misreading(step, parts, measured, audit):
        raise unrecognised(derived, step, parts, why)
    return audit


STRAIGHT = "Draw it with a gradient: torch.nn.functional.gumbel_softmax, or z = draw + p - p.detach() (straight-through)"
NOT_DRAWN = "it is the sum of their squares, and nothing is drawn about them: there is no posterior, and no KL"


def posterior(derived: DerivedLoss, parts: Parts, latent: Latent | None) -> dict[str, Any]:
    """Return how what the decoder is given is no draw of the posterior in the loss, as part of what was measured."""
    if derived.drawing is None or latent is None or not latent.weight:
        return {}
    outputs, names = [pair.output for pair in parts.pairs], derived.names
    for mean, scale in itertools.zip_longest(parts.means, parts.scales):
        named = names.get(mean, "mu"), names.get(scale, "scale") if scale is not None else ""
        wrong = missampled(derived.drawing, outputs, mean, scale, latent, named)
        if wrong is not None and scale is None:
            return {"latent": replace(latent, weight=None, unexplained=NOT_DRAWN)}
        if wrong is not None:
            return {"missampled": wrong}
    for n in parts.probs:
        if is_cut_off(derived.drawing, outputs, n):
            return {"missampled": undrawn((names.get(n, "logits"), ""), STRAIGHT)}
    return {}


def in_own_words(audit: Audit, loss: Cut, own: Mapping[int, str], names: Mapping[int, str]) -> Audit:
    """Return an audit whose lines of code say ``recon`` where the step's code has that for ``output.sigmoid()``."""
    said: dict[str, str] = {}
    for operation in loss.path:
        taken, made = operation.inputs, operation.made
        if len(taken) == len(made) == 1 and taken[0] in names and made[0] in own:
            raw, mean = names[taken[0]], own[made[0]]
            said |= {f"{raw}.{operation.name}()": mean, f"F.{operation.name}({raw})": mean}
            if operation.name == "sigmoid":
                said[f"binary_cross_entropy_with_logits({raw}"] = f"binary_cross_entropy({mean}"

    findings = tuple(replace(each, fix=respelled(each.fix, said)) for each in audit.findings)
    return replace(audit, findings=findings, conversions=tuple((keep, respelled(code, said)) for keep, code in audit.conversions))


def respelled(code: str, said: Mapping[str, str]) -> str:
    """Return a line of code with names in place of expressions that stand whole: ``out.exp()`` is not in ``layout.exp()``."""
    for expression, name in said.items():
        code = re.sub(rf"(?<!\w){re.escape(expression)}(?!\w)", name, code)
    return code


def beside(step: LiveStep, parts: Parts, measured: Measurements) -> Beside:
    """Return the step's own data as its reconstructions have to do with them: those elements that are not masked."""
    grads, outside = step.before, {}
    for pair, term in zip(parts.pairs, measured.terms, strict=True):
        x, grad = step.values[pair.target], grads[pair.output]
        family = term.rec.match.family if term.rec.match is not None else ""
        if family not in likelihoods.names() or x.shape.numel() != grad.numel():
            continue
        x = x.flatten()[grad.flatten() != 0]
        likelihood = likelihoods.find(family).designed(x)
        share = 0.0 if likelihood.event or likelihood.head else (~likelihood.support.contains(x)).double().mean().item()
        if share:
            outside[family] = likelihood.no_density(share), share, str(likelihood.support)
    data = [step.values[pair.target] for pair in parts.pairs if step.values[pair.target].is_floating_point()]
    ends = (min(float(each.min()) for each in data), max(float(each.max()) for each in data)) if data else (0.0, 1.0)
    return Beside("the batch", (), outside, ends=ends)


def step_of(derived: DerivedLoss) -> tuple[LiveStep, list[str]]:
    """Return the step behind a loss, and what is to be said of it.

    Raises ReconError where nothing of a network is in it, or replayed it is another.
    """
    loss = derived.cut
    if not loss.leaves and derived.functional:
        raise ReconError(
            f"The loss at {derived.site} is derived by torch.func, where no tensor shows what it is made of.",
            "Audit the function that torch.func.grad is given, or derive the step's loss by loss.backward().",
        )
    if not loss.leaves:
        raise ReconError(f"The loss at {derived.site} is made of no network's output and no parameter.", "Derive one that is.")
    values = {n: value.to(torch.float64) if value.dtype in FLOATS else value for n, value in loss.values.items()}
    narrow = max(loss.dtypes, key=lambda dtype: torch.finfo(dtype).eps, default=torch.float32)
    notes = [*derived.notes]
    if narrow in (torch.float16, torch.bfloat16):
        name = str(narrow).removeprefix("torch.")
        notes.append(f"The step computed in {name}; here its loss is replayed in float64, and agreed to {name}'s digits.")
    seed()
    try:
        again = loss.replay({n: values[n] for n in (*loss.leaves, *loss.constants) if n not in loss.noise})
    except Exception as error:
        raise ReconError(
            f"The step at {derived.site} cannot be replayed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}.",
            "Audit the loss as a function: recon audit FILE.py:FUNCTION.",
        ) from error
    recorded = loss.recorded.double().sum()
    if not bool(recorded.isfinite()) and bool(again.sum().isfinite()):
        name = str(narrow).removeprefix("torch.")
        there = f"{again.sum().item():.6g} in float64: {name} overflows"
        raise ReconError(
            f"The loss at {derived.site} is {recorded.item()} in the step, and {there}.",
            "Write it so that no exponential is larger than the loss: softplus, logsumexp, or a form with logits.",
        )
    close = torch.allclose(again.sum(), recorded, rtol=STEPS * torch.finfo(narrow).eps, atol=1e-6)
    if not close and not loss.noise:
        raise ReconError(
            f"Replayed, the loss at {derived.site} is {again.sum().item():.6g}; the step had {recorded.item():.6g}.",
            "Something in it is changed in place: audit the loss as a function, recon audit FILE.py:FUNCTION.",
        )
    return with_targets(LiveStep(loss, values)), notes


def unrecognised(derived: DerivedLoss, step: LiveStep, parts: Parts, why: str = "") -> ReconError:
    """Return the error for a step whose tensors are not all explained, with what was seen, or why."""
    count, rest = len(parts.pairs), [*parts.rest, *([] if why else parts.spreads)]
    shapes = ", ".join(spell(step.cut.shapes[number]) for number in rest)
    seen = f"{count} of the network's outputs compared with data" if count else "no output of the network compared with data"
    ready = [n for n in rest if n in step.cut.foreign and step.values[n].numel() == 1]
    if ready:
        return ReconError(
            f"The loss at {derived.site} is not recognised: {len(ready)} of its terms were computed before watch() began.",
            "Put the whole step inside the with-block, from the model's call to loss.backward().",
        )
    if not count and not rest and parts.scales:
        return ReconError(
            f"The loss at {derived.site} is not recognised: it is a term in latents alone "
            f"({spell(step.cut.shapes[parts.means[0]])}), derived apart from what is compared with data.",
            "Derive their sum, (reconstruction + kl).backward(): its gradients are the same, and its trade-off can be read.",
        )
    more = (
        f", and {len(rest)} whose part is not recognised ({shapes}){together(step, parts)}" if rest else f"; {why}" if why else ""
    )
    if not count and not rest and (meeting := broadcast(step)):
        output, data = (spell(step.cut.shapes[number]) for number in meeting[0])
        seen = f"an output of the network, {output}, meets data of {data}, so that each of its elements is compared with many"
    elif not count and not rest and parts.scores:
        output = spell(step.cut.shapes[parts.scores[0]])
        seen = f"an output of the network, {output}, is a score, set beside one number, and nothing is compared with data"
    return ReconError(
        f"The loss at {derived.site} is not recognised: {seen}{more}.",
        "Audit the loss as a function of its tensors: recon audit FILE.py:FUNCTION.",
    )


def together(step: LiveStep, parts: Parts) -> str:
    """Return in words that a term takes samples together, which no KL of a sample does; empty where it is not known to."""
    if count := weighted(step):
        return f": they stand in an importance-weighted bound of {count} samples, by logsumexp or softmax of their log-weights"
    batch = step.values[parts.pairs[0].output].shape[:1] if parts.pairs else torch.Size()
    shapes = [step.cut.shapes[n] for n in parts.rest]
    if batch and any(shape[:2] in ((*batch, *batch), (1, *batch), (*batch, 1)) and len(shape) > 2 for shape in shapes):
        return ": samples of the batch are taken in pairs, so it is no KL of a sample"
    whole = {
        n: step.values[n] for n in parts.rest if step.cut.shapes[n][:1] == tuple(batch) and step.values[n].is_floating_point()
    }

    def gradient(changed: dict[int, Tensor]) -> dict[int, Tensor]:
        return {n: grad for n, grad in step.gradients(changed).items() if n in whole}

    try:
        return f": {CROSSES}" if whole and crosses(gradient, whole) else ""
    except Exception:  # of the user's operations, at other values
        return ""


def weighted(step: LiveStep) -> int:
    """Return over how many log-weights, which are of data and of two or more outputs, a logsumexp or a softmax runs; else 0."""
    cut = step.cut
    data = {n for n in cut.constants if n not in cut.noise and varied(step.values[n])}
    behind = made_of(cut.path, {*cut.leaves, *data})
    makers = {n: operation for operation in cut.path for n in operation.made}
    for operation in cut.path:
        reducing = operation if operation.name in ("logsumexp", "_softmax") else None
        if operation.name == "log" and (mean := makers.get(operation.inputs[0])) is not None and mean.name in ("mean", "sum"):
            reducing = mean if (power := makers.get(mean.inputs[0])) is not None and power.name == "exp" else None  # by hand
        of = behind.get(operation.made[0], frozenset()) if reducing is not None else frozenset()
        if reducing is not None and len(reducing.arguments) > 1 and of & data and len(of - data) > 1:
            axis = reducing.arguments[1]
            return int(cut.shapes[reducing.inputs[0]][axis[0] if isinstance(axis, list) else axis])
    return 0


@dataclass
class Replayed(Replay):
    """The loss of a step as a function of named tensors: ``where`` says which of the step's each is, side by side."""

    cut: Cut
    values: Mapping[int, Tensor]
    where: Mapping[str, list[int]]
    batch: int

    @property
    def trained(self) -> dict[int, Tensor]:
        """The parameters that the loss takes in, by number."""
        return {n: self.cut.values[n] for n in self.cut.parameters if self.cut.values[n].is_floating_point()}

    def __call__(self, **tensors: Tensor) -> Tensor:
        """Return the loss with these tensors, in the dtype that they have."""
        fixed = {n: v for n, v in self.values.items() if n not in self.cut.noise and n not in self.cut.parameters}
        values = {**fixed, **self.moved}
        for key, numbers in self.where.items():
            shapes = [self.cut.shapes[n] for n in numbers]
            widths = [math.prod(shape) // self.batch for shape in shapes]
            parts = tensors[key].split(widths, dim=1) if len(numbers) > 1 else [tensors[key]]
            values.update((n, part.reshape(shape)) for n, part, shape in zip(numbers, parts, shapes, strict=True))
        dtype = next(value.dtype for value in tensors.values() if value.is_floating_point())
        return self.cut.replay({n: v.to(dtype) if v.is_floating_point() else v for n, v in values.items()}).sum()


def problem_of(step: LiveStep, parts: Parts, derived: DerivedLoss) -> tuple[Problem, dict[int, str]]:
    """Return the loss as a function of named tensors, at the step's sizes; and the names by number."""
    shapes, means, first = step.cut.shapes, parts.means, parts.pairs[0]
    B = shapes[means[0]][0] if means else shapes[first.output][0] if shapes[first.output] else 1
    if any(math.prod(shapes[n]) % B for n in (*means, *parts.scales, *parts.probs, *(pair.output for pair in parts.pairs))):
        raise unrecognised(derived, step, parts)
    D = math.prod(shapes[first.output]) // B
    K = sum(math.prod(shapes[n]) for n in means or parts.probs) // B if means or parts.probs else 1
    sample: tuple[int, ...] = (D,)
    layout = Layout()
    if first.classes is not None:
        V = shapes[first.output][first.classes]
        last = first.classes == len(shapes[first.output]) - 1
        sample = (D // V, V) if last else (V, D // V)
        layout = Layout(classes=("last" if last else "first") + ("-hot" if first.hot else ""))

    def named_as(numbers: list[int], usual: str) -> str:
        """Return a tensor's name in the code that derives the loss; where it has none, or there are several, one that is free."""
        own = [derived.names[n] for n in numbers if n in derived.names] if len(numbers) == 1 else []
        while not own and usual in derived.names.values():
            usual += "_"
        return own[0] if own else usual

    several = len(parts.pairs) > 1
    targets = [pair.target for pair in parts.pairs]
    slots: list[Slot] = []
    where: dict[str, list[int]] = {}
    for i, pair in enumerate(parts.pairs, 1):
        group = str(targets.index(pair.target) + 1) if several else ""  # some are compared with the same
        end = str(i) if several else ""
        how = f"an output of the network that is compared with data, {spell(shapes[pair.output])}"
        output, x = named_as([pair.output], f"output{end}"), named_as([pair.target], f"x{group}")
        slots.append(Slot(output, "recon", how, group=group))
        how = f"the data that it is compared with, {spell(shapes[pair.target])}"
        if group in ("", end):
            slots.append(Slot(x, "target", how, group=group))
        where |= {output: [pair.output], x: [pair.target]}
    for role, numbers in (("spread", parts.spreads or parts.shaping), ("mu", means), ("scale", parts.scales)):
        if numbers:
            key = named_as(numbers, role)
            slots.append(Slot(key, role, f"an output of the network, {' and '.join(spell(shapes[n]) for n in numbers)}"))
            where[key] = numbers
    own = [slot.key for slot in slots if slot.role in ("recon", "target", "spread") and not layout.classes]
    named: dict[str, tuple[int, ...]] = {key: (sum(math.prod(shapes[n]) for n in where[key]) // B,) for key in own}
    for n in parts.probs:
        slots.append(Slot(key := named_as([n], "logits"), "probs", f"an output of the network, {spell(shapes[n])}"))
        where[key], named[key] = [n], shapes[n][1:]
    plan = CallPlan(keywords={slot.key: slot for slot in slots})
    plan.trace.ignored |= step.ignored
    loss = Replayed(step.cut, step.values, where, B, names=derived.names)
    reached = Reached(loss, spelled=f"the loss at {derived.site}", notes=("cut out of a live training step",))
    problem = Problem(
        reached, plan, Sizes(B, sample, (K,)), layout, shapes=named, pick=lambda result: result, picked="what is derived"
    )
    data = torch.cat([step.values[n].flatten() for n in targets if step.values[n].is_floating_point()] or [torch.empty(0)])
    if len(data) and is_wide(data):
        problem = problem.at(data=data[torch.randint(0, len(data), (POINTS,), generator=generator(3))])
    return problem, {numbers[0]: key for key, numbers in where.items()}
