"""A likelihood of somebody's own, in a file that is no part of the package: in every command, and by an entry point."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy
import own_likelihoods
import pytest
from click.testing import CliRunner

import recon_cli
from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.errors import ReconError

MINE = f"{own_likelihoods.__file__}:Rayleigh"


@pytest.fixture
def arrays(tmp_path: Path) -> list[str]:
    """Positive data and means, as options."""
    draws = numpy.random.default_rng(0)
    mu = draws.uniform(0.5, 2, (30, 4))
    numpy.save(tmp_path / "x.npy", mu * draws.rayleigh(1.0, mu.shape))
    numpy.save(tmp_path / "mu.npy", mu)
    return ["--data", str(tmp_path / "x.npy"), "--recon", str(tmp_path / "mu.npy")]


def run(*words: str) -> tuple[int, str]:
    """Exit code and output of a command, or what it raises in one line."""
    done = CliRunner().invoke(main, [*words])
    if isinstance(done.exception, ReconError):
        return 2, f"{done.exception.message} {done.exception.hint}"
    return done.exit_code, done.output


def test_compare_takes_it(arrays: list[str]) -> None:
    code, text = run("compare", *arrays, "--likelihood", MINE)
    assert (code, "rayleigh" in text) == (0, True)


def test_the_word_is_read_back_and_is_one_class() -> None:
    one, other = likelihoods.parse(MINE), likelihoods.parse(MINE)
    assert one == other
    assert likelihoods.find(type(one).word) is type(one)


@pytest.mark.parametrize(
    ("word", "what"),
    [
        (f"{own_likelihoods.__file__}:Raleigh", "There is no 'Raleigh'"),
        (f"{own_likelihoods.__file__}:Own", "is no subclass of"),
        (f"{own_likelihoods.__file__}:uniform", "is no likelihood"),
        (own_likelihoods.__file__, "names no class"),
        ("nowhere.py:Gamma", "cannot be read"),
        (f"{own_likelihoods.__file__}:Gamma:shape=-3", "cannot have shape = -3.0"),
        (f"{own_likelihoods.__file__}:Gamma:width=3", "has no parameter 'width'"),
    ],
)
def test_what_is_none_is_said_so(word: str, what: str, arrays: list[str]) -> None:
    code, text = run("compare", *arrays, "--likelihood", word)
    assert (code, what in text) == (2, True), text


def test_a_run_under_it_asks_whether_its_file_may_run(arrays: list[str], tmp_path: Path) -> None:
    folder = str(tmp_path / "run")
    how = ["--epochs", "1", "--latent", "2", "--hidden", "4", "--out", folder, "--device", "cpu"]
    code, text = run("train", *arrays[:2], "--likelihood", MINE, *how)
    assert code == 0, text
    code, text = run("compare", *arrays[:2], "--recon", f"run:{folder}", "--likelihood", MINE)
    assert (code, "brings code for its likelihood" in text) == (2, True)
    assert run("compare", *arrays[:2], "--recon", f"run:{folder}", "--likelihood", MINE, "--trust")[0] == 0


def test_an_installed_package_names_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    entry = importlib.metadata.EntryPoint("wave-height", "own_likelihoods:Rayleigh", "recon.likelihoods")
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [entry] if group == entry.group else [])
    likelihoods._installed.cache_clear()
    try:
        assert likelihoods.parse("wave-height").name == "rayleigh"
        assert likelihoods.interpretations(["wave-height"]) == ()
    finally:
        likelihoods._installed.cache_clear()


def test_the_laws_are_one_line_of_a_test() -> None:
    recon_cli.derive(MINE).assert_holds()

    class Wrong(own_likelihoods.Rayleigh):
        """-log p(x | mu), of half the density."""

        density = f"({own_likelihoods.Rayleigh.density})/2"

    with pytest.raises(AssertionError, match=r"integra|add up"):
        recon_cli.derive(Wrong).assert_holds()


def test_calibrate_fits_those_that_are_named(arrays: list[str]) -> None:
    code, text = run("calibrate", *arrays, "--likelihood", MINE, "--likelihood", "gamma:shape=2", "--format", "json")
    assert (code, json.loads(text)["tables"]["noise"][0]["likelihood"]) in [(0, MINE), (0, "gamma")]
    assert {row["likelihood"] for row in json.loads(text)["tables"]["noise"]} <= {MINE, "gamma"}
    assert run("calibrate", *arrays, "--likelihood", "gama")[0] == 2
