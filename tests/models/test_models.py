"""What can be trained is an interface and a folder, and what a run can be told is declared once."""

from __future__ import annotations

import dataclasses
import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

import click
import pytest
import torch
from torch import nn

import recon_cli
from recon_cli import models, registry, training
from recon_cli.commands.train import command
from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.likelihoods.gaussian import Gaussian
from recon_cli.models import _saved as saved
from recon_cli.models._base import Model, Task
from recon_cli.models._options import Keywords, Options
from recon_cli.training.loop import State
from recon_cli.training.noises import Fixed
from recon_cli.training.settings import Settings

ROWS = torch.rand(12, 64, generator=torch.Generator().manual_seed(0))
OPTIONS = {field.name: field for field in dataclasses.fields(Options)}


class Halves(Model):
    """A model of another kind than all of recon's: the right half of a row is the left half times a number."""

    supervised = True

    def __init__(self, likelihood: Likelihood) -> None:
        super().__init__(likelihood)
        self.times = nn.Parameter(torch.zeros(()))

    @classmethod
    def begin(cls, task: Task, options: Options) -> Halves:
        del options
        return cls(task.likelihood)

    @classmethod
    def from_saved(cls, tensors: Any, likelihood: Likelihood, config: Any) -> Halves:
        raise NotImplementedError

    @property
    def elements(self) -> int:
        return 64

    @property
    def noun(self) -> str:
        return "line"

    def target(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, 32:]

    def outputs(self, rows: torch.Tensor) -> torch.Tensor:
        return rows[:, :32] * self.times

    def forward(self, rows: torch.Tensor, eps: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.outputs(rows), eps

    def decoder_parameters(self) -> list[nn.Parameter]:
        return [self.times]


def test_the_loop_trains_a_model_that_it_has_never_seen() -> None:
    model = Halves(Gaussian())
    state = State(model, Fixed(Gaussian()), ROWS, Settings(epochs=30, batch_size=12, optimizer="sgd", lr=0.05))
    figures = [epoch for epoch, _ in training.loop.walk(state)]
    least_squares = (ROWS[:, :32] * ROWS[:, 32:]).sum() / ROWS[:, :32].square().sum()
    assert model.times.item() == pytest.approx(least_squares.item(), abs=1e-4)
    assert figures[-1].nll < figures[0].nll
    assert (figures[-1].kl, figures[-1].negative_elbo, figures[-1].active) == (None, None, None)
    assert figures[-1].ratio == pytest.approx(0.5)


@pytest.mark.parametrize("name", registry.names("models"))
def test_each_file_has_one_model_that_keeps_to_the_interface(name: str) -> None:
    kind = models.kind(name)
    settings = Settings.asked(model=name, hidden=8, **({} if kind.supervised else {"latent": 3}))
    task = Task(ROWS, Gaussian(), (8, 8), targets=(3, 5) if kind.supervised else ())
    model = kind.begin(task, settings)
    raw, kl = model(ROWS, torch.zeros(12, model.latents))
    assert model.target(ROWS).shape == raw.shape == model.outputs(ROWS).shape == model.reconstruct(ROWS).shape
    assert kl.shape == (12, model.latents if model.has_kl else 0)
    assert model.in_use([ROWS], torch.full((model.latents,), 0.5)).sum() == model.latents
    assert model.elements == 64
    assert {*map(id, model.decoder_parameters())} <= {*map(id, model.parameters())}
    again = kind.from_saved(model.state_dict(), Gaussian(), {**vars(settings), "shape": (8, 8)})
    assert torch.equal(again.outputs(ROWS), model.outputs(ROWS))
    assert all(torch.equal(a, b) for a, b in zip(kind.begin(task, settings).parameters(), model.parameters(), strict=True))


def test_the_names_of_models_are_those_of_the_files() -> None:
    words = OPTIONS["model"].metadata["metavar"].split("|")
    assert {*words[:-1]} == {*registry.names("models")}
    with pytest.raises(ReconError, match="There is no model named 'base'"):
        models.kind("base")
    assert models.kind("x.py:Mine") is models.kind("package.module:Mine")


def test_an_option_is_declared_once_for_command_signature_and_config() -> None:
    shown = {param.name: param for param in command.params if isinstance(param, click.Option)}
    signature = inspect.signature(recon_cli.train).parameters
    for name, field in OPTIONS.items():
        assert shown[name].help == field.metadata["help"], name
        assert signature[name].default == field.default, name
        assert name in saved.FIELDS
    assert "settings" not in signature
    hints = get_type_hints(Keywords)
    own = {"beta": float | None, "model": Any}
    assert hints == {name: own.get(name, hint) for name, hint in get_type_hints(Options).items()}


@pytest.mark.parametrize("function", [recon_cli.train, training.sweep, training.lockstep])
def test_signatures_are_spelled_out(function: Any) -> None:
    parameters = inspect.signature(function).parameters
    assert not [name for name, each in parameters.items() if each.kind is each.VAR_KEYWORD]
    assert parameters["epochs"].default == (5 if function is training.lockstep else 100)
    assert all(each.annotation is not each.empty for each in parameters.values())
    with pytest.raises(TypeError, match="epoch"):
        function("lr=0.1" if function is training.sweep else "digits" if function is recon_cli.train else "mse", epoch=3)


@pytest.mark.parametrize(
    ("name", "value"), [("lr", 0.0), ("holdout", 1.0), ("epochs", 0), ("seed", -1), ("free_bits", -1.0), ("momentum", -0.5)]
)
def test_a_domain_holds_for_settings_and_for_what_a_run_says(name: str, value: float, tmp_path: Path) -> None:
    words = OPTIONS[name].metadata["domain"].words
    with pytest.raises(ReconError, match=words):
        Settings(**{"optimizer": "sgd", name: value})
    recon_cli.train(ROWS.numpy(), epochs=1, latent=2, hidden=4, device="cpu", out=tmp_path / "run", iwae=0)
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    with pytest.raises(ReconError, match=words):
        saved.checked("config.json", {**config, name: value})
