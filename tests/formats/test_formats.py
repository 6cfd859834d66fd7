"""Every format writes everything a report can hold, truly: nothing rounded, lost, cut off or made up."""

from __future__ import annotations

import csv
import html
import io
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recon_cli import __version__, formats
from recon_cli.errors import ReconError
from recon_cli.formats._content import environment
from recon_cli.report import Column, Formula, Picture, Report, Table

LINES = {"github", "sarif"}  # for programs that read lines of code: of a report they write what is wrong, at its line
FORMATS = sorted({file.stem for file in Path(formats.__file__).parent.glob("[!_]*.py")} - LINES)
FORMULA = Formula("(x - mu)**2/2", "(x − μ)²/2", r"\frac{\left|x - \mu\right|^{2}}{2}")
AWKWARD = "a|b, \"q\" 'r' & 50% of _c_ #1 {d} $5 ~e^f\\g [bold]h[/bold] <i>"
CELLS: dict[str, Any] = {
    "none": None,
    "nan": math.nan,
    "inf": math.inf,
    "minus_inf": -math.inf,
    "true": True,
    "false": False,
    "int": 22_528,
    "big": 10**24 + 7,
    "float": 0.1 + 0.2,
    "tiny": -5e-324,
    "negative_zero": -0.0,
    "text": AWKWARD,
    "empty": "",
    "formula": FORMULA,
    "mapping": {"sigma": 0.1 + 0.2, "df": 4},
    "no_mapping": {},
}


@pytest.fixture(autouse=True)
def _plain(monkeypatch: pytest.MonkeyPatch) -> None:
    """No variable of this shell decides what a format does."""
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "NO_COLOR", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")


def text(report: Report, format: str) -> str:
    """What a format writes; of a page, what its reader sees of the report (all else of it is tested in test_html)."""
    file = io.StringIO()
    formats.write(report, format, file)
    if format != "html":
        return file.getvalue()
    page = re.search(r"<main>(.*)<footer>", file.getvalue(), re.DOTALL)
    assert page
    return html.unescape(re.sub(r"<[^>]*>", "", page[1])) + "\n"


def table(rows: Sequence[Mapping[str, Any]], name: str = "found", keys: Sequence[str] = (), **more: Any) -> Table:
    """A table with a column for each key, the first of them opening every panel."""
    keys = keys or list(rows[0])
    return Table(name, [Column(key, f"the {key}", "" if key in keys[1:] else "*") for key in keys], rows, **more)


def report(*tables: Table, notes: Sequence[str] = (), verdict: str = "", **more: Any) -> Report:
    return Report("compare", tables, notes, verdict, **more)


EVERYTHING = table([{"name": "first", **CELLS}])
MANY = table([{"name": f"row {i}", **CELLS, "int": i} for i in range(6)], "several")
STEPS = Table(
    "steps",
    [Column(key, key) for key in ("likelihood", "step", "statement", "because", "checked")],
    [
        {"likelihood": "gaussian", "step": 1, "statement": FORMULA, "because": AWKWARD, "checked": True},
        {"likelihood": "gaussian", "step": 2, "statement": AWKWARD, "because": "It cannot be.", "checked": False},
        {"likelihood": "laplace", "step": 1, "statement": FORMULA, "because": "Nobody looked.", "checked": None},
    ],
    layout="steps",
)


def test_the_formats_are_the_files() -> None:
    assert formats.names() == sorted({*FORMATS, *LINES})
    assert set(FORMATS) >= {"table", "json", "csv", "markdown", "latex"}


