"""A report as plain data, as JSON holds it: what the formats for programs share."""

from __future__ import annotations

import math
import platform
from collections.abc import Mapping
from typing import Any

from recon_cli.report import Formula, Report, installed, version


def content(report: Report) -> dict[str, Any]:
    """Return the object that other tools rely on: see ``formats/json.py``."""
    tables = {
        table.name: [{column.key: plain(row.get(column.key)) for column in table.columns} for row in table.rows]
        for table in report.tables
    }
    return {
        "command": report.command,
        "version": version(),
        "arguments": plain(report.arguments),
        "environment": environment(),
        "tables": tables,
        "notes": [*report.lead, *report.notes],
        "verdict": report.verdict,
        "holds": report.holds,
    }


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
