"""How fast is it here? The measurement beside what people write, and beside reading the data once: both sides in one run."""

from __future__ import annotations

import ctypes
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy
import torch
from torch import Tensor

from recon_cli import likelihoods, sources
from recon_cli.comparison import cases, compare, engines
from recon_cli.comparison.library_calls import calls, evaluate, takes_raw
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.report import Report, Table, column
from recon_cli.runtime import devices

Progress = Callable[[int, str], None]
USUAL = ("gaussian", "laplace", "bernoulli", "student-t", "poisson")
ENGINES = ("both", "eager", "compile")
LENGTH = 10  # of vectors
FORMULAS = {  # what people write where torch has no call for a mean
    "logit-laplace": "torch.abs(torch.logit(x) - torch.logit(mu))/scale + torch.log(2*scale*x*(1 - x))",
    "multinomial": "torch.lgamma(x + 1).sum(-1) - torch.lgamma(x.sum(-1) + 1) - torch.xlogy(x, mu).sum(-1)",
}
BUSY = 0.1  # of the processor, taken by others while a benchmark ran
MOST = 10**12  # elements, and repeats: more than a machine holds


@dataclass(frozen=True)
class Timing:
    """Seconds of one likelihood at one size by one engine, beside what people write: see :func:`bench`."""

    likelihood: str = column("likelihood", "*")
    elements: int = column("elements", "*")
    engine: str = column("engine", "*")
    read: float = column("read", "seconds")
    recon: float = column("recon", "seconds", brief=True)
    recon_least: float = column("recon, least", "seconds")
    recon_most: float = column("recon, most", "seconds")
    distribution: float | None = column("distribution", "seconds")
    functional: float | None = column("functional", "seconds")
    first: float = column("first time", "seconds")
    away: float | None = column("taken by others, share", "seconds")
    over_read: float = column("recon / read", "ratios", brief=True)
    under_distribution: float | None = column("distribution / recon", "ratios", brief=True)
    under_distribution_least: float | None = column("distribution / recon, least", "ratios")
    under_distribution_most: float | None = column("distribution / recon, most", "ratios")
    under_functional: float | None = column("functional / recon", "ratios", brief=True)
    under_functional_least: float | None = column("functional / recon, least", "ratios")
    under_functional_most: float | None = column("functional / recon, most", "ratios")
    gigabytes: float = column("GB/s", "ratios", brief=True)
    memory: float | None = column("recon, MB", "peak memory", brief=True)
    memory_written: float | None = column("as written, MB", "peak memory")
    distribution_call: str | None = column("distribution", None)
    functional_call: str | None = column("functional", None)


class Spread(NamedTuple):
    """Seconds of one way over its turns, or how many times those of another they are; ``each`` is turn by turn.

    ``away`` is the share of the clock's time in which the processor, of whose time the seconds are, was others'.
    """

    median: float
    least: float
    most: float
    each: tuple[float, ...] = ()
    away: float | None = None

    @classmethod
    def of(cls, each: Sequence[float], away: float | None = None) -> Spread:
        """Return the spread of some turns."""
        return cls(statistics.median(each), min(each), max(each), tuple(each), away)

    def over(self, other: Spread) -> Spread:
        """Return how many times as long as another way this one took, in each turn: both sides of one were busy alike."""
        return Spread.of([mine / theirs for mine, theirs in zip(self.each, other.each, strict=True)])


@dataclass(frozen=True)
class FileTiming:
    """Seconds of one likelihood from two files, beside summing both through a memory map."""

    likelihood: str = column("likelihood", "*")
    elements: int = column("elements", "*")
    engine: str = column("engine", "*")
    sum: float = column("sum through a map, s")
    compare: float = column("compare, s", brief=True)
    compare_least: float = column("compare, least")
    compare_most: float = column("compare, most")
    over_sum: float = column("compare / sum", brief=True)
    gigabytes: float = column("GB/s", brief=True)
    memory: float | None = column("peak, MB", brief=True)


