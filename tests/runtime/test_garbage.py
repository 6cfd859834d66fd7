"""While a command is loaded Python seldom searches for garbage; what it runs, and who called it, finds that as it was."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest
from click.testing import CliRunner

from recon_cli.cli import main
from recon_cli.runtime import garbage, supervisor
from recon_cli.runtime.torch_state import DefaultState

real = supervisor.run_in_parts  # which the suite replaces


@pytest.mark.parametrize("words", [["list"], ["derive", "nothing"], ["compare", "--nothing"]])
def test_afterwards_it_is_as_before(words: list[str]) -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(123, 4, 5)
        CliRunner().invoke(main, words)
        assert gc.get_threshold() == (123, 4, 5)
    finally:
        gc.set_threshold(*before)


def test_an_engine_at_work_finds_it_as_before() -> None:
    before = gc.get_threshold()
    with garbage.seldom_searched():
        assert gc.get_threshold() == garbage.SELDOM
        with DefaultState():
            assert gc.get_threshold() == before
        assert gc.get_threshold() == before
    assert gc.get_threshold() == before


def test_code_that_is_audited_finds_it_as_python_has_it() -> None:
    (threshold,) = real("gc:get_threshold", {}, 60)
    assert [*threshold] == [*gc_of_a_new_process()]


def gc_of_a_new_process() -> tuple[int, int, int]:
    """The thresholds of a new process of Python's."""
    words = [sys.executable, "-c", "import gc; print(*gc.get_threshold())"]
    first, second, third = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    return int(first), int(second), int(third)
