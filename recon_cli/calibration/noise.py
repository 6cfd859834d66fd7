"""Which noise do the data choose? Every likelihood that allows them, at its best, side by side."""

from __future__ import annotations

import dataclasses
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.presence import events_there
from recon_cli.identity.regions import CIRCLE, Interval, Lattice, Region, Violation, check, inside, violation
from recon_cli.identity.residuals import DIGITS, ResidualSums, residuals
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import as_tensor, wide
from recon_cli.likelihoods._grey_levels import bits_per_dimension, elsewhere, spacing
from recon_cli.report import Detail, column
from recon_cli.runtime.lazy_arrays import Lazy

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.runtime.lazy_arrays import Array
    from recon_cli.sources._pair import Pair

    Outputs = Callable[[Sequence[str]], Array | Lazy]

FEW = 5  # rows that the answer has
BLOCK = 1 << 18  # elements in float64 at a time
MANY = 1 << 20  # elements: of so many, residuals are summed up in cells
SHOWN = 4  # columns whose covariance is written out unasked
SINGULAR = 1e8  # from a ratio of eigenvalues on a covariance has half the digits that its inverse is of
COLUMNS = 64  # of which a covariance is looked at, at most
NATS, CHOSEN = "nats per sample, the likeliest first", "the noise that each would choose"
Progress = Callable[[int, str], None]
ENDS = (0.0, 1.0)  # of grey levels


class ManyEvents:
    """Of many events what several likelihoods ask: their residuals in cells, and what of them lies outside a region."""

    def __init__(self, x: Tensor, mu: Tensor) -> None:
        self.x, self.mu = x, mu
        self.known: dict[tuple[int, Region], Violation | None] = {}

    @functools.cached_property
    def residuals(self) -> ResidualSums | None:
        """The residuals in cells, those of the end levels apart; None where they are beyond float32."""
        return residuals(self.x, self.mu, ENDS) if self.x.shape == self.mu.shape else None

    def violation(self, values: Tensor, allowed: Region) -> Violation | None:
        """Return what of the data, or of the means, lies outside a region: looked at once."""
        if values is not self.x and values is not self.mu:
            return violation(values, allowed)
        key = (id(values), allowed)
        if key not in self.known:
            self.known[key] = violation(values, allowed)
        return self.known[key]


@dataclass(frozen=True)
class FittedNoise:
    """A likelihood with the noise that makes ``x`` given its reconstruction most likely. Nats, summed over a sample.

    kind
        ``density`` or ``probability``: the two are not comparable, so ``rank`` counts within each.
    nll, nll_at_unit, cost
        at the best noise; with its scale 1, as people leave it; and what that costs more.
    bits_per_dimension
        None where the data are not 8-bit. Of a density: of the bin of each level, to first order in its width.
    clipped
        how many means were moved inside the domain.
    in_cells
        whether its residuals were summed up in cells, not taken one by one.
    taken_to_unit
        the levels of the data where they are not those in [0, 1] that the likelihood is of, and were brought there.
    """

    likelihood: str = column("likelihood", "*")
    kind: str = column("kind", NATS)
    rank: int = column("rank", None)
    nll: float = column("nll", NATS, brief=True)
    nll_at_unit: float = column("at unit noise", NATS)
    cost: float = column("costs", NATS)
    bits_per_dimension: float | None = column("bits/dim", NATS)
    parameters: dict[str, float] = column("best noise", CHOSEN, brief=True)
    clipped: int = 0
    in_cells: bool = False
    taken_to_unit: str = ""


def remarks(rows: Sequence[FittedNoise], pair: Pair) -> Iterator[str]:
    """Yield what the rows rest on beside the data: variances that no row fitted to them, and means that were moved."""
    with_variance = [row.likelihood for row in rows if likelihoods.find(row.likelihood)().head]
    if with_variance and pair.variance is not None:
        yield (
            f"{' and '.join(with_variance)}: the variances come with the reconstruction, one for each element: the model's own, "
            "or else the mean squared residual over the samples that the reconstruction was made from. No other row has as many "
            "numbers."
        )
    yield from together(rows, pair)
    if in_cells := [row.likelihood for row in rows if row.in_cells]:
        many = f"{math.prod(pair.mu.shape):,}"
        yield Detail(
            f"{', '.join(in_cells)}: these depend on x - mu alone, so the residuals of the {many} values were summed up in cells "
            f"1/{1 << DIGITS} as wide as they are far from zero, with number, mean and variance: nll and noise to nine digits. "
            "The other rows are of every value."
        )
    for place, row in enumerate(rows):
        note = str if place < FEW else Detail
        if row.taken_to_unit:
            yield note(f"{row.likelihood}: its levels, {row.taken_to_unit}, are taken to [0, 1], its scale in units of that.")
        if row.clipped:
            domain, count = likelihoods.find(row.likelihood)().domain, math.prod(pair.mu.shape)
            yield note(
                f"{row.likelihood}: {row.clipped:,} of {count:,} reconstructed means were kept inside {domain}, so its nll is of "
                "these means, not of the reconstruction's."
            )


