"""Which likelihood a gradient field is: every loss of every likelihood in the registry, their own numbers solved for."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from recon_cli import likelihoods
from recon_cli.auditing.links import LINKS, link_of
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.vectors import REAL_VECTORS

MATCH = 1e-6  # the largest difference of two gradient fields, relative to the largest gradient, that is none
COUNTS = (*range(2, 33), 50, 63, 64, 99, 100, 127, 128, 200, 250, 255, 256, 500, 512, 1000)  # trials that are tried
CLOSE = 1e-3  # within which a family is named, and the difference said
SETTLED, NEAR = 1e-4, 1e-2  # by which share a step lowers the squares where a fit is done, unless it is so near already


@dataclass(frozen=True)
class Candidate:
    """A loss of a likelihood, or its own nll where the loss leaves a gap (``whole``)."""

    family: str
    kind: type[Likelihood]
    loss: Any
    own: tuple[str, ...]
    whole: bool = False

    @functools.cached_property
    def counts(self) -> bool:
        """Whether its numbers are whole and no noise: of a binomial the trials."""
        return bool(self.own) and not self.kind().noise

    @functools.cached_property
    def bounds(self) -> tuple[tuple[float, float] | None, ...]:
        """Between which two numbers each of its own lies; None of one that is positive."""
        fields = {field.name: field for field in dataclasses.fields(self.kind if self.whole else self.loss)}
        return tuple(fields[name].metadata["domain"].bounds for name in self.own)

    @functools.cached_property
    def link(self) -> str:
        """What stands between its prediction and the mean, by name; empty of an nll."""
        loss = self.loss(**dict.fromkeys(self.own, 2.0)) if self.counts else self.loss
        return str(getattr(getattr(loss, "link", None), "name", ""))

    def values(self, x: Tensor, prediction: Tensor, numbers: tuple[float, ...]) -> Tensor:
        """Return the loss of every element with these numbers of its own; times its slope, where that is they alone."""
        own = dict(zip(self.own, numbers, strict=True))
        loss = self.loss(**own)
        values: Tensor = loss.values(x, prediction) if hasattr(loss, "values") else loss(x, prediction)
        return values * self.kind(**own).slope if self.counts else values


@dataclass(frozen=True)
class Match:
    """What a field is: ``weight`` times a loss of the prediction behind ``link``, to within ``off``.

    given
        numbers of the family that the loss states, where its scale is a decoder's own.
    """

    family: str
    weight: float
    off: float
    candidate: Candidate | None = None
    numbers: tuple[float, ...] = ()
    link: str = ""
    parts: tuple[tuple[str, float], ...] = ()
    given: tuple[tuple[str, float], ...] = ()

    @property
    def sign(self) -> int:
        """+1 of a loss that grows as a prediction leaves its target, -1 of one that falls."""
        return int(math.copysign(1, self.weight))

    @property
    def own(self) -> dict[str, float]:
        """The loss's own numbers by name."""
        return dict(zip(self.candidate.own, self.numbers, strict=True)) if self.candidate else {}


@dataclass(frozen=True)
class DecoderScale:
    """What a decoder's scale is of an argument ``key``: a ``quantity`` that is ``times`` a function of it and ``more``.

    link
        that function, as of a reconstruction r; None where it is none that has a name, of which ``samples`` are known.
    clamped
        whether beyond some argument nothing moves it.
    """

    key: str
    quantity: str
    link: str | None = ""
    times: float = 1.0
    more: float = 0.0
    samples: tuple[tuple[float, float], ...] = ()
    clamped: bool = False

    @property
    def times_variance(self) -> float:
        """By what the variance (a Laplace's squared scale) is multiplied, where the rest is a function that has a name."""
        return {"std": self.times**2, "variance": self.times, "precision": 1 / self.times}.get(self.quantity, 1.0)

    @property
    def plain(self) -> bool:
        """Whether the argument itself is that quantity."""
        return self.link == "" and self.times == 1 and self.more == 0 and not self.clamped


