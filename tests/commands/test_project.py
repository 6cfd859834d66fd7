"""Defaults of a project: [tool.recon] in its pyproject.toml, said wherever they act."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recon_cli.cli import main


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder, in a folder of which the commands run."""
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    return tmp_path / "pyproject.toml"


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words], env={"COLUMNS": "80"})


def test_options_come_from_the_project_and_are_said(project: Path) -> None:
    project.write_text('[tool.recon]\nseed = 7\n[tool.recon.compare]\nlikelihood = ["laplace:scale=0.2", "gaussian"]\n')
    record = json.loads(run("compare", "--format", "json").stdout)
    assert [row["likelihood"] for row in record["tables"]["identity"]] == ["laplace", "gaussian"]
    assert record["arguments"]["seed"] == 7
    assert record["notes"][0] == "From pyproject.toml: seed = 7, likelihood = ['laplace:scale=0.2', 'gaussian']."


def test_the_command_line_counts_for_more(project: Path) -> None:
    project.write_text("[tool.recon]\nseed = 7\n")
    assert json.loads(run("compare", "--sigma", "1", "--seed", "3", "--format", "json").stdout)["arguments"]["seed"] == 3


def test_a_project_may_ask_for_a_format_or_for_everything(project: Path) -> None:
    project.write_text("[tool.recon]\nverbose = true\n")
    assert "smallest" in run("compare", "--sigma", "0.5").stdout
    project.write_text('[tool.recon]\nformat = "json"\n')
    assert json.loads(run("compare", "--sigma", "0.5").stdout)["holds"] is True


def test_an_accepted_defect_is_said(project: Path) -> None:
    words = ["audit", "--loss", "mse", "--reduction", "sum", "--kl-weight", "1", "--kl-reduction", "sum"]
    project.write_text('[tool.recon.audit]\naccept = ["half-missing"]\n')
    assert "From pyproject.toml: accept = ['half-missing']." in " ".join(run(*words).stdout.split())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('[tool.recon.compare]\nlikelyhood = "laplace"\n', "has no option 'likelyhood'"),
        ('[tool.recon.compare]\nlikelihood = "lapalce"\n', "no likelihood named 'lapalce'"),
        ('[tool.recon.compare]\nseed = "many"\n', "--seed must be a whole number"),
        ("[tool.recon\n", "pyproject.toml cannot be read"),
        ("[tool.recon]\ncompare = 3\n", "tool.recon.compare = 3"),
        ("[tool.recon.train]\ntrust = true\n", "has no option 'trust'"),  # nobody says that for the user
    ],
)
def test_a_mistake_in_it_is_a_sentence(content: str, said: str, project: Path) -> None:
    project.write_text(content)
    done = run("train" if "train" in content else "compare", "--sigma", "0.5")
    assert (done.exit_code, said in done.stderr) == (2, True), done.output


def test_a_project_that_says_nothing_of_recon_says_nothing(project: Path) -> None:
    project.write_text("this is [no TOML\n")
    done = run("compare", "--sigma", "0.5")
    assert done.exit_code == 0
    assert "pyproject" not in done.stdout