def bench(
    *noise_models: Likelihood | str,
    elements: Sequence[float] = (1 << 20, 1 << 24),
    repeats: int = 5,
    engine: str = "both",
    device: str = "auto",
    files: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Return seconds for values, gradients, their ratio and every error, in float32: medians of ``repeats``, taken in turn.

    read
        a dot product of data and means, each read once; on a GPU a copy of both.
    recon
        the measurement by ``engine``: ``compile`` all of it on every element, ``eager`` gradients on a sample;
        ``first`` is its first time, which compiles.
    distribution, functional
        what people write: torch's log_prob, or its functional of the nll (a formula, where it has none), and its loss, each with
        an autograd gradient, then the least, largest and mean ratio. None where there is no such thing.
    ratios
        of each turn, and of these the median, the least and the most. On one thread of a CPU seconds are the processor's, which
        other programs take none of; with more threads, and on a GPU, those of the clock.
    memory
        the most that was taken beyond what was there before, in MB (10^6 bytes); None where the system does not tell.
    files
        also from two files as numpy saves them, in the page cache, beside summing both through a memory map.

    Raises ReconError for sizes below 1, and for a device that is not there.
    """
    if not 1 <= repeats <= MOST or not all(1 <= size <= MOST and size == int(size) for size in elements):
        raise ReconError(
            f"A benchmark takes whole numbers of elements and of repeats, from 1 to {MOST:g}.",
            "Try --elements 1000000 --repeats 5.",
        )
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    busy, uncompiled = load(), list[str]()
    where, rows, file_rows, done = devices.device(device), list[Timing](), list[FileTiming](), 0
    chosen_engines = ENGINES[1:] if engine == "both" else (engine,)
    for word in noise_models or USUAL:
        likelihood = (likelihoods.parse(word) if isinstance(word, str) else word).of_vectors(LENGTH)
        for size in map(int, elements):
            x, mu = sample(likelihood, size)
            try:
                rows += _rows(likelihood, x.to(where), mu.to(where), repeats, chosen_engines)
            except ReconError as error:
                if chosen_engines == ("eager",) or "compiler" not in error.message:
                    raise
                uncompiled.append(f"{likelihood.name} is timed without the compiler: {error.message}")
                rows += _rows(likelihood, x.to(where), mu.to(where), repeats, ("eager",))
            if files:
                file_rows += _rows_from_files(likelihood, x, mu, repeats, chosen_engines)
            done += 1
            if progress is not None:
                progress(done, f"{likelihood.name}, {size:,} elements")
    notes = [
        f"On {_device_name(where)}, float32. {clock(where).capitalize()}, medians of {repeats}, each side taken in turn.",
        *busy,
        *uncompiled,
    ]
    notes += busy_meanwhile(rows)
    tables = [Table.of("bench", Timing, rows), *([Table.of("files", FileTiming, file_rows)] if files else [])]
    return Report("bench", tables, notes)


def sample(likelihood: Likelihood, size: int) -> tuple[Tensor, Tensor]:
    """Return data and means for a likelihood, float32: means evenly in (0.05, 0.95), data drawn from it.

    Of vectors, ten numbers each, the means are what the link makes of normal numbers; where a decoder gives several numbers for
    an element, they are those of such a mean and a standard deviation of 0.1. There are ``size`` numbers of means in all.
    """
    generator = torch.Generator().manual_seed(0)
    if likelihood.event and likelihood.head:
        means = torch.randn(max(1, size // LENGTH // len(likelihood.head)), LENGTH, generator=generator)
        mu = likelihood.usual_outputs(means, torch.full_like(means, 0.1))
    elif likelihood.event:
        mu = likelihood.link.inverse(torch.randn(max(1, size // LENGTH), LENGTH, generator=generator))
    else:
        mu = torch.empty(max(1, size // max(1, len(likelihood.head)))).uniform_(0.05, 0.95, generator=generator)
        mu = likelihood.usual_outputs(mu, torch.full_like(mu, 0.1)) if likelihood.head else mu
    return likelihood.sample(mu, generator).float(), mu.float()


def read(x: Tensor, mu: Tensor) -> None:
    """Read every number once: on a GPU by a copy."""
    if x.device.type != "cpu":
        x.clone(), mu.clone()
    elif x.shape == mu.shape:
        torch.dot(x.flatten(), mu.flatten()).item()
    else:
        x.sum().item(), mu.sum().item()


def naive(likelihood: Likelihood) -> tuple[str | None, str | None]:
    """Return what people write for an nll: by a distribution of torch's, and by a functional or a formula; None for none."""
    of_mean = [call for call in calls(likelihood, "torch") if not takes_raw(call)]
    distribution = next((call for call in of_mean if "distributions." in call), None)
    functional = next((call for call in of_mean if "distributions." not in call), None)
    return distribution, FORMULAS.get(likelihood.name) if distribution is functional is None else functional


def _rows(likelihood: Likelihood, x: Tensor, mu: Tensor, repeats: int, chosen_engines: Sequence[str]) -> list[Timing]:
    """Time each engine, one read of the data, and what people write in torch."""
    distribution, functional = naive(likelihood)
    case = cases.admit(likelihood, None, x, mu, x.device, x.dtype, "data", False)
    ways: dict[str, Callable[[], object]] = {"read": partial(read, x, mu)}
    ways |= {engine: partial(engines.run, case, engine) for engine in chosen_engines}
    written_as = {"distribution": distribution, "functional": functional}
    ways |= {name: partial(written, likelihood, call, x, mu) for name, call in written_as.items() if call is not None}
    first, seconds = timed(ways, repeats, x.device)
    usual = {name: spread.median for name, spread in seconds.items()}
    memory = {name: peak(way, x.device) for name, way in ways.items()}
    under = {
        (name, engine): seconds[name].over(seconds[engine]) if name in seconds else None
        for name in written_as
        for engine in chosen_engines
    }

    def ratio(engine: str, name: str, figure: str) -> float | None:
        spread = under[name, engine]
        return None if spread is None else getattr(spread, figure)

    return [
        Timing(
            likelihood=str(likelihood),
            elements=mu.numel(),
            engine=engine,
            read=usual["read"],
            recon=usual[engine],
            recon_least=seconds[engine].least,
            recon_most=seconds[engine].most,
            distribution=usual.get("distribution"),
            functional=usual.get("functional"),
            first=first[engine],
            away=seconds[engine].away,
            over_read=seconds[engine].over(seconds["read"]).median,
            under_distribution=ratio(engine, "distribution", "median"),
            under_distribution_least=ratio(engine, "distribution", "least"),
            under_distribution_most=ratio(engine, "distribution", "most"),
            under_functional=ratio(engine, "functional", "median"),
            under_functional_least=ratio(engine, "functional", "least"),
            under_functional_most=ratio(engine, "functional", "most"),
            gigabytes=4 * (x.numel() + mu.numel()) / usual[engine] / 1e9,
            memory=memory[engine],
            memory_written=memory.get("distribution", memory.get("functional")),
            distribution_call=distribution,
            functional_call=functional,
        )
        for engine in chosen_engines
    ]


def _rows_from_files(
    likelihood: Likelihood, x: Tensor, mu: Tensor, repeats: int, chosen_engines: Sequence[str]
) -> list[FileTiming]:
    """Time ``compare`` of two files, and the sum of both through a memory map."""
    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("x.npy", "mu.npy")]
        for path, values in zip(paths, (x, mu), strict=True):
            numpy.save(path, values.numpy())

        def compared(engine: str) -> None:
            data, means = (sources.samples(sources.parse(path), path)[0] for path in paths)
            compare(data, means, likelihood, engine=engine)

        ways: dict[str, Callable[[], object]] = {"sum": lambda: [numpy.load(path, mmap_mode="r").sum() for path in paths]}
        ways |= {engine: partial(compared, engine) for engine in chosen_engines}
        _, seconds = timed(ways, repeats, cpu)
        return [
            FileTiming(
                likelihood=str(likelihood),
                elements=len(x),
                engine=engine,
                sum=seconds["sum"].median,
                compare=seconds[engine].median,
                compare_least=seconds[engine].least,
                compare_most=seconds[engine].most,
                over_sum=seconds[engine].median / seconds["sum"].median,
                gigabytes=8 * len(x) / seconds[engine].median / 1e9,
                memory=peak(ways[engine], cpu),
            )
            for engine in chosen_engines
        ]


