"""The latents' side: is it a KL, of what weight, and what does its scale mean, whatever it is called?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem
from recon_cli.auditing.measuring import benign, gradients, uniform

SAME = 1e-6
EPS = 1e-4  # what an eps inside a logarithm makes of a weight
NODES = ((0.0, 2 / 3), (math.sqrt(3), 1 / 6), (-math.sqrt(3), 1 / 6))  # Gauss-Hermite: exact for polynomials up to degree 5

# d KL/d scale for a prior of variance v is b (first/v - second), of each meaning of the scale.
MEANINGS = {
    "log_variance": (lambda s: s.exp() / 2, lambda s: torch.full_like(s, 0.5)),
    "log_std": (lambda s: (2 * s).exp(), torch.ones_like),
    "std": (lambda s: s, lambda s: 1 / s),
    "variance": (lambda s: torch.full_like(s, 0.5), lambda s: 0.5 / s),
}
PRIOR = {"log_variance": 0.0, "log_std": 0.0, "std": 1.0, "variance": 1.0}  # where the posterior's variance is 1
DEVIATION = {
    "log_variance": lambda s: (s / 2).exp(),
    "log_std": torch.exp,
    "std": lambda s: s,
    "variance": torch.sqrt,
}


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
        free nats and capacities, in words.
    value
        at its minimum, per sample and unit of weight, where that could be told.
    """

    weight: float | None
    meaning: str | None = None
    wrong: str = ""
    forms: str = ""
    named: str | None = None
    prior: float = 1.0
    notes: tuple[str, ...] = ()
    dead: bool = False


def averaged(
    problem: Problem, values: Mapping[str, Tensor], keys: list[str], deviation: Any = None
) -> tuple[float, dict[str, Tensor]]:
    """Gradients; where a sample ``z`` is an argument or drawn inside, the mean over three nodes of the normal.

    ``deviation`` says how a draw depends on mean and scale, so that their gradients pass through it.
    """
    draws = problem.plan.role("z")
    if problem.noise is None and not (draws and deviation):
        return gradients(problem, values, keys)
    loss, sums = 0.0, {key: torch.zeros_like(values[key]) for key in keys}
    for node, share in NODES:
        live = {key: value.detach().clone() for key, value in values.items()}
        for key in keys:
            live[key].requires_grad_()
        for slot in draws:
            live[slot.key] = deviation(live, node)
        found = problem.at(noise=node if problem.noise is not None else None)(live)
        grads = (
            torch.autograd.grad(found, [live[key] for key in keys], allow_unused=True)
            if found.requires_grad
            else [None] * len(keys)
        )
        loss += share * found.item()
        for key, grad in zip(keys, grads, strict=True):
            if grad is not None:
                sums[key] += share * grad
    return loss, sums


def measure(problem: Problem) -> Latent | None:
    """The latent term of a loss, or None where nothing of it depends on latents."""
    base = benign(problem)
    (kl,) = problem.plan.role("kl")[:1] or (None,)
    (probs,) = problem.plan.role("probs")[:1] or (None,)
    (mu,) = problem.plan.role("mu")[:1] or (None,)
    (scale,) = problem.plan.role("scale")[:1] or (None,)
    (posterior,) = problem.plan.role("posterior")[:1] or (None,)
    if posterior is not None and mu is None:
        found = gaussian(problem, base, f"{posterior.key}.mean", f"{posterior.key}.logvar", None)
        return found if problem.layout.posterior == "pair" or found is None else replace(found, meaning=None)
    if mu is not None:
        found = gaussian(problem, base, mu.key, scale.key if scale else None, scale.meaning if scale else None)
        if found is not None or kl is None:
            return found
    if kl is not None:
        return given(problem, base)
    return categorical(problem, base, probs.key) if probs is not None else None


