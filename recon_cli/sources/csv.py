"""Tables of numbers as text."""

from __future__ import annotations

import csv
import importlib
import io
import math
import os
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import IO

import numpy

from recon_cli.errors import ReconError, listed, printable, unknown
from recon_cli.identity.parametric import as_whole
from recon_cli.runtime.files import read_file
from recon_cli.runtime.limits import FIELDS, LINE, afford
from recon_cli.sources._base import Array, Source
from recon_cli.sources._files import column_places, is_exclusion, path_and_choice

ENDING = re.compile(r"\.(csv|tsv|tab|txt)(\.(gz|bz2|xz))?$")
PACKED = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}  # and the modules that unpack them
NOTHING = {"", "nan", "na", "n/a", "null", "none", "nat", "<na>"}  # what stands for a value that is not there
NAMELESS = re.compile(r"(Unnamed: [\d.]+)?")  # what pandas and R write above the names of the rows, and pandas again

BLOCK = 1 << 20  # bytes looked at in one go
MARKS, ENDS = (b",", b";", b"\t"), (b"\n", b"\r")


class Csv(Source):
    """``x.csv``: one sample a row; ``x.csv:a,b``: only these columns, by name or counted from 0; ``x.csv:-a,-b``: all but these.

    Also .tsv, .tab and .txt, and any of them packed as .gz, .bz2 or .xz. Fields are separated by tabs, semicolons or commas:
    the first of these in the first line; where there is none of them, by blanks. That line is
    a header where one of its fields is no number, or they are 0, 1, 2, ... Values are float64, shape (N, columns). A first
    column without a name that counts or names the rows is none of the samples', unless it is asked for.
    """

    takes = "a path"
    heeds = frozenset({"columns", "drop"})

    @classmethod
    def reads(cls, path: str) -> bool:
        return ENDING.search(path.lower()) is not None

    def read(self) -> Array:
        path, wanted = path_and_choice(self.argument)
        return read_file(path, lambda: self._checked(path, wanted))

    def _checked(self, path: str, wanted: str) -> Array:
        check_lengths(path)
        try:
            return self._table(TextTable.of(path), wanted)
        except UnicodeDecodeError as error:
            way = f"iconv -f latin1 -t utf-8 {path} > utf8.csv, or from utf-16."
            raise ReconError(
                f"{path} is no text in UTF-8: byte {error.start:,} is {error.object[error.start]:#04x}.", way
            ) from error

    def _table(self, table: TextTable, wanted: str) -> Array:
        table.check(bool(wanted))
        columns = column_places(wanted, table.names, table.column) if wanted else [*range(len(table.names))]
        if not wanted or is_exclusion(wanted, table.names):
            index = [at for at in table.index() if at in columns]
            columns = [at for at in columns if at not in index]
            self.remarks = (*table.remarks(), *table.nameless(), *(table.left_out(at) for at in index))
            self.without = f"{table.path}:{wanted}{',' * bool(wanted)}-"
        else:
            self.remarks, self.without = table.remarks(), None
        self.columns = tuple(table.names[at] for at in columns) if table.headed else ()
        missing = self.reading.missing is not None
        return table.read(columns if len(columns) < len(table.names) or wanted else None, missing)


