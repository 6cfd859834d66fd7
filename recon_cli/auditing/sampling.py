"""Whether z, which a decoder is given, is a draw of the posterior that the KL weighs: its mean, its deviation, its noise.

A draw of N(mu, sigma^2) is mu + sigma * eps with eps standard normal. With the noise set to 0 it is mu, and with it set to 1 it
is sigma further off, which is the sigma that the KL has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.divergence import DEVIATIONS, Latent
from recon_cli.auditing.latent_fields import Deviation
from recon_cli.auditing.links import MEANINGS
from recon_cli.auditing.probes import benign, uniform

MANY = 12  # elements that are not all between 0 and 1 by chance
NEAR = 1e-4  # what an eps beside a deviation makes of it
SPELLED: dict[str, Deviation] = {  # what a deviation is made of a scale by
    **{each.deviation: each.deviate for each in MEANINGS.values() if each.kl},
    "(2 * {s}).exp()": lambda s: (2 * s).exp(),
    "{s}**2": torch.square,
    "softplus({s})": torch.nn.functional.softplus,
    "sigmoid({s})": torch.sigmoid,
    "0.5 * {s}.exp()": lambda s: s.exp() / 2,
    "{s} / 2": lambda s: s / 2,
    "(-{s}).exp()": lambda s: (-s).exp(),
    "(-{s} / 2).exp()": lambda s: (-s / 2).exp(),
    "1": torch.ones_like,
}


@dataclass(frozen=True)
class Drawn:
    """A tensor as a decoder is given it, at normal noise of 0, 1 and 2.

    other
        whether noise or numbers that are not the normal's are in it too.
    still
        whether none of any kind is in it.
    detached
        whether no gradient reaches the mean by it.
    """

    values: tuple[Tensor, Tensor, Tensor]
    other: bool = False
    still: bool = False
    detached: bool = False


@dataclass(frozen=True)
class Missampled:
    """How z is no draw of the posterior, and the line that makes it one."""

    evidence: str
    fix: str


def judged(
    drawn: Sequence[Drawn], mean: Tensor, scale: Tensor | None, latent: Latent, names: tuple[str, str], heard: bool
) -> Missampled | None:  # fmt: skip
    """Return what is wrong with the last of some tensors that decoders are given; None where one is right, or none is known.

    Without a scale that is whether anything is drawn at all; ``heard`` is whether anything of them moves with the mean.
    """
    deviate = DEVIATIONS.get(latent.link or latent.meaning or "") if scale is not None else torch.ones_like
    if deviate is None:
        return None
    found: Missampled | None = None
    noisy = any(not each.still for each in drawn)
    for each in drawn:
        laid = [fitting(value, mean) for value in each.values]
        if any(value is None for value in laid) or each.still and noisy:
            continue
        t0, t1, t2 = (value for value in laid if value is not None)
        s = mean if scale is None else scale
        wrong = fault(each, (t0, t1, t2), mean, (s, deviate(s)), names, heard)
        if wrong == "":
            return None
        if wrong and found is None and (scale is not None or each.still):
            found = Missampled(wrong, f"Draw it: {line_of(latent, names)}")
    return found


def line_of(latent: Latent, names: tuple[str, str]) -> str:
    """Return the line that draws z."""
    of = MEANINGS[latent.meaning or "std"].deviation.format(s=names[1])
    return f"z = {names[0]} + {of} * torch.randn_like({names[0]})"


def undrawn(names: tuple[str, str], fix: str) -> Missampled:
    """Return that what is compared with data is made of no mean and scale (or no logits) of the latents."""
    whom = f"a gradient by neither {names[0]} nor {names[1]}" if names[1] else f"no gradient by {names[0]}"
    return Missampled(f"what is compared with data has {whom}: the reconstruction trains no encoder", fix)


def fitting(value: Tensor, mean: Tensor) -> Tensor | None:
    """Return a tensor as several draws of what has the mean's shape; None where it is none."""
    n = mean.numel()
    if not value.numel() or value.numel() % n:
        return None
    if value.ndim == mean.ndim + 1 and value.shape[2:] == mean.shape[1:] and value.shape[0] == mean.shape[0]:
        value = value.movedim(1, 0)
    return value.reshape(-1, n)


