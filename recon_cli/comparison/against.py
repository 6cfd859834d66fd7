"""Our nll beside the library call that a user would have written: how far apart, and why."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon_cli.comparison.changes import GRADIENTS, NORMALISED, Change, Seen, cancelled, known, within
from recon_cli.comparison.tally import chunks
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from torch import Tensor

LIBRARIES = {"torch": r"(?<![.\w])(F|distributions|torch)\.", "scipy": r"(?<![.\w])(stats|special)\."}
SLACK = 0.01  # of a gradient, from which on it is said
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


def calls(side: Likelihood, library: str) -> list[str]:
    """What people write for a likelihood in a library."""
    if library not in (*LIBRARIES,):
        raise ReconError(f"There is nothing known of {library!r}.", f"Known: {' and '.join(LIBRARIES)}.")
    return [call for call in side.calls if re.search(LIBRARIES[library], call)]


def against(side: Likelihood, call: str, x: Tensor, mu: Tensor, data: str) -> Against:
    """Set a call beside the nll on every element of ``x`` and ``mu``, in their dtype."""
    import torch

    side = side.admitted()
    named = {"likelihood": side.name, "parameters": {key: float(value) for key, value in side.parameters.items()}}
    found: list[dict[str, Any]] = []
    try:
        for part in chunks(side, x, mu):
            found.append(_measured(side, call, *part))
    except (ValueError, RuntimeError, TypeError) as error:
        said = " ".join(str(error).split())
        return Against(**named, call=call, data=data, elements=len(x), refused=f"{said[:160]}{'...' * (len(said) > 160)}")
    count = sum(each["elements"] for each in found)

    def most(key: str) -> float:
        return max(each[key] for each in found)

    reasons: dict[str, Reason] = {}
    for reason in (reason for each in found for reason in each["reasons"]):
        other = reasons.get(reason.name, Reason(reason.name, 0, 0.0, 0.0, reason.because))
        reasons[reason.name] = Reason(
            reason.name,
            reason.elements + other.elements,
            max(reason.largest_nats, other.largest_nats),
            max(reason.largest, other.largest),
            reason.because,
        )
    return Against(
        **named,
        call=call,
        data=data,
        elements=count,
        eps=torch.finfo(x.dtype).eps,
        **{key: sum(each[key] for each in found) / count for key in ("ours", "theirs", "mean", "mean_nats")},
        **{key: most(key) for key in ("largest", "largest_nats")},
        **{key: most(key) if found[0][key] is not None else None for key in ("gradient", "gradient_share")},
        reasons=tuple(reasons.values()),
    )


def _measured(side: Likelihood, call: str, x: Tensor, mu: Tensor) -> dict[str, Any]:
    import torch

    of_raw, eps = takes_raw(call), torch.finfo(x.dtype).eps
    point = side.link.forward(mu) if of_raw else mu
    ours, own = _both(side.nll_raw if of_raw else side.nll, x, point)
    found, other = _both(lambda x, point: evaluate(side, call, x, point, of_raw), x, point)
    found = found.where(found.isfinite() | ~ours.isfinite(), math.inf)
    again, (exact, moved) = (found, other), (ours, own)  # with more digits, where there are any
    if x.dtype != torch.float64:
        x, point = wide(x), wide(point)
        again = _both(lambda x, point: evaluate(side, call, x, point, of_raw), x, point)
        exact, moved = _both(side.nll_raw if of_raw else side.nll, x, point)
    raw, mean = (point, side.link.inverse(point)) if of_raw else (side.link.forward(point), point)
    seen = Seen(side, x, mean, raw, exact, eps)
    off, size = (found - ours).abs(), _off(found, ours, eps)
    lost = cancelled(call, seen)
    acting = [*_acting(known(call), seen, exact, again[0])]
    found_out = [*_reasons(acting, seen, exact, found, again[0], size, AGREE, lost)]
    if other is not None:  # a gradient that is wrong where the value is right
        changed = sum((mine for reason, mine in found_out if reason.name != ROUNDING), torch.zeros_like(size, dtype=torch.bool))
        changed = sum((acts for *_, acts in acting), changed)  # too little to be seen in the value: the same change
        right = ~changed.reshape(*size.shape, *(1 for _ in range(other.ndim - size.ndim)))
        seen_as_large = (other - own).abs() > 1e-3 * own.square().mean().sqrt()
        bent = x == point if x.shape == point.shape and not side.event else torch.zeros_like(right)  # any slope between is one
        moves = _off(other, own, eps).where(right & seen_as_large & ~bent, 0)
        acting = [*_acting(known(call, GRADIENTS), seen, moved, again[1])]
        lost = lost.reshape(right.shape) * moved.abs()
        of_gradients = _reasons(acting, seen, moved, other, again[1], moves, 0.01 / eps, lost)
        found_out += [(reason, mine) for reason, mine in of_gradients if reason.name != ROUNDING]
    return {
        "elements": ours.numel(),
        "ours": ours.sum().item(),
        "theirs": found.sum().item(),
        "largest": size.max().item(),
        "mean": size.sum().item(),
        "largest_nats": off.max().item(),
        "mean_nats": off.sum().item(),
        "gradient": _off(other, own, eps).max().item() if other is not None else None,
        "gradient_share": ((other - own).abs().max() / own.square().mean().sqrt()).item() if other is not None else None,
        "reasons": [reason for reason, _ in found_out],
    }


def _both(nll: Callable[[Tensor, Tensor], Tensor], x: Tensor, point: Tensor) -> tuple[Tensor, Tensor | None]:
    """Values and their gradient, in float64; None where a library has no gradients."""
    import torch

    point = point.detach().requires_grad_()
    value = nll(x, point)
    gradient = torch.autograd.grad(value.sum(), point)[0] if value.requires_grad else None
    return wide(value.detach()), wide(gradient) if gradient is not None else None


def _off(found: Tensor, ours: Tensor, eps: float) -> Tensor:
    """The difference in eps of ours (of theirs, where ours is zero)."""
    off, size = (found - ours).abs(), ours.abs().where(ours != 0, found.abs())
    return (off / (eps * size)).where(off > 0, 0)


Acting = tuple[Change, "Tensor", "Tensor"]


def _acting(changes: Iterable[Change], seen: Seen, exact: Tensor, again: Tensor) -> Iterator[Acting]:
    """Each change, what is returned under it, and where ``again``, the call in float64, is off by it and not by rounding."""
    far = (again - exact).abs()
    for change in changes:
        returned = change.returned(seen)
        acts = within(again, returned, far, 2**-52) & ((returned - exact).abs() > 0.5 * far)
        yield change, returned, acts & (far > 64 * 2**-52 * exact.abs())


def _reasons(
    acting: Iterable[Acting], seen: Seen, exact: Tensor, found: Tensor, again: Tensor, size: Tensor, agree: float, lost: Tensor
) -> Iterator[tuple[Reason, Tensor]]:
    """Every named change that accounts for elements off by more than ``agree`` eps, and which; rounding; what has no name.

    ``again`` is what the call returns in float64, off by ``lost`` where its digits go in a difference. In float64 itself
    a difference is rounding where it is small beside the terms: it has no more digits to show.
    """
    off, far, left = (found - exact).abs(), (again - exact).abs(), size > agree

    def reason(name: str, because: str, mine: Tensor) -> Reason:
        return Reason(name, int(mine.sum()), off[mine].max().item(), size[mine].max().item(), because)

    mine = left & found.isinf() & exact.isfinite()
    if mine.any():
        yield reason("log of zero", "a probability too small for the dtype rounds to 0", mine), mine
    left = left & ~mine
    small = 1e-3 * off + 64 * 2**-52 * exact.abs() if again is not found else 1e4 * 2**-52 * exact.abs().clamp(min=1)
    rounding = far <= small + lost
    for change, returned, acts in acting:
        mine = left & within(found, returned, off, seen.eps) & ((returned - exact).abs() > 0.5 * off)
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


def takes_raw(call: str) -> bool:
    """Whether a call is of the raw output, r, and not of mu."""
    return re.search(r"\br\b", call) is not None


def evaluate(side: Likelihood, call: str, x: Tensor, point: Tensor, of_raw: bool) -> Tensor:
    """What a call returns at ``point``, mu or the raw output; scipy's with numpy arrays, in the dtype of ``x``."""
    import torch

    words: dict[str, Any] = {"x": x, "r" if of_raw else "mu": point}
    if side.head and not of_raw:
        words |= {name: point[..., i] for i, name in enumerate(side.head)}
    plain = not re.search(LIBRARIES["torch"], call)
    if plain:
        words = {name: value.detach().cpu().numpy() for name, value in words.items()}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = eval(call, _library(plain), {**side.parameters, **words})
    return torch.as_tensor(found).to(x.device, x.dtype)


