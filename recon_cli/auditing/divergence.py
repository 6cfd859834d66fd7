"""A KL as a field over means and scales: what a gradient must be, near the prior and far from it, to be one's."""

from __future__ import annotations

import itertools
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.latent_fields import DEVIATION, PRIOR, SQUARED, Deviation, LatentSide, Looked, Turn, slopes
from recon_cli.auditing.probes import value_at

SAME = 1e-6
EPS = 1e-4  # what an eps inside a logarithm makes of a weight
FAR = 1e-2  # and of a gradient at the smallest scales
LINKED: dict[str, Deviation] = {  # of a scale whose name says nothing: what makes any number a deviation
    "the softplus makes it a standard deviation": torch.nn.functional.softplus,
    "the softplus makes it a variance": lambda s: torch.nn.functional.softplus(s).sqrt(),
    "the sigmoid makes it a standard deviation": torch.sigmoid,
}
DEVIATIONS = {**DEVIATION, **LINKED}


@dataclass(frozen=True)
class Gaussians:
    """A posterior and a prior, by what their tensors are called: ``mean`` is the difference of both where ``centre`` is None."""

    mean: Any
    scale: Any
    centre: Any
    width: Any

    def divergence(self, tensors: Mapping[Any, Tensor], posterior: Tensor, prior: Tensor, draw: Tensor | None = None) -> Tensor:
        """Return the KL of these deviations, summed: in closed form, or at a draw of standard normal noise."""
        away = tensors[self.mean] - (0.0 if self.centre is None else tensors[self.centre])
        spread = (posterior**2 + away**2) if draw is None else (away + posterior * draw) ** 2
        return (prior.log() - posterior.log() + spread / prior**2 / 2).sum()

    def fit(
        self, posterior: Deviation, prior: Deviation, values: Mapping[Any, Tensor], measured: Mapping[Any, Tensor],
        draw: Tensor | None = None,
    ) -> bool:  # fmt: skip
        """Whether gradients that were measured are one multiple of those of this divergence."""
        live = {key: value.detach().clone().requires_grad_() for key, value in values.items()}
        try:
            kl = self.divergence(live, posterior(live[self.scale]), prior(live[self.width]), draw)
            grads = torch.autograd.grad(kl, [*live.values()])
        except RuntimeError:  # of shapes that do not go together
            return False
        theirs = torch.cat([grad.flatten() for grad in grads])
        ours = torch.cat([measured[key].flatten() for key in live])
        weight = (ours @ theirs) / (theirs @ theirs)
        return bool((ours - weight * theirs).abs().max() <= SAME * ours.abs().max())  # False for what is no number


@dataclass(frozen=True)
class Latent:
    """The latent term as measured.

    weight
        b, what a KL summed over all is multiplied with; None where it is none.
    meaning
        of the scale: log_variance, log_std, std, variance; None without one, or of a distribution object.
    wrong
        why it is no KL, with the numbers that disagree; empty where it is one.
    forms
        free nats and capacities.
    link
        in words, what the scale goes through before it is a deviation; empty where that is its meaning alone.
    prior, centre
        the variance and the mean of the prior.
    line, to, classes
        of latents that are classes or bits, their KL as a line of torch, in words what it is to, and of how many classes it has
        the logarithm where these are others than the latents here.
    unexplained
        in words, what is known of a term in the latents that is not recognised, and is no KL of a sample.
    """

    weight: float | None
    meaning: str | None = None
    wrong: str = ""
    forms: Turn | None = None
    named: str | None = None
    prior: float = 1.0
    notes: tuple[str, ...] = ()
    dead: bool = False
    link: str = ""
    centre: float = 0.0
    line: str = ""
    to: str = ""
    classes: int = 0
    unexplained: str = ""

    @property
    def standard(self) -> bool:
        """Whether the prior is a standard normal."""
        return abs(self.prior - 1) < 1e-4 and abs(self.centre) < 1e-6

    @property
    def squared(self) -> Turn | None:
        """The target that the KL is driven to by the square of its distance, if it is: then it has no one weight."""
        return self.forms if self.forms is not None and self.forms.kind == SQUARED else None


