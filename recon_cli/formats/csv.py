"""Rows for spreadsheets and data frames."""

from __future__ import annotations

import csv
from typing import TextIO

from recon_cli.formats import spell
from recon_cli.report import Report

SUFFIX = ".csv"  # of files in this format


def write(report: Report, file: TextIO) -> None:
    """One rectangular file: where a report has several tables, a first column names each row's.

    Numbers unrounded, not measured is empty; notes and verdict are left out.
    """
    keys = list(dict.fromkeys(column.key for table in report.tables for column in table.columns))
    several = len(report.tables) > 1
    writer = csv.DictWriter(file, ["table", *keys] if several else keys, restval="", lineterminator="\n")
    writer.writeheader()
    for table in report.tables:
        for row in table.rows:
            cells = {column.key: spell(row.get(column.key)) for column in table.columns}
            writer.writerow({"table": table.name, **cells} if several else cells)