# What every format owes.


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "tables", [[EVERYTHING], [MANY], [STEPS], [EVERYTHING, MANY, STEPS]], ids=["one row", "rows", "steps", "several"]
)
@pytest.mark.parametrize("columns", ["40", "80", "300"])
def test_every_kind_of_cell_is_written(
    format: str,
    tables: list[Table],
    columns: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    written = text(report(*tables, notes=[AWKWARD], verdict=AWKWARD), format)
    assert written.endswith("\n")
    assert not re.search(r"\b(None|True|False|Formula|mappingproxy)\b", written)


@pytest.mark.parametrize("format", FORMATS)
def test_a_table_without_rows_is_written(format: str) -> None:
    written = text(report(table([], keys=["name", "nll"]), notes=["Nothing was found."]), format)
    if format == "json":
        assert json.loads(written)["tables"] == {"found": []}
    elif format == "csv":
        assert written == "name,nll\n"
    else:
        assert written.index("the name") < written.index("the nll") < written.index("Nothing was found.")


@pytest.mark.parametrize("format", FORMATS)
def test_what_was_not_measured_is_never_a_zero(format: str) -> None:
    written = text(report(table([{"name": "a", "nll": None, "missing": None}])), format)
    assert "0" not in re.sub(r'"(version|python|torch|numpy|scipy)": "[^"]*"', "", written)
    assert "None" not in written
    zero = text(report(table([{"name": "a", "nll": 0.0, "missing": 0}])), format)
    assert zero != written


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"csv"}))
def test_notes_are_written_in_order(format: str) -> None:
    written = text(report(EVERYTHING, notes=["First note.", "Second note."]), format)
    assert 0 < written.index("First note.") < written.index("Second note.")


@pytest.mark.parametrize("format", ["table", "json", "markdown"])
@pytest.mark.parametrize("holds", [True, False])
def test_the_verdict_is_written(format: str, holds: bool) -> None:
    assert "as it was foreseen" in text(report(EVERYTHING, verdict="as it was foreseen", holds=holds), format)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"csv", "json"}))
def test_a_step_is_called_refuted_exactly_where_it_was(format: str) -> None:
    written = text(report(STEPS), format)
    assert written.count("refuted") == 1
    places = [written.index(word) for word in ("It cannot be.", "refuted", "Nobody looked.")]
    assert places == sorted(places) or (format == "html" and places[1] < places[0] < places[2])  # its reason is folded


@pytest.mark.parametrize("format", FORMATS)
@pytest.mark.parametrize(
    "word",
    ["1,797 × μ − ½·σ² → β ≤ √π ✓ … – ε ∈ Σ ∂ η", "≈ ‖ ∫ ₁ ∞ ─", "dönt.npy > 1/2", "数字.npy"],
    ids=["signs", "rare signs", "latin", "han"],
)
def test_an_ascii_file_takes_any_report(format: str, word: str, tmp_path: Path) -> None:
    cells = {"name": word, "formula": FORMULA, "number": 0.5, "unmeasured": None, "yes": True}
    wide = table([cells] * 2, keys=[*cells, *(f"μ{i}" for i in range(12))])
    path = tmp_path / "written"
    with open(path, "w", encoding="ascii") as file:
        formats.write(report(wide, STEPS, notes=[word], verdict=word), format, file)
    raw = path.read_bytes()
    assert raw.isascii()
    assert b"0.5" in raw
    if format == "json":
        found = json.loads(raw)
        assert found["verdict"] == word
        assert found["tables"]["found"][0]["name"] == word


@pytest.mark.parametrize(
    ("word", "meant"), [("jsn", "json"), ("markdwn", "markdown"), ("tabel", "table"), ("cvs", "csv"), ("LaTeX", "latex")]
)
def test_an_unknown_format_offers_the_nearest_and_writes_nothing(word: str, meant: str) -> None:
    file = io.StringIO()
    with pytest.raises(ReconError) as caught:
        formats.write(report(EVERYTHING), word, file)
    assert caught.value.message == f"There is no format named {word!r}."
    assert f"Did you mean {meant!r}?" in caught.value.hint
    assert file.getvalue() == ""


# Reports at random.

LETTERS = st.characters(exclude_categories=["Cs", "Cc", "Zl", "Zp", "Co", "Cn"])
WORDS = st.text(LETTERS, max_size=20)
PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
ANY = PLAIN | st.just(FORMULA) | st.dictionaries(WORDS, PLAIN, max_size=3)
NAMES = st.lists(st.text("abcdefgh_", min_size=1, max_size=8), min_size=1, max_size=7, unique=True)


