"""One JSON object, for programs: the contract other tools rely on."""

from __future__ import annotations

import json
import math
import platform
from collections.abc import Mapping
from typing import Any, TextIO

from recon_cli.report import Formula, Report, installed, version

SUFFIX = ".json"  # of files in this format


def write(report: Report, file: TextIO) -> None:
    """``{"command", "version", "arguments", "environment", "tables": {name: [row, ...]}, "notes", "verdict", "holds"}``.

    Numbers unrounded. Not measured is null; NaN and infinities, which JSON lacks, are "nan", "inf" and "-inf". The arguments are
    those of the command line, empty where Python asked; the environment is what the numbers may depend on.
    """
    tables = {
        table.name: [{column.key: plain(row.get(column.key)) for column in table.columns} for row in table.rows]
        for table in report.tables
    }
    content = {
        "command": report.command,
        "version": version(),
        "arguments": plain(report.arguments),
        "environment": environment(),
        "tables": tables,
        "notes": [*report.lead, *report.notes],
        "verdict": report.verdict,
        "holds": report.holds,
    }
    escaped = getattr(file, "encoding", None) == "ascii"
    json.dump(content, file, indent=2, ensure_ascii=escaped, allow_nan=False)
    file.write("\n")


def environment() -> dict[str, str | None]:
    """Return the versions and the machine that a result was computed with; None for what is not installed."""
    return {
        "python": platform.python_version(),
        **{name: installed(name) for name in ("torch", "numpy", "scipy")},
        "system": platform.system(),
        "machine": platform.machine(),
    }


def plain(value: object) -> Any:
    """Return a value as JSON can hold it."""
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Formula):
        return value.text
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
