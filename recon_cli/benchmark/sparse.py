"""Does the cost of an element grow with their number? A comparison of files that take no room, of any size."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy
import torch

from recon_cli import likelihoods, sources
from recon_cli.benchmark.compare import ENGINES, MOST, clock, load, peak, timed
from recon_cli.comparison import compare
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import Report, Table, column

CPU = torch.device("cpu")


@dataclass(frozen=True)
class SparseTiming:
    """Seconds of a comparison of two sparse files, whole and for each element."""

    likelihood: str = column("likelihood", "*")
    elements: int = column("elements", "*")
    engine: str = column("engine", "*")
    seconds: float = column("seconds", brief=True)
    least: float = column("least")
    most: float = column("most")
    each: float = column("ns an element", brief=True)
    gigabytes: float = column("GB/s", brief=True)
    memory: float | None = column("peak, MB", brief=True)


def bench_sparse(
    *noise_models: Likelihood | str,
    elements: Sequence[float] = (1 << 20, 1 << 24),
    repeats: int = 5,
    engine: str = "both",
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Return seconds of ``compare`` on two files of float32 that read as zeros, on the CPU: medians of ``repeats``.

    The files are sparse: the system keeps no zeros, so that 2^32 elements take no room on the disk, and no part of the time is
    the disk's. A kernel is made before the first turn, which is not counted. Raises ReconError for sizes below 1, for a folder
    for temporary files that is too small for even these, and for a likelihood that zeros are not of.
    """
    if not 1 <= repeats <= MOST or not all(1 <= size <= MOST and size == int(size) for size in elements):
        raise ReconError(f"Elements and repeats are whole numbers, from 1 to {MOST:g}.", "Try --elements 1048576 --repeats 5.")
    if engine not in ENGINES:
        raise unknown("engine", engine, ENGINES)
    busy, rows, done = load(), list[SparseTiming](), 0
    for word in noise_models or ("gaussian",):
        likelihood = likelihoods.parse(word) if isinstance(word, str) else word
        for size in map(int, elements):
            with tempfile.TemporaryDirectory() as folder:
                paths = [sparse_file(Path(folder, name), size) for name in ("x.npy", "mu.npy")]

                def compared(engine: str, paths: Sequence[str] = paths, likelihood: Likelihood = likelihood) -> None:
                    data, means = (sources.samples(sources.parse(path), path)[0] for path in paths)
                    compare(data, means, likelihood, engine=engine, device="cpu")

                for each in ENGINES[1:] if engine == "both" else (engine,):
                    ways: dict[str, Callable[[], object]] = {each: lambda each=each: compared(each)}  # type: ignore[misc]
                    spread = timed(ways, repeats, CPU)[1][each]
                    rows.append(
                        SparseTiming(
                            likelihood=str(likelihood),
                            elements=size,
                            engine=each,
                            seconds=spread.median,
                            least=spread.least,
                            most=spread.most,
                            each=spread.median / size * 1e9,
                            gigabytes=8 * size / spread.median / 1e9,
                            memory=peak(ways[each], CPU),
                        )
                    )
            done += 1
            if progress is not None:
                progress(done, f"{likelihood.name}, {size:,} elements")
    threads = f"{torch.get_num_threads()} thread{'s' * (torch.get_num_threads() != 1)}"
    notes = [
        f"Two sparse files of float32, which read as zeros, on cpu, {threads}. {clock(CPU).capitalize()}, medians of {repeats}.",
        *busy,
    ]
    return Report("bench", [Table.of("sparse", SparseTiming, rows)], notes)


def sparse_file(path: Path, size: int) -> str:
    """Return the path of a file as numpy saves ``size`` zeros in float32, but that no zero is written. Raises ReconError."""
    try:
        with path.open("wb") as file:
            numpy.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": (size,)})
            file.truncate(file.tell() + 4 * size)
    except OSError as error:
        raise ReconError(
            f"A sparse file of {4 * size:,} bytes cannot be made in {path.parent}: {error.strerror}.",
            "Ask for fewer --elements, or name another folder: TMPDIR.",
        ) from error
    return str(path)
