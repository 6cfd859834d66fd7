"""A norm of what is left between a sample and its reconstruction: no sum over its elements. And importance-weighted bounds.

e^-||e||/b has an integral that no mean moves, so it is a density, of the sample as a whole: far from each sample its pull is the
same, however many elements it has. The elements are not independent, so none of them has a noise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recon_cli.auditing.calling import Problem, Values
from recon_cli.auditing.probes import benign, gradients, uniform
from recon_cli.auditing.reach.call_plans import Slot

BY_LOGS = ", by their log-weights"
NEAR = 1e-4  # what an eps within a root makes of it


def norm(problem: Problem, pair: tuple[Slot, Slot | None]) -> str:
    """Return what a reconstruction is compared by the norm of, in words: "each sample"; empty where it is not by one."""
    (recon, _), base = pair, benign(problem)
    if (x := data_of(base, pair)) is None:
        return ""
    residual = uniform(x.shape, 0.15, 0.2, 91) * (0.5 - x).sign()  # far above an eps, and no share leaves (0, 1)
    weights: list[Tensor] = []
    alike = torch.empty(0)
    for by in (1.0, 0.4):
        at = x + by * residual * uniform(x.shape, 0.7, 1.3, 93 + len(weights))
        e, g = at - x, gradients(problem, {**base, recon.key: at}, [recon.key])[1][recon.key]
        if not bool(g.isfinite().all()) or not bool(g.abs().max() > 0):
            return ""
        ratio = (g / e).flatten()
        group = (ratio - ratio[0]).abs() <= NEAR * ratio[0].abs()
        if int(group.sum()) < 2 or len(weights) and not torch.equal(group, alike):
            return ""
        alike = group
        weights.append(ratio[0] * e.flatten()[group].norm())
    count, D = int(alike.sum()), x[0].numel()
    if x.numel() % count or abs(weights[0] - weights[1]) > NEAR * abs(weights[0]) or falls(problem, base, pair):
        return ""
    if count == x.numel():
        return "the whole batch" if len(x) > 1 else "each sample"
    return "each sample" if count == D else f"each {count:,} elements of a sample" if D % count == 0 else ""


def data_of(base: Values, pair: tuple[Slot, Slot | None]) -> Tensor | None:
    """Return the data that a reconstruction of their shape is compared with; None where there are none."""
    recon, target = pair
    x = base[target.key] if target is not None else None
    return x if x is not None and x.shape == base[recon.key].shape and x.is_floating_point() else None


def falls(problem: Problem, base: Values, pair: tuple[Slot, Slot | None]) -> bool:
    """Whether a pull falls as all residuals grow, as that of a noise which a batch chooses, and of no norm."""
    recon, target = pair
    x, r = base[target.key], base[recon.key]  # type: ignore[union-attr]
    near, far = (
        gradients(problem, {**base, recon.key: x + by * (r - x)}, [recon.key])[1][recon.key].flatten()[0].item()
        for by in (1.0, 3.0)
    )
    return abs(near - far) > NEAR * abs(near)


def bound(problem: Problem, pair: tuple[Slot, Slot | None]) -> str:
    """Return of what a loss is an importance-weighted bound, -log mean of weights, in words; empty of any other.

    It pulls at log-weights as their softmax does; at reconstructions by weights that add up to one number, whatever they are.
    """
    recon, target = pair
    base = benign(problem)
    if base[recon.key].ndim != 2:
        return ""
    if target is None or base[target.key].shape != base[recon.key].shape:
        return of_log_weights(problem, base, recon.key)
    x = base[target.key]
    if not x.is_floating_point():
        return ""
    sums, shares = [], []
    for number in (94, 95):
        e = uniform(x.shape, 0.05, 0.3, number) * (0.5 - x).sign()
        g = gradients(problem, {**base, recon.key: x + e}, [recon.key])[1][recon.key]
        ratio = g / e
        if not bool(ratio.isfinite().all()) or bool(((ratio - ratio[:, :1]).abs() > NEAR * ratio[:, :1].abs()).any()):
            return of_log_weights(problem, base, recon.key)
        sums.append(ratio[:, 0].sum())
        shares.append(ratio[:, 0] / ratio[:, 0].sum())
    conserved = abs(sums[0] - sums[1]) <= NEAR * abs(sums[0])
    moved = bool((shares[0] - shares[1]).abs().max() > 10 * NEAR)
    return f"{len(x)} samples" if conserved and moved else of_log_weights(problem, base, recon.key)


def of_log_weights(problem: Problem, base: Values, key: str) -> str:
    """Return what ``bound`` does of an argument that has log-weights itself, others being the same everywhere."""
    still = {k: torch.full_like(v, 0.3) if v.is_floating_point() and k != key else v for k, v in base.items()}
    v = base[key]
    shape = (len(v), *(problem.sizes.shape if v.shape[1] == problem.sizes.D else v.shape[1:]))
    g = gradients(problem, still, [key])[1][key].reshape(shape)
    v = v.reshape(shape)
    for axis, count in enumerate(shape):
        share, total = v.softmax(axis), g.sum(axis, keepdim=True)
        if count > 1 and bool(g.any()) and bool(((g - share * total).abs() <= NEAR * g.abs().max()).all()):
            return f"{count} samples{BY_LOGS}"
    return ""


def is_along(gradient: Tensor, output: Tensor, data: Tensor) -> bool:
    """Whether gradients are multiples of what is left, one for the batch, for each sample or along an axis, as a norm's are."""
    if output.numel() != data.numel() or output.ndim < 2:
        return False
    ratio = gradient / (output - data.reshape(output.shape))
    if not bool(ratio.isfinite().all()) or not bool(ratio.any()):
        return False
    ways = (ratio.flatten(1), ratio.movedim(1, -1))
    return any(bool(((each - each[..., :1]).abs() <= NEAR * each[..., :1].abs()).all()) for each in ways)
