"""What a tally amounts to: a row of numbers, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from recon_cli import likelihoods
from recon_cli.comparison.claim import PROPORTIONAL, Claim
from recon_cli.comparison.drawn import Sampled
from recon_cli.comparison.tally import Tally, chunks, measured_dtype
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.proportions import Proportion
from recon_cli.identity.regions import MANY
from recon_cli.identity.tensors import wide
from recon_cli.report import Table, column

if TYPE_CHECKING:
    import torch
    from torch import Tensor

ROUNDING = 4.0  # a true claim is off by fewer rounding errors of its own terms than this


VALUES = "values (means, nats)"
GRADIENTS = "d nll / d loss (autograd)"


@dataclass(frozen=True)
class Identity:
    """What was measured of one likelihood against one loss. Means over elements, in nats.

    None means not measured: a loss that is not the likelihood's own has no slope, offset or gap, unless on these data
    it is one (``here``): then they are measured. ``best`` is the noise that the data would choose, None where there is
    none; ``cost`` what the given one costs more. ``bits_per_dimension`` is the nll of 8-bit data in bits, None of other data.
    ``sample`` is how many elements a sample has; ``sampled`` a few of them, to be drawn.
    """

    likelihood: str = column("likelihood", "*")
    parameters: dict[str, float] = column("noise", "*")
    loss: str = column("loss", "*")
    data: str = column("data", VALUES)
    elements: int = column("elements", VALUES)
    nll: float = column("−log p(x|μ)", VALUES, brief=True)
    loss_value: float = column("= loss", VALUES, brief=True)
    slope: float | None = column("× slope", VALUES, brief=True)
    offset: float | None = column("+ offset", VALUES, brief=True)
    gap: float | None = column("+ gap", VALUES, brief=True)
    worst: float | None = column("largest error (roundings)", VALUES, brief=True)
    ratio_min: float | None = column("smallest", GRADIENTS)
    ratio_median: float | None = column("median", GRADIENTS, brief=True)
    ratio_max: float | None = column("largest", GRADIENTS)
    ratio_elements: int = column("elements", GRADIENTS)
    ratio_excluded: int = column("left out: both are zero", GRADIENTS)
    cosine: float | None = column("cosine", GRADIENTS)
    proportional: bool = column("proportional", GRADIENTS)
    holds: bool = column("loss = likelihood", GRADIENTS, brief=True)
    best: dict[str, float] | None = column("the data would choose", VALUES, default=None)
    cost: float | None = column("that would save", VALUES, default=None)
    bits_per_dimension: float | None = column("bits/dim", VALUES, default=None)
    here: bool = field(default=False, compare=False)
    sample: float = field(default=1, compare=False)
    claim: Claim | None = field(default=None, compare=False, repr=False)
    sampled: Sampled | None = field(default=None, compare=False, repr=False)


# The panels of the columns that fit on one screen: the others are written, but not shown.
BRIEF = {"likelihood": "*", "loss": VALUES, "nll": "", "slope": "", "offset": "", "gap": "", "holds": ""}


def table(rows: Sequence[Identity], brief: bool = False) -> Table:
    """Return the identity table; ``brief``: as it fits on one screen."""
    whole = Table.of("identity", Identity, rows)
    if brief:
        titles, short = {"holds": "holds"}, ("slope", "offset")
        columns = [
            replace(
                each,
                panel=BRIEF.get(each.key),
                title=titles.get(each.key, each.title),
                brief=each.brief and each.key not in short,
            )
            for each in whole.columns
        ]
    else:
        has_bits = any(row.bits_per_dimension is not None for row in rows)
        hidden = set() if has_bits else {"bits_per_dimension"}
        columns = [replace(each, panel=None) if each.key in hidden else each for each in whole.columns]
    return replace(whole, columns=columns)


def identity(
    claim: Claim,
    tally: Tally,
    dtype: torch.dtype,
    data: str,
    measured_proportion: Callable[[], Proportion | None] = lambda: None,
) -> Identity:
    """Return the row that a tally amounts to.

    ``measured_proportion`` tells of a loss that is not the likelihood's own whether it is on these data.
    """
    import torch

    eps = torch.finfo(measured_dtype(dtype)).eps
    n, has_ratios = tally.weight, tally.ratio_elements > 0
    own, slope = not math.isnan(claim.slope), None if math.isnan(claim.slope) else claim.slope
    offset, gap, worst = tally.offset / n, tally.gap / n, tally.worst
    median = torch.cat(tally.ratios).median().item() if has_ratios else None
    measured = None if own or not has_ratios else measured_proportion()
    if measured is not None:  # on a sample at least: the range of the ratios, where that is of more, must not speak against it
        spread = max(abs(tally.ratio_max - measured.slope), abs(tally.ratio_min - measured.slope))
        if tally.ratio_elements + tally.ratio_excluded <= tally.sampled or spread <= PROPORTIONAL * eps * measured.slope:
            slope = measured.slope
            offset, gap, worst = (tally.nll - slope * tally.loss) / n, 0.0, measured.worst
    here = slope is not None and not own
    middle = slope if slope is not None else median
    spread = max(tally.ratio_max - middle, middle - tally.ratio_min) if middle is not None and has_ratios else 0.0
    proportional = here or spread <= PROPORTIONAL * eps * abs(middle or 0.0)
    if own:  # where a gradient is the small difference of large terms, its rounding shows on their scale
        proportional |= tally.drift <= PROPORTIONAL * eps * math.sqrt(tally.nll_square / max(1, tally.sampled))
    power = math.sqrt(tally.nll_square) * math.sqrt(tally.loss_square)
    return Identity(
        likelihood=claim.likelihood.name,
        parameters={key: float(value) for key, value in claim.likelihood.parameters.items()},
        loss=str(claim.loss),
        data=data,
        elements=tally.elements,
        nll=tally.nll / n,
        loss_value=tally.loss / n,
        slope=slope,
        offset=None if slope is None else offset,
        gap=None if slope is None else gap,
        worst=None if slope is None else worst,
        ratio_min=tally.ratio_min if has_ratios else None,
        ratio_median=median,
        ratio_max=tally.ratio_max if has_ratios else None,
        ratio_elements=tally.ratio_elements,
        ratio_excluded=tally.ratio_excluded,
        cosine=min(1.0, max(-1.0, tally.cross / power)) if power else None,
        proportional=proportional,
        holds=slope is not None and proportional and worst < ROUNDING,
        here=here,
        claim=claim,
    )


def why(row: Identity) -> str:
    """Return in a few words why a row does not hold."""
    pair = f"{row.loss} and {row.likelihood}"
    if row.ratio_min is None:
        return f"{pair}: the one is not the other's loss, and every gradient is zero, so there is nothing to compare"
    ratio = f"d nll / d loss runs from {row.ratio_min:.4g} to {row.ratio_max:.4g}"
    if row.gap:
        return f"{pair} differ by a gap that depends on mu ({row.gap:.4g} nats per element): not proportional, {ratio}"
    if not row.proportional and is_factor(row):
        return f"{pair}: d nll / d loss is {row.ratio_median:.9g} everywhere, and the slope that is claimed is {row.slope:.9g}"
    if not row.proportional:
        return f"{pair} are not proportional: {ratio}"
    if row.slope is None:
        return f"{pair} are proportional at these means ({row.ratio_median:.4g}) and not at others: neither is the other's loss"
    return f"{pair} differ by {row.worst:.3g} rounding errors"


def is_factor(row: Identity) -> bool:
    """Return whether all gradients have one ratio, to four digits or more, and it is not the slope that is claimed."""
    if row.slope is None or row.ratio_min is None or row.ratio_max is None or row.ratio_median is None:
        return False
    spread, off = row.ratio_max - row.ratio_min, abs(row.slope - row.ratio_median)
    return spread < min(1e-4 * abs(row.ratio_median), 1e-2 * off)


def meaning(rows: Sequence[Identity]) -> list[str]:
    """Return what rows of one likelihood and one loss mean in practice, in two or three sentences."""
    row = rows[0]
    if not all(row.holds for row in rows):
        return [
            f"{row.loss} against {row.likelihood}: one unit of the loss's gradient is worth {worth(row)}; the cosine between the "
            f"two gradient fields is {nearly(row.cosine)}."
            for row in rows
            if row.ratio_min is not None and row.cosine is not None
        ]
    claim = row.claim
    if claim is None or not claim.likelihood.noise:
        return [_without_noise(row)]
    names = ",".join(row.parameters)
    noises = f"{names} = " + (", " if len(row.parameters) == 1 else "; ").join(_each(row.parameters.values()) for row in rows)
    sentence = _as_training(rows, noises, claim.loss.convention)
    if row.here:
        sentence += f". It holds on these data: elsewhere {row.loss} may be another function"
    if row.ratio_min is None:
        sentence += ". The reconstruction is perfect: every gradient is zero, so only the values were compared"
    if row.best is None:
        return [f"{sentence}.", f"The data would choose no {row.likelihood} noise: the smaller, the more likely, without end."]
    rule = claim.likelihood.best_noise
    best = ", ".join(f"{key} = {value:.6g}" for key, value in row.best.items()) + f", {rule}" * bool(rule)
    costs = [row.cost or 0.0 for row in rows]
    below = next((words for row in rows if row.claim and (words := row.claim.likelihood.below_zero(row.nll, row.sample))), "")
    return [
        f"{sentence}.",
        f"The data would choose {best}; {noises} costs {_each(costs, 4)} nats per element more "
        f"({_each((cost * row.sample for cost in costs), 4)} a sample).",
        *[below] * bool(below),
    ]


def _each(values: Iterable[float], digits: int = 6) -> str:
    """Return numbers in a row."""
    return ", ".join(f"{value:.{digits}g}" for value in values)


def _without_noise(row: Identity) -> str:
    """Return what a row means whose likelihood has no noise of its own."""
    cost = row.loss if row.slope == 1 else f"{row.loss} × {row.slope:g}"
    none = "has no noise to choose"
    if row.likelihood in likelihoods.names() and len(head := likelihoods.find(row.likelihood)().head) > 1:
        rest = "all of it" if len(head) > MANY else f"its {head[1]}"
        none = f"has no noise of its own to choose, for {rest} comes with the mean"
    but = " but for a term in x alone" if row.offset else ""
    return f"{row.likelihood} {none}: {cost} is its nll{but}, and β on the KL means what it says."


def _as_training(rows: Sequence[Identity], noises: str, convention: float) -> str:
    """Return what training under the noises of rows is, as training under the loss: its learning rate, and its beta."""
    loss, size, slopes = rows[0].loss, rows[0].sample, [row.slope or 0.0 for row in rows]
    mean = ""
    if size > 1:
        mean = f" (on its mean over the {size:,.6g} elements of a sample, at {_each(slope * size for slope in slopes)} × η)"
    sentence = (
        f"{rows[0].likelihood} with {noises} is {loss} × {_each(slopes)}: SGD on it (without weight decay or clipping) at "
        f"learning rate η is SGD on the summed {loss} at {_each(slopes)} × η, step for step{mean}. In a VAE it is summed {loss} "
        f"+ β KL with β = {_each(1 / slope for slope in slopes)}"
    )
    if convention != 1:
        betas = _each(convention / slope for slope in slopes)
        sentence += f"; with the half, {convention:g} × {loss} + β KL, β = {betas}"
    return sentence


def worth(row: Identity) -> str:
    """Return what one unit of a loss's gradient is of the likelihood's, where the row does not hold, and what follows."""
    if is_factor(row):
        return f"{row.ratio_median:.9g} of the likelihood's everywhere, where {row.slope:.9g} is claimed"
    if not row.proportional:
        low, high = (f"{end:.4g}" for end in (row.ratio_min, row.ratio_max))
        if low == high:
            return f"{low} of the likelihood's, but for more than rounding, so a learning rate makes them all but equal"
        return f"{low} to {high} of the likelihood's, so no learning rate makes them equal"
    share = f"{row.ratio_median:.4g} of the likelihood's at every one of these means"
    if row.slope is None:
        return f"{share}, where a learning rate makes them equal, and not where the means move"
    return f"{share}, as it must be, and the values do not follow"


def nearly(cosine: float | None) -> str:
    """Return a cosine in words; where it is nearly 1, by how much it falls short of it."""
    short = 1 - (cosine or 0.0)
    return f"{cosine:.6f}" if short >= 5e-7 else f"1 − {short:.1g}" if short else "1 to rounding"


def with_best_noise(row: Identity, likelihood: Likelihood, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Identity:
    """Return a row with the maximum-likelihood noise of these data, and what that of ``likelihood`` costs more."""
    import torch

    if not likelihood.noise:
        return row
    try:
        best = likelihood.refit(x, mu, weights)
    except ReconError:
        return row

    def mean(likelihood: Likelihood) -> float:
        nll = torch.cat([wide(likelihood.nll(*part)).flatten() for part in chunks(likelihood, x, mu)])
        return float(nll.mean() if weights is None else (nll * weights).sum() / weights.sum())

    parameters = {key: float(value) for key, value in best.parameters.items()}
    return replace(row, best=parameters, cost=mean(likelihood) - mean(best))