@dataclass(frozen=True)
class GivenWeights:
    """Weights that are a function of an argument ``key``.

    samples
        the argument and what an element weighs there; none where that depends on what it is elsewhere.
    named
        whether it is called a scale, as a network's output may be.
    """

    key: str
    samples: tuple[tuple[float, float], ...] = ()
    named: bool = False

    @property
    def words(self) -> str:
        """In words, what they are of."""
        at = ", ".join(f"{weight:.4g} at {self.key} = {level:g}" for level, weight in self.samples)
        return f"a function of {self.key}" + (f" ({at})" if at else "")


@functools.cache
def candidates(event: int = 0) -> tuple[Candidate, ...]:
    """Return every loss that some likelihood claims without a gap, and the nll of those with one; those without numbers first.

    Those of rounded data come last: at a scale far above their steps they are the unrounded ones to many digits. Of two that
    are alike that with a noise comes first: any weight on the loss is one of its noises.
    """
    by_loss: dict[object, Candidate] = {}
    probe = torch.full((1, 3) if event else (1,), 1 / 3 if event else 0.4)
    for name in likelihoods.names():
        kind = likelihoods.find(name)
        likelihood = kind()
        if kind.event != event or kind.head or likelihood.domain == REAL_VECTORS:  # without its covariance it is elements
            continue
        if bool((likelihood.gap(probe) != 0).any()):
            for call in ("nll", "nll_raw"):
                by_loss[name, call] = Candidate(name, kind, functools.partial(_nll, kind, call), (*likelihood.noise,), True)
            continue
        for loss in likelihood.losses:
            own = tuple(key for key in loss.parameters if key not in likelihood.design or not likelihood.noise)
            by_loss.setdefault(type(loss), Candidate(name, kind, type(loss), own))
    return tuple(sorted(by_loss.values(), key=lambda each: (len(each.own), bool(each.kind().design), not each.kind().noise)))


def _nll(kind: type[Likelihood], call: str, **noise: float) -> object:
    return getattr(kind(**noise).admitted(), call)


class Points:
    """Points (x, prediction), alike where their numbers are: most are the same in every audit."""

    def __init__(self, x: Tensor, raw: Tensor) -> None:
        self.x, self.raw = x, raw
        self.key = tuple((each.shape, each.dtype, each.numpy().tobytes()) for each in (x, raw))

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Points) and self.key == other.key


def derived(candidate: Candidate, numbers: tuple[float, ...], points: Points, link: str = "") -> Tensor | None:
    """Return what ``field_of`` does, each time anew."""
    known = link_of(link)
    assert known is not None
    try:
        with torch._C.DisableTorchFunction():  # nothing to overrule in our own arithmetic, thousands of times
            leaf = points.raw.detach().clone().requires_grad_()
            value = candidate.values(known.data(points.x), known.mean(leaf), numbers)
            (gradient,) = torch.autograd.grad(value.sum(), leaf)
            return gradient if bool(gradient.isfinite().all()) else None
    except (RuntimeError, ValueError, ReconError):
        return None


kept = functools.lru_cache(4096)(derived)  # from one audit to the next


def field_of(candidate: Candidate, numbers: tuple[float, ...], x: Tensor, raw: Tensor, link: str = "") -> Tensor | None:
    """Return d loss / d prediction at every point; None where it is not finite."""
    return (derived if numbers else kept)(candidate, numbers, Points(x, raw), link)


@functools.lru_cache(1024)
def fields_of(candidate: Candidate, numbers: tuple[float, ...], points: Points) -> Tensor:
    """Return a row of what ``field_of`` does for each number, NaN where it is none; all at once, where the loss takes tensors."""
    leaf = points.raw.expand(len(numbers), -1).clone().requires_grad_()
    try:
        with torch._C.DisableTorchFunction():
            values = candidate.values(points.x.expand_as(leaf), leaf, (torch.tensor(numbers, dtype=leaf.dtype).unsqueeze(1),))  # type: ignore[arg-type]
            return torch.autograd.grad(values.sum(), leaf)[0]
    except (TypeError, RuntimeError, ValueError):
        rows = (derived(candidate, (number,), points) for number in numbers)
        return torch.stack([torch.full_like(points.raw, math.nan) if row is None else row for row in rows])