def field(side: LatentSide, near: Looked) -> Latent | None:
    """Return the KL that the gradients are, or why they are none; None where they do not run as any KL's near the prior."""
    scale, named = side.scale, side.named
    m, g = near.mean.flatten(), near.by_mean.flatten()
    line = torch.stack([m, torch.ones_like(m)], dim=1)
    slope, at_zero = torch.linalg.lstsq(line, g[:, None]).solution.flatten().tolist()
    bent = (g - line @ torch.tensor([slope, at_zero], dtype=torch.float64)).abs().max() > SAME * g.abs().max()
    if bent:
        return None
    if abs(slope) < 1e-6 * abs(at_zero):
        return Latent(None, None, f"it is linear in the means, of slope {at_zero:.6g}")
    centre = -at_zero / slope if abs(at_zero) > 1e-9 * abs(slope) else 0.0
    notes: tuple[str, ...] = (f"the prior's mean is {centre:.6g}",) if centre else ()
    samples = (side.outside(named, width) for width in (1.0, 0.5))
    outer = [*itertools.islice(filter(None, samples), 1)]
    if any(off_line(sample, slope, at_zero) > EPS for sample in outer):
        return None
    still = not any(bool(sample.by_scale.abs().max() > 0) for sample in (near, *outer))
    if not scale or still:
        if scale and cancelled(side):
            return Latent(None, None, f"{scale} cancels: it is the same at every {scale}")
        if centre and not nothing_left(side, centre, None, slope):
            return Latent(None, None, f"it is least at means of {centre:.6g}, and there it is not 0")
        notes += ("its scale is not in it",) if scale else ()
        return Latent(slope, None, named=named, notes=notes, centre=centre)
    best: list[tuple[float, str, float, float]] = []
    for meaning, deviate in DEVIATIONS.items():
        first, second = slopes(deviate, near.scale)
        basis = torch.stack([first.flatten(), -second.flatten()], dim=1)
        over, weight = torch.linalg.lstsq(basis, near.by_scale.flatten()[:, None]).solution.flatten().tolist()
        rest = near.by_scale.flatten() - basis @ torch.tensor([over, weight], dtype=torch.float64)
        best.append((float((rest.abs() / (basis.abs().sum(dim=1) * abs(slope))).max()), meaning, over, weight))
    fits = [each for each in best if each[0] <= EPS]
    for _, meaning, over, weight in sorted(fits, key=lambda each: each[1] != named):
        prior = weight / over if over else 0.0
        if abs(over - slope) > EPS * abs(slope) or not prior > 0:
            continue
        plain = abs(weight - slope) <= EPS * abs(slope)
        if not (plain and not centre) and not nothing_left(side, centre, (meaning, prior), weight):
            continue
        clamp = held_out(side, meaning, (slope, at_zero, over, weight))
        if clamp is None:
            reason = f"it is a KL at scales near the prior's only: far out its gradient by {scale} is another"
            return Latent(None, meaning if meaning in PRIOR else None, reason)
        link = meaning if meaning in LINKED else ""
        notes += (clamp,) if clamp else ()
        notes += (f"the prior's variance is {prior:.6g}",) if not plain else ()
        notes += (f"{scale}: {link}",) if link else ()
        b, scale_meaning = (slope if plain else weight), (None if link else meaning)
        return Latent(b, scale_meaning, named=named, prior=prior, notes=notes, link=link, centre=centre)
    return Latent(None, *why_not(side, slope, centre, fits))


def off_line(looked_at: Looked, slope: float, at_zero: float) -> float:
    """Return by how much gradients by the means leave a line, relative to it."""
    line = slope * looked_at.mean + at_zero
    return float(((looked_at.by_mean - line).abs() / (abs(slope) * (looked_at.mean.abs() + 1e-2))).max())