def timed(
    ways: dict[str, Callable[[], object]],
    repeats: int,
    device: torch.device,
    after: Callable[[int, dict[str, float]], None] | None = None,
) -> tuple[dict[str, float], dict[str, Spread]]:
    """Return seconds of each way: its first time, and median, least and most of ``repeats`` more, each taken in turn.

    ``after`` is called with the number of each turn (the first times are turn 0) and its seconds.
    """

    own = of_processor(device)

    def seconds(way: Callable[[], object]) -> tuple[float, float]:
        """Return the way's seconds, and those of the clock."""
        start, processor = time.perf_counter(), time.process_time()
        way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        processor, elapsed = time.process_time() - processor, time.perf_counter() - start
        return processor if own else elapsed, elapsed

    turns = list[dict[str, tuple[float, float]]]()
    for turn in range(repeats + 1):
        turns.append({name: seconds(way) for name, way in ways.items()})
        if after:
            after(turn, {name: taken for name, (taken, _) in turns[-1].items()})
    spreads = {}
    for name in ways:
        taken, elapsed = zip(*(turn[name] for turn in turns[1:]), strict=True)
        spreads[name] = Spread.of(taken, max(0.0, 1 - sum(taken) / sum(elapsed)) if own else None)
    return {name: taken for name, (taken, _) in turns[0].items()}, spreads