def ratio(field: Tensor | None, measured: Tensor) -> tuple[float, float]:
    """Return the weight that a field has in another, by least squares, and how far off it is at worst."""
    with torch._C.DisableTorchFunction():
        if field is None or not bool(field.abs().max() > 0):
            return 0.0, math.inf
        weight = float((field * measured).sum() / (field * field).sum())
        off = float((measured - weight * field).abs().max() / measured.abs().max())
        if off < CLOSE:  # where an eps inside a logarithm tilts it, the middle of the ratios is nearer
            solid = field.abs() > 0.05 * field.abs().max()
            weight = float((measured[solid] / field[solid]).median())
        return weight, off


def recognise(x: Tensor, raw: Tensor, measured: Tensor, links: Sequence[str] = tuple(LINKS)) -> Match | None:
    """Return the simplest loss whose gradient by the prediction ``raw`` of ``x`` is ``measured``; None if there is none."""
    losses, close = candidates(), list[Match]()
    if bool((measured == measured.flatten()[0]).all()):
        return None  # a pull that is the same everywhere is that of no data
    for link in links:
        for each in losses:
            if not each.own:
                close.append(single(each, x, raw, measured, link))
                if close[-1].off < MATCH and close[-1].weight != 0:
                    return close[-1]
        if not link:
            for match in (solved(each, x, raw, measured) for each in losses if each.own):  # those with the fewest numbers first
                if match.off < MATCH and match.weight != 0:
                    return match
            if mixed := mixture(losses, x, raw, measured):
                return mixed
    nearest = min(close, key=lambda m: m.off, default=None)
    return nearest if nearest and nearest.off < CLOSE else None


def single(candidate: Candidate, x: Tensor, raw: Tensor, measured: Tensor, link: str, numbers: tuple[float, ...] = ()) -> Match:
    """Return one candidate with its numbers as they are."""
    weight, off = ratio(field_of(candidate, numbers, x, raw, link), measured)
    return Match(candidate.family, weight, off, candidate, numbers, link)


