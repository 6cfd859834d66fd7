"""Two ways through the same measurement: piece by piece as it is, or compiled into one pass over the data."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from recon_cli.comparison.cases import GROUP, Case, Foreign
from recon_cli.comparison.tally import Tally, chunks, measure
from recon_cli.errors import ReconError, unknown
from recon_cli.runtime import processes
from recon_cli.runtime.devices import Uncompiled
from recon_cli.sources._values import numbers

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    Progress = Callable[[int, str], None]

ENGINES = ("auto", "eager", "compile")
GRADIENTS = ("sample", "all")
PAYS = 1 << 29  # numbers: below, the seconds of compiling are more than it saves


@dataclass(frozen=True)
class Measured:
    """The tally of a case, the sample it was told by, and how it was come by.

    ``whole`` is whether all elements were seen: Ctrl-C ends the measurement early, and what was seen remains.
    """

    case: Case
    tally: Tally
    x: Tensor
    mu: Tensor
    notes: tuple[str, ...] = ()
    whole: bool = True


def run(case: Case, engine: str = "auto", gradients: str = "sample", progress: Progress | None = None) -> Measured:
    """Measure all of a case: with its likelihood, or with the relaxation of that where the data are only that one's.

    engine
        ``eager``, ``compile``, or ``auto``: the compiler where it pays, and where it fails the usual way. With
        ``compile`` its failure is a ReconError.
    gradients
        ``sample``: compiled on every element, eager on an evenly spread sample of a million numbers at least;
        ``all``: on every element.
    progress
        called after each piece with how many hundredths are done, and with whose they are.

    Of several processes each measures its share of the samples, and all get the whole.
    """
    for word, known, what in ((engine, ENGINES, "engine"), (gradients, GRADIENTS, "choice of gradients")):
        if word not in known:
            raise unknown(what, word, known)
    try:
        return _run(case, engine, gradients, progress)
    except Foreign:
        return _run(case.relaxed(), engine, gradients, progress)


def compiles(engine: str, numbers: int) -> bool:
    """Whether an engine goes through the compiler."""
    return engine == "compile" or (engine == "auto" and numbers >= PAYS)


def _run(case: Case, engine: str, gradients: str, progress: Progress | None) -> Measured:
    if not compiles(engine, case.numbers):
        return _through(case, False, gradients, progress)
    try:
        return _through(case, True, gradients, progress)
    except Uncompiled as error:
        if engine == "compile":
            raise ReconError(error.message, "Use --engine eager; the numbers are the same.") from error
        found = _through(case, False, gradients, progress)
        return replace(found, notes=(f"Measured piece by piece: the compiler failed here ({error.reason}).", *found.notes))


def _through(case: Case, compiled: bool, gradients: str, progress: Progress | None) -> Measured:
    """One way through this process's share of the samples, and then everybody's together."""
    import torch

    case = replace(case, sample=case.sample // 8) if compiled else case  # the range of the ratios it takes from all
    side, loss, claim, stride = case.side, case.loss, case.claim, case.stride
    everywhere = compiled or gradients == "all" or stride == 1
    found, sample, done, whole, size, begun = Tally(), Sample(case), 0, True, 0, time.monotonic()
    first, last = processes.share(-(-len(case.mu) // case.block))
    first, last = first * case.block, min(last * case.block, len(case.mu))
    share = max(1, (last - first) * (case.numbers // len(case.mu)))
    try:
        for x, mu, admitted, at in case.pieces(first, last):
            (events, points), size = next(chunks(side, x, mu, mu.numel())), size or mu.numel()
            sample.take(at, events, points)
            if compiled and mu.numel() == size:
                part = measure(side, events, points, loss, claim, compiled=True)
            else:
                part = sum((measure(side, *each, loss, claim, everywhere) for each in case.parts(x, mu)), Tally())
            if part.infinite:
                raise beyond(case, x, mu, part, at // max(1, case.events // len(case.mu)))
            if stride > 1:  # the sample tells the ratios: those of all elements would fill the memory
                part = replace(part, ratios=())
            found, done = found + part + admitted, done + mu.numel()
            if progress:
                rate = done * mu.element_size() * 2 / (time.monotonic() - begun) / 1e9
                progress(100 * done // share, f"{side.name}, {rate:.2g} GB/s")
    except KeyboardInterrupt:
        if not found.elements:
            raise
        whole = False
    except Foreign as foreign:  # here, and so for every process
        processes.all_gather(foreign)
    shares = processes.all_gather((found, sample.taken(), whole))
    found = sum((tally for tally, _, _ in shares), Tally())
    x, mu = (torch.cat([some[i] for _, some, _ in shares if some]).to(case.device) for i in (0, 1))
    if stride > 1 or compiled:
        found = found.sampled_by(sum((measure(side, *part, loss, claim) for part in chunks(side, x, mu)), Tally()))
    return Measured(case, found, x, mu, how(case, compiled, everywhere, found), all(whole for _, _, whole in shares))


class Sample:
    """The events of a case that are sampled, one piece after another, in room that is made once: so memory stays whole."""

    def __init__(self, case: Case) -> None:
        self.case, self.count = case, 0
        self._room: list[Tensor] = []

    def take(self, at: int, x: Tensor, mu: Tensor) -> None:
        """Those of a piece whose first event is the ``at``-th."""
        which = self.case.sampled(at, len(mu)).to(mu.device)
        if not self._room:
            most = min(self.case.events, (self.case.events // (self.case.stride * GROUP) + 2) * GROUP)
            self._room = [part.new_empty((most, *part.shape[1:])) for part in (x, mu)]
        for room, part in zip(self._room, (x, mu), strict=True):
            room[self.count : self.count + len(which)] = part[which]
        self.count += len(which)

    def taken(self) -> list[Tensor]:
        """Data and means, on the CPU; nothing where there was no piece."""
        return [room[: self.count].cpu() for room in self._room]


def how(case: Case, compiled: bool, everywhere: bool, found: Tally) -> tuple[str, ...]:
    """How it was come by, in words: nothing of the usual way."""
    said = []
    if compiled:
        said.append(f"Measured by the compiler in one pass, for {case.numbers:,} numbers: values and the ratio's range on all.")
    if not everywhere:
        said.append(
            f"Values on all elements; gradients, and the noise that the data would choose, on one in {case.stride:,}, evenly "
            f"spread ({found.sampled:,} numbers): --gradients all takes every gradient."
        )
    return tuple(said)


def beyond(case: Case, x: Tensor, mu: Tensor, tally: Tally, first: int = 0) -> ReconError:
    """The error for values or gradients that are not finite, in samples from ``first`` on."""
    side, loss = case.side, case.loss
    try:
        for values, words in ((x, case.data), (mu, "the reconstruction")):
            numbers(values.cpu().double().numpy(), words, first)
    except ReconError as error:
        return error
    if ((mu == side.domain.low) | (mu == side.domain.high)).any():
        return ReconError(
            f"{side.name} gives {tally.infinite:,} of {tally.elements:,} elements no chance at all: the mean is exactly "
            f"at an end of {side.domain}, which rules out what the data are.",
            "Keep the means a little inside, as the sigmoid or the softmax of the decoder's output would be.",
        )
    return ReconError(
        f"{side} and {loss.name} leave the range of {str(x.dtype)[6:]} on {tally.infinite:,} of {tally.elements:,} elements.",
        "Rescale the data, choose a noise in their units, or use --dtype float64.",
    )
