"""A page for a browser, in one file: the answer, charts, and numbers to move; the rest folded. It asks nobody for anything."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, TextIO

from recon_cli.formats import _diagrams, spell
from recon_cli.formats._blocks import FEW, MARKS, WORDS, block, sentence
from recon_cli.formats._content import content, plain
from recon_cli.formats._markup import text
from recon_cli.report import Adjustable, Detail, Diagram, Excerpt, Picture, Report

SUFFIX = ".html"  # of files in this format

PARTS = Path(__file__).parent / "_page"


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
