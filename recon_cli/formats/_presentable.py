"""A result that shows itself: printed, in a notebook, as plain data, as a data frame, in a file."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from recon_cli import formats
from recon_cli.errors import ReconError, unknown
from recon_cli.formats import _notebook
from recon_cli.report import Formula, Report
from recon_cli.runtime import plotting

if TYPE_CHECKING:
    import pandas


class Presentable(ABC):
    """What ``derive``, ``compare``, ``calibrate``, ``audit`` and ``train`` return: ``print`` it, or leave it last in a cell."""

    @abstractmethod
    def report(self) -> Report:
        """Return all that there is to say, as plain data."""

    def __str__(self) -> str:
        return written(self.report().summary(), "table").rstrip("\n")

    def _repr_html_(self) -> str:
        return _notebook.fragment(self.report())

    def to_dict(self) -> dict[str, Any]:
        """Return what ``--format json`` writes, as a dict: numbers unrounded, None for what was not measured."""
        return cast("dict[str, Any]", json.loads(written(self.report(), "json")))

    def to_frame(self, table: str | None = None) -> pandas.DataFrame:
        """Return a table of the report as a pandas DataFrame, the first one unless named.

        Raises ReconError for a table that there is not, and without pandas.
        """
        tables = {each.name: each for each in self.report().tables}
        if not tables or table not in (None, *tables):
            raise unknown("table", table or "", tables)
        try:
            import pandas
        except ImportError:
            raise ReconError("A data frame takes pandas, which is not installed.", "Install it: pip install pandas.") from None
        chosen = tables[table] if table else next(iter(tables.values()))
        keys = [each.key for each in chosen.columns]
        rows = [[str(cell) if isinstance(cell, Formula) else cell for cell in map(row.get, keys)] for row in chosen.rows]
        return pandas.DataFrame(rows, columns=keys)

    def plot(self, path: str | Path) -> None:
        """Draw the charts of the report to a .png, .svg or .pdf file, as ``--plot`` does.

        Raises ReconError where there is nothing to draw, without matplotlib, and for a file that cannot be written.
        """
        plotting.plottable(path)
        plotting.save(self.report().charts, path)

    def save(self, path: str | Path) -> None:
        """Write the whole report to a file, in the format that its ending names: .json, .csv, .md, .tex, and so on.

        Raises ReconError for an ending that no format has, and for a file that cannot be written.
        """
        formats.write_file(self.report(), str(path), formats.format_of(str(path)))


def written(report: Report, format: str) -> str:
    """Return a report in a format, as a string."""
    formats.write(report, format, text := StringIO())
    return text.getvalue()
