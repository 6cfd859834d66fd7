"""What a command found, as plain data. Numbers stay numbers until a format writes them.

``None`` means "not measured" and is never written as 0. A :class:`Formula` stays a formula: each
format takes the spelling that it can show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from functools import cache
from typing import Any

from recon_cli.errors import DISTRIBUTION


@cache
def version() -> str:
    """Return recon's version, as it is installed; 0.0.0 of a source tree that is not."""
    from importlib import metadata

    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "0.0.0"


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
    """

    key: str
    title: str
    panel: str | None = ""


def column(title: str, panel: str | None = "", *, default: Any = MISSING) -> Any:
    """Return a dataclass field that is a column of every table of its class: see :class:`Column`."""
    return field(default=default, metadata={"title": title, "panel": panel})


def columns_of(kind: type) -> list[Column]:
    """Return the columns that a dataclass declares, in the order of its fields, those that open every panel first."""
    shown = [Column(one.name, one.metadata["title"], one.metadata["panel"]) for one in fields(kind) if "title" in one.metadata]
    return sorted(shown, key=lambda each: each.panel != "*")


@dataclass(frozen=True)
class Table:
    """Rows under one name.

    layout
        ``"grid"``, or ``"steps"`` for numbered statements with their reasons.
    most
        on a terminal, at most this many rows, evenly spread (every other format has all of them).
    wrong
        the word for a statement that does not check, among steps.
    """

    name: str
    columns: Sequence[Column]
    rows: Sequence[Mapping[str, Any]]
    title: str = ""
    layout: str = "grid"
    most: int | None = None
    wrong: str = "refuted"

    @classmethod
    def of(
        cls, name: str, kind: type, rows: Sequence[Any], title: str = "", *, layout: str = "grid", most: int | None = None
    ) -> Table:  # fmt: skip
        """Return the table of ``rows``, objects of the dataclass ``kind``, whose columns its fields declare."""
        columns = columns_of(kind)
        values = [{each.key: getattr(row, each.key) for each in columns} for row in rows]
        return cls(name, columns, values, title, layout, most)


@dataclass(frozen=True)
class LeftOut:
    """A likelihood that was not measured, and why."""

    likelihood: str = column("left out", "*")
    why: str = column("why")


@dataclass(frozen=True)
class Picture:
    """Grey images side by side: ``rows[i][j]`` is an image, a list of lines of brightness in [0, 1]."""

    title: str
    rows: Sequence[tuple[str, Sequence[Sequence[Sequence[float]]]]]


@dataclass(frozen=True)
class Chart:
    """Positive numbers, the largest first, as bars on a logarithmic scale, and a level that some of them reach."""

    title: str
    values: Sequence[float]
    level: float | None = None
    named: str = ""


@dataclass(frozen=True)
class Report:
    """What a command found: tables, what they mean in words, and whether it holds (the exit code).

    lead
        what is said before the tables; in JSON the first notes.
    whole
        whether that is all, and the work was not interrupted.
    """

    command: str
    tables: Sequence[Table]
    notes: Sequence[str] = ()
    verdict: str = ""
    holds: bool = True
    pictures: Sequence[Picture] = field(default=())
    whole: bool = True
    charts: Sequence[Chart] = field(default=())
    lead: Sequence[str] = ()