def held_out(side: LatentSide, meaning: str, weights: tuple[float, float, float, float]) -> str | None:
    """Whether small and large scales bear a KL out: empty, or in words where it is clamped; None where they do not."""
    slope, at_zero, over, weight = weights
    sample = next((s for s in (side.outside(meaning, width) for width in (1.0, 0.5, 0.25)) if s), None)
    if sample is None:
        return "far from the prior it is not finite, so only near it was it looked at"
    first, second = slopes(DEVIATIONS[meaning], sample.scale)
    expected, size = over * first - weight * second, abs(over) * first.abs() + abs(weight) * second.abs()
    wrong = (sample.by_scale - expected).abs() > FAR * size
    if not bool(wrong.any()):
        return "" if off_line(sample, slope, at_zero) <= EPS else None
    zero = sample.by_scale == 0
    inner = sample.scale[~zero]
    if bool((wrong & ~zero).any()) or not len(inner) or off_line(sample, slope, at_zero) > EPS:
        return None
    low, high = inner.min().item(), inner.max().item()
    if bool((zero & (sample.scale > low) & (sample.scale < high)).any()):
        return None
    return f"{side.scale} is clamped: beyond {low:.3g} or {high:.3g} it has no gradient"


def why_not(side: LatentSide, slope: float, centre: float, fits: list[tuple[float, str, float, float]]) -> tuple[str | None, str]:
    """Return what the scale means as far as that can be told, and in words what makes it no KL."""
    mu, scale, named = side.mu, side.scale, side.named
    meaningful = [fit for fit in sorted(fits, key=lambda each: each[1] != named) if fit[1] in PRIOR]

    def pulled(meaning: str) -> tuple[float, str]:
        at = PRIOR[meaning]
        pull = side.pull_at(at)
        return pull, f"at the prior ({scale} = {at:g}, {mu} = 0) its gradient by the scale is {pull:.6g}, and a KL's is 0"

    if not meaningful:
        pull, words = pulled(named or "log_variance")
        if abs(pull) > SAME * abs(slope):
            return None, words
        return None, f"its gradient by {scale} is that of a KL for no meaning of {scale}: log variance, log std, std, variance"
    _, meaning, over, weight = meaningful[0]
    if abs(over - slope) > EPS * abs(slope):
        return meaning, f"its means weigh {slope:.6g} and its variances {over:.6g}; in a KL both weigh the same"
    if weight / over <= 0:
        return meaning, f"its logarithm of the variance weighs {weight:.6g}, the means {slope:.6g}"
    if abs(weight - slope) <= EPS * abs(slope):
        return meaning, f"it is least at means of {centre:.6g}, and there it is not 0, as the KL to a prior about that is"
    return meaning, pulled(meaning)[1]


def parallel(side: LatentSide, meaning: str, near: Looked) -> bool:
    """Whether every latent's gradient points as its KL's does, whatever its weight: free nats and capacities."""
    if not side.scale:
        return False
    samples = [near, *filter(None, (side.outside(meaning, width) for width in (1.0, 0.5)))]
    for each in samples:
        first, second = slopes(DEVIATION[meaning], each.scale)
        pull = first - second
        across = (each.by_mean * pull - each.by_scale * each.mean).abs()
        size = (each.by_mean.abs() + each.by_scale.abs()) * (first.abs() + second.abs() + each.mean.abs())
        if bool((across > EPS * size).any()):
            return False
    return len(samples) > 1


def unlike(near: Looked, scale: str) -> str:
    """Return in words how gradients by the means are no KL's."""
    ratio = near.by_mean / near.mean
    if (ratio - ratio[0, 0]).abs().max() <= SAME * ratio.abs().max():
        return "its gradient by a mean is a multiple of the mean near 0 only"
    if scale and len(ratio) > 1 and (ratio - ratio[:1]).abs().max() <= SAME * ratio.abs().max():
        return "the latents weigh differently: " + ", ".join(f"{v:.4g}" for v in ratio[0, :4].tolist())
    spread = f"from {ratio.min().item():.6g} to {ratio.max().item():.6g}"
    return f"its gradient by a mean is no multiple of the mean (the ratio runs {spread})"


