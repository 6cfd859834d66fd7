"""Which variants of a test the default run leaves out: those with a beginning that ``slow.txt`` names.

``python -m pytest --update-slow`` runs and measures them too, and writes anew what the list has of the functions that it ran: of
each the cheapest few variants are run by default whatever they cost, of the others those that cost little. A test that has no
variants, or is left out with all of them, says so itself: ``@pytest.mark.slow``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import pytest

LIST = Path(__file__).with_name("slow.txt")
LITTLE = 0.1  # seconds
FEW = 3
ENDS = "-:,]=([ "  # where a name may be cut


def named(where: Path, identifier: str) -> str:
    """Return a test's name as the list has it: its file's and its own."""
    return where.name + identifier[identifier.find("::") :]


def slow() -> tuple[str, ...]:
    """Return the beginnings in the list."""
    return tuple(LIST.read_text(encoding="utf-8").splitlines())


class Measured:
    """Takes the seconds of each test, of all workers, and in the end writes the list."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.seconds[named(Path(report.nodeid.partition("::")[0]), report.nodeid)] += report.duration

    def pytest_sessionfinish(self) -> None:
        left = chosen(self.seconds)
        functions = {name.partition("[")[0] for name in self.seconds}
        others = [line for line in slow() if line.partition("[")[0] not in functions]
        lines = sorted({*others, *beginnings(left, {*self.seconds} - left)})
        LIST.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def chosen(seconds: Mapping[str, float]) -> set[str]:
    """Return the names of the variants that are to be left out."""
    variants = defaultdict(list)
    for name in sorted(seconds, key=lambda name: seconds[name]):
        if "[" in name:
            variants[name.partition("[")[0]].append(name)
    return {name for each in variants.values() for name in each[FEW:] if seconds[name] > LITTLE}


def beginnings(left: set[str], kept: set[str]) -> list[str]:
    """Return, sorted, a beginning for each name that is left out which no name has that is kept: the shortest of whole words."""
    of = defaultdict(list)
    for name in kept:
        of[name.partition("[")[0]].append(name)

    def beginning(name: str) -> str:
        start = name.index("[") + 1
        cuts = [n + 1 for n, letter in enumerate(name) if n >= start and letter in ENDS]
        return next((name[:n] for n in cuts if not any(one.startswith(name[:n]) for one in of[name[: start - 1]])), name)

    return sorted({beginning(name) for name in left})
