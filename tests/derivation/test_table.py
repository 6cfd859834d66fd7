"""The table of proofs is shown only where it is of this very code, and its proofs are made anew on demand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from recon_cli import likelihoods
from recon_cli.cli import main
from recon_cli.derivation import table
from recon_cli.identity import losses
from recon_cli.identity.regions import POSITIVE
from recon_cli.likelihoods.bernoulli import Bernoulli
from recon_cli.likelihoods.continuous_bernoulli import ContinuousBernoulli
from recon_cli.likelihoods.laplace import Laplace

FROM_TABLE = "Proved by recon's tests, of this very code"
SETTERS = {
    "a density": (Laplace, "density", "exp(-Abs(x - mu)/scale)/scale"),
    "a misprint": (Laplace, "misprints", ("exp(-Abs(x - mu)/scale)",)),
    "a support": (Laplace, "support", POSITIVE),
    "the code of the nll": (Laplace, "nll", lambda self, x, mu: x - mu),
    "the claim of a slope": (Laplace, "slope", property(lambda self: 1.0)),
    "a method of the base": (Laplace.__mro__[1], "nll_raw", lambda self, x, raw: x - raw),
    "the formula of a loss": (losses.AbsoluteError, "formula", "(x - mu)**2"),
    "the values of a loss": (losses.AbsoluteError, "values", lambda self, x, mu: (x - mu) ** 2),
}


@pytest.mark.parametrize("name", SETTERS)
def test_what_was_replaced_in_memory_is_not_in_the_table(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    owner, member, value = SETTERS[name]
    before = table.state(Laplace)
    monkeypatch.setattr(owner, member, value)
    assert table.state(Laplace) != before
    assert table.stored(Laplace) is None


def test_a_relaxation_that_changes_is_of_the_likelihood_too(monkeypatch: pytest.MonkeyPatch) -> None:
    before = table.state(Bernoulli)
    monkeypatch.setattr(ContinuousBernoulli, "density", "1")
    assert table.state(Bernoulli) != before


@pytest.mark.parametrize("file", ["derivation/proof.py", "identity/losses.py", "numerics/stable.py", "likelihoods/laplace.py"])
def test_another_file_is_another_state(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, read = table.state(Laplace), Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: read(path) + b"#" * str(path).endswith(file))
    table.engine.cache_clear()
    try:
        assert table.state(Laplace) != before
    finally:
        table.engine.cache_clear()


def test_a_class_of_one_s_own_of_the_same_name_is_not_in_the_table() -> None:
    assert table.is_of_registry(Laplace)
    assert not table.is_of_registry(type("Laplace", (Laplace,), {}))


@pytest.mark.parametrize("content", [None, "", "{", '{"with": {}, "proofs": {}}'])
def test_without_a_table_all_is_proved(content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(table, "PLACE", tmp_path / "proofs.json")
    if content is not None:
        table.PLACE.write_text(content)
    table.table.cache_clear()
    try:
        assert table.stored(Laplace) is None
        if content is None:
            result = CliRunner().invoke(main, ["derive", "laplace"])
            assert result.exit_code == 0
            assert FROM_TABLE not in result.output
    finally:
        table.table.cache_clear()


def test_the_table_is_shown_and_proved_anew_on_demand(monkeypatch: pytest.MonkeyPatch) -> None:
    if table.stored(Laplace) is None:  # held by test_derivation.py
        pytest.skip("the table is of other code")
    shown, anew = (CliRunner().invoke(main, ["derive", "laplace", "l1", *more, "--format", "json"]) for more in ([], ["--prove"]))
    assert shown.exit_code == anew.exit_code == 0
    shown, anew = json.loads(shown.stdout), json.loads(anew.stdout)
    assert FROM_TABLE in " ".join(shown["notes"])
    assert "as in the table of proofs: laplace" in " ".join(anew["notes"])
    assert shown["verdict"] == anew["verdict"]
    assert shown["tables"]["identity"] == anew["tables"]["identity"]
    assert [row["statement"] for row in shown["tables"]["steps"]] == [row["statement"] for row in anew["tables"]["steps"]]

    other = dataclasses.replace(table.stored(Laplace), holds=False)
    monkeypatch.setattr(table, "stored", lambda kind: other)
    report = table.report([Laplace], anew=True)
    assert report.holds
    assert "otherwise than in the table of proofs" in " ".join(report.notes)


def test_with_numbers_and_a_shape_it_is_proved() -> None:
    for words in (["laplace:scale=0.2"], ["laplace", "--shape", "3x4"]):
        result = CliRunner().invoke(main, ["derive", *words])
        assert result.exit_code == 0
        assert FROM_TABLE not in result.output


def test_the_list_is_of_the_table() -> None:
    report = table.catalogue()
    assert [row["likelihood"] for row in report.tables[0].rows] == likelihoods.names()
    assert report.holds
