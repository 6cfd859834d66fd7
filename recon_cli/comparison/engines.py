"""Two ways through the same measurement: piece by piece as it is, or compiled into one pass over the data."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from recon_cli.comparison import kernels
from recon_cli.comparison.cases import GROUP, ComparisonCase, OutsideSupport, Piece
from recon_cli.comparison.kernels import Found, Kind
from recon_cli.comparison.tally import Tally, chunks, measure
from recon_cli.comparison.warming import make_in_background
from recon_cli.errors import ReconError, unknown
from recon_cli.runtime import devices, processes
from recon_cli.runtime.devices import Uncompiled
from recon_cli.runtime.threads import shared_out
from recon_cli.sources._values import numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from recon_cli.comparison.tally import Reduction
    from recon_cli.runtime.threads import WorkSpread

    Progress = Callable[[int, str], None]
    Part = tuple[Tensor, Tensor, Tensor | None]

ENGINES = ("auto", "eager", "compile")
GRADIENTS = ("sample", "all")
LARGE = 31 << 20  # bytes
# Numbers; on a GPU as many times more as its width is.
PAYS = 1 << 29  # below, the seconds of compiling are more than it saves
PAYS_NEXT_TIME = 1 << 25  # from here on a kernel is made in the background
PAYS_WHEN_KEPT = 1 << 22  # below, loading a kernel that was compiled before saves nothing


@dataclass(frozen=True)
class Measured:
    """The tally of a case, data and means of the sample whose gradients were measured, and how, in words.

    ``whole`` is whether all elements were measured: Ctrl-C ends the measurement early, and what was measured remains.
    """

    case: ComparisonCase
    tally: Tally
    x: Tensor
    mu: Tensor
    notes: tuple[str, ...] = ()
    whole: bool = True
    weights: Tensor | None = None


def run(case: ComparisonCase, engine: str = "auto", gradients: str = "sample", progress: Progress | None = None) -> Measured:
    """Measure all of a case: with its likelihood, or with the relaxation of that where the data leave its support.

    engine
        ``eager``, ``compile``, or ``auto``: compiled where that pays, and where it fails piece by piece. With
        ``compile`` a failure is a ReconError.
    gradients
        ``sample``: compiled on every element, eager on an evenly spread sample of a million numbers at least;
        ``all``: on every element.
    progress
        called after each piece with how many hundredths are done, and with the likelihood's name and the speed.

    Of several processes each measures its share of the samples, and all get the whole.
    """
    for word, words, what in ((engine, ENGINES, "engine"), (gradients, GRADIENTS, "choice of gradients")):
        if word not in words:
            raise unknown(what, word, words)
    try:
        return _by_engine(case, engine, gradients, progress)
    except OutsideSupport:
        return _by_engine(case.relaxed(), engine, gradients, progress)


def compiles(engine: str, case: ComparisonCase) -> bool:
    """Return whether an engine compiles a measurement: ``auto`` does where that pays, with a kernel that was kept much sooner."""
    if engine != "auto":
        return engine == "compile"
    numbers = case.numbers / devices.width(case.device)
    kept = numbers >= PAYS_WHEN_KEPT and case.device.type == "cpu" and kernels.is_kept(Kind.of(case))
    return numbers >= PAYS or all(processes.all_gather(kept))


def _by_engine(case: ComparisonCase, engine: str, gradients: str, progress: Progress | None) -> Measured:
    """Measure a case compiled where that is asked for or pays, and piece by piece where ``auto`` fails to compile."""
    if case.picked and engine == "compile":
        raise ReconError("--engine compile takes no masks, missing values or weights.", "Use --engine eager.")
    if case.picked or not compiles(engine, case):
        measured = _measured(case, Found(), gradients, progress)
        if engine != "auto" or case.picked or case.device.type != "cpu" or case.numbers < PAYS_NEXT_TIME or not measured.whole:
            return measured
        return replace(measured, notes=(*measured.notes, *make_in_background(Kind.of(case))))
    try:
        return _measured(case, _found(case, progress), gradients, progress)
    except Uncompiled as error:
        if engine == "compile":
            raise ReconError(error.message, "Use --engine eager; the numbers are the same.") from error
        measured = _measured(case, Found(), gradients, progress)
        return replace(measured, notes=(f"Measured piece by piece: the compiler failed here ({error.reason}).", *measured.notes))


def _found(case: ComparisonCase, progress: Progress | None) -> Found:
    """Return how to reduce pieces, compiled in every process. Raises Uncompiled in all of them where one cannot."""

    def say(words: str) -> None:
        if progress:
            progress(0, f"{case.claim.measured.name}, {words}")

    try:
        found, reason = kernels.find(case, say), ""
    except Uncompiled as error:
        found, reason = Found(), error.reason
    outcomes = processes.all_gather((reason, found.notes))
    if failed := [reason for reason, _ in outcomes if reason]:
        raise Uncompiled(RuntimeError(failed[0]))
    return found._replace(notes=tuple(dict.fromkeys(note for _, notes in outcomes for note in notes)))


def _measured(case: ComparisonCase, found: Found, gradients: str, progress: Progress | None) -> Measured:
    """Measure this process's share of the samples in one way, and return everybody's together."""
    import torch

    compiled = found.reduction is not None
    case = replace(case, sample=case.sample // 8) if compiled else case  # the range of the ratios it takes from all
    everywhere = compiled or gradients == "all" or case.stride == 1
    keep_what_is_freed()
    with shared_out(case.device.type == "cpu") as spread:
        try:
            share = _share(case, found, everywhere, progress, spread)
        except OutsideSupport as error:  # here, and so for every process
            processes.all_gather(error)
            raise
        shares = processes.all_gather(share)
        tally = sum((each.tally for each in shares), Tally())
        samples = [each.sample for each in shares if each.sample]  # of few data a process may have no share
        x, mu, *weights = (torch.cat(parts).to(case.device) for parts in zip(*samples, strict=True))
        if case.stride > 1 or compiled:
            parts = [*chunks(case.claim.measured, x, mu)]
            tally = tally.sampled_by(sum(spread(lambda part: measure(case.claim, *part), parts), Tally()))
    notes, whole = (*found.notes, *_method(case, compiled, everywhere, tally)), all(each.whole for each in shares)
    return Measured(case, tally, x, mu, notes, whole, weights[0] if weights else None)


def keep_what_is_freed() -> None:
    """Have the C library keep memory that is freed for the next chunk, and not give back its pages and ask for them anew.

    glibc keeps twice the largest piece that it has seen freed, of at most 32 MB: it is shown one, of which no page is touched.
    """
    import torch

    torch.empty(LARGE, dtype=torch.uint8)


class _Share(NamedTuple):
    """What one process measured: its tally, data and means of its sample, and whether it was not interrupted."""

    tally: Tally
    sample: list[Tensor]
    whole: bool


def _share(case: ComparisonCase, found: Found, everywhere: bool, progress: Progress | None, spread: WorkSpread) -> _Share:
    """Measure this process's share of the samples, piece by piece; Ctrl-C ends it with what was measured."""
    blocks = processes.share(-(-len(case.mu) // case.block))
    first, last = blocks[0] * case.block, min(blocks[1] * case.block, len(case.mu))
    numbers = max(1, (last - first) * (case.numbers // len(case.mu)))
    tally, sample, measured_numbers, size, start = Tally(), Sample(case), 0, 0, time.monotonic()
    try:
        for piece in case.pieces(first, last):
            if not len(piece.mu):
                continue
            size = size or piece.mu.numel()
            fits = piece.mu.numel() == size or (found.any_size and len(piece.mu) > 1)
            part = _tally(case, piece, found.reduction if fits else None, everywhere, sample, spread)
            tally, measured_numbers = tally + part + piece.admitted, measured_numbers + piece.mu.numel()
            if progress:
                rate = measured_numbers * piece.mu.element_size() * 2 / (time.monotonic() - start) / 1e9
                progress(100 * measured_numbers // numbers, f"{case.claim.measured.name}, {rate:.2g} GB/s")
    except KeyboardInterrupt:
        if not tally.elements:
            raise
        return _Share(tally, sample.tensors(), False)
    return _Share(tally, sample.tensors(), True)


def _tally(
    case: ComparisonCase, piece: Piece, reduction: Reduction | None, everywhere: bool, sample: Sample, spread: WorkSpread
) -> Tally:
    """Measure a piece, and put the events of it that are sampled into ``sample``."""
    events, points = next(chunks(case.claim.measured, piece.x, piece.mu, piece.mu.numel()))
    sample.add(piece.start, events, points, *([] if piece.weights is None else [piece.weights]))
    if reduction is not None:
        parts = kernels.divided(case.claim, events, points, reduction)
        tally = replace(sum((measure(case.claim, *part, reduction=by) for part, by in parts), Tally()), ratios=())
    else:

        def measured(part: Part) -> Tally:
            x, mu, weights = part
            tally = measure(case.claim, x, mu, gradients=everywhere, weights=weights)
            # Where there is a sample, the ratios are those of its elements: those of all would fill the memory.
            return replace(tally, ratios=() if case.stride > 1 else tuple(each.cpu() for each in tally.ratios))

        tally = sum(spread(measured, [*case.parts(piece)]), Tally())
    if tally.infinite:
        raise beyond(case, piece.x, piece.mu, tally, piece.start // max(1, case.events // len(case.mu)))
    return tally


class Sample:
    """The events of a case that are sampled, one piece after another, in room that is made once: so memory stays whole."""

    def __init__(self, case: ComparisonCase) -> None:
        self.case, self.count = case, 0
        self._rooms: list[Tensor] = []

    def add(self, start: int, x: Tensor, mu: Tensor, *weights: Tensor) -> None:
        """Add those events of a piece that are sampled; ``start`` is the place of its first event among all."""
        import torch

        places, run = self.case.sampled(start, len(mu))
        places, count = places.to(mu.device), len(places) * run
        parts = (x, mu, *weights)
        if not self._rooms:
            most = min(self.case.events, (self.case.events // (self.case.stride * GROUP) + 2) * GROUP)
            self._rooms = [part.new_empty((most, *part.shape[1:])) for part in parts]
        for room, part in zip(self._rooms, parts, strict=True):
            free = room[self.count : self.count + count].unflatten(0, (-1, run))
            torch.index_select(part.unflatten(0, (-1, run)), 0, places, out=free)
        self.count += count

    def tensors(self) -> list[Tensor]:
        """Return data and means of the sample, and weights if any, on the CPU; nothing where there was no piece."""
        return [room[: self.count].cpu() for room in self._rooms]


def _method(case: ComparisonCase, compiled: bool, everywhere: bool, tally: Tally) -> tuple[str, ...]:
    """Return sentences on how a case was measured: none for the usual way."""
    notes = []
    if compiled:
        notes.append(f"Measured by the compiler in one pass, for {case.numbers:,} numbers: values and the ratio's range on all.")
    if not everywhere:
        notes.append(
            f"Values on all elements; gradients, and the noise that the data would choose, on one in {case.stride:,}, evenly "
            f"spread ({tally.sampled:,} numbers): --gradients all takes every gradient."
        )
    return tuple(notes)


def beyond(case: ComparisonCase, x: Tensor, mu: Tensor, tally: Tally, first: int = 0) -> ReconError:
    """Return the error for values or gradients that are not finite, in samples from ``first`` on."""
    likelihood, loss = case.claim.measured, case.claim.loss
    try:
        for values, name in ((x, case.data), (mu, "the reconstruction")):
            numbers(values.cpu().double().numpy(), name, first)
    except ReconError as error:
        return error
    if ((mu == likelihood.domain.low) | (mu == likelihood.domain.high)).any():
        return ReconError(
            f"{likelihood.name} gives {tally.infinite:,} of {tally.elements:,} elements no chance at all: the mean is exactly "
            f"at an end of {likelihood.domain}, which rules out what the data are.",
            "Keep the means a little inside, as the sigmoid or the softmax of the decoder's output would be.",
        )
    dtype, count = str(x.dtype)[6:], f"{tally.infinite:,} of {tally.elements:,} elements"
    return ReconError(
        f"{likelihood} and {loss.name} leave the range of {dtype} on {count}.",
        "Rescale the data, choose a noise in their units, or use --dtype float64.",
    )
