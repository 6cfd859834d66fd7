"""Which noise do the data choose? Every likelihood that allows them, at its best, side by side."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING

import numpy

from recon_cli import likelihoods
from recon_cli.calibration.many import ManyEvents
from recon_cli.errors import ReconError
from recon_cli.identity.joint import COARSE
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.presence import events_there
from recon_cli.identity.regions import CIRCLE, Interval, check, inside, violation
from recon_cli.identity.residuals import DIGITS
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import as_tensor, wide
from recon_cli.likelihoods._grey_levels import bits_per_dimension, elsewhere, spacing
from recon_cli.report import Detail, column
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.runtime.threads import shared_out

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.runtime.lazy_arrays import Array
    from recon_cli.sources._pair import Pair

    Outputs = Callable[[Sequence[str]], Array | Lazy]

FEW = 5  # rows that the answer has
BLOCK = 1 << 15  # elements in float64 at a time: what is computed of them stays in the core's cache
MANY = 1 << 20  # elements: so many are summed up in cells
SHOWN = 4  # columns whose covariance is written out unasked
SINGULAR = 1e8  # from a ratio of eigenvalues on a covariance has half the digits that its inverse is of
COLUMNS = 64  # of which a covariance is looked at, at most
NATS, CHOSEN = "nats per sample, the likeliest first", "the noise that each would choose"
Progress = Callable[[int, str], None]


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
        what was summed up in cells, ``residuals``, ``means`` or ``both`` data and means; empty of events one by one.
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
    in_cells: str = ""
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
    many, cells = f"{math.prod(pair.mu.shape):,}", "were summed up in cells"
    wide = f"1/{1 << DIGITS} as wide as they are far from"
    if of_residuals := [row.likelihood for row in rows if row.in_cells == "residuals"]:
        yield Detail(
            f"{', '.join(of_residuals)}: these depend on x - mu alone, so the residuals of the {many} values {cells} {wide} "
            "zero, with number, mean and variance: nll and noise to nine digits."
        )
    if of_means := [row.likelihood for row in rows if row.in_cells == "means"]:
        yield Detail(
            f"{', '.join(of_means)}: the data have few different values, so the means of each, {many} in all, {cells} {wide} "
            "the end of their domain, with number, mean and variance: the nll of a value to 1e-7, as wider cells show."
        )
    if of_both := [row.likelihood for row in rows if row.in_cells == "both"]:
        yield Detail(
            f"{', '.join(of_both)}: the {many} pairs of data and mean {cells} 1/{1 << COARSE} as wide as both are far from the "
            "end of where they may lie, with number, means and covariance: the nll of a value to 1e-7, as wider cells show."
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
    summary = None if picked or values.numel() < MANY else ManyEvents(values, as_tensor(outputs(())))
    width = spacing(summary.sample if summary else values[~values.isnan()] if partial else values)
    names = [likelihoods.parts(word)[0] for word in asked] or likelihoods.names()
    one_at_a_time, done = Lock(), itertools.count()

    def fitted(name: str) -> FittedNoise | tuple[str, str]:
        family = likelihoods.find(name)
        with one_at_a_time:
            progress(next(done) * 100 // len(names), name)
        try:
            if not asked and (why := family.unasked(values)):
                raise ReconError(why)
            with one_at_a_time:
                mu = as_tensor(outputs(family().head))
            return fitted_noise(family, values, mu, clip, width, picked, shares, summary)
        except ReconError as error:
            return name, error.reason

    with shared_out() as share:  # in a thread a family, in the order of their names
        results = share(fitted, names)
    rows = [result for result in results if isinstance(result, FittedNoise)]
    left_out = tuple(result for result in results if not isinstance(result, FittedNoise))
    ranked = []
    counted = any(row.kind == "probability" and isinstance(likelihoods.find(row.likelihood)().support, Interval) for row in rows)
    for kind in ("mixed", *(("probability", "density") if counted else ("density", "probability"))):
        group = sorted((row for row in rows if row.kind == kind), key=lambda row: (bool(row.clipped), row.nll))
        ranked += [dataclasses.replace(row, rank=place) for place, row in enumerate(group, 1)]
    return tuple(ranked), left_out


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
    ``summary`` gives few events that stand for all, where it can: see :mod:`recon_cli.calibration.many`.
    """
    from recon_cli.identity.fitting import resized

    given, samples = (x, mu), len(x)
    if picked:
        x, mu, weights = events_there(family(), x, mu, weights)
        if not len(mu):
            raise ReconError("no value that it takes is there and counts.")
    sample = x if summary is None or family.event else summary.sample
    if (on := elsewhere(family(), sample)) is not None:
        x, mu, summary = on.to_unit(x), on.to_unit(mu), None
        sample = x
    likelihood = family.designed(sample)
    elements = x.numel() / samples
    x = likelihood.encode(x, mu)
    fitting_shapes(likelihood, x.shape, mu.shape)
    look = violation if summary is None else summary.violation
    check(x, likelihood.support, "the data", f"{likelihood.name} allows", look)
    if likelihood.support == CIRCLE and (turns := (sample.max().item() - sample.min().item()) / (2 * math.pi)) > 1:
        raise ReconError(f"the data span {turns:.3g} turns, and a density of angles counts one.", "Take them modulo 2 pi.")
    place = f"{likelihood.name}'s mean lies in"
    if not clip:
        check(mu, likelihood.domain, "the reconstruction", place, look)
    few = None if summary is None else summary.condensed(likelihood, clip)
    clipped, events = 0, 0
    if few is not None:
        (x, mu, weights), clipped, events = few.events, few.moved, mu.numel()
    elif clip:
        mu, clipped = inside(mu, likelihood.domain)
        check(mu, likelihood.domain, "the reconstruction", place, look)
    has_atoms = any(bool((given[0] == value).any()) for value in likelihood.atoms)
    best = likelihood.fit(x, mu) if weights is None else likelihood.weighted_fit(x, mu, weights)
    noises = [best, resized(likelihood, 1.0)] if best.noise else [best]
    if few is not None and not all(few.is_near(functools.partial(each_event, one)) for one in noises):
        return fitted_noise(family, *given, clip, width)
    nll, *rest = (mean_nll(one, x, mu, weights, samples, events) for one in noises)
    at_unit = rest[0] if rest else nll
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
        in_cells="" if few is None else few.cells,
        taken_to_unit="" if on is None else str(on),
    )


