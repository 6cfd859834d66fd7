"""The answer comes first: how much of it is shown, where it goes, and in which colours."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recon_cli import formats, registry
from recon_cli.cli import main
from recon_cli.report import Column, Detail, Report, Table, column, columns_of

ANSWERS = {
    "compare": ["compare", "--sigma", "0.5"],
    "refuted": ["compare", "--likelihood", "bernoulli"],
    "derive": ["derive", "laplace:scale=0.2"],
    "weight": ["calibrate", "--loss", "mse", "--reduction", "sum", "--kl-weight", "1", "--kl-reduction", "sum", "--shape", "8x8"],
    "collapse": ["calibrate", "--data", "digits", "--sigma", "1"],
    "train": ["train", "--epochs", "1", "--holdout", "0.2"],
    "audit": ["audit", "--loss", "mse", "--reduction", "mean", "--kl-weight", "1"],
    "data": ["data", "digits"],
}


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], env={"COLUMNS": "80"})


def lines(*words: str) -> list[str]:
    return run(*words).stdout.splitlines()


@pytest.mark.parametrize("words", ANSWERS.values(), ids=ANSWERS)
def test_the_answer_is_a_screen_and_begins_with_the_verdict(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    again = ["--out", "again"] if words[0] == "train" else []
    brief, whole = lines(*words), lines(*words, "-v", *again)
    assert brief[0][:2] in ("✓ ", "✗ ")
    assert brief[0] == whole[0]
    assert len(brief) <= 40
    assert len(brief) < len(whole)
    assert "" not in (brief[0], brief[-1])
    assert all(len(line) <= 80 or line.startswith("    ") for line in brief)  # code is never broken


def test_quiet_is_the_verdict_alone() -> None:
    assert lines("compare", "--sigma", "0.5", "-q") == [
        "✓ holds: the loss is the likelihood up to its slope and a constant in mu"
    ]
    refuted = run("compare", "--likelihood", "bernoulli", "-q")
    assert refuted.exit_code == 1
    assert refuted.stdout.startswith("✗ refuted: ")
    assert run("explain", "recon-mean", "-q").stdout.startswith("recon-mean: ")  # nothing is judged there


def test_a_summary_keeps_every_note_but_details() -> None:
    report = Report("compare", [], ["seen", Detail("hidden")], "so", lead=["first"])
    assert report.summary().notes == ["seen"]
    assert report.summary().lead == ["first"]


def test_a_summary_has_the_columns_that_say_so() -> None:
    class Row:
        name: str = column("name", "*")
        much: int = column("much", brief=True)
        more: int = column("more")

    kind = dataclass(Row)
    table = Table.of("rows", kind, [kind("a", 1, 2), kind("b", 3, 4)], few=1)
    summary = table.summary()
    assert summary is not None
    assert [each.key for each in summary.columns] == ["name", "much"]
    assert len(summary.rows) == 1
    assert table.details().summary() is None
    assert Table("whole", columns_of(kind), [], answer=True).summary() is not None
    assert Table("none", [Column("a", "a")], []).summary() is None


@pytest.mark.parametrize("format", sorted(set(registry.names("formats"))))
def test_the_whole_result_goes_to_a_file_too(format: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    suffix = registry.load("formats", format).SUFFIX
    done = run("compare", "--sigma", "0.5", "-o", f"answer{suffix}")
    assert done.exit_code == 0
    assert done.stdout == run("compare", "--sigma", "0.5").stdout
    written = Path(f"answer{suffix}").read_text(encoding="utf-8")
    whole = run("compare", "--sigma", "0.5", "-v", "--format", format).stdout
    differs = "largest error"  # nothing else may: rounding errors are the machine's
    assert [line for line in written.splitlines() if differs not in line and "output" not in line] == [
        line for line in whole.splitlines() if differs not in line and "output" not in line
    ]
    assert os.listdir() == [f"answer{suffix}"]


@pytest.mark.parametrize(
    ("name", "said"), [("answer.xyz", "ends in .xyz"), ("answer", "has no ending"), ("no/where.json", "There is no folder 'no'")]
)
def test_a_file_that_cannot_be_is_said_before_any_work(name: str, said: str) -> None:
    done = run("compare", "--data", "nowhere.npy", "-o", name)
    assert done.exit_code == 2
    assert said in done.stderr
    assert "nowhere" not in done.stderr


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "taken.json").mkdir()
    done = run("compare", "--sigma", "0.5", "-o", str(tmp_path / "taken.json"))
    assert done.exit_code == 2
    assert "taken.json cannot be written" in done.stderr
    assert os.listdir(tmp_path) == ["taken.json"]


def test_colours_are_where_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    assert "\x1b[" not in run("data", "digits").stdout
    assert "\x1b[" in run("data", "digits", "--color", "always").stdout
    assert "\x1b[" in run("compare", "--data", "nowhere.npy", "--color", "always").stderr
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b[" not in run("data", "digits", "--color", "never").stdout
    assert os.environ.get("FORCE_COLOR") == "1"  # as it was


def test_json_says_what_was_asked_with_what_and_whether_it_holds() -> None:
    record = json.loads(run("compare", "--sigma", "0.5", "--seed", "3", "--format", "json").stdout)
    assert record["arguments"]["sigmas"] == [[0.5]]
    assert record["arguments"]["seed"] == 3
    assert record["arguments"]["device"] == "auto"
    assert {"python", "torch", "numpy", "system"} <= {*record["environment"]}
    assert record["holds"] is True
    assert json.loads(run("compare", "--likelihood", "bernoulli", "--format", "json").stdout)["holds"] is False


def test_nothing_judged_is_neither_a_pass_nor_a_failure(capsys: pytest.CaptureFixture[str]) -> None:
    formats.write(Report("audit", [], [], "1 not audited", holds=None), "table", sys.stdout)
    assert capsys.readouterr().out == "– 1 not audited\n"
