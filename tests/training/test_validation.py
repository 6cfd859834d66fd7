"""Validation rows are in no gradient, stop a run, and give back its best epoch; the held-out rows decide nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from click.testing import CliRunner
from test_interruption import in_a_child, outcome, stopped_at

import recon_cli
from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.identity.tensors import wide
from recon_cli.models._vae import divergence
from recon_cli.training import Training, resume, train
from recon_cli.training.plan import Plan

FEW = sources.read("digits")[:200]
HOW = {"holdout": 0.2, "latent": 3, "hidden": 8, "device": "cpu", "batch_size": 16}
OVER = {**HOW, "validation": 0.25, "patience": 3, "epochs": 60, "lr": 0.06, "hidden": 64}  # stops before the end
KILLS = int(os.environ.get("RECON_KILLS", "6"))
pytestmark = pytest.mark.usefixtures("no_gpu")  # whose children are copies of this process


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", FEW)
    return tmp_path


def places(holdout: float, validation: float) -> list[set[float]]:
    """Which rows of 0, 1, 2, ... are trained on, looked at, and held out."""
    rows = numpy.arange(500, dtype="f4").reshape(-1, 1)
    plan = Plan.of(rows, holdout=holdout, validation=validation, device="cpu")
    return [{*part.flatten().tolist()} for part in (plan.train_rows, plan.validation_rows, plan.held_out)]


@pytest.mark.parametrize("holdout", [0.0, 0.2, 0.5])
def test_the_held_out_rows_are_the_same_with_and_without(holdout: float) -> None:
    everything = {*map(float, range(500))}
    alone, none, back = places(holdout, 0.0)
    assert none == set()
    for validation in (0.1, 0.3):
        kept, checked, still = places(holdout, validation)
        assert still == back
        assert kept | checked == alone
        assert kept | checked | back == everything
        assert len(kept) + len(checked) + len(back) == 500
        assert len(checked) == pytest.approx(validation * len(alone), rel=0.25)
        assert places(holdout, validation)[1] == checked


def spoiled(which: int) -> numpy.ndarray:
    """The data with other values in one of the three parts."""
    rows = numpy.arange(len(FEW))
    kept, back = sources.split(rows, 0.2, "rows")
    kept, checked = sources.split(kept, 0.25, "rows")
    values = FEW.copy()
    values[(kept, checked, back)[which]] /= 2
    return values


def weights(found: Training) -> list[torch.Tensor]:
    """Of the network that a run gives back."""
    return [*found.model.parameters()]


def same(one: Training, other: Training) -> bool:
    """Whether they are, to the last bit."""
    return all(map(torch.equal, weights(one), weights(other)))


def test_held_out_values_change_no_weight_and_no_decision() -> None:
    one, other = train(FEW, **OVER), train(spoiled(2), **OVER)
    assert same(one, other)
    assert one.epochs == other.epochs
    assert one.chosen == other.chosen
    assert one.result.nll != other.result.nll


def test_validation_values_change_no_gradient() -> None:
    how = {**HOW, "validation": 0.25, "epochs": 4}
    one, other = train(FEW, **how), train(spoiled(1), **how)
    assert same(one, other)
    assert [epoch.nll for epoch in one.epochs] == [epoch.nll for epoch in other.epochs]
    assert all(mine.validation != theirs.validation for mine, theirs in zip(one.epochs, other.epochs, strict=True))
    assert not same(one, train(spoiled(0), **how))


def test_looking_changes_nothing() -> None:
    """The same training rows, with and without others that are looked at."""
    rows = FEW[~sources.held_out(len(FEW), 0.2)]
    rows = rows[~sources.held_out(len(rows), 0.25)]
    one = train(FEW, **HOW, validation=0.25, epochs=3)
    other = train(rows, **{**HOW, "holdout": 0.0}, epochs=3)
    assert same(one, other)
    assert [epoch.validation for epoch in other.epochs] == [None] * 3


@pytest.mark.parametrize("beta", [1.0, 0.0, 4.0])
def test_the_figure_is_the_negative_elbo_of_those_rows(beta: float) -> None:
    found = train(FEW, **HOW, validation=0.25, epochs=2, beta=beta)
    kept = FEW[~sources.held_out(len(FEW), 0.2)]
    rows = torch.from_numpy(kept[sources.held_out(len(kept), 0.25)].reshape(-1, 64))
    eps = torch.randn(len(rows), 3, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        mean, log_variance = found.model.encode(rows)
        raw = found.model.decode(mean + (log_variance / 2).exp() * eps if beta else mean)
        nll = -torch.distributions.Normal(wide(raw), found.result.sigma).log_prob(wide(rows)).sum(dim=1).mean().item()
        kl = divergence(mean, log_variance).sum(dim=1).mean().item() if beta else 0.0
    assert found.result.validation == found.epochs[-1].validation
    assert found.result.validation == pytest.approx(nll + kl, rel=1e-5)
    assert found.result.rows_validation == len(rows)


def test_it_stops_and_goes_back_to_the_best() -> None:
    found = train(FEW, **OVER)
    figures = [epoch.validation for epoch in found.epochs]
    assert len(figures) < 60
    assert found.chosen == 1 + min(range(len(figures)), key=figures.__getitem__)
    assert len(figures) == found.chosen + 3
    assert found.result.validation == min(figures)
    cut = train(FEW, **{**OVER, "epochs": found.chosen, "patience": 0})
    assert same(found, cut)
    assert found.result.sigma == cut.result.sigma
    assert (found.result.nll, found.result.kl) == (cut.result.nll, cut.result.kl)
    assert not same(found, train(FEW, **{**OVER, "epochs": len(figures), "patience": 0}))
    (note,) = [note for note in found.report().notes if note.startswith("Stopped")]
    assert f"Stopped after epoch {len(figures)}, the best was {found.chosen}:" in note


def test_a_run_that_ends_first_goes_back_too() -> None:
    whole = train(FEW, **OVER)
    last = len(whole.epochs) - 1
    found = train(FEW, **{**OVER, "epochs": last})
    assert same(found, whole)
    assert any(note.startswith(f"Ended after epoch {last}, the best was {whole.chosen}") for note in found.report().notes)


def test_the_best_of_an_optimal_noise_is_of_the_training_rows() -> None:
    found = train(FEW, **{**OVER, "sigma": "optimal"})
    cut = train(FEW, **{**OVER, "sigma": "optimal", "epochs": found.chosen, "patience": 0})
    assert found.result.sigma == cut.result.sigma


def begin(out: str = "run", **how: Any) -> Training:
    """A run that stops early, a checkpoint after every step."""
    return train("few.npy", out=out, **{**OVER, "checkpoint_every": 0.0, **how})


@pytest.mark.slow
def test_killed_at_random_moments_it_stops_at_the_same_bits(here: Path) -> None:
    began = time.perf_counter()
    whole = begin("whole")
    took = time.perf_counter() - began
    assert len(whole.epochs) < 60
    chance, kills = random.Random(3), 0
    in_a_child(begin, lambda: time.sleep(took / KILLS))
    while kills < KILLS:
        kills += 1
        go_on = resume if Path("run", "config.json").exists() else begin
        if go_on is begin:
            shutil.rmtree("run", ignore_errors=True)
        moment = chance.uniform(0.5, 1.5) * took / KILLS
        if in_a_child(lambda go_on=go_on: go_on("run"), lambda moment=moment: time.sleep(moment)) == 0:
            break
    print(f"{kills} kills")
    again = resume("run")
    assert again.chosen == whole.chosen
    assert outcome("run") == outcome("whole")


def test_killed_while_it_waits_it_knows_the_best(here: Path) -> None:
    """After the best epoch, before the stop: weights, value and counter come from the checkpoint alone."""
    whole = begin("whole")
    began = [0]

    def doomed() -> None:
        def seen(epoch: int, words: str) -> None:
            began[0] = epoch
            if epoch == whole.chosen + 2:
                os.kill(os.getpid(), signal.SIGKILL)

        train("few.npy", out="run", progress=seen, **{**OVER, "checkpoint_every": 0.0})

    assert in_a_child(doomed) == signal.SIGKILL
    resume("run")
    assert outcome("run") == outcome("whole")


def test_a_stopped_run_stays_stopped(here: Path) -> None:
    found = begin()
    before = outcome("run")
    assert resume("run").epochs == found.epochs
    assert len(resume("run", epochs=80).epochs) == len(found.epochs)
    assert outcome("run") == before


def test_more_epochs_go_on_from_the_last_not_from_the_best(here: Path) -> None:
    whole = begin("whole")
    short = begin(epochs=len(whole.epochs) - 1)
    assert short.chosen == whole.chosen < len(short.epochs)
    resume("run", epochs=60)
    assert outcome("run") == outcome("whole")


def test_ctrl_c_in_between(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin("whole", checkpoint_every=1e9)
    monkeypatch.setattr("test_interruption.HOW", OVER)
    stopped_at(30, monkeypatch)
    resume("run")
    assert outcome("run") == outcome("whole")


def test_the_figure_is_in_the_tables_and_the_metrics(here: Path) -> None:
    words = ["--data", "few.npy", "--epochs", "2", "--validation", "0.25", "--out", "run", "--format", "json"]
    shown = CliRunner().invoke(main, ["train", *words])
    tables = json.loads(shown.stdout)["tables"]
    lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
    assert [row["validation"] for row in tables["epochs"]] == [line["validation"] for line in lines]
    assert tables["result"][0]["validation"] == lines[-1]["validation"]
    assert "for validation, " in json.loads(shown.stdout)["notes"][0]
    assert recon_cli.sources.pair("few.npy", "run:run").x.shape[0] == sources.held_out(200, 0.2).sum()


def test_of_an_autoencoder_it_is_the_nll_in_words_too(here: Path) -> None:
    words = ["--data", "few.npy", "--model", "ae", "--epochs", "1", "--validation", "0.25", "-v"]
    shown = CliRunner().invoke(main, ["train", *words]).stdout
    assert "nll of the validation rows" in shown
    assert "ELBO of the validation rows" not in shown


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({"patience": 3}, "waits for a better figure of the validation rows, and there are none"),
        ({"validation": 1.0}, "--validation must be at least 0 and below 1"),
        ({"validation": -0.1}, "--validation must be"),
        ({"validation": 0.1, "patience": -1}, "--patience must be a whole number"),
        ({"validation": 0.1, "model": "linear", "exact": True}, "ends where a round of L-BFGS gains nothing"),
        ({"validation": 0.999}, "too few to keep a fraction of 0.999 back"),
    ],
)
def test_what_no_run_can_have(how: dict[str, Any], said: str) -> None:
    with pytest.raises(ReconError, match=said):
        train(FEW, **{**HOW, **how})


def test_validation_rows_that_leave_the_numbers_stop_the_run() -> None:
    kept = numpy.flatnonzero(~sources.held_out(200, 0.2))
    values = FEW * 1.0
    values[kept[sources.held_out(len(kept), 0.25)]] = 3e38
    with pytest.raises(ReconError, match="After epoch 1 the validation rows have an nll of (inf|nan)"):
        train(values, **HOW, validation=0.25, epochs=2, likelihood="generalized-gaussian:scale=1,power=10")


def test_side_by_side_nobody_waits() -> None:
    with pytest.raises(ReconError, match="Leave --patience"):
        recon_cli.training.lockstep("mse", data=FEW, sigma=0.5, validation=0.2, patience=2, **HOW)
