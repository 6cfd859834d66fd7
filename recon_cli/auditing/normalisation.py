"""Whether e^-loss adds up to one number over all data, whatever the prediction: the identity itself, where no family is known."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from recon_cli.auditing.coordinates import HALF, LINE, UNIT, Array, Coordinate
from recon_cli.auditing.quadrature import JUMPS, Element, Integral

CONSTANT = 1e-6  # nats by which the logarithm of a sum may differ between predictions, and be one
TRUSTED = 1e-4  # the largest error, in nats, at which two sums are told apart
STARTS, TILTS = (0.0, 2.0, -1.0, -2.0), 7  # tilts to begin with, and how many are tried until two predictions agree
MOST = 0.6  # the share of predictions whose integrals must be known
FIRST = 12  # terms after which a sum's may be those of a geometric one
FEW = 400  # the largest whole number that is summed up to
COINS, WHOLE = "0 and 1", "0, 1, 2, ..."
LEVELS = (256, 16, 17, 11, 2**5, 2**6, 101)
GRIDS: dict[str, tuple[float, float, int]] = {
    **{f"the {n} levels 0, 1/{n - 1}, ..., 1": (0.0, 1.0, n) for n in LEVELS},
    "the 256 levels -1, -1 + 2/255, ..., 1": (-1.0, 1.0, 256),
    "0, 1, ..., 255": (0.0, 255.0, 256),
}


@dataclass(frozen=True)
class Normalisation:
    """What e^-loss adds up to over the data.

    kind
        "real": one number whatever the prediction; "gap": another for each; "no-density": infinite; "unknown": not told.
    support, base
        over what, and b(x) in words where it is weighed with e^-b(x).
    logs, predictions
        log Z at each of the predictions.
    error
        a bound of the error of the logarithms, in nats.
    weight
        what the loss was multiplied by: its weight in units of the KL's, or as it is written.
    beta
        the KL's weight beside that likelihood's; None where it is not another than 1.
    why
        in words, why it is infinite or not told.
    absolute
        whether the loss has no other terms, so that log Z itself means something and not only its changes.
    """

    kind: str
    support: str
    predictions: tuple[tuple[float, ...], ...]
    weight: float
    logs: tuple[float, ...] = ()
    error: float = math.inf
    base: str = ""
    why: str = ""
    beta: float | None = None
    absolute: bool = True

    @property
    def log_z(self) -> float:
        """Log Z in the middle of what was found."""
        return (min(self.logs) + max(self.logs)) / 2 if self.logs else math.nan

    @property
    def range(self) -> float:
        """By how many nats it moves with the prediction."""
        return max(self.logs) - min(self.logs) if self.logs else math.nan

    @property
    def extremes(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """The predictions at which e^-loss adds up to least and to most."""
        return self.predictions[int(np.argmin(self.logs))], self.predictions[int(np.argmax(self.logs))]

    @property
    def words(self) -> str:
        """In words, of which data it is a likelihood, if it is one, or why that is not known."""
        if self.kind == "unknown":
            return f"Whether the integral of e^-loss is the same for every prediction is not known: {self.why}."
        if self.kind != "real":
            return ""
        base = f" beside a b(x) of {self.base}" if self.base else ""
        offset = f"{0.0 if abs(self.log_z) <= max(self.error, 1e-9) else self.log_z:.6g}"
        size = f"to e^{offset}, an offset of {offset} nats," if self.absolute else "to one number"
        return f"It is a likelihood of no name: over {self.support}{base} e^-loss adds up {size} whatever the prediction."


def of_sums(element: Element, support: str, logs: Array, error: float, base: str = "") -> Normalisation:
    """Return what sums at every prediction say: the same, different, or too rough to tell."""
    sums = Normalisation("unknown", support, element.predictions, element.weight, tuple(logs.tolist()), error, base)
    if not np.isfinite(logs).all() or error > TRUSTED:
        return replace(sums, why=f"its sum over {support} is known to {error:.2g} nats only")
    return replace(sums, kind="real" if sums.range <= max(CONSTANT, 3 * error) else "gap")


def without_sum(element: Element, kind: str, support: str, why: str) -> Normalisation:
    """Return that there is no sum, and why."""
    return Normalisation(kind, support, element.predictions, element.weight, why=why)


def judge(element: Element, location: bool, binary: bool, domain: str, weights: Sequence[float]) -> Normalisation:
    """Return what e^-loss adds up to over the data that it can have, at the first weight at which that is one number.

    location
        whether only the residual counts: then one prediction stands for all.
    binary
        whether it takes no other data than 0 and 1.
    domain
        where predictions may be: real, unit or positive.
    weights
        what the loss may be multiplied by, the first of them its weight beside the KL.
    """
    attempts = []
    for weight in weights:
        one = replace(element, weight=weight)
        attempts.append(of_residual(one) if location else of_pairs(one, binary, domain))
        if attempts[-1].kind == "real":
            return attempts[-1]
    return attempts[0]


def of_residual(element: Element) -> Normalisation:
    """Return what a function of the residual integrates to; of one with too many waves to follow, whether it stays bounded."""
    sums = integrated(element, LINE)
    if sums.kind != "unknown" or not bounded(element):
        return sums
    return without_sum(element, "no-density", LINE.name, "as x goes to plus infinity the loss of an element stays bounded")


def bounded(element: Element) -> bool:
    """Whether a loss is nowhere far out above what it is nearby."""
    inner = [element.value(0.61 * n, 0) for n in range(-12, 13)]
    far = [side * 1.37**n for n in range(14, 44, 3) for side in (1.0, -1.0)]
    width = max(inner) - min(inner)
    return all(abs(element.value(x, 0) - inner[12]) <= 1.1 * width for x in far)


def of_pairs(element: Element, binary: bool, domain: str) -> Normalisation:
    """Return what a function of x and a prediction adds up to over the one kind of data for which that is one number.

    Where there is none, over the kind that it is made for: 0 and 1 where no prediction fits an x above 1.
    """
    coins = summed(element, (0.0, 1.0), COINS)
    if coins.kind == "real":
        return coins
    if binary:
        counts = [tallied(element, factorial) for factorial in (False, True)] if element.is_finite((2.0, 3.0)) else []
        return next((one for one in counts if one.kind == "real"), None) or on_levels(element, coins)
    if target := stretched(element):
        return without_sum(element, "unknown", LINE.name, f"it compares the prediction with {target:.6g} x")
    if still(element, (0.3, 0.85, 2.3)):
        return without_sum(element, "unknown", LINE.name, "it does not move with the prediction")
    straight = linear(element)
    shares = domain == "unit" or margin(element) or (straight and not reached(element, 3.0))
    tried: list[Normalisation] = []
    # Where data do not lie, the loss is no number.
    everywhere = element.is_finite((-0.7, -30.0))
    upward = not shares and element.is_finite((0.7, 30.0))
    for coordinate in [LINE] * (everywhere and not straight) + ([HALF] if upward else [UNIT]):
        tried.append(over(element, coordinate))
        if tried[-1].kind == "real":
            return tried[-1]
        if tried[-1].kind == "gap" and not (domain == "positive" and even(element)):  # of sizes, which are above 0
            break
    whole = min(tried, key=lambda one: ("gap", "no-density", "unknown").index(one.kind))
    if shares and coins.kind == "gap":
        otherwise = coins if straight or whole.kind != "unknown" else whole
        return otherwise if straight or margin(element) else on_levels(element, otherwise)
    if whole.kind == "gap" and whole.support == LINE.name:
        return whole
    few = element.among([j for j, mean in enumerate(element.predictions) if -2.5 < mean[0] < 3.5])
    counts = [tallied(few, factorial) for factorial in (False, True)]
    if real := next((one for one in counts if one.kind == "real"), None):
        return real
    jumps = any(one.why.startswith(JUMPS) for one in tried)
    if counts[0].kind == "gap" and (straight or jumps):
        return counts[0]
    return on_levels(element, whole) if jumps else whole


def integrated(element: Element, coordinate: Coordinate) -> Normalisation:
    """Return what e^-loss integrates to in a coordinate; unknown where the loss's value is not what its gradients run to."""
    integral = Integral(element, coordinate)
    if integral.doubt or (integral.infinite and len(element.predictions) == 1 and not slow(element)):
        return without_sum(element, "unknown", coordinate.name, integral.doubt or "its gradients are not its own")
    if integral.infinite:
        return without_sum(element, "no-density", coordinate.name, integral.infinite)
    known = np.flatnonzero(integral.errors <= TRUSTED).tolist()  # of one far out the tail may begin beyond all digits
    known = known if MOST * len(integral.errors) <= len(known) else [*range(len(integral.errors))]
    if not np.isfinite(integral.errors[known]).all():
        return without_sum(element, "unknown", coordinate.name, "the mass in its tails cannot be bounded")
    return of_sums(
        element.among(known), coordinate.name, integral.logs[known], float(integral.errors[known].max()), coordinate.base
    )


