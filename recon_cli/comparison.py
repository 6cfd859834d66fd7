"""Is it true here? The identity measured on data: values and gradients, element by element.

``measure`` is the one function that touches elements, and a :class:`Tally` is what it saw. Tallies
add, which is the whole of chunking.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any

from recon_cli import devices, likelihoods, sources
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood, as_tensor, wide
from recon_cli.losses import Loss, shapes_differ
from recon_cli.parametric import UNIT, check, inside
from recon_cli.report import Column, Report, Table

if TYPE_CHECKING:
    from torch import Tensor

CHUNK = 1 << 18  # elements: every temporary of a chunk stays in a CPU's cache
SAMPLE = 1 << 20  # ratios kept for their median
ROUNDING = 4.0  # a true claim is off by fewer rounding errors of its own terms than this
PROPORTIONAL = 64.0  # gradients are proportional if their ratio varies by fewer units of rounding than this


@dataclass(frozen=True)
class Tally:
    """What was seen on some elements of the identity. ``Tally + Tally`` is what was seen on both.

    Sums over elements, in float64: ``nll``, ``loss``, ``offset``, ``gap`` (nats), and of the gradients'
    products, ``cross`` = sum of d nll * d loss, ``nll_square``, ``loss_square``. ``worst`` is the claim's
    largest error in rounding errors of its own terms; ``ratios`` is a sample of d nll / d loss;
    ``infinite`` counts elements where a value or a gradient is not finite.
    """

    elements: int = 0
    nll: float = 0.0
    loss: float = 0.0
    offset: float = 0.0
    gap: float = 0.0
    cross: float = 0.0
    nll_square: float = 0.0
    loss_square: float = 0.0
    ratio_elements: int = 0
    ratio_excluded: int = 0
    infinite: int = 0
    worst: float = field(default=0.0, metadata={"add": max})
    ratio_min: float = field(default=math.inf, metadata={"add": min})
    ratio_max: float = field(default=-math.inf, metadata={"add": max})
    ratios: tuple[Tensor, ...] = ()

    def __add__(self, other: Tally) -> Tally:
        def joined(name: str, add: Any) -> Any:
            mine, theirs = getattr(self, name), getattr(other, name)
            return add(mine, theirs) if add else mine + theirs

        return Tally(**{part.name: joined(part.name, part.metadata.get("add")) for part in fields(self)})


def measure(
    likelihood: Likelihood, x: Tensor, mu: Tensor, loss: Loss | None = None, claim: Likelihood | None = None, stride: int = 1
) -> Tally:
    """Both sides of -log p = slope * loss + offset + gap on every element of ``x`` and ``mu``.

    Values come from ``likelihood.nll`` and from the loss itself, gradients of both from autograd, with
    respect to what the loss takes (mu, or logits), in the dtype and on the device of the tensors.

    loss
        the likelihood's own, if not given. Of a loss that it does not claim only the values and the
        gradients are measured.
    claim
        whose slope, offset and gap are put to the test: the likelihood's own, if not given.
    stride
        every ``stride``-th ratio is kept for the median.
    """
    import torch

    loss, claim = loss or likelihood.loss, claim or likelihood
    point = loss.link.forward(mu).detach().requires_grad_()
    nll = likelihood.nll_raw(x, point) if loss.link == likelihood.link else likelihood.nll(x, loss.link.inverse(point))
    value = loss(x, point)
    of_nll, of_loss = (wide(torch.autograd.grad(side.sum(), point)[0]) for side in (nll, value))
    nll, value = wide(nll.detach()), wide(value.detach())
    finite = nll.isfinite() & value.isfinite() & of_nll.isfinite() & of_loss.isfinite()
    excluded = (of_nll == 0) & (of_loss == 0)
    ratio = (of_nll / of_loss)[~excluded]
    seen = Tally(
        elements=x.numel(),
        nll=nll.sum().item(),
        loss=value.sum().item(),
        cross=(of_nll * of_loss).sum().item(),
        nll_square=of_nll.square().sum().item(),
        loss_square=of_loss.square().sum().item(),
        ratio_elements=ratio.numel(),
        ratio_excluded=int(excluded.sum()),
        infinite=int((~finite).sum()),
        ratio_min=ratio.min().item() if ratio.numel() else math.inf,
        ratio_max=ratio.max().item() if ratio.numel() else -math.inf,
        ratios=(ratio[::stride].cpu(),),
    )
    if loss not in claim.losses:
        return seen
    mean = loss.link.inverse(wide(point.detach()))
    terms = (float(claim.losses[loss]) * value, wide(claim.offset(x)), wide(claim.gap(mean)))
    size = nll.abs() + sum(term.abs() for term in terms)
    off = (nll - sum(terms)).abs() / (torch.finfo(x.dtype).eps * size)
    return replace(
        seen,
        offset=terms[1].sum().item(),
        gap=wide(likelihood.gap(mean)).sum().item(),
        worst=off.where(size > 0, 0).max().item(),
    )


@dataclass(frozen=True)
class Identity:
    """What was measured of one likelihood against one loss. Means over elements, in nats.

    None means not measured: a loss that is not the likelihood's own has no slope, offset or gap.
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
    noise: Noise | None = field(default=None, compare=False)