def tables(cells: st.SearchStrategy[Any] = ANY, at_least: int = 1) -> st.SearchStrategy[list[Table]]:
    """Up to three tables, of up to six rows that may miss a column."""

    def of(keys: list[str]) -> st.SearchStrategy[Table]:
        rows = st.lists(st.dictionaries(st.sampled_from(keys), cells), min_size=1, max_size=6)
        return rows.map(lambda found: table(found, keys=keys))

    several = st.lists(NAMES.flatmap(of), min_size=at_least, max_size=3)
    return several.map(lambda found: [Table(f"t{i}", each.columns, each.rows) for i, each in enumerate(found)])


def spoken(value: Any) -> Any:
    """A cell as JSON must give it back."""
    if isinstance(value, float) and (math.isnan(value) or math.isinf(value)):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    if isinstance(value, dict):
        return {key: spoken(item) for key, item in value.items()}
    return value.text if isinstance(value, Formula) else value


def strict(raw: str) -> Any:
    """JSON as the standard has it: no NaN, no Infinity, no key twice."""

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs)
        return dict(pairs)

    return json.loads(raw, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"), object_pairs_hook=once)


# json


@settings(max_examples=50)
@given(found=tables(), notes=st.lists(WORDS, max_size=3), verdict=WORDS)
def test_json_gives_back_every_cell_exactly(found: list[Table], notes: list[str], verdict: str) -> None:
    expected = {
        "command": "compare",
        "version": __version__,
        "arguments": {},
        "environment": environment(),
        "tables": {
            each.name: [{column.key: spoken(row.get(column.key)) for column in each.columns} for row in each.rows]
            for each in found
        },
        "notes": notes,
        "verdict": verdict,
        "holds": True,
    }
    back = strict(text(report(*found, notes=notes, verdict=verdict), "json"))
    back = strict(text(report(*found, notes=notes, verdict=verdict), "json"))
    assert repr(back) == repr(expected)  # repr tells 1 from 1.0 from True, and -0.0 from 0.0


def test_json_has_exactly_the_promised_keys() -> None:
    picture = Picture("seen", [("x", [[[0.0, 1.0]]])])
    back = strict(text(report(EVERYTHING, STEPS, pictures=[picture], holds=False), "json"))
    assert list(back) == ["command", "version", "arguments", "environment", "tables", "notes", "verdict", "holds"]
    assert list(back["tables"]) == ["found", "steps"]
    assert list(back["tables"]["found"][0]) == ["name", *CELLS]


def test_json_spells_what_it_cannot_hold() -> None:
    row = strict(text(report(EVERYTHING), "json"))["tables"]["found"][0]
    assert (row["nan"], row["inf"], row["minus_inf"]) == ("nan", "inf", "-inf")
    assert row["none"] is None
    assert row["float"] == 0.30000000000000004
    assert row["big"] == 10**24 + 7
    assert row["mapping"] == {"sigma": 0.30000000000000004, "df": 4}


# csv


def read(raw: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(raw, newline="")))


def spelled(value: Any) -> Callable[[str], bool]:
    """Whether a cell of a CSV file is this value again."""
    if value is None:
        return lambda cell: cell == ""
    if isinstance(value, bool):
        return lambda cell: cell == ("yes" if value else "no")
    if isinstance(value, int):
        return lambda cell: cell == str(value)
    if isinstance(value, float):
        return lambda cell: repr(float(cell)) == repr(value)
    return lambda cell: cell == (value.text if isinstance(value, Formula) else value)


@settings(max_examples=50)
@given(found=tables(PLAIN | st.just(FORMULA)))
def test_csv_gives_back_every_cell_exactly(found: list[Table]) -> None:
    rows = read(text(report(*found), "csv"))
    keys = list(dict.fromkeys(column.key for each in found for column in each.columns))
    wanted = [(each, row) for each in found for row in each.rows]
    assert len(rows) == len(wanted)
    for back, (each, row) in zip(rows, wanted, strict=True):
        assert list(back) == (["table", *keys] if len(found) > 1 else keys)
        assert back.pop("table", each.name) == each.name
        own = {column.key for column in each.columns}
        for key, cell in back.items():
            assert spelled(row.get(key) if key in own else None)(cell), (key, cell, row.get(key))


