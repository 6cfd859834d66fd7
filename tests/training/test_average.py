"""The weights averaged over the last steps: their mean, after an interruption too, and what that is refused beside."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from recon_cli import sources
from recon_cli.errors import ReconError
from recon_cli.training import resume, train
from recon_cli.training.average import Average
from recon_cli.training.loop import State
from recon_cli.training.plan import Plan

FEW = sources.read("digits")[:160]
HOW: dict[str, Any] = {"epochs": 3, "batch_size": 32, "latent": 2, "hidden": 8, "device": "cpu"}


def weights(state: State) -> torch.Tensor:
    return torch.cat([part.detach().flatten().double() for part in state.parameters])


def test_the_result_has_the_mean_of_the_last_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of noise and network; the validation of the result is of those weights too, and epochs are as without it."""
    step, trace = State.step, list[torch.Tensor]()

    def watched(state: State) -> None:
        step(state)
        trace.append(weights(state))

    monkeypatch.setattr(State, "step", watched)
    found = train(FEW, average=0.4, validation=0.2, **HOW)
    count = len(trace)
    expected = torch.stack(trace[count - round(0.4 * count) :]).mean(dim=0)
    network = torch.cat([part.detach().flatten().double() for part in found.model.parameters()])
    torch.testing.assert_close(network, expected[:-1], rtol=1e-5, atol=1e-6)
    assert math.log(found.likelihood.sigma) == pytest.approx(expected[-1].item(), rel=1e-5)
    last = train(FEW, validation=0.2, **HOW)
    assert found.epochs == last.epochs
    assert found.result.validation not in (None, last.result.validation)


def test_an_interrupted_run_averages_the_same_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = train(FEW, average=0.9, out=tmp_path / "whole", **HOW)
    step = State.step

    def stopping(state: State) -> None:
        step(state)
        if (state.epoch, state.at) == (1, 2):
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(State, "step", stopping)
        with pytest.raises(KeyboardInterrupt):
            train(FEW, average=0.9, out=tmp_path / "run", checkpoint_every=0, **HOW)
    again = resume(tmp_path / "run", data=FEW)
    for one, other in zip(whole.model.parameters(), again.model.parameters(), strict=True):
        assert torch.equal(one, other)
    with pytest.raises(ReconError, match="could not go on as the same run"):
        resume(tmp_path / "run", data=FEW, epochs=9)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"patience": 2, "validation": 0.2}, "--patience ends at the weights of the best epoch"),
        ({"exact": True, "model": "linear"}, "--exact makes none"),
        ({"average": 1.0}, "--average must be at least 0 and below 1"),
    ],
)
def test_what_has_no_last_steps(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ReconError, match=said):
        Plan.of(FEW, **{"average": 0.2, **HOW, **options})


def test_a_network_with_statistics_of_its_batches_is_refused() -> None:
    with pytest.raises(ReconError, match="BatchNorm1d, whose statistics"):
        Average(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), nn.Module(), 0.5, 10)


def test_means_of_another_model_are_refused() -> None:
    average = Average(nn.Linear(2, 2), nn.Module(), 0.5, 10)
    with pytest.raises(ValueError, match="of another model"):
        average.unpack({"network.weight": torch.zeros(3)})
