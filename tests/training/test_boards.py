"""TensorBoard's files say what the metrics say, once, however often a run was interrupted."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy
import pytest
from click.testing import CliRunner
from test_interruption import outcome, stopped_at

from recon_cli import sources
from recon_cli.cli import main
from recon_cli.errors import ReconError
from recon_cli.training import resume, train

HOW: dict[str, Any] = {
    "holdout": 0.2,
    "epochs": 5,
    "batch_size": 32,
    "latent": 2,
    "hidden": 4,
    "device": "cpu",
    "tensorboard": True,
}
needed = pytest.mark.skipif(importlib.util.find_spec("tensorboard") is None, reason="tensorboard is not installed")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of one's own, with data in it."""
    monkeypatch.chdir(tmp_path)
    numpy.save("few.npy", sources.read("digits")[:100])
    return tmp_path


def read(folder: str = "run") -> Any:
    """By TensorBoard's own reader."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    found = EventAccumulator(f"{folder}/tensorboard", size_guidance={"scalars": 0, "images": 0})
    return found.Reload()


def agrees(folder: str = "run") -> Any:
    """Each epoch once, in order, with the figures of metrics.jsonl."""
    board = read(folder)
    lines = [json.loads(line) for line in Path(folder, "metrics.jsonl").read_text().splitlines()]
    for tag, name in [
        ("train/nll", "nll"),
        ("train/kl", "kl"),
        ("train/sigma", "sigma"),
        ("validation/negative_elbo", "validation"),
    ]:
        if lines[0][name] is None:
            assert tag not in board.Tags()["scalars"]
            continue
        seen = board.Scalars(tag)
        assert [event.step for event in seen] == [line["epoch"] for line in lines]
        assert [event.value for event in seen] == pytest.approx([line[name] for line in lines], rel=1e-6)
    return board


@needed
@pytest.mark.parametrize("validation", [0.0, 0.25])
def test_it_has_the_metrics_the_result_and_the_pictures(validation: float, here: Path) -> None:
    found = train("few.npy", out="run", validation=validation, schedule="cosine", **HOW)
    board = agrees()
    (event,) = board.Scalars("held-out/negative_elbo")
    assert (event.step, event.value) == (5, pytest.approx(found.result.negative_elbo, rel=1e-6))
    assert len({event.value for event in board.Scalars("train/lr")}) == 5
    assert {*board.Tags()["images"]} == {"reconstructions.png", "samples.png", "traversal.png"}
    (image,) = board.Images("reconstructions.png")
    assert image.encoded_image_string.startswith(b"\x89PNG")
    assert (image.width, image.height) == ((12 * 9 - 1) * 8, (2 * 9 - 1) * 8)


@needed
@pytest.mark.parametrize("step", [2, 6, 8])
def test_a_run_that_goes_on_has_each_epoch_once(step: int, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train("few.npy", out="whole", **HOW)
    monkeypatch.setattr("test_interruption.HOW", HOW)
    stopped_at(step, monkeypatch)
    resume("run")
    agrees()
    assert outcome("run") == outcome("whole")
    resume("run")
    board = agrees()
    assert len(board.Images("samples.png")) == len(board.Scalars("held-out/nll")) == 1


@needed
def test_epochs_after_the_checkpoint_are_written_again(here: Path) -> None:
    """A process that dies well after its last checkpoint has told the board of epochs that a resumed run has yet to do."""

    class Killed(BaseException):
        """In place of a signal."""

    def seen(epoch: int, words: str) -> None:
        if epoch == 4:
            raise Killed

    with pytest.raises(Killed):
        train("few.npy", out="run", progress=seen, checkpoint_every=1e9, **HOW)
    assert [event.step for event in read().Scalars("train/nll")] == [1, 2, 3, 4]
    resume("run")
    agrees()


@needed
def test_more_epochs(here: Path) -> None:
    train("few.npy", out="run", **HOW)
    resume("run", epochs=7)
    board = agrees()
    assert [event.step for event in board.Scalars("held-out/nll")] == [5, 7]


@needed
def test_on_the_command_line(here: Path) -> None:
    words = ["train", "--data", "few.npy", "--epochs", "2", "--tensorboard", "--out", "run", "--format", "json"]
    assert CliRunner().invoke(main, words).exit_code in (0, 1)
    assert len(agrees().Scalars("train/nll")) == 2
    wrong = CliRunner().invoke(main, [*words[:-4], "--sweep", "sigma=0.1,0.2"])
    assert (wrong.exit_code, "do not go together" in wrong.stderr) == (2, True)


@needed
def test_it_changes_nothing(here: Path) -> None:
    train("few.npy", out="run", **HOW)
    train("few.npy", out="plain", **{**HOW, "tensorboard": False})
    assert outcome("run") == outcome("plain")
    assert not Path("plain/tensorboard").exists()


def test_without_the_library_it_says_so(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "tensorboard" else real(name, *rest))
    with pytest.raises(ReconError) as found:
        train("few.npy", out="run", **HOW)
    assert "tensorboard, which is not installed. Install it: pip install 'recon-loss[tensorboard]'" in str(found.value)
    assert not Path("run").exists()


def test_without_a_folder_there_is_none(here: Path) -> None:
    with pytest.raises(ReconError, match="writes into the run folder, and there is none"):
        train("few.npy", **HOW)