def together(rows: Sequence[FittedNoise], pair: Pair) -> Iterator[str]:
    """Yield what a Gaussian with one full covariance of the columns would cost, where residuals of a few columns go together.

    Its best is the mean of e e^T, at which -log p is (log det(2 pi S) + D)/2 nats a sample.
    """
    x, mu = pair.x, pair.mu
    if (
        isinstance(x, Lazy)
        or isinstance(mu, Lazy)
        or x.ndim != 2
        or x.shape != mu.shape
        or pair.partial
        or pair.weights is not None
    ):
        return
    count, columns = x.shape
    one = next((row.nll for row in rows if row.likelihood == "gaussian"), None)
    if one is None or not 2 <= columns <= COLUMNS or count < 10 * columns:
        return
    errors = numpy.asarray(x, dtype=numpy.float64) - mu
    moments = errors.T @ errors / count
    sign, size = numpy.linalg.slogdet(2 * math.pi * moments)
    each = 0.5 * (numpy.log(2 * math.pi * numpy.diagonal(moments)).sum() + columns)
    whole = 0.5 * (size + columns)
    numbers = columns * (columns + 1) / 2
    if sign > 0 and each - whole > 2 * numbers / count:  # what so many numbers fit of nothing, twice
        yield (
            f"The residuals of the {columns} columns go together: a Gaussian with their full covariance ({numbers:.0f} numbers) "
            f"costs {whole:.6g} nats a sample at its best, a sigma for each column {each:.6g}, one sigma {one:.6g}."
        )
        rows_of_it = "; ".join(" ".join(f"{value:.6g}" for value in row) for row in moments)
        least, most = numpy.linalg.eigvalsh(moments)[[0, -1]]
        nearly = f"Nearly singular: its eigenvalues run from {least:.3g} to {most:.3g}. " if most > SINGULAR * least else ""
        note = str if columns <= SHOWN else Detail
        yield note(f'{nearly}To take it: --likelihood "multivariate-gaussian:covariance={rows_of_it}".')


