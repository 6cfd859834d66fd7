"""One JSON object, for programs: the contract other tools rely on."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, TextIO

from recon_cli.report import Formula, Report, version


def write(report: Report, file: TextIO) -> None:
    """``{"command", "version", "tables": {name: [row, ...]}, "notes", "verdict"}``, numbers unrounded.

    Not measured is null; NaN and infinities, which JSON lacks, are "nan", "inf" and "-inf".
    """
    tables = {
        table.name: [{column.key: plain(row.get(column.key)) for column in table.columns} for row in table.rows]
        for table in report.tables
    }
    content = {
        "command": report.command,
        "version": version(),
        "tables": tables,
        "notes": [*report.lead, *report.notes],
        "verdict": report.verdict,
    }
    escaped = getattr(file, "encoding", None) == "ascii"
    json.dump(content, file, indent=2, ensure_ascii=escaped, allow_nan=False)
    file.write("\n")


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