@dataclass(frozen=True)
class Noise:
    """The noise that the data would choose for a likelihood, and what the one given costs.

    best is None where the reconstruction is perfect; cost is in nats per element.
    """

    sample: int
    convention: float
    rule: str
    best: dict[str, float] | None
    cost: float = 0.0


@dataclass(frozen=True)
class Comparison:
    """Rows of the identity table and what they mean. Comparisons add: rows after rows."""

    rows: tuple[Identity, ...] = ()
    notes: tuple[str, ...] = ()

    def __add__(self, other: Comparison) -> Comparison:
        return Comparison(self.rows + other.rows, self.notes + other.notes)

    @property
    def holds(self) -> bool:
        """Whether every row's loss is its likelihood, in value and in gradient."""
        return all(row.holds for row in self.rows)

    def report(self) -> Report:
        """As ``recon compare`` prints it."""
        rows = [{column.key: getattr(row, column.key) for column in COLUMNS} for row in self.rows]
        groups: dict[tuple[str, str], list[Identity]] = {}
        for row in self.rows:
            groups.setdefault((row.likelihood, row.loss), []).append(row)
        notes = [*self.notes, *(note for group in groups.values() for note in meaning(group))]
        if self.holds:
            one = len(rows) == 1
            verdict = f"{'holds' if one else f'all {len(rows)} hold'}: {'the' if one else 'each'} loss is the likelihood "
            verdict += "up to its slope and a constant in mu"
        else:
            verdict = "refuted: " + "; ".join(why(row) for row in self.rows if not row.holds)
        return Report("compare", [Table("identity", COLUMNS, rows)], notes, verdict, self.holds)


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
)


def compare(
    x: Any,
    mu: Any,
    *sides: Likelihood,
    loss: Loss | None = None,
    device: str = "auto",
    dtype: str = "auto",
    data: str = "data",
    clip: bool = False,
) -> Comparison:
    """Measure each likelihood in ``sides`` against its own loss, or against ``loss``, on all of ``x`` and ``mu``.

    Arrays or tensors of one shape, the first axis counting samples. ``data`` names them in the result.
    ``clip`` keeps means that are outside a likelihood's domain just inside it, and says how many.

    A likelihood that has a relaxation (bernoulli on grey levels) is measured as that, because its own
    expression is no density there; the row does not hold, and says by how much.

    Raises ReconError for shapes that differ, values outside the support or domain, and a device that
    is not there.

    >>> from recon_cli.likelihoods.gaussian import Gaussian
    >>> compare([[0.0, 1.0]], [[0.5, 0.5]], Gaussian(sigma=0.5), device="cpu").rows[0].slope
    2.0
    """
    x, mu = as_tensor(x), as_tensor(mu)
    if x.shape != mu.shape:
        raise shapes_differ(x.shape, mu.shape)
    if not x.numel():
        raise ReconError("There is nothing to compare: the data are empty.")
    where, precision = devices.device(device), devices.dtype(dtype, x)
    return sum((_side(x, mu, side, loss, where, precision, data, clip) for side in sides), Comparison())


