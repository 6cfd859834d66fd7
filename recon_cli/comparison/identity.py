"""What a tally amounts to: a row of numbers, and what they mean in words."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from recon_cli import likelihoods
from recon_cli.comparison.tally import PROPORTIONAL, Tally, chunks, judged
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.proportions import Proportion
from recon_cli.identity.tensors import wide
from recon_cli.report import Column

if TYPE_CHECKING:
    from torch import Tensor

ROUNDING = 4.0  # a true claim is off by fewer rounding errors of its own terms than this


@dataclass(frozen=True)
class Identity:
    """What was measured of one likelihood against one loss. Means over elements, in nats.

    None means not measured: a loss that is not the likelihood's own has no slope, offset or gap, unless on these data
    it is one (``here``): then they are measured. ``best`` is the noise that the data would choose, None where there is
    none; ``cost`` what the given one costs more. ``bits_per_dimension`` is the nll of 8-bit data in bits, None of other data.
    """

    likelihood: str
    parameters: dict[str, float]
    loss: str
    data: str
    elements: int
    nll: float
    loss_value: float
    slope: float | None
    offset: float | None
    gap: float | None
    worst: float | None
    ratio_min: float | None
    ratio_median: float | None
    ratio_max: float | None
    ratio_elements: int
    ratio_excluded: int
    cosine: float | None
    proportional: bool
    holds: bool
    best: dict[str, float] | None = None
    cost: float | None = None
    bits_per_dimension: float | None = None
    here: bool = field(default=False, compare=False)
    noise: Noise | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Noise:
    """What the sentences need beside the row: elements in a sample, the loss's customary factor, what the best noise is."""

    sample: int
    convention: float
    rule: str
    fitted: bool


VALUES = "values (means, nats)"
GRADIENTS = "d nll / d loss (autograd)"
COLUMNS = (
    Column("likelihood", "likelihood", "*"),
    Column("parameters", "noise", "*"),
    Column("loss", "loss", "*"),
    Column("data", "data", VALUES),
    Column("elements", "elements", VALUES),
    Column("nll", "−log p(x|μ)", VALUES),
    Column("loss_value", "= loss", VALUES),
    Column("slope", "× slope", VALUES),
    Column("offset", "+ offset", VALUES),
    Column("gap", "+ gap", VALUES),
    Column("worst", "worst (roundings)", VALUES),
    Column("ratio_min", "smallest", GRADIENTS),
    Column("ratio_median", "median", GRADIENTS),
    Column("ratio_max", "largest", GRADIENTS),
    Column("ratio_elements", "elements", GRADIENTS),
    Column("ratio_excluded", "both zero, left out", GRADIENTS),
    Column("cosine", "cosine", GRADIENTS),
    Column("proportional", "proportional", GRADIENTS),
    Column("holds", "loss = likelihood", GRADIENTS),
    Column("best", "the data would choose", VALUES),
    Column("cost", "which would save", VALUES),
    Column("bits_per_dimension", "bits/dim", VALUES),
)

# On one screen: the same columns, most of them written but not shown.
SHOWN = {"likelihood": "*", "loss": "values (means, nats)", "nll": "", "slope": "", "offset": "", "gap": "", "holds": ""}
BRIEF = tuple(
    replace(column, panel=SHOWN.get(column.key), title="holds" if column.key == "holds" else column.title) for column in COLUMNS
)


def identity(
    claim: Likelihood, loss: Loss, tally: Tally, dtype: Any, data: str, alike: Callable[[], Proportion | None] = lambda: None
) -> Identity:
    """The row that a tally amounts to; ``alike`` measures whether a loss that is not the likelihood's own is it on these data."""
    import torch

    eps = torch.finfo(judged(dtype)).eps
    known, n, seen = claim.slope_of(loss), tally.elements, tally.ratio_elements > 0
    own, slope, rest = known is not None, None if known is None else float(known), (tally.offset / n, tally.gap / n, tally.worst)
    median = torch.cat(tally.ratios).median().item() if seen else None
    measured = None if own or not seen else alike()
    if measured is not None:  # on a sample at least: the range of the ratios, where that is of more, must not speak against it
        spread = max(abs(tally.ratio_max - measured.slope), abs(tally.ratio_min - measured.slope))
        if tally.ratio_elements + tally.ratio_excluded <= tally.sampled or spread <= PROPORTIONAL * eps * measured.slope:
            slope, rest = measured.slope, ((tally.nll - measured.slope * tally.loss) / n, 0.0, measured.worst)
    here = slope is not None and not own
    middle = slope if slope is not None else median
    spread = max(tally.ratio_max - middle, middle - tally.ratio_min) if middle is not None and seen else 0.0
    proportional = spread <= PROPORTIONAL * eps * abs(middle or 0.0)
    proportional |= here
    if own:  # where a gradient is the small difference of large terms, its rounding shows on their scale
        proportional |= tally.drift <= PROPORTIONAL * eps * math.sqrt(tally.nll_square / max(1, tally.sampled))
    power = math.sqrt(tally.nll_square) * math.sqrt(tally.loss_square)
    return Identity(
        likelihood=claim.name,
        parameters={key: float(value) for key, value in claim.parameters.items()},
        loss=str(loss),
        data=data,
        elements=n,
        nll=tally.nll / n,
        loss_value=tally.loss / n,
        slope=slope,
        offset=rest[0] if slope is not None else None,
        gap=rest[1] if slope is not None else None,
        worst=rest[2] if slope is not None else None,
        ratio_min=tally.ratio_min if seen else None,
        ratio_median=median,
        ratio_max=tally.ratio_max if seen else None,
        ratio_elements=tally.ratio_elements,
        ratio_excluded=tally.ratio_excluded,
        cosine=min(1.0, max(-1.0, tally.cross / power)) if power else None,
        proportional=proportional,
        holds=slope is not None and proportional and rest[2] < ROUNDING,
        here=here,
    )


