"""Is it true here? The identity measured on data: values and gradients, element by element.

``cases`` admits data to a likelihood; ``claim`` evaluates both sides; ``tally`` measures and adds up; ``identity`` is the row
that the sums amount to, and what it means;
``engines`` go through all of it; ``against`` sets a library's call beside, and ``changes`` knows what such calls change.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy

from recon_cli import likelihoods, sources
from recon_cli.comparison import against as beside
from recon_cli.comparison import drawn, engines
from recon_cli.comparison.against import Against
from recon_cli.comparison.cases import ComparisonCase, admit
from recon_cli.comparison.claim import Claim
from recon_cli.comparison.identity import Identity, identity, meaning, table, why, with_best_noise
from recon_cli.comparison.library_calls import calls
from recon_cli.comparison.tally import SAMPLE, Tally, measure
from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.proportions import Proportion, of_loss, proportion
from recon_cli.identity.regions import Lattice, listed
from recon_cli.identity.tensors import as_tensor, plain, wide
from recon_cli.likelihoods._grey_levels import bits_per_dimension, elsewhere, spacing
from recon_cli.report import LeftOut, Report, Table
from recon_cli.runtime import devices
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.runtime.torch_state import in_default_state
from recon_cli.sources import _remarks

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.comparison.engines import Progress

__all__ = ["Against", "Claim", "Comparison", "Identity", "Tally", "compare", "compare_sources", "measure"]


@dataclass(frozen=True)
class Comparison(Presentable):
    """Rows of the identity table and what they mean; or, set against a library, its ``calls``. Comparisons add.

    left_out has, where every likelihood was asked for, those that these data are outside of, each with the reason;
    whole is whether all was measured, and not interrupted.
    """

    rows: tuple[Identity, ...] = ()
    notes: tuple[str, ...] = ()
    calls: tuple[Against, ...] = ()
    left_out: tuple[tuple[str, str], ...] | None = None
    whole: bool = True

    def __add__(self, other: Comparison) -> Comparison:
        left = (*self.left_out, *other.left_out) if self.left_out is not None and other.left_out is not None else self.left_out
        whole = self.whole and other.whole
        notes = tuple(dict.fromkeys(self.notes + other.notes))
        return Comparison(self.rows + other.rows, notes, self.calls + other.calls, left, whole)

    @property
    def holds(self) -> bool:
        """Whether every row's loss is its likelihood, in value and in gradient, and every call the density.

        Where every likelihood was asked for, a loss that is known to leave a gap is no surprise.
        """
        expected = self.left_out is not None
        return all(row.holds or (expected and bool(row.gap)) for row in self.rows) and all(call.holds for call in self.calls)

    def report(self) -> Report:
        """Return what ``recon compare`` prints."""
        if self.calls:
            report = beside.report(self.calls, self.notes)
            return replace(report, tables=[*report.tables, *self._left_out()])
        groups: dict[tuple[str, str], list[Identity]] = {}
        for row in self.rows:
            groups.setdefault((row.likelihood, row.loss), []).append(row)
        meanings = [note for group in groups.values() for note in meaning(group)] if self.left_out is None else []
        tables = [table(self.rows, brief=self.left_out is not None), *self._left_out()]
        meanings += (
            [f"Left out, because they do not take these data: {', '.join(name for name, _ in self.left_out)}."]
            if self.left_out
            else []
        )
        notes, charts = [*self.notes, *meanings], [*drawn.charts(self.rows)]
        return Report("compare", tables, notes, self._verdict(), self.holds, whole=self.whole, charts=charts)

    def _verdict(self) -> str:
        """Return in a sentence how many rows hold, and why the others do not."""
        holding, count = sum(row.holds for row in self.rows), len(self.rows)
        if holding == count:
            each = f"{'the' if count == 1 else 'each'} loss is the likelihood up to its slope and a constant in mu"
            verdict = f"{'holds' if count == 1 else f'all {count} hold'}: {each}"
        else:
            verdict = (
                f"{holding} of {count} hold, the other{'s' * (count - holding > 1)} known not to: " if self.holds else "refuted: "
            )
            verdict += "; ".join(why(row) for row in self.rows if not row.holds)
        return verdict if self.whole else f"partial, interrupted: {verdict}"

    def _left_out(self) -> list[Table]:
        """Return the table of the likelihoods that were left out, where there are any."""
        rows = [LeftOut(*pair) for pair in self.left_out or ()]
        return [Table.of("left_out", LeftOut, rows)] if rows else []


@dataclass(frozen=True)
class CompareOptions:
    """How to measure, whatever the data: as :func:`compare` explains."""

    loss: Loss | None
    against: str | None
    engine: str
    gradients: str
    device: str
    dtype: str
    progress: Progress | None


@in_default_state
def compare(
    x: Any,
    mu: Any,
    *noise_models: Likelihood | str,
    loss: Loss | str | None = None,
    against: str | None = None,
    engine: str = "auto",
    gradients: str = "sample",
    device: str = "auto",
    dtype: str = "auto",
    data: str = "data",
    clip: bool = False,
    missing: str | None = None,
    mask: Any = None,
    weights: Any = None,
    totals: Any = None,
    progress: Progress | None = None,
) -> Comparison:
    """Measure each likelihood in ``noise_models`` against its own loss, or against ``loss``, on all of ``x`` and ``mu``.

    Arrays of anybody's, tables, data sets or loaders of one shape, the first axis counting samples; or words as on the
    command line, and paths (:func:`recon_cli.sources.source_of`). What is large and lies in files is read piece by piece.
    For a categorical ``x`` may be labels, for a decoder that gives several numbers an element they are a last axis of
    ``mu``. A likelihood or a loss is an object, or a word as on the command line; without one, gaussian. ``data`` names
    them in the result.
    ``clip`` keeps means that are outside a likelihood's domain just inside it, and says how many.

    against
        ``torch`` or ``scipy``: instead, each nll beside the library calls that people write for it.

    engine
        ``eager``, ``compile`` (torch's compiler, one pass over the data), or ``auto``: compile where it pays.

    gradients
        ``sample``: the eager engine measures gradients on an evenly spread sample of a million numbers at least
        (values on all); ``all``: on every element, as the compiled one does.

    missing, mask, weights
        ``nan``: NaN in ``x`` is a value that is not there. A mask, 0 where one is not there; a masked array's own is heeded.
        How much each value, sample or class counts. Sums and fits are of what is there; gradients are each element's own.

    totals
        out of how many each value of ``x`` counts, of its shape, one a sample, or alike for all samples: a binomial of as many
        trials each, ``mu`` being the share. Computed as the multinomial of (x, n - x), which it is.

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
    options = CompareOptions(likelihoods.as_loss(loss), against, engine, gradients, device, dtype, progress)
    reading = sources.ReadOptions(missing=missing, mask=mask, weights=weights, totals=totals)
    noise_models = tuple(likelihoods.with_totals(noise_models)) if totals is not None else noise_models
    if isinstance(x, (str, Path)) or isinstance(mu, (str, Path)):
        words = likelihoods.interpretations(noise_models)
        named = [likelihoods.as_likelihood(word) for word in noise_models or ("gaussian",)]
        comparison = _of_pair(sources.pair(x, mu, reading=reading), named, options, clip)
        return replace(comparison, notes=(*words, *comparison.notes))
    given, other = sources.Given(x, data, reading=reading), sources.Given(mu, "the reconstruction")
    values, means = (taken(source) for source in (given, other))
    sources.in_order(given, other)
    if given.partial or given.reading.partial or totals is not None:
        values = checked(given, values)
    if totals is not None:
        given_pairs = values if isinstance(values, Lazy) else values.cpu().numpy()
        pairs = sources.shares(means if isinstance(means, Lazy) else means.cpu().numpy(), given_pairs, other.word)
        means = pairs if isinstance(pairs, Lazy) else as_tensor(pairs)
    counts = Presence(given.partial, None if given.weights is None else as_tensor(given.weights))
    comparison = _measured(values, means, noise_models, options, data, clip, counts)
    said = (*given.remarks, *other.remarks, *_remarks.array_remarks(values, means, data))
    return replace(comparison, notes=(*said, *comparison.notes))


def taken(given: sources.Given) -> Tensor | Lazy:
    """Return the numbers of an object, as they are: tensors on their device."""
    import torch

    values = given.data if isinstance(given.data, torch.Tensor) else given.read()
    return values if isinstance(values, Lazy) else plain(values)


def checked(given: sources.Given, values: Tensor | Lazy) -> Tensor | Lazy:
    """Return values with NaN where they are not there, by what was said of them."""
    numbers = values if isinstance(values, Lazy) else values.cpu().numpy()
    seen = sources.observed(given, numbers, given.word, 1.0)[0]
    return seen if isinstance(seen, Lazy) else as_tensor(seen)


class Presence(NamedTuple):
    """Whether NaN is a value that is not there, and how much each value or sample counts; None where all count alike."""

    partial: bool = False
    weights: Tensor | None = None


def _measured(
    x: Tensor | Lazy,
    mu: Tensor | Lazy,
    noise_models: Sequence[Likelihood | str],
    options: CompareOptions,
    data: str,
    clip: bool,
    presence: Presence | None = None,
) -> Comparison:
    """Return ``compare`` of what is a tensor or lies in files, without remarks on what the data look like."""
    from recon_cli.likelihoods._by_decoder import sized, spread_out

    presence = presence or Presence()
    if options.against and presence.weights is not None:
        raise ReconError("--against sets each element beside a call, and weights mean nothing to it.", "Leave --weights out.")
    claimed = [likelihoods.as_likelihood(word) for word in noise_models or ("gaussian",)]
    if 0 in x.shape:
        raise ReconError("There is nothing to compare: the data are empty.")
    device, dtype = devices.device(options.device), devices.dtype(options.dtype, x if "float" in str(x.dtype) else mu)
    comparison = Comparison(notes=likelihoods.interpretations(noise_models))
    for one in claimed:
        likelihood = sized(spread_out(one, x.shape, mu.shape), x.shape, mu.shape)
        if likelihood is not one:
            numbers = f"{listed(likelihood.head)}: {likelihood}" if likelihood.sized_by else listed(likelihood.head)
            comparison = replace(comparison, notes=(*comparison.notes, f"The last axis of the reconstructions is {numbers}."))
        on = None
        if isinstance(likelihood.support, Lattice):
            on = elsewhere(likelihood, as_tensor(x.spread(SAMPLE)) if isinstance(x, Lazy) else x)
        case = admit(likelihood, options.loss, x, mu, device, dtype, data, clip, *presence, on)
        comparison += _identity(case, options) if options.against is None else _beside(case, options.against)
        if not comparison.whole:
            break
    return comparison


@in_default_state
def compare_sources(
    data: str = "digits",
    recon: str = "pca",
    noise_models: Sequence[Likelihood] = (),
    *,
    loss: Loss | None = None,
    everything: bool = False,
    against: str | None = None,
    engine: str = "auto",
    gradients: str = "sample",
    binarize: str | None = None,
    scale: float | None = None,
    recon_scale: float | None = None,
    recon_offset: float = 0.0,
    device: str = "auto",
    dtype: str = "auto",
    seed: int = 0,
    trust: bool = False,
    reading: sources.ReadOptions | None = None,
    progress: Progress | None = None,
) -> Comparison:
    """Return ``compare`` on sources named as on the command line.

    Without ``noise_models``: that of the run whose reconstructions they are; else gaussian, and bernoulli on the same data made
    0 or 1 (where they allow it). With ``everything``: every likelihood of the registry; those that these data are outside of,
    with the reason. ``scale`` divides the data and ``recon_scale`` the reconstructions in a file, less
    ``recon_offset``; None is each source's own.
    With ``trust`` the code of a run's own model may be run; ``reading`` is how the data are read.
    """
    options = CompareOptions(loss, against, engine, gradients, device, dtype, progress)
    read = partial(
        sources.pair, data, recon, seed=seed, scale=scale, recon_scale=recon_scale, recon_offset=recon_offset, trust=trust,
        reading=reading,
    )  # fmt: skip
    pair = read(binarize=binarize)
    if reading is not None and reading.totals is not None:
        if everything:
            raise ReconError("--all is of every family, and totals are a binomial's.", "Leave --all out.")
        return _of_pair(pair, likelihoods.with_totals(noise_models), options)
    if everything:
        return _every(pair, noise_models, options)
    if not noise_models and pair.likelihood is not None:
        note = f"{pair.likelihood} is what the run was trained under; --likelihood names another."
        return _of_pair(pair, [pair.likelihood], options) + Comparison(notes=(note,))
    if noise_models:
        return _of_pair(pair, noise_models, options)
    gaussian = _of_pair(pair, [likelihoods.parse("gaussian")], options)
    if loss is not None or not gaussian.whole:
        return gaussian
    if isinstance(pair.x, Lazy):
        return gaussian + Comparison(notes=("Of files this large only gaussian is measured, unless you name others.",))
    for name, values in (("the data", pair.x), ("the reconstructions", pair.x if pair.fitted else pair.mu)):
        low, high = numpy.nanmin(values), numpy.nanmax(values)
        if low < 0 or high > 1:
            span = f"{name} run from {low:g} to {high:g}"
            return gaussian + Comparison(notes=(f"bernoulli is left out: {span}, and it takes shares from 0 to 1.",))
    binary = pair if binarize else read(binarize="threshold")
    bernoulli = _of_pair(binary, [likelihoods.parse("bernoulli")], options, clip=True)
    note = f"bernoulli is measured on {binary.named}: each value made 0 or 1, because that is where it is a density."
    return gaussian + replace(bernoulli, notes=(note, *bernoulli.notes[1 + len(binary.remarks) :]))


def _of_pair(pair: sources.Pair, noise_models: Sequence[Likelihood], options: CompareOptions, clip: bool = False) -> Comparison:
    """Measure likelihoods on data and their reconstructions, the means kept inside the domain where recon made them."""
    comparison = Comparison(notes=(pair.described, *pair.remarks))
    presence = Presence(pair.partial, None if pair.weights is None else as_tensor(pair.weights))
    for likelihood in noise_models:
        outputs = pair.outputs(likelihood.head)
        x, mu = (values if isinstance(values, Lazy) else as_tensor(values) for values in (pair.x, outputs))
        comparison += _measured(x, mu, [likelihood], options, pair.named, pair.fitted or clip, presence)
        if not comparison.whole:
            break
    return comparison


def _every(pair: sources.Pair, noise_models: Sequence[Likelihood], options: CompareOptions) -> Comparison:
    """Measure each likelihood of the registry, as in ``noise_models`` or at its usual noise; what does not fit is left out."""
    asked = {likelihood.name: likelihood for likelihood in noise_models}
    x = as_tensor(pair.x.spread(SAMPLE) if isinstance(pair.x, Lazy) else pair.x)
    comparison = Comparison(notes=(pair.described, *pair.remarks), left_out=())
    for name in likelihoods.names():
        likelihood = asked.get(name) or likelihoods.find(name).designed(x)
        try:
            if name not in asked and (reason := likelihood.unasked(x)):
                raise ReconError(reason)
            if likelihood.relaxation and not likelihood.support.holds(x):
                expression = f"{likelihood.relaxation}'s, without the normaliser"
                raise ReconError(f"neither 0 nor 1 in places; there its expression is {expression}")
            comparison += replace(_of_pair(pair, [likelihood], options), notes=(), left_out=())
        except ReconError as error:
            comparison += Comparison(left_out=((name, error.reason),))
        if not comparison.whole:
            break
    return comparison


def _beside(case: ComparisonCase, library: str) -> Comparison:
    """Set the nll of a case beside the calls of a library."""
    case, piece = case.whole()
    likelihood = case.claim.measured
    rows = [beside.against(likelihood, call, piece.x, piece.mu, case.data) for call in calls(likelihood, library)]
    none = () if rows else (f"{likelihood.name}: nothing that people write for it in {library} is known.",)
    return Comparison(notes=(*case.notes(piece.admitted), *none), calls=tuple(rows))


def _proportion(measured: engines.Measured) -> Proportion | None:
    """Measure whether a loss that no formula makes the likelihood's own is it on these data, and its slope then."""
    case, claim = measured.case, measured.case.claim
    if claim.measured is not claim.likelihood or claim.likelihood.head or claim.loss.reason:
        return None
    x, mu = measured.x.to(case.dtype), measured.mu.to(case.dtype)
    return proportion(claim.likelihood.nll, of_loss(claim.loss), claim.likelihood, x, mu)


def _soft(likelihood: Likelihood, x: Tensor, nll: float, events: int) -> tuple[str, ...]:
    """Return what soft labels mean: the cross-entropy is a divergence and their own entropy, below which nothing is."""
    if likelihood.mixtures is None or bool(likelihood.support.contains(x).all()):
        return ()
    shares = wide(x)
    entropy = -(shares * shares.where(shares > 0, 1).log()).sum().item() / x[..., 0].numel()
    about = "" if x[..., 0].numel() == events else "about "
    return (
        f"The labels are soft, shares of classes: the nll is the mean over labels drawn from them, their own entropy H(q) = "
        f"{about}{entropy:.6g} nats and the divergence KL(q || p) = {about}{nll - entropy:.6g}. No probabilities cost less "
        "than H(q).",
    )


def _identity(case: ComparisonCase, options: CompareOptions) -> Comparison:
    """Measure a case, and return its row with the notes."""
    measured = engines.run(case, options.engine, options.gradients, options.progress)
    case, tally, claim = measured.case, measured.tally, measured.case.claim
    if tally.loss_square and not tally.ratio_elements:
        raise engines.beyond(case, measured.x, measured.mu, replace(tally, infinite=tally.elements))
    row = identity(claim, tally, case.dtype, case.data, partial(_proportion, measured))
    row = replace(row, sampled=drawn.sampled(claim, tally, measured.x, measured.mu))
    is_bytes = str(case.x.dtype).endswith("uint8")
    if (width := spacing(measured.x.byte() if is_bytes else measured.x)) and not claim.likelihood.event:
        row = replace(row, bits_per_dimension=bits_per_dimension(row.nll, width, claim.likelihood.discrete))
    notes = (*case.notes(tally), *measured.notes, *_soft(claim.measured, measured.x, row.nll, tally.elements))
    if row.holds:
        row = replace(row, sample=tally.elements / len(case.mu))
        row = with_best_noise(row, claim.likelihood, measured.x, measured.mu, measured.weights)
    if row.here:
        name = claim.likelihood.name
        notes += (f"{claim.loss} is {name}'s own loss on these data: as measured at them, and for means nearer to them.",)
    if not measured.whole:
        notes += (f"Interrupted: only {tally.elements:,} of {case.events:,} elements were measured.",)
    return Comparison((row,), notes, whole=measured.whole)
