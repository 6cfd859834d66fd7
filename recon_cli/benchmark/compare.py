"""How fast is it here? The measurement beside what people write, and beside reading the data once: both sides in one run."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli import likelihoods, sources
from recon_cli.comparison import cases, compare, engines
from recon_cli.comparison.against import calls, evaluate, takes_raw
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import Column, Report, Table
from recon_cli.runtime import devices

if TYPE_CHECKING:
    from torch import Tensor

    Progress = Callable[[int, str], None]

USUAL = ("gaussian", "laplace", "bernoulli", "student-t", "poisson")
ENGINES = ("both", "eager", "compile")
MOST = 10**12  # elements, and repeats: more than a machine holds
COLUMNS = (
    Column("likelihood", "likelihood", "*"),
    Column("elements", "elements", "*"),
    Column("engine", "engine", "*"),
    Column("read", "read", "seconds"),
    Column("recon", "recon", "seconds"),
    Column("distribution", "distribution", "seconds"),
    Column("functional", "functional", "seconds"),
    Column("first", "first time", "seconds"),
    Column("over_read", "recon / read", "ratios"),
    Column("under_distribution", "distribution / recon", "ratios"),
    Column("under_functional", "functional / recon", "ratios"),
    Column("gigabytes", "GB/s", "ratios"),
    Column("memory", "recon, MB", "peak memory"),
    Column("memory_written", "as written, MB", "peak memory"),
    Column("distribution_call", "distribution", None),
    Column("functional_call", "functional", None),
)
FILES = (
    Column("likelihood", "likelihood", "*"),
    Column("elements", "elements", "*"),
    Column("engine", "engine", "*"),
    Column("sum", "sum through a map, s", ""),
    Column("compare", "compare, s", ""),
    Column("over_sum", "compare / sum", ""),
    Column("gigabytes", "GB/s", ""),
    Column("memory", "peak, MB", ""),
)


def bench(
    *sides: Likelihood | str,
    elements: Sequence[int] = (1 << 20, 1 << 24),
    repeats: int = 5,
    engine: str = "both",
    device: str = "auto",
    files: bool = False,
    progress: Progress | None = None,
) -> Report:
    """Seconds for values, gradients, their ratio and every error, in float32: medians of ``repeats``, taken in turn.

    read
        a dot product of data and means, each read once; on a GPU a copy of both.
    recon
        the measurement by ``engine``: ``compile`` all of it on every element, ``eager`` gradients on a sample;
        ``first`` is its first time, which compiles.
    distribution, functional
        what people write: torch's log_prob, or its functional of the nll, and its loss, each with an autograd
        gradient, then the least, largest and mean ratio. None where torch has no such call.
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
    where, rows, stored, done = devices.device(device), [], [], 0
    by = ENGINES[1:] if engine == "both" else (engine,)
    for word in sides or USUAL:
        side = likelihoods.parse(word) if isinstance(word, str) else word
        if side.event or side.head:
            raise ReconError(f"{side.name} takes vectors, or several numbers an element; bench times numbers.", "Leave it out.")
        for size in map(int, elements):
            x, mu = drawn(side, size)
            rows += _rows(side, x.to(where), mu.to(where), repeats, by)
            if files:
                stored += _from_files(side, x, mu, repeats, by)
            done += 1
            (progress or (lambda done, words: None))(done, f"{side.name}, {size:,} elements")
    notes = [f"On {_named(where)}, float32. Medians of {repeats}, each side taken in turn."]
    tables = [Table("bench", COLUMNS, rows), *([Table("files", FILES, stored)] if files else [])]
    return Report("bench", tables, notes)


def drawn(side: Likelihood, size: int) -> tuple[Tensor, Tensor]:
    """Data and means for a likelihood, float32: means evenly in (0.05, 0.95), data drawn from it."""
    import torch

    generator = torch.Generator().manual_seed(0)
    mu = torch.empty(size).uniform_(0.05, 0.95, generator=generator)
    return side.sample(mu, generator).float(), mu


