"""Formulas that fit a line in LaTeX: what it cannot break and is too wide gets a name, and is written below under that.

LaTeX breaks a formula after a sign of a sum or a relation that is in no fraction, fence, table of cases or exponent. Widths are
those of Computer Modern at ten points, as nearly as a table of a few sizes has them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

TOKEN = re.compile(r"\\[A-Za-z]+ ?|\\.|.", re.DOTALL)
UPRIGHT = ("mathrm", "text", "operatorname", "mathbb", "mathcal")  # of which the letters count
PARTS = {"frac": 2, "tfrac": 2, "dfrac": 2, "binom": 2, "sqrt": 1}
SUMS = ("+", "-", r"\pm")
RELATIONS = ("=", "<", ">", r"\le", r"\leq", r"\ge", r"\geq", r"\ne", r"\neq", r"\approx", r"\sim", r"\to", r"\in", r"\mid")
FUNCTIONS = ("log", "exp", "cosh", "sinh", "tanh", "sin", "cos", "max", "min")
SCALES = (1.0, 1.0, 0.8, 0.68)  # of what is displayed, of text, of an exponent, of an exponent's
COMMANDS = {",": 1.7, "!": -1.7, ":": 2.2, ";": 2.8, "quad": 10.0, "allowbreak": 0.0, "displaystyle": 0.0, "infty": 10.0,
            "sum": 14.4, "prod": 13.0, "int": 10.0, "Gamma": 6.3, "|": 5.0, "dots": 12.0, "cdot": 5.0, "times": 12.2}  # fmt: skip
POINTS = {
    **dict.fromkeys("()[]", 3.9), **dict.fromkeys("|.!:", 2.8), **dict.fromkeys("{}", 5.0), ",": 4.5, " ": 0.0,
    **{f"\\{name}": points for name, points in COMMANDS.items()},
}  # fmt: skip
ROUND = (r"\left(", r"\right)")
LEAST = 40.0  # of what is worth a name
LETTERS = "ACFGHMNPQSTUVWY"


@dataclass(frozen=True)
class Box:
    """A sign, or what has parts: group, fraction (of a root the one part), fence, script or environment, cell by cell."""

    kind: str
    text: str = ""
    parts: tuple[tuple[Box, ...], ...] = ()
    between: tuple[str, ...] = ()  # what stands before, between and after the parts


Row: TypeAlias = "tuple[Box, ...]"


def fitted(latex: str, line: float) -> list[str]:
    """Return a formula, and under it what its names stand for, each of which LaTeX can break into lines of so many points."""
    first = parse(latex)
    if all(width(part) <= line for part in segments(first)):
        return [latex]
    letter = next((each for each in LETTERS if each not in latex), "A")
    rows, at = [first], 0
    while at < len(rows):
        wide = next((part for part in segments(rows[at]) if width(part) > line), None)
        if wide is None:
            at += 1
        elif chosen := choice(wide, line):
            name = Box("sign", f"{letter}_{{{len(rows)}}}")
            rows = [*(named(row, chosen, name) for row in rows), (name, *parse(" = "), *map(displayed, bare(chosen)))]
        else:  # a product of many short factors
            rows[at] = loosened(rows[at])
            at += 1
    return [written(row).strip() for row in rows]


def choice(wide: Row, line: float) -> Row | None:
    """Return the part to be named: cases; the least with which ``wide`` fits; the one that takes off most and fits itself."""
    name, whole, options = Box("sign", "A_{1}"), width(wide), []
    for row in dict.fromkeys(inner(wide)):
        if row == stripped(wide) or is_list(row) or (len(row) == 1 and not row[0].parts):
            continue
        left, own = width(named(wide, row, name)), width(row)
        if own >= LEAST and left < whole:
            options.append(((row[0].kind != "environment", left > line, own > line, left if left > line else own), row))
    return min(options, key=lambda option: option[0])[1] if options else None


def values(row: Row) -> list[Row]:
    """Return the one value that a row is, or the several with commas between them."""
    commas = [-1, *(i for i, node in enumerate(row) if node.text == ","), len(row)]
    return [stripped(row[start + 1 : stop]) for start, stop in zip(commas, commas[1:], strict=False)]


def is_list(row: Row) -> bool:
    """Whether a row is the arguments of a function, in their parentheses."""
    return len(row) == 1 and row[0].kind in ("group", "fence") and (len(values(row[0].parts[0])) > 1 or is_list(row[0].parts[0]))


def bare(row: Row) -> Row:
    """Return a row without parentheses around the whole of it."""
    while len(row) == 1 and (row[0].kind == "group" or row[0].between == ROUND):
        row = stripped(row[0].parts[0])
    return row


def inner(row: Row) -> Iterator[Row]:
    """Yield whatever may be named: the parts of a row's nodes, and a node that has several."""
    for node in row:
        if node.kind in ("fraction", "environment"):
            yield (node,)
        for part in node.parts:
            for value in values(part) if node.kind != "script" else ():
                if value:
                    yield value
            yield from inner(part)


