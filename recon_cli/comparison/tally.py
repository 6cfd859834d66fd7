"""``measure`` is the one function that touches elements, and a :class:`Tally` is what it saw. Tallies add."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from recon_cli.likelihood import Likelihood, wide
from recon_cli.losses import IDENTITY, Loss

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 18  # elements: every temporary of a chunk stays in a CPU's cache
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
    likelihood: Likelihood, x: Tensor, mu: Tensor, loss: Loss | None = None, claim: Likelihood | None = None, stride: int = 1
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
    """
    import torch

    loss, claim = loss or likelihood.loss, claim or likelihood
    point = loss.link.forward(mu).detach().requires_grad_()
    nll = likelihood.nll_raw(x, point) if loss.link == likelihood.link else likelihood.nll(x, loss.link.inverse(point))
    value = loss(x, point)
    unit = likelihood.domain.unit_of(wide(point.detach())) if loss.link == IDENTITY else 1.0
    of_nll, of_loss = (unit * wide(torch.autograd.grad(side.sum(), point)[0]) for side in (nll, value))
    nll, value = wide(nll.detach()), wide(value.detach())
    moved = of_nll.isfinite() & of_loss.isfinite()
    if moved.shape != nll.shape:
        moved = moved.reshape(*nll.shape, -1).all(dim=-1)
    finite = nll.isfinite() & value.isfinite() & moved
    excluded = (of_nll == 0) & (of_loss == 0)
    own = loss in claim.losses
    slope = float(claim.losses[loss]) if own else math.nan
    if own:  # below the smallest normal number a gradient has lost its digits
        excluded |= slope * of_loss.abs() < torch.finfo(x.dtype).tiny
    ratio = (of_nll / of_loss)[~excluded]
    seen = Tally(
        elements=nll.numel(),
        nll=nll.sum().item(),
        loss=value.sum().item(),
        cross=(of_nll * of_loss).sum().item(),
        nll_square=of_nll.square().sum().item(),
        loss_square=of_loss.square().sum().item(),
        ratio_elements=ratio.numel(),
        ratio_excluded=int(excluded.sum()),
        infinite=int((~finite).sum()),
        ratio_min=ratio.min().item() if ratio.numel() else math.inf,
        ratio_max=ratio.max().item() if ratio.numel() else -math.inf,
        ratios=(ratio[::stride].cpu(),),
    )
    if not own:
        return seen
    mean = loss.link.inverse(wide(point.detach()))
    terms = (slope * value, wide(claim.offset(x)), wide(claim.gap(mean)))
    size = nll.abs() + sum(term.abs() for term in terms)
    eps = torch.finfo(x.dtype).eps
    off, allowed = (nll - sum(terms)).abs() / (eps * size), PROPORTIONAL * eps * of_nll.abs()
    return replace(
        seen,
        offset=terms[1].sum().item(),
        gap=wide(likelihood.gap(mean)).sum().item(),
        worst=off.where(size > 0, 0).max().item(),
        drift=((of_nll - slope * of_loss).abs() - allowed).clamp(min=0).max().item(),
    )


def chunks(side: Likelihood, x: Tensor, mu: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of ``x`` and ``mu``, one event after another, small enough for the cache."""
    event = x.shape[x.ndim - side.event :]
    points = mu.reshape(-1, *event, *(mu.shape[-1:] if side.head else ()))
    size = max(1, CHUNK // max(1, points[0].numel()))
    for start in range(0, len(points), size):
        yield x.reshape(-1, *event)[start : start + size], points[start : start + size]
