"""``measure`` is the one function that touches elements, and a :class:`Tally` is what it saw. Tallies add."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY, Loss
from recon_cli.identity.regions import Outputs
from recon_cli.identity.tensors import wide
from recon_cli.numerics.compensated import Total
from recon_cli.runtime.devices import compiled

if TYPE_CHECKING:
    from torch import Tensor

PIECE = 1 << 21  # numbers: what is read, or compiled, at a time
CHUNK = 1 << 17  # numbers: every temporary of a chunk stays in a CPU's cache
SAMPLE = 1 << 20  # numbers, at least, that a sample has
PROPORTIONAL = 64.0  # gradients are proportional if their ratio varies by fewer units of rounding than this


def judged(dtype: Any) -> Any:
    """The dtype in which numbers of ``dtype`` are measured: float32 for those of two bytes, behind whose rounding much hides."""
    import torch

    return torch.float32 if dtype.itemsize < 4 else dtype


@dataclass(frozen=True)
class Tally:
    """What was seen on some elements of the identity. ``Tally + Tally`` is what was seen on both.

    Sums in float64, compensated, so that they depend on no order: ``nll``, ``loss``, ``offset``, ``gap`` (nats), and of
    the gradients' products ``cross`` = sum of d nll * d loss, ``nll_square``, ``loss_square``, over ``sampled`` numbers.
    ``worst`` is the claim's largest error in rounding errors of its own terms; ``ratios`` are values of d nll / d loss;
    ``drift`` is the largest |d nll - slope * d loss| beyond the element's own rounding; ``infinite`` counts elements where
    a value or a gradient is not finite, or the loss too small for its dtype. ``kept`` counts means that were moved inside
    their domain, ``foreign`` data that are outside the support of the likelihood that was asked for.
    """

    elements: int = 0
    nll: float = Total()
    loss: float = Total()
    offset: float = Total()
    gap: float = Total()
    cross: float = Total()
    nll_square: float = Total()
    loss_square: float = Total()
    sampled: int = 0
    ratio_elements: int = 0
    ratio_excluded: int = 0
    infinite: int = 0
    kept: int = 0
    foreign: int = 0
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

    def sampled_by(self, some: Tally) -> Tally:
        """The same, with what only a sample tells; its ratios too, where none were measured here."""
        told = ("cross", "nll_square", "loss_square", "sampled", "drift", "ratios")
        if not self.ratio_elements + self.ratio_excluded:
            told += ("ratio_elements", "ratio_excluded", "ratio_min", "ratio_max")
        return replace(self, **{name: getattr(some, name) for name in told})


def measure(
    likelihood: Likelihood,
    x: Tensor,
    mu: Tensor,
    loss: Loss | None = None,
    claim: Likelihood | None = None,
    gradients: bool = True,
    compiled: bool = False,
) -> Tally:
    """Both sides of -log p = slope * loss + offset + gap on every element of ``x`` and ``mu``.

    The nll comes from ``likelihood.nll`` in float64, not rounded again; the loss from the loss itself, in the dtype and
    on the device of the tensors. Gradients of both are autograd's, with respect to what the loss takes (mu, or logits; of
    a variance, its logarithm).

    loss
        the likelihood's own, if not given. Of a loss that it does not claim only the values and the
        gradients are measured.
    claim
        whose slope, offset and gap are put to the test: the likelihood's own, if not given.
    gradients
        whether to measure them; else only the values.
    Numbers of two bytes (bfloat16, float16) are measured as they are, by arithmetic in float32: in their own a gradient
    rounds by a half of a hundredth, behind which a wrong claim would hide. What leaves their range is counted as infinite.

    compiled
        values and the ratios' range in one pass over the data, by torch's compiler: seconds for the first piece of a
        size, a fraction of the time after. Where that leaves a doubt the elements are measured one chunk after another.
    """
    loss, claim = loss or likelihood.loss, claim or likelihood
    if (wider := judged(x.dtype)) != x.dtype:
        bare = likelihood.admitted()  # rounded to two bytes, data are not on their levels to more digits
        likelihood, claim = bare, bare if claim is likelihood else claim
        found = measure(likelihood, x.to(wider), mu.to(wider), loss, claim, gradients, compiled)
        return replace(found, infinite=found.infinite + int((~finite(both_sides(likelihood, loss, x, mu))).sum()))
    slope = math.nan if (known := claim.slope_of(loss)) is None else float(known)
    if compiled:
        found = dict(zip(VALUES + RANGE, _compiled()(likelihood, loss, claim, slope, x, mu).tolist(), strict=True))
        if doubtful(found, slope, x.dtype, mu.numel()):
            return sum((measure(likelihood, *part, loss, claim) for part in chunks(likelihood, x, mu)), Tally())
        return Tally(**counted(found, likelihood, x, mu))
    if not gradients:
        point, nll, value = sides(likelihood, loss, x, mu)
        found = dict(zip(VALUES, values(likelihood, loss, claim, slope, x, nll, value, point).tolist(), strict=True))
        infinite = 0 if sound(found) else int((~(nll.isfinite() & value.isfinite())).sum())
        return Tally(**counted(found, likelihood, x, mu), infinite=infinite)
    both = both_sides(likelihood, loss, x, mu)
    found = dict(zip(VALUES + RANGE, look(likelihood, loss, claim, slope, x, mu, both).tolist(), strict=True))
    of_nll, of_loss = wide(both[0]), wide(both[1])
    kept = ~left_out(both[1], both[0], slope)
    doubt = doubtful(found, slope, x.dtype, mu.numel())
    lost = ~finite(both) | underflown(both, slope) if doubt else None
    return Tally(
        **counted(found, likelihood, x, mu),
        sampled=mu.numel(),
        cross=Total((of_nll * of_loss).sum().item()),
        nll_square=Total(of_nll.square().sum().item()),
        loss_square=Total(of_loss.square().sum().item()),
        infinite=0 if lost is None else int(lost.sum()),
        drift=drift(of_nll, of_loss, slope, x.dtype) if doubt else 0.0,
        ratios=((of_nll[kept] / of_loss[kept]).cpu(),),
    )


VALUES = ("nll", "loss", "offset", "gap", "worst")
RANGE = ("ratio_excluded", "ratio_min", "ratio_max")


def counted(found: dict[str, float], likelihood: Likelihood, x: Tensor, mu: Tensor) -> dict[str, Any]:
    """The sums as a :class:`Tally` has them, and of how many elements they are."""
    made: dict[str, Any] = {name: Total(found[name]) for name in VALUES[:-1]} | {"worst": found["worst"]}
    made["elements"] = x.numel() // math.prod(x.shape[x.ndim - likelihood.event :])
    if "ratio_min" in found:
        excluded = int(found["ratio_excluded"])
        made |= {"ratio_excluded": excluded, "ratio_elements": mu.numel() - excluded}
        made |= {"ratio_min": found["ratio_min"], "ratio_max": found["ratio_max"]}
    return made


def sound(found: dict[str, float]) -> bool:
    """Whether the values are finite, every one of them."""
    return math.isfinite(found["nll"]) and math.isfinite(found["loss"])


def doubtful(found: dict[str, float], slope: float, dtype: Any, count: int) -> bool:
    """Whether something may not be finite, or the ratio is not the slope to a few roundings: then each element is looked at."""
    import torch

    if not sound(found) or not found["worst"] <= PROPORTIONAL:
        return True
    if found["ratio_excluded"] == count:
        return False
    low, high = found["ratio_min"], found["ratio_max"]
    even = max(high - slope, slope - low) <= PROPORTIONAL * torch.finfo(dtype).eps * abs(slope)
    return not math.isfinite(high - low) or not even


def sides(likelihood: Likelihood, loss: Loss, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What the loss takes; there the nll, in float64, and the loss, as it comes."""
    import torch

    with torch.no_grad():
        point = loss.link.forward(mu)
        return point, nll_of(likelihood, loss, x, wide(point)), loss(x, point)


