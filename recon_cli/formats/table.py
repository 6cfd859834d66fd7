"""Tables for people, on a terminal or in a pipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from textwrap import wrap
from typing import Any, TextIO, TypeAlias

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from recon_cli.errors import printable
from recon_cli.formats import ASCII, panels, spell, subject_of
from recon_cli.report import Chart, Column, Formula, Picture, Pixel, Report, Table, evenly

SUFFIX = ".txt"  # of files in this format

Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
Section: TypeAlias = tuple[str, list[Column]]  # a panel: its title and its columns
EIGHTHS = " ▁▂▃▄▅▆▇█"
WIDEST = 88  # columns of prose
LARGEST = 64  # pixels: a wider image is no good in half-blocks
MARKS = {True: "✓", False: "✗", None: "–"}
COLOURS = {True: "green", False: "red", None: "dim"}


def write(report: Report, file: TextIO) -> None:
    """Write the verdict first, then tables as wide as the terminal, prose no wider than is read well.

    Colour and pictures only where there is a terminal, plain ASCII where it must be.
    """
    console = Console(file=file, highlight=False, soft_wrap=False)
    page = Page(console, unicode=console.encoding.lower().startswith("utf"))
    with console.capture() as screen:
        if report.verdict:
            page.prose(f"{MARKS[report.holds]} {report.verdict}", f"bold {COLOURS[report.holds]}", hang=2)
        for sentence in report.lead:
            console.print()
            page.prose(sentence, "bold")
        for table in report.tables:
            if table.layout == "steps":
                page.steps(table)
            elif table.layout == "lines":
                page.lines(table)
            else:
                page.grids(table)
        if console.is_terminal and console.color_system and page.unicode:
            for picture in report.pictures:
                if len(picture.rows[0][1][0][0]) <= LARGEST:
                    page.picture(picture)
        for chart in report.charts:
            if chart.ranked:
                page.chart(chart)
        for note in report.notes:
            console.print()
            page.prose(note)
    lines = [line.rstrip() for line in screen.get().splitlines()]
    full = [line for line, before in zip(lines, ["", *lines], strict=False) if line or before]  # no two empty lines in a row
    file.write("\n".join(full).rstrip("\n") + "\n" * bool(full))


class Page:
    """Draws the parts of a report on one console."""

    def __init__(self, console: Console, unicode: bool) -> None:
        self.console = console
        self.unicode = unicode

    def text(self, text: str, style: str = "") -> Text:
        """Return text as this console can show it."""
        text = text if text.replace("\n", "").isprintable() else printable(text, len(text))
        return Text(text if self.unicode else text.translate(ASCII), style)

    def prose(self, text: str, style: str = "", hang: int = 0) -> None:
        """Print a sentence, wrapped at ``WIDEST`` columns; lines after the first begin ``hang`` columns in."""
        width = min(self.console.width, WIDEST) - 1
        for paragraph in self.text(text).plain.split("\n"):
            for line in wrap(paragraph, width, subsequent_indent=" " * hang, break_long_words=False, break_on_hyphens=False):
                self.console.print(Text(line, style), soft_wrap=True)

    def cell(self, value: object) -> Text:
        """Return a value as people read it: six digits, a dash for what was not measured."""
        if isinstance(value, Formula):
            return Text(value.unicode if self.unicode else value.text)
        if value is None:
            return self.text("–", "dim")
        if isinstance(value, bool):
            mark = ("✓ " if value else "✗ ") if self.unicode else ""
            return self.text(f"{mark}{'yes' if value else 'no'}", COLOURS[value])
        return self.text(spell(value, 6))

    def grids(self, table: Table) -> None:
        """Print a table: wide where it fits, a few rows on their side where that reads better, else in panels."""
        rows = evenly(table.rows, table.most)
        sections = [*panels(table)]
        if not sections:
            return
        opening = [column for column in table.columns if column.panel == "*"]
        every = opening + [column for _, columns in sections for column in columns if column not in opening]
        narrow = [(title, self.grid(columns, rows)) for title, columns in sections]
        whole = next((grid for align in (True, False) if self.fits(grid := self.grid(every, rows, align))), None)
        if whole is not None and (len(rows) > 3 or len(every) <= 8):
            views = [(table.title, whole)]
        elif 0 < len(rows) <= 3 and self.fits(side := self.side(opening, sections, rows)):
            views = [(self.name_of(opening, rows) or table.title, side)]
        elif all(self.fits(grid) for _, grid in narrow):
            views = narrow
        elif len(every) > 8 and 0 < len(rows) <= 8:
            runs = self.blocks(opening, sections, rows)
            views = [(self.name_of(opening, run), self.side(opening, sections, run)) for run in runs]
        else:
            views = [(title, self.grid(part, rows)) for title, columns in sections for part in self.parts(columns, opening, rows)]
        for title, grid in views:
            self.console.print()
            if title:
                self.console.print(self.text(f" {title}", "bold"))
            self.console.print(Padding(grid, (0, 0, 0, 1)))
        self.console.print()
        if len(rows) < len(table.rows):
            self.console.print(self.text(f" {len(rows)} of {len(table.rows)} rows; --format csv has them all.\n", "dim"))

    def name_of(self, opening: Sequence[Column], rows: Rows) -> str:
        """Return what a single row on its side is about; of several each has its own head."""
        words = [self.cell(row.get(column.key)).plain for row in rows for column in opening if row.get(column.key)]
        return ", ".join(words) if len(rows) == 1 else ""

    def blocks(self, opening: Sequence[Column], sections: Sequence[Section], rows: Rows) -> list[list[Row]]:
        """Return as few runs of ``rows`` as fit the width on their side."""
        runs = [[rows[0]]]
        for row in rows[1:]:
            if self.fits(self.side(opening, sections, [*runs[-1], row])):
                runs[-1].append(row)
            else:
                runs.append([row])
        return runs

    def parts(self, columns: Sequence[Column], opening: Sequence[Column], rows: Rows) -> list[list[Column]]:
        """Return as few runs of ``columns`` as fit the width, each opened by the same ones."""
        runs = [[*opening]]
        for column in columns:
            if column in opening:
                continue
            if len(runs[-1]) > len(opening) and not self.fits(self.grid([*runs[-1], column], rows)):
                runs.append([*opening])
            runs[-1].append(column)
        return runs

    def fits(self, grid: Grid) -> bool:
        """Whether a grid needs no more than the width there is."""
        return self.console.measure(grid, options=self.console.options.update(max_width=1000)).maximum < self.console.width

    def grid(self, columns: Sequence[Column], rows: Rows, align: bool = True) -> Grid:
        """Return columns of numbers set to the right (with ``align`` their decimal points in one place), of words to the left."""
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
        cells: list[list[Text]] = []
        for column in columns:
            values = [row.get(column.key) for row in rows]
            number = all(value is None or is_number(value) for value in values)
            title = self.text(column.title)
            each = self.aligned(values) if align and number else [*map(self.cell, values)]
            if number:
                wide = max(map(len, [title, *each]))
                for cell in [title, *each]:
                    cell.pad_left(wide - len(cell))
            grid.add_column(title, no_wrap=number, overflow="fold")
            cells.append(each)
        for row in zip(*cells, strict=True):
            grid.add_row(*row)
        return grid

    def aligned(self, values: Sequence[object]) -> list[Text]:
        """Return the cells of values one below the other, numbers with their decimal points in one place."""
        cells = [self.cell(value) for value in values]
        numbers = [value is None or is_number(value) for value in values]
        heads = [
            len(cell.plain.partition(".")[0].partition("e")[0]) if number else 0
            for cell, number in zip(cells, numbers, strict=True)
        ]
        before = max(heads, default=0)
        tails = [len(cell) - head for cell, head, number in zip(cells, heads, numbers, strict=True) if number]
        after = max(tails, default=0)
        for cell, head, number in zip(cells, heads, numbers, strict=True):
            if number:
                cell.pad_right(after - len(cell) + head)
                cell.pad_left(before - head)
        return cells

    def side(self, opening: Sequence[Column], sections: Sequence[Section], rows: Rows) -> Grid:
        """Return a column for each row, headed by the opening cells that tell it from the others, a block for each panel."""
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold", show_header=len(rows) > 1)
        heads = [[self.cell(row.get(column.key)).plain for column in opening] for row in rows]
        shared = [len(rows) > 1 and len(set(words)) == 1 for words in zip(*heads, strict=True)]
        common = [word for word, same in zip(heads[0], shared, strict=True) if same]
        grid.add_column(Text("\n".join(common)))
        for head in heads:
            own = [word for word, same in zip(head, shared, strict=True) if word and not same]
            grid.add_column(Text("\n".join(own)), no_wrap=True)
        columns = [column for _, part in sections for column in part if column not in opening]
        cells = [self.aligned([row.get(column.key) for column in columns]) for row in rows]
        by_column = iter(zip(*cells, strict=True))
        for title, part in sections:
            if title:
                grid.add_row(self.text(title, "italic"))
            for column in part:
                if column not in opening:
                    grid.add_row(self.text(f"{'  ' * bool(title)}{column.title}"), *next(by_column))
            if title != sections[-1][0]:
                grid.add_row("")
        return grid

    def steps(self, table: Table) -> None:
        """Print numbered statements, each with its check and its reason, under the heading of what they are about."""
        for subject in dict.fromkeys(map(subject_of, table.rows)):
            self.console.print()
            self.console.print(self.text(f" {subject}", "bold"))
            grid = Grid.grid(padding=(0, 1))
            grid.add_column(justify="right", min_width=3)
            grid.add_column()
            grid.add_column()
            for row in (row for row in table.rows if subject_of(row) == subject):
                body = self.cell(row["statement"])
                body.stylize("bold")
                if table.reasons:
                    body.append_text(self.text(f"\n{row['because']}\n", "" if table.answer else "dim"))
                if row["checked"] is False:
                    body.append_text(self.text(f"{table.wrong}\n" if table.reasons else f"  {table.wrong}", "bold red"))
                grid.add_row(str(row["step"]), self.text(MARKS[row["checked"]].strip("–"), COLOURS[row["checked"]]), body)
            self.console.print(grid)

    def lines(self, table: Table) -> None:
        """Print a line a row, and below it, indented and never broken, what is to copy or to know of it."""
        line, below = (column.key for column in table.columns[:2])
        self.console.print()
        for row in table.rows:
            under = [row[below]] if isinstance(row[below], str) else row[below]
            self.console.print(self.text(row[line], "bold" * table.reasons), soft_wrap=True)
            for each in under if table.reasons else ():
                self.console.print(self.text(f"    {each}"), soft_wrap=True)
            if under and table.reasons:
                self.console.print()

    def picture(self, picture: Picture) -> None:
        """Print rows of images in half-blocks: two lines of pixels to a line of text."""
        self.console.print(self.text(f" {picture.title}", "bold"))
        wide = max(len(label) for label, _ in picture.rows)
        for label, images in picture.rows:
            width = len(images[0][0]) + 1
            fitting = images[: max(1, (self.console.width - wide - 3) // width)]
            for top in range(0, len(fitting[0]), 2):
                line = Text().append(f" {label if top == 0 else '':{wide}} ", "dim")
                for image in fitting:
                    below: Sequence[Pixel] = image[top + 1] if top + 1 < len(image) else [0.0] * len(image[top])
                    for upper, lower in zip(image[top], below, strict=True):
                        line.append("▀", f"{colour(upper)} on {colour(lower)}")
                    line.append(" ")
                self.console.print(line, no_wrap=True, crop=True)
            self.console.print()

    def chart(self, chart: Chart, width: int = 64, height: int = 8) -> None:
        """Print a column for each of at most ``width`` ranked numbers, evenly spread, in eighths of a line.

        On a logarithmic scale; below the level in grey.
        """
        every = [value for value in chart.series[0].values if value is not None]
        values = [*evenly(every, width)]
        level = chart.level or 0.0
        low, high = math.log(max(min(values + [level] * (level > 0)), 1e-4 * values[0])), math.log(max(values[0], level))
        heights = [1 + (8 * height - 1) * max(0.0, math.log(value) - low) / (high - low or 1) for value in values]
        water = round((8 * height - 1) * max(0.0, math.log(level) - low) / (high - low or 1)) // 8 if level else None
        self.console.print(self.text(f" {chart.title}\n", "bold"))
        for line in reversed(range(height)):
            label = {height - 1: f"{math.exp(high):.3g}", 0: f"{math.exp(low):.3g}"}.get(line, "")
            label = f"{chart.named} {level:.3g}" if line == water else label
            bars = self.text(f" {label:>14} {'┤' if label else '│'}", "dim")
            for value, tall in zip(values, heights, strict=True):
                bars.append_text(self.text(EIGHTHS[min(8, max(0, round(tall) - 8 * line))], "" if value > level else "dim"))
            self.console.print(bars, no_wrap=True, crop=True)
        self.console.print(self.text(f" {'':14} └{'─' * len(values)}", "dim"))
        last = f"{len(every):,}"
        self.console.print(self.text(f" {'':14}  1{last:>{max(1, len(values) - 1)}}\n", "dim"))


def is_number(value: object) -> bool:
    """Whether a value is a number, and no truth."""
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def colour(pixel: Pixel) -> str:
    """Return a pixel as a colour."""
    parts = pixel if isinstance(pixel, Sequence) else (pixel,) * 3
    return "#" + "".join(f"{round(255 * min(1.0, max(0.0, part))):02x}" for part in parts)
