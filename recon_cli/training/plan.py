"""A run before its first step: words read, data there, everything checked."""

from __future__ import annotations

import copy
import dataclasses
import math
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy
import torch

from recon_cli import likelihoods, models, sources
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.regions import COUNT, REAL, Interval, check
from recon_cli.likelihoods._by_decoder import floored
from recon_cli.likelihoods._grey_levels import elsewhere
from recon_cli.models import _references as references
from recon_cli.models._base import Model, Task
from recon_cli.models._options import number, of_type, outside
from recon_cli.report import version
from recon_cli.runtime import devices, processes
from recon_cli.training.loop import State
from recon_cli.training.noises import start
from recon_cli.training.settings import Settings, noise, trained
from recon_cli.training.shared import SharedState, shareable
from recon_cli.training.targets import Labelled, joined, labels, listed, one_hot, others, targets_of
from recon_cli.training.validation import Validation

if TYPE_CHECKING:
    from torch import Tensor
    from typing_extensions import Unpack

    from recon_cli.models._options import Keywords

Data: TypeAlias = Any  # a word, a path, or whatever recon_cli.sources.source_of takes


class Samples(NamedTuple):
    """The data of a run: what to call them, what they are, their values in float32, shape (N, ...); names of columns; remarks.

    And what each value counts, and each sample, 0 where it is not there; None where all count alike.
    """

    word: str
    described: str
    values: sources.Array
    columns: Sequence[str]
    remarks: tuple[str, ...]
    weights: sources.Array | None = None
    shares: sources.Array | None = None


@dataclass(frozen=True)
class Plan:
    """A run before its first step: what was asked for, checked, the data, and the model as it begins.

    whose
        whose the noise is: ``fixed``, ``learned``, ``optimal`` or ``per-element``.
    train_rows, validation_rows, held_out
        the training rows, those for validation and those held out, (N, D) each.
    grey
        the share of values at which a discrete likelihood is no density of the data.
    config
        what ``config.json`` says.
    columns
        what the columns of a table are called, where some of them are predicted.
    loss
        trained on instead of the nll; None where that is.
    remarks
        what the data may be instead of what they are taken for.
    """

    settings: Settings
    likelihood: Likelihood
    whose: str
    word: str
    described: str
    shape: tuple[int, ...]
    train_rows: Tensor
    validation_rows: Tensor
    held_out: Tensor
    grey: float
    config: dict[str, Any]
    model: Model
    columns: tuple[str, ...] = ()
    loss: Loss | None = None
    remarks: tuple[str, ...] = ()

    @classmethod
    def of(
        cls, data: Data = "digits", likelihood: str | Likelihood = "gaussian", sigma: float | str | None = None,
        device: str = "auto", binarize: str | None = None, scale: float | None = None,
        reading: sources.ReadOptions | None = None, **keywords: Unpack[Keywords],
    ) -> Plan:  # fmt: skip
        """Return the plan of a run, everything read and checked, nothing written. As for ``train``."""
        sensible(likelihood, device, binarize, scale)
        module = keywords.get("model", "mlp")
        keywords["model"] = references.spelled(module)
        kind = models.kind(keywords["model"])
        reading = reading or sources.ReadOptions()
        both = data if isinstance(data, tuple) else sources.pairs(data) if kind.supervised else None
        if kind.supervised and both is not None:
            data, keywords["target"] = joined(both, keywords.get("target"))
        settings = Settings.asked(**keywords)
        likelihood = as_totals_have_it(likelihood, reading)
        parsed, whose = noise(likelihood, sigma)
        parsed = parsed.admitted()
        if parsed.head and settings.sigma_floor:
            parsed = floored(parsed, settings.sigma_floor)
        if settings.exact and reading.partial:
            raise ReconError("--exact takes no masks, missing values or weights.", "Leave --exact out.")
        loss = None
        if settings.loss:
            loss, whose = trained(settings.loss, parsed, whose, sigma)
        if settings.exact and parsed.name != "gaussian":
            raise ReconError(f"--exact is of the gaussian likelihood; {parsed.name} has no closed form.", "Leave --exact out.")
        if settings.exact and whose == "per-element":
            raise ReconError("--exact is of one noise for all elements, and --sigma is per-element.", "Leave --exact out.")
        where = devices.device(device)
        word, described, values, columns, remarks, weights, shares = samples(
            data, binarize, scale, settings.seed, kind.supervised, reading
        )
        targets: tuple[int, ...] = ()
        if kind.supervised:
            targets = targets_of(settings.target, columns, values, word)
            named, columns = [labels(columns, values.shape[1])[at] for at in targets], labels(columns, values.shape[1])
            described += f"; {listed(named)} from {others(columns, targets)}"
        given = Labelled(values, targets, (*columns,), "")
        (values, targets, columns, about), events = with_events(parsed, given, word, weights is None)
        parsed, end = as_data_have_it(parsed, likelihood, events, word)
        remarks += tuple(filter(None, (about, end)))
        parsed = parsed.of_vectors(events.shape[-1])
        if (on := elsewhere(parsed, events)) is not None:
            values, events = on.to_unit(torch.from_numpy(values)).numpy(), on.to_unit(events)
            remarks += (f"{word}: its levels, {on}, are taken to [0, 1] for {parsed.name}: all numbers are in units of that.",)
        if weights is not None:
            check_whole(parsed, weights)
            chosen = torch.from_numpy(weights.reshape(values.shape))
            chosen = chosen[:, targets] if kind.supervised else chosen
            events = events.reshape(chosen.shape)[chosen > 0] if not parsed.event else events
        grey = beyond(parsed, events, word)
        if loss is not None:
            check(events, loss.support, f"the data ({word})", f"{loss.name} allows")
        lines, count = values.reshape(len(values), -1), math.prod(values.shape[1:])
        if weights is not None and shares is not None:
            lines = numpy.concatenate([lines, weights.reshape(len(values), -1), shares[:, None]], axis=1).astype(numpy.float32)
        rest, last = sources.split(lines, settings.holdout, word)
        parts = (*sources.split(rest, settings.validation, f"the training part of {word}"), last)
        train_rows, validation_rows, held_out = (torch.from_numpy(part).to(where) for part in parts)
        shape = values.shape[1:] or (1,)
        if weights is not None:
            middle = filling(train_rows, count, parsed)
            for part in (train_rows, validation_rows, held_out):
                part[:, :count] = part[:, :count].where(~part[:, :count].isnan(), middle)
        model = kind.begin(Task(train_rows[:, :count], parsed, shape, targets, module), settings)
        settings = dataclasses.replace(settings, latent=model.latents)
        fingerprint = f"{len(values)}:{zlib.crc32(numpy.ascontiguousarray(values if weights is None else lines).data):08x}"
        config = {
            "version": version(), "data": word, "shape": shape, "rows": fingerprint,
            "binarize": binarize, "scale": scale, **reading.words,
            "likelihood": likelihood if isinstance(likelihood, str) else parsed.spelled(exact=True),
            "sigma": sigma, "noise": whose,
            **vars(settings), **model.provenance(), **likelihoods.provenance(parsed),
            "device": where.type if processes.is_distributed() else str(where),
        }  # fmt: skip
        shareable(settings, len(train_rows), config)
        return cls(
            settings, parsed, whose, word, described, shape, train_rows, validation_rows, held_out, grey, config, model,
            (*columns,), loss, remarks,
        )  # fmt: skip

    def state(self) -> State:
        """Return the state before the first step, of a copy of the model."""
        rows, settings = self.train_rows, self.settings
        model = copy.deepcopy(self.model).to(rows.device)
        weights = None if (counts := model.counts(rows)) is None else counts.events
        noise_rule = start(self.likelihood, self.whose, model.target(rows), settings.sigma_floor, weights).to(rows.device)
        state = (SharedState if processes.is_distributed() else State)(model, noise_rule, rows, settings)
        state.watch = Validation(model, noise_rule, settings, self.validation_rows)
        return state


