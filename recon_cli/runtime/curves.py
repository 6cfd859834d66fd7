"""Charts as a small PNG without matplotlib, which is an extra: what every run's folder has, drawn in a hundredth of a second."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from typing import TYPE_CHECKING

from recon_cli.report import Chart, Series

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

WIDE, HIGH, TIMES = 460, 320, 2  # pixels of one drawing, and how many times as large it is drawn before it is made smooth
LEFT, TOP, RIGHT, BOTTOM = 64, 58, 58, 44  # pixels around it
INK, LINE, PAPER = "#3c4650", "#dfe5eb", "#ffffff"
COLOURS = ("#1f63b0", "#b8500f", "#16774a", "#7a3fb0", "#8a6d00")


def sketch(charts: Sequence[Chart]) -> bytes:
    """Return charts of lines over a common x, on linear scales, side by side as a PNG."""
    from PIL import Image, ImageDraw

    image = Image.new("RGB", (WIDE * len(charts) * TIMES, HIGH * TIMES), PAPER)
    pen = ImageDraw.Draw(image)
    for at, chart in enumerate(charts):
        draw(pen, chart, at * WIDE)
    file = BytesIO()
    image.resize((WIDE * len(charts), HIGH), Image.Resampling.BOX).save(file, format="PNG")
    return file.getvalue()


def draw(pen: ImageDraw, chart: Chart, left: float) -> None:
    """Draw one chart, ``left`` pixels from the left: its title, a legend, axes with round numbers, and its lines."""
    box = (left + LEFT, TOP, left + WIDE - RIGHT, HIGH - BOTTOM)
    write(pen, chart.title, (left + LEFT, 8), 15)
    xs = scale(chart.x)
    for value in ticks(*xs):
        place = between(value, xs, box[0], box[2])
        line(pen, [(place, box[1]), (place, box[3])], LINE, 1)
        write(pen, f"{value:g}", (place, box[3] + 5), 11, "ma")
    write(pen, chart.x_title, ((box[0] + box[2]) / 2, box[3] + 22), 11, "ma")
    across = left + LEFT
    for side in (False, True):
        series = [(at, each) for at, each in enumerate(chart.series) if each.side is side]
        known = [value for _, each in series for value in finite(each)]
        if not known:
            continue
        ys = scale(known)
        for value in ticks(*ys):
            place = between(value, ys, box[3], box[1])
            if not side:
                line(pen, [(box[0], place), (box[2], place)], LINE, 1)
            write(pen, f"{value:.6g}", (box[2] + 6 if side else box[0] - 6, place), 11, "lm" if side else "rm")
        for at, each in series:
            colour = COLOURS[at % len(COLOURS)]
            points = [
                (between(x, xs, box[0], box[2]), between(y, ys, box[3], box[1]))
                for x, y in zip(chart.x, each.values, strict=True)
                if y is not None and math.isfinite(y)
            ]
            line(pen, points, colour, 2, dashed=each.kind == "dashes")
            across += write(pen, each.name + " (right)" * side, (across, 32), 12, colour=colour) + 16


def finite(series: Series) -> list[float]:
    """Return the numbers of a series that can be drawn."""
    return [value for value in series.values if value is not None and math.isfinite(value)]


def scale(values: Sequence[float]) -> tuple[float, float]:
    """Return from where to where an axis goes that shows these values."""
    low, high = min(values), max(values)
    room = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    return low - room, high + room


def ticks(low: float, high: float, most: int = 6) -> list[float]:
    """Return at most ``most`` round numbers between two."""
    rough = (high - low) / most
    decade = 10.0 ** math.floor(math.log10(rough))
    step = next(decade * times for times in (1, 2, 5, 10) if decade * times >= rough)
    return [round(at * step / decade) * decade for at in range(math.ceil(low / step), math.floor(high / step) + 1)]


def between(value: float, ends: tuple[float, float], start: float, end: float) -> float:
    """Return where a value is drawn, between two places that stand for two ends."""
    return start + (value - ends[0]) / (ends[1] - ends[0]) * (end - start)


def line(pen: ImageDraw, points: Sequence[tuple[float, float]], colour: str, width: int, dashed: bool = False) -> None:
    """Draw a line through points, a dot where there is one alone."""
    large = [(x * TIMES, y * TIMES) for x, y in points]
    if len(large) == 1:
        (x, y), size = large[0], 3 * TIMES
        pen.ellipse((x - size, y - size, x + size, y + size), fill=colour)
    pairs = [large[at : at + 2] for at in range(0, len(large) - 1, 2)] if dashed else [large] * (len(large) > 1)
    for each in pairs:
        pen.line(each, fill=colour, width=width * TIMES, joint="curve")


def write(
    pen: ImageDraw, words: str, place: tuple[float, float], size: int, anchor: str = "la", colour: str = INK
) -> float:  # fmt: skip
    """Write words, and return how wide they are."""
    from PIL import ImageFont

    font = ImageFont.load_default(size * TIMES)
    words = words.replace("−", "-").replace("²", "^2")  # which not every font has
    pen.text((place[0] * TIMES, place[1] * TIMES), words, fill=colour, font=font, anchor=anchor)
    return pen.textlength(words, font=font) / TIMES