@dataclass(frozen=True)
class TextTable:
    """A text file whose first row is known: its fields, and on which line it ends."""

    path: str
    delimiter: str
    first: list[str]
    ends: int

    @classmethod
    def of(cls, path: str) -> TextTable:
        """Return what the first line that is not blank tells of a file."""
        with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as file:
            line = next((line for line in file if not line.isspace()), "")
        bare = re.sub('"[^"]*"', "", line)
        delimiter = next((mark for mark in "\t;," if mark in bare), " " if len(bare.split()) > 1 else ",")
        if not line:
            raise ValueError("it holds no rows")
        ends, first = next(rows(path, delimiter))
        return cls(path, delimiter, [cell.strip() for cell in first], ends)

    @cached_property
    def headed(self) -> bool:
        """Whether the first row names the columns: a field of it is no number, or it counts them, as pandas does."""
        if len(self.first) > 1 and self.first == [str(at) for at in range(len(self.first))]:
            return len(self.first) > 3 or any(not (number(cell) or 0.0).is_integer() for cell in self.second)
        return any(number(cell) is None for cell in self.first)

    @cached_property
    def second(self) -> list[str]:
        """The fields of the first row below the header; none where there is no such row."""
        return next((cells for line, cells in rows(self.path, self.delimiter) if line > self.ends), [])

    @cached_property
    def shifted(self) -> bool:
        """Whether the header has one name less than each row has fields: the first are names of rows, as R writes them."""
        return self.headed and len(self.second) == len(self.first) + 1 and bool(self.second[-1].strip())

    @cached_property
    def names(self) -> list[str]:
        """What each column is called: as in the header, a name that comes again with a number behind; without one its number."""
        if not self.headed:
            return [str(at) for at in range(len(self.first))]
        names: list[str] = []
        used, again = {*self.first}, Counter[str]()
        for name in [""] * self.shifted + self.first:
            other = name
            while name and again[name] and other in used:
                other = f"{name}.{again[name]}"
                again[name] += 1
            again[name] = again[name] or 1
            used.add(other)
            names.append(other)
        return names

    def check(self, chosen: bool) -> None:
        """Raise ReconError where the header has another number of names than each row has fields."""
        if self.headed and self.second and len(self.second) != len(self.names):
            more = f"{len(self.first)} name{'s' * (len(self.first) != 1)}"
            raise ReconError(
                f"The header of {self.path} has {more}, and the row below it {len(self.second)} "
                f"field{'s' * (len(self.second) != 1)}: which name is whose cannot be told.",
                "Every column has one name, and every row a field for each; a mark at the end of a line begins one more.",
            )
        if chosen:  # numpy looks at the chosen columns alone
            for line, cells in rows(self.path, self.delimiter):
                if line > self.ends and len(cells) != len(self.names):
                    raise self.uneven(line, cells)

    def index(self) -> list[int]:
        """Return the columns, from the first on, that name the rows: nameless beside others, of words or whole numbers."""
        at = 0
        while self.headed and NAMELESS.fullmatch(self.names[at]) and any(self.names[at + 1 :]):
            values = (number(cells[at]) for line, cells in rows(self.path, self.delimiter) if line > self.ends)
            if not all(value is None or value.is_integer() for value in values):
                break
            at += 1
        return [*range(at)]

    def left_out(self, at: int) -> str:
        """Return what is to be said of a column that names the rows."""
        column = f"the column {self.names[at]!r}" if self.names[at] else "its first column, which has no name,"
        way = f"{self.path}:{at} reads it" if number(self.second[at]) is not None else "it holds no numbers"
        return f"{self.path}: {column} names the rows, and is left out; {way}."

    def remarks(self) -> tuple[str, ...]:
        """Return what is to be said of the header: names that are there more than once, or are numbers."""
        remarks, names = [], [name for name in self.first if self.headed and name]
        own = {"", *self.first}
        if twice := [f"{name!r} (column {at})" for at, name in enumerate(self.names) if self.headed and name not in own]:
            some = printable(", ".join(twice[:3]), 200) + ", ..." * (len(twice) > 3)
            remarks.append(f"{self.path}: names in its header are there more than once; those that come again are called {some}.")
        if count := sum(number(name) is not None for name in names):
            remarks.append(
                f"{self.path}: its first line is read as names, though {count:,} of {len(names):,} spell numbers; "
                "if it is a sample, put a line of names above it."
            )
        return tuple(remarks)

    def nameless(self) -> list[str]:
        """Return what is to be said of columns without a name that are read as features."""
        empty = [at for at, name in enumerate(self.names) if self.headed and not name and at not in self.index()]
        if not empty:
            return []
        which = listed([str(at) for at in empty])
        return [f"{self.path}: column {which} has no name, and is taken as a feature; {self.path}:-{empty[0]} leaves it out."]

    def read(self, columns: list[int] | None, missing: bool = False) -> Array:
        """Return the numbers of the columns, or of all; where some are ``missing``, an empty cell (nan, NA, null) is NaN.

        Raises ReconError for the first cell that is no finite number.
        """
        skip = self.ends if self.headed else 0
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                values: Array = numpy.loadtxt(
                    self.path, delimiter=self.delimiter.strip(" ") or None, quotechar='"', comments=None, encoding="utf-8-sig",
                    skiprows=skip, usecols=columns, ndmin=2, converters=number_or_nan if missing else None,
                )  # fmt: skip
        except ValueError as error:
            raise self.mistake(columns, skip, missing) or error from None
        if not len(values):
            raise ReconError(
                f"{self.path} has no row below its first, {self.delimiter.join(self.first)[:60]!r}, which is no row of numbers.",
                "Give one row of numbers for each sample; decimals have a point.",
            )
        if not (numpy.isfinite(values) | (numpy.isnan(values) & missing)).all():
            raise self.mistake(columns, skip) or ValueError("it holds numbers that are not finite")
        return values

    def column(self, name: str) -> int:
        """Return the place of a column, by its name or its number."""
        if self.headed and name in self.names:
            if self.first.count(name) > 1:
                places = [str(at) for at, other in enumerate(self.first, self.shifted) if other == name]
                raise ReconError(
                    f"{self.path} has {len(places)} columns named {printable(repr(name), 60)}.",
                    f"Choose by number: {self.path}:{places[0]}, or {self.path}:{places[1]}.",
                )
            return self.names.index(name)
        if (number := as_whole(name)) is not None and number < len(self.names):
            return number
        if self.headed:
            raise unknown("column", name, self.names)
        raise ReconError(
            f"{self.path} has no column {name!r}: it has {len(self.first)}, and no header that names them.",
            f"Count them from 0 to {len(self.first) - 1}.",
        )

    def uneven(self, line: int, cells: list[str]) -> ReconError:
        """Return the error for a row of another number of fields."""
        count = f"{len(cells)} field{'s' * (len(cells) != 1)}"
        return ReconError(
            f"{self.path} has {count} in line {line:,}, and {len(self.names)} in the first.",
            "Every row must have a number in every column.",
        )

    def mistake(self, columns: list[int] | None, skip: int, missing: bool = False) -> ReconError | None:
        """Return the error for the first field below line ``skip`` that is missing or no finite number; None if there is none."""
        for line, cells in rows(self.path, self.delimiter):
            if line <= skip:
                continue
            if len(cells) != len(self.names):
                return self.uneven(line, cells)
            for i in range(len(cells)) if columns is None else columns:
                value = number(cells[i])
                if (value is None or not math.isfinite(value)) and not (missing and cells[i].strip().lower() in NOTHING):
                    where = f"column {self.names[i]!r}" if self.headed else f"column {i} (the first is 0)"
                    if (
                        self.delimiter != ","
                        and "," in cells[i]
                        and number(cells[i].replace(".", "").replace(",", ".")) is not None
                    ):
                        return ReconError(
                            f"{self.path} has {cells[i][:40]!r} in line {line:,}, {where}: a decimal comma.",
                            f"Write points: pandas.read_csv({self.path!r}, sep={self.delimiter!r}, decimal=',').to_csv('x.csv').",
                        )
                    way = f"{self.path}:-{self.names[i] if self.headed and ',' not in self.names[i] and self.names[i] else i}"
                    gone = cells[i].strip().lower() in NOTHING
                    return ReconError(
                        f"{self.path} has {cells[i][:40]!r} in line {line:,}, {where}, where a finite number is expected.",
                        f"Mend or drop that row, or leave the column out: {way}{'; --missing nan takes it as not there' * gone}.",
                    )
        return None