def over(element: Element, coordinate: Coordinate) -> Normalisation:
    """Return what e^-loss integrates to, or, where that moves, what it does beside the b(x) beside which it does not.

    A loss may drop any b(x). Of data above 0 that is looked for among the multiples of log x, of shares log x + log(1 - x): the
    tilt at which two predictions have one integral, after which all of them must.
    """
    first = integrated(element, coordinate)
    if first.kind in ("unknown", "real") or not coordinate.as_x:
        return first
    known: list[tuple[float, Normalisation]] = [(1.0, first)] if first.kind == "gap" else []
    for tilt in STARTS:
        sums = integrated(element, replace(coordinate, tilt=tilt))
        if sums.kind == "real":
            return sums
        known += [(tilt, sums)] if sums.kind == "gap" else []
        if len(known) == 2:
            break
    if len(known) < 2:
        return first
    least, most = known[0][1].extremes

    def rise(sums: Normalisation) -> float:
        logs = dict(zip(sums.predictions, sums.logs, strict=True))
        return logs.get(most, math.nan) - logs.get(least, math.nan)

    while len(known) < TILTS and abs(slope := rise(known[-1][1]) - rise(known[-2][1])) > 0:
        (before, _), (now, last) = known[-2:]
        tilt = now - rise(last) * (now - before) / slope
        sums = integrated(element, replace(coordinate, tilt=tilt))
        if sums.kind == "real":
            return sums
        if sums.kind != "gap" or abs(rise(sums)) <= CONSTANT:  # all others differ, where these two are one
            break
        known.append((tilt, sums))
    return first