def mean_nll(
    likelihood: Likelihood, x: Tensor, mu: Tensor, weights: Tensor | None = None, samples: int = 0, events: int = 0
) -> float:  # fmt: skip
    """Return -log p(x | mu) in nats: summed over a sample, averaged over so many ``samples``; in float64, a block at a time.

    With ``weights``, one an event: their weighted mean, times so many ``events`` in all; without either, that mean.
    """
    import torch

    admitted, samples = likelihood.admitted(), samples or len(x)
    parts = (wide(admitted.nll(wide(a), wide(b))) for a, b in blocks(x, mu))
    if weights is None:
        return sum(float(part.sum()) for part in parts) / samples
    nll, shares = torch.cat([part.flatten() for part in parts]), wide(weights)
    return float((nll * shares).sum() / shares.sum()) * (events or len(nll)) / samples


def each_event(likelihood: Likelihood, events: tuple[Tensor, Tensor, Tensor]) -> float:
    """Return -log p of an event in nats, on average: of data, means and how many events each stands for."""
    return mean_nll(likelihood, *events, 1, 1)


def blocks(x: Tensor, mu: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield runs of samples, a quarter of a million elements or so."""
    rows = max(1, BLOCK // max(1, x[0].numel()))
    return zip(x.split(rows), mu.split(rows), strict=True)
