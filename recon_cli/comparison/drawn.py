"""What a comparison shows beside its numbers: how the gradients' ratios spread, and loss against nll, element by element."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.comparison.claim import Claim, evaluate
from recon_cli.comparison.tally import Tally, chunks
from recon_cli.identity.tensors import wide
from recon_cli.report import Chart, Series

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.comparison.identity import Identity

BINS = 45
RATIOS = 1 << 16  # at most so many are counted, evenly spread
POINTS = 500  # elements that are shown one by one
MOST = 4  # rows that are drawn
APART = 100.0  # times as large as the median: from there on ratios are shown by their size
HUGE = 1e30  # and from here on too
LINEAR, SIGNED = "linear", "signed-log"


@dataclass(frozen=True)
class Histogram:
    """How many of a sample of ratios fall around each of some middles, evenly spaced on a scale that a :class:`Chart` names."""

    middles: tuple[float, ...]
    counts: tuple[int, ...]
    scale: str = LINEAR


@dataclass(frozen=True)
class Sampled:
    """A few elements, by their loss: loss and nll of each; and the ratios d nll / d loss, None where there are none."""

    losses: tuple[float, ...]
    nlls: tuple[float, ...]
    ratios: Histogram | None


def sampled(claim: Claim, tally: Tally, x: Tensor, mu: Tensor) -> Sampled:
    """Return what is shown of the elements of a sample ``x``, ``mu``; its cost does not grow with the data."""
    import torch

    events, points = next(chunks(claim.measured, x, mu, mu.numel()))
    some = torch.linspace(0, len(points) - 1, min(POINTS, len(points)), device=points.device).long()
    values = evaluate(claim, events[some], points[some])
    loss, nll = wide(values.loss).flatten(), values.nll.flatten()
    known = loss.isfinite() & nll.isfinite()
    order = loss[known].argsort()
    losses, nlls = (tuple(map(short, side[known][order].tolist())) for side in (loss, nll))
    return Sampled(losses, nlls, histogram(tally.ratios))


def histogram(parts: Sequence[Tensor]) -> Histogram | None:
    """Return the histogram of ratios; of a single value as one bar, half-way between 0 and its double."""
    import torch

    total = sum(part.numel() for part in parts)
    if not total:
        return None
    step = max(1, total // RATIOS)
    values = torch.cat([wide(part.flatten()[::step]) for part in parts if part.numel()])
    values = values[values.isfinite()]  # a loss without a gradient beside a likelihood with one has none
    if not len(values):
        return None
    low, high, middle = values.min().item(), values.max().item(), values.median().item()
    largest = max(abs(low), abs(high))
    scale = SIGNED if largest > APART * max(abs(middle), 1e-300) or largest > HUGE else LINEAR
    if scale == SIGNED:
        values = values.sign() * values.abs().log1p() / math.log(10)
        low, high, middle = values.min().item(), values.max().item(), values.median().item()
    if high - low <= 1e-3 * max(abs(low), abs(high), 1e-300):
        low, high = (0.0, 2 * middle) if middle > 0 else (2 * middle, 0.0)
    width = (high - low) / BINS or 1.0
    counts = torch.histc(values.cpu(), BINS, low, high).long().tolist()
    middles = tuple(short(low + (at + 0.5) * width) for at in range(BINS))
    return Histogram(middles, tuple(counts), scale)


def charts(rows: Sequence[Identity]) -> Iterator[Chart]:
    """Yield the drawings of the first rows: the ratios of each, and its elements."""
    for row in rows[:MOST]:
        if row.sampled is None:
            continue
        noise = ",".join(f"{name}={value:.4g}" for name, value in row.parameters.items())
        name = f"{row.likelihood}{f':{noise}' if noise else ''} and {row.loss}"
        if row.sampled.ratios is not None and row.ratio_median is not None:
            yield spread(row, row.sampled.ratios, name)
        yield cloud(row, row.sampled, name)


def spread(row: Identity, ratios: Histogram, name: str) -> Chart:
    """Return the histogram of a row's gradient ratios."""
    counts = [count or None for count in ratios.counts]
    if row.proportional:
        note = f"One spike, at {row.ratio_median:.6g}: the two gradients differ by that factor everywhere, so one learning rate "
        note += "makes them equal."
    else:
        note = f"From {row.ratio_min:.4g} to {row.ratio_max:.4g}: no learning rate makes these gradients equal."
    return Chart(
        f"d nll / d loss, {name}", ratios.middles, [Series("elements", counts, "bars")], "ratio of the gradients",
        "elements of a sample", scales=(ratios.scale, "log"), note=note,
    )  # fmt: skip


def cloud(row: Identity, elements: Sampled, name: str) -> Chart:
    """Return a row's elements, nll over loss, and the line that the identity says they lie on."""
    series = [Series("nll", elements.nlls, "points")]
    if row.slope is not None and row.offset is not None:
        line = [short(row.slope * loss + row.offset + (row.gap or 0.0)) for loss in elements.losses]
        series.append(Series("slope × loss + offset", line, "dashes"))
        note = "The line is the identity; its offset is the mean of b(x). Points off it have another b(x), or a gap."
    else:
        note = "A loss that is this likelihood's would lie on a line."
    return Chart(f"nll against loss, element by element, {name}", elements.losses, series, "loss", "nll, nats", note=note)


def short(value: float) -> float:
    """Return a number in the digits that a drawing can show."""
    return float(f"{value:.6g}")
