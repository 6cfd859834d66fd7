"""One way of writing a report per file: each defines ``write(report, file)``.

Here is what they share: how a value is spelled.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, TextIO

from recon_cli import registry
from recon_cli.errors import ReconError
from recon_cli.report import Column, Report, Table


def names() -> list[str]:
    """Return the name of every format there is, by listing this folder."""
    return registry.names("formats")


def write(report: Report, format: str, file: TextIO) -> None:
    """Write ``report`` to ``file``, with the signs that its encoding has.

    Raises ReconError, naming the nearest, for an unknown format.
    """
    writer = registry.load("formats", format)
    encoding = getattr(file, "encoding", None) or "utf-8"
    if encoding.lower().replace("-", "").startswith("utf"):
        writer.write(report, file)
        return
    draft = Ascii()
    writer.write(report, draft)
    file.write(draft.getvalue().translate(ASCII).encode(encoding, "replace").decode(encoding))


def format_of(path: str) -> str:
    """Return the format that the ending of a file names. Raises ReconError for any other, and where its folder is not there."""
    endings = {registry.load("formats", name).SUFFIX: name for name in names()}
    suffix = Path(path).suffix.lower()
    if suffix not in endings:
        ending = f"ends in {suffix}" if suffix else "has no ending"
        raise ReconError(f"{path} {ending}, which is no format's.", f"Formats end in {', '.join(sorted(endings))}.")
    if not Path(path).absolute().parent.is_dir():
        raise ReconError(f"There is no folder {str(Path(path).parent)!r} for {path}.", "Make it first.")
    return endings[suffix]


def write_file(report: Report, path: str, format: str) -> None:
    """Write a whole report to a file, whole or not at all. Raises ReconError where it cannot be written."""
    write(report, format, draft := StringIO())
    part = Path(f"{path}.part")
    try:
        part.write_text(draft.getvalue(), encoding="utf-8")
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise ReconError(f"{path} cannot be written: {error.strerror}.", "Name another file.") from None


class Ascii(StringIO):
    """A draft for a file that has no more than ASCII."""

    encoding = "ascii"


SIGNS = {
    "μ": "mu", "σ": "sigma", "β": "beta", "η": "eta", "κ": "kappa", "θ": "theta", "ε": "eps", "π": "pi", "Σ": "sum",
    "Π": "prod", "∫": "integral", "−": "-", "·": "*", "×": "x", "∂": "d", "√": "sqrt", "²": "^2", "½": "1/2", "≤": "<=",
    "≥": ">=", "≈": "~", "≠": "!=", "→": "->", "–": "-", "…": "...", "‖": "||", "∞": "oo", "∈": "in", "✓": "ok", "✗": "FAILED",
    "─": "-", "│": "|", "┤": "+", "└": "+", **dict.fromkeys("▁▂▃▄", "."), **dict.fromkeys("▅▆▇█", "#"),
}  # fmt: skip
ASCII = str.maketrans(SIGNS)


def spell(value: object, digits: int | None = None) -> str:
    """Return a value as text: floats with all their digits, or ``digits`` significant ones; None as nothing."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return repr(value) if digits is None or not math.isfinite(value) else f"{value:.{digits}g}"
    if isinstance(value, int):
        return str(value) if digits is None else f"{value:,}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}={spell(item, digits)}" for key, item in value.items())
    return str(value)


def subject_of(row: Mapping[str, Any]) -> str:
    """Return what a row of steps is about: the likelihood, as on the command line."""
    numbers = spell(row.get("parameters") or {}, 6)
    return f"{row['likelihood']}:{numbers}" if numbers else row["likelihood"]


def verdict_of(row: Mapping[str, Any], wrong: str) -> str:
    """Return what became of a step, or how a defect counts, in words; ``wrong`` is a statement's that does not check."""
    if "level" in row:
        return {"error": "fails", "warning": "warns", "note": "noted"}[row["level"]]
    unproved = "chosen" if row.get("by") == "choice" else "not proved"
    return {True: "checked", False: wrong, None: unproved}[row["checked"]]


def panels(table: Table) -> Iterator[tuple[str, list[Column]]]:
    """Yield the narrow tables that a wide one is shown as: (title, columns) each."""
    visible = [column for column in table.columns if column.panel is not None]
    for title in dict.fromkeys(column.panel for column in visible if column.panel != "*"):
        yield title or table.title, [column for column in visible if column.panel in ("*", title)]


@dataclass(frozen=True)
class Annotation:
    """What a program that reads code is told of a line: a code, how grave it is (error, warning, note), and words."""

    code: str
    level: str
    text: str
    file: str = ""
    line: int = 0


def annotations_of(report: Report) -> list[Annotation]:
    """Return what is wrong by a report: each row with a ``level``, at its ``site``; of a failure without any, the verdict."""
    rows = [row for table in report.tables for row in table.rows if "level" in row]
    remarks = [Annotation(row["code"], row["level"], f"{row['evidence']}. {row['fix']}", *place(row["site"])) for row in rows]
    if report.holds is False and not any(annotation.level == "error" for annotation in remarks):
        sites = [row["site"] for table in report.tables for row in table.rows if row.get("site")]
        text = " ".join([*report.lead[:1], f"({report.verdict})"])
        remarks.append(Annotation(report.command, "error", text, *place(sites[0] if sites else None)))
    return remarks


def place(site: str | None) -> tuple[str, int]:
    """Return the file and the line of ``FILE:LINE``; nothing and 0 where there is none."""
    file, _, line = (site or "").rpartition(":")
    return (file.replace("\\", "/"), int(line)) if line.isdigit() else (site or "", 0)
