"""What a command found, as plain data. Numbers stay numbers until a format writes them.

``None`` means "not measured" and is never written as 0. A :class:`Formula` stays a formula: each
format takes the spelling that it can show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields, replace
from functools import cache
from typing import Any, TypeAlias, TypeVar

from recon_cli.errors import DISTRIBUTION

Item = TypeVar("Item")


@cache
def installed(name: str) -> str | None:
    """Return the version of a distribution that is installed; None of one that is not."""
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def version() -> str:
    """Return recon's version, as it is installed; 0.0.0 of a source tree that is not."""
    return installed(DISTRIBUTION) or "0.0.0"


@dataclass(frozen=True)
class Formula:
    """One formula in three spellings: for programs, for a terminal, for a paper."""

    text: str
    unicode: str
    latex: str

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class Column:
    """One column: its key in JSON, and how people see it.

    panel
        wide tables are shown as several narrow ones, one a panel; a column whose panel is ``"*"``
        opens every one of them, and one whose panel is None is written but not shown.
    brief
        whether it belongs to the answer: a summary shows the tables that have such columns, and of them only those.
    """

    key: str
    title: str
    panel: str | None = ""
    brief: bool = False


def column(title: str, panel: str | None = "", *, default: Any = MISSING, brief: bool = False) -> Any:
    """Return a dataclass field that is a column of every table of its class: see :class:`Column`."""
    return field(default=default, metadata={"title": title, "panel": panel, "brief": brief})


def columns_of(kind: type) -> list[Column]:
    """Return the columns that a dataclass declares, in the order of its fields, those that open every panel first."""
    every = [(one.name, one.metadata) for one in fields(kind) if "title" in one.metadata]
    columns = [Column(name, declared["title"], declared["panel"], declared["brief"]) for name, declared in every]
    return sorted(columns, key=lambda each: each.panel != "*")


class Detail(str):
    """A note that explains, and is no part of the answer: a summary leaves it out. Any other note is always shown."""

    __slots__ = ()


