"""The README and the guide are true: their commands run, and print what they say is printed.

``pytest tests/test_readme.py --update-readme`` writes the outputs anew.
"""

from __future__ import annotations

import html
import io
import re
import shlex
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from rich.console import Console
from rich.text import Text

import recon_cli
from recon_cli import errors, likelihoods, registry
from recon_cli.cli import main

PROJECT = Path(__file__).parents[1]
README = PROJECT / "README.md"
GUIDE = sorted((PROJECT / "recon_cli" / "guide").glob("*.md"))
TEXTS = {page: page.read_text(encoding="utf-8") for page in (README, *GUIDE)}
TEXT = TEXTS[README]
CONSOLE = re.compile(r"```console\n\$ (?P<command>recon [^\n]*)\n(?P<output>.*?)```", re.DOTALL)
SHOWN = [(page, match["command"], match["output"]) for page, text in TEXTS.items() for match in CONSOLE.finditer(text)]
FILES = re.compile(r"```python\n# (?P<name>\w+\.py)\n(?P<content>.*?)```", re.DOTALL)
NUMBER = re.compile(r"-?\d[\d,]*\.?\d*(?:e[+-]?\d+)?")
ANEW = "python -m pytest tests/test_readme.py tests/test_notebooks.py tests/test_accuracy.py -n 0 --update-readme"
UNSTEADY = re.compile(r"largest error|second")  # rounding errors and seconds are of the machine