def displayed(node: Box) -> Box:
    """Return cases, which are written small among other things, as large as the rest."""
    if node.kind != "environment":
        return node
    parts = tuple((Box("sign", r"\displaystyle "), *part) if i % 2 == 0 else part for i, part in enumerate(node.parts))
    return replace(node, parts=parts, between=tuple(rf"{text}[1ex] " if text == r"\\" else text for text in node.between))


def stripped(row: Row) -> Row:
    """Return a row without the space around it."""
    blank = (" ", r"\,", r"\!", r"\:")
    while row and row[0].text in blank:
        row = row[1:]
    while row and row[-1].text in blank:
        row = row[:-1]
    return row


def named(row: Row, part: Row, name: Box) -> Row:
    """Return a row with the name wherever ``part`` is: in place of its parentheses too, but of a function's."""
    if part in (every := values(row)):
        comma = Box("sign", ",")
        return tuple(node for one in every for node in (comma, *((name,) if one == part else named(one, part, name))))[1:]
    nodes: list[Box] = []
    for node in row:
        inside = tuple(named(each, part, name) for each in node.parts)
        is_bare = node.kind == "fence" and inside == ((name,),) and node.between == ROUND
        is_argument = bool(nodes) and (nodes[-1].text == r"\!" or nodes[-1].text[-1:].isalpha() and nodes[-1].text[0] == "\\")
        nodes.append(name if (node,) == part or (is_bare and not is_argument) else replace(node, parts=inside))
    return tuple(nodes)


def loosened(row: Row) -> Row:
    """Return a row that may be broken after every factor."""
    pause = Box("sign", r"\allowbreak ")
    nodes: list[Box] = []
    for node, after in zip(row, (*row[1:], None), strict=True):
        nodes += [node] if after is None or after.kind == "script" or after.text == " " else [node, pause]
    return tuple(nodes)


def segments(row: Row) -> Iterator[Row]:
    """Yield the runs of nodes within which LaTeX does not break a line."""
    start = 0
    for i, node in enumerate(row):
        if node.text.strip() in (*RELATIONS, r"\allowbreak") or is_binary(row, i):
            yield row[start : i + 1]
            start = i + 1
    yield row[start:]


def is_binary(row: Sequence[Box], i: int) -> bool:
    """Whether a sign stands between two terms, and not in front of the first."""
    before = next((node for node in reversed(row[:i]) if node.text not in (" ", r"\,", r"\!")), None)
    is_open = before is None or before.text.strip() in (*SUMS, *RELATIONS, "(", "[", ",", r"\quad", r"\allowbreak", r"\log")
    return row[i].text.strip() in SUMS and not is_open


def width(row: Row, style: int = 0) -> float:
    """Return how many points a row takes."""
    total = script = 0.0
    for i, node in enumerate(row):
        if node.kind == "script":  # one above the other
            more = width(node.parts[0], min(3, max(2, style + 1)))
            total, script = total + max(0.0, more - script), max(script, more)
            continue
        style, script = 0 if node.text == r"\displaystyle " else style, 0.0
        total += own_width(node, style)
        if style < 2 and (node.text.strip() in RELATIONS or is_binary(row, i)):
            total += 5.0
    return total


