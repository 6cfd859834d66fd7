"""What a command writes is one report in every format: each reads back to the numbers, words and signs of its JSON."""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from markdown_it import MarkdownIt

from recon_cli import derive, formats, likelihoods
from recon_cli.cli import main
from recon_cli.formats import markdown, panels, spell, verdict_of
from recon_cli.report import Formula, Report, Table, version

PAGE = MarkdownIt("commonmark").enable(["table", "strikethrough"])
MATHS = re.compile(r"(?<!\\)\$(.*?[^\\])\$")
COMMANDS = {
    "data": ["data", "digits"],
    "compare": ["compare", "--sigma", "0.5"],
    "refuted": ["compare", "--likelihood", "laplace:scale=0.1", "--likelihood", "bernoulli", "--loss", "mse"],
    "calibrate": ["calibrate"],
    "list": ["derive", "--list"],
    "train": ["train", "--likelihood", "gaussian", "--epochs", "1", "--latent", "2"],
    "mixed": ["train", "--likelihood", "bernoulli", "--epochs", "1", "--latent", "2"],
    "against": ["train", "--likelihood", "laplace:scale=0.25", "--against", "l1", "--optimizer", "adam", "--epochs", "1"],
    "sweep": ["train", "--model", "linear", "--sweep", "sigma=0.1,0.5", "--epochs", "1", "--latent", "2"],
    "exact": ["train", "--model", "linear", "--exact", "--latent", "4"],
    "audit": ["audit", "--loss", "mse", "--shape", "3x32x32"],
    "gap": ["audit", "losses.py:smoothed", "--shape", "6"],
    "terms": ["audit", "losses.py:two", "--shape", "6"],
    "explain": ["explain"],
    "recon-mean": ["explain", "recon-mean"],
    "numbers": ["derive", "student-t:df=3,scale=2", "heteroscedastic-gaussian", "--shape", "4x5x3"],
}
LOSSES = """
import torch.nn.functional as F


def smoothed(logits, x, mu, logvar):
    rec = F.binary_cross_entropy_with_logits(logits, 0.9 * x + 0.05, reduction="sum")
    return rec - 0.5 * (1 + logvar - mu**2 - logvar.exp()).sum()


def two(recon_a, a, recon_b, b, mu, logvar):
    rec = F.mse_loss(recon_a, a, reduction="sum") + F.l1_loss(recon_b, b, reduction="sum")
    return rec + 0.5 * (mu**2 + logvar.exp() - logvar - 1).sum()
"""
LONG = {"list", "sweep", "exact", "numbers", "mixed", "against"}


def texts(report: Report) -> dict[str, str]:
    """A report in every format."""
    written = {}
    for name in formats.names():
        file = io.StringIO()
        formats.write(report, name, file)
        written[name] = file.getvalue()
    return written


