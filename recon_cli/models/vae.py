"""A small variational autoencoder."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY
from recon_cli.identity.regions import inside
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import wide
from recon_cli.models.networks import networks

if TYPE_CHECKING:
    from torch import Generator, Tensor

BEYOND = 1e15  # whose square is a number in float32
FAR = 8.0  # root mean squares of all rows: the length from which on a row is an outlier


class Vae(nn.Module):
    """Encoder D -> (mean, log variance) of K latents, decoder K -> raw output of D, each a network of kind ``model``.

    The units of the data are taken out in front of the encoder and put back
    after the decoder (their mean, and one scale for all elements), so no learning rate depends on
    them. raw is what the likelihood's link takes to mu; where a decoder gives several numbers for an element
    (mean and log variance), there are as many times D of it; ``last`` is the length of a vector, for likelihoods
    of vectors. Kingma and Welling (2014). ``deterministic``, the encoder gives the mean alone, z is that, and no KL is
    there to be paid: an autoencoder. ``closed``: it is a function of parameters and arguments alone.
    """

    closed = True
    mean: Tensor
    scale: Tensor
    shift: Tensor
    spread: Tensor

    def __init__(
        self, rows: Tensor, claim: Likelihood, latent: int, hidden: int, generator: Generator, last: int = 1,
        model: str = "mlp", shape: tuple[int, ...] | None = None, deterministic: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        mean = wide(rows).mean(dim=0)
        scale = (wide(rows) - mean).square().mean().sqrt()
        scale = scale.where(scale > 0, 1)
        elements, numbers = rows.shape[1], max(1, len(claim.head))
        self.kind, self.deterministic = model, deterministic
        self.speaks(claim, last)
        shift = claim.link.forward(typical(claim, self.target(rows))).flatten()
        spread = scale if claim.link == IDENTITY else scale.new_ones(())
        if self.several:  # the mean in the units of the data, what else there is on its own
            spread = scale.new_ones(elements, numbers)
            spread[:, 0] = scale
            spread = spread.flatten()
        self.encoder, self.decoder = networks(model, shape or (elements,), numbers, latent, hidden, generator, deterministic)
        self.register_buffer("mean", mean.float())
        self.register_buffer("scale", scale.float())
        self.register_buffer("shift", shift.where(shift.isfinite(), 0).float())
        self.register_buffer("spread", spread.float())

    def speaks(self, claim: Likelihood, last: int) -> None:
        """Of numbers as ``claim`` takes them: the link, and how many of them an element or a vector has."""
        self.link, self.several = claim.link, len(claim.head) > 1
        self.tail = (last,) if claim.event else (len(claim.head),) if self.several else ()
        self.event = (last,) if claim.event else ()

    @contextmanager
    def stepping(self, seed: int) -> Iterator[None]:
        """While a training step is computed; ``seed`` is for what a model draws beside its ``eps``."""
        yield

    def target(self, x: Tensor) -> Tensor:
        """What the likelihood is of, from rows (B, D): the same, or (B, D/K, K) where its events are vectors of K."""
        return x.reshape(len(x), -1, *self.event) if self.event else x

    def forward(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor]:
        """The raw output at z = mean + s * eps, and the KL of each latent, (B, K): from rows (B, D) and draws (B, K).

        Deterministic, z is the mean, and no latent has a KL: (B, 0).
        """
        mean, log_variance = self.encode(x)
        if log_variance is None:
            return self.decode(mean).float(), mean.new_empty(len(mean), 0)
        raw = self.decode(mean + (log_variance / 2).exp() * eps)
        return raw.float(), divergence(mean.float(), log_variance.float())

    def encode(self, x: Tensor) -> tuple[Tensor, Any]:
        """Mean and log variance of q(z | x), (B, K) each, from ``x`` of (B, D); no log variance (None) where there is no q."""
        known = (x - self.mean).div_(self.scale)
        code = self.encoder(known if self.kind == "linear" else near(known))
        return (code, None) if self.deterministic else code.chunk(2, dim=1)

    def decode(self, z: Tensor) -> Tensor:
        """The raw output from ``z`` of (B, K): (B, D), or with a last axis for vectors or for several numbers an element."""
        raw = self.shift.addcmul(self.spread, self.decoder(z))
        return raw.reshape(len(z), -1, *self.tail) if self.tail else raw

    def outputs(self, x: Tensor) -> Tensor:
        """What the likelihood takes at the mean of q(z | x): mu, or with a last axis for several numbers an element."""
        return self.link.inverse(self.decode(self.encode(x)[0]))

    def mu(self, z: Tensor) -> Tensor:
        """mu of ``z``, (B, D)."""
        made = self.link.inverse(self.decode(z))
        return (made[..., 0] if self.several else made).flatten(1)

    def reconstruct(self, x: Tensor) -> Tensor:
        """mu at the mean of q(z | x), (B, D): what people look at."""
        return self.mu(self.encode(x)[0])

    @classmethod
    def load(
        cls, tensors: dict[str, Tensor], claim: Likelihood, last: int = 1, model: str = "mlp", **how: Any
    ) -> Vae:  # fmt: skip
        """The saved network: an mlp's sizes are those of its weights, others are told theirs (latent, hidden, shape).

        Raises ReconError, naming the first that does not fit.
        """
        try:
            if model == "mlp":
                hidden, elements = tensors["encoder.0.weight"].shape
                how = {"hidden": hidden, "latent": tensors["decoder.0.weight"].shape[1]}
            elements = len(tensors["mean"])
            vae = cls(torch.zeros(1, elements), claim, generator=torch.Generator(), last=last, model=model, **how)
        except (KeyError, ValueError, IndexError, RuntimeError) as error:
            raise ReconError("These are no weights of recon's network.", "Train it again with recon train.") from error
        fill(vae, tensors, f"{claim.name} on {elements} elements")
        return vae


def fill(model: nn.Module, tensors: dict[str, Tensor], what: str) -> None:
    """Give a model of ``what`` its saved weights. Raises ReconError, naming the first that does not fit."""
    for name, own in model.state_dict().items():
        found = spell(tensors[name].shape) if name in tensors else "missing"
        if found != spell(own.shape):
            raise ReconError(
                f"{name} is {found}, and must be {spell(own.shape)} for {what}.",
                "These weights are of another model: train it again with recon train.",
            )
    model.load_state_dict({name: tensors[name] for name in model.state_dict()})


def typical(claim: Likelihood, x: Tensor) -> Tensor:
    """What a decoder would give that knows nothing: the mean of ``x`` (N, ...) over samples, inside the domain.

    And variances, or their roots, where it gives a noise too.
    """
    mean = wide(x).mean(dim=0)
    if claim.head:
        level = (wide(x) - mean).square().mean(dim=0)
        level = level if claim.head[1] == "var" else level.sqrt()
        return torch.stack([mean, level.clamp(min=1e-3 * level.mean().item() or 1.0)], dim=-1)
    return inside(mean, claim.domain)[0]


def near(x: Tensor) -> Tensor:
    """Rows (B, D) of root mean square about 1 as they are; one more than ``FAR`` times as long drawn near, by a logarithm.

    An encoder extrapolates, and e to the log variance that it gives for a row far from all others is beyond any number.
    """
    x = x.clamp(-BEYOND, BEYOND)
    length = x.square().mean(dim=1, keepdim=True).sqrt() / FAR
    return x * ((1 + length.clamp(min=1).log()) / length.clamp(min=1))


def draw(mean: Tensor, log_variance: Tensor, generator: Generator) -> Tensor:
    """One sample of z for each row, reparameterised: mean + s * eps."""
    eps = torch.randn(mean.shape, generator=generator, device=mean.device)
    return mean + (log_variance / 2).exp() * eps


def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(m, s^2) || N(0, 1)) = (m^2 + s^2 - 1 - log s^2)/2 in nats, for each latent of each row.

    Kingma and Welling (2014), appendix B.
    """
    return (mean.square() + log_variance.expm1() - log_variance) / 2