def given(problem: Problem, base: dict[str, Tensor]) -> Latent | None:
    """KL terms that are passed in: the mean of their gradients (balanced weights are detached, and one on average)."""
    keys = [slot.key for slot in problem.plan.role("kl")]
    _, grads = gradients(problem, base, keys)
    slope = sum(grad.mean().item() for grad in grads.values()) / len(keys)  # of one number, the mean of the batch, a share each
    return Latent(slope) if slope else None


def gaussian(problem: Problem, base: dict[str, Tensor], mu: str, scale: str | None, named: str | None) -> Latent | None:
    """A KL between Gaussians: its field over means and scales."""
    keys = [mu, *([scale] if scale else [])]
    if scale and (drawn := sampled(problem, base, mu, scale, named)) is not None:
        return drawn

    def deviation(live: Mapping[str, Tensor], node: float) -> Tensor:
        return live[mu] + node * (DEVIATION[named or "log_variance"](live[scale]) if scale else 1.0)

    values = dict(base)
    values[mu] = uniform(base[mu].shape, -1.2, 1.2, 51)
    if scale:  # of logarithms and of deviations both, far from an eps that is added to a small one
        values[scale] = uniform(base[scale].shape, 0.3, 1.9, 52)
    _, grads = averaged(problem, values, keys, deviation)
    g_mu, m = grads[mu], values[mu]
    forms, offset = levels(problem, base, mu, scale, deviation)
    if not bool(g_mu.abs().max() > 0) and not forms:
        if scale is None or not bool(grads[scale].abs().max() > 0):
            return None
        return Latent(None, None, "it does not depend on the means of the latents", dead=True)
    if forms:
        return Latent(offset, meaning_only(problem, base, mu, scale, deviation), "", forms, named)
    centred = torch.stack([m.flatten(), torch.ones(m.numel(), dtype=torch.float64)], dim=1)
    (slope, at_zero) = torch.linalg.lstsq(centred, g_mu.flatten()[:, None]).solution.flatten().tolist()
    off = (g_mu.flatten() - centred @ torch.tensor([slope, at_zero], dtype=torch.float64)).abs().max() / g_mu.abs().max()
    uneven = (g_mu / m).flatten()
    if off > SAME and scale is not None and (weighed := pairwise(g_mu, m)):
        return Latent(None, None, weighed, named=named)
    if off > SAME:
        spread = f"from {uneven.min().item():.6g} to {uneven.max().item():.6g}"
        return Latent(None, None, f"its gradient by a mean is no multiple of the mean (the ratio runs {spread})", named=named)
    if abs(slope) < 1e-6 * abs(at_zero):
        return Latent(None, None, f"it is linear in the means, of slope {at_zero:.6g}", named=named)
    if abs(at_zero) > 1e-9 * abs(slope):
        return Latent(slope, None, "", named=named, notes=(f"the prior's mean is {-at_zero / slope:.6g}",))
    if scale is None:
        return Latent(slope, None)
    return scaled(problem, base, grads[scale], values[scale], slope, scale, mu, named, deviation)


def sampled(problem: Problem, base: dict[str, Tensor], mu: str, scale: str, named: str | None) -> Latent | None:
    """A KL by one sample z that is passed in, log q(z) - log p(z), whatever the prior p: log q's own gradients at a fixed z.

    They are b (z - mu)/v by a mean and b ((z - mu)^2/v - 1)/2 times dv/v by a scale. None where z is not used.
    """
    slots = problem.plan.role("z")
    if not slots:
        return None
    keys = [mu, scale, slots[0].key]
    _, grads = gradients(problem, base, keys)
    if not bool(grads[keys[2]].abs().max() > 0):
        return None
    z, m, s = (base[key] for key in (keys[2], mu, scale))
    best = (math.inf, "", 0.0)
    for meaning, deviate in DEVIATION.items():
        leaves = [m.clone().requires_grad_(), s.clone().requires_grad_()]
        sigma = deviate(leaves[1])
        log_q = -sigma.log() - ((z - leaves[0]) / sigma).square() / 2
        both = torch.cat([grad.flatten() for grad in torch.autograd.grad(log_q.sum(), leaves)])
        measured = torch.cat([grads[mu].flatten(), grads[scale].flatten()])
        weight = ((both * measured).sum() / (both * both).sum()).item()
        off = ((measured - weight * both).abs().max() / measured.abs().max()).item()
        best = min(best, (off, meaning, weight))
    if best[0] > SAME:
        said = f"its log q(z) is no normal density's: its gradients at a fixed z are off by {best[0]:.3g} of the largest at best"
        return Latent(None, None, said, named=named)
    return Latent(best[2], best[1], named=named, notes=("the KL is of one sample z; its prior is not looked into",))


