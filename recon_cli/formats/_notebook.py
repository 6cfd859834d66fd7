"""A report as HTML, for a notebook's cell: the answer, and everything else folded."""

from __future__ import annotations

import math
from html import escape

from recon_cli.formats import panels, spell, subject_of
from recon_cli.report import Chart, Formula, Report, Table

MARKS = {True: ("✓", "#1d7f4e"), False: ("✗", "#b3362b"), None: ("–", "inherit")}
WIDE, HIGH = 480, 120  # pixels of a chart


def fragment(report: Report) -> str:
    """Return the HTML of a report, a part of a page: no script, no style sheet, nothing from elsewhere."""
    mark, colour = MARKS[report.holds]
    brief = report.summary()
    parts = [f'<p style="color:{colour}"><b>{mark} {escape(report.verdict)}</b></p>'] if report.verdict else []
    parts += [f"<p><b>{escape(sentence)}</b></p>" for sentence in report.lead]
    parts += body(brief) + [chart(each) for each in report.charts if each.ranked]
    if (brief.tables, brief.notes) != (report.tables, report.notes):
        parts.append(f"<details><summary>everything</summary>{''.join(body(report))}</details>")
    return f"<div>{''.join(parts)}</div>"


def body(report: Report) -> list[str]:
    """Return the tables and notes."""
    return [block for table in report.tables for block in blocks(table)] + [f"<p>{escape(note)}</p>" for note in report.notes]


def blocks(table: Table) -> list[str]:
    """Return the parts of a table."""
    if table.layout == "steps":
        return [steps(table, subject) for subject in dict.fromkeys(map(subject_of, table.rows))]
    parts = []
    for title, columns in panels(table):
        if not table.rows:
            continue
        head = "".join(f"<th>{escape(column.title)}</th>" for column in columns)
        rows = ("".join(f"<td>{cell(row.get(column.key))}</td>" for column in columns) for row in table.rows)
        caption = f"<caption>{escape(title)}</caption>" if title else ""
        parts.append(f"<table>{caption}<tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>")
    return parts


def steps(table: Table, subject: str) -> str:
    """Return numbered statements about one subject."""
    items = []
    for row in (row for row in table.rows if subject_of(row) == subject):
        mark, colour = MARKS[row["checked"]]
        wrong = f" <b>{escape(table.wrong)}</b>" if row["checked"] is False else ""
        reason = f"<br>{escape(row['because'])}" if table.reasons else ""
        items.append(f'<li><span style="color:{colour}">{mark}</span> {cell(row["statement"])}{wrong}{reason}</li>')
    return f"<p><b>{escape(subject)}</b></p><ol>{''.join(items)}</ol>"


def cell(value: object) -> str:
    """Return a value as people read it: six digits, a dash for what was not measured."""
    if isinstance(value, Formula):
        return f"<i>{escape(value.unicode)}</i>"
    if isinstance(value, (list, tuple)):
        return "<br>".join(map(cell, value))
    return "–" if value is None else escape(spell(value, 6))


def chart(drawn: Chart) -> str:
    """Return bars on a logarithmic scale, those that do not reach the level in grey, as a picture of lines."""
    level, values = drawn.level or 0.0, [value for value in drawn.series[0].values if value is not None]
    low = math.log(max(min([*values, *[level] * (level > 0)]), 1e-4 * values[0]))
    high = math.log(max(values[0], level))
    width = WIDE / len(values)
    bars = []
    for at, value in enumerate(values):
        tall = 1 + (HIGH - 1) * max(0.0, math.log(value) - low) / (high - low or 1)
        colour = "#2563a8" if value > level else "#9aa5b1"
        bars.append(
            f'<rect x="{at * width:.2f}" y="{HIGH - tall:.2f}" width="{0.85 * width:.2f}" height="{tall:.2f}" fill="{colour}"/>'
        )
    line = HIGH - 1 - (HIGH - 1) * max(0.0, math.log(level) - low) / (high - low or 1) if level else 0.0
    mark = f'<line x1="0" x2="{WIDE}" y1="{line:.2f}" y2="{line:.2f}" stroke="#d9722c"/>' if level else ""
    name = f"{escape(drawn.title)}{f', {escape(drawn.named)} = {level:.3g}' if level else ''}"
    return (
        f'<figure><svg role="img" aria-label="{name}" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">'
        f"{''.join(bars)}{mark}</svg><figcaption>{name}</figcaption></figure>"
    )
