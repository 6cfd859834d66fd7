"""What training is set beside: the loop of the usual tutorial, and where it is installed the trainer of pythae."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import tempfile
from collections.abc import Callable

import numpy
import torch
from torch import nn
from torch.nn import functional

ROWS, SHAPE, ELEMENTS, HIDDEN, LATENT, BATCH = 10_000, (28, 28), 784, 400, 20, 128
PICTURES, COLOUR, MAPS = 1024, (64, 64, 3), 50  # of convolutions; as many maps as recon's own takes for 400 hidden units


def tutorial(images: numpy.ndarray, where: torch.device, model: str = "mlp") -> Callable[[], None]:
    """Return an epoch as in PyTorch's own example of a VAE; of ``conv``, with the layers that recon's has."""

    class Bytes(torch.utils.data.Dataset[torch.Tensor]):
        def __len__(self) -> int:
            return len(images)

        def __getitem__(self, at: int) -> torch.Tensor:
            image = torch.from_numpy(images[at])
            return (image.unsqueeze(0) if image.ndim == 2 else image.permute(2, 0, 1)).float().div(255)

    with torch.random.fork_rng(devices=[]):
        vae = (Usual() if model == "mlp" else Convolutions(model == "conv")).to(where)
    optimizer = torch.optim.Adam(vae.parameters(), lr=1e-3)

    def train_epoch() -> None:
        total = 0.0
        with torch.random.fork_rng(devices=[]):
            for x in torch.utils.data.DataLoader(Bytes(), batch_size=BATCH, shuffle=True):
                data = x.to(where)
                optimizer.zero_grad()
                reconstruction, mean, log_variance = vae(data)
                loss = functional.binary_cross_entropy(reconstruction, data.view_as(reconstruction), reduction="sum")
                loss = loss - 0.5 * torch.sum(1 + log_variance - mean.pow(2) - log_variance.exp())
                loss.backward()
                total += loss.item()
                optimizer.step()

    return train_epoch


class Usual(nn.Module):
    """The VAE of that example."""

    def __init__(self) -> None:
        super().__init__()
        self.fc1, self.fc21, self.fc22 = nn.Linear(ELEMENTS, HIDDEN), nn.Linear(HIDDEN, LATENT), nn.Linear(HIDDEN, LATENT)
        self.fc3, self.fc4 = nn.Linear(LATENT, HIDDEN), nn.Linear(HIDDEN, ELEMENTS)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return reconstruction, mean and log variance."""
        h = functional.relu(self.fc1(x.view(-1, ELEMENTS)))
        mean, log_variance = self.fc21(h), self.fc22(h)
        std = torch.exp(0.5 * log_variance)
        z = mean + torch.randn_like(std) * std
        return torch.sigmoid(self.fc4(functional.relu(self.fc3(z)))), mean, log_variance


class Convolutions(nn.Module):
    """Convolutions of stride 2, and back by ``upsampled`` images or by transposed convolutions."""

    def __init__(self, upsampled: bool) -> None:
        super().__init__()
        height, width, channels = COLOUR
        self.small = (2 * MAPS, height // 4, width // 4)
        inner = math.prod(self.small)
        self.encoder = nn.Sequential(
            nn.Conv2d(channels, MAPS, 3, 2, 1), nn.SiLU(), nn.Conv2d(MAPS, 2 * MAPS, 3, 2, 1), nn.SiLU(), nn.Flatten()
        )
        self.mean, self.log_variance, self.first = nn.Linear(inner, LATENT), nn.Linear(inner, LATENT), nn.Linear(LATENT, inner)

        def doubled(before: int, after: int) -> list[nn.Module]:
            if upsampled:
                return [nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, 1, 1)]
            return [nn.ConvTranspose2d(before, after, 3, 2, 1, output_padding=1)]

        self.decoder = nn.Sequential(*doubled(2 * MAPS, MAPS), nn.SiLU(), *doubled(MAPS, channels), nn.Sigmoid())

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return reconstruction, mean and log variance."""
        h = self.encoder(x)
        mean, log_variance = self.mean(h), self.log_variance(h)
        std = torch.exp(0.5 * log_variance)
        z = mean + torch.randn_like(std) * std
        return self.decoder(functional.silu(self.first(z)).view(-1, *self.small)), mean, log_variance


def pythae(images: numpy.ndarray, where: torch.device) -> Callable[[], None]:
    """Return an epoch of pythae's trainer, a VAE of the same widths, squared error. Chadebec, Vincent, Allassonniere (2022).

    Raises ImportError where pythae is not installed.
    """
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

        def forward(self, x: torch.Tensor) -> ModelOutput:
            h = nn.functional.silu(self.first(x.flatten(1)))
            return ModelOutput(embedding=self.mean(h), log_covariance=self.spread(h))

    class Decoder(BaseDecoder):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.layers = nn.Sequential(nn.Linear(LATENT, HIDDEN), nn.SiLU(), nn.Linear(HIDDEN, ELEMENTS))

        def forward(self, z: torch.Tensor) -> ModelOutput:
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

    def train_epoch() -> None:
        with torch.random.fork_rng(devices=[]), contextlib.redirect_stderr(io.StringIO()):
            trainer.callback_handler.on_epoch_begin(
                training_config=config, epoch=1, train_loader=trainer.train_loader, eval_loader=None
            )
            trainer.train_step(1)

    return train_epoch
