"""A report as HTML, for a notebook's cell: the answer, and everything else folded."""

from __future__ import annotations

import math

from recon_cli.formats._blocks import MARKS, block, sentence
from recon_cli.formats._markup import text
from recon_cli.report import Chart, Report

COLOURS = {True: "#1d7f4e", False: "#b3362b", None: "inherit"}
WIDE, HIGH = 480, 120  # pixels of a chart


def fragment(report: Report) -> str:
    """Return the HTML of a report, a part of a page: no script, no style sheet, nothing from elsewhere."""
    verdict, brief = f"{MARKS[report.holds]} {text(report.verdict)}", report.summary()
    parts = [f'<p style="color:{COLOURS[report.holds]}"><b>{verdict}</b></p>'] if report.verdict else []
    parts += [f"<p><b>{sentence(line)}</b></p>" for line in report.lead]
    parts += body(brief) + [chart(each) for each in report.charts if each.ranked]
    if (brief.tables, brief.notes) != (report.tables, report.notes):
        parts.append(f"<details><summary>everything</summary>{''.join(body(report))}</details>")
    return f"<div>{''.join(parts)}</div>"


def body(report: Report) -> list[str]:
    """Return the tables and notes."""
    return [part for table in report.tables for part in block(table)] + [f"<p>{sentence(note)}</p>" for note in report.notes]


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
    name = f"{text(drawn.title)}{f', {text(drawn.named)} = {level:.3g}' if level else ''}"
    return (
        f'<figure><svg role="img" aria-label="{name}" width="{WIDE}" height="{HIGH}" viewBox="0 0 {WIDE} {HIGH}">'
        f"{''.join(bars)}{mark}</svg><figcaption>{name}</figcaption></figure>"
    )
