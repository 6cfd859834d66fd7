"""Torch's schedules: the rates are torch's own, a run goes on at the same one, and what is wrong is said."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from test_interruption import outcome, stopped_at

from recon_cli import sources
from recon_cli.errors import ReconError
from recon_cli.training import lockstep, resume, train
from recon_cli.training.loop import State
from recon_cli.training.schedules import Schedule, kinds
from recon_cli.training.settings import Settings

FEW = sources.read("digits")[:100]
HOW = {"holdout": 0.2, "epochs": 6, "batch_size": 32, "latent": 2, "hidden": 4, "device": "cpu", "lr": 0.004}
ROWS = int((~sources.held_out(100, 0.2)).sum())
STEPS = -(-ROWS // 32)
L = torch.optim.lr_scheduler
EACH_EPOCH: dict[str, Any] = {
    "exponential:gamma=0.9": lambda o: L.ExponentialLR(o, 0.9),
    "ExponentialLR:gamma=0.9": lambda o: L.ExponentialLR(o, 0.9),
    "step:step_size=2,gamma=0.5": lambda o: L.StepLR(o, 2, 0.5),
    "multistep:milestones=1,3,gamma=0.5": lambda o: L.MultiStepLR(o, [1, 3], 0.5),
    "cosineannealing": lambda o: L.CosineAnnealingLR(o, 6),
    "cosineannealing:T_max=3,eta_min=0.001": lambda o: L.CosineAnnealingLR(o, 3, 0.001),
    "cosineannealingwarmrestarts:T_0=2": lambda o: L.CosineAnnealingWarmRestarts(o, 2),
    "polynomial": lambda o: L.PolynomialLR(o, 6),
    "polynomial:power=2,total_iters=4": lambda o: L.PolynomialLR(o, 4, 2.0),
    "linear:start_factor=0.1,total_iters=3": lambda o: L.LinearLR(o, 0.1, total_iters=3),
    "linearlr": lambda o: L.LinearLR(o),
    "constant:factor=0.5,total_iters=2": lambda o: L.ConstantLR(o, 0.5, 2),
}
EACH_STEP: dict[str, Any] = {
    "onecycle:max_lr=0.01": lambda o: L.OneCycleLR(o, 0.01, total_steps=6 * STEPS),
    "onecycle": lambda o: L.OneCycleLR(o, 0.004, total_steps=6 * STEPS),
    "cyclic:max_lr=0.01,step_size_up=7,mode=triangular2": lambda o: L.CyclicLR(o, 0.004, 0.01, 7, mode="triangular2"),
}
EVERY = [*EACH_EPOCH, *EACH_STEP, "plateau:patience=0,threshold=2"]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", FEW)
    return tmp_path


def rates(monkeypatch: pytest.MonkeyPatch, schedule: str, **how: Any) -> list[tuple[float, Any]]:
    """The learning rate (and Adam's betas) of every step of a run, as its optimizer was told."""
    seen: list[tuple[float, Any]] = []
    real = State.step

    def spied(self: State) -> None:
        real(self)
        assert len({group["lr"] for group in self.optimizer.param_groups}) == 1
        seen.append((self.optimizer.param_groups[0]["lr"], self.optimizer.param_groups[0].get("betas")))

    with monkeypatch.context() as patch:
        patch.setattr(State, "step", spied)
        train(FEW, **{**HOW, "schedule": schedule, **how})
    return seen


@pytest.mark.parametrize("schedule", [*EACH_EPOCH, *EACH_STEP])
def test_the_rates_are_torchs_own(schedule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.004)
    witness = {**EACH_EPOCH, **EACH_STEP}[schedule](optimizer)
    wanted = []
    for step in range(6 * STEPS):
        if step and (schedule in EACH_STEP or step % STEPS == 0):
            witness.step()
        wanted.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["betas"]))
        optimizer.step()
    assert rates(monkeypatch, schedule) == wanted
    assert len({rate for rate, _ in wanted}) > 1