def of_processor(device: torch.device) -> bool:
    """Return whether seconds are those of the processor: on one thread of it, where others' work is no part of them."""
    fine = time.get_clock_info("process_time").resolution < 1e-5  # not on Windows
    return fine and device.type == "cpu" and torch.get_num_threads() == 1


def clock(device: torch.device) -> str:
    """Return whose seconds are taken, in words."""
    return "seconds of the processor" if of_processor(device) else "seconds"


def busy_meanwhile(rows: Sequence[Timing]) -> list[str]:
    """Return a note on how much of its time others took from a benchmark, where that was much."""
    shares = [row.away for row in rows if row.away is not None]
    if not shares or (share := statistics.median(shares)) < BUSY:
        return []
    return [
        f"Other programs took {share:.0%} of the time while this ran: the processor's own seconds are shown, and none of theirs."
    ]


def load() -> list[str]:
    """Return a note on how busy the machine is already, where that is more than a quarter of it; none where it does not tell."""
    if not hasattr(os, "getloadavg"):
        return []
    waiting, cores = os.getloadavg()[0], os.cpu_count() or 1
    if waiting < cores / 4:
        return []
    busy = f"The machine was busy before this began, a load of {waiting:.1f} on {cores} cores"
    return [f"{busy}: ratios of one run hold, seconds do not."]


def peak(way: Callable[[], object], device: torch.device) -> float | None:
    """Return the MB that are taken at most, beyond what is taken before: of the GPU's memory, or of the process's (Linux)."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        allocated = torch.cuda.memory_allocated(device)
        way()
        return (torch.cuda.max_memory_allocated(device) - allocated) / 1e6
    try:
        _return_free_memory()
        Path("/proc/self/clear_refs").write_text("5")
        resident = _resident("VmRSS")
        way()
        return (_resident("VmHWM") - resident) / 1e6
    except (OSError, KeyError, ValueError):
        return None


def _return_free_memory() -> None:
    """Give back to the system what was freed and is kept for later: memory taken from there would not be counted."""
    with suppress(OSError, TypeError, AttributeError):  # of glibc alone
        ctypes.CDLL(None).malloc_trim(0)


def _resident(name: str) -> float:
    """Return bytes, as Linux counts them for this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024.0 * int(lines[name].split()[0])


def written(likelihood: Likelihood, call: str, x: Tensor, mu: Tensor) -> tuple[float, float, float]:
    """Compute what people write to see how likelihood and loss relate: two autograd gradients, and their ratio."""
    mean, own = mu.detach().requires_grad_(), likelihood.loss
    has_functional = own.torch.isidentifier() and own.torch != "poisson_nll_loss" and not own.head  # which take more, as told
    loss = Loss.values(own, x, mean) if has_functional else own(x, mean)
    (of_nll,) = torch.autograd.grad(evaluate(likelihood, call, x, mean, False).sum(), mean)
    (of_loss,) = torch.autograd.grad(loss.sum(), mean)
    ratio = of_nll / of_loss
    return ratio.min().item(), ratio.max().item(), ratio.mean().item()


def _device_name(device: torch.device) -> str:
    """Return the GPU's name, or how many threads and cores there are."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{device}, {count} thread{'s' * (count != 1)} of {os.cpu_count()} cores"