def _library(plain: bool) -> dict[str, Any]:
    """The names that calls are written in."""
    if not plain:
        import torch
        from torch import distributions
        from torch.nn import functional

        return {"torch": torch, "F": functional, "distributions": distributions, "math": math}
    try:
        from scipy import special, stats
    except ImportError as error:
        raise ReconError(
            "scipy is not installed, so there is nothing to compare with.", "Install it: pip install scipy."
        ) from error
    return {"stats": stats, "special": special, "math": math}


def report(rows: Iterable[Against], notes: Iterable[str]) -> Report:
    """As ``recon compare --against`` prints it: a statement a call, and each silent change by name."""
    rows = [*rows]
    told = [
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
        names = dict.fromkeys([each["change"] for each in changes] + ["refused"] * any(row.refused for row in rows))
        verdict += f"; {changed} do{'es' * (changed == 1)} not: {', '.join(names)}"
    if loose := [row.gradient_share or 0.0 for row in rows if row.holds and row.loose]:
        verdict += f"; of {len(loose)} of the {good} the gradient is off by a hundredth of itself or more where it is small, "
        verdict += f"by at most {max(loose):.2g} of a typical one"
    tables = [Table("against", [Column(key, key) for key in KEYS], told, layout="steps", wrong="not the density")]
    hidden = [Column(key, key, None) for key in CHANGES]
    return Report("compare", [*tables, Table("changes", hidden, changes)], [*notes], verdict, not changed)


def because(row: Against) -> str:
    """How far a call is off, and why, in a sentence or two."""
    if row.refused:
        return f"It refuses: {row.refused}"
    said = f"Off by {row.mean:.3g} eps on average, {row.largest:.3g} at most ({row.largest_nats:.3g} nats)"
    said += f", its gradient by {row.gradient:.3g} at most" if row.gradient is not None else ""
    said += f", {row.gradient_share:.2g} of a typical one." if row.loose else "."
    for reason in row.reasons:
        said += f" {(reason.name or 'unexplained').capitalize()}: {reason.because} ({reason.elements:,} of {row.elements:,}"
        said += f" elements, up to {reason.largest_nats:.3g} nats)." if reason.name != ROUNDING else " elements)."
    return said
