"""The audit inside other people's trainers, the real ones: Lightning, Hugging Face, accelerate; skipped where they are not."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import recon_cli
from recon_cli.auditing.result import Audit
from recon_cli.errors import ReconError

HERE = Path(__file__).name


class Vae(nn.Module):
    """Of 12 elements and 3 latents."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.decoder = nn.Linear(12, 6), nn.Linear(3, 12)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, logvar = self.encoder(x).chunk(2, 1)
        return self.decoder(mean + torch.randn_like(mean) * (logvar / 2).exp()), mean, logvar


def elbo(x: Tensor, out: Tensor, mean: Tensor, logvar: Tensor) -> Tensor:
    """Of sigma = 1 and beta = 1."""
    return 0.5 * (out - x).square().sum() + 0.5 * (mean.square() + logvar.exp() - logvar - 1).sum()


def known(audit: Audit | None) -> list[tuple[Any, ...]]:
    """Family, beta or sigma, verdict and file of each row."""
    assert audit is not None
    return [(row.family, row.sigma, row.verdict, row.site.rpartition(":")[0].rpartition("/")[2]) for row in audit.rows]


def line_of(audit: Audit | None) -> str:
    """The line of this file that the first row's site names."""
    assert audit is not None
    return Path(__file__).read_text().splitlines()[int(audit.rows[0].site.rpartition(":")[2]) - 1].strip()


ELBO = [("gaussian", pytest.approx(1.0), "elbo", HERE)]
DATA = [torch.rand(12, generator=torch.Generator().manual_seed(i)) for i in range(16)]


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> Any:
    return pytest.importorskip("lightning.pytorch")


def trained(lightning: Any, module: Any, folder: Path, **options: Any) -> Any:
    """A callback after three batches of a trainer."""
    from recon_cli.callbacks.lightning import LightningAudit

    callback = LightningAudit()
    trainer = lightning.Trainer(
        max_steps=3, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, default_root_dir=folder, callbacks=[callback], **options,
    )  # fmt: skip
    trainer.fit(module, torch.utils.data.DataLoader(torch.stack(DATA), 4))
    assert trainer.global_step == 3  # training goes on
    return callback


def module_of(lightning: Any, step: Any, manual: bool = False) -> Any:
    """A LightningModule around the VAE, of that training_step."""

    class Module(lightning.LightningModule):  # type: ignore[name-defined, misc]
        def __init__(self) -> None:
            super().__init__()
            self.net, self.automatic_optimization = Vae(), not manual
            self.audit: Audit | None = None

        def training_step(self, batch: Tensor, index: int) -> Any:
            return step(self, batch)

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.net.parameters())

    return Module()


@pytest.mark.parametrize(("accumulated", "words"), [(1, ""), (2, "all of the loss is multiplied by 0.5")])
def test_lightning_s_own_optimization(lightning: Any, accumulated: int, words: str, tmp_path: Path, capsys: Any) -> None:
    def step(self: Any, x: Tensor) -> Tensor:
        loss = elbo(x, *self.net(x))
        return loss + 0  # the last line of the loss

    callback = trained(lightning, module_of(lightning, step), tmp_path, accumulate_grad_batches=accumulated)
    assert known(callback.audit) == ELBO
    assert line_of(callback.audit) == "return loss + 0  # the last line of the loss"
    assert words.lower() in " ".join(callback.audit.notes).lower()
    assert "elbo" in capsys.readouterr().err


def test_lightning_s_manual_optimization(lightning: Any, tmp_path: Path) -> None:
    def step(self: Any, x: Tensor) -> None:
        out, mean, logvar = self.net(x)
        for loss in (elbo(x, out, mean, logvar),):
            self.optimizers().zero_grad()
            self.manual_backward(loss)
            self.optimizers().step()

    callback = trained(lightning, module_of(lightning, step, manual=True), tmp_path)
    assert known(callback.audit) == ELBO
    assert line_of(callback.audit) == "self.manual_backward(loss)"