def pairwise(g_mu: Tensor, m: Tensor) -> str:
    """In words, samples or latents that weigh differently; empty where that is not it."""
    ratio = g_mu / m
    by_latent = (ratio - ratio[:1]).abs().max() <= SAME * ratio.abs().max()
    return (
        "the latents weigh differently: " + ", ".join(f"{v:.4g}" for v in ratio[0, :4].tolist())
        if by_latent and len(ratio) > 1
        else ""
    )


def scaled(
    problem: Problem, base: Any, g: Tensor, s: Tensor, slope: float, scale: str, mu: str, named: str | None, deviation: Any
) -> Latent:
    """What the scale means: the one whose two terms make up its gradient, and whether they weigh as the means do."""
    if not bool(g.abs().max() > 0):
        if cancelled(problem, base, scale):
            return Latent(slope, None, f"{scale} cancels: it is the same at every {scale}", named=named)
        return Latent(slope, None, notes=("its scale is not in it",), named=named)
    best: tuple[float, str, float, float] | None = None
    for meaning, (first, second) in MEANINGS.items():
        basis = torch.stack([first(s).flatten(), -second(s).flatten()], dim=1)
        over, weight = torch.linalg.lstsq(basis, g.flatten()[:, None]).solution.flatten().tolist()
        off = float((g.flatten() - basis @ torch.tensor([over, weight], dtype=torch.float64)).abs().max() / g.abs().max())
        if best is None or off < best[0]:
            best = (off, meaning, over, weight)
    off, meaning, over, weight = best  # type: ignore[misc]
    if off > EPS:
        where = resting(problem, base, scale, mu, deviation)
        if where is None:
            at = PRIOR[named or "log_variance"]
            pull = pull_at(problem, base, scale, mu, at, deviation)
            said = f"at the prior ({scale} = {at:g}, {mu} = 0) its gradient by the scale is {pull:.6g}, and a KL's is 0"
            return Latent(None, None, said, named=named)
        return Latent(slope, None, named=named, notes=(f"the scale goes through a function of its own; it rests at {where:.6g}",))
    if abs(over - slope) > EPS * abs(slope):
        said = f"its means weigh {slope:.6g} and its variances {over:.6g}; in a KL both weigh the same"
        return Latent(slope, meaning, said, named=named)
    if abs(weight - slope) > EPS * abs(slope):
        prior = weight / over
        if prior <= 0:
            return Latent(
                slope, meaning, f"its logarithm of the variance weighs {weight:.6g}, the means {slope:.6g}", named=named
            )
        pull = pull_at(problem, base, scale, mu, PRIOR[meaning], deviation)
        level = minimum(problem, base, mu, scale, meaning, prior) / weight
        if abs(level) < 1e-6:
            return Latent(weight, meaning, "", named=named, prior=prior, notes=(f"the prior's variance is {prior:.6g}",))
        said = f"at the prior ({scale} = {PRIOR[meaning]:g}, {mu} = 0) its gradient by the scale is {pull:.6g}, and a KL's is 0"
        return Latent(slope, meaning, said, named=named)
    return Latent(slope, meaning, named=named)


