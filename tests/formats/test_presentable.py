"""Results show themselves: printed, in a notebook, as data, in a file."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import recon_cli
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.formats._presentable import Presentable


@pytest.fixture(scope="module")
def results() -> dict[str, Presentable]:
    return {
        "compare": recon_cli.compare([[0.0, 1.0]], [[0.25, 0.5]], "gaussian:sigma=0.5", device="cpu"),
        "derive": recon_cli.derive("laplace"),
        "calibrate": recon_cli.calibrate([[0.0, 1.0], [1.0, 0.5], [0.25, 0.0]]),
        "audit": recon_cli.audit(lambda y, t: (y - t).square().mean()),
    }


@pytest.mark.parametrize("name", ["compare", "derive", "calibrate", "audit"])
def test_every_result_shows_itself(name: str, results: dict[str, Presentable], tmp_path: Path) -> None:
    result = results[name]
    report = result.report()
    assert str(result).splitlines()[0].startswith(f"✓ {report.verdict[:40]}")
    assert result.to_dict()["verdict"] == report.verdict
    assert list(result.to_frame().columns) == [column.key for column in report.tables[0].columns]
    page = result._repr_html_()
    shown = html.unescape(re.sub(r"<[^>]+>", " ", page))
    assert report.verdict in shown
    for note in (*report.lead, *report.notes):
        assert note in shown
    assert not re.search(r"<script|<style|https?://", page)
    result.save(tmp_path / "answer.json")
    assert json.loads((tmp_path / "answer.json").read_text()) == result.to_dict()


def test_print_is_what_the_command_prints() -> None:
    shown = CliRunner().invoke(main, ["derive", "laplace"], env={"COLUMNS": "80"}).stdout
    proved, _, where = shown.partition("\n\nProved by recon's tests")  # the command shows the table of proofs
    assert where
    assert str(recon_cli.derive("laplace")) == proved.rstrip("\n")


def test_what_is_shown_in_a_notebook_cannot_break_out() -> None:
    page = recon_cli.compare([[0.0, 1.0]], [[0.25, 0.5]], data="<img src=x onerror=alert(1)>", device="cpu")._repr_html_()
    assert "<img" not in page
    assert "&lt;img" in page


def test_a_table_or_an_ending_that_there_is_not(results: dict[str, Presentable], tmp_path: Path) -> None:
    with pytest.raises(ReconError, match="no table named 'identiy'"):
        results["compare"].to_frame("identiy")
    with pytest.raises(ReconError, match="ends in .xyz"):
        results["compare"].save(tmp_path / "answer.xyz")