def compare_sources(
    data: str = "digits",
    recon: str = "pca",
    sides: Sequence[Likelihood] = (),
    *,
    loss: Loss | None = None,
    binarize: str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
) -> Comparison:
    """``compare`` on sources named as on the command line.

    Without ``sides``: gaussian, and bernoulli on the same data made 0 or 1 (where they allow it).
    """

    def one(sides: Sequence[Likelihood], binarize: str | None) -> Comparison:
        pair = sources.pair(data, recon, seed=seed, binarize=binarize)
        how = {"loss": loss, "device": device, "dtype": dtype, "data": pair.named, "clip": pair.fitted}
        return Comparison(notes=(pair.described,)) + compare(pair.x, pair.mu, *sides, **how)

    if sides:
        return one(sides, binarize)
    gaussian = one([likelihoods.parse("gaussian")], binarize)
    if loss is not None or not _grey(data, recon):
        return gaussian
    bernoulli = one([likelihoods.parse("bernoulli")], binarize or "threshold")
    binary = f"bernoulli is measured on {bernoulli.rows[0].data}: each value made 0 or 1, because that is where it is a density."
    return gaussian + Comparison(bernoulli.rows, (binary, *bernoulli.notes[1:]))


def _grey(data: str, recon: str) -> bool:
    pair = sources.pair(data, recon)
    return bool(UNIT.contains(as_tensor(pair.x)).all()) and (pair.fitted or bool(UNIT.contains(as_tensor(pair.mu)).all()))


def _side(
    x: Tensor, mu: Tensor, claim: Likelihood, loss: Loss | None, device: Any, dtype: Any, data: str, clip: bool
) -> Comparison:
    loss = loss or claim.loss
    notes = []
    side = claim
    if claim.relaxation and not claim.support.contains(x).all():
        relaxed = likelihoods.parse(claim.relaxation)
        if relaxed.support.contains(x).all():
            side = relaxed
            notes.append(_no_density(claim, relaxed, x))
    for rule in (side, loss):
        check(x, rule.support, f"the data ({data})", f"{rule.name} allows")
        if clip:
            mu, moved = inside(mu, rule.domain)
            if moved:
                ends = f"{rule.name}'s {rule.domain}, a thousandth from its ends"
                notes.append(f"{moved:,} of {mu.numel():,} reconstructed means were kept inside {ends}.")
        check(mu, rule.domain, "the reconstruction", f"{rule.name}'s mean lies in")
    x, mu = x.to(device, dtype), mu.to(device, dtype)
    stride = -(-x.numel() // SAMPLE)
    tally = sum((measure(side, *part, loss, claim, stride) for part in chunks(x, mu)), Tally())
    if tally.infinite:
        raise ReconError(
            f"{side} and {loss.name} are not finite on {tally.infinite:,} of {tally.elements:,} elements in {str(dtype)[6:]}.",
            "Rescale the data, choose a noise in their units, or use --dtype float64; a mean of 0 or 1 rules out the other.",
        )
    row = identity(claim, loss, tally, dtype, data)
    if row.holds:
        row = replace(row, noise=chosen_noise(claim, loss, row.nll, x, mu))
    return Comparison((row,), tuple(notes))


def chunks(*tensors: Tensor) -> Iterator[list[Tensor]]:
    """Pieces of tensors of one shape, flat, small enough for the cache."""
    flat = [tensor.reshape(-1) for tensor in tensors]
    for start in range(0, len(flat[0]), CHUNK):
        yield [tensor[start : start + CHUNK] for tensor in flat]


def identity(claim: Likelihood, loss: Loss, tally: Tally, dtype: Any, data: str) -> Identity:
    """The row that a tally amounts to."""
    import torch

    eps = torch.finfo(dtype).eps
    own, n, seen = loss in claim.losses, tally.elements, tally.ratio_elements > 0
    slope = float(claim.losses[loss]) if own else None
    median = torch.cat(tally.ratios).median().item() if seen else None
    middle = slope if slope is not None else median
    spread = max(tally.ratio_max - middle, middle - tally.ratio_min) if middle is not None and seen else 0.0
    proportional = spread <= PROPORTIONAL * eps * abs(middle or 0.0)
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
        offset=tally.offset / n if own else None,
        gap=tally.gap / n if own else None,
        worst=tally.worst if own else None,
        ratio_min=tally.ratio_min if seen else None,
        ratio_median=median,
        ratio_max=tally.ratio_max if seen else None,
        ratio_elements=tally.ratio_elements,
        ratio_excluded=tally.ratio_excluded,
        cosine=min(1.0, max(-1.0, tally.cross / power)) if power else None,
        proportional=proportional,
        holds=own and proportional and tally.worst < ROUNDING,
    )


