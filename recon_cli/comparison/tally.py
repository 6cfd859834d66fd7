"""``measure`` is the one function that touches elements, and a :class:`Tally` is its result. Tallies add."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, NamedTuple

from recon_cli.comparison.claim import (
    PROPORTIONAL,
    Claim,
    Evaluation,
    Gradients,
    all_counted,
    drift,
    evaluate,
    evaluate_with_gradients,
    excluded,
    finite,
    underflown,
)
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.numerics.compensated import Total
from recon_cli.runtime import devices

if TYPE_CHECKING:
    import torch
    from torch import Tensor

    Reduction = Callable[[Claim, Tensor, Tensor], Tensor]  # :func:`reduced`, or what it was compiled to

PIECE = 1 << 21  # numbers: what is read, or compiled, at a time; on a GPU more
NEAR = 1e-3  # of the slope: a ratio so near to it is of finite gradients, whatever digits of them are lost
CHUNK = 1 << 17  # numbers: fewer, and Python takes a third of the time; more, and the caches are left; on a GPU more
SAMPLE = 1 << 20  # numbers, at least, that a sample has


def measured_dtype(dtype: torch.dtype) -> torch.dtype:
    """Return the dtype in which ``dtype`` is measured: float32 for two bytes, whose rounding would hide much."""
    import torch

    return torch.float32 if dtype.itemsize < 4 else dtype


@dataclass(frozen=True)
class Tally:
    """What was measured on some elements of the identity. ``Tally + Tally`` is that of both.

    Sums in float64, compensated, so that they depend on no order: ``nll``, ``loss``, ``offset``, ``gap`` (nats), and of
    the gradients' products ``cross`` = sum of d nll * d loss, ``nll_square``, ``loss_square``, over ``sampled`` numbers.
    ``worst`` is the claim's largest error in rounding errors of its own terms; ``ratios`` are values of d nll / d loss;
    ``drift`` is the largest |d nll - slope * d loss| beyond the element's own rounding; ``infinite`` counts elements where
    a value or a gradient is not finite, or the loss too small for its dtype. ``moved`` counts means that were moved inside
    their domain, ``foreign`` data that are outside the support of the likelihood that was asked for. ``weight`` is what the
    elements of the sums count in all: as many as there are, unless they were weighted.
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
    moved: int = 0
    foreign: int = 0
    weight: float = Total()
    drift: float = field(default=0.0, metadata={"add": max})
    worst: float = field(default=0.0, metadata={"add": max})
    ratio_min: float = field(default=math.inf, metadata={"add": min})
    ratio_max: float = field(default=-math.inf, metadata={"add": max})
    ratios: tuple[Tensor, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        values, adds = additions()
        return Tally(*[add(mine, theirs) for add, mine, theirs in zip(adds, values(self), values(other), strict=True)])

    def sampled_by(self, sample: Tally) -> Tally:
        """Return the same with the sums over gradients of a sample; its range of ratios too, where none was measured here."""
        names = ["cross", "nll_square", "loss_square", "sampled", "drift", "ratios"]
        if not self.ratio_elements + self.ratio_excluded:
            names += ["ratio_elements", "ratio_excluded", "ratio_min", "ratio_max"]
        return replace(self, **{name: getattr(sample, name) for name in names})


@functools.cache
def additions() -> tuple[Callable[[Tally], tuple[Any, ...]], list[Callable[[Any, Any], Any]]]:
    """Return what takes a tally's values, and for each of them how two add."""
    parts = fields(Tally)
    return operator.attrgetter(*(part.name for part in parts)), [part.metadata.get("add", operator.add) for part in parts]


class Values(NamedTuple):
    """Sums over the values of some events, in nats; ``worst`` is the claim's largest error in roundings of its terms."""

    nll: float
    loss: float
    offset: float
    gap: float
    worst: float

    @property
    def is_finite(self) -> bool:
        """Whether every value is finite."""
        return math.isfinite(self.nll) and math.isfinite(self.loss)


class Ratios(NamedTuple):
    """The range of d nll / d loss over some numbers, and how many have neither gradient.

    ``finite`` is 1, and NaN where a gradient is not finite: of a claim whose gradients may cancel, else of no meaning.
    """

    excluded: float
    least: float
    largest: float
    finite: float


def measure(
    claim: Claim | Likelihood,
    x: Tensor,
    mu: Tensor,
    *,
    gradients: bool = True,
    reduction: Reduction | None = None,
    weights: Tensor | None = None,
) -> Tally:
    """Return both sides of -log p = slope * loss + offset + gap on every element of ``x`` and ``mu``.

    The nll is evaluated in float64, and not rounded again; the loss by itself, in the dtype and on the device of the
    tensors. Gradients of both are autograd's, with respect to what the loss takes (mu, or logits; of a variance, its
    logarithm). Numbers of two bytes (bfloat16, float16) are measured as they are, by arithmetic in float32: in their own a
    gradient rounds by a half of a hundredth, which would hide a wrong claim. What leaves their range is counted as infinite.

    claim
        a likelihood, whose claim about its own loss is put to the test; or any claim.
    gradients
        whether to measure them; else only the values.
    reduction
        :func:`reduced`, compiled: values and the ratios' range in one pass over the data. Where that leaves a doubt the
        elements are measured one chunk after another.
    weights
        of the events, by which the sums of values are weighted; gradients are each element's own. Not of what is compiled.
    """
    import torch

    claim = claim if isinstance(claim, Claim) else Claim.of(claim)
    if (wider := measured_dtype(x.dtype)) != x.dtype:
        bare = claim.measured.admitted()  # rounded to two bytes, data are not on their levels to more digits
        wide_claim = replace(claim, measured=bare, likelihood=bare if claim.likelihood is claim.measured else claim.likelihood)
        tally = measure(wide_claim, x.to(wider), mu.to(wider), gradients=gradients, reduction=reduction, weights=weights)
        parts = chunks(claim.measured, x, mu)
        overflown = sum(int((~finite(*evaluate_with_gradients(wide_claim, *part))).sum()) for part in parts)
        return replace(tally, infinite=tally.infinite + overflown)
    if reduction is not None:
        values, ratios = unpacked(reduction(claim, x, mu))
        limits = torch.finfo(x.dtype)
        if claim.cancels and (claim.uneven or claim.slope * limits.tiny <= limits.eps):  # no loss that is lost counts
            settled = ratios.finite == 1
        else:
            settled = near(ratios, claim.slope, NEAR, mu.numel())
        if not (values.is_finite and values.worst <= PROPORTIONAL and settled):
            return sum((measure(claim, *part) for part in chunks(claim.measured, x, mu)), Tally())
        return tally_of(claim, x, mu, values, ratios)
    if not gradients:
        evaluation = evaluate(claim, x, mu)
        values = Values(*reduce_values(claim, x, evaluation, weights).tolist())
        tally = tally_of(claim, x, mu, values, weights=weights)
        if values.is_finite:
            return tally
        return replace(tally, infinite=int((~(evaluation.nll.isfinite() & evaluation.loss.isfinite())).sum()))
    evaluation, slopes = evaluate_with_gradients(claim, x, mu)
    values, ratios = unpacked(reduce(claim, x, evaluation, slopes, weights))
    of_nll, of_loss = wide(slopes.nll).reshape(-1), wide(slopes.loss).reshape(-1)
    ratio = of_nll / of_loss
    doubt = doubtful(values, ratios, claim.slope, x.dtype, mu.numel())
    return replace(
        tally_of(claim, x, mu, values, ratios, weights),
        sampled=mu.numel(),
        cross=Total(of_nll.dot(of_loss).item()),
        nll_square=Total(of_nll.dot(of_nll).item()),
        loss_square=Total(of_loss.dot(of_loss).item()),
        infinite=int((~finite(evaluation, slopes) | underflown(evaluation, slopes, claim.slope)).sum()) if doubt else 0,
        drift=drift(of_nll, of_loss, claim.slope, x.dtype) if doubt else 0.0,
        ratios=(ratio[~excluded(slopes, claim).reshape(-1)] if ratios.excluded else ratio,),
    )


def tally_of(
    claim: Claim, x: Tensor, mu: Tensor, values: Values, ratios: Ratios | None = None, weights: Tensor | None = None
) -> Tally:
    """Return the sums as a :class:`Tally` has them, with the number of elements that they are of."""
    count = x.numel() // math.prod(x.shape[x.ndim - claim.measured.event :])
    tally = Tally(
        elements=count,
        weight=Total(count if weights is None else wide(weights).sum().item()),
        nll=Total(values.nll),
        loss=Total(values.loss),
        offset=Total(values.offset),
        gap=Total(values.gap),
        worst=values.worst,
    )
    if ratios is None:
        return tally
    count = int(ratios.excluded)
    return replace(
        tally, ratio_excluded=count, ratio_elements=mu.numel() - count, ratio_min=ratios.least, ratio_max=ratios.largest
    )


def doubtful(values: Values, ratios: Ratios, slope: float, dtype: torch.dtype, count: int) -> bool:
    """Return whether something may not be finite, or the ratio is not the slope to a few roundings: then look at each element."""
    import torch

    fine = values.is_finite and values.worst <= PROPORTIONAL
    return not (fine and near(ratios, slope, PROPORTIONAL * torch.finfo(dtype).eps, count))


def near(ratios: Ratios, slope: float, share: float, count: int) -> bool:
    """Return whether each of ``count`` ratios there is lies within a ``share`` of the slope."""
    off = max(ratios.largest - slope, slope - ratios.least)
    return ratios.excluded == count or (math.isfinite(ratios.largest - ratios.least) and off <= share * abs(slope))


def reduce(claim: Claim, x: Tensor, evaluation: Evaluation, gradients: Gradients, weights: Tensor | None = None) -> Tensor:
    """Return the numbers of :class:`Values`, then those of :class:`Ratios`, in one tensor, which :func:`unpacked` reads."""
    import torch

    return torch.cat([reduce_values(claim, x, evaluation, weights), reduce_gradients(claim, gradients)])


def unpacked(numbers: Tensor) -> tuple[Values, Ratios]:
    """Return what :func:`reduce` put into one tensor, as floats."""
    floats = numbers.tolist()
    return Values(*floats[: len(Values._fields)]), Ratios(*floats[len(Values._fields) :])


def reduce_values(claim: Claim, x: Tensor, evaluation: Evaluation, weights: Tensor | None = None) -> Tensor:
    """Return the numbers of :class:`Values`, in that order, the sums by the events' ``weights``.

    Nothing depends on the data but the numbers, so the compiler takes it whole. Of a likelihood of recon's own the nll loses
    its signs on the way: nobody else has it.
    """
    import torch

    likelihood, nll, loss = claim.likelihood, evaluation.nll, wide(evaluation.loss)
    mean = functools.partial(claim.loss.link.inverse, evaluation.point)
    offset = gap = worst = nll.new_zeros(())

    def total(values: Tensor) -> Tensor:
        return values.sum() if weights is None else (wide(values) * weights).sum()

    of_nll, of_loss = total(nll), total(loss)
    if claim.own:  # in place, where a tensor is nobody else's: what is new goes through memory, and takes twice as long
        slope, new = claim.slope, loss is not evaluation.loss
        if isinstance(slope, (int, float)):  # two operations in one
            rest, size = torch.sub(nll, loss, alpha=slope), nll.abs_() if claim.known else nll.abs()
            size, least = size.add_(loss.abs_() if new else loss.abs(), alpha=abs(slope)), 0.0
        else:
            scaled = loss.mul_(slope) if new else loss * slope
            rest, size, least = nll - scaled, scaled.abs_().add_(nll.abs()), 0.0
        if type(likelihood).offset is not Likelihood.offset:
            free = wide(likelihood.offset(evaluation.x))
            offset = offset + total(free)
            rest, size = rest.sub_(free), size.add_(free.abs_() if claim.known else free.abs())
        else:
            normaliser = likelihood.normaliser
            offset = offset + (nll.numel() if weights is None else weights.sum()) * normaliser
            if type(likelihood).normaliser is not Likelihood.normaliser:
                rest, size = rest.sub_(normaliser), size.add_(abs(normaliser))  # type: ignore[arg-type]
                least = abs(normaliser) if isinstance(normaliser, float) else 0.0
        if type(likelihood).gap is not Likelihood.gap:
            missing = wide(likelihood.gap(wide(mean())))
            rest, size, gap = rest.sub_(missing), size.add_(missing.abs()), total(missing)
        tiny = torch.finfo(size.dtype).tiny
        worst = rest.div_(size if least > tiny else size.clamp_(min=tiny)).abs_().amax() / torch.finfo(x.dtype).eps
    if likelihood is not claim.measured:
        gap = total(wide(claim.measured.gap(wide(mean()))))
    return torch.stack([of_nll, of_loss, offset, gap, worst])


def reduce_gradients(claim: Claim, gradients: Gradients) -> Tensor:
    """Return the numbers of :class:`Ratios`, in that order."""
    import torch

    if has_quotient(claim, gradients.loss.dtype):
        ratio = gradients.nll / gradients.loss
    else:
        ratio = wide(gradients.nll) / wide(gradients.loss)
    known = wide(((gradients.nll - gradients.loss) * 0).sum() + 1 if claim.cancels else gradients.nll.new_ones(()))
    if all_counted(gradients, claim):
        return torch.stack([known.new_zeros(()), wide(ratio.amin()), wide(ratio.amax()), known])
    without = excluded(gradients, claim)
    return torch.stack([
        wide(torch.where(without, 1.0, 0.0).sum()),  # in float32, exact up to 2^24
        wide(torch.where(without, math.inf, ratio).amin()), wide(torch.where(without, -math.inf, ratio).amax()), known,
    ])  # fmt: skip


def has_quotient(claim: Claim, dtype: torch.dtype) -> bool:
    """Return whether the ratio of a claim's gradients, its slope, is a number of ``dtype`` to all its digits."""
    import torch

    limits, slope = torch.finfo(dtype), claim.slope
    return not isinstance(slope, float) or math.isnan(slope) or limits.tiny < slope < limits.max


def reduced(claim: Claim, x: Tensor, mu: Tensor, parts: bool = False) -> Tensor:
    """Return values and gradients of ``x`` and ``mu``, reduced: what the compiler takes whole.

    With ``parts``, the gradients by each of the numbers that an element has are reduced by themselves.
    """
    import torch

    evaluation, gradients = evaluate_with_gradients(claim, x, mu)
    if not parts:
        return reduce(claim, x, evaluation, gradients)
    each = zip(gradients.nll.unbind(-1), gradients.loss.unbind(-1), strict=True)
    excluded_of, least, largest, finite_of = torch.stack([reduce_gradients(claim, Gradients(*pair)) for pair in each], 1).unbind()
    ranges = torch.stack([excluded_of.sum(), least.amin(), largest.amax(), finite_of.amin()])
    return torch.cat([reduce_values(claim, x, evaluation), ranges])


def chunks(likelihood: Likelihood, x: Tensor, mu: Tensor, most: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield pieces of ``x`` and ``mu``, one event after another, of ``most`` numbers: unless given, few enough for the cache, or
    for the memory of a GPU.
    """
    event = x.shape[x.ndim - likelihood.event :]
    points = mu.reshape(-1, *event, *(mu.shape[-1:] if likelihood.head else ()))
    size = max(1, (most or CHUNK * devices.width(mu.device)) // max(1, points[0].numel()))
    for start in range(0, len(points), size):
        yield x.reshape(-1, *event)[start : start + size], points[start : start + size]