def shown(markdown_text: str) -> tuple[list[list[list[str]]], str]:
    """The tables of a page of Markdown, as a reader sees their cells, and all its other words; mathematics stays as it is."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(found[0])
        return f"MATHS{len(kept) - 1}END"

    def of(token: Any) -> str:
        text = "".join("\n" if part.type in ("softbreak", "hardbreak") else part.content for part in token.children)
        assert not {part.type for part in token.children} - {"text", "text_special", "softbreak", "hardbreak", *BOLD}, text
        return re.sub(r"MATHS(\d+)END", lambda number: kept[int(number[1])], text)

    grids: list[list[list[str]]] = []
    words, in_table = [], False
    for token in PAGE.parse(MATHS.sub(keep, markdown_text)):
        in_table = token.type != "table_close" and (in_table or token.type == "table_open")
        if token.type == "table_open":
            grids.append([])
        elif token.type == "tr_open":
            grids[-1].append([])
        elif token.type == "inline" and in_table:
            grids[-1][-1].append(of(token))
        elif token.type == "inline":
            words.append(of(token))
    return grids, "\n".join(words)


BOLD = {"strong_open", "strong_close"}


def is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def agrees(cell: str, value: object, digits: int | None = None) -> bool:
    """Whether the cell of a format is the value that JSON has, to so many digits."""
    if is_number(value) and math.isfinite(value):
        return math.isclose(
            float(cell.replace(",", "")), value, rel_tol=0.0 if digits is None else 0.5000001 * 10 ** (1 - digits)
        )
    wanted = spell(value if not isinstance(value, dict) else {key: plain(item) for key, item in value.items()}, digits)
    return cell == wanted.strip()


def plain(value: Any) -> Any:
    """A number that JSON spells as a word, as one again."""
    return float(value) if value in ("nan", "inf", "-inf") else value


def check(report: Report) -> None:
    """Every format of a report gives back what its JSON has."""
    written = texts(report)
    back = json.loads(written["json"], parse_constant=lambda name: pytest.fail(name))
    assert list(back) == ["command", "version", "arguments", "environment", "tables", "notes", "verdict", "holds"]
    assert back["version"] == version()
    assert back["notes"] == [*report.lead, *report.notes]
    rows_of_csv(report, back, written["csv"])
    tables_of_markdown(report, back, written["markdown"])
    tables_of_latex(report, back, written["latex"])
    for said in (*report.lead, *report.notes, report.verdict):
        assert flat(said) in flat(shown(written["markdown"])[1])
        assert flat(said) in flat(written["table"].replace("✓", "").replace("✗", ""))


def flat(text: str) -> str:
    """Text without its line breaks, and without spaces, where a terminal may have broken a line."""
    return re.sub(r"\s+", "", text)


def rows_of_csv(report: Report, back: dict[str, Any], written: str) -> None:
    rows = csv.DictReader(io.StringIO(written, newline=""), strict=True)
    for table in report.tables:
        for row in back["tables"][table.name]:
            cells = next(rows)
            assert cells.get("table", table.name) == table.name
            for key, value in row.items():
                assert agrees(cells[key], value), (key, cells[key], value)
            assert not any(value for key, value in cells.items() if key not in {*row, "table"})
    assert next(rows, None) is None


def grids(report: Report, back: dict[str, Any]) -> Iterator[tuple[list[str], list[list[Any]]]]:
    """The titles and values of every table that is shown as a grid."""
    for table in report.tables:
        for _, columns in panels(table) if table.layout != "steps" else ():
            found = [
                [formula_or(table, i, column.key, row) for column in columns] for i, row in enumerate(back["tables"][table.name])
            ]
            yield [column.title for column in columns], found


def formula_or(table: Table, i: int, key: str, row: dict[str, Any]) -> Any:
    """A formula itself, whose text JSON has; any other value as JSON has it."""
    own = table.rows[i].get(key)
    if isinstance(own, Formula):
        assert row[key] == own.text
        return own
    return row[key]


def tables_of_markdown(report: Report, back: dict[str, Any], written: str) -> None:
    found, words = shown(written)
    wanted = [*grids(report, back)]
    assert len(found) == len(wanted)
    for grid, (titles, rows) in zip(found, wanted, strict=True):
        assert [flat(title) for title in grid[0]] == [flat(title) for title in titles]
        assert len(grid) - 1 == len(rows)
        for cells, values in zip(grid[1:], rows, strict=True):
            for cell, value in zip(cells, values, strict=True):
                assert cell == markdown.cell(value) if isinstance(value, Formula) else agrees(cell, value, 6), (cell, value)
    for table in report.tables:
        for row in table.rows if table.layout == "steps" else ():
            assert flat(f"{row['because']} ({verdict_of(row, table.wrong)})") in flat(words)
            assert markdown.cell(row["statement"]) in words


def tables_of_latex(report: Report, back: dict[str, Any], written: str) -> None:
    """Every number of a shown table stands in LaTeX, under its own title if it is a tabular."""
    tabulars = [
        [[part.strip() for part in line.removesuffix(r"\\").split(" & ")] for line in body.split("\n") if line.endswith(r"\\")]
        for body in re.findall(r"\\toprule(.*?)\\bottomrule", written, re.DOTALL)
    ]
    for lines in tabulars:
        assert len({len(line) for line in lines}) == 1
    for table in report.tables:
        marks = [verdict_of(row, table.wrong) for row in table.rows if table.layout == "steps"]
        assert [mark for mark in re.findall(r"\\emph\{\((.*?)\)\}", written) if marks] == marks
    numbers = {word.replace(",", "") for word in re.findall(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?", written)}
    for _, rows in grids(report, back):
        for value in (value for row in rows for value in row if is_number(value) and math.isfinite(value)):
            assert spell(value, 6).replace(",", "") in numbers, value


def reported(arguments: list[str], folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """The report of a command, as it goes to a format."""
    kept: list[Report] = []
    (folder / "losses.py").write_text(LOSSES)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(formats, "write", lambda report, *_: kept.append(report))
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code in (0, 1), result.output
    monkeypatch.undo()
    monkeypatch.setenv("COLUMNS", "200")
    return kept[0]


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in LONG)) for name in COMMANDS])
def test_a_command_says_one_thing_in_every_format(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    check(reported(COMMANDS[name], tmp_path, monkeypatch))


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name != "poisson")) for name in likelihoods.names()]
)
def test_a_derivation_says_one_thing_in_every_format(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    check(derive(name).report())


@pytest.mark.parametrize(
    "said",
    ["(x + 1/d)*log1p(d*mu) - x*log(mu)", "_c_ __init__ E_q[log p(x|z)](1)", "# 1", "1. a", "- b", "> c", "a #", "`x`", "~~a~~",
     "$5 and $6", "<b> & &lt;", r"\* \\ a\b\\", "[x]: y", "![a](b)", "=== a", "***", "---"],
)  # fmt: skip
def test_what_markdown_would_act_on_is_shown(said: str) -> None:
    row = {"likelihood": "a", "step": 1, "statement": said, "because": said, "checked": True}
    steps = Table("steps", [], [row], layout="steps")
    written = texts(Report("derive", [steps], [said, f"{said}\n{said}"], said, lead=[said]))["markdown"]
    assert shown(written)[1].split("\n").count(said) + shown(written)[1].count(f"{said} (checked)") == 7
