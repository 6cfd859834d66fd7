"""Models with latents: an encoder to q(z | x), a decoder from z."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide
from recon_cli.models._base import Model
from recon_cli.models._options import spelled

if TYPE_CHECKING:
    from torch import Generator, Tensor

    from recon_cli.models._options import Options

DRAWS = 16  # of each sample's code
VARIES = 0.01  # of the widest latent's variance: a latent of an autoencoder that varies more is in use


class Vae(Model):
    """A variational autoencoder: Kingma and Welling (2014).

    ``deterministic``, the encoder gives the mean alone, z is that, and there is no KL to be paid: an autoencoder. ``length``
    is that of a vector, where the likelihood is of vectors.
    """

    def __init__(self, likelihood: Likelihood, latents: int, deterministic: bool, length: int) -> None:
        super().__init__(likelihood)
        self.latents, self.deterministic = latents, deterministic
        self.event = (length,) if likelihood.event else ()
        self.tail = (*self.event, *((self.numbers,) if self.several else ()))

    @classmethod
    def check(cls, options: Options) -> None:
        super().check(options)
        options.require("latent", 1)
        options.require("hidden", 1)
        for name in ("kl_warmup", "free_bits", "iwae"):
            if not options.beta and getattr(options, name):
                raise ReconError(
                    f"A weight of 0 on the KL makes a deterministic autoencoder, without KL and without draws of z, so "
                    f"{spelled(name)} means nothing.",
                    f"Leave {spelled(name)} out, or give a --kl-weight above 0.",
                )

    @property
    def noun(self) -> str:
        return "autoencoder" if self.deterministic else "VAE"

    @abstractmethod
    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return mean and log variance of q(z | x), (B, K) each, of ``rows`` (B, D); no log variance where there is no q."""

    @abstractmethod
    def decode(self, z: Tensor) -> Tensor:
        """Return the raw output at ``z`` (B, K): (B, D), or with a last axis for vectors or several numbers an element."""

    def forward(self, rows: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """Return the raw output at z = mean + s * eps, and the KL of each latent, (B, K): of rows (B, D) and draws (B, K).

        Deterministic, z is the mean, and no latent has a KL: (B, 0).
        """
        mean, log_variance = self.encode(rows)
        if log_variance is None:
            return self.decode(mean).float(), mean.new_empty(len(mean), 0)
        raw = self.decode(torch.addcmul(mean, (log_variance / 2).exp(), eps))
        return raw.float(), divergence(mean.float(), log_variance.float())

    def target(self, rows: Tensor) -> Tensor:
        rows = self.own(rows)
        return rows.reshape(len(rows), -1, *self.event) if self.event else rows

    def outputs(self, rows: Tensor) -> Tensor:
        """Return what the likelihood takes at the mean of q(z | x)."""
        return self.link.inverse(self.decode(self.encode(rows)[0]))

    def mu(self, z: Tensor) -> Tensor:
        """Return mu of ``z``, (B, D)."""
        return self.means(self.link.inverse(self.decode(z)))

    def in_use(self, pieces: Sequence[Tensor], kl: Tensor) -> Tensor:
        """Return which latents are in use; deterministic, those whose variance over the rows is no small part of the largest."""
        if not self.deterministic:
            return super().in_use(pieces, kl)
        spread = wide(torch.cat([self.encode(piece)[0] for piece in pieces])).var(dim=0, correction=0)
        return spread > VARIES * spread.max()


def draw(mean: Tensor, log_variance: Tensor, generator: Generator) -> Tensor:
    """Return one sample of z for each row, reparameterised: mean + s * eps."""
    eps = torch.randn(mean.shape, generator=generator, device=mean.device)
    return torch.addcmul(mean, (log_variance / 2).exp(), eps)


def rate_and_distortion(vae: Vae, pieces: Iterable[Tensor], seed: int) -> tuple[float, float]:
    """Return KL(q(z | x) || p(z)) and the squared error of mu(z), z drawn from q(z | x), means over rows that come in pieces."""
    rate = error = count = 0.0
    generator: Generator | None = None
    with torch.no_grad():
        for rows in pieces:
            generator = generator or torch.Generator(rows.device).manual_seed(seed)
            mean, log_variance = vae.encode(rows)
            assert log_variance is not None
            count += len(rows)
            rate += wide(divergence(mean, log_variance)).sum().item()
            for _ in range(DRAWS):
                error += wide(vae.mu(draw(mean, log_variance, generator)) - rows).square().sum().item()
    return rate / count, error / DRAWS / count


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2)/2 in nats, for each latent of each row.

    Kingma and Welling (2014), appendix B.
    """
    return torch.addcmul(log_variance.expm1() - log_variance, mean, mean) / 2