def test_a_batch_that_lightning_skips_and_a_step_that_fails(lightning: Any, tmp_path: Path) -> None:
    count = 0

    def step(self: Any, x: Tensor) -> Tensor | None:
        nonlocal count
        count += 1
        return elbo(x, *self.net(x)) if count > 1 else None

    assert known(trained(lightning, module_of(lightning, step), tmp_path).audit) == ELBO

    def fails(self: Any, x: Tensor) -> Tensor:
        raise ValueError("its own")

    with pytest.raises(ValueError, match="its own"):
        trained(lightning, module_of(lightning, fails), tmp_path)
    with recon_cli.watch():  # nothing is watched any more
        pass


@pytest.mark.parametrize("manual", [False, True])
def test_watching_within_a_training_step(lightning: Any, manual: bool, tmp_path: Path) -> None:
    def step(self: Any, x: Tensor) -> Tensor:
        with recon_cli.watch() as watched:
            loss = elbo(x, *self.net(x))
            if manual:
                self.manual_backward(loss)
            else:
                watched.look_at(loss)
        self.audit = watched.audit()
        return loss

    module = module_of(lightning, step, manual)
    trainer = lightning.Trainer(
        fast_dev_run=1, accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.fit(module, torch.utils.data.DataLoader(torch.stack(DATA), 4))
    assert known(module.audit) == ELBO
    assert line_of(module.audit) == ("self.manual_backward(loss)" if manual else "watched.look_at(loss)")


class WithLoss(nn.Module):
    """What a Hugging Face Trainer takes: its forward returns the loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Vae()

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"loss": elbo(x, *self.net(x))}


@pytest.mark.parametrize("accumulated", [1, 2])
def test_hugging_face_s_trainer(accumulated: int, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    from recon_cli.callbacks.transformers import TrainerAudit

    callback = TrainerAudit(quiet=True)
    arguments = transformers.TrainingArguments(
        tmp_path, max_steps=2, per_device_train_batch_size=4, gradient_accumulation_steps=accumulated, use_cpu=True,
        report_to=[], save_strategy="no", disable_tqdm=True,
    )  # fmt: skip
    trainer = transformers.Trainer(WithLoss(), arguments, train_dataset=[{"x": x} for x in DATA], callbacks=[callback])
    trainer.train()
    assert known(callback.audit) == ELBO
    assert line_of(callback.audit).startswith("return 0.5 * (out - x).square()")
    assert (accumulated == 2) == ("multiplied by 0.5" in " ".join(callback.audit.notes))  # type: ignore[union-attr]


@pytest.mark.parametrize("accumulated", [1, 2])
def test_a_step_with_accelerate(accumulated: int) -> None:
    accelerate = pytest.importorskip("accelerate")
    accelerator = accelerate.Accelerator(cpu=True, gradient_accumulation_steps=accumulated)
    net = Vae()
    net, optimizer = accelerator.prepare(net, torch.optim.Adam(net.parameters()))
    with recon_cli.watch() as step, accelerator.accumulate(net):
        x = torch.stack(DATA[:4])
        accelerator.backward(elbo(x, *net(x)))
        optimizer.step()
    assert known(step.audit()) == ELBO
    assert line_of(step.audit()) == "accelerator.backward(elbo(x, *net(x)))"


@pytest.mark.parametrize(("file", "libraries"), [("lightning", ("lightning.pytorch", "pytorch_lightning")), ("transformers", ())])
def test_a_trainer_that_is_not_installed(file: str, libraries: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*libraries, file):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"recon_cli.callbacks.{file}", raising=False)
    with pytest.raises(ReconError, match=f"takes the library {file}, which is not installed") as raised:
        __import__(f"recon_cli.callbacks.{file}")
    assert raised.value.hint == f"Install it: pip install 'recon-loss[{file}]'."


def test_look_at_is_for_losses_within() -> None:
    with recon_cli.watch() as step, pytest.raises(ReconError, match="takes a loss"):
        step.look_at(3)  # type: ignore[arg-type]
    with pytest.raises(ReconError, match="within the with-block"):
        step.look_at(torch.zeros(()))
    with pytest.raises(ReconError, match="No loss was derived") as raised:
        step.audit()
    assert "look_at" in (raised.value.hint or "")
