"""Tables for a README, an issue or a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from recon_cli.formats import panels, spell, subject_of
from recon_cli.report import Formula, Report, Table

# Commands that are punctuation, which Markdown takes for escapes, and the bar, which ends a cell.
NAMED = {r"\|": r"\Vert ", "|": r"\vert ", r"\,": r"\thinspace ", r"\!": r"\negthinspace ", r"\:": r"\medspace ",
         r"\\": r"\cr ", r"\{": r"\lbrace ", r"\}": r"\rbrace "}  # fmt: skip
PUNCTUATION = re.compile(r"\\[|,!:\\{}]|\|")


def write(report: Report, file: TextIO) -> None:
    """GitHub's Markdown: formulas between dollars, six digits, an unmeasured cell empty."""
    parts = [f"> {sentence}" for sentence in report.lead]
    parts += [block for table in report.tables for block in blocks(table)]
    parts += [f"> {note}" for note in report.notes]
    if report.verdict:
        parts.append(f"**{report.verdict}**")
    file.write("\n\n".join(parts) + "\n")


def blocks(table: Table) -> list[str]:
    """Return the parts of a table, each a string of lines."""
    if table.layout == "steps":
        return steps(table)
    parts = []
    for title, columns in panels(table):
        rows = [[cell(row.get(column.key)) for column in columns] for row in table.rows]
        parts += [f"### {title}"] if title else []
        parts.append(grid([cell(column.title) for column in columns], rows))
    return parts


def grid(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a pipe table."""
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def steps(table: Table) -> list[str]:
    """Return numbered statements, under the heading of what they are about."""
    parts: list[str] = []
    subject = None
    for row in table.rows:
        if subject_of(row) != subject:
            subject = subject_of(row)
            parts.append(f"### {subject}")
        unproved = "chosen" if row.get("by") == "choice" else "not proved"
        mark = {True: "checked", False: f"**{table.wrong}**", None: unproved}[row["checked"]]
        parts.append(f"{row['step']}. {cell(row['statement'])}  \n   {row['because']} ({mark})")
    return parts


def cell(value: object) -> str:
    """Return a value as it stands inside a pipe table."""
    if isinstance(value, Formula):
        return f"${PUNCTUATION.sub(lambda sign: NAMED[sign[0]], value.latex)}$"
    return spell(value, 6).replace("|", r"\|").replace("\n", " ")