def _no_density(claim: Likelihood, relaxed: Likelihood, x: Tensor) -> str:
    share = 1 - claim.support.contains(x).double().mean().item()
    return (
        f"{claim.name} is no likelihood of these data: {share:.0%} of the values are neither 0 nor 1, and there its "
        f"expression does not integrate to one. The row measures {relaxed.name}, the same expression normalised; the "
        f"gap is what the loss leaves out. Either use --likelihood {relaxed.name}, which closes it, "
        f"or make the data 0 or 1: --binarize threshold, or --binarize sample."
    )


def why(row: Identity) -> str:
    """In a few words, why a row does not hold."""
    pair = f"{row.loss} and {row.likelihood}"
    ratio = f"d nll / d loss runs from {row.ratio_min:.4g} to {row.ratio_max:.4g}"
    if row.gap:
        return f"{pair} differ by a gap that depends on mu ({row.gap:.4g} nats per element): not proportional, {ratio}"
    if not row.proportional:
        return f"{pair} are not proportional: {ratio}"
    if row.slope is None:
        return f"{pair} are proportional here, but the one is not the other's loss"
    return f"{pair} differ by {row.worst:.3g} rounding errors"


def meaning(rows: Sequence[Identity]) -> list[str]:
    """What rows of one likelihood and one loss mean in practice, in two or three sentences."""
    row = rows[0]
    if not all(row.holds for row in rows):
        return [
            f"{row.loss} against {row.likelihood}: one unit of the loss's gradient is worth {row.ratio_min:.4g} to "
            f"{row.ratio_max:.4g} of the likelihood's, so no learning rate makes them equal; the cosine between the two "
            f"gradient fields is {row.cosine:.6f}."
            for row in rows
            if row.ratio_min is not None and row.cosine is not None
        ]
    noise = row.noise
    if noise is None:
        return [f"{row.likelihood} has no noise to choose: {row.loss} is its nll, and β on the KL means what it says."]

    def each(values: Iterable[float | None], digits: int = 6) -> str:
        return ", ".join(f"{value:.{digits}g}" for value in values if value is not None)

    name = ",".join(row.parameters)
    given = f"{name} = " + (", " if len(row.parameters) == 1 else "; ").join(each(row.parameters.values()) for row in rows)
    slopes = [row.slope or 0.0 for row in rows]
    said = (
        f"{row.likelihood} with {given} is {row.loss} × {each(slopes)}: SGD on it at learning rate η is SGD on the summed "
        f"{row.loss} at {each(slopes)} × η, step for step (on its mean over the {noise.sample:,} elements of a sample, at "
        f"{each(slope * noise.sample for slope in slopes)} × η). In a VAE it is summed {row.loss} + β KL with "
        f"β = {each(1 / slope for slope in slopes)}"
    )
    if noise.convention != 1:
        betas = each(noise.convention / slope for slope in slopes)
        said += f"; with the half, {noise.convention:g} × {row.loss} + β KL, β = {betas}"
    if noise.best is None:
        perfect = "The reconstruction is perfect: every gradient is zero, so only the values were compared"
        return [f"{said}.", f"{perfect}, and the data would choose no {row.likelihood} noise at all."]
    best = ", ".join(f"{key} = {value:.6g}" for key, value in noise.best.items())
    costs = [row.noise.cost for row in rows if row.noise]
    return [
        f"{said}.",
        f"The data would choose {best}, {noise.rule}; {given} costs {each(costs, 4)} nats per element more "
        f"({each((cost * noise.sample for cost in costs), 4)} a sample).",
    ]


def chosen_noise(claim: Likelihood, loss: Loss, nll: float, x: Tensor, mu: Tensor) -> Noise | None:
    """The maximum-likelihood noise of these data, and how many nats per element the one of ``claim`` costs."""
    if not claim.parameters:
        return None
    shared = (x[0].numel(), loss.convention, claim.best_noise)
    try:
        best = type(claim).fit(x, mu)
    except ReconError:
        return Noise(*shared, None)
    least = sum(wide(best.nll(*part)).sum().item() for part in chunks(x, mu)) / x.numel()
    return Noise(*shared, {key: float(value) for key, value in best.parameters.items()}, nll - least)