def test_csv_names_the_table_only_where_there_are_several() -> None:
    assert "table" not in read(text(report(EVERYTHING), "csv"))[0]
    rows = read(text(report(EVERYTHING, MANY, STEPS), "csv"))
    assert [row["table"] for row in rows] == ["found", *["several"] * 6, *["steps"] * 3]
    assert rows[0]["statement"] == ""
    assert rows[-1]["float"] == ""


def test_csv_spells_parameters_as_the_command_line_does() -> None:
    assert read(text(report(EVERYTHING), "csv"))[0]["mapping"] == "sigma=0.30000000000000004,df=4"


def test_csv_quotes_a_line_break() -> None:
    rows = read(text(report(table([{"name": "a\nb", "nll": 1.5}])), "csv"))
    assert rows == [{"name": "a\nb", "nll": "1.5"}]


# markdown


def pipes(raw: str) -> list[list[list[str]]]:
    """The pipe tables of a Markdown text: rows of cells, unescaped."""
    found: list[list[list[str]]] = [[]]
    for line in raw.split("\n"):
        if line.startswith("|"):
            inside = re.split(r"(?<!\\)\|", line)
            assert inside[0] == inside[-1] == ""
            found[-1].append([re.sub(r"\\([!-/:-@[-`{-~])", r"\1", cell[1:-1]) for cell in inside[1:-1]])
        elif found[-1]:
            found.append([])
    return [each for each in found if each]


@settings(max_examples=50)
@given(found=tables(PLAIN, at_least=1), notes=st.lists(WORDS.filter(lambda note: not note.startswith("|")), max_size=2))
def test_markdown_rows_have_a_cell_for_every_column(found: list[Table], notes: list[str]) -> None:
    grids = pipes(text(report(*found, notes=notes), "markdown"))
    shown = [each for each in found if len(each.columns) > 1]
    assert len(grids) == len(shown)
    for grid, each in zip(grids, shown, strict=True):
        assert len(grid) == 2 + len(each.rows)
        assert {len(row) for row in grid} == {len(each.columns)}
        assert grid[0] == [column.title for column in each.columns]
        assert set(grid[1]) == {"---"}


def test_markdown_escapes_pipes_and_loses_no_text() -> None:
    keys = ["name", *CELLS]
    (grid,) = pipes(text(report(EVERYTHING), "markdown"))
    row = dict(zip(keys, grid[2], strict=True))
    assert row["text"] == AWKWARD
    assert r"\|b, " in text(report(EVERYTHING), "markdown")
    assert (row["none"], row["true"], row["false"], row["nan"]) == ("", "yes", "no", "nan")
    assert row["mapping"] == "sigma=0.3,df=4"
    assert row["formula"] == r"$\frac{\left\vert x - \mu\right\vert ^{2}}{2}$"


@pytest.mark.parametrize("key", ["name", "nll"])
def test_a_line_break_inside_a_cell_breaks_no_markdown_row(key: str) -> None:
    (grid,) = pipes(text(report(table([{"name": "a", "nll": 1, key: "b\nc"}])), "markdown"))
    assert [len(row) for row in grid] == [2, 2, 2]


# latex


def unbalanced(raw: str) -> str:
    """What keeps a LaTeX fragment from compiling: braces, dollars, unescaped specials; empty if nothing."""
    lines = [line for line in raw.split("\n") if not line.startswith("% ")]
    depth, math_on, before = 0, False, ""
    plain = re.sub(r"\\(?:[A-Za-z]+|.)", "", "\n".join(lines))
    for letter in plain:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        math_on ^= letter == "$"
        if depth < 0:
            return f"a brace closes nothing after {before[-40:]!r}"
        if letter in "%#~" or (letter in "_^<>|" and not math_on):
            return f"{letter!r} after {before[-40:]!r}"
        before += letter
    return f"{depth} braces open" if depth else "a dollar too few" if math_on else ""