def cancelled(problem: Problem, base: Any, scale: str) -> bool:
    """Whether the loss is computed from the scale, although its gradient by it is 0."""
    live = {**base, scale: base[scale].clone().requires_grad_()}
    loss = problem(live)
    return loss.requires_grad and torch.autograd.grad(loss, live[scale], allow_unused=True)[0] is not None


def minimum(problem: Problem, base: Any, mu: str, scale: str, meaning: str, prior: float) -> float:
    """The latent term at its minimum, per sample and latent: against the loss where the reconstruction is the same."""
    spot = {"log_variance": math.log(prior), "log_std": math.log(prior) / 2, "std": math.sqrt(prior), "variance": prior}[meaning]
    still = {**base, mu: torch.zeros_like(base[mu]), scale: torch.full_like(base[scale], spot)}
    for recon in problem.plan.role("recon"):
        target = next((t for t in problem.plan.role("target") if t.group == recon.group), None)
        if target is not None and base[target.key].shape == base[recon.key].shape:
            still[recon.key] = base[target.key]
    return problem(still).item() / base[mu].numel()


def pull_at(problem: Problem, base: Any, scale: str, mu: str, at: float, deviation: Any) -> float:
    """The gradient by one scale where the means are 0 and the scales ``at``."""
    still = {**base, mu: torch.zeros_like(base[mu]), scale: torch.full_like(base[scale], at)}
    return averaged(problem, still, [scale], deviation)[1][scale].flatten()[0].item()


def resting(problem: Problem, base: Any, scale: str, mu: str, deviation: Any) -> float | None:
    """Where the gradient by the scale changes sign from below, with the means at 0; None where it does not."""
    grid = torch.linspace(-6, 6, 49, dtype=torch.float64)
    pulls = [pull_at(problem, base, scale, mu, at, deviation) for at in grid.tolist()]
    for i in range(len(pulls) - 1):
        if pulls[i] < 0 <= pulls[i + 1]:
            low, high = grid[i].item(), grid[i + 1].item()
            for _ in range(60):
                middle = (low + high) / 2
                low, high = (middle, high) if pull_at(problem, base, scale, mu, middle, deviation) < 0 else (low, middle)
            return high
    return None


def levels(problem: Problem, base: Any, mu: str, scale: str | None, deviation: Any) -> tuple[str, float]:
    """Whether the weight depends on how large the KL is: free nats, a capacity. In words, and the weight far out; else empty."""
    found = []
    for size in (0.02, 0.1, 0.3, 1.0, 2.0, 4.0, 8.0):
        still = {**base, mu: torch.full_like(base[mu], size)}
        for at in (0.0, 1.0) if scale else ():  # a logarithm's prior, else a deviation's
            still[scale] = torch.full_like(base[scale], at)
            loss, grads = averaged(problem, still, [mu, scale], deviation)
            if math.isfinite(loss) and bool(grads[scale].isfinite().all()):
                break
        _, grads = averaged(problem, still, [mu], deviation)
        found.append((size, grads[mu].flatten()[0].item() / size))
    weights = [weight for _, weight in found]
    far, most = weights[-1], max(map(abs, weights))
    if not most or all(abs(weight - far) <= SAME * most for weight in weights):
        return "", 0.0
    if all(abs(weight) < 1e-12 * most or abs(weight - far) <= SAME * most for weight in weights):
        last = max(size for size, weight in found if abs(weight) < 1e-12 * most)
        return f"free nats: the KL costs nothing up to a mean between {last:g} and {after(found, last):g} in every latent", far
    if all(abs(abs(weight) - abs(far)) <= SAME * most for weight in weights):
        last = max(size for size, weight in found if weight * far < 0)
        return f"a capacity: the KL is driven up until the means are between {last:g} and {after(found, last):g}", far
    if weights[0] * far < 0:
        return "a capacity: the KL is driven to a size of its own, by the square of its distance", far
    return "", 0.0


