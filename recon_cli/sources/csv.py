"""Tables of numbers as text."""

from __future__ import annotations

import csv
import math
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy

from recon_cli.errors import ReconError, unknown
from recon_cli.sources import Array, Source, divided, guarded


class Csv(Source):
    """``x.csv``: one sample a row; or ``x.csv:a,b``, only these columns, by name or counted from 0.

    Fields are separated by tabs, semicolons or commas: the first of these in the first line. That line is
    a header where one of its fields is no number. Values are float64, shape (N, columns).
    """

    takes = "a path"

    def read(self) -> Array:
        path, wanted = divided(self.argument)
        return guarded(path, lambda: self._table(Table.of(path), wanted))

    def _table(self, table: Table, wanted: str) -> Array:
        self.columns = table.named(wanted)
        return table.read(wanted)


@dataclass(frozen=True)
class Table:
    """A text file whose first row is known: its fields, and on which line it ends."""

    path: str
    delimiter: str
    first: list[str]
    ends: int

    @classmethod
    def of(cls, path: str) -> Table:
        """Look at the first line that is not blank."""
        with open(path, encoding="utf-8-sig", newline="") as file:
            line = next((line for line in file if not line.isspace()), "")
        bare = re.sub('"[^"]*"', "", line)
        delimiter = next((mark for mark in "\t;" if mark in bare), ",")
        if not line:
            raise ValueError("it holds no rows")
        ends, first = next(rows(path, delimiter))
        return cls(path, delimiter, [cell.strip() for cell in first], ends)

    @property
    def headed(self) -> bool:
        """Whether the first row names the columns."""
        return any(number(cell) is None for cell in self.first)

    def named(self, wanted: str) -> tuple[str, ...]:
        """The names of the columns in ``wanted``, or of all; none without a header."""
        every = [self.column(name.strip()) for name in wanted.split(",")] if wanted else range(len(self.first))
        return tuple(self.first[column] for column in every) if self.headed else ()

    def read(self, wanted: str) -> Array:
        """The columns in ``wanted``, or all. Raises ReconError for the first cell that is no finite number."""
        columns = [self.column(name.strip()) for name in wanted.split(",")] if wanted else None
        skip = self.ends if self.headed else 0
        how = {"delimiter": self.delimiter, "quotechar": '"', "comments": None, "encoding": "utf-8-sig"}
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                values = numpy.loadtxt(self.path, skiprows=skip, usecols=columns, ndmin=2, **how)
        except ValueError as error:
            raise self.mistake(columns, skip) or error from None
        if not len(values):
            raise ReconError(
                f"{self.path} has no row below its first, {self.delimiter.join(self.first)[:60]!r}, which is no row of numbers.",
                "Give one row of numbers for each sample; decimals have a point.",
            )
        if not numpy.isfinite(values).all():
            raise self.mistake(columns, skip) or ValueError("it holds numbers that are not finite")
        return values

    def column(self, name: str) -> int:
        """The place of a column, by its name or its number."""
        if self.headed and name in self.first:
            return self.first.index(name)
        if name.isdecimal() and int(name) < len(self.first):
            return int(name)
        if self.headed:
            raise unknown("column", name, self.first)
        raise ReconError(
            f"{self.path} has no column {name!r}: it has {len(self.first)}, and no header that names them.",
            f"Count them from 0 to {len(self.first) - 1}.",
        )

    def mistake(self, columns: list[int] | None, skip: int) -> ReconError | None:
        """The error for the first field below line ``skip`` that is missing or no finite number; None if there is none."""
        for line, cells in rows(self.path, self.delimiter):
            if line <= skip:
                continue
            if len(cells) != len(self.first):
                count = f"{len(cells)} field{'s' * (len(cells) != 1)}"
                return ReconError(
                    f"{self.path} has {count} in line {line:,}, and {len(self.first)} in the first.",
                    "Every row must have a number in every column.",
                )
            for i in range(len(cells)) if columns is None else columns:
                value = number(cells[i])
                if value is None or not math.isfinite(value):
                    where = f"column {self.first[i]!r}" if self.headed else f"column {i} (the first is 0)"
                    return ReconError(
                        f"{self.path} has {cells[i][:40]!r} in line {line:,}, {where}, where a finite number is expected.",
                        f"Mend or drop that row, or choose other columns, as in {self.path}:0,1.",
                    )
        return None


def rows(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """The rows that are not blank, each with the number of the line that it ends on."""
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


def number(cell: str) -> float | None:
    """A field as a number, or None."""
    try:
        return float(cell)
    except ValueError:
        return None