@pytest.mark.parametrize(("name", "at"), [("linear", lambda d: 1 - d), ("cosine", lambda d: (1 + math.cos(math.pi * d)) / 2)])
def test_recons_own_are_as_ever(name: str, at: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    found = [rate for rate, _ in rates(monkeypatch, name)]
    assert found == [0.004 * at(step / (6 * STEPS)) for step in range(6 * STEPS)]
    assert {rate for rate, _ in rates(monkeypatch, "constant")} == {0.004}


def falls(figures: list[float]) -> list[float]:
    """The learning rate of each epoch, by torch's own scheduler from the figures after each."""
    optimizer = torch.optim.Adam([torch.zeros(1, requires_grad=True)], lr=0.03)
    witness = L.ReduceLROnPlateau(optimizer, factor=0.5, patience=0, threshold=0.1, threshold_mode="abs")
    wanted = []
    for figure in figures:
        wanted.append(optimizer.param_groups[0]["lr"])
        witness.step(figure)
    return wanted


@pytest.mark.parametrize("validation", [0.0, 0.3])
def test_a_plateau_is_of_the_validation_rows_where_there_are_some(validation: float, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {
        "validation": validation,
        "lr": 0.03,
        "epochs": 12,
        "hidden": 64,
        "schedule": "plateau:patience=0,threshold=0.1,factor=0.5",
        "beta": 0.5,
    }
    found = train(FEW, **{**HOW, **how})
    trained = falls([epoch.nll + 0.5 * epoch.kl for epoch in found.epochs])
    wanted = falls([epoch.validation for epoch in found.epochs]) if validation else trained
    seen = [rate for rate, _ in rates(monkeypatch, how.pop("schedule"), **how)]
    assert seen[:: len(seen) // 12] == wanted
    assert len({*wanted}) > 1
    assert (wanted != trained) == bool(validation)


@pytest.mark.parametrize("schedule", EVERY)
def test_it_goes_on_at_the_same_rate(schedule: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    how = {**HOW, "schedule": schedule, "lr": 0.02, "epochs": 4}
    train("few.npy", out="whole", **how)
    monkeypatch.setattr("test_interruption.HOW", how)
    stopped_at(2 * STEPS if schedule.startswith(("exp", "plateau")) else 5, monkeypatch)  # between two epochs, and in one
    resume("run")
    assert outcome("run") == outcome("whole")


@pytest.mark.parametrize(
    ("schedule", "endless"),
    [("exponential:gamma=0.9", True), ("step:step_size=2", True), ("cosine", False), ("onecycle", False), ("polynomial", False),
     ("cosineannealing", False), ("cosineannealing:T_max=5", True), ("plateau", True)],
)  # fmt: skip
def test_more_epochs_where_the_run_has_no_length(schedule: str, endless: bool, here: Path) -> None:
    train("few.npy", out="run", **{**HOW, "schedule": schedule, "epochs": 1})
    if not endless:
        with pytest.raises(ReconError, match="has --epochs 1, and 3"):
            resume("run", epochs=3)
        return
    resume("run", epochs=3)
    train("few.npy", out="whole", **{**HOW, "schedule": schedule, "epochs": 3})
    assert outcome("run") == outcome("whole")


@pytest.mark.parametrize("optimizer", ["sgd", "adam", "rmsprop"])
@pytest.mark.parametrize("name", kinds())
def test_every_schedule_of_torch_trains(name: str, optimizer: str) -> None:
    told = {"step": "step_size=1", "multistep": "milestones=1", "exponential": "gamma=0.9", "cyclic": "max_lr=0.002"}
    told |= {"cosineannealingwarmrestarts": "T_0=1", "constant": "factor=0.5", "linear": "start_factor=0.5"}
    found = train(
        FEW[:40], **{**HOW, "lr": 1e-4, "epochs": 2, "optimizer": optimizer, "schedule": f"{name}:{told.get(name, '')}"}
    )
    assert math.isfinite(found.result.nll)


@pytest.mark.parametrize(
    ("schedule", "said"),
    [
        ("exponental:gamma=1", "Did you mean 'exponential'"),
        ("cosin", "Did you mean 'cosine'"),
        ("lambda", "There is no schedule named 'lambda'"),
        ("sequential", "There is no schedule"),
        ("exponential", "needs gamma. Write --schedule exponential:gamma=0.97"),
        ("multistep", "needs milestones"),
        ("exponential:gama=0.9", "Did you mean 'gamma'"),
        ("cosineannealingwarmrestarts:t_0=3", "Did you mean 'T_0'"),
        ("exponential:gamma=0.9,gamma=0.8", "gamma twice"),
        ("exponential:gamma=x", "exponential's gamma must be a finite number; found 'x'"),
        ("exponential:gamma=-1", "learning rate becomes -0.002"),
        ("exponential:0.9", "no parameter '0.9'"),
        ("exponential:gamma=0.9,0.8", "is one value; found '0.9,0.8'"),
        ("step:step_size=1.5", "must be a whole number"),
        ("step:step_size=0", "cannot be had: "),
        ("onecycle:pct_start=3", "cannot be had: "),
        ("onecycle:total_steps=3", "no parameter 'total_steps'"),
        ("onecycle:anneal_strategy=cosine", "Did you mean 'cos'"),
        ("onecycle:three_phase=maybe", "is true or false"),
        ("plateau:factor=2", "Factor should be < 1.0"),
        ("cosine:T_max=3", "takes no parameters"),
    ],
)
def test_what_no_schedule_has(schedule: str, said: str) -> None:
    with pytest.raises(ReconError) as found:
        Settings(schedule=schedule)
    assert said in str(found.value)


def test_an_optimizer_without_momentum_says_how() -> None:
    with pytest.raises(ReconError, match="cycle_momentum"):
        Settings(schedule="onecycle", optimizer="adagrad")
    Settings(schedule="onecycle:cycle_momentum=false", optimizer="adagrad")


def test_lbfgs_has_no_rate() -> None:
    with pytest.raises(ReconError, match="--exact has no learning rate"):
        Settings(schedule="exponential:gamma=0.9", exact=True, model="linear")


@pytest.mark.parametrize(
    "schedule", ["exponential:gamma=0.5", "onecycle:max_lr=0.002", "onecycle", "cosineannealing:eta_min=0.001"]
)
def test_side_by_side_the_rates_are_scaled_too(schedule: str) -> None:
    how = {"epochs": 3, "data": FEW, "sigma": 0.5, "optimizer": "sgd", "schedule": schedule}
    found = lockstep("mse", **{**HOW, **how, "lr": 0.001})
    assert found.holds
    assert found.word(found.variants[0]) == "bitwise"
    assert found.report().tables[1].rows[1]["lr"] != 0.001
    with pytest.raises(ReconError, match="Leave --patience, --average and --schedule plateau out"):
        lockstep("mse", **{**HOW, **how, "schedule": "plateau"})


def test_words_are_read_back() -> None:
    for text in (*EVERY, "cosine", "constant", "plateau"):
        read = Schedule.parse(text)
        assert Schedule.parse(read.scaled(1.0)) == read
