"""Every kind of chart is drawn to a file; what cannot be drawn is said before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.report import Chart, Series
from recon_cli.runtime import plotting

CHARTS = [
    Chart(
        "lines",
        [1.0, 2.0, 3.0],
        [Series("a", [1.0, None, 3.0]), Series("b", [3.0, 2.0, 1.0], "dashes", side=True)],
        "x",
        "y",
        "z",
    ),
    Chart("bars", [-1.0, 0.0, 1.0], [Series("n", [1, None, 100], "bars")], "x", "n", scales=("signed-log", "log"), level=10.0),
    Chart("a title that is much too long for the drawing that stands below it", [1.0], [Series("one", [2.0])]),
    Chart("points", [0.1, 1.0], [Series("p", [1.0, 2.0], "points")], scales=("log", "linear")),
]


def test_charts_stand_side_by_side(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    plotting.save(CHARTS, tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as image:
        assert image.size == (round(2 * plotting.WIDE * 200), round(2 * plotting.HIGH * 200))
        assert len(image.convert("RGB").getcolors(1 << 20) or ()) > 10


def test_nothing_to_draw_is_no_empty_file(tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="nothing here that --plot could draw"):
        plotting.save([], tmp_path / "x.png")
    assert not [*tmp_path.iterdir()]
    plotting.save([], None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["train", "--sweep", "sigma=0.1,0.2"], "--plot has nothing to draw with --sweep"),
        (["derive", "--list"], "--plot has nothing to draw with --list"),
        (["compare", "--against", "torch"], "--plot has nothing to draw with --against"),
    ],
)
def test_what_has_no_picture_says_so_before_the_work(words: list[str], sentence: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(main, [*words, "--plot", str(tmp_path / "x.png")])
    assert result.exit_code == 2
    assert sentence in result.stderr


def test_a_name_that_is_no_picture_s_is_refused_before_the_work(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    result = CliRunner().invoke(main, ["compare", "--plot", str(tmp_path / "x.gif")])
    assert result.exit_code == 2
    assert "recon cannot draw 'x.gif'" in result.stderr


def test_a_comparison_is_drawn(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    assert CliRunner().invoke(main, ["compare", "--sigma", "0.5", "-q", "--plot", str(tmp_path / "x.svg")]).exit_code == 0
    assert (tmp_path / "x.svg").stat().st_size > 10_000
