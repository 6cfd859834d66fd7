"""The tables of a report as HTML, on a page of its own and in a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from recon_cli.formats import panels, spell, subject_of
from recon_cli.formats._markup import text
from recon_cli.report import Column, Formula, Table, evenly

Columns: TypeAlias = Sequence[Column]
Groups: TypeAlias = Sequence[tuple[str, Columns]]  # under the title of a panel
Rows: TypeAlias = Sequence[Mapping[str, Any]]
MARKS = {True: "✓", False: "✗", None: "–"}
WORDS = {True: "yes", False: "no", None: "open"}  # class names
TITLES = {True: "checked", False: "false", None: ""}
MOST = 1000  # rows of a table; a longer one is shown evenly spread, and whole in the data
FEW = 3  # rows of a wide table that are set side by side, a line for each column; files whose code comes before the answer


def block(table: Table) -> Iterator[str]:
    """Yield the parts of a table."""
    if table.layout == "steps":
        yield from steps(table)
    elif table.layout == "lines":
        yield lines(table)
    elif sections := [*panels(table)]:
        yield grid(table, sections)


def grid(table: Table, sections: Groups) -> str:
    """Return a table as wide as it is, its panels headed; of a few rows with many columns on their side."""
    opening = [column for column in table.columns if column.panel == "*"]
    groups = [(title, [each for each in columns if each not in opening]) for title, columns in sections]
    columns = [*opening, *(each for _, part in groups for each in part)]
    rows = evenly(table.rows, MOST)
    name = table.title or (sections[0][0] if len(sections) == 1 else "") or table.name.replace("_", " ")
    name += f" ({len(rows):,} of {len(table.rows):,} rows)" * (len(rows) < len(table.rows))
    inside = (side if 0 < len(rows) <= FEW and len(columns) > 7 else upright)(opening, groups, rows)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(name)}">'
        f"<table><caption>{text(name)}</caption>{inside}</table></div>"
    )


def upright(opening: Columns, groups: Groups, rows: Rows) -> str:
    """Return head and body of a table, a line for each row."""
    columns = [*opening, *(each for _, part in groups for each in part)]
    numeric = {each.key for each in columns if all(is_number(row.get(each.key)) for row in rows)}

    def head(each: Column, more: str = "") -> str:
        return f'<th scope="col"{" class=n" * (each.key in numeric)}{more}>{text(each.title)}</th>'

    heads = [[*map(head, columns)]]
    if len(groups) > 1:
        above = [head(each, ' rowspan="2"') for each in opening]
        above += [f'<th scope="colgroup" colspan="{len(part)}">{text(title)}</th>' for title, part in groups if part]
        heads = [above, [head(each) for _, part in groups for each in part]]
    lines = [[cell(row.get(each.key), each.key in numeric) for each in columns] for row in rows]
    return f"<thead>{''.join(map(line_of, heads))}</thead><tbody>{''.join(map(line_of, lines))}</tbody>"


def side(opening: Columns, groups: Groups, rows: Rows) -> str:
    """Return head and body of a table, a column for each row."""
    heads = ["<td></td>"]
    heads += [f'<th scope="col">{", ".join(filter(None, (shown(row.get(each.key)) for each in opening)))}</th>' for row in rows]
    lines = []
    for title, part in groups:
        if title and len(groups) > 1:
            lines.append([f'<th scope="rowgroup" colspan="{len(rows) + 1}">{text(title)}</th>'])
        lines += [[f'<th scope="row">{text(each.title)}</th>', *(cell(row.get(each.key), True) for row in rows)] for each in part]
    return f"<thead>{line_of(heads)}</thead><tbody>{''.join(map(line_of, lines))}</tbody>"


def line_of(cells: Iterable[str]) -> str:
    """Return a line of a table."""
    return f"<tr>{''.join(cells)}</tr>"


def steps(table: Table) -> Iterator[str]:
    """Yield numbered statements, each with its check and, to be opened unless it is part of the answer, its reason."""
    for subject in dict.fromkeys(map(subject_of, table.rows)):
        rows = [row for row in table.rows if subject_of(row) == subject]
        items = []
        for row in rows:
            checked, statement = row["checked"], shown(row["statement"])
            mark = f'<span class="mark {WORDS[checked]}" title="{TITLES[checked]}">{MARKS[checked]}</span> '
            reason = f"<p>{sentence(row['because'])}</p>"
            wrong = f' <b class="wrong">{text(table.wrong)}</b>' * (checked is False)
            words = f"{mark * (checked is not None)}<b>{statement}</b>{wrong}"
            folded = f"{words}{reason}" if table.answer else f"<details><summary>{words}</summary>{reason}</details>"
            folded = folded if table.reasons else words
            items.append(f'<li value="{row["step"]}">{folded}</li>')
        yield f'<h2>{text(subject)}</h2><ol class="steps">{"".join(items)}</ol>'


def lines(table: Table) -> str:
    """Return a line a row, and below it what is to copy, or, to be opened, what is to know of it."""
    line, below = (column.key for column in table.columns[:2])
    parts = []
    for row in table.rows:
        head, under = sentence(row[line]), row[below]
        if "holds" in row:
            head = f'<span class="mark {WORDS[row["holds"]]}">{MARKS[row["holds"]]}</span> {head}'
        if isinstance(under, str):
            parts.append(f'<dt>{head}</dt><dd><code class="copy">{text(under)}</code></dd>')
        elif under:
            items = "".join(f"<li>{sentence(each)}</li>" for each in under)
            parts.append(f"<dt><details><summary>{head}</summary><ul>{items}</ul></details></dt>")
        else:
            parts.append(f"<dt>{head}</dt>")
    return f"<dl>{''.join(parts)}</dl>"


def cell(value: object, number: bool) -> str:
    """Return a value in a cell of a table."""
    return f"<td{' class=n' * (number and not isinstance(value, (str, list)))}>{shown(value)}</td>"


def shown(value: object) -> str:
    """Return a value as people read it, marked up: six digits, a dash for what was not measured."""
    if isinstance(value, Formula):
        return f'<span class="formula" title="{text(value.text)}">{text(value.unicode)}</span>'
    if value is None:
        return '<span class="none">–</span>'
    if isinstance(value, bool):
        return f'<span class="{WORDS[value]}">{MARKS[value]} {"yes" if value else "no"}</span>'
    if isinstance(value, (list, tuple)):
        return text(", ".join(spell(item, 6) for item in value))
    return text(spell(value, 6))


def sentence(words: str) -> str:
    """Return words with their line breaks."""
    return text(words).replace("\n", "<br>")


def is_number(value: object) -> bool:
    """Whether a value is a number, or none was measured."""
    return value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
