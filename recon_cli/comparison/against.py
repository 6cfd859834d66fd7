"""Our nll beside the library call that a user would have written: how far apart, and why."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from recon_cli.comparison.changes import GRADIENTS, NORMALISED, Change, Reference, cancelled, changes_in, within
from recon_cli.comparison.library_calls import evaluate, takes_raw
from recon_cli.comparison.tally import chunks
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from torch import Tensor

SLACK = 0.01  # of a gradient, from which on its error is reported
AGREE = 8.0  # rounding errors of the value, up to which nothing needs a reason
ROUNDING = "rounding"
HARMLESS = (ROUNDING, NORMALISED)


@dataclass(frozen=True)
class Against:
    """One library call on all elements. Differences from our nll in eps of the dtype, relative to it, and in nats.

    theirs and ours are means, in nats. gradient is the largest difference of d/dmu (d/dr, where the call is
    of the raw output); None where the library has no gradients. gradient_share is the largest difference of two gradients
    as a share of the root mean square of ours. reasons says for each named change how many
    elements it accounts for and by how much at most; an empty name collects what nothing accounts for.
    refused is what the call raised instead.
    """

    likelihood: str
    parameters: dict[str, float]
    call: str
    data: str
    elements: int
    ours: float | None = None
    theirs: float | None = None
    largest: float | None = None
    mean: float | None = None
    largest_nats: float | None = None
    mean_nats: float | None = None
    gradient: float | None = None
    gradient_share: float | None = None
    eps: float = 0.0
    reasons: tuple[Reason, ...] = ()
    refused: str = ""

    @property
    def holds(self) -> bool:
        """Whether the call returns the density, to its own rounding."""
        return not self.refused and all(reason.name in HARMLESS for reason in self.reasons)

    @property
    def loose(self) -> bool:
        """Whether some gradient is off by a hundredth of itself, in whatever dtype: then few of its digits are right."""
        return self.gradient is not None and self.gradient * self.eps > SLACK


@dataclass(frozen=True)
class Reason:
    """Why a call differs: on how many elements, and by how much at most, in nats and in eps."""

    name: str
    elements: int
    largest_nats: float
    largest: float
    because: str


KEYS = ("likelihood", "parameters", "step", "statement", "because", "checked", "data", "elements", "ours", "theirs",
        "largest", "mean", "largest_nats", "mean_nats", "gradient")  # fmt: skip
CHANGES = ("likelihood", "call", "change", "elements", "largest_nats", "largest", "because")


def against(likelihood: Likelihood, call: str, x: Tensor, mu: Tensor, data: str) -> Against:
    """Set a call beside the nll on every element of ``x`` and ``mu``, in their dtype."""
    import torch

    likelihood = likelihood.admitted()
    row = Against(
        likelihood=likelihood.name,
        parameters={key: float(value) for key, value in likelihood.parameters.items()},
        call=call,
        data=data,
        elements=len(x),
    )
    try:
        parts = [_measured(likelihood, call, *part) for part in chunks(likelihood, x, mu)]
    except (ValueError, RuntimeError, TypeError) as error:
        text = " ".join(str(error).split())
        return replace(row, refused=f"{text[:160]}{'...' * (len(text) > 160)}")
    count = sum(part.elements for part in parts)
    gradients = [part.gradient for part in parts if part.gradient is not None]
    return replace(
        row,
        elements=count,
        ours=sum(part.ours for part in parts) / count,
        theirs=sum(part.theirs for part in parts) / count,
        largest=max(part.largest for part in parts),
        mean=sum(part.off for part in parts) / count,
        largest_nats=max(part.largest_nats for part in parts),
        mean_nats=sum(part.off_nats for part in parts) / count,
        gradient=max(gradient.largest for gradient in gradients) if gradients else None,
        gradient_share=max(gradient.share for gradient in gradients) if gradients else None,
        eps=torch.finfo(x.dtype).eps,
        reasons=_added(reason for part in parts for reason in part.reasons),
    )


def _added(reasons: Iterable[Reason]) -> tuple[Reason, ...]:
    """Return one reason for each name: on how many elements in all, and by how much at most."""
    by_name: dict[str, Reason] = {}
    for reason in reasons:
        other = by_name.get(reason.name, replace(reason, elements=0))
        by_name[reason.name] = Reason(
            reason.name,
            reason.elements + other.elements,
            max(reason.largest_nats, other.largest_nats),
            max(reason.largest, other.largest),
            reason.because,
        )
    return tuple(by_name.values())


class _GradientError(NamedTuple):
    """The largest difference of two gradients: in eps, relative to ours, and as a share of the root mean square of ours."""

    largest: float
    share: float


class _Part(NamedTuple):
    """A chunk of a call: sums of our and of its nll, and of their difference in eps and in nats, and the largest."""

    elements: int
    ours: float
    theirs: float
    off: float
    largest: float
    off_nats: float
    largest_nats: float
    gradient: _GradientError | None
    reasons: list[Reason]


class _Evaluated(NamedTuple):
    """Values and their gradient, in float64; no gradient where a library has none."""

    values: Tensor
    gradient: Tensor | None


def _measured(likelihood: Likelihood, call: str, x: Tensor, mu: Tensor) -> _Part:
    """Set a call beside the nll on a chunk, and find out why it differs."""
    import torch

    of_raw, eps = takes_raw(call), torch.finfo(x.dtype).eps
    point = likelihood.link.forward(mu) if of_raw else mu
    nll = likelihood.nll_raw if of_raw else likelihood.nll

    def called(x: Tensor, point: Tensor) -> Tensor:
        return evaluate(likelihood, call, x, point, of_raw)

    ours, theirs = _evaluated(nll, x, point), _evaluated(called, x, point)
    theirs = theirs._replace(values=theirs.values.where(theirs.values.isfinite() | ~ours.values.isfinite(), math.inf))
    theirs_wide, ours_wide = theirs, ours  # with more digits, where there are any
    if x.dtype != torch.float64:
        x, point = wide(x), wide(point)
        theirs_wide, ours_wide = _evaluated(called, x, point), _evaluated(nll, x, point)
    raw, mean = (point, likelihood.link.inverse(point)) if of_raw else (likelihood.link.forward(point), point)
    ref = Reference(likelihood, x, mean, raw, ours_wide.values, eps)
    off, size = (theirs.values - ours.values).abs(), _off(theirs.values, ours.values, eps)
    acting = [*_acting(changes_in(call), ref, ref.nll, theirs_wide.values)]
    lost = cancelled(call, ref)
    reasons = [*_reasons(acting, eps, _Values(ref.nll, theirs.values, theirs_wide.values, size), AGREE, lost)]
    gradient = None
    if theirs.gradient is not None and ours.gradient is not None:
        difference = (theirs.gradient - ours.gradient).abs()
        gradient = _GradientError(
            _off(theirs.gradient, ours.gradient, eps).max().item(),
            (difference.max() / ours.gradient.square().mean().sqrt()).item(),
        )
        if theirs_wide.gradient is not None and ours_wide.gradient is not None:
            # A gradient that is wrong where the value is right, and where the same change does not act on the value, unseen.
            changed = torch.zeros_like(size, dtype=torch.bool)
            for mine in [mine for reason, mine in reasons if reason.name != ROUNDING] + [acts for *_, acts in acting]:
                changed = changed | mine
            right = ~changed.reshape(*size.shape, *(1 for _ in range(ours.gradient.ndim - size.ndim)))
            is_large = difference > 1e-3 * ours.gradient.square().mean().sqrt()
            # Where the nll bends, any slope between the two is one.
            bent = x == point if x.shape == point.shape and not likelihood.event else torch.zeros_like(right)
            moves = _off(theirs.gradient, ours.gradient, eps).where(right & is_large & ~bent, 0)
            gradients = _Values(ours_wide.gradient, theirs.gradient, theirs_wide.gradient, moves)
            acting = [*_acting(changes_in(call, GRADIENTS), ref, ours_wide.gradient, theirs_wide.gradient)]
            lost = lost.reshape(right.shape) * ours_wide.gradient.abs()
            of_gradients = _reasons(acting, eps, gradients, SLACK / eps, lost)
            reasons += [(reason, mine) for reason, mine in of_gradients if reason.name != ROUNDING]
    return _Part(
        elements=ours.values.numel(),
        ours=ours.values.sum().item(),
        theirs=theirs.values.sum().item(),
        off=size.sum().item(),
        largest=size.max().item(),
        off_nats=off.sum().item(),
        largest_nats=off.max().item(),
        gradient=gradient,
        reasons=[reason for reason, _ in reasons],
    )


def _evaluated(nll: Callable[[Tensor, Tensor], Tensor], x: Tensor, point: Tensor) -> _Evaluated:
    """Return values and their gradient."""
    import torch

    point = point.detach().requires_grad_()
    values = nll(x, point)
    gradient = torch.autograd.grad(values.sum(), point)[0] if values.requires_grad else None
    return _Evaluated(wide(values.detach()), wide(gradient) if gradient is not None else None)


def _off(theirs: Tensor, ours: Tensor, eps: float) -> Tensor:
    """Return the difference in eps of ours (of theirs, where ours is zero)."""
    off, size = (theirs - ours).abs(), ours.abs().where(ours != 0, theirs.abs())
    return (off / (eps * size)).where(off > 0, 0)


Acting = tuple[Change, "Tensor", "Tensor"]


def _acting(changes: Iterable[Change], ref: Reference, exact: Tensor, again: Tensor) -> Iterator[Acting]:
    """Yield each change, what it returns, and where ``again``, the call in float64, is off by it and not by rounding."""
    far = (again - exact).abs()
    for change in changes:
        returned = change.returned(ref)
        acts = within(again, returned, far, 2**-52) & ((returned - exact).abs() > 0.5 * far)
        yield change, returned, acts & (far > 64 * 2**-52 * exact.abs())


class _Values(NamedTuple):
    """Values (or gradients) of a call: exactly, as returned, as returned in float64, and how far off, in eps."""

    exact: Tensor
    returned: Tensor
    again: Tensor
    size: Tensor


def _reasons(
    acting: Iterable[Acting], eps: float, values: _Values, agree: float, lost: Tensor
) -> Iterator[tuple[Reason, Tensor]]:
    """Yield every named change that accounts for elements off by more than ``agree`` eps, and which; rounding; the rest.

    In float64 a call is off by ``lost`` where its digits go in a difference. A call of float64 itself has no more digits
    to show: there a difference is rounding where it is small beside the terms.
    """
    exact, returned, again, size = values
    off, far, left = (returned - exact).abs(), (again - exact).abs(), size > agree

    def reason(name: str, because: str, mine: Tensor) -> Reason:
        return Reason(name, int(mine.sum()), off[mine].max().item(), size[mine].max().item(), because)

    mine = left & returned.isinf() & exact.isfinite()
    if mine.any():
        yield reason("log of zero", "a probability too small for the dtype rounds to 0", mine), mine
    left = left & ~mine
    small = 1e-3 * off + 64 * 2**-52 * exact.abs() if again is not returned else 1e4 * 2**-52 * exact.abs().clamp(min=1)
    rounding = far <= small + lost
    for change, changed, acts in acting:
        mine = left & within(returned, changed, off, eps) & ((changed - exact).abs() > 0.5 * off)
        mine |= left & acts & (far > 0.1 * off)
        if mine.any():
            yield reason(change.name, change.because, mine), mine
        left, rounding = left & ~mine, rounding | acts  # where it acts and rounding on top is nearly all, that is the reason
    mine = left & rounding
    if mine.any():
        yield reason(ROUNDING, "digits lost in the dtype: evaluated in more digits the call agrees", mine), mine
    left = left & ~mine
    if left.any():
        yield reason("", "nothing known accounts for it", left), left


def report(rows: Sequence[Against], notes: Iterable[str]) -> Report:
    """Return what ``recon compare --against`` prints: a statement a call, and each silent change by name."""
    statements = [
        {**vars(row), "step": number, "statement": row.call, "because": because(row), "checked": row.holds}
        for number, row in enumerate(rows, 1)
    ]
    changes = [
        {**vars(reason), "likelihood": row.likelihood, "call": row.call, "change": reason.name or "unexplained"}
        for row in rows
        for reason in row.reasons
        if reason.name not in HARMLESS
    ]
    good, changed = sum(row.holds for row in rows), sum(not row.holds for row in rows)
    verdict = f"{'refuted' if changed else 'holds'}: {good} of {len(rows)} calls return the density to their own rounding"
    if changed:
        names = dict.fromkeys([change["change"] for change in changes] + ["refused"] * any(row.refused for row in rows))
        verdict += f"; {changed} do{'es' * (changed == 1)} not: {', '.join(names)}"
    if loose := [row.gradient_share or 0.0 for row in rows if row.holds and row.loose]:
        verdict += f"; of {len(loose)} of the {good} the gradient is off by a hundredth of itself or more where it is small, "
        verdict += f"by at most {max(loose):.2g} of a typical one"
    columns, hidden = [Column(key, key) for key in KEYS], [Column(key, key, None) for key in CHANGES]
    tables = [
        Table("against", columns, statements, layout="steps", wrong="not the density", answer=True),
        Table("changes", hidden, changes),
    ]
    return Report("compare", tables, [*notes], verdict, not changed)


def because(row: Against) -> str:
    """Return how far a call is off, and why, in a sentence or two."""
    if row.refused:
        return f"It refuses: {row.refused}"
    sentences = f"Off by {row.mean:.3g} eps on average, {row.largest:.3g} at most ({row.largest_nats:.3g} nats)"
    sentences += f", its gradient by {row.gradient:.3g} at most" if row.gradient is not None else ""
    sentences += f", {row.gradient_share:.2g} of a typical one." if row.loose else "."
    for reason in row.reasons:
        sentences += f" {(reason.name or 'unexplained').capitalize()}: {reason.because} ({reason.elements:,} of {row.elements:,}"
        sentences += f" elements, up to {reason.largest_nats:.3g} nats)." if reason.name != ROUNDING else " elements)."
    return sentences
