"""Is it true here? The identity measured on data: values and gradients, element by element.

``tally`` measures and adds up; ``identity`` says what the sums amount to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from recon_cli import devices, likelihoods, sources
from recon_cli.comparison.identity import COLUMNS, Identity, Noise, chosen_noise, identity, meaning, why
from recon_cli.comparison.tally import SAMPLE, Tally, chunks, measure
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood, as_tensor
from recon_cli.losses import Loss, fitting_shapes
from recon_cli.regions import check, inside
from recon_cli.report import Report, Table

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Comparison", "Identity", "Tally", "compare", "compare_sources", "measure"]


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


def compare(
    x: Any,
    mu: Any,
    *sides: Likelihood | str,
    loss: Loss | str | None = None,
    device: str = "auto",
    dtype: str = "auto",
    data: str = "data",
    clip: bool = False,
) -> Comparison:
    """Measure each likelihood in ``sides`` against its own loss, or against ``loss``, on all of ``x`` and ``mu``.

    Arrays or tensors of one shape, the first axis counting samples. A likelihood or a loss is an object,
    or a word as on the command line; without one, gaussian. ``data`` names them in the result.
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
    loss = likelihoods.loss(loss) if isinstance(loss, str) else loss
    claims = [likelihoods.parse(side) if isinstance(side, str) else side for side in sides or ("gaussian",)]
    if not x.numel():
        raise ReconError("There is nothing to compare: the data are empty.")
    where, precision = devices.device(device), devices.dtype(dtype, x)
    return sum((_side(x, mu, claim, loss, where, precision, data, clip) for claim in claims), Comparison())


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

    def one(sides: Sequence[Likelihood], pair: sources.Pair, clip: bool = False) -> Comparison:
        how = {"loss": loss, "device": device, "dtype": dtype, "data": pair.named, "clip": pair.fitted or clip}
        return Comparison(notes=(pair.described,)) + compare(pair.x, pair.mu, *sides, **how)

    pair = sources.pair(data, recon, seed=seed, binarize=binarize)
    if sides:
        return one(sides, pair)
    gaussian = one([likelihoods.parse("gaussian")], pair)
    if loss is not None:
        return gaussian
    if beyond := _no_shares(pair):
        return gaussian + Comparison(notes=(f"bernoulli is left out: {beyond}, and it takes shares from 0 to 1.",))
    binary = pair if binarize else sources.pair(data, recon, seed=seed, binarize="threshold")
    bernoulli = one([likelihoods.parse("bernoulli")], binary, clip=True)
    said = f"bernoulli is measured on {binary.named}: each value made 0 or 1, because that is where it is a density."
    return gaussian + Comparison(bernoulli.rows, (said, *bernoulli.notes[1:]))


def _no_shares(pair: sources.Pair) -> str:
    """Why data and means cannot be a bernoulli's; empty if they can."""
    for what, values in (("the data", pair.x), ("the reconstructions", pair.x if pair.fitted else pair.mu)):
        if values.min() < 0 or values.max() > 1:
            return f"{what} run from {values.min():g} to {values.max():g}"
    return ""


def _side(
    x: Tensor, mu: Tensor, claim: Likelihood, loss: Loss | None, device: Any, dtype: Any, data: str, clip: bool
) -> Comparison:
    loss = loss or claim.loss
    notes: list[str] = []
    x = claim.encode(x, mu)
    fitting_shapes(claim, x.shape, mu.shape)
    if (loss.event, loss.head) != (claim.event, claim.head):
        raise ReconError(
            f"{loss.name} takes other shapes than {claim.name}: one of them is of vectors, or of several numbers an element.",
            f"{claim.name}'s own loss is {claim.loss.name}.",
        )
    x, mu = (part.reshape(1, *part.shape) if x.ndim == claim.event else part for part in (x, mu))
    side = claim
    if claim.relaxation and not claim.support.contains(x).all():
        relaxed = likelihoods.parse(claim.relaxation)
        if relaxed.support.contains(x).all():
            side, data = relaxed, f"{data} (grey levels)"
            notes.append(_no_density(claim, relaxed, loss, x))
    x, mu = x.to(device, dtype), mu.to(device, dtype)
    for rule in (side, loss):
        check(x, rule.support, f"the data ({data})", f"{rule.name} allows")
        if clip:
            mu, moved = inside(mu, rule.domain)
            if moved:
                ends = f"{rule.name}'s {rule.domain}, a thousandth from its ends"
                notes.append(f"{moved:,} of {mu.numel():,} reconstructed means were kept inside {ends}.")
        check(mu, rule.domain, "the reconstruction", f"{rule.name}'s mean lies in")
    stride = -(-x.numel() // SAMPLE)
    tally = sum((measure(side, *part, loss, claim, stride) for part in chunks(side, x, mu)), Tally())
    beyond = tally.infinite or (tally.elements if tally.loss_square and not tally.ratio_elements else 0)
    if beyond:
        raise ReconError(
            f"{side} and {loss.name} leave the range of {str(dtype)[6:]} on {beyond:,} of {tally.elements:,} elements.",
            "Rescale the data, choose a noise in their units, or use --dtype float64; a mean of 0 or 1 rules out the other.",
        )
    row = identity(claim, loss, tally, dtype, data)
    if row.holds:
        fitted = len(claim.parameters) > len(claim.design)
        noise = Noise(tally.elements // len(x), loss.convention, claim.best_noise, fitted)
        row = replace(row, noise=noise, **chosen_noise(claim, row.nll, x, mu))
    return Comparison((row,), tuple(notes))


def _no_density(claim: Likelihood, relaxed: Likelihood, loss: Loss, x: Tensor) -> str:
    share = 1 - claim.support.contains(x).double().mean().item()
    gap = f"; the gap is what {loss.name} leaves out" if loss in claim.losses else ""
    return (
        f"{claim.name} is no likelihood of these data: {share:.0%} of the values are neither 0 nor 1, and there its "
        f"expression does not integrate to one. The row measures {relaxed.name}, the same expression normalised{gap}. "
        f"Either minimise the nll of {relaxed.name} (recon train --likelihood {relaxed.name}), which closes it, "
        f"or make the data 0 or 1: --binarize threshold, or --binarize sample."
    )