def check_lengths(path: str) -> None:
    """Raise ReconError for lines, quoted fields or tables that are too long to be read; in one pass over the bytes."""
    line = fields = quoted = 0
    inside, size, done, packed = False, os.path.getsize(path), 0, os.path.splitext(path)[1].lower() in PACKED
    with opened(path) as file:
        while block := file.read(BLOCK):
            done += len(block)
            if packed:
                afford(path, done, size)
            elif done == len(block):  # as many numbers as in the first block everywhere
                afford(path, 8 * (1 + sum(map(block.count, MARKS + ENDS))) * size // len(block))
            # Lines that lie in a block whole are short enough.
            ends = [at for end in ENDS for at in (block.find(end), block.rfind(end)) if at >= 0]
            pieces = [block[: min(ends) + 1], block[max(ends) + 1 :]] if ends else [block]
            for piece in block.splitlines(keepends=True) if inside or b'"' in block else pieces:
                line, fields = line + len(piece), fields + max(map(piece.count, MARKS))
                inside ^= piece.count(b'"') % 2 == 1
                quoted = quoted + len(piece) if inside else 0
                if line > LINE or fields > FIELDS or quoted > LINE:
                    what = "a quoted field of" if quoted > LINE else "a line of"
                    raise ReconError(
                        f"{path} has {what} more than {LINE:,} characters or {FIELDS:,} fields.",
                        "Give one sample a line; larger ones as a .npy file, which is read piece by piece.",
                    )
                if piece.endswith(ENDS):
                    line = fields = 0


def rows(path: str, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    """Yield the rows that are not blank, each with the number of the line that it ends on."""
    with io.TextIOWrapper(opened(path), encoding="utf-8-sig", newline="") as file:
        lines = (" ".join(line.split()) for line in file) if delimiter == " " else file
        reader = csv.reader(lines, delimiter=delimiter)
        for cells in reader:
            if cells:
                yield reader.line_num, cells


def opened(path: str) -> IO[bytes]:
    """Return a file of bytes, unpacked by what its ending says."""
    module = PACKED.get(os.path.splitext(path)[1].lower())
    file: IO[bytes] = importlib.import_module(module).open(path, "rb") if module else open(path, "rb")  # noqa: SIM115
    return file


def number_or_nan(cell: str) -> float:
    """Return a field as a number, NaN for what stands for none. Raises ValueError for words."""
    return math.nan if cell.strip().lower() in NOTHING else float(cell)


def number(cell: str) -> float | None:
    """Return a field as a number, or None."""
    try:
        return float(cell)
    except ValueError:
        return None
