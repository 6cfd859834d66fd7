"""recon list, explain and show: what there is, what a word means, what a run has come to."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import recon_cli
from recon_cli import likelihoods, registry
from recon_cli.auditing import defects
from recon_cli.cli import main
from recon_cli.guide import words


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, [*arguments], env={"COLUMNS": "80"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Two short runs of the same rows, and one of others."""
    here = tmp_path_factory.mktemp("runs")
    asked = {"gaussian": {}, "laplace": {"likelihood": "laplace"}, "others": {"holdout": 0.5}}
    for name, how in asked.items():
        recon_cli.train(epochs=1, hidden=8, latent=2, device="cpu", out=here / name, **how)
    return {name: str(here / name) for name in asked}


def test_everything_there_is_is_listed() -> None:
    listed = json.loads(run("list", "--format", "json").stdout)["tables"]["words"]
    assert [row["word"] for row in listed] == [*words.KINDS]
    for kind in ("sources", "formats", "models"):
        assert [word.word for word in words.KINDS[kind]()] == registry.names(kind)
    assert [word.word for word in words.of_likelihoods()] == likelihoods.names()
    assert [word.word for word in words.of_defects()] == defects.codes()
    assert all(word.meaning for kind in words.KINDS.values() for word in kind())
    wrong = run("list", "likelihood")
    assert (wrong.exit_code, "likelihoods" in wrong.stderr) == (2, True)


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("laplace", "Its loss is absolute-error"),
        ("normal", "normal was taken for gaussian"),
        ("mse", "It is the loss of gaussian"),
        ("faithful", "It is no likelihood's loss"),
        ("recon-mean", "It grows with the image"),
        ("ratio_median", "a column of recon compare"),
        ("nll", "a column of recon train"),
        ("bce", "It is the loss of bernoulli"),
    ],
)
def test_a_word_is_explained(word: str, said: str) -> None:
    done = run("explain", word)
    assert done.exit_code == 0
    assert said in " ".join(done.stdout.split())


def test_every_known_word_can_be_explained() -> None:
    for word in words.known():
        report = words.explanation(word)
        assert report.lead, word
        assert "property object" not in f"{report.lead}{report.notes}", word


def test_a_word_that_is_none_is_refused_with_the_nearest() -> None:
    done = run("explain", "lapalce")
    assert (done.exit_code, "'laplace'" in done.stderr) == (2, True)


def test_a_run_is_shown(folders: dict[str, str]) -> None:
    done = run("show", folders["gaussian"], "--format", "json")
    assert done.exit_code == 0
    record = json.loads(done.stdout)
    result = json.loads((Path(folders["gaussian"]) / "result.json").read_text())
    (row,) = record["tables"]["runs"]
    assert {row[name] == result[name] for name in ("nll", "kl", "negative_elbo", "active", "seconds")} == {True}
    assert [line["epoch"] for line in record["tables"]["epochs"]] == [1]
    assert record["holds"] is None


def test_runs_are_ranked_only_on_the_same_rows(folders: dict[str, str]) -> None:
    same, unlike = run("show", folders["gaussian"], folders["laplace"]), run("show", folders["gaussian"], folders["others"])
    assert "the least negative ELBO is" in " ".join(same.stdout.split())
    assert "They differ in likelihood: gaussian, laplace." in " ".join(same.stdout.split())
    assert "not to be ranked" in " ".join(unlike.stdout.split())
    assert "They differ in holdout: 0.2, 0.5." in " ".join(unlike.stdout.split())


def test_compare_takes_runs_and_a_run_s_own_noise(folders: dict[str, str]) -> None:
    both = run("compare", folders["gaussian"], folders["laplace"])
    assert both.stdout == run("show", folders["gaussian"], folders["laplace"]).stdout
    assert "takes no --sigma" in run("compare", folders["gaussian"], "--sigma", "1").stderr
    (row,) = json.loads(run("compare", "--recon", f"run:{folders['laplace']}", "--format", "json").stdout)["tables"]["identity"]
    result = json.loads((Path(folders["laplace"]) / "result.json").read_text())
    assert row["likelihood"] == "laplace"
    assert row["parameters"]["scale"] == pytest.approx(result["sigma"])


def test_a_run_that_has_not_ended_says_so(folders: dict[str, str], tmp_path: Path) -> None:
    for name in ("config.json", "metrics.jsonl"):
        (tmp_path / name).write_bytes((Path(folders["gaussian"]) / name).read_bytes())
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "nll"')  # a line that was being written
    done = run("show", str(tmp_path))
    assert done.exit_code == 0
    assert "has not ended: 1 of 1 epochs; recon train --resume" in " ".join(done.stdout.split())


@pytest.mark.parametrize(
    ("name", "content"), [("result.json", "{}"), ("result.json", "nonsense"), ("metrics.jsonl", "nonsense\n")]
)
def test_a_damaged_run_is_refused(name: str, content: str, folders: dict[str, str], tmp_path: Path) -> None:
    for each in ("config.json", "metrics.jsonl", "result.json"):
        (tmp_path / each).write_bytes((Path(folders["gaussian"]) / each).read_bytes())
    (tmp_path / name).write_text(content)
    done = run("show", str(tmp_path))
    assert done.exit_code == 2, done.output
    assert name in done.stderr


def test_no_run_is_refused(tmp_path: Path) -> None:
    assert run("show", str(tmp_path)).exit_code == 2
    assert run("show", "nowhere").exit_code == 2
    assert run("show").exit_code == 2
