"""Tables and proofs for a paper."""

from __future__ import annotations

from typing import Any, TextIO

from recon_cli.formats import panels, spell, subject_of
from recon_cli.report import Formula, Report, Table

SPECIAL = str.maketrans(
    {
        **{letter: f"\\{letter}" for letter in "&%$#_{}"},
        "~": r"\textasciitilde{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "^": r"\textasciicircum{}",
        "\\": r"\textbackslash{}",
        "μ": r"$\mu$",
        "σ": r"$\sigma$",
        "β": r"$\beta$",
        "½": r"$\frac{1}{2}$",
        "·": r"$\cdot$",
        "−": "$-$",
        "×": r"$\times$",
        "∂": r"$\partial$",
        "²": r"\textsuperscript{2}",
        "≤": r"$\le$",
        "√": r"$\surd$",
        "π": r"$\pi$",
        "|": r"\textbar{}",
        "ε": r"$\varepsilon$",
        "η": r"$\eta$",
        "→": r"$\to$",
        "∞": r"$\infty$",
        "κ": r"$\kappa$",
        "θ": r"$\theta$",
        "Σ": r"$\sum$",
        "Γ": r"$\Gamma$",
        "Π": r"$\prod$",
        "∫": r"$\int$",
        "≠": r"$\ne$",
        "≈": r"$\approx$",
        "≥": r"$\ge$",
        "⁻": r"\textsuperscript{$-$}",
        **{sign: rf"\textsuperscript{{{digit}}}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
    }
)


def write(report: Report, file: TextIO) -> None:
    """A fragment to \\input: it needs the packages amsmath, amssymb and booktabs."""
    parts = ["% \\usepackage{amsmath, amssymb, booktabs}", *(words(said) + r"\par" for said in report.lead)]
    for table in report.tables:
        parts += steps(table) if table.layout == "steps" else grids(table)
    parts += [words(note) + r"\par" for note in (*report.notes, report.verdict) if note]
    file.write("\n\n".join(parts) + "\n")


def grids(table: Table) -> list[str]:
    """One tabular for each panel."""
    found = []
    for title, columns in panels(table):
        lines = [rf"\begin{{tabular}}{{{'l' * len(columns)}}}", r"\toprule"]
        lines += [" & ".join(words(column.title) for column in columns) + r" \\", r"\midrule"]
        lines += [" & ".join(cell(row.get(column.key)) for column in columns) + r" \\" for row in table.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        found.append((rf"\paragraph{{{words(title)}}}" + "\n\n" if title else "") + "\n".join(lines))
    return found


def steps(table: Table) -> list[str]:
    """Numbered equations, each with its reason, under the heading of what they are about."""
    found: list[str] = []
    for subject in dict.fromkeys(map(subject_of, table.rows)):
        items = [
            rf"\item {cell(row['statement'])}\\ {words(row['because'])}"
            + (rf" \emph{{({words(table.wrong)})}}" if row["checked"] is False else "")
            for row in table.rows
            if subject_of(row) == subject
        ]
        found.append("\n".join([rf"\paragraph{{{words(subject)}}}", r"\begin{enumerate}", *items, r"\end{enumerate}"]))
    return found


def cell(value: Any) -> str:
    """A value inside a tabular."""
    return f"$\\displaystyle {value.latex}$" if isinstance(value, Formula) else words(spell(value, 6))


def words(text: str) -> str:
    """Text with LaTeX's own characters, and the few signs that recon's titles use, spelled for LaTeX."""
    return text.translate(SPECIAL)
