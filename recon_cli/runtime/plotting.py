"""Charts as files: png, svg or pdf, by matplotlib, which is an extra."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError, not_installed
from recon_cli.report import Chart, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

PICTURES = (".png", ".svg", ".pdf")
WIDE, HIGH, BESIDE = 3.4, 3.3, 3  # inches of one drawing, and how many of them stand side by side
INK, GREY, LINES = "#1b1b1b", "#9a9a9a", ("#1f63b0", "#b8500f", "#16774a", "#7a3fb0", "#8a6d00")
STYLE: dict[Any, object] = {  # matplotlib types the keys as a union of all its settings
    "font.size": 9, "font.family": "sans-serif", "axes.labelsize": 9, "axes.titlesize": 9.5, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "axes.titlepad": 9, "axes.edgecolor": "#555555", "axes.labelcolor": INK, "axes.linewidth": 0.7,
    "axes.spines.top": False, "axes.spines.right": False, "xtick.color": "#555555", "ytick.color": "#555555",
    "xtick.labelsize": 8, "ytick.labelsize": 8, "xtick.major.width": 0.7, "ytick.major.width": 0.7, "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4, "lines.linewidth": 1.6, "svg.fonttype": "path", "svg.hashsalt": "recon", "pdf.fonttype": 42,
}  # fmt: skip


def plottable(path: str | Path | None) -> None:
    """Raise ReconError, before any work, where matplotlib is missing or ``path`` is no picture that it could write."""
    if path is None:
        return
    if importlib.util.find_spec("matplotlib") is None:
        raise not_installed("--plot draws with", "matplotlib", "plot")
    path = Path(path)
    if path.suffix.lower() not in PICTURES:
        raise ReconError(f"recon cannot draw {path.name!r}.", f"End its name in {', '.join(PICTURES)}.")
    if path.is_dir():
        raise ReconError(f"{str(path)!r} is a folder.", "Name a file in it.")
    if not path.resolve().parent.is_dir():
        raise ReconError(f"There is no folder {str(path.parent)!r} to draw into.", "Make it first.")


@contextmanager
def drawing(path: Path, count: int) -> Iterator[list[Axes]]:
    """Give as many empty axes as asked for, and write them to ``path`` in the end; its ending says how.

    Raises ReconError where that cannot be written.
    """
    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    columns = 2 if count == 4 else min(count, BESIDE)
    rows = -(-count // columns)
    with matplotlib.rc_context(STYLE):
        figure: Figure = Figure(figsize=(WIDE * columns, HIGH * rows), layout=ConstrainedLayoutEngine(wspace=0.06))
        FigureCanvasAgg(figure)
        every = [*figure.subplots(rows, columns, squeeze=False).flat]
        for empty in every[count:]:
            empty.set_axis_off()
        yield every[:count]
        try:
            figure.savefig(path, dpi=200, metadata={"Date": None} if path.suffix.lower() == ".svg" else None)
        except OSError as error:
            raise ReconError(f"{path} cannot be written: {error.strerror}.", "Choose another file.") from error


def save(charts: Sequence[Chart], path: str | Path | None) -> None:
    """Draw charts side by side to a file; nothing where there is none. Raises ReconError where there is nothing to draw."""
    if path is None:
        return
    if not charts:
        raise ReconError("There is nothing here that --plot could draw.", "Leave --plot out.")
    with drawing(Path(path), len(charts)) as every:
        for axes, chart in zip(every, charts, strict=True):
            draw(axes, chart)


def draw(axes: Axes, chart: Chart) -> None:
    """Draw one chart."""
    sides = {False: axes, True: axes.twinx() if any(each.side for each in chart.series) else axes}
    handles = []
    for at, each in enumerate(chart.series):
        handles.append(line(sides[each.side], chart, each, LINES[at % len(LINES)]))
    if chart.level is not None:
        axes.axhline(chart.level, color=LINES[1], linewidth=1.0)
        words = f"{chart.named} {chart.level:.3g}"
        axes.annotate(words, (0.99, chart.level), xycoords=("axes fraction", "data"), xytext=(0, 3), ha="right",
                      textcoords="offset points", color=LINES[1], fontsize=8,
                      bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1})  # fmt: skip
    for axis, scale in zip((axes.set_xscale, axes.set_yscale), chart.scales, strict=True):
        axis("log" if scale == "log" else "linear")
    if chart.scales[0] == "signed-log":
        axes.xaxis.set_major_formatter(lambda value, _: f"{(abs(value) / value if value else 1) * (10 ** abs(value) - 1):.3g}")
    axes.set(title=wrapped(chart.title), xlabel=chart.x_title, ylabel=chart.y_title)
    if sides[True] is not axes:
        sides[True].set_ylabel(chart.side_title)
        sides[True].spines["right"].set_visible(True)
    if len(chart.series) > 1:
        axes.legend(handles=handles, fontsize=7.5, frameon=False)


def line(axes: Axes, chart: Chart, series: Series, colour: str) -> Any:
    """Draw a series, and return what its legend shows."""
    pairs = [(x, y) for x, y in zip(chart.x, series.values, strict=True) if y is not None]
    x, y = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    if series.kind == "bars":
        wide = 0.8 * (chart.x[-1] - chart.x[0]) / (len(chart.x) - 1) if len(chart.x) > 1 else 0.8
        axes.set_xlim(chart.x[0] - wide, chart.x[-1] + wide)
        return axes.bar(x, y, width=wide, color=colour, label=series.name)
    if series.kind == "points" or len(x) == 1:
        return axes.plot(x, y, ".", markersize=3 if len(x) > 1 else 6, color=colour, label=series.name)[0]
    return axes.plot(x, y, "--" if series.kind == "dashes" else "-", color=colour, label=series.name)[0]


def wrapped(title: str) -> str:
    """Return a title in lines that fit above a drawing."""
    from textwrap import fill

    return fill(title, 42)