def as_totals_have_it(likelihood: str | Likelihood, reading: sources.ReadOptions) -> str | Likelihood:
    """Return the likelihood, or where values have totals of their own what it is then: of the usual one the multinomial."""
    if reading.totals is None:
        return likelihood
    return likelihoods.with_totals([] if likelihood == "gaussian" else [likelihood])[0].name


def with_events(parsed: Likelihood, given: Labelled, word: str, whole: bool) -> tuple[Labelled, Tensor]:
    """Return samples, their labels as one-hot vectors where the likelihood is of classes, and what of them it is of."""
    given = one_hot(parsed, given.values, given.targets, given.columns, word) if whole else given
    events = torch.from_numpy(given.values)
    if given.targets:
        events = events[:, None, given.targets] if parsed.event else events[:, given.targets]
    return given, events


def as_data_have_it(parsed: Likelihood, asked: str | Likelihood, x: Tensor, word: str) -> tuple[Likelihood, str]:
    """Return the likelihood of whole numbers up to an end that nobody named with the end that the data have, and so in words."""
    region = parsed.support
    named = not isinstance(asked, str) or any(f"{name}=" in asked for name in parsed.design)
    if named or not (parsed.design and isinstance(region, Interval) and region.whole) or not COUNT.holds(x):
        return parsed, ""
    own = dataclasses.replace(parsed, **type(parsed).designed(x).design).admitted()
    return (
        own,
        f"{word}: {own.name} is of {own.support}, as the data are; another end is named as in {own}." if own != parsed else "",
    )


