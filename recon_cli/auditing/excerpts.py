"""The lines of code that defects are about, read once more where they can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from recon_cli.auditing.defects._subject import Finding
from recon_cli.report import Excerpt

AROUND = 2  # lines shown before and after
LARGEST = 1 << 20  # bytes: of a longer file nothing is shown


def excerpts(findings: Sequence[Finding], sites: Sequence[str | None]) -> Iterator[Excerpt]:
    """Yield of each file the lines around its defects, or around ``sites`` where it has none; nothing of an unreadable file."""
    remarks: dict[str, list[tuple[int, str, str]]] = {}
    about: list[tuple[str | None, str, str]] = [(each.site, each.code, f"{each.evidence}.") for each in findings]
    for site, code, words in about or [(site, "the loss", "") for site in sites]:
        file, _, line = (site or "").rpartition(":")
        if line.isdigit():
            remarks.setdefault(file, []).append((int(line), code, words))
    for file, at in remarks.items():
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
        return path.read_text(encoding="utf-8", errors="replace").splitlines()
    except (OSError, ValueError):
        return []
