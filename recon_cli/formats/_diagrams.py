"""A sum of weighted terms as a drawing, in SVG: every term a box, its weight on the way to the sum."""

from __future__ import annotations

from recon_cli.formats._markup import text
from recon_cli.report import Diagram

BOX, ROW, GAP, LEFT, RIGHT = 190, 64, 22, 250, 330  # of the drawing's units: sizes of a box, and of the lines beside it
CHARACTER = 8.2  # units that one takes, at most


def svg(diagram: Diagram) -> str:
    """Return the drawing: boxes one below another, each with what it is of, their weights, the sum, and what it amounts to."""
    wide = max([BOX, *(24 + CHARACTER * max(len(block.name), len(block.arguments)) for block in diagram.blocks)])
    between = max([150.0, *(30 + CHARACTER * max(len(block.weight) + 2, len(block.over)) for block in diagram.blocks)])
    outside = 40 + CHARACTER * max([len(line) for line in diagram.total] or [0])
    height = max(len(diagram.blocks) * (ROW + GAP) - GAP, 22 * len(diagram.total)) + 4
    plus, middle = wide + between, height / 2
    parts = []
    for at, block in enumerate(diagram.blocks):
        top = 2 + at * (ROW + GAP) + (height - 4 - len(diagram.blocks) * (ROW + GAP) + GAP) / 2
        y = top + ROW / 2
        parts += [
            f'<rect x="1" y="{top:g}" width="{wide:g}" height="{ROW}" rx="8"/>',
            words(1 + wide / 2, y - 5, block.name, "middle", "name"),
            words(1 + wide / 2, y + 15, block.arguments, "middle", "of"),
            f'<path d="M{wide + 1:g} {y:g}H{plus:g}V{middle + (-13 if y < middle else 13 if y > middle else 0):g}"/>',
            words(wide + 16, y - 8, f"{'−' if block.minus else '×'} {block.weight}", "start", "weight"),
            words(wide + 16, y + 18, block.over, "start", "of"),
        ]
    parts += [f'<circle cx="{plus:g}" cy="{middle:g}" r="13"/>', words(plus, middle + 6, "+", "middle", "name")]
    parts.append(f'<path d="M{plus + 13:g} {middle:g}h24"/>')
    first = middle + 5 - 11 * (len(diagram.total) - 1)
    parts += [
        words(plus + 46, first + 22 * at, line, "start", "name" if not at else "of") for at, line in enumerate(diagram.total)
    ]
    label = "; ".join(f"{block.name} of {block.arguments}, times {block.weight} ({block.over})" for block in diagram.blocks)
    return (
        f'<svg viewBox="0 0 {plus + 46 + outside:g} {height:g}" width="{plus + 46 + outside:g}" role="img" '
        f'aria-label="{text(label)}">{"".join(parts)}</svg>'
    )


def words(x: float, y: float, line: str, anchor: str, kind: str) -> str:
    """Return text at a place."""
    return f'<text x="{x:g}" y="{y:g}" text-anchor="{anchor}" class="{kind}">{text(line)}</text>'