def solved(candidate: Candidate, x: Tensor, raw: Tensor, measured: Tensor) -> Match:
    """Return one candidate with the numbers of its own that fit best: a grid, coarse of several, then least squares."""
    if len(candidate.own) > 1:
        if not bool(candidate.kind().support.contains(x).all()):
            return Match(candidate.family, 0.0, math.inf, candidate)
        places = itertools.product(*((-1.5, 0.0, 1.5) if ends else (-3.0, -1.0, 1.0) for ends in candidate.bounds))
        start = min(places, key=lambda point: single(candidate, x, raw, measured, "", numbers_at(candidate, point)).off)
        return refined(candidate, x, raw, measured, start, (-12.0, 12.0))
    few = slice(None, None, max(1, len(x) // 42))

    def rough(numbers: Iterable[float]) -> tuple[float, int]:
        fields = fields_of(candidate, tuple(numbers), Points(x[few], raw[few]))
        alike = (fields @ measured[few]).abs() / (fields.norm(dim=1) * measured[few].norm())
        best = int(alike.nan_to_num(-1.0).argmax())
        return 1 - float(alike[best]), best

    if candidate.counts:
        counts = [float(n) for n in COUNTS]
        return single(candidate, x, raw, measured, "", (counts[rough(counts)[1]],))
    (ends,) = candidate.bounds
    number, step = (functools.partial(between, ends), 5.0 / 40) if ends else (math.exp, math.log(1e4) / 40)
    coarse = -39 + 3 * rough(number(i * step) for i in range(-39, 40, 3))[1]
    far, best = rough(number(i * step) for i in range(coarse - 2, coarse + 3))
    middle = step * (coarse - 2 + best)
    if not far <= 0.05:  # or no number
        return single(candidate, x, raw, measured, "", (number(middle),))
    return refined(candidate, x, raw, measured, [middle], (middle - step, middle + step))


def between(ends: tuple[float, float], t: float) -> float:
    """Return the number between two others of which this is the logit."""
    return ends[0] + (ends[1] - ends[0]) / (1 + math.exp(-t))


def numbers_at(candidate: Candidate, point: Iterable[float]) -> tuple[float, ...]:
    """Return numbers of a candidate's own by their logits, where they lie between two ends, or their logarithms."""
    return tuple(between(ends, t) if ends else math.exp(t) for t, ends in zip(point, candidate.bounds, strict=True))


def refined(
    candidate: Candidate, x: Tensor, raw: Tensor, measured: Tensor, start: Iterable[float], bounds: tuple[float, float]
) -> Match:  # fmt: skip
    """Return one candidate with the numbers of its own that fit best by least squares, from some on."""
    from scipy.optimize import least_squares

    def inside(point: Iterable[float]) -> tuple[float, ...]:
        return numbers_at(candidate, [min(max(t, bounds[0]), bounds[1]) for t in point])

    def missed(point: Iterable[float]) -> Any:
        field = field_of(candidate, inside(point), x, raw)
        weight = 0.0 if field is None else ratio(field, measured)[0]
        off = measured if field is None else measured - weight * field
        return (off / measured.abs().max()).nan_to_num(1.0, 1.0, -1.0).numpy()

    fit = functools.partial(least_squares, missed, method="lm", xtol=1e-15, gtol=1e-15)
    best = fit([*start], ftol=SETTLED, max_nfev=60)
    if abs(best.fun).max() < NEAR:
        best = fit(best.x, ftol=1e-15, max_nfev=60)
    return single(candidate, x, raw, measured, "", inside(best.x.tolist()))


def mixture(losses: tuple[Candidate, ...], x: Tensor, raw: Tensor, measured: Tensor) -> Match | None:
    """Return two losses without numbers of their own, added with positive weights: elastic net is squared and absolute error."""
    fields = [(each, gradient) for each in losses if not each.own and (gradient := field_of(each, (), x, raw)) is not None]
    if len(fields) < 2:
        return None
    every, (one, other) = torch.stack([gradient for _, gradient in fields]), torch.triu_indices(len(fields), len(fields), 1)
    basis = torch.stack([every[one], every[other]], dim=2)
    weights = torch.linalg.lstsq(basis, measured.expand(len(one), -1).unsqueeze(2)).solution
    off = (basis @ weights - measured.unsqueeze(1)).abs().amax((1, 2)) / measured.abs().max()
    positive = (weights * weights.sum(1, keepdim=True).sign() > 1e-12 * weights.abs().amax(1, keepdim=True)).all(1).squeeze(1)
    for i in ((off < 1e-9) & positive).nonzero().flatten().tolist():
        families = [fields[which[i]][0].family for which in (one, other)]
        parts = sorted(zip(families, weights[i].flatten().tolist(), strict=True), key=lambda p: p[0])
        name = "elastic-net" if [p[0] for p in parts] == ["gaussian", "laplace"] else " + ".join(p[0] for p in parts)
        return Match(name, dict(parts).get("gaussian", parts[0][1]), float(off[i]), None, (), "", tuple(parts))
    return None


def likelihood_of(match: Match, weight: float) -> tuple[Any, str]:
    """Return the likelihood in the registry whose loss has this weight, and its name: of log-cosh, at 1 one and at 2 another."""
    candidate = match.candidate
    if candidate is None:
        return None, match.family
    own = match.own
    others = (k for k in map(likelihoods.find, likelihoods.names()) if k is not candidate.kind and not k.head)
    for kind in (candidate.kind, *(k for k in others if type(k().loss) is candidate.loss)):
        for near in (weight, float(round(weight)) if abs(weight - round(weight)) < 1e-6 else weight):
            try:
                return kind.with_slope(near, candidate.loss(**own) if own else None), kind.name
            except Exception:
                continue
    return None, candidate.family