def why(row: Identity) -> str:
    """In a few words, why a row does not hold."""
    pair = f"{row.loss} and {row.likelihood}"
    if row.ratio_min is None:
        return f"{pair}: the one is not the other's loss, and every gradient is zero, so there is nothing to compare"
    ratio = f"d nll / d loss runs from {row.ratio_min:.4g} to {row.ratio_max:.4g}"
    if row.gap:
        return f"{pair} differ by a gap that depends on mu ({row.gap:.4g} nats per element): not proportional, {ratio}"
    if not row.proportional:
        return f"{pair} are not proportional: {ratio}"
    if row.slope is None:
        return f"{pair} are proportional at these means ({row.ratio_median:.4g}) and not at others: neither is the other's loss"
    return f"{pair} differ by {row.worst:.3g} rounding errors"


def meaning(rows: Sequence[Identity]) -> list[str]:
    """What rows of one likelihood and one loss mean in practice, in two or three sentences."""
    row = rows[0]
    if not all(row.holds for row in rows):
        return [
            f"{row.loss} against {row.likelihood}: one unit of the loss's gradient is worth {worth(row)}; the cosine between the "
            f"two gradient fields is {nearly(row.cosine)}."
            for row in rows
            if row.ratio_min is not None and row.cosine is not None
        ]
    noise = row.noise
    if noise is None or not noise.fitted:
        cost = row.loss if row.slope == 1 else f"{row.loss} × {row.slope:g}"
        none = "has no noise to choose"
        if row.likelihood in likelihoods.names() and len(head := likelihoods.find(row.likelihood).head) > 1:
            none = f"has no noise of its own to choose, for its {head[1]} comes with the mean"
        but = " but for a term in x alone" if row.offset else ""
        return [f"{row.likelihood} {none}: {cost} is its nll{but}, and β on the KL means what it says."]

    def each(values: Iterable[float | None], digits: int = 6) -> str:
        return ", ".join(f"{value:.{digits}g}" for value in values if value is not None)

    name = ",".join(row.parameters)
    given = f"{name} = " + (", " if len(row.parameters) == 1 else "; ").join(each(row.parameters.values()) for row in rows)
    slopes = [row.slope or 0.0 for row in rows]
    mean = ""
    if noise.sample > 1:
        mean = f" (on its mean over the {noise.sample:,} elements of a sample, at "
        mean += f"{each(slope * noise.sample for slope in slopes)} × η)"
    said = (
        f"{row.likelihood} with {given} is {row.loss} × {each(slopes)}: SGD on it (without weight decay or clipping) at learning "
        f"rate η is SGD on the summed {row.loss} at {each(slopes)} × η, step for step{mean}. In a VAE it is summed {row.loss} "
        f"+ β KL with β = {each(1 / slope for slope in slopes)}"
    )
    if noise.convention != 1:
        betas = each(noise.convention / slope for slope in slopes)
        said += f"; with the half, {noise.convention:g} × {row.loss} + β KL, β = {betas}"
    if row.here:
        said += f". It holds on these data: elsewhere {row.loss} may be another function"
    if row.ratio_min is None:
        said += ". The reconstruction is perfect: every gradient is zero, so only the values were compared"
    if row.best is None:
        return [f"{said}.", f"The data would choose no {row.likelihood} noise: the smaller, the more likely, without end."]
    best = ", ".join(f"{key} = {value:.6g}" for key, value in row.best.items()) + f", {noise.rule}" * bool(noise.rule)
    costs = [row.cost or 0.0 for row in rows]
    return [
        f"{said}.",
        f"The data would choose {best}; {given} costs {each(costs, 4)} nats per element more "
        f"({each((cost * noise.sample for cost in costs), 4)} a sample).",
    ]


def worth(row: Identity) -> str:
    """What one unit of a loss's gradient is of the likelihood's, where the row does not hold, and what follows."""
    if not row.proportional:
        low, high = (f"{end:.4g}" for end in (row.ratio_min, row.ratio_max))
        if low == high:
            return f"{low} of the likelihood's, but for more than rounding, so a learning rate makes them all but equal"
        return f"{low} to {high} of the likelihood's, so no learning rate makes them equal"
    much = f"{row.ratio_median:.4g} of the likelihood's at every one of these means"
    if row.slope is None:
        return f"{much}, where a learning rate makes them equal, and not where the means move"
    return f"{much}, as it must be, and the values do not follow"


def nearly(cosine: float | None) -> str:
    """A cosine, to a digit that is not of 1 where it is none."""
    short = 1 - (cosine or 0.0)
    return f"{cosine:.6f}" if short >= 5e-7 else f"1 − {short:.1g}" if short else "1 to rounding"


def chosen_noise(claim: Likelihood, x: Tensor, mu: Tensor) -> dict[str, Any]:
    """``best``, the maximum-likelihood noise of these data, and ``cost``, what that of ``claim`` costs more: nats per element."""
    if not claim.noise:
        return {}
    try:
        best = claim.fit(x, mu)
    except ReconError:
        return {}

    def mean(side: Likelihood) -> float:
        nlls = [wide(side.nll(*part)) for part in chunks(side, x, mu)]
        return sum(part.sum().item() for part in nlls) / sum(part.numel() for part in nlls)

    return {"best": {key: float(value) for key, value in best.parameters.items()}, "cost": mean(claim) - mean(best)}
