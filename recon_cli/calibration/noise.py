"""Which noise do the data choose? Every likelihood that allows them, at its best, side by side."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.regions import CIRCLE, check, inside
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import as_tensor, wide
from recon_cli.likelihoods._grey_levels import bits_per_dimension, spacing

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.sources._base import Array
    from recon_cli.sources._pair import Pair

    Outputs = Callable[[Sequence[str]], Array]

BLOCK = 1 << 18  # elements in float64 at a time
Progress = Callable[[int, str], None]


@dataclass(frozen=True)
class Noise:
    """A likelihood with the noise that makes ``x`` given its reconstruction most likely. Nats, summed over a sample.

    kind
        ``density`` or ``probability``: the two are not comparable, so ``rank`` counts within each.
    nll, nll_at_unit, cost
        at the best noise; with its scale 1, as people leave it; and what that costs more.
    bits_per_dimension
        None where the data are not 8-bit. Of a density: of the bin of each level, to first order in its width.
    clipped
        how many means were moved inside the domain.
    """

    likelihood: str
    kind: str
    rank: int
    parameters: dict[str, float]
    nll: float
    nll_at_unit: float
    cost: float
    bits_per_dimension: float | None
    clipped: int = 0


def remarks(rows: Sequence[Noise], pair: Pair) -> Iterator[str]:
    """In words, what the rows rest on beside the data: variances that are nobody's fit to them, and means that were moved."""
    given = [row.likelihood for row in rows if likelihoods.find(row.likelihood).head]
    if given and pair.variance is not None:
        yield (
            f"{' and '.join(given)}: the variances come with the reconstruction, one for each element: the model's own, or else "
            "the mean squared residual over the samples that the reconstruction was made from. No other row has as many numbers."
        )
    for row in rows:
        if row.clipped:
            where, count = likelihoods.find(row.likelihood)().domain, math.prod(pair.mu.shape)
            yield (
                f"{row.likelihood}: {row.clipped:,} of {count:,} reconstructed means were kept inside {where}, so its nll is of "
                "these means, not of the reconstruction's."
            )


def every_noise(
    x: Array, outputs: Outputs, clip: bool, progress: Progress
) -> tuple[tuple[Noise, ...], tuple[tuple[str, str], ...]]:
    """A row for each likelihood whose support holds ``x``, the likeliest of its kind first; of the others, why not.

    x
        (N, ...), N counting samples.
    outputs
        the reconstruction, given the names of what a decoder is to give for each element (``head``).
    clip
        whether means may be kept just inside a likelihood's domain, because recon made them.
    """
    values = as_tensor(x)
    width = spacing(values)
    rows, left = [], []
    names = likelihoods.names()
    for done, name in enumerate(names):
        progress(done * 100 // len(names), name)
        kind = likelihoods.find(name)
        try:
            rows.append(fitted(kind, values, as_tensor(outputs(kind.head)), clip, width))
        except ReconError as error:
            left.append((name, error.message.split(": ")[0].rstrip(".")))
    ranked = []
    for kind in ("density", "probability"):
        group = sorted((row for row in rows if row.kind == kind), key=lambda row: row.nll)
        ranked += [dataclasses.replace(row, rank=place) for place, row in enumerate(group, 1)]
    return tuple(ranked), tuple(left)


def fitted(kind: type[Likelihood], x: Tensor, mu: Tensor, clip: bool, width: float | None) -> Noise:
    """The row of one likelihood, not yet ranked. Raises ReconError for data or means that it does not take."""
    side = kind.designed(x)
    elements = x[0].numel()
    x = side.encode(x, mu)
    fitting_shapes(side, x.shape, mu.shape)
    check(x, side.support, "the data", f"{side.name} allows")
    if side.support == CIRCLE and (turns := (x.max().item() - x.min().item()) / (2 * math.pi)) > 1:
        raise ReconError(f"the data span {turns:.3g} turns, and a density of angles counts one.", "Take them modulo 2 pi.")
    clipped = 0
    if clip:
        mu, clipped = inside(mu, side.domain)
    check(mu, side.domain, "the reconstruction", f"{side.name}'s mean lies in")
    best = side.fit(x, mu)
    nll = mean_nll(best, x, mu)
    at_unit = nll if not best.noise else mean_nll(unit(side), x, mu)
    kind_of = "probability" if side.discrete else "density"
    bits = None if width is None else bits_per_dimension(nll / elements, width, side.discrete)
    parameters = {name: float(value) for name, value in best.parameters.items()}
    return Noise(side.name, kind_of, 0, parameters, nll, at_unit, at_unit - nll, bits, clipped)


def unit(side: Likelihood) -> Likelihood:
    """The same with its scale 1 (its only number, where it has no scale), all else as it usually is."""
    from recon_cli.identity.fitting import level

    name = level(side)
    return dataclasses.replace(side, **{name: 1.0}) if name else side


def mean_nll(side: Likelihood, x: Tensor, mu: Tensor) -> float:
    """-log p(x | mu) in nats: summed over a sample, averaged over samples; in float64, a block at a time."""
    return sum(wide(side.admitted().nll(wide(a), wide(b))).sum().item() for a, b in blocks(x, mu)) / len(x)


def blocks(x: Tensor, mu: Tensor) -> Iterator[tuple[Tensor, Tensor]]:
    """Runs of samples, a quarter of a million elements or so."""
    rows = max(1, BLOCK // max(1, x[0].numel()))
    return zip(x.split(rows), mu.split(rows), strict=True)
