"""The lines of code that remarks are about, read once more where they can be read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

from recon_cli.report import Excerpt

AROUND = 2  # lines shown before and after
LARGEST = 1 << 20  # bytes: of a longer file nothing is shown
LONGEST = 200  # characters of a line


def excerpts(remarks: Iterable[tuple[str | None, str, str]]) -> Iterator[Excerpt]:
    """Yield of each file the lines around its remarks, (FILE:LINE, code, sentence) each; nothing of what cannot be read."""
    by_file: dict[str, list[tuple[int, str, str]]] = {}
    for site, code, words in remarks:
        file, _, line = (site or "").rpartition(":")
        if line.isdigit():
            by_file.setdefault(file, []).append((int(line), code, words))
    for file, at in by_file.items():
        known = lines_of(file)
        near = {number for line, *_ in at for number in range(line - AROUND, line + AROUND + 1) if 0 < number <= len(known)}
        if near:
            yield Excerpt(file, [(number, known[number - 1]) for number in sorted(near)], at)


def lines_of(file: str) -> list[str]:
    """Return the lines of a file of Python; none of anything else, or of what cannot be read."""
    path = Path(file)
    try:
        if path.suffix != ".py" or not path.is_file() or path.stat().st_size > LARGEST:
            return []
        text = path.read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError):
        return []
    return [line if len(line) <= LONGEST else f"{line[:LONGEST]} ..." for line in text.splitlines()]
