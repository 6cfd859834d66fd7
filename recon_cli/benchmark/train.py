"""How fast is training here? An epoch beside its matrix products alone, and beside the usual tutorial's loop, in one run."""

from __future__ import annotations

import contextlib
import io
import logging
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli.benchmark.compare import timed
from recon_cli.errors import ReconError
from recon_cli.report import Column, Report, Table
from recon_cli.runtime import devices

if TYPE_CHECKING:
    import torch

ROWS, ELEMENTS, HIDDEN, LATENT, BATCH = 10_000, 784, 400, 20, 128
COLUMNS = (
    Column("way", "an epoch of", "*"),
    Column("seconds", "seconds", ""),
    Column("samples_per_second", "samples/s", ""),
    Column("over_products", "/ products", ""),
    Column("tutorial_over", "tutorial / it", ""),
    Column("first", "first time", ""),
)


def bench_training(
    likelihood: str = "gaussian",
    *,
    repeats: int = 5,
    engine: str = "both",
    device: str = "auto",
    progress: Callable[[int, str], None] | None = None,
) -> Report:
    """Seconds for an epoch of 10,000 images of 28x28, a VAE of 784-400-20 in batches of 128: medians of ``repeats``, in turn.

    products
        the eleven matrix products of each step, forward and backward, and nothing else.
    recon
        steps and the figures of the epoch; ``compiled`` with ``--compile``, bf16 with ``--bf16``.
    tutorial
        the loop that everybody starts from: a DataLoader over bytes converted one at a time, BCE, torch's Adam, ``.item()``
        each step.
    pythae
        its own trainer, on the same sizes and floats in memory, where it is installed.

    Raises ReconError for fewer repeats than one.
    """
    if repeats < 1:
        raise ReconError("A benchmark is of at least one epoch.", "Try --repeats 5.")
    import torch

    where = devices.device(device)
    images = numpy.random.default_rng(0).integers(0, 256, (ROWS, 28, 28), dtype=numpy.uint8)
    ways: dict[str, Callable[[], Any]] = {"products": products(where), "recon": epoch(images, likelihood, device)}
    if engine in ("both", "compile"):
        ways["recon, compiled"] = epoch(images, likelihood, device, compile=True)
    ways["recon, bf16"] = epoch(images, likelihood, device, bf16=True)
    ways["tutorial"] = tutorial(images, where)
    with contextlib.suppress(ImportError):  # not there, or without what it needs
        ways["pythae"] = pythae(images, where)
    after = None if progress is None else lambda turn, seconds: progress(turn, f"{seconds['recon']:.2f} s")
    first, usual = timed(ways, repeats, where, after)
    rows = [
        {
            "way": name,
            "seconds": usual[name],
            "samples_per_second": ROWS / usual[name],
            "over_products": usual[name] / usual["products"],
            "tutorial_over": usual["tutorial"] / usual[name],
            "first": first[name],
        }
        for name in ways
    ]
    threads = f", {torch.get_num_threads()} threads" if where.type == "cpu" else ""
    notes = [
        f"{ROWS:,} images of 28x28, a VAE of {ELEMENTS}-{HIDDEN}-{LATENT}, batches of {BATCH}, on {where}{threads}. Medians of "
        f"{repeats}, each in turn, after a first time that is not counted (it compiles). recon: {likelihood}, its epoch's "
        f"figures included; tutorial: BCE on the same bytes."
    ]
    return Report("bench", [Table("train", COLUMNS, rows)], notes)


