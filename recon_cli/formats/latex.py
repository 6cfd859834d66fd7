"""Tables and proofs for a paper."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from recon_cli.formats import panels, spell, subject_of, verdict_of
from recon_cli.formats._wide import fitted, parse, segments
from recon_cli.formats._wide import width as breadth
from recon_cli.report import Column, Formula, Report, Table

SUFFIX = ".tex"  # of files in this format

WIDTH = 345.0  # of a line of an article, in points
MARGIN, SLACK = 25.0, 25.0  # by which a list is set in, and by which a formula may be wider than it is taken for
LETTER, GUTTER = 5.0, 12.0  # about what a letter takes, and what stands between two columns

OPENING = r"\begingroup\emergencystretch=8em"  # words apart rather than into the margin: code and names have no syllables
PAUSE = "\u200b"  # where a line may break
JOINT = re.compile(r"(?<=[\w)\]][-_(/=*,.])(?=[\w(\[])")  # of what is code
SPECIAL = {
    **{letter: f"\\{letter}" for letter in "&%$#_{}"},
    **dict.fromkeys("\n\t\u00a0\u2009", " "),
    "~": r"\textasciitilde{}", "<": r"\textless{}", ">": r"\textgreater{}", "^": r"\textasciicircum{}", "|": r"\textbar{}",
    "\\": r"\textbackslash{}", "ε": r"$\varepsilon$", "½": r"$\frac{1}{2}$", "·": r"$\cdot$", "−": "$-$", "×": r"$\times$",
    "∂": r"$\partial$", "≤": r"$\le$", "≥": r"$\ge$", "≠": r"$\ne$", "≈": r"$\approx$", "→": r"$\to$", "∞": r"$\infty$",
    "∈": r"$\in$", "√": r"$\surd$", "Σ": r"$\sum$", "Π": r"$\prod$", "∫": r"$\int$", "‖": r"$\Vert$", "±": r"$\pm$",
    "✓": r"$\surd$", "✗": r"$\times$", "…": r"\dots{}", "–": "--", "—": "---", "‘": "`", "’": "'", "“": "``", "”": "''",
    "─": "--", "│": r"\textbar{}", "┤": "+", "└": "+", "ß": r"\ss{}", "ø": r"\o{}", "Ø": r"\O{}", "æ": r"\ae{}",
    "œ": r"\oe{}", "ł": r"\l{}", "°": r"$^\circ$", "⁻": r"\textsuperscript{$-$}",
    **{sign: rf"\textsuperscript{{{digit}}}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    **{sign: rf"\textsubscript{{{digit}}}" for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **dict.fromkeys("▁▂▃▄", "."), PAUSE: r"\allowbreak{}", **dict.fromkeys("▅▆▇█", r"\#"),
}  # fmt: skip
ACCENTS = {"\u0300": r"\`", "\u0301": r"\'", "\u0302": r"\^", "\u0303": r"\~", "\u0304": r"\=", "\u0306": r"\u",
           "\u0307": r"\.", "\u0308": r'\"', "\u030a": r"\r", "\u030b": r"\H", "\u030c": r"\v", "\u0327": r"\c"}  # fmt: skip
SMALL = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi chi psi omega"
CAPITAL = "Gamma Delta Theta Lambda Xi Upsilon Phi Psi Omega"

LONE = r"(?<![\w.*(/'-])(?<!\d )[xzqmsrgLBDKbc](?![\w'’*(/-])(?!\.\w)"  # no word, no unit of time, no name of a file
ATOM = rf"(?:a·loss|−log p\b(?!\()|E_q\[log p\(x\|z\)\]|q\(z\|x\)|(?:log )?p\((?:x\|)?[xzμ]\)|f\(m\)|[α-ω]|{LONE})[²³]?"
RUN = re.compile(rf"{ATOM}(?:(?: [=+→−] |·)(?:{ATOM}|\d+(?:\.\d+)?\b(?!/)))*")
MATHS = {"·": r"\,", "→": r"\to ", "−": "-", "²": "^2", "³": "^3", "ε": r"\varepsilon "}


def write(report: Report, file: TextIO) -> None:
    """Write a fragment to \\input, in ASCII: it needs the packages amsmath, amssymb and booktabs, as its first line says."""
    parts = ["% \\usepackage{amsmath, amssymb, booktabs}", OPENING, *(prose(said) + r"\par" for said in report.lead)]
    for table in report.tables:
        parts += steps(table) if table.layout == "steps" else grids(table)
    parts += [prose(note) + r"\par" for note in (*report.notes, report.verdict) if note]
    file.write("\n\n".join([*parts, r"\endgroup"]) + "\n")


def grids(table: Table) -> list[str]:
    """For each panel one tabular, several where one is wider than a line, or a list where a single column is."""
    grids = []
    for title, columns in panels(table):
        opening = [column for column in columns if column.panel == "*"] or list(columns[:1])
        blocks = parts(columns, opening, table.rows)
        narrow = all(width(block, table.rows) <= WIDTH for block in blocks)
        drawn = [tabular(block, table.rows) for block in blocks] if narrow else [listing(columns, opening, table.rows)]
        head = rf"\paragraph{{{words(title)}}}\mbox{{}}\par" + "\n\n" if title else ""
        grids.append(head + "\n\n\\medskip\n\n".join(drawn))
    return grids


def parts(columns: Sequence[Column], opening: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> list[list[Column]]:
    """As few runs of ``columns`` as fit a line, each opened by the same ones."""
    groups = [list(opening)]
    for column in columns:
        if column not in opening:
            if len(groups[-1]) > len(opening) and width([*groups[-1], column], rows) > WIDTH:
                groups.append(list(opening))
            groups[-1].append(column)
    return groups


def width(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> float:
    """About how wide a tabular of these is, in points."""
    longest = (max(len(column.title), *(length(row.get(column.key)) for row in rows), 0) for column in columns)
    return sum(GUTTER + LETTER * most for most in longest)


def length(value: Any) -> int:
    """How many letters a value takes; a formula about those of its spelling on a terminal."""
    return len(value.unicode if isinstance(value, Formula) else spell(value, 6))


def tabular(columns: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their titles."""
    lines = [rf"\noindent\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule"]
    lines += [" & ".join(words(column.title) for column in columns) + r" \\", r"\midrule"]
    lines += [" & ".join(cell(row.get(column.key)) for column in columns) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def listing(columns: Sequence[Column], opening: Sequence[Column], rows: Sequence[Mapping[str, Any]]) -> str:
    """Each row as a list under its opening cells, lines broken where they must be; what was not measured is left out."""
    lists = []
    for row in rows:
        head = ", ".join(f"{words(column.title)}: {cell(row.get(column.key))}" for column in opening)
        items = [
            item(words(column.title), row[column.key])
            for column in columns
            if column not in opening and row.get(column.key) not in (None, "")
        ]
        lists.append("\n".join([rf"\paragraph{{{head}}}", r"\begin{description}\raggedright", *items, r"\end{description}"]))
    return "\n\n".join(lists)


def item(title: str, value: Any) -> str:
    """Return an item of a list: a formula under its title where it has no room beside it."""
    first = next(segments(parse(value.latex))) if isinstance(value, Formula) else ()
    below = "\\mbox{}\\par\n" * (breadth(first) + LETTER * len(title) + 2 * MARGIN > WIDTH)
    return rf"\item[{{{title}}}] {below}{lines(value)}"


def steps(table: Table) -> list[str]:
    """Numbered equations, each with its reason, under the heading of what they are about."""
    lists: list[str] = []
    for subject in dict.fromkeys(map(subject_of, table.rows)):
        items = [
            rf"\item {{\raggedright {lines(row['statement'])}\par}} {prose(row['because'])} "
            rf"\emph{{({words(verdict_of(row, table.wrong))})}}"
            for row in table.rows
            if subject_of(row) == subject
        ]
        lists.append("\n".join([rf"\paragraph{{{words(subject)}}}", r"\begin{enumerate}", *items, r"\end{enumerate}"]))
    return lists


def cell(value: Any) -> str:
    """Return a value as it stands inside a tabular or a list."""
    return f"$\\displaystyle {value.latex}$" if isinstance(value, Formula) else words(spell(value, 6))


def lines(value: Any) -> str:
    """Return a value as it stands in a list, a formula and what is under it in lines that fit there."""
    if not isinstance(value, Formula):
        return cell(value)
    first, *rest = (f"$\\displaystyle {latex}$" for latex in fitted(value.latex, WIDTH - MARGIN - SLACK))
    return "\\par ".join([first, *(f"{'and' if i else 'where'} {latex}" for i, latex in enumerate(rest))])


def words(text: str) -> str:
    """Text in ASCII and LaTeX's own commands; a sign that is in no common font by its number."""
    letters: list[str] = []
    for letter in re.sub(r"\S{16,}", lambda long: JOINT.sub(PAUSE, long[0]), text):
        for part in letter if letter in SPECIAL else unicodedata.normalize("NFD", letter):
            if part in ACCENTS and letters:
                letters[-1] = f"{ACCENTS[part]}{{{letters[-1]}}}"
            else:
                letters.append(SPECIAL.get(part) or (part if " " <= part <= "~" else named(part)))
    return "".join(letters).replace("--", "-{}-") if "--" in text else "".join(letters)


def prose(text: str) -> str:
    """Return a sentence, the symbols and the short formulas in it set as such."""
    parts, last = [], 0
    for run in RUN.finditer(text):
        inside = re.sub(r"[^ -~]", lambda sign: MATHS.get(sign[0]) or named(sign[0]).strip("$") + " ", run[0])
        for word, command in (("E_q[", r"\mathbb{E}_q["), ("loss", r"\ell"), ("log ", r"\log "), ("|", r"\mid ")):
            inside = inside.replace(word, command)
        parts += [words(text[last : run.start()]), f"${inside.strip()}$"]
        last = run.end()
    return "".join([*parts, words(text[last:])])


def named(letter: str) -> str:
    """Return a Greek letter by its name, any other sign by its number."""
    name = unicodedata.name(letter, "").replace("LAMDA", "LAMBDA").title()
    small, capital = (name.removeprefix(f"Greek {size} Letter ") for size in ("Small", "Capital"))
    if small.lower() in SMALL.split():
        return rf"$\{small.lower()}$"
    return rf"$\{capital}$" if capital in CAPITAL.split() else f"[U+{ord(letter):04X}]"
