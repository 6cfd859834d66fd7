"""Every option of every command, given what it cannot be: one sentence, a way out, and exit code 2."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import click
import numpy
import pytest
from click.testing import CliRunner

from recon_cli import likelihoods, registry
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.runtime import supervisor

# A line of each command that is little work, without the option that is tried.
LINES = {
    "audit": ["--loss=mse", "--shape=1x3x3", "--latent=2"],
    "bench": ["--elements=1000", "--repeats=1", "--engine=eager", "--likelihood=gaussian"],
    "calibrate": ["--data=x.npy", "--recon=r.npy"],
    "compare": ["--data=x.npy", "--recon=r.npy"],
    "data": [],
    "derive": ["gaussian"],
    "train": ["--epochs=1", "--hidden=4", "--latent=2", "--data=x.npy"],
}
NUMBERS = ("nan", "1e400", "x", "9" * 5000)
WORDS = (
    *NUMBERS, "inf", "-inf", "½", "1e", "--", " ", "-1", "-0", "0",
    "0.5", "1e-400", "9" * 20, "ü", "∞", "²", "٣", "/", "../..", "r.npy", "\x00", "a\nb", "1,2",
    "1,,2", "None", "[]", "{}", "%s", "a=b", "a=", "=1", ":", "=", ",", "gaussian:", ":sigma=1", "gaussian:sigma=1=2",
    "gaussian:sigma=nan", "mse:x=1", "9" * 30 + "x3", "\udc80", "-", "0x10", "x" * 10000, "digits:", "run:", "hf:", "1x0",
    "cuda:99",
)  # fmt: skip
OPTIONS = [
    (command, param)
    for command in LINES
    for param in registry.load("commands", command).command.params
    if isinstance(param, click.Option) and not param.is_flag
]
each = pytest.mark.parametrize(("command", "param"), OPTIONS, ids=lambda one: getattr(one, "name", one))


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two small files, and audits in this process: no code of anybody's is run."""
    monkeypatch.chdir(tmp_path)
    x = numpy.random.default_rng(0).random((24, 6)).astype(numpy.float32)
    numpy.save("x.npy", x)
    numpy.save("r.npy", x + numpy.float32(0.1))

    def direct(target: str, given: dict[str, Any], timeout: float) -> Any:
        module, _, name = target.partition(":")
        return getattr(importlib.import_module(module), name)(**{key: given[key] for key in given if key != "timeout"})

    monkeypatch.setattr(supervisor, "run_supervised", direct)


def run(command: str, param: click.Option, *words: str) -> Any:
    """What a line with these words of an option ends in."""
    rest = [word for word in LINES[command] if not word.startswith(f"{param.opts[0]}=")]
    return CliRunner().invoke(main, [command, *rest, *(f"{param.opts[0]}={word}" for word in words)])


def refused(found: Any) -> None:
    """One sentence, and what to do."""
    assert found.exit_code == 2, (found.stdout, found.stderr)
    lines = [line for line in found.stderr.splitlines() if not line.startswith("warning: ")]
    assert len(lines) == 2
    assert lines[0].startswith("error: ")
    assert lines[1].startswith(" hint: ")


@each
def test_an_option_is_no_empty_word(command: str, param: click.Option) -> None:
    refused(run(command, param, ""))


def counts(param: click.Option) -> bool:
    """Whether an option takes a number or numbers."""
    return param.type.name in ("integer", "float", "number", "number,...", "scale", "shape", "integer range")


@pytest.mark.parametrize(
    ("command", "param"), [one for one in OPTIONS if counts(one[1])], ids=lambda one: getattr(one, "name", one)
)
def test_an_option_that_is_no_number_is_refused(command: str, param: click.Option) -> None:
    for word in NUMBERS:
        refused(run(command, param, word))


@pytest.mark.hostile
@each
def test_hostile_options(command: str, param: click.Option) -> None:
    for word in WORDS:
        found = run(command, param, word)
        assert found.exit_code in (0, 1, 2), (word, found.stderr)
        assert found.stdout if found.exit_code < 2 else not refused(found), word


@pytest.mark.parametrize("word", ["", " ", ":", "-", "loss", ":sigma=1", "()", "."])
def test_a_word_of_nothing_is_no_likelihood(word: str) -> None:
    for read in (likelihoods.parse, likelihoods.as_family_or_likelihood, likelihoods.loss):
        with pytest.raises(ReconError, match="There is no"):
            read(word)


@pytest.mark.parametrize("word", ["cauchy", "Cauchy", "torch.distributions.Cauchy", "geometric"])
def test_a_likelihood_at_particular_parameters_is_never_taken_at_others(word: str) -> None:
    if word.rpartition(".")[2].lower() in likelihoods.names():
        pytest.skip(f"{word} is a likelihood of its own here")
    with pytest.raises(ReconError, match="Write .*=1"):
        likelihoods.parse(word)


@pytest.mark.parametrize(
    ("word", "meant"),
    [("torch.nn.MSELoss()", "gaussian"), ("torch.distributions.Laplace", "laplace"),
     ("tf.keras.losses.MeanSquaredError", "gaussian"),
     ("mean_absolute_error", "laplace"), ("l1-norm", "laplace"), ("normal distribution", "gaussian"), ("tfd.Normal", "gaussian")],
)  # fmt: skip
def test_what_libraries_call_it_is_taken_for_it(word: str, meant: str) -> None:
    assert likelihoods.find(word).name == meant
    assert likelihoods.interpretations([word])


@pytest.mark.parametrize(
    "line",
    ["derive --list gaussian", "derive --list --sigma 1", "compare --against torch --loss mse", "audit --loss mse --bind a=1",
     "audit --loss mse --shape q=3x3", "compare --data x.npy --recon mean --recon-scale 2"],
)  # fmt: skip
def test_what_would_be_passed_over_is_refused(line: str) -> None:
    refused(CliRunner().invoke(main, line.split()))


def test_a_published_number_is_judged_on_the_command_line() -> None:
    found = CliRunner().invoke(main, ["calibrate", "--reported", "-1200", "--dim", "784", "--beta", "0.01", "--rounding", "0.5"])
    assert found.exit_code == 0, found.stderr
