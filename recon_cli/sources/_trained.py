"""What reconstructions of trained networks have in common, wherever they were trained."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Array, blocks
from recon_cli.sources._base import Reconstruction

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.models._base import Model

CHUNK = 1 << 20  # elements that go through the network at once


class Trained(Reconstruction):
    """What a network makes of samples, at the mean of q(z | x)."""

    @property
    @abstractmethod
    def folder(self) -> str:
        """What it is called."""

    @property
    @abstractmethod
    def network(self) -> tuple[Model, Likelihood]:
        """The trained network, and the likelihood that it was trained under."""

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood that it was trained under, with its noise as training left it."""
        return self.network[1]

    @property
    def model(self) -> Model:
        """The trained network."""
        return self.network[0]

    @property
    def is_supervised(self) -> bool:
        """Whether it predicts some columns from the others."""
        return self.model.supervised

    def _rows(self, x: Array) -> Iterator[Tensor]:
        """Yield ``x`` as the network takes it, some samples at a time."""
        import torch

        return (torch.from_numpy(rows.astype(numpy.float32)) for rows in blocks(x.reshape(len(x), -1), CHUNK))

    def _outputs(self, x: Array) -> Array:
        """Return what the model gives for ``x``, (N, D, ...)."""
        import torch

        with torch.no_grad():
            outputs: Array = torch.cat([self.model.outputs(rows) for rows in self._rows(x)]).numpy()
        if not numpy.isfinite(outputs).all():
            raise ReconError(
                f"The model of {self.folder} makes values of these samples that are not finite.",
                "Train it again, or scale the data.",
            )
        return outputs

    def target(self, x: Array) -> Array:
        import torch

        if not self.is_supervised:
            return x
        y: Array = self.model.target(torch.from_numpy(x)).numpy()
        return y.reshape(len(x), *y.shape[2:]) if self.model.has_events else y

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        import torch

        del train, seed
        outputs = self._outputs(x)
        means: Array = self.model.centre(torch.from_numpy(outputs)).numpy()
        return means.reshape(self.target(x).shape)

    def several(self, x: Array) -> Array | None:
        return self._outputs(x).reshape(*self.target(x).shape, -1) if self.model.several else None

    def variance(self, x: Array, train: Array, seed: int) -> Array:
        import torch

        shape = self.target(x).shape
        if self.model.several and (moments := self.likelihood.moments(torch.from_numpy(self._outputs(x)))) is not None:
            own: Array = moments[1].numpy()
            return own.reshape(shape)
        sigma = self.likelihood.parameters.get("sigma")
        if isinstance(sigma, torch.Tensor) and sigma.ndim:  # a Gaussian's, of each element
            each: Array = sigma.square().numpy().reshape(shape[1:])
            return each
        return super().variance(x, train, seed)

    def rate_and_distortion(self, x: Array, seed: int) -> tuple[float, float] | None:
        """Return KL(q(z | x) || p(z)) and the squared error of mu(z) with z from q(z | x), means over the samples.

        None of a regression, which codes nothing, and of a deterministic autoencoder, whose code without noise costs no
        finite number of nats.
        """
        from recon_cli.models._vae import Vae, rate_and_distortion

        if not isinstance(self.model, Vae) or not self.model.has_kl:
            return None
        return rate_and_distortion(self.model, self._rows(x), seed)
