"""A page for a browser, in one file: the answer, charts, and numbers to move; the rest folded. It asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TextIO, TypeAlias

from recon_cli.formats import _diagrams, panels, spell, subject_of
from recon_cli.formats._content import content, plain
from recon_cli.formats._markup import text
from recon_cli.report import Adjustable, Column, Detail, Diagram, Excerpt, Formula, Picture, Report, Table

Columns: TypeAlias = Sequence[Column]
Groups: TypeAlias = Sequence[tuple[str, Columns]]  # under the title of a panel
Rows: TypeAlias = Sequence[Mapping[str, Any]]
SUFFIX = ".html"  # of files in this format

PARTS = Path(__file__).parent / "_page"
MARKS = {True: "✓", False: "✗", None: "–"}
WORDS = {True: "yes", False: "no", None: "open"}  # class names
TITLES = {True: "checked", False: "false", None: ""}
MOST = 1000  # rows of a table; a longer one is shown evenly spread, and whole in the data
FEW = 3  # rows of a wide table that are set side by side, a line for each column; files whose code comes before the answer


def write(report: Report, file: TextIO) -> None:
    """Write a page whose numbers are in ``<script id="data">``: those of JSON, of its charts and of what can be moved.

    In ASCII, so that no encoding can spoil it; its scripts and styles are named by their digests, so that nothing else runs.
    """
    if any(isinstance(each, Adjustable) for each in report.exhibits):
        report = replace(report, charts=())  # they are drawn as they are moved
    data = {
        **content(report),
        "charts": [as_data(chart) for chart in report.charts],
        "exhibits": [{"kind": type(each).__name__, **as_data(each)} for each in report.exhibits if isinstance(each, Adjustable)],
    }
    is_drawn = bool(data["charts"] or data["exhibits"])
    kinds = list(dict.fromkeys(each["kind"].lower() for each in data["exhibits"]))
    scripts = [f"/*\n{part('uPlot.LICENSE')}*/\n{part('uPlot.iife.min.js')}"] * is_drawn  # its licence goes where it goes
    scripts += ["\n".join(part(f"{name}.js") for name in ("arithmetic", "charts", *kinds, "page"))]
    styles = [part("uPlot.min.css")] * is_drawn + [part("page.css")]
    title = f"recon {report.command}" + f": {report.verdict}" * bool(report.verdict)
    head = [
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        f'script-src {" ".join(map(digest, scripts))}; style-src {" ".join(map(digest, styles))}">',
        '<meta name="color-scheme" content="light dark">\n<link rel="icon" href="data:,">',
        f"<title>{text(title)}</title>",
        *(f"<style>{style}</style>" for style in styles),
        "</head>\n<body>\n<main>",
    ]
    tail = [
        "</main>",
        f'<script id="data" type="application/json">{script_safe(json.dumps(data, allow_nan=False))}</script>',
        *(f"<script>{script}</script>" for script in scripts),
        "</body>\n</html>\n",
    ]
    page = "\n".join([*head, *body(report), *tail])
    file.write(page.encode("ascii", "xmlcharrefreplace").decode())


def body(report: Report) -> Iterator[str]:
    """Yield the parts of the page in order: what was asked and found, what can be moved, tables, pictures, notes, conditions."""
    yield f'<header><p class="command"><b>recon</b> {text(report.command)}</p>'
    if report.verdict:
        mark = f'<span aria-hidden="true">{MARKS[report.holds]}</span>'
        yield f'<h1 class="verdict {WORDS[report.holds]}">{mark} {text(report.verdict)}</h1>'
    yield from (f'<p class="lead">{sentence(line)}</p>' for line in report.lead)
    yield "</header>"
    drawings = [*exhibits(report)]
    code = [excerpt(each) for each in report.exhibits if isinstance(each, Excerpt)]
    if report.charts or drawings:
        yield '<noscript><p class="note">Charts and sliders take JavaScript; every number is in the tables below.</p></noscript>'
    yield from drawings
    yield from code if len(code) <= FEW else ()
    brief = [part for each in report.tables if (part := each.summary() if each.layout == "grid" else each)]
    if shown_first := [line for table in brief or report.tables for line in block(table)]:
        yield f'<section class="answer" aria-label="the answer">{chr(10).join(shown_first)}</section>'
    yield from code if len(code) > FEW else ()
    if report.charts or report.pictures:
        yield '<section class="grid" aria-label="charts and pictures">'
        yield from (figure(at, chart.title, chart.note) for at, chart in enumerate(report.charts))
        yield from map(picture, report.pictures)
        yield "</section>"
    if notes := [note for note in report.notes if not isinstance(note, Detail)]:
        yield f'<section class="notes" aria-label="notes">{"".join(f"<p>{sentence(note)}</p>" for note in notes)}</section>'
    details = [line for table in report.tables if brief and table not in brief for line in block(table)]
    details += [f"<p>{sentence(note)}</p>" for note in report.notes if isinstance(note, Detail)]
    if details:
        yield f'<details class="rest"><summary>Every number and note</summary>{chr(10).join(details)}</details>'
    yield footer(content(report))


def exhibits(report: Report) -> Iterator[str]:
    """Yield diagrams, and a place for each thing that the page computes."""
    count = 0
    for each in report.exhibits:
        if isinstance(each, Diagram):
            yield f'<figure class="card diagram"><figcaption>{text(each.title)}</figcaption>{_diagrams.svg(each)}</figure>'
        elif isinstance(each, Adjustable):
            yield f'<section class="exhibit" data-exhibit="{count}"></section>'
            count += 1


def excerpt(lines: Excerpt) -> str:
    """Return lines of code, each remark below its line."""
    rows = []
    for number, code in lines.lines:
        remarks = [(name, words) for line, name, words in lines.remarks if line == number]
        rows.append(
            f'<li value="{number}"{" class=marked" * bool(remarks)}><code>{text(code) or "&nbsp;"}</code>'
            + "".join(f'<p class="remark"><b>{text(name)}</b> {sentence(words)}</p>' for name, words in remarks)
            + "</li>"
        )
    return f'<figure class="card code"><figcaption>{text(lines.file)}</figcaption><ol>{"".join(rows)}</ol></figure>'


def figure(at: int, title: str, note: str) -> str:
    """Return the place of a chart, which the page draws."""
    below = f"<p class=note>{sentence(note)}</p>" * bool(note)
    return (
        f'<figure class="card" data-chart="{at}"><figcaption>{text(title)}</figcaption><div class="plot"></div>{below}</figure>'
    )


def picture(each: Picture) -> str:
    """Return a picture as PNG, its rows labelled."""
    from recon_cli.runtime.images import png

    encoded = base64.b64encode(png(each)).decode()
    labels = "".join(f"<span>{text(label)}</span>" for label, _ in each.rows)
    return (
        f'<figure class="card picture"><figcaption>{text(each.title)}</figcaption><div><div class="labels">{labels}</div>'
        f'<img src="data:image/png;base64,{encoded}" alt="{text(each.title)}"></div></figure>'
    )


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
    rows = evenly(table.rows)
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


def footer(known: Mapping[str, Any]) -> str:
    """Return what the numbers depend on: the version, the arguments and the environment."""
    given = {name: value for name, value in known["arguments"].items() if value not in (None, False, [], "")}
    parts = [(f"recon {known['version']}", {}), *[("asked", given)] * bool(given), ("with", known["environment"])]
    lines = []
    for title, values in parts:
        pairs = [(name, spell(value)) for name, value in values.items() if value is not None]
        words = " ".join(f"<span>{text(name)} = <code>{text(value)}</code></span>" for name, value in pairs)
        lines.append(f"<p><b>{text(title)}</b> {words}</p>")
    return f"<footer>{''.join(lines)}</footer>"


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


def evenly(rows: Rows) -> Rows:
    """Return at most ``MOST`` rows, evenly spread, the first and the last among them."""
    if len(rows) <= MOST:
        return rows
    return [rows[round(i * (len(rows) - 1) / (MOST - 1))] for i in range(MOST)]


def as_data(piece: Any) -> Any:
    """Return a piece of a report as JSON can hold it."""
    if is_dataclass(piece):
        return {field.name: as_data(getattr(piece, field.name)) for field in fields(piece)}
    if isinstance(piece, Mapping):
        return {str(key): as_data(value) for key, value in piece.items()}
    if isinstance(piece, (list, tuple, range)):
        return [as_data(item) for item in piece]
    return plain(piece)


def script_safe(data: str) -> str:
    """Return JSON without any character that could end the script that it is in, or begin a comment."""
    return data.translate({ord(sign): f"\\u{ord(sign):04x}" for sign in "<>&\u2028\u2029"})


def digest(content: str) -> str:
    """Return the source of a script or a style by its digest, as the page's policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def part(name: str) -> str:
    """Return a part of the page that does not depend on the report, in ASCII."""
    return (PARTS / name).read_text(encoding="ascii")