def after(found: list[tuple[float, float]], size: float) -> float:
    """The next size tried."""
    return next(other for other, _ in found if other > size)


def meaning_only(problem: Problem, base: Any, mu: str, scale: str | None, deviation: Any) -> str | None:
    """The scale's meaning far out, where free nats and capacities do not act."""
    if scale is None:
        return None
    values = {**base, mu: torch.full_like(base[mu], 8.0), scale: uniform(base[scale].shape, 0.4, 1.6, 53)}
    g, s = averaged(problem, values, [scale], deviation)[1][scale], values[scale]
    for meaning, (first, second) in MEANINGS.items():
        form = first(s) - second(s)
        weight = (form * g).sum() / (form * form).sum()
        if bool(g.abs().max() > 0) and (g - weight * form).abs().max() < 1e-5 * g.abs().max():
            return meaning
    return None


def categorical(problem: Problem, base: dict[str, Tensor], key: str) -> Latent | None:
    """A KL of categorical latents to uniform ones: of probabilities, or of their logits."""
    q = uniform(base[key].shape, 0.1, 0.9, 61)
    _, grads = averaged(problem, {**base, key: q}, [key])
    g = grads[key]
    if not bool(g.isfinite().all()) or not bool(g.abs().max() > 0):
        return None
    basis = torch.stack([q.log().flatten(), torch.ones(q.numel(), dtype=torch.float64)], dim=1)
    weight, constant = torch.linalg.lstsq(basis, g.flatten()[:, None]).solution.flatten().tolist()
    off = (g.flatten() - basis @ torch.tensor([weight, constant], dtype=torch.float64)).abs().max() / g.abs().max()
    if off < SAME:
        return Latent(
            weight, notes=(f"the latents are categorical, of probabilities, {math.exp(constant / weight - 1):.6g} classes",)
        )
    B, latent = len(q), problem.sizes.latent
    logits = 2 * q
    for name, shape in (("", (B, *latent)), ("joined", (B, -1))):
        if name and len(latent) == 1 and latent[0] > 1 or not name and len(latent) == 1:
            shape = (B, -1)
        leaf = logits.clone().requires_grad_()
        p = leaf.reshape(shape).softmax(-1)
        (reference,) = torch.autograd.grad((p * p.log()).sum(), leaf)
        _, grads = averaged(problem, {**base, key: logits}, [key])
        weight = ((reference * grads[key]).sum() / (reference * reference).sum()).item()
        if (grads[key] - weight * reference).abs().max() < 1e-5 * grads[key].abs().max():
            count = math.prod(p.shape[1:-1])
            level = bottom(problem, base, key, weight) / B
            dropped = -count * math.log(p.shape[-1])
            if level < -1e-6 and abs(level - dropped) > 1e-6:
                said = f"its minimum is {level:.6g} nats a sample, and a KL is never below 0"
                joint = (
                    f" (one softmax over all {p.shape[-1]} entries)"
                    if p.shape[1:] != latent[-len(p.shape[1:]) :] or count == 1
                    else ""
                )
                return Latent(weight, None, said + joint)
            if name and len(latent) > 1:
                return Latent(
                    weight, None, f"one softmax runs over all {p.shape[-1]} entries, not over each latent's {latent[-1]}"
                )
            return Latent(weight, notes=(f"the latents are categorical, of logits, {p.shape[-1]} classes",))
    return Latent(None, None, "its gradient is no categorical KL's")


def bottom(problem: Problem, base: Any, key: str, weight: float) -> float:
    """The latent term at uniform logits, the reconstruction's own value left out, in units of its weight."""
    still = {**base, key: torch.zeros_like(base[key])}
    for recon in problem.plan.role("recon"):
        for target in problem.plan.role("target"):
            if target.group == recon.group and base[target.key].shape == base[recon.key].shape:
                sure = base[target.key].round()
                still[target.key], still[recon.key] = sure, sure * (1 - 2e-13) + 1e-13
    return problem(still).item() / weight