def _rows(side: Likelihood, x: Tensor, mu: Tensor, repeats: int, by: Sequence[str]) -> list[dict[str, Any]]:
    import torch

    known = [call for call in calls(side, "torch") if not takes_raw(call)]
    written_as = {
        "distribution": next((call for call in known if "distributions." in call), None),
        "functional": next((call for call in known if "distributions." not in call), None),
    }
    if x.device.type == "cpu":
        ways: dict[str, Callable[[], object]] = {"read": lambda: torch.dot(x, mu).item()}
    else:
        ways = {"read": lambda: (x.clone(), mu.clone())}
    case = cases.admit(side, None, x, mu, x.device, x.dtype, "data", False)
    ways |= {engine: lambda engine=engine: engines.run(case, engine) for engine in by}
    ways |= {name: lambda call=call: written(side, call, x, mu) for name, call in written_as.items() if call}
    first, taken = timed(ways, repeats, x.device)
    memory = {name: peak(way, x.device) for name, way in ways.items()}
    return [
        {
            "likelihood": str(side),
            "elements": len(x),
            "engine": engine,
            **{name: taken.get(name) for name in ("read", *written_as)},
            "recon": taken[engine],
            "first": first[engine],
            "over_read": taken[engine] / taken["read"],
            **{f"under_{name}": taken[name] / taken[engine] if name in taken else None for name in written_as},
            "gigabytes": 8 * len(x) / taken[engine] / 1e9,
            "memory": memory[engine],
            "memory_written": memory.get("distribution", memory.get("functional")),
            **{f"{name}_call": call for name, call in written_as.items()},
        }
        for engine in by
    ]


def _from_files(side: Likelihood, x: Tensor, mu: Tensor, repeats: int, by: Sequence[str]) -> list[dict[str, Any]]:
    import torch

    cpu = torch.device("cpu")
    with tempfile.TemporaryDirectory() as folder:
        paths = [str(Path(folder) / name) for name in ("x.npy", "mu.npy")]
        for path, values in zip(paths, (x, mu), strict=True):
            numpy.save(path, values.numpy())

        def both(engine: str) -> None:
            compare(*(sources.samples(sources.parse(path), path)[0] for path in paths), side, engine=engine)

        ways: dict[str, Callable[[], object]] = {"sum": lambda: [numpy.load(path, mmap_mode="r").sum() for path in paths]}
        ways |= {engine: lambda engine=engine: both(engine) for engine in by}
        _, taken = timed(ways, repeats, cpu)
        return [
            {
                "likelihood": str(side),
                "elements": len(x),
                "engine": engine,
                "sum": taken["sum"],
                "compare": taken[engine],
                "over_sum": taken[engine] / taken["sum"],
                "gigabytes": 8 * len(x) / taken[engine] / 1e9,
                "memory": peak(ways[engine], cpu),
            }
            for engine in by
        ]


def timed(
    ways: dict[str, Callable[[], object]], repeats: int, device: Any, after: Callable[[int, dict[str, float]], None] | None = None
) -> tuple[dict[str, float], dict[str, float]]:
    """Seconds of each way: its first time, and the median of ``repeats`` more, each taken in turn.

    ``after`` is called with the number of each turn (the first times are turn 0) and its seconds.
    """
    import torch

    def seconds(way: Callable[[], object]) -> float:
        start = time.perf_counter()
        way()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        return time.perf_counter() - start

    turns = []
    for turn in range(repeats + 1):
        turns.append({name: seconds(way) for name, way in ways.items()})
        if after:
            after(turn, turns[-1])
    return turns[0], {name: statistics.median(turn[name] for turn in turns[1:]) for name in ways}


def peak(way: Callable[[], object], device: Any) -> float | None:
    """MB that are taken at most, beyond what is taken before: of the GPU's memory, or of the process's (Linux tells)."""
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        before = torch.cuda.memory_allocated(device)
        way()
        return (torch.cuda.max_memory_allocated(device) - before) / 1e6
    try:
        Path("/proc/self/clear_refs").write_text("5")
        before = _resident("VmRSS")
        way()
        return (_resident("VmHWM") - before) / 1e6
    except (OSError, KeyError, ValueError):
        return None


def _resident(name: str) -> float:
    """Bytes, as Linux counts them for this process."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return 1024.0 * int(lines[name].split()[0])


def written(side: Likelihood, call: str, x: Tensor, mu: Tensor) -> tuple[float, float, float]:
    """What people write to see how likelihood and loss relate: two autograd gradients, and their ratio."""
    import torch
    from torch.nn import functional

    mean, own = mu.detach().requires_grad_(), side.loss
    named = own.torch.isidentifier() and own.torch != "poisson_nll_loss"  # which takes a logarithm unless told
    loss = getattr(functional, own.torch)(mean, x, reduction="none", **own.parameters) if named else own(x, mean)
    (of_nll,) = torch.autograd.grad(evaluate(side, call, x, mean, False).sum(), mean)
    (of_loss,) = torch.autograd.grad(loss.sum(), mean)
    ratio = of_nll / of_loss
    return ratio.min().item(), ratio.max().item(), ratio.mean().item()


def _named(device: Any) -> str:
    import torch

    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    count = torch.get_num_threads()
    return f"{device}, {count} thread{'s' * (count != 1)} of {os.cpu_count()} cores"
