"""The README is true: its commands run, and print what it says they print.

``pytest tests/test_readme.py --update-readme`` writes the outputs anew.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from recon_cli import errors, likelihoods, registry
from recon_cli.cli import main

README = Path(__file__).parents[1] / "README.md"
TEXT = README.read_text(encoding="utf-8")
CONSOLE = re.compile(r"```console\n\$ (?P<command>recon [^\n]*)\n(?P<output>.*?)```", re.DOTALL)
SHOWN = {match["command"]: match["output"] for match in CONSOLE.finditer(TEXT)}
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
ANEW = "python -m pytest tests/test_readme.py tests/test_accuracy.py -n 0 --update-readme"
UNSTEADY = re.compile(r"worst|second")  # rounding errors and seconds are of the machine


def printed(command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command of the README prints in 80 columns, in an empty folder."""
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, shlex.split(command)[1:], env={"COLUMNS": "80"})
    assert done.exit_code in (0, 1), done.stderr
    return done.stdout.strip("\n") + "\n"


def steady(text: str) -> tuple[str, list[float]]:
    """The words of an output, and its numbers, without what depends on the machine."""
    lines = [line for line in text.splitlines() if not UNSTEADY.search(line)]
    flat = " ".join(" ".join(lines).split())
    return re.sub(r"\s+", " ", NUMBER.sub("#", flat)), [float(number.replace(",", "")) for number in NUMBER.findall(flat)]


@pytest.mark.parametrize("command", SHOWN)
def test_shown_output_is_the_real_one(
    command: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = printed(command, tmp_path, monkeypatch)
    if request.config.getoption("--update-readme"):
        now = README.read_text(encoding="utf-8")
        old = f"```console\n$ {command}\n{SHOWN[command]}```"
        README.write_text(now.replace(old, f"```console\n$ {command}\n{real}```"), encoding="utf-8")
        return
    words, numbers = steady(SHOWN[command])
    real_words, real_numbers = steady(real)
    anew = f"{command} prints something else now. If that is right: {ANEW}\n{real}"
    assert real_words == words, anew
    assert real_numbers == pytest.approx(numbers, rel=0.02, abs=1e-3), anew


def commands() -> list[str]:
    """Every other recon command in a code block."""
    blocks = re.findall(r"```\n(.*?)```", TEXT, re.DOTALL)
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line.startswith("recon ")]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    result = CliRunner().invoke(main, [*words, "--help"])
    assert result.exit_code == 0
    _, _, arguments = main.resolve_command(None, words)
    assert main.get_command(None, words[0]).make_parser(main.make_context("recon", [*words])).parse_args([*arguments])


def test_every_command_and_likelihood_is_documented() -> None:
    for name in [*registry.names("commands"), *likelihoods.names(), *registry.names("formats")]:
        assert name in TEXT, f"README.md does not name {name}: say what it is for, in a line"


def test_the_python_example_runs() -> None:
    (block, _) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    names: dict = {}
    exec(block, names)
    assert names["side"].slope == 2.0
    assert names["found"].holds
    assert names["found"].rows[0].ratio_median == 2.0
    assert names["Gaussian"].with_slope(50.0).sigma == pytest.approx(0.1)


def test_the_example_likelihood_is_the_real_one() -> None:
    (_, block) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    real = (README.parent / "recon_cli" / "likelihoods" / "laplace.py").read_text()
    bare = re.sub(r": (?:Tensor|float)(?=[,)])|: (?:Generator|Loss) \| None(?= = )| -> \w+", "", real)
    for line in block.splitlines():
        code = line.partition("  #")[0].strip()
        assert "".join(code.split()) in "".join(bare.split()), code


def test_the_two_commands_of_the_first_screen() -> None:
    first = "\n".join(TEXT.splitlines()[:60])
    assert "square(y - t).mean()" in first
    assert "pip install . && recon compare --sigma 0.5" in first
    assert "pip install '.[test]' && python -m pytest -n auto" in first
    assert "$ recon compare --sigma 0.5" in first
    ci = README.parent / ".ci" / "run"
    assert "pip install '.[test]' && python -m pytest -n auto" in ci.read_text()


def test_what_pip_is_to_install_is_this_project_and_an_extra_that_it_has() -> None:
    declared = (README.parent / "pyproject.toml").read_text(encoding="utf-8")
    (name,) = re.findall(r'^name = "([^"]+)"', declared, re.MULTILINE)
    extras = re.findall(
        r"^(\w+) = \[", declared.partition("[project.optional-dependencies]")[2].partition("\n[")[0], re.MULTILINE
    )
    assert name == errors.DISTRIBUTION
    told = re.findall(r"([\w-]+)\[(\w+)\]['`]", TEXT)
    code = "\n".join(file.read_text(encoding="utf-8") for file in (README.parent / "recon_cli").rglob("*.py"))
    told += [(name, extra) for extra in re.findall(r'not_installed\([^)]*, "(\w+)"\)', code)]
    assert {extra for _, extra in told} == {"datasets", "plot", "tensorboard"} <= {*extras}
    assert {whose for whose, _ in told} == {name}