def own_width(node: Box, style: int) -> float:
    """Return how many points a node takes, without what surrounds it."""
    scale, text = SCALES[style], node.text.strip() or node.text
    if node.kind == "fraction":
        return max(width(part, min(style + 1, 3)) for part in node.parts) + (10.0 if node.text == r"\sqrt" else 2.4)
    if node.kind == "environment":
        return 9.0 + sum(max(width(cell, 1) for cell in node.parts[i::2]) for i in range(2)) + 10.0
    if node.kind == "fence":
        return width(node.parts[0], style) + (20.0 if is_high(node.parts[0]) else 8.0) * scale
    if node.parts:
        return width(node.parts[0], style)
    if text in POINTS:
        return POINTS[text] * scale
    if text in SUMS or text in RELATIONS:
        return 7.8 * scale
    letters = re.sub(r"\\[A-Za-z]+|[\\{}_]", "", text) or (text[1:] if text[1:] in FUNCTIONS else "x")
    return 5.4 * scale * len(letters)


def is_high(row: Row) -> bool:
    """Whether there is a fraction or an environment in a row, so that its parentheses are wide."""
    return any(node.kind in ("fraction", "environment") or any(map(is_high, node.parts)) for node in row if node.kind != "script")


def written(row: Row) -> str:
    """Return a row in LaTeX."""
    texts = []
    for node in row:
        first, *rest = node.between or (node.text,)
        pairs = zip(node.parts, rest, strict=True)
        texts.append(first + "".join(written(part) + after for part, after in pairs))
    return "".join(texts)


def parse(latex: str) -> Row:
    """Return the signs of a formula."""
    return Parser(latex).row()


class Parser:
    """Reads LaTeX as formulas have it, token by token."""

    def __init__(self, latex: str) -> None:
        self.tokens: list[str] = TOKEN.findall(latex)
        self.at = 0

    def take(self) -> str:
        """Return the next token."""
        self.at += 1
        return self.tokens[self.at - 1]

    def row(self, *ends: str) -> Row:
        """Return the signs up to one of ``ends``, or to the end of all."""
        nodes = []
        while self.at < len(self.tokens) and self.tokens[self.at].strip() not in ends:
            nodes.append(self.node())
        return tuple(nodes)

    def braced(self) -> Row:
        """Return what is in the braces that come, or the one token there is instead."""
        while self.tokens[self.at] == " ":
            self.at += 1
        if self.tokens[self.at] != "{":
            return (self.node(),)
        self.at += 1
        row = self.row("}")
        self.at += 1
        return row

    def raw(self) -> str:
        """Return the text in the braces that come, as it is."""
        start, level = self.at, 0
        while True:
            level += {"{": 1, "}": -1}.get(self.take(), 0)
            if level == 0:
                return "".join(self.tokens[start : self.at])

    def node(self) -> Box:
        """Return the next node."""
        text = self.take()
        name = text.strip().removeprefix("\\")
        if text in ("^", "_"):
            return Box("script", text, (self.braced(),), (f"{text}{{", "}"))
        if text == "{":
            self.at -= 1
            return Box("group", "", (self.braced(),), ("{", "}"))
        if not text.startswith("\\"):
            return Box("sign", text)
        if name in UPRIGHT:
            return Box("sign", text + self.raw())
        if name in PARTS:
            parts = tuple(self.braced() for _ in range(PARTS[name]))
            return Box("fraction", f"\\{name}", parts, (f"\\{name}{{", *["}{"] * (len(parts) - 1), "}"))
        if name == "left":
            opening = self.take()
            row = self.row(r"\right")
            self.at += 1
            return Box("fence", "", (row,), (rf"\left{opening}", rf"\right{self.take()}"))
        return self.environment() if name == "begin" else Box("sign", text)

    def environment(self) -> Box:
        """Return a table of cases, cell by cell."""
        kind = self.raw()
        cells: list[Row] = []
        between: list[str] = []
        while not between or between[-1] != r"\end":
            cells.append(self.row("&", r"\\", r"\end"))
            between.append(self.take().strip())
        return Box("environment", "", tuple(cells), (rf"\begin{kind}", *between[:-1], rf"\end{self.raw()}"))