def ampersands(raw: str) -> list[tuple[int, int]]:
    """For each row of each tabular: the columns that were declared, and the cells it has."""
    found = []
    for declared, body in re.findall(r"\\begin\{tabular\}\{(l+)\}\n(.*?)\\end\{tabular\}", raw, re.DOTALL):
        rows = [line for line in body.split("\n") if line.endswith(r"\\")]
        found += [(len(declared), len(re.findall(r"(?<!\\)&", row)) + 1) for row in rows]
    return found


@settings(max_examples=50)
@given(found=tables(), note=WORDS, verdict=WORDS)
def test_latex_balances_and_escapes(found: list[Table], note: str, verdict: str) -> None:
    written = text(report(*found, notes=[note], verdict=verdict), "latex")
    assert unbalanced(written) == ""
    assert written.isascii()
    assert all(declared == cells for declared, cells in ampersands(written))


@settings(max_examples=50)
@given(found=tables())
def test_latex_has_every_column_once_in_tabulars_no_wider_than_a_line_or_in_a_list(found: list[Table]) -> None:
    for each in (each for each in found if len(each.columns) > 1):
        written = text(report(each), "latex")
        heads = re.findall(r"\\begin\{tabular\}\{(l+)\}", written)
        if heads:
            assert sum(len(head) - 1 for head in heads) == len(each.columns) - 1
            assert len(ampersands(written)) == len(heads) * (1 + len(each.rows))
        else:
            assert written.count(r"\begin{description}") == len(each.rows)


@pytest.mark.parametrize("word", [*r"&%$#_{}~^\<>|", AWKWARD, "μσβ½·−×∂²≤√πεη→∞"])
def test_latex_escapes_its_own_characters_wherever_text_stands(word: str) -> None:
    steps = [{**row, "likelihood": word, "because": word, "statement": word} for row in STEPS.rows]
    columns = [Column("name", word, "*"), Column("nll", word, word), Column("more", word, "")]
    found = Table("found", columns, [{"name": word, "nll": word}], word)
    written = text(report(found, Table("steps", STEPS.columns, steps, layout="steps"), notes=[word], verdict=word), "latex")
    assert unbalanced(written) == ""
    assert all(declared == cells == 2 for declared, cells in ampersands(written))


@pytest.mark.parametrize("word", "μσβ½·−×∂²≤√πεη→∞")
def test_latex_spells_the_signs_of_recon(word: str) -> None:
    assert word not in text(report(table([{"name": word, word: word}]), notes=[word]), "latex")


def test_latex_keeps_formulas_formulas() -> None:
    assert rf"$\displaystyle {FORMULA.latex}$" in text(report(EVERYTHING), "latex")
    assert text(report(STEPS), "latex").count(FORMULA.latex) == 2


# table

NUMBERS = ["smallest", "median", "largest", "mean", "elements", "left_out", "slope", "offset", "gap", "cosine", "worst"]
PANELS = [Column("likelihood", "likelihood", "*"), Column("noise", "noise", "*")]
PANELS += [Column(key, key, "values" if i < 6 else "gradients") for i, key in enumerate(NUMBERS)]


def wide(count: int) -> Table:
    """As wide as what ``compare`` prints: two words, eleven numbers, all different."""
    numbers = [{key: (-1.5) ** (j + 3) * (i + 1) for j, key in enumerate(NUMBERS)} for i in range(count)]
    rows = [{"likelihood": "student-t", "noise": {"scale": (i + 1) / 8}, **found} for i, found in enumerate(numbers)]
    return Table("identity", PANELS, rows)


def lines(report: Report) -> list[str]:
    return text(report, "table").split("\n")