def evenly(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most ``most`` of the items, evenly spread, the first and the last among them."""
    if most is None or len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / max(1, most - 1))] for i in range(most)]


@dataclass(frozen=True)
class Table:
    """Rows under one name.

    layout
        ``"grid"``, ``"steps"`` for numbered statements with their reasons, or ``"lines"``: the first column a line each, and
        below it, never broken, what the second has of it, a string or several.
    most
        on a terminal, at most this many rows, evenly spread (every other format has all of them).
    wrong
        the word for a statement that does not check, among steps.
    answer
        whether a summary has all of it; else, of a grid, its ``brief`` columns, and of steps and lines those alone.
    few
        how many rows a summary has, the first ones, or where ``spread`` evenly spread ones; None for all.
    reasons
        whether the reasons of steps, and what is below lines, are shown.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    layout: str = "grid"
    most: int | None = None
    wrong: str = "refuted"
    answer: bool = False
    few: int | None = None
    spread: bool = False
    reasons: bool = True

    @classmethod
    def of(
        cls, name: str, kind: type, rows: Sequence[Any], title: str = "", *, layout: str = "grid", most: int | None = None,
        few: int | None = None, spread: bool = False,
    ) -> Table:  # fmt: skip
        """Return the table of ``rows``, objects of the dataclass ``kind``, whose columns its fields declare."""
        columns = columns_of(kind)
        values = [{each.key: getattr(row, each.key) for each in columns} for row in rows]
        return cls(name, columns, values, title, layout, most, few=few, spread=spread)

    def details(self) -> Table:
        """Return the same table, none of it part of the answer."""
        return replace(self, columns=[replace(each, brief=False) for each in self.columns])

    def summary(self) -> Table | None:
        """Return what belongs to the answer, None where nothing does."""
        if self.answer:
            return self
        if self.layout != "grid":
            return replace(self, reasons=False)
        columns = [each for each in self.columns if each.brief or each.panel == "*"]
        rows = evenly(self.rows, self.few) if self.spread else self.rows[: self.few]
        return replace(self, columns=columns, rows=rows) if any(each.brief for each in columns) else None


@dataclass(frozen=True)
class LeftOut:
    """A likelihood that was not measured, and why."""

    likelihood: str = column("left out", "*")
    why: str = column("why")


Pixel: TypeAlias = "float | tuple[float, float, float]"  # brightness, or red, green and blue; in [0, 1]
Image: TypeAlias = "Sequence[Sequence[Pixel]]"  # lines of pixels


@dataclass(frozen=True)
class Picture:
    """Images of one size side by side, in rows that are labelled."""

    title: str
    rows: Sequence[tuple[str, Sequence[Image]]]


@dataclass(frozen=True)
class Series:
    """Numbers over the x of a :class:`Chart`, one for each, None where there is none; or the points of a cloud.

    kind
        ``"line"``, ``"dashes"``, ``"bars"`` or ``"points"``.
    side
        whether on the scale at the right, of other units.
    """

    name: str
    values: Sequence[float | None]
    kind: str = "line"
    side: bool = False


@dataclass(frozen=True)
class Chart:
    """Numbers to be drawn.

    x
        in order; titles name the axes, ``y_title`` the one at the left, ``side_title`` the one at the right.
    scales
        of x and of y: ``"linear"``, ``"log"``, or ``"signed-log"``, whose numbers are sign(v) log10(1 + |v|) already.
    level, named
        a number of y that is marked, and what it is called.
    note
        what there is to see, in a sentence.
    ranked
        whether it is positive numbers, the largest first, which a terminal can show too.
    """

    title: str
    x: Sequence[float]
    series: Sequence[Series]
    x_title: str = ""
    y_title: str = ""
    side_title: str = ""
    scales: tuple[str, str] = ("linear", "linear")
    level: float | None = None
    named: str = ""
    note: str = ""
    ranked: bool = False


@dataclass(frozen=True)
class Adjustable:
    """What a page computes anew for other values than those that were asked for: its subclasses have the numbers that takes.

    Their fields are plain numbers, words and tuples of them; the page's own file for each is ``formats/_page/CLASS.js``.
    """


@dataclass(frozen=True)
class Block:
    """One term of a sum: what it is of, its weight, in words over what it is averaged or summed, and whether it is subtracted."""

    name: str
    arguments: str
    weight: str
    over: str
    minus: bool = False


@dataclass(frozen=True)
class Diagram:
    """A sum of weighted terms, and what it amounts to, a line each."""

    title: str
    blocks: Sequence[Block]
    total: Sequence[str]


@dataclass(frozen=True)
class Excerpt:
    """Lines of a file: (number, text); with remarks, each at a line: (number, code, sentence)."""

    file: str
    lines: Sequence[tuple[int, str]]
    remarks: Sequence[tuple[int, str, str]]


@dataclass(frozen=True)
class Report:
    """What a command found: tables, what they mean in words, and whether it holds (the exit code).

    holds
        None where nothing was judged: neither a pass nor a failure.
    lead
        what is said before the tables; in JSON the first notes.
    arguments
        what the command was called with, by option, where a command line made it.
    whole
        whether that is all, and the work was not interrupted.
    charts, pictures, exhibits
        what a page shows beside, as far as a format can; never part of JSON.
    """

    command: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    verdict: str = ""
    holds: bool | None = True
    pictures: Sequence[Picture] = field(default=())
    whole: bool = True
    charts: Sequence[Chart] = field(default=())
    lead: Sequence[str] = ()
    arguments: Mapping[str, Any] = field(default_factory=dict)
    exhibits: Sequence[Adjustable | Diagram | Excerpt] = ()

    def summary(self) -> Report:
        """Return the answer alone: the verdict, what belongs to it of the tables, and the notes that are no :class:`Detail`."""
        tables = [brief for table in self.tables if (brief := table.summary())]
        notes = [note for note in self.notes if not isinstance(note, Detail)]
        return replace(self, tables=tables, notes=notes, charts=(), pictures=(), exhibits=())
