"""Is it true here? The identity measured on data: values and gradients, element by element.

``cases`` admits data to a likelihood; ``tally`` measures and adds up; ``identity`` says what the sums amount to;
``engines`` go through all of it; ``against`` sets a library's call beside, and ``changes`` knows what such calls change.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from recon_cli import likelihoods, sources
from recon_cli.comparison import against as beside
from recon_cli.comparison import engines
from recon_cli.comparison.against import Against
from recon_cli.comparison.cases import Case, Refused, admit
from recon_cli.comparison.identity import BRIEF, COLUMNS, Identity, Noise, chosen_noise, identity, meaning, why
from recon_cli.comparison.tally import SAMPLE, Tally, measure
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.proportions import Proportion, of_loss, proportion
from recon_cli.identity.tensors import as_tensor, plain
from recon_cli.likelihoods._grey_levels import bits_per_dimension, spacing
from recon_cli.report import Column, Report, Table
from recon_cli.runtime import devices
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources import _remarks

if TYPE_CHECKING:
    from recon_cli.comparison.engines import Progress

__all__ = ["Against", "Comparison", "Identity", "Tally", "compare", "compare_sources", "measure"]

LEFT_OUT = (Column("likelihood", "left out", "*"), Column("why", "why"))


@dataclass(frozen=True)
class Comparison:
    """Rows of the identity table and what they mean; or, set against a library, its ``calls``. Comparisons add.

    left_out says of a likelihood why these data are none of its own, where every one was asked for;
    whole whether all was measured, and not interrupted.
    """

    rows: tuple[Identity, ...] = ()
    notes: tuple[str, ...] = ()
    calls: tuple[Against, ...] = ()
    left_out: tuple[tuple[str, str], ...] | None = None
    whole: bool = True

    def __add__(self, other: Comparison) -> Comparison:
        left = (*self.left_out, *other.left_out) if self.left_out is not None and other.left_out is not None else self.left_out
        whole = self.whole and other.whole
        return Comparison(self.rows + other.rows, self.notes + other.notes, self.calls + other.calls, left, whole)

    @property
    def holds(self) -> bool:
        """Whether every row's loss is its likelihood, in value and in gradient, and every call the density.

        Where every likelihood was asked for, a loss that is known to leave a gap is no surprise.
        """
        expected = self.left_out is not None
        return all(row.holds or (expected and bool(row.gap)) for row in self.rows) and all(call.holds for call in self.calls)

    def report(self) -> Report:
        """As ``recon compare`` prints it."""
        if self.calls:
            found = beside.report(self.calls, self.notes)
            return replace(found, tables=[*found.tables, *self._others()])
        columns = COLUMNS if self.left_out is None else BRIEF
        if not any(row.bits_per_dimension is not None for row in self.rows):
            columns = tuple(replace(column, panel=None) if column.key == "bits_per_dimension" else column for column in columns)
        rows = [{column.key: getattr(row, column.key) for column in columns} for row in self.rows]
        groups: dict[tuple[str, str], list[Identity]] = {}
        for row in self.rows:
            groups.setdefault((row.likelihood, row.loss), []).append(row)
        said = [note for group in groups.values() for note in meaning(group)] if self.left_out is None else []
        good, one = sum(row.holds for row in self.rows), len(rows) == 1
        each = f"{'the' if one else 'each'} loss is the likelihood up to its slope and a constant in mu"
        verdict = f"{'holds' if one else f'all {len(rows)} hold'}: {each}"
        if good < len(rows):
            verdict = "refuted: " if not self.holds else f"{good} of {len(rows)} hold, the others as they must not: "
            verdict += "; ".join(why(row) for row in self.rows if not row.holds)
        if not self.whole:
            verdict = f"partial, interrupted: {verdict}"
        tables = [Table("identity", columns, rows), *self._others()]
        return Report("compare", tables, [*self.notes, *said], verdict, self.holds, whole=self.whole)

    def _others(self) -> list[Table]:
        rows = [{"likelihood": name, "why": reason} for name, reason in self.left_out or ()]
        return [Table("left_out", LEFT_OUT, rows)] if rows else []


@in_default_state
def compare(
    x: Any,
    mu: Any,
    *sides: Likelihood | str,
    loss: Loss | str | None = None,
    against: str | None = None,
    engine: str = "auto",
    gradients: str = "sample",
    device: str = "auto",
    dtype: str = "auto",
    data: str = "data",
    clip: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """Measure each likelihood in ``sides`` against its own loss, or against ``loss``, on all of ``x`` and ``mu``.

    Arrays or tensors of one shape, the first axis counting samples (or :class:`recon_cli.runtime.lazy_arrays.Lazy`, read piece
    by piece); for a categorical ``x`` may be labels, for
    a decoder that gives several numbers an element they are a last axis of ``mu``. A likelihood or a loss is an
    object, or a word as on the command line; without one, gaussian. ``data`` names them in the result.
    ``clip`` keeps means that are outside a likelihood's domain just inside it, and says how many.

    against
        ``torch`` or ``scipy``: instead, each nll beside the library calls that people write for it.

    engine
        ``eager``, ``compile`` (torch's compiler, one pass over the data), or ``auto``: compile where it pays.

    gradients
        ``sample``: the eager engine measures gradients on an evenly spread sample of a million numbers at least
        (values on all); ``all``: on every element, as the compiled one does.

    progress
        called as the measurement goes on, with how many hundredths of a likelihood are done, and with its name.

    A likelihood that has a relaxation (bernoulli on grey levels) is measured as that, because its own
    expression is no density there; the row does not hold, and says by how much.

    Raises ReconError for shapes that do not fit, values outside the support or domain, and a device that
    is not there.

    >>> from recon_cli.likelihoods.gaussian import Gaussian
    >>> compare([[0.0, 1.0]], [[0.5, 0.5]], Gaussian(sigma=0.5), device="cpu").rows[0].slope
    2.0
    """
    x, mu = (values if isinstance(values, Lazy) else plain(values) for values in (x, mu))
    how = {"loss": loss, "against": against, "engine": engine, "gradients": gradients, "device": device, "dtype": dtype}
    found = _measured(x, mu, sides, data=data, clip=clip, progress=progress, **how)
    return replace(found, notes=(*_remarks.array_remarks(x, mu, data), *found.notes))


def _measured(
    x: Any, mu: Any, sides: Sequence[Likelihood | str], *, loss: Any, against: str | None, engine: str, gradients: str,
    device: str, dtype: str, data: str, clip: bool, progress: Progress | None,
) -> Comparison:  # fmt: skip
    """``compare`` of what is a tensor or lies in files, whatever it looks like."""
    loss = likelihoods.as_loss(loss)
    claims = [likelihoods.as_likelihood(word) for word in sides or ("gaussian",)]
    if 0 in x.shape:
        raise ReconError("There is nothing to compare: the data are empty.")
    where, precision = devices.device(device), devices.dtype(dtype, x if "float" in str(x.dtype) else mu)
    found = Comparison(notes=likelihoods.interpretations(sides))
    for claim in claims:
        case = admit(claim, loss, x, mu, where, precision, data, clip)
        found += _identity(case, engine, gradients, progress) if against is None else _beside(case, against)
        if not found.whole:
            break
    return found


@in_default_state
def compare_sources(
    data: str = "digits",
    recon: str = "pca",
    sides: Sequence[Likelihood] = (),
    *,
    loss: Loss | None = None,
    everything: bool = False,
    against: str | None = None,
    engine: str = "auto",
    gradients: str = "sample",
    binarize: str | None = None,
    scale: float | None = None,
    recon_scale: float | None = None,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    trust: bool = False,
    progress: Progress | None = None,
) -> Comparison:
    """``compare`` on sources named as on the command line.

    Without ``sides``: gaussian, and bernoulli on the same data made 0 or 1 (where they allow it). With
    ``everything``: every likelihood of the registry; those that these data are outside of, with the reason.
    ``scale`` divides the data and ``recon_scale`` the reconstructions in a file; None is each source's own.
    With ``trust`` the code of a run's own model may be run.
    """

    def one(sides: Sequence[Likelihood], pair: sources.Pair, clip: bool = False) -> Comparison:
        how = {"loss": loss, "against": against, "engine": engine, "gradients": gradients, "device": device, "dtype": dtype}
        found = Comparison(notes=(pair.described, *pair.remarks))
        for side in sides:
            mu = pair.outputs(side.head)
            x, mu = (values if isinstance(values, Lazy) else as_tensor(values) for values in (pair.x, mu))
            found += _measured(x, mu, [side], clip=pair.fitted or clip, data=pair.named, progress=progress, **how)
            if not found.whole:
                break
        return found

    read = partial(sources.pair, data, recon, seed=seed, scale=scale, recon_scale=recon_scale, trust=trust)
    pair = read(binarize=binarize)
    if everything:
        return _every(one, pair, [*sides])
    if sides:
        return one(sides, pair)
    gaussian = one([likelihoods.parse("gaussian")], pair)
    if loss is not None or not gaussian.whole:
        return gaussian
    if isinstance(pair.x, Lazy):
        return gaussian + Comparison(notes=("Of files this large only gaussian is measured, unless you name others.",))
    if beyond := _no_shares(pair):
        return gaussian + Comparison(notes=(f"bernoulli is left out: {beyond}, and it takes shares from 0 to 1.",))
    binary = pair if binarize else read(binarize="threshold")
    bernoulli = one([likelihoods.parse("bernoulli")], binary, clip=True)
    said = f"bernoulli is measured on {binary.named}: each value made 0 or 1, because that is where it is a density."
    return gaussian + replace(bernoulli, notes=(said, *bernoulli.notes[1 + len(binary.remarks) :]))


def _every(one: Callable[..., Comparison], pair: sources.Pair, sides: list[Likelihood]) -> Comparison:
    """Each likelihood of the registry as in ``sides``, or at its usual noise; what does not fit is left out and says why."""
    chosen, x = {side.name: side for side in sides}, as_tensor(pair.x.spread(SAMPLE) if isinstance(pair.x, Lazy) else pair.x)
    found = Comparison(notes=(pair.described, *pair.remarks), left_out=())
    for name in likelihoods.names():
        side = chosen.get(name) or likelihoods.find(name).designed(x)
        try:
            if side.relaxation and not side.support.holds(x):
                raise Refused(f"neither 0 nor 1 in places; there its expression is {side.relaxation}'s, without the normaliser")
            found += replace(one([side], pair), notes=(), left_out=())
        except ReconError as error:
            found += Comparison(left_out=((name, error.message.split(": ")[0].rstrip(".")),))
        if not found.whole:
            break
    return found


def _no_shares(pair: sources.Pair) -> str:
    """Why data and means cannot be a bernoulli's; empty if they can."""
    for what, values in (("the data", pair.x), ("the reconstructions", pair.x if pair.fitted else pair.mu)):
        if values.min() < 0 or values.max() > 1:
            return f"{what} run from {values.min():g} to {values.max():g}"
    return ""


def _beside(case: Case, library: str) -> Comparison:
    case, x, mu, tally = case.whole()
    rows = [beside.against(case.side, call, x, mu, case.data) for call in beside.calls(case.side, library)]
    none = () if rows else (f"{case.side.name}: nothing that people write for it in {library} is known.",)
    return Comparison(notes=(*case.notes(tally), *none), calls=tuple(rows))


def _alike(case: Case, found: engines.Measured) -> Proportion | None:
    """Whether a loss that no formula makes the likelihood's own is it on these data, and its slope then."""
    side, loss = case.side, case.loss
    if side is not case.claim or side.head or loss.reason:
        return None
    return proportion(side.nll, of_loss(loss), side, found.x.to(case.dtype), found.mu.to(case.dtype))


def _identity(case: Case, engine: str, gradients: str, progress: Progress | None) -> Comparison:
    found = engines.run(case, engine, gradients, progress)
    case, tally, claim, loss = found.case, found.tally, case.claim, case.loss
    if tally.loss_square and not tally.ratio_elements:
        raise engines.beyond(case, found.x, found.mu, replace(tally, infinite=tally.elements))
    row = identity(claim, loss, tally, case.dtype, case.data, lambda: _alike(case, found))
    bytes_ = str(case.x.dtype).endswith("uint8")
    if (width := spacing(found.x.byte() if bytes_ else found.x)) and not claim.event:
        row = replace(row, bits_per_dimension=bits_per_dimension(row.nll, width, claim.discrete))
    notes = (*case.notes(tally), *found.notes)
    if row.holds:
        noise = Noise(tally.elements // len(case.mu), loss.convention, claim.best_noise, bool(claim.noise))
        row = replace(row, noise=noise, **chosen_noise(claim, found.x, found.mu))
    if row.here:
        notes += (f"{loss} is {claim.name}'s own loss on these data: as measured at them, and for means nearer to them.",)
    if not found.whole:
        notes += (f"Interrupted: only {tally.elements:,} of {case.events:,} elements were measured.",)
    return Comparison((row,), notes, whole=found.whole)
