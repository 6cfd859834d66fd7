"""Tables for a README, an issue or a notebook."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TextIO

from recon_cli.formats import panels, spell, subject_of, verdict_of
from recon_cli.report import Formula, Report, Table

SUFFIX = ".md"  # of files in this format

# Commands that are punctuation, which Markdown takes for escapes, the bar, which ends a cell, and what not every page knows.
NAMED = {r"\|": r"\Vert ", "|": r"\vert ", r"\,": r"\thinspace ", r"\!": r"\negthinspace ", r"\:": r"\medspace ",
         r"\\": r"\cr ", r"\{": r"\lbrace ", r"\}": r"\rbrace ", r"\allowbreak": ""}  # fmt: skip
PUNCTUATION = re.compile(r"\\[|,!:\\{}]|\\allowbreak|\|")

# What Markdown would act on: an escape, emphasis, code, mathematics, a tag, an entity, a link, a heading's end, a line's start.
ACTS = re.compile(
    r"""\\(?=[!-/:-@\[-`{-~\n]|$) | [*`$~] | (?<![^\W_])_ | _(?![^\W_]) | <(?=[A-Za-z/!?]) | &(?=\#?\w+;) | \](?=[(\[:])
        | (?<=\s)\#+$ | ^\s*(?:\#(?=[\#\s]|$) | [-+](?=[\s-]|$) | [=>]) | ^\s*\d+[.)](?=\s|$)""",
    re.VERBOSE | re.MULTILINE,
)


def write(report: Report, file: TextIO) -> None:
    """GitHub's Markdown: formulas between dollars, six digits, an unmeasured cell empty."""
    parts = [quoted(sentence) for sentence in report.lead]
    parts += [block for table in report.tables for block in blocks(table)]
    parts += [quoted(note) for note in report.notes]
    if report.verdict:
        parts.append(f"**{prose(report.verdict)}**")
    file.write("\n\n".join(parts) + "\n")


def blocks(table: Table) -> list[str]:
    """Return the parts of a table, each a string of lines."""
    if table.layout == "steps":
        return steps(table)
    parts = []
    for title, columns in panels(table):
        rows = [[cell(row.get(column.key)) for column in columns] for row in table.rows]
        parts += [f"### {prose(title)}"] if title else []
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
            parts.append(f"### {prose(subject)}")
        mark = verdict_of(row, f"**{table.wrong}**")
        parts.append(f"{row['step']}. {cell(row['statement'])}  \n   {prose(row['because'])} ({mark})")
    return parts


def cell(value: object) -> str:
    """Return a value as it stands inside a pipe table."""
    if isinstance(value, Formula):
        return f"${PUNCTUATION.sub(lambda sign: NAMED[sign[0]], value.latex)}$"
    return prose(spell(value, 6).replace("\n", " ")).replace("|", r"\|")


def prose(text: str) -> str:
    """Return text that shows as it is wherever it stands."""
    return ACTS.sub(lambda sign: f"{sign[0][:-1]}\\{sign[0][-1]}", text)


def quoted(sentence: str) -> str:
    """Return a sentence as a quotation, its lines kept."""
    return "> " + "  \n> ".join(map(prose, sentence.split("\n")))
