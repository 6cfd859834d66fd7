"""Losses cut out of live training steps: scripts of many styles in tests/steps, each with its truth in its first line."""

from __future__ import annotations

import contextlib
import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from recon_cli.auditing.reach import script
from recon_cli.auditing.reach.watch import audited
from recon_cli.auditing.result import Audit

STEPS = Path(__file__).parents[1] / "steps"
SCRIPTS = sorted(file for file in STEPS.rglob("*.py") if file.read_text().startswith("# TRUTH: "))
# of every kind one, in a second or two; the others under -m hostile
QUICK = (
    "bce_mean",
    "mse_sum_pixels",
    "learned_log_sigma",
    "decoder_log_variance",
    "monte_carlo_kl",
    "text_vae",
    "pix2pix",
    "in_place",
)


def comments(file: Path, word: str) -> str:
    """What the comments after ``# WORD:`` at the top of a script say, in one line."""
    lines = file.read_text().splitlines()
    at = next((i for i, line in enumerate(lines) if line.startswith(f"# {word}: ")), None)
    return "" if at is None else lines[at].removeprefix(f"# {word}: ")


def truths(file: Path) -> list[dict[str, Any]]:
    truth = json.loads(comments(file, "TRUTH"))
    return truth if isinstance(truth, list) else [truth]


def words(file: Path) -> list[str]:
    own = comments(file, "ARGUMENTS").split()
    return own if own[:1] == ["-m"] else [str(file), *own]


@contextlib.contextmanager
def undisturbed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The modules that a script imports of its own folder are forgotten afterwards; a fixed seed, for what it draws."""
    before = set(sys.modules)
    monkeypatch.chdir(STEPS)
    torch.manual_seed(0)
    yield
    for name in set(sys.modules) - before:
        if name.split(".")[0] == "tiny":
            del sys.modules[name]


def found(audit: Audit) -> list[dict[str, Any]]:
    columns = ("family", "tradeoff", "beta", "sigma", "verdict")
    rows = [{key: getattr(row, key) for key in columns} for row in audit.rows]
    for row, each in zip(rows, audit.rows, strict=True):
        row["powers"] = [each.tradeoff_batch, each.tradeoff_dim, each.tradeoff_latent]
        row["defects"] = sorted(each.defects)
    return rows


def same(truth: Any, value: Any) -> bool:
    """Whether a value is the true one; words may be one of several, set apart by bars; null in powers is not known."""
    if isinstance(truth, list):
        return len(truth) == len(value) and all(map(same, sorted(truth) if truth and isinstance(truth[0], str) else truth, value))
    if isinstance(truth, str):
        return str(value) in truth.split("|") or (value is None and "unrecognised" in truth.split("|"))
    return value is None if truth is None else value is not None and math.isclose(value, truth, rel_tol=1e-6, abs_tol=1e-9)


def judged(file: Path) -> str:
    """``right``, ``unrecognised``, or what is wrong."""
    rows, truth = found(audited(script.run(words(file)))), truths(file)
    wrong = [f"{len(rows)} rows, not {len(truth)}"] if len(rows) != len(truth) else []
    unknown = 0
    for row, true in zip(rows, truth, strict=False):
        if row["verdict"] == "unrecognised" and "unrecognised" not in true["verdict"]:
            unknown += 1
            continue
        wrong += [f"{key} is {row[key]}, not {value}" for key, value in true.items() if not same(value, row[key])]
    return "; ".join(wrong) or ("unrecognised" if unknown else "right")


@pytest.mark.parametrize("name", QUICK)
def test_a_script_of_a_kind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with undisturbed(monkeypatch):
        assert judged(STEPS / f"{name}.py") == "right"


@pytest.mark.hostile
def test_of_all_scripts_most_are_right_and_none_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {}
    for file in SCRIPTS:
        with undisturbed(monkeypatch):
            answers[file.stem] = judged(file)
    assert len(answers) >= 40
    assert {name: answer for name, answer in answers.items() if answer not in ("right", "unrecognised")} == {}
    assert list(answers.values()).count("right") >= 0.9 * len(answers)
