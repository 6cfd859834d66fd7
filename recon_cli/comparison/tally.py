"""``measure`` is the one function that touches elements, and a :class:`Tally` is what it saw. Tallies add."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from recon_cli.likelihood import Likelihood, wide
from recon_cli.losses import IDENTITY, Loss

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 1 << 24  # numbers: what the compiled measurement takes at a time
CHUNK = 1 << 17  # elements: every temporary of a chunk stays in a CPU's cache
PROPORTIONAL = 64.0  # gradients are proportional if their ratio varies by fewer units of rounding than this
SAMPLE = 1 << 20  # ratios kept for their median


@dataclass(frozen=True)
class Tally:
    """What was seen on some elements of the identity. ``Tally + Tally`` is what was seen on both.

    Sums over elements, in float64: ``nll``, ``loss``, ``offset``, ``gap`` (nats), and of the gradients'
    products, ``cross`` = sum of d nll * d loss, ``nll_square``, ``loss_square``. ``worst`` is the claim's
    largest error in rounding errors of its own terms; ``ratios`` is a sample of d nll / d loss;
    ``drift`` is the largest |d nll - slope * d loss| beyond the element's own rounding; ``infinite`` counts elements where
    a value or a gradient is not finite.
    """

    elements: int = 0
    nll: float = 0.0
    loss: float = 0.0
    offset: float = 0.0
    gap: float = 0.0
    cross: float = 0.0
    nll_square: float = 0.0
    loss_square: float = 0.0
    ratio_elements: int = 0
    ratio_excluded: int = 0
    infinite: int = 0
    drift: float = field(default=0.0, metadata={"add": max})
    worst: float = field(default=0.0, metadata={"add": max})
    ratio_min: float = field(default=math.inf, metadata={"add": min})
    ratio_max: float = field(default=-math.inf, metadata={"add": max})
    ratios: tuple[Tensor, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        def joined(name: str, add: Any) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            return add(mine, theirs) if add else mine + theirs

        return Tally(**{part.name: joined(part.name, part.metadata.get("add")) for part in fields(self)})


def measure(
    likelihood: Likelihood,
    x: Tensor,
    mu: Tensor,
    loss: Loss | None = None,
    claim: Likelihood | None = None,
    stride: int = 1,
    compiled: bool = False,
) -> Tally:
    """Both sides of -log p = slope * loss + offset + gap on every element of ``x`` and ``mu``.

    Values come from ``likelihood.nll`` and from the loss itself, gradients of both from autograd, with
    respect to what the loss takes (mu, or logits; of a variance, its logarithm), in the dtype and on the device of the
    tensors.

    loss
        the likelihood's own, if not given. Of a loss that it does not claim only the values and the
        gradients are measured.
    claim
        whose slope, offset and gap are put to the test: the likelihood's own, if not given.
    stride
        every ``stride``-th ratio is kept for the median.
    compiled
        in one pass over the data, by torch's compiler: seconds for the first piece of a size, a tenth of the time after.
    """
    import torch

    loss, claim = loss or likelihood.loss, claim or likelihood
    slope = float(claim.losses[loss]) if loss in claim.losses else math.nan
    few = x[::stride], mu[::stride]
    if compiled:
        sums, sides = _compiled()(likelihood, loss, claim, slope, x, mu), None
    else:
        sides = both_sides(likelihood, loss, x, mu)
        sums = totals(likelihood, loss, claim, slope, x, sides)
    found = dict(zip(SUMS, sums.tolist(), strict=True))
    excluded = int(found.pop("ratio_excluded"))
    sound = all(math.isfinite(found[name]) for name in ("nll", "loss", "nll_square", "loss_square"))
    spread = max(found["ratio_max"] - slope, slope - found["ratio_min"])
    even = spread <= PROPORTIONAL * torch.finfo(x.dtype).eps * abs(slope) or math.isnan(slope)
    if sides is None and not (sound and even):
        sides = both_sides(likelihood, loss, x, mu)
    of_nll, of_loss = (part[::stride] for part in sides[:2]) if sides else both_sides(likelihood, loss, *few)[:2]
    kept = ~left_out(of_nll, of_loss, slope, x.dtype)
    return Tally(
        elements=x.numel() // math.prod(x.shape[x.ndim - likelihood.event :]),
        ratio_elements=mu.numel() - excluded,
        ratio_excluded=excluded,
        infinite=0 if sound else int((~finite(sides)).sum()),
        drift=0.0 if even else drift(sides, slope, x.dtype),
        ratios=((of_nll[kept] / of_loss[kept]).cpu(),),
        **found,
    )


SUMS = ("nll", "loss", "offset", "gap", "cross", "nll_square", "loss_square", "ratio_excluded", "worst",
        "ratio_min", "ratio_max")  # fmt: skip


def both_sides(likelihood: Likelihood, loss: Loss, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of nll and of loss by what the loss takes, their values, and the point, all in float64."""
    import torch

    def of_nll(point: Tensor) -> Tensor:
        same = loss.link == likelihood.link
        return likelihood.nll_raw(x, point) if same else likelihood.nll(x, loss.link.inverse(point))

    def with_gradient(side: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():

            def added(point: Tensor) -> tuple[Tensor, Tensor]:
                value = side(point)
                return value.sum(), value

            return torch.func.grad(added, has_aux=True)(point)
        point = point.detach().requires_grad_()
        value = side(point)
        return torch.autograd.grad(value.sum(), point)[0], value.detach()

    point = loss.link.forward(mu)
    (by_nll, nll), (by_loss, value) = with_gradient(of_nll, point), with_gradient(lambda point: loss(x, point), point)
    gradients = wide(by_nll), wide(by_loss)
    if likelihood.head and loss.link == IDENTITY:
        unit = likelihood.domain.unit_of(wide(point))
        gradients = unit * gradients[0], unit * gradients[1]
    return *gradients, wide(nll), wide(value), wide(point)


def left_out(of_nll: Tensor, of_loss: Tensor, slope: float, dtype: Any) -> Tensor:
    """Where both gradients are zero, or so small that a gradient has lost its digits: below the smallest normal number."""
    import torch

    if math.isnan(slope):
        return (of_nll == 0) & (of_loss == 0)
    return of_loss.abs() < torch.finfo(dtype).tiny / slope


def finite(sides: Sequence[Tensor]) -> Tensor:
    """Of each event, whether values and gradients are finite."""
    of_nll, of_loss, nll, value, _ = sides
    moved = of_nll.isfinite() & of_loss.isfinite()
    if moved.shape != nll.shape:
        moved = moved.reshape(*nll.shape, -1).all(dim=-1)
    return nll.isfinite() & value.isfinite() & moved


def drift(sides: Sequence[Tensor], slope: float, dtype: Any) -> float:
    """The largest |d nll - slope * d loss| beyond what rounding the element's own gradient allows."""
    import torch

    of_nll, of_loss, *_ = sides
    return ((of_nll - slope * of_loss).abs() - PROPORTIONAL * torch.finfo(dtype).eps * of_nll.abs()).amax().clamp(min=0).item()


def totals(likelihood: Likelihood, loss: Loss, claim: Likelihood, slope: float, x: Tensor, sides: Sequence[Tensor]) -> Tensor:
    """What a :class:`Tally` adds up, in float64, in the order of :data:`SUMS`; ``slope`` is NaN for a loss that is not its own.

    ``sides`` are :func:`both_sides`. Nothing here or there depends on the data but the numbers, so the compiler takes it whole.
    """
    import torch

    of_nll, of_loss, nll, value, point = sides
    eps, excluded = torch.finfo(x.dtype).eps, left_out(of_nll, of_loss, slope, x.dtype)
    offset = gap = worst = nll.new_zeros(())
    if not math.isnan(slope):
        constant = type(claim).offset is Likelihood.offset
        rest = wide(claim.offset(x[:1] if constant else x))
        offset = rest.sum() * (nll.numel() if constant else 1)
        cost = slope * value
        size, rest = nll.abs() + cost.abs() + rest.abs(), nll - cost - rest
        if type(claim).gap is not Likelihood.gap:
            missing = wide(claim.gap(loss.link.inverse(point)))
            size, rest, gap = size + missing.abs(), rest - missing, missing.sum()
        worst = (rest.abs() / size.clamp(min=torch.finfo(size.dtype).tiny)).amax() / eps
    if claim is not likelihood:
        gap = wide(likelihood.gap(loss.link.inverse(point))).sum()
    ratio = of_nll / of_loss
    return torch.stack([
        nll.sum(), value.sum(), offset, gap, (of_nll * of_loss).sum(), of_nll.square().sum(), of_loss.square().sum(),
        wide(excluded).sum(), worst,
        torch.where(excluded, math.inf, ratio).amin(), torch.where(excluded, -math.inf, ratio).amax(),
    ])  # fmt: skip


@functools.cache
def _compiled() -> Callable[..., Tensor]:
    import torch

    def look(likelihood: Likelihood, loss: Loss, claim: Likelihood, slope: float, x: Tensor, mu: Tensor) -> Tensor:
        return totals(likelihood, loss, claim, slope, x, both_sides(likelihood, loss, x, mu))

    return torch.compile(look, fullgraph=True, dynamic=False)


def chunks(side: Likelihood, x: Tensor, mu: Tensor, most: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of ``x`` and ``mu``, one event after another, of ``most`` numbers: if not given, few enough for the cache."""
    event = x.shape[x.ndim - side.event :]
    points = mu.reshape(-1, *event, *(mu.shape[-1:] if side.head else ()))
    size = max(1, (most or CHUNK) // max(1, points[0].numel()))
    for start in range(0, len(points), size):
        yield x.reshape(-1, *event)[start : start + size], points[start : start + size]