def cancelled(side: LatentSide) -> bool:
    """Whether the loss is computed from the scale, although its gradient by it is 0."""
    live = {**side.base, side.scale: side.base[side.scale].clone().requires_grad_()}
    loss = side.problem(live)
    return loss.requires_grad and torch.autograd.grad(loss, live[side.scale], allow_unused=True)[0] is not None


def nothing_left(
    side: LatentSide, centre: float, prior: tuple[str, float] | None, weight: float, level: float = 0.0
) -> bool:  # fmt: skip
    """Whether the latent term is 0 at its least, as a KL is: against the loss where the reconstruction's own value is 0.

    Or where its means are ``centre`` and its variances the prior's, ``level`` nats of each latent.

    A prior of its own shows in that alone: without it, wrong weights look the same.
    """
    problem, base = side.problem, side.base
    posteriors = [slot.key for slot in problem.plan.role("posterior")]
    means = {side.mu, *(slot.key for slot in problem.plan.role("mu")), *(f"{key}.mean" for key in posteriors)} & base.keys()
    least = {key: torch.full_like(base[key], centre) for key in means}
    if side.scale and prior is not None:
        meaning, variance = prior
        spot = inverse(DEVIATIONS[meaning], math.sqrt(variance))
        scales = {side.scale, *(slot.key for slot in problem.plan.role("scale")), *(f"{key}.logvar" for key in posteriors)}
        least |= {key: torch.full_like(base[key], spot) for key in scales & base.keys()}
    most, there = 1e-6 * abs(weight) * base[side.mu].numel(), {**base, **least}
    nats = weight * level * base[side.mu].numel()
    if any(abs(value_at(problem, settled(problem, there, how)) - nats) < most for how in (None, torch.round, torch.zeros_like)):
        return True
    return abs(left_by_latents(problem, there, least.keys(), means) - nats) < most


def settled(problem: Problem, values: Values, certain: Deviation | None) -> dict[str, Tensor]:
    """Return values with every target made ``certain``, and its reconstruction that, all but: the target as it is where None."""
    there = dict(values)
    for recon in problem.plan.role("recon"):
        target = next((t for t in problem.plan.role("target") if t.group == recon.group), None)
        if target is not None and values[target.key].shape == values[recon.key].shape:
            x = values[target.key] if certain is None else certain(values[target.key])
            there |= {target.key: x, recon.key: x if certain is None else x * (1 - 2e-13) + 1e-13}
    return there


def left_by_latents(problem: Problem, values: Values, latents: Collection[str], means: Collection[str]) -> float:
    """Return what as many latents again add to the loss where their term is least; NaN where they do not weigh the same.

    A reconstruction's normaliser, which is there whatever the latents, drops out.
    """
    sizes = problem.sizes
    wider = problem.at(sizes=replace(sizes, latent=(2 * sizes.latent[0], *sizes.latent[1:])))
    doubled = {key: torch.cat([value, value], dim=1) if key in latents else value for key, value in values.items()}
    few, many = (value_at(*each) for each in ((problem, values), (wider, doubled)))
    rises = [
        value_at(where, {key: value + (key in means) for key, value in at.items()}) - level
        for where, at, level in ((problem, values, few), (wider, doubled, many))
    ]
    return many - few if abs(rises[1] - 2 * rises[0]) < EPS * abs(rises[1]) else math.nan


def inverse(deviate: Deviation, sigma: float) -> float:
    """Return the scale at which a deviation is ``sigma``, by halving."""
    low, high = (-30.0, 30.0) if deviate(torch.tensor(-1.0)) > 0 else (1e-9, 1e6)
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if deviate(torch.tensor(middle, dtype=torch.float64)).item() < sigma else (low, middle)
    return high