def checked(written: list[str], width: int) -> None:
    """The laws of every page."""
    assert "\x1b" not in "".join(written)
    assert [line for line in written if line != line.rstrip()] == []
    assert [line for line in written if len(line) > width] == []


@pytest.mark.parametrize("width", [60, 80, 120, 200])
@pytest.mark.parametrize("count", [1, 2, 3, 4, 20])
def test_a_page_is_plain_and_no_wider_than_asked_and_cuts_no_number(
    width: int,
    count: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    written = lines(report(wide(count), STEPS, notes=[AWKWARD + " and so on" * 30], verdict="so it is " * 30))
    checked(written, width)
    words = re.findall(r"\S+", "\n".join(written))
    for row in wide(count).rows:
        for key in NUMBERS:
            assert f"{row[key]:.6g}" in words, key
        assert f"scale={row['noise']['scale']:g}" in words


@pytest.mark.parametrize("count", [2, 5])
def test_no_number_is_cut_at_any_width(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for width in range(60, 130):
        monkeypatch.setenv("COLUMNS", str(width))
        words = set(text(report(wide(count)), "table").split())
        cut = [row[key] for row in wide(count).rows for key in NUMBERS if f"{row[key]:.6g}" not in words]
        assert (width, cut) == (width, [])


def test_a_narrow_page_folds_words_and_never_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    rows = [{"name": "many words " * 8, "number": 10**24 + i} for i in range(9)]
    written = text(report(table(rows)), "table")
    checked(written.split("\n"), 60)
    assert re.findall(r"[\d,]{20,}", written) == [f"{row['number']:,}" for row in rows]
    assert written.split().count("many") == 8 * 9


@pytest.mark.parametrize("width", [40, 80, 200])
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(found=tables(st.none() | st.booleans() | st.integers(-9999, 9999) | st.floats() | st.text("ab -_|[]", max_size=60)))
def test_any_page_is_plain_and_no_wider_than_asked(found: list[Table], width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    checked(lines(report(*found, notes=["a note " * 20])), width)


def test_a_few_wide_rows_turn_on_their_side() -> None:
    written = lines(report(wide(2)))
    for key in NUMBERS:
        (line,) = [line for line in written if line.split()[:1] == [key]]
        assert line.split()[1:] == [f"{row[key]:.6g}" for row in wide(2).rows]
    assert sum("scale=" in line for line in written) == 1


def test_many_wide_rows_split_into_panels_that_repeat_the_opening_cells() -> None:
    written = lines(report(wide(20)))
    heads = [line.split() for line in written if line.split()[:2] == ["likelihood", "noise"]]
    assert len(heads) > 1
    assert [key for head in heads for key in head[2:]] == NUMBERS
    for row in wide(20).rows:
        opening = ["student-t", f"scale={row['noise']['scale']:g}"]
        shown = [line.split()[2:] for line in written if line.split()[:2] == opening]
        assert [cell for cells in shown for cell in cells] == [f"{row[key]:.6g}" for key in NUMBERS]
    for title in ("values", "gradients"):
        assert any(line.strip() == title for line in written)


def test_a_page_wide_enough_is_one_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")
    written = [line.split() for line in lines(report(wide(20)))]
    assert written.count(["likelihood", "noise", *NUMBERS]) == 1
    assert sum(line[:1] == ["student-t"] for line in written) == 20


def test_a_panel_of_none_is_written_but_not_shown() -> None:
    found = Table("t", [Column("name", "name", "*"), Column("nll", "nll"), Column("hidden", "hidden", None)], [
        {"name": "a", "nll": 1.5, "hidden": 7.25}
    ])  # fmt: skip
    for format in ("table", "markdown", "latex"):
        assert "7.25" not in text(report(found), format)
        assert "1.5" in text(report(found), format)
    assert strict(text(report(found), "json"))["tables"]["t"][0]["hidden"] == 7.25
    assert read(text(report(found), "csv"))[0]["hidden"] == "7.25"


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        ("none", "–"), ("nan", "nan"), ("inf", "inf"), ("minus_inf", "-inf"), ("true", "✓ yes"), ("false", "✗ no"),
        ("int", "22,528"), ("big", "1,000,000,000,000,000,000,000,007"), ("float", "0.3"), ("tiny", "-4.94066e-324"),
        ("negative_zero", "-0"), ("text", AWKWARD), ("formula", "(x − μ)²/2"), ("mapping", "sigma=0.3,df=4"),
    ],
)  # fmt: skip
def test_people_read_six_digits_a_dash_and_the_text_as_it_is(key: str, shown: str) -> None:
    (row,) = [line for line in lines(report(table([{"name": "first", key: CELLS[key]}]))) if "first" in line]
    assert row.replace("first", "").strip() == shown


@pytest.mark.parametrize(
    ("key", "shown"),
    [("none", "-"), ("true", "yes"), ("false", "no"), ("formula", "(x - mu)**2/2"), ("float", "0.3")],
)
def test_where_there_is_only_ascii_the_signs_are_spelled(key: str, shown: str, tmp_path: Path) -> None:
    with open(tmp_path / "page", "w", encoding="ascii") as file:
        formats.write(report(table([{"name": "first", key: CELLS[key]}])), "table", file)
    (row,) = [line for line in (tmp_path / "page").read_text().split("\n") if "first" in line]
    assert row.replace("|", " ").replace("first", "").strip() == shown


# At most so many rows.


@given(count=st.integers(1, 60), most=st.integers(1, 60))
def test_a_page_thins_rows_evenly_and_says_so(count: int, most: int) -> None:
    rows = [{"name": f"<{i}>", "nll": i / 2} for i in range(count)]
    written = text(report(table(rows, most=most)), "table")
    shown = [int(number) for number in re.findall(r"<(\d+)>", written)]
    assert len(shown) == min(count, most)
    assert shown[0] == 0
    if len(shown) > 1:
        assert shown[-1] == count - 1
        steps = {after - before for before, after in zip(shown, shown[1:], strict=False)}
        assert min(steps) >= 1
        assert max(steps) - min(steps) <= 1
    assert (f"{most} of {count} rows" in written) == (most < count)


@pytest.mark.parametrize("format", sorted(set(FORMATS) - {"table"}))
def test_every_other_format_has_all_the_rows(format: str) -> None:
    rows = [{"name": f"n{i}n", "nll": i / 2} for i in range(100)]
    written = text(report(table(rows, most=7)), format)
    assert re.findall(r"n(\d+)n", written) == [str(i) for i in range(100)]


# Pictures and colour.

SEEN = Picture("seen", [("x", [[[0.0, 1.0], [0.5, 0.25], [1.0, 1.0]]] * 3)])


def test_pictures_and_colour_are_for_terminals_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    found = report(EVERYTHING, verdict="holds", pictures=[SEEN])
    for format in FORMATS:
        assert not {"▀", "\x1b"} & set(text(found, format))
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    shown = text(found, "table")
    assert "\x1b[" in shown
    assert shown.count("▀") == 3 * 2 * 2  # three images of two columns, two lines of half-blocks
    for format in set(FORMATS) - {"table"}:
        assert not {"▀", "\x1b"} & set(text(found, format))


def test_pictures_are_in_colour_and_wide_ones_are_left_to_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    red_over_grey = Picture("p", [("x", [[[(1.0, 0.0, 0.0)], [(0.2, 0.2, 0.2)]]])])
    assert "38;2;255;0;0;48;2;51;51;51m▀" in text(report(EVERYTHING, pictures=[red_over_grey]), "table")
    wide = Picture("p", [("x", [[[0.5] * 65] * 2])])
    assert "▀" not in text(report(EVERYTHING, pictures=[wide]), "table")


def test_no_color_means_none_even_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    colour = re.compile(r"\x1b\[[\d;]*\b(?:3\d|4\d|9\d)[\d;]*m")
    assert colour.search(text(report(EVERYTHING, verdict="holds"), "table"))
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour.search(text(report(EVERYTHING, verdict="holds"), "table"))
