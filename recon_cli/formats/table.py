"""Tables for people, on a terminal or in a pipe."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, TextIO, TypeAlias, TypeVar

from rich import box
from rich.console import Console
from rich.padding import Padding
from rich.table import Table as Grid
from rich.text import Text

from recon_cli.errors import printable
from recon_cli.formats import ASCII, panels, spell, subject_of
from recon_cli.report import Chart, Column, Formula, Picture, Report, Table

Item = TypeVar("Item")
Row: TypeAlias = Mapping[str, Any]
Rows: TypeAlias = Sequence[Row]
Section: TypeAlias = tuple[str, list[Column]]  # a panel: its title and its columns
EIGHTHS = " ▁▂▃▄▅▆▇█"
COLOURS = {True: "green", False: "red", None: "dim"}


def write(report: Report, file: TextIO) -> None:
    """As wide as the terminal; colour and pictures only where there is one, plain ASCII where it must be."""
    console = Console(file=file, highlight=False, soft_wrap=False)
    page = Page(console, unicode=console.encoding.lower().startswith("utf"))
    with console.capture() as screen:
        for sentence in report.lead:
            console.print(Padding(page.text(sentence, "bold"), (1, 1, 0, 1)))
        for table in report.tables:
            if table.layout == "steps":
                page.steps(table)
            else:
                page.grids(table)
        if console.is_terminal and console.color_system and page.unicode:
            for picture in report.pictures:
                page.picture(picture)
        for chart in report.charts:
            page.chart(chart)
        for note in report.notes:
            console.print(Padding(page.text(note), (0, 1, 1, 1)))
        if report.verdict:
            mark = "✓" if report.holds else "✗"
            verdict = page.text(f"{mark} {report.verdict}", f"bold {COLOURS[report.holds]}")
            console.print(Padding(verdict, (0, 1, 0, 1)))
    file.write("".join(line.rstrip() + "\n" for line in screen.get().splitlines()))


class Page:
    """Draws the parts of a report on one console."""

    def __init__(self, console: Console, unicode: bool) -> None:
        self.console = console
        self.unicode = unicode

    def text(self, text: str, style: str = "") -> Text:
        """Return text as this console can show it."""
        text = text if text.replace("\n", "").isprintable() else printable(text, len(text))
        return Text(text if self.unicode else text.translate(ASCII), style)

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
        if self.fits(whole := self.grid(every, rows)) and (len(rows) > 3 or len(every) <= 8):
            views = [(table.title, whole)]
        elif 0 < len(rows) <= 3 and self.fits(side := self.side(opening, sections, rows)):
            views = [("", side)]
        elif all(self.fits(grid) for _, grid in narrow):
            views = narrow
        elif len(every) > 8 and 0 < len(rows) <= 8:
            views = [("", self.side(opening, sections, block)) for block in self.blocks(opening, sections, rows)]
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

    def grid(self, columns: Sequence[Column], rows: Rows) -> Grid:
        """Return columns of numbers set to the right, of words to the left."""
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
        for column in columns:
            values = [row.get(column.key) for row in rows]
            number = all(isinstance(value, (int, float, type(None))) and not isinstance(value, bool) for value in values)
            grid.add_column(self.text(column.title), justify="right" if number else "left", no_wrap=number, overflow="fold")
        for row in rows:
            grid.add_row(*(self.cell(row.get(column.key)) for column in columns))
        return grid

    def side(self, opening: Sequence[Column], sections: Sequence[Section], rows: Rows) -> Grid:
        """Return a column for each row, headed by the opening cells that tell it from the others, a block for each panel."""
        grid = Grid(box=box.SIMPLE_HEAD, show_edge=False, header_style="bold")
        heads = [[self.cell(row.get(column.key)).plain for column in opening] for row in rows]
        shared = [len(rows) > 1 and len(set(words)) == 1 for words in zip(*heads, strict=True)]
        common = [word for word, same in zip(heads[0], shared, strict=True) if same]
        grid.add_column(Text("\n".join(common)))
        for head in heads:
            own = [word for word, same in zip(head, shared, strict=True) if word and not same]
            grid.add_column(Text("\n".join(own)), justify="right", no_wrap=True)
        for title, columns in sections:
            grid.add_row(self.text(title, "italic"))
            for column in columns:
                if column not in opening:
                    grid.add_row(self.text(f"  {column.title}"), *(self.cell(row.get(column.key)) for row in rows))
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
                mark = {True: "✓", False: "✗", None: " "}[row["checked"]]
                body = self.cell(row["statement"])
                body.stylize("bold")
                body.append_text(self.text(f"\n{row['because']}\n", "dim"))
                if row["checked"] is False:
                    body.append_text(self.text(f"{table.wrong}\n", "bold red"))
                grid.add_row(str(row["step"]), self.text(mark, COLOURS[row["checked"]]), body)
            self.console.print(grid)

    def picture(self, picture: Picture) -> None:
        """Print rows of grey images in half-blocks: two lines of pixels to a line of text."""
        self.console.print(self.text(f" {picture.title}", "bold"))
        wide = max(len(label) for label, _ in picture.rows)
        for label, images in picture.rows:
            width = len(images[0][0]) + 1
            fitting = images[: max(1, (self.console.width - wide - 3) // width)]
            for top in range(0, len(fitting[0]), 2):
                line = Text().append(f" {label if top == 0 else '':{wide}} ", "dim")
                for image in fitting:
                    pair = (image[top], image[top + 1] if top + 1 < len(image) else [0.0] * len(image[top]))
                    for upper, lower in zip(*pair, strict=True):
                        line.append("▀", f"{grey(upper)} on {grey(lower)}")
                    line.append(" ")
                self.console.print(line, no_wrap=True, crop=True)
            self.console.print()

    def chart(self, chart: Chart, width: int = 64, height: int = 8) -> None:
        """Print a column for each of at most ``width`` numbers, evenly spread, in eighths of a line; below the level in grey."""
        values = [*evenly(chart.values, width)]
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
        last = f"{len(chart.values):,}"
        self.console.print(self.text(f" {'':14}  1{last:>{max(1, len(values) - 1)}}\n", "dim"))


def grey(brightness: float) -> str:
    """Return a brightness in [0, 1] as a colour."""
    level = round(255 * min(1.0, max(0.0, brightness)))
    return f"#{level:02x}{level:02x}{level:02x}"


def evenly(items: Sequence[Item], most: int | None) -> Sequence[Item]:
    """Return at most ``most`` of the items, evenly spread, the first and the last among them."""
    if most is None or len(items) <= most:
        return items
    return [items[round(i * (len(items) - 1) / max(1, most - 1))] for i in range(most)]