def nll_of(likelihood: Likelihood, loss: Loss, x: Tensor, point: Tensor) -> Tensor:
    """The nll at what the loss takes: mu, or a raw output."""
    same = loss.link == likelihood.link
    return likelihood.nll_raw(x, point) if same else likelihood.nll(x, loss.link.inverse(point))


def both_sides(likelihood: Likelihood, loss: Loss, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of nll and of loss by what the loss takes, in the dtype of the data; their values, and the point."""
    import torch

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
    by_nll, nll = with_gradient(lambda point: nll_of(likelihood, loss, x, point), wide(point))
    by_loss, value = with_gradient(lambda point: loss(x, point), point)
    if isinstance(likelihood.domain, Outputs) and loss.link == IDENTITY:
        unit = likelihood.domain.unit_of(wide(point))
        by_nll, by_loss = unit * by_nll, unit * wide(by_loss)
    return by_nll.to(x.dtype), by_loss.to(x.dtype), nll, value, point


def left_out(of_loss: Tensor, of_nll: Tensor, slope: float) -> Tensor:
    """Where both gradients are zero, or so small that a gradient has lost its digits: below the smallest normal number."""
    import torch

    if math.isnan(slope):
        return (of_nll == 0) & (of_loss == 0)
    limits = torch.finfo(of_loss.dtype)
    small = limits.tiny * max(1.0, 1 / slope)
    return (of_loss.abs() < small) & (of_nll.abs() < min(2 * slope * small, limits.max))


def finite(both: Sequence[Tensor]) -> Tensor:
    """Of each event, whether values and gradients are finite."""
    of_nll, of_loss, nll, value, _ = both
    moved = of_nll.isfinite() & of_loss.isfinite()
    if moved.shape != nll.shape:
        moved = moved.reshape(*nll.shape, -1).all(dim=-1)
    return nll.isfinite() & value.isfinite() & moved


def underflown(both: Sequence[Tensor], slope: float) -> Tensor:
    """Of each event, whether the loss is below the smallest normal number, and what that takes from it counts for the nll."""
    import torch

    of_nll, of_loss, nll, value, _ = both
    limits = torch.finfo(value.dtype)
    moved = (of_nll != 0) | (of_loss != 0)
    moved = moved if moved.shape == nll.shape else moved.reshape(*nll.shape, -1).any(dim=-1)
    return moved & (value.abs() < limits.tiny) & (slope * limits.tiny > limits.eps * nll.abs().clamp(min=1))


def drift(of_nll: Tensor, of_loss: Tensor, slope: float, dtype: Any) -> float:
    """The largest |d nll - slope * d loss| beyond what rounding the element's own gradient allows."""
    import torch

    if math.isnan(slope):
        return 0.0
    return ((of_nll - slope * of_loss).abs() - PROPORTIONAL * torch.finfo(dtype).eps * of_nll.abs()).amax().clamp(min=0).item()


def values(
    likelihood: Likelihood, loss: Loss, claim: Likelihood, slope: float, x: Tensor, nll: Tensor, value: Tensor, point: Tensor
) -> Tensor:
    """What a :class:`Tally` adds up of the values, in the order of :data:`VALUES`; of a loss not its own ``slope`` is NaN.

    Nothing depends on the data but the numbers, so the compiler takes it whole.
    """
    import torch

    value = wide(value)
    offset = gap = worst = nll.new_zeros(())
    if not math.isnan(slope):
        constant = type(claim).offset is Likelihood.offset
        free = claim.normaliser if constant else wide(claim.offset(wide(x)))
        offset = offset + (nll.numel() * free if constant else free.sum())
        rest, size = torch.add(nll, value, alpha=-slope), nll.abs().add_(value.abs(), alpha=slope)
        if type(claim).normaliser is not Likelihood.normaliser or not constant:
            rest, size = rest.sub_(free), size.add_(abs(free))
        if type(claim).gap is not Likelihood.gap:
            missing = wide(claim.gap(wide(loss.link.inverse(point))))
            rest, size, gap = rest.sub_(missing), size.add_(missing.abs()), missing.sum()
        worst = rest.abs_().div_(size.clamp_(min=torch.finfo(size.dtype).tiny)).amax() / torch.finfo(x.dtype).eps
    if claim is not likelihood:
        gap = wide(likelihood.gap(wide(loss.link.inverse(point)))).sum()
    return torch.stack([nll.sum(), value.sum(), offset, gap, worst])


def look(
    likelihood: Likelihood, loss: Loss, claim: Likelihood, slope: float, x: Tensor, mu: Tensor, both: Sequence[Tensor]
) -> Tensor:
    """The values' sums, and the range of the gradients' ratio, in the order of :data:`VALUES` and :data:`RANGE`."""
    import torch

    of_nll, of_loss, nll, value, point = both
    excluded = left_out(of_loss, of_nll, slope)
    limits = torch.finfo(of_loss.dtype)
    fits = math.isnan(slope) or limits.tiny < slope < limits.max
    ratio = of_nll / of_loss if fits else wide(of_nll) / wide(of_loss)
    return torch.cat([
        values(likelihood, loss, claim, slope, x, nll, value, point),
        torch.stack([
            wide(torch.where(excluded, 1.0, 0.0).sum()),  # in float32, exact up to 2^24
            wide(torch.where(excluded, math.inf, ratio).amin()), wide(torch.where(excluded, -math.inf, ratio).amax()),
        ]),
    ])  # fmt: skip


@functools.cache
def _compiled() -> Callable[..., Tensor]:

    def whole(likelihood: Likelihood, loss: Loss, claim: Likelihood, slope: float, x: Tensor, mu: Tensor) -> Tensor:
        return look(likelihood, loss, claim, slope, x, mu, both_sides(likelihood, loss, x, mu))

    return compiled(whole)


def chunks(side: Likelihood, x: Tensor, mu: Tensor, most: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Pieces of ``x`` and ``mu``, one event after another, of ``most`` numbers: if not given, few enough for the cache."""
    event = x.shape[x.ndim - side.event :]
    points = mu.reshape(-1, *event, *(mu.shape[-1:] if side.head else ()))
    size = max(1, (most or CHUNK) // max(1, points[0].numel()))
    for start in range(0, len(points), size):
        yield x.reshape(-1, *event)[start : start + size], points[start : start + size]