def printed(page: Path, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What a command of a page prints in 80 columns, in a folder that has nothing but the files that the page shows."""
    for match in FILES.finditer(TEXTS[page]):
        (folder / match["name"]).write_text(match["content"], encoding="utf-8")
    monkeypatch.chdir(folder)
    done = CliRunner().invoke(main, shlex.split(command)[1:], env={"COLUMNS": "80"})
    assert done.exit_code in (0, 1), done.stderr
    return done.stdout.strip("\n") + "\n"


def steady(text: str) -> tuple[str, list[float]]:
    """The words of an output, and its numbers, without what depends on the machine."""
    lines = [line for line in text.splitlines() if not UNSTEADY.search(line)]
    flat = " ".join(" ".join(lines).split())
    return re.sub(r"\s+", " ", NUMBER.sub("#", flat)), [float(number.replace(",", "")) for number in NUMBER.findall(flat)]


@pytest.mark.parametrize(("page", "command", "shown"), SHOWN, ids=[f"{page.stem}: {command}" for page, command, _ in SHOWN])
def test_shown_output_is_the_real_one(
    page: Path, command: str, shown: str, tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = printed(page, command, tmp_path, monkeypatch)
    if request.config.getoption("--update-readme"):
        now = page.read_text(encoding="utf-8")
        old = f"```console\n$ {command}\n{shown}```"
        page.write_text(now.replace(old, f"```console\n$ {command}\n{real}```"), encoding="utf-8")
        return
    words, numbers = steady(shown)
    real_words, real_numbers = steady(real)
    anew = f"{command} prints something else now. If that is right: {ANEW}\n{real}"
    assert real_words == words, anew
    assert real_numbers == pytest.approx(numbers, rel=0.02, abs=1e-3), anew


def drawn(printed_in_colour: str) -> str:
    """A terminal that shows this, as a picture that asks nobody for fonts."""
    console = Console(record=True, width=88, file=io.StringIO(), force_terminal=True)
    console.print(Text.from_ansi(printed_in_colour), soft_wrap=True, crop=True)
    picture = console.export_svg(title="recon audit --run train.py", unique_id="recon")
    return re.sub(r"@font-face \{.*?\}|<!--.*?-->", "", picture, flags=re.DOTALL)


def test_the_picture_is_of_the_real_output(
    tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    picture = PROJECT / "recon_cli" / "guide" / "audit.svg"
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    now = drawn(printed(README, "recon audit --run train.py", tmp_path, monkeypatch))
    if request.config.getoption("--update-readme"):
        picture.write_text(now, encoding="utf-8")
        return
    ours, real = (steady(" ".join(re.findall(r">([^<>]+)<", html.unescape(text)))) for text in (picture.read_text(), now))
    assert ours == real, f"the picture shows something else now. If that is right: {ANEW}"
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", picture.read_text())


def commands() -> list[str]:
    """Every other recon command in a code block or a table, once."""
    parts = [text.split("\n```") for text in TEXTS.values()]  # every second one is a block, from its language on
    blocks = [block for part in parts for block in part[1::2] if block.startswith("\n")]
    blocks += ["\n".join(re.findall(r"`(recon [^`]*)`", line)) for line in TEXT.splitlines() if line.startswith("| ")]
    lines = [line.partition("  #")[0].strip() for block in blocks for line in block.splitlines()]
    return [*dict.fromkeys(line for line in lines if line.startswith("recon "))]


@pytest.mark.parametrize("command", commands())
def test_every_command_is_understood(command: str) -> None:
    words = shlex.split(command)[1:]
    result = CliRunner().invoke(main, [words[0], "--help", *words[1:]])
    assert result.exit_code == 0
    _, _, arguments = main.resolve_command(None, words)
    assert main.get_command(None, words[0]).make_parser(main.make_context("recon", [*words])).parse_args([*arguments])


def test_every_command_and_likelihood_is_documented() -> None:
    for name in [*registry.names("commands"), *likelihoods.names(), *registry.names("formats")]:
        assert any(name in text for text in TEXTS.values()), f"no page names {name}: say what it is for, in a line"


def test_the_readme_is_short_and_leads_to_every_page() -> None:
    assert len(TEXT.splitlines()) <= 250
    links = {(page.parent / link).resolve() for page, text in TEXTS.items() for link in re.findall(r"\]\(([\w/.-]+)\)", text)}
    assert {link for link in links if not link.exists()} == set()
    assert {*GUIDE} <= links, "a page that no other leads to"


def test_a_topic_is_shown_and_a_mistaken_one_is_named() -> None:
    listed = CliRunner().invoke(main, ["guide"]).stdout
    for page in GUIDE:
        assert page.stem in listed
        assert CliRunner().invoke(main, ["guide", page.stem]).stdout == TEXTS[page]
    wrong = CliRunner().invoke(main, ["guide", "calibrat"])
    assert wrong.exit_code == 2
    assert "calibrate" in wrong.stderr


def example(page: str) -> str:
    """The code of a page that is no file."""
    (block,) = re.findall(r"```python\n(?!# \w+\.py\n)(.*?)```", TEXTS[PROJECT / page], re.DOTALL)
    return block


def test_the_python_of_the_readme_runs() -> None:
    names: dict[str, Any] = {}
    exec(example("README.md"), names)
    assert names["step"].audit().rows[0].family == "gaussian"
    assert names["gaussian"].slope == 2.0


def test_the_python_of_the_guide_runs() -> None:
    names: dict[str, Any] = {}
    exec(example("recon_cli/guide/python.md"), names)
    assert names["gaussian"].slope == 2.0
    assert names["comparison"].holds
    assert names["comparison"].rows[0].ratio_median == 2.0
    assert names["Gaussian"].with_slope(50.0).sigma == pytest.approx(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "recon_cli/guide/python.md"])
def test_the_python_of_a_page_is_typed(page: str, tmp_path: Path) -> None:
    api = pytest.importorskip("mypy.api")
    (file := tmp_path / "page.py").write_text(example(page), encoding="utf-8")
    said, _, code = api.run(["--strict", "--cache-dir", str(tmp_path), str(file)])
    assert code == 0, said


def test_the_example_likelihood_is_the_real_one() -> None:
    real = (PROJECT / "recon_cli" / "likelihoods" / "laplace.py").read_text()
    bare = re.sub(r": (?:Tensor|float)(?=[,)])|: (?:Generator|Loss) \| None(?= = )| -> \w+", "", real)
    for line in example("recon_cli/guide/likelihoods.md").splitlines():
        code = line.partition("  #")[0].strip()
        assert "".join(code.split()) in "".join(bare.split()), code


def test_the_two_commands_of_the_first_screen() -> None:
    first = "\n".join(TEXT.splitlines()[:60])
    assert "square(y - t).mean()" in first
    assert "pip install . && recon compare --sigma 0.5" in first
    assert "pip install '.[test]' && python -m pytest -n auto" in first
    assert any(command == "recon compare --sigma 0.5" for _, command, _ in SHOWN)
    ci = PROJECT / ".ci" / "run"
    assert "pip install '.[test]' && python -m pytest -n auto" in ci.read_text()


def test_the_citation_is_of_this_version() -> None:
    (version,) = re.findall(r"version = \{(.*?)\}", TEXTS[PROJECT / "recon_cli" / "guide" / "identity.md"])
    assert version == recon_cli.__version__
    assert "To cite, see" in " ".join(TEXT.split())
    assert "identity.md#how-to-cite-recon" in TEXT


def test_what_pip_is_to_install_is_this_project_and_an_extra_that_it_has() -> None:
    declared = (PROJECT / "pyproject.toml").read_text(encoding="utf-8")
    (name,) = re.findall(r'^name = "([^"]+)"', declared, re.MULTILINE)
    extras = re.findall(
        r"^(\w+) = \[", declared.partition("[project.optional-dependencies]")[2].partition("\n[")[0], re.MULTILINE
    )
    assert name == errors.DISTRIBUTION
    told = re.findall(r"([\w-]+)\[(\w+)\]['`]", "".join(TEXTS.values()))
    code = "\n".join(file.read_text(encoding="utf-8") for file in (PROJECT / "recon_cli").rglob("*.py"))
    told += [(name, extra) for extra in re.findall(r'not_installed\([^)]*, "(\w+)"\)', code)]
    assert {"datasets", "plot", "tensorboard"} <= {extra for _, extra in told} <= {*extras}
    assert {whose for whose, _ in told} == {name}