def products(where: torch.device) -> Callable[[], None]:
    """An epoch's matrix products: four forward, seven backward (none for the data's own gradient)."""
    import torch

    chance = torch.Generator(where).manual_seed(0)

    def drawn(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=chance, device=where)

    x, hidden, code, both = drawn(BATCH, ELEMENTS), drawn(BATCH, HIDDEN), drawn(BATCH, LATENT), drawn(BATCH, 2 * LATENT)
    first, second = drawn(HIDDEN, ELEMENTS), drawn(2 * LATENT, HIDDEN)
    third, fourth = drawn(HIDDEN, LATENT), drawn(ELEMENTS, HIDDEN)

    def go() -> None:
        for _ in range(-(-ROWS // BATCH)):
            x @ first.T, hidden @ second.T, code @ third.T, hidden @ fourth.T
            x @ fourth, x.T @ hidden, hidden @ third, hidden.T @ code, both @ second, both.T @ hidden, hidden.T @ x

    return go


def epoch(images: numpy.ndarray, likelihood: str, device: str, **how: Any) -> Callable[[], Any]:
    """An epoch of ``recon train``, the next one at each call."""
    from recon_cli.training.loop import walk
    from recon_cli.training.plan import Plan

    plan = Plan.of(
        images, likelihood, device=device, scale=255, holdout=0.0, epochs=1 << 30, batch_size=BATCH, latent=LATENT,
        hidden=HIDDEN, lr=1e-3, **how,
    )  # fmt: skip
    steps = walk(plan.state())
    return lambda: next(steps)


def tutorial(images: numpy.ndarray, where: torch.device) -> Callable[[], None]:
    """An epoch as in PyTorch's own example of a VAE."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Bytes(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, at: int) -> torch.Tensor:
            return torch.from_numpy(images[at]).unsqueeze(0).float().div(255)

    class Usual(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc1, self.fc21, self.fc22 = nn.Linear(ELEMENTS, HIDDEN), nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
            self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, ELEMENTS)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            h = functional.relu(self.fc1(x.view(-1, ELEMENTS)))
            mean, log_variance = self.fc21(h), self.fc22(h)
            std = torch.exp(0.5 * log_variance)
            z = mean + torch.randn_like(std) * std
            return torch.sigmoid(self.fc4(functional.relu(self.fc3(z)))), mean, log_variance

    with torch.random.fork_rng(devices=[]):
        model = Usual().to(where)
    search = torch.optim.Adam(model.parameters(), lr=1e-3)

    def go() -> None:
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            for x in torch.utils.data.DataLoader(Bytes(), batch_size=BATCH, shuffle=True):
                data = x.to(where)
                search.zero_grad()
                made, mean, log_variance = model(data)
                loss = functional.binary_cross_entropy(made, data.view(-1, ELEMENTS), reduction="sum")
                loss = loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
                loss.backward()
                total += loss.item()
                search.step()

    return go


def pythae(images: numpy.ndarray, where: torch.device) -> Callable[[], Any]:
    """An epoch of pythae's trainer, a VAE of the same widths under squared error. Chadebec, Vincent and Allassonniere (2022)."""
    import torch
    from pythae.data.datasets import BaseDataset
    from pythae.models import VAE, VAEConfig
    from pythae.models.base.base_utils import ModelOutput
    from pythae.models.nn import BaseDecoder, BaseEncoder
    from pythae.trainers import BaseTrainer, BaseTrainerConfig
    from torch import nn

    class Encoder(BaseEncoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.first, self.mean, self.spread = nn.Linear(ELEMENTS, HIDDEN), nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)

        def forward(self, x: torch.Tensor) -> Any:
            h = nn.functional.silu(self.first(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.spread(h))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, ELEMENTS))

        def forward(self, z: torch.Tensor) -> Any:
            return ModelOutput(reconstruction=self.layers(z).reshape(-1, 1, 28, 28))

    shape, before = (1, 28, 28), logging.root.manager.disable
    logging.disable(logging.ERROR)  # it tells of every step
    with torch.random.fork_rng(devices=[]), tempfile.TemporaryDirectory() as folder:
        model = VAE(VAEConfig(input_dim=shape, latent_dim=LATENT), Encoder(), Decoder())
        config = BaseTrainerConfig(
            output_dir=folder, per_device_train_batch_size=BATCH, learning_rate=1e-3, num_epochs=1,
            no_cuda=where.type != "cuda",
        )  # fmt: skip
        rows = BaseDataset(torch.from_numpy(images).reshape(-1, *shape).float() / 255, torch.zeros(len(images)))
        trainer = BaseTrainer(model, rows, training_config=config, callbacks=None)
        trainer.prepare_training()
    logging.disable(before)

    def go() -> None:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
            trainer.callback_handler.on_epoch_begin(
                training_config=config, epoch=1, train_loader=trainer.train_loader, eval_loader=None
            )
            trainer.train_step(1)

    return go