def slow(element: Element) -> bool:
    """Whether the values of a loss grow no faster than a logarithm to one side."""
    values = element.levels((1e50, 1e51, -1e50, -1e51))
    return bool((values[:, [0, 2]] - values[:, [1, 3]] <= (1 + 1e-6) * math.log(10)).any())


def summed(element: Element, levels: Sequence[float], support: str) -> Normalisation:
    """Return what e^-loss adds up to over a few values of x."""
    terms = element.levels(levels)
    if still(element, levels):
        return without_sum(element, "unknown", support, "it does not move with the prediction")
    if np.isnan(terms).any() or not np.isfinite(terms).any(axis=1).all():
        return without_sum(element, "unknown", support, f"it is not finite over {support}")
    return of_sums(element, support, torch.from_numpy(terms).logsumexp(1).numpy(), 1e-12)


def on_levels(element: Element, otherwise: Normalisation) -> Normalisation:
    """Return what e^-loss adds up to over the usual grey levels for which that is one number; else something else."""
    return next((sums for grid in GRIDS if (sums := leveled(element, grid)).kind == "real"), otherwise)


def still(element: Element, levels: Sequence[float]) -> bool:
    """Whether the loss is the same at every prediction, for each of a few x: then no sum of it says anything."""
    others = range(1, len(element.predictions))
    return all(element.weight * abs(element.value(x, j) - element.value(x, 0)) < CONSTANT for x in levels for j in others)


def leveled(element: Element, grid: str) -> Normalisation:
    """Return what e^-loss adds up to over evenly spread grey levels, at a few predictions among them."""
    low, high, count = GRIDS[grid]
    few = element.among([j for j, mean in enumerate(element.predictions) if low <= mean[0] <= high][:3])
    levels = np.linspace(low, high, count).tolist()
    if not few.predictions or not math.isfinite(few.value(levels[1], 0)):
        return without_sum(element, "unknown", grid, "it is not finite there")
    sums = summed(few.among(range(len(few.predictions[:2]))), levels, grid)
    return summed(few, levels, grid) if sums.kind == "real" else sums