def fault(
    drawn: Drawn,
    at: tuple[Tensor, Tensor, Tensor],
    mean: Tensor,
    scales: tuple[Tensor, Tensor],
    names: tuple[str, str],
    heard: bool,
) -> str | None:
    """Return what is wrong with a draw, empty where nothing is, None where it is not read."""
    t0, t1, t2 = at
    m, s, sigma = (each.flatten() for each in (mean, *scales))
    mu, scale = names
    if drawn.other:
        away = ((t0 - m) / sigma).flatten()
        even = len(away) >= MANY and bool((away >= 0).all()) and bool((away <= 1).all()) and bool(away.std() > 0.1)
        return "z is drawn with uniform noise, of mean 1/2, and a posterior's is standard normal" if even else None
    if drawn.still:
        if alike(t0, m):
            return f"z is {mu} itself, and nothing is drawn: the decoder never sees the spread that the KL weighs"
        return f"z is {mu} and a deviation, without a draw" if alike(t0, m + sigma) else None
    step = t1 - t0
    if not alike(t2 - t0, 2 * step) or not bool((step.abs() > 0).any()):
        return None
    known = next((name for name, of in SPELLED.items() if alike(step.abs(), of(s).abs())), None)
    right, centred = alike(step.abs(), sigma), alike(t0, m)
    if centred and right:
        if drawn.detached:
            return f"z is drawn without a gradient by {mu}: the reconstruction trains no encoder"
        return ""
    if bool((t0 == 0).all()) and (right or known) and not heard:
        return f"z leaves {mu} out: without noise it is 0, so the decoder sees nothing of {mu}"
    ratio = (step.abs() / sigma).flatten()
    even = bool((ratio - ratio[0]).abs().max() <= NEAR * ratio[0])
    if centred:
        i = int(ratio.log().abs().argmax()) % len(s)
        of = known.format(s=scale) if known else f"{ratio[0].item():.6g} times the KL's" if even else "another kind"
        there = f"{step.reshape(-1, len(s))[0, i].abs().item():.4g} and not {sigma[i].item():.4g}"
        return f"z is drawn with a deviation of {of}, which at {scale} = {s[i].item():.4g} is {there}, that of the KL"
    times = (t0 * m).sum() / (m * m).sum() / len(t0)
    if right and abs(times) > NEAR and alike(t0, times * m):
        return f"z is drawn about {times.item():.4g} times {mu}, and the KL is of {mu}"
    return None


def alike(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same but for a rounding, or an eps beside a deviation."""
    return bool(((one - other).abs() <= NEAR * (other.abs() + 1e-2)).all())


def missampled(problem: Problem, latent: Latent | None) -> Missampled | None:
    """Return how z, which models inside the function are given, is no draw of the posterior; None where nothing shows that."""
    means, scales = problem.plan.role("mu"), problem.plan.role("scale")
    if not problem.asked or latent is None or not latent.weight or len(means) != 1 or len(scales) != 1:
        return None
    values = benign(problem)
    mean, scale = means[0].key, scales[0].key
    values |= {mean: uniform(values[mean].shape, -1, 1, 81), scale: uniform(values[scale].shape, 0.3, 1.4, 82)}
    asked: list[list[Tensor]] = []
    for noise, seeded, by in ((0.0, 0, 0.0), (1.0, 0, 0.0), (2.0, 0, 0.0), (0.0, 1, 0.0), (0.0, 0, 0.3)):
        there = replace(problem, noise=noise)
        live = {key: (value + by if key == mean else value.clone()).requires_grad_(key == mean) for key, value in values.items()}
        there.raw(live, seeded=seeded)
        asked.append([each.reshape(len(each), -1) for each in there.asked if each.ndim])
    if len({len(each) for each in asked}) != 1:
        return None
    drawn, heard = [], False
    for now in zip(*asked, strict=True):
        if len({each.shape for each in now}) != 1:
            continue
        plain = [each.detach().double() for each in now]
        random = not torch.equal(plain[0], plain[3])
        still = torch.equal(plain[0], plain[1]) and not random
        heard |= not torch.equal(plain[0], plain[4])
        drawn.append(Drawn((plain[0], plain[1], plain[2]), random, still, not now[0].requires_grad))
    names = [slot.how.removeprefix("by its name, ").partition(" ")[0] if slot.how.startswith("by its name") else slot.key
             for slot in (means[0], scales[0])]  # fmt: skip
    return judged(drawn[::-1], values[mean], values[scale], latent, (names[0], names[1]), heard)