def every_noise(
    x: Array | Lazy,
    outputs: Outputs,
    clip: bool,
    progress: Progress,
    weights: Array | None = None,
    partial: bool = False,
    asked: Sequence[str] = (),
) -> tuple[tuple[FittedNoise, ...], tuple[tuple[str, str], ...]]:
    """Return a row for each likelihood whose support holds ``x``, the likeliest of its kind first, and of the others, why not.

    Those whose means had to be moved come after those of the means as they are.

    x
        (N, ...), N counting samples.
    outputs
        the reconstruction, given the names of what a decoder is to give for each element (``head``).
    clip
        whether means may be kept just inside a likelihood's domain, because recon made them.
    weights, partial
        how much each value or sample counts, and whether NaN in ``x`` is a value that is not there.
    asked
        the names of those that are fitted; all of the registry without any.
    """
    values = as_tensor(x)
    shares = None if weights is None else as_tensor(weights)
    picked = partial or shares is not None
    width = spacing(values[~values.isnan()] if partial else values)
    summary = None if picked or values.numel() < MANY else ManyEvents(values, as_tensor(outputs(())))
    rows, left_out = [], []
    names = [likelihoods.parts(word)[0] for word in asked] or likelihoods.names()
    for done, name in enumerate(names):
        progress(done * 100 // len(names), name)
        family = likelihoods.find(name)
        try:
            if not asked and (why := family.unasked(values)):
                raise ReconError(why)
            rows.append(fitted_noise(family, values, as_tensor(outputs(family().head)), clip, width, picked, shares, summary))
        except ReconError as error:
            left_out.append((name, error.reason))
    ranked = []
    counted = any(row.kind == "probability" and isinstance(likelihoods.find(row.likelihood)().support, Interval) for row in rows)
    for kind in ("mixed", *(("probability", "density") if counted else ("density", "probability"))):
        group = sorted((row for row in rows if row.kind == kind), key=lambda row: (bool(row.clipped), row.nll))
        ranked += [dataclasses.replace(row, rank=place) for place, row in enumerate(group, 1)]
    return tuple(ranked), tuple(left_out)


def fitted_noise(
    family: type[Likelihood],
    x: Tensor,
    mu: Tensor,
    clip: bool,
    width: float | None,
    picked: bool = False,
    weights: Tensor | None = None,
    summary: ManyEvents | None = None,
) -> FittedNoise:
    """Return the row of one likelihood, not yet ranked. Raises ReconError for data or means that it does not take.

    Where events are ``picked``, of those that are there and count; per sample then means as many of them as it has on average.
    ``summary`` gives few events for all, to a likelihood of their residuals alone: see :mod:`recon_cli.identity.residuals`.
    """
    from recon_cli.identity.fitting import resized

    samples = len(x)
    if picked:
        x, mu, weights = events_there(family(), x, mu, weights)
        if not len(mu):
            raise ReconError("no value that it takes is there and counts.")
    if (on := elsewhere(family(), x)) is not None:
        x, mu = on.to_unit(x), on.to_unit(mu)
    likelihood = family.designed(x)
    elements = x.numel() / samples
    x = likelihood.encode(x, mu)
    fitting_shapes(likelihood, x.shape, mu.shape)
    look = violation if summary is None else summary.violation
    check(x, likelihood.support, "the data", f"{likelihood.name} allows", look)
    if likelihood.support == CIRCLE and (turns := (x.max().item() - x.min().item()) / (2 * math.pi)) > 1:
        raise ReconError(f"the data span {turns:.3g} turns, and a density of angles counts one.", "Take them modulo 2 pi.")
    clipped = 0
    if clip:
        mu, clipped = inside(mu, likelihood.domain)
    check(mu, likelihood.domain, "the reconstruction", f"{likelihood.name}'s mean lies in", look)
    has_atoms = any(bool((x == value).any()) for value in likelihood.atoms)
    events = 0
    if on is None and likelihood.of_residual is not None and summary is not None and summary.residuals is not None:
        inner = 1 / (likelihood.support.levels - 1) if isinstance(likelihood.support, Lattice) else 0.0
        x, mu, weights = summary.residuals.condensed(likelihood.of_residual, inner)
        events = summary.residuals.events
    best = likelihood.fit(x, mu) if weights is None else likelihood.weighted_fit(x, mu, weights)
    nll = mean_nll(best, x, mu, samples, weights, events)
    at_unit = mean_nll(resized(likelihood, 1.0), x, mu, samples, weights, events) if best.noise else nll
    return FittedNoise(
        likelihood=likelihood.word or likelihood.name,
        kind="probability" if likelihood.discrete else "mixed" if has_atoms else "density",
        rank=0,
        nll=nll,
        nll_at_unit=at_unit,
        cost=at_unit - nll,
        bits_per_dimension=None if width is None else bits_per_dimension(nll / elements, width, likelihood.discrete),
        parameters={name: float(value) for name, value in best.parameters.items()},
        clipped=clipped,
        in_cells=bool(events),
        taken_to_unit="" if on is None else str(on),
    )


def mean_nll(
    likelihood: Likelihood, x: Tensor, mu: Tensor, samples: int = 0, weights: Tensor | None = None, events: int = 0
) -> float:  # fmt: skip
    """Return -log p(x | mu) in nats: summed over a sample, averaged over so many ``samples``; in float64, a block at a time.

    With ``weights``, one an event: their weighted mean, times the ``events`` of a sample.
    """
    import torch

    admitted, samples = likelihood.admitted(), samples or len(x)
    parts = (wide(admitted.nll(wide(a), wide(b))) for a, b in blocks(x, mu))
    if weights is None:
        return sum(float(part.sum()) for part in parts) / samples
    nll, shares = torch.cat([part.flatten() for part in parts]), wide(weights)
    return float((nll * shares).sum() / shares.sum()) * (events or len(nll)) / samples


def blocks(x: Tensor, mu: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield runs of samples, a quarter of a million elements or so."""
    rows = max(1, BLOCK // max(1, x[0].numel()))
    return zip(x.split(rows), mu.split(rows), strict=True)