def tallied(element: Element, factorial: bool) -> Normalisation:
    """Return the sum over whole numbers, until a geometric tail is below all digits; with ``factorial`` weighed with 1/x!."""
    logs = []
    if still(element, (0.0, 1.0, 2.0)):
        return without_sum(element, "unknown", WHOLE, "it does not move with the prediction")
    for j in range(len(element.predictions)):
        terms: list[float] = []
        fall = 0.0
        while len(terms) < 8 or not (fall < -1e-3 and terms[-1] - math.log(-math.expm1(fall)) < max(terms) - 32):
            n = len(terms)
            if n == FIRST and (rest := geometric(element, terms, j, factorial)) is not None:
                terms.append(rest)
                break
            value = term(element, n, j, factorial)
            if not math.isfinite(value):
                return without_sum(element, "unknown", WHOLE, f"it is not finite at x = {n}")
            fall = value - terms[-1] if terms else 0.0
            terms.append(value)
            flat = n >= 24 and min(np.diff(terms[-9:])) > -1e-9
            if n == FEW or flat:
                why = "as x grows the loss of an element does not" if flat else f"{FEW} terms are too few"
                return without_sum(element, "no-density" if flat else "unknown", WHOLE, why)
        logs.append(torch.tensor(terms, dtype=torch.float64).logsumexp(0).item())
    return of_sums(element, WHOLE, np.array(logs), 1e-12, "log x!" if factorial else "")


def term(element: Element, n: int, j: int, factorial: bool) -> float:
    """Return the logarithm of what a whole number counts."""
    return -element.weight * element.value(float(n), j) - (math.lgamma(n + 1) if factorial else 0.0)


def geometric(element: Element, terms: Sequence[float], j: int, factorial: bool) -> float | None:
    """Return the logarithm of the sum of all further terms, where they fall by one ratio as far as they are tried; else None."""
    n, fall = len(terms), (terms[-1] - terms[0]) / (len(terms) - 1)
    tried = [(n + i, each) for i, each in zip(range(-n, 0), terms, strict=True)]
    tried += [(far, term(element, far, j, factorial)) for far in (2 * n, 17 * n, 40 * n)] if fall < 0 else []
    alike = all(abs(each - terms[0] - fall * at) <= 1e-12 * (1 + abs(each)) for at, each in tried)
    return terms[-1] + fall - math.log(-math.expm1(fall)) if fall < 0 and alike else None


def at_each(element: Element, x: float) -> tuple[Array, Array]:
    """Return d loss / d x and d loss / d mean at one x, of each prediction."""
    rows = np.arange(len(element.predictions))
    return element.slope(np.full(len(rows), x), rows), element.pull(np.full(len(rows), x), rows)


def stretched(element: Element) -> float:
    """Return by what x is multiplied where only the prediction less so many times x counts; 0 where that is not so."""
    slopes, pulls = (np.concatenate(each) for each in zip(*(at_each(element, x) for x in (0.3, 0.85, 2.3)), strict=True))
    alive = pulls != 0
    ratios = -slopes[alive] / pulls[alive]
    if not len(ratios) or not np.isfinite(ratios).all() or np.ptp(ratios) > 1e-9 * np.abs(ratios).max():
        return 0.0
    return 0.0 if abs(ratios[0] - 1) < 1e-9 else float(ratios[0])


def even(element: Element) -> bool:
    """Whether the sign of x counts for nothing."""
    values = element.levels((0.3, 0.85, 2.3, -0.3, -0.85, -2.3))
    return bool(np.allclose(values[:, :3], values[:, 3:], rtol=1e-9, atol=0))


def linear(element: Element) -> bool:
    """Whether the loss is linear in x at every prediction, as a cross-entropy is."""
    slopes = np.stack([at_each(element, x)[0] for x in (0.2, 0.9, 0.5)])
    return bool((np.ptp(slopes, axis=0) <= 1e-9 * np.abs(slopes).max()).all())


def reached(element: Element, x: float) -> bool:
    """Whether some prediction fits an x better than both more and less than it."""
    pulls = at_each(element, x)[1]
    return bool((pulls < 0).any() and (pulls > 0).any())


def margin(element: Element) -> bool:
    """Whether the larger the prediction is, the better it fits 1, and the worse 0, without end."""
    if len(element.predictions[0]) > 1:
        return False
    with np.errstate(invalid="ignore"):
        none, one = np.diff(-element.levels((0.0, 1.0)), axis=0).T
    return bool((one <= 0).all() and (none >= 0).all() and (one < 0).any() and (none > 0).any())