def sensible(likelihood: object, device: object, binarize: object, scale: object) -> None:
    """Raise ReconError for what is neither a word nor a number where it must be one."""
    if not isinstance(likelihood, (str, Likelihood)):
        raise ReconError(f"--likelihood must be a word, or in Python a Likelihood; found {likelihood!r}.", "Try gaussian.")
    if not isinstance(device, str):
        raise ReconError(f"--device must be a word; found {device!r}.", "Try --device auto.")
    if binarize not in (None, "threshold", "sample"):
        raise unknown("way to binarize", str(binarize), ["threshold", "sample"])
    if scale is not None:
        positive = number("a positive number", lambda value: 0 < value < math.inf, "255")
        if not positive.contains(of_type("scale", "float", scale)):
            raise outside("scale", scale, positive)


def check_whole(likelihood: Likelihood, weights: sources.Array) -> None:
    """Raise ReconError where a likelihood of vectors would have some numbers of a vector count otherwise than the others."""
    each = weights.reshape(-1, weights.shape[-1]) if weights.ndim > 1 else weights[:, None]
    if likelihood.event and (each != each[:, :1]).any():
        raise ReconError(
            f"{likelihood.name} takes vectors, and here some of their numbers are not there, or count otherwise than the others.",
            "Leave those samples out, or give weights of samples.",
        )


def filling(rows: Tensor, count: int, likelihood: Likelihood) -> Tensor:
    """Return what stands where a value of a column is not there: what the encoder sees, and the nll counts for nothing.

    The mean of those of ``rows`` that are there; the nearest of them, where the likelihood takes not all real numbers.
    """
    x, weights = rows[:, :count].double(), rows[:, count : 2 * count].double()
    there = weights > 0
    values = x.where(there, 0)
    mean = (weights * values).sum(dim=0) / weights.sum(dim=0).clamp(min=1e-300)
    if likelihood.support != REAL:
        far = (values - mean).abs().where(there, math.inf)
        mean = values.gather(0, far.argmin(dim=0, keepdim=True))[0]
    return mean.float()


def samples(
    data: Data,
    binarize: str | None,
    scale: float | None,
    seed: int,
    labels: bool = False,
    reading: sources.ReadOptions | None = None,
) -> Samples:
    """Return the data of a run, read, divided and made 0 or 1 as asked for. Raises ReconError for what float32 cannot hold."""
    source, word = sources.source_of(data, "data", seed, reading)
    source.labels = labels
    read, about = sources.samples(source, word, scale)
    if not isinstance(data, (str, Path)):
        about = about.removesuffix(", taken as they are")
    values = numpy.asarray(sources.binarized(numpy.asarray(read), binarize, seed, word))
    how = {None: "", "threshold": ", made 0 or 1 at one half", "sample": ", made 0 or 1 by chance"}[binarize]
    with numpy.errstate(over="ignore"):
        single = values.astype(numpy.float32, copy=not values.flags.writeable)
    if numpy.isinf(single).any():
        most = numpy.nanmax(abs(values))
        raise ReconError(f"{word} has values up to {most:g}, beyond the range of float32.", "Rescale the data.")
    weights, shares, remarks = None, None, source.remarks
    if source.weights is not None and source.weights.ndim == 1:
        chosen = source.weights > 0  # a sample that weighs nothing is not there
        source.weights, single = source.weights[chosen], single[chosen]
    if source.partial or source.weights is not None:
        weights, shares = weights_of(source, single)
        remarks += (f"{word}: the encoder sees the mean of its column where a value is not there; the nll counts what is there.",)
    return Samples(word, about + how, single, source.columns, remarks, weights, shares)


def weights_of(source: sources.Source, values: sources.Array) -> tuple[sources.Array, sources.Array]:
    """Return what each value counts, of their shape, and each sample, (N,): on average 1, of those that are there.

    Weights of samples are also what their KL counts; those of values are not.
    """
    there, given = (~numpy.isnan(values)).astype(numpy.float64), source.weights
    shares = given / given.mean() if given is not None and given.ndim == 1 else numpy.ones(len(values))
    if given is not None and given.shape == values.shape and given.ndim > 1:
        there *= given > 0
        return there * given * (there.sum() / (there * given).sum()), shares
    return there * shares.reshape(-1, *(1,) * (values.ndim - 1)), shares


def beyond(likelihood: Likelihood, x: Tensor, word: str) -> float:
    """Return the share of ``x`` where ``likelihood`` is no density but its relaxation is; 0 where it is one of everything.

    Raises ReconError for values outside both.
    """
    outside = ~likelihood.support.contains(x)
    wider = likelihoods.parse(likelihood.relaxation) if likelihood.relaxation and outside.any() else likelihood
    check(x, wider.support, f"the data ({word})", f"{likelihood.name} allows")
    return float(outside.double().mean())
