"""Reconstructions of a model that recon has trained."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli import likelihoods
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import wide
from recon_cli.models import saved
from recon_cli.runtime import checksums
from recon_cli.runtime.files import read_file, unreadable
from recon_cli.runtime.lazy_arrays import blocks
from recon_cli.sources._base import Array, Reconstruction
from recon_cli.sources._files import path_and_choice
from recon_cli.sources._split import split

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.models.regression import Regression
    from recon_cli.models.vae import Vae

CHUNK = 1 << 20  # elements that go through the network at once
DRAWS = 16  # of each sample's code
FILES = ("config.json", "model.safetensors")


class Run(Reconstruction):
    """``run:FOLDER``: of the samples that the run held out, what its model makes of them, at the mean of q(z | x).

    Of all samples with ``run:FOLDER:all``, where the run held none out, and of data other than those it was trained on.
    Where the model gives several numbers an element (mean and variance), these are its own; so is a variance for each
    element (``--sigma per-element``). Of a regression it is the columns that it predicts, and its predictions of them.
    Raises ReconError for a
    folder that ``recon train`` did not leave, of another version of recon, or of samples of another shape.
    """

    takes = "the folder of a run"
    by_ending = False

    @cached_property
    def folder(self) -> str:
        """The run's folder, with what it needs inside."""
        folder, which = path_and_choice(self.argument)
        if which not in ("", "all"):
            raise unknown("choice of a run's samples", which, ["all"])
        return folder_of(folder, *FILES)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The run's own settings."""
        return settings_of(self.folder)

    @property
    def regresses(self) -> bool:
        """Whether it predicts some columns from others."""
        return bool(self.config["model"] == "regression")

    @property
    def model(self) -> Vae | Regression:
        """The trained network."""
        return self._trained[0]

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood that it was trained under, with the noise that it learned."""
        return self._trained[1]

    @cached_property
    def _trained(self) -> tuple[Vae | Regression, Likelihood]:
        path = os.path.join(self.folder, FILES[1])
        content = read_file(path, Path(path).read_bytes)
        try:
            return self._load(content)
        except MemoryError:
            raise
        except ReconError as error:
            raise ReconError(f"{path} cannot be used: {error.message}", error.hint) from error
        except Exception as error:
            raise unreadable(path, error) from error

    def _load(self, content: bytes) -> tuple[Vae | Regression, Likelihood]:
        from safetensors.torch import load

        from recon_cli.models import user
        from recon_cli.models.regression import Regression
        from recon_cli.models.vae import Vae

        config, shape = self.config, self.config["shape"]
        tensors, about = load(checksums.verify(content)), checksums.metadata(content)
        if about.get("run") != saved.identity(config):
            raise ValueError("it is the model of another run than that of config.json")
        noise = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith("likelihood.")}
        likelihood = dataclasses.replace(self._likelihood(about["likelihood"]), **noise)
        sizes = {"latent": config["latent"], "hidden": config["hidden"], "deterministic": config["beta"] == 0}
        model: Vae | Regression
        if self.regresses:
            model = Regression.load(tensors, likelihood)
        elif "model_sha256" in config:
            user.allowed(config["model"], config["model_sha256"], self.trust, self.folder)
            model = user.load(tensors, likelihood, config["model"], shape=shape, **sizes)
        else:
            model = Vae.load(tensors, likelihood, shape[-1], shape=shape, model=config["model"], **sizes)
        elements = len(model.mean) + (len(model.y_columns) if isinstance(model, Regression) else 0)
        if elements != math.prod(shape):
            raise ValueError(f"its network is of {elements} elements, and config.json says {spell(shape)}")
        return model, likelihood

    def _likelihood(self, word: str) -> Likelihood:
        """Return the likelihood that the model's file names by ``word``, its noise not yet read."""
        from recon_cli.likelihoods import _by_decoder

        by_decoder = word.endswith(_by_decoder.SUFFIX)  # whose name is none of the registry's
        likelihood = likelihoods.parse(self.config["likelihood"] if by_decoder else word)
        likelihood = _by_decoder.by_network(likelihood) if by_decoder else likelihood
        if likelihood.head and (floor := self.config.get("sigma_floor")):
            likelihood = _by_decoder.floored(likelihood, floor)
        return likelihood

    def divide(self, values: Array, fraction: float, word: str) -> tuple[Array, Array]:
        del fraction  # the run's own counts
        config, shape = self.config, values.shape[1:] or (1,)
        if shape != config["shape"]:
            raise ReconError(
                f"{self.folder} reconstructs samples of shape {spell(config['shape'])}, and those of {word} have {spell(shape)}.",
                f"It was trained on {config['data']}: --data {' '.join([config['data'], *self._options('--')])}.",
            )
        if path_and_choice(self.argument)[1] or word != config["data"] or not config["holdout"]:
            return values, values
        return split(values, config["holdout"], word)

    def _options(self, dashes: str = "") -> list[str]:
        """Return how the data were read, as on the command line."""
        named = ((name, self.config.get(name)) for name in ("scale", "binarize"))
        return [f"{dashes}{name} {value}" for name, value in named if value is not None]

    def _rows(self, x: Array) -> Iterator[Tensor]:
        """Return ``x`` as the network takes it, some samples at a time."""
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

        if not self.regresses:
            return x
        y: Array = self.model.target(torch.from_numpy(x)).numpy()
        return y.reshape(len(x), *y.shape[2:]) if self.model.event else y

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        del train, seed  # the model is trained, and nothing is drawn
        outputs = self._outputs(x)
        return (outputs[..., 0] if self.model.several else outputs).reshape(self.target(x).shape)

    def variance(self, x: Array, train: Array, seed: int) -> Array:
        shape = self.target(x).shape
        if self.model.several and self.likelihood.head[1] == "var":
            return self._outputs(x)[..., 1].reshape(shape)
        sigma = self.likelihood.parameters.get("sigma", 1.0)
        if not isinstance(sigma, (int, float)) and sigma.ndim:  # a Gaussian's, of each element
            return sigma.square().numpy().reshape(shape[1:])
        return super().variance(x, train, seed)

    def rate_and_distortion(self, x: Array, seed: int) -> tuple[float, float] | None:
        """Return KL(q(z | x) || p(z)) and the squared error of mu(z) with z from q(z | x), means over the samples.

        None of a regression, which codes nothing, and of a deterministic autoencoder, whose code without noise costs no
        finite number of nats.
        """
        import torch

        from recon_cli.models.vae import Vae, divergence, draw

        model = self.model
        if not isinstance(model, Vae) or model.deterministic:
            return None
        generator, rate, error = torch.Generator().manual_seed(seed), 0.0, 0.0
        with torch.no_grad():
            for rows in self._rows(x):
                code = model.encode(rows)
                rate += wide(divergence(*code)).sum().item()
                for _ in range(DRAWS):
                    error += wide(model.mu(draw(*code, generator)) - rows).square().sum().item()
        return rate / len(x), error / DRAWS / len(x)

    def describe(self) -> str:
        kind = "regression" if self.regresses else "autoencoder" if self.config["beta"] == 0 else "VAE"
        return f"the {kind} of {self.folder}, {self.likelihood}, trained on {' '.join([self.config['data'], *self._options()])}"


def folder_of(folder: str, *needed: str) -> str:
    """Return ``folder``, if it holds what is ``needed``. Raises ReconError, naming the first thing that is missing."""
    if not os.path.isdir(folder):
        what = "is a file" if os.path.exists(folder) else "does not exist"
        raise ReconError(
            f"run takes the folder of a run, and {folder!r} {what}.", f"recon train leaves one; recon looked in {Path.cwd()}."
        )
    for name in needed:
        if not os.path.exists(os.path.join(folder, name)):
            raise ReconError(
                f"{folder} holds no {name}, so it is no run, or one that did not end.",
                f"Give a folder that recon train has left: it holds {' and '.join(needed)}.",
            )
    return folder


def settings_of(folder: str) -> dict[str, Any]:
    """Return what a run was asked to do, from its config.json.

    Raises ReconError where recon did not write it so, or another version of it did.
    """
    path = os.path.join(folder_of(folder, FILES[0]), FILES[0])
    content = read_file(path, Path(path).read_bytes)
    try:
        config = checksums.parse_json(content)
        saved.of_this_version(folder, config)
        checksums.verify(content)
    except ValueError as error:
        raise ReconError(
            f"{path} cannot be read: {error}.", "Give back the file that recon wrote; or train again, or give another run."
        ) from error
    return saved.checked(path, config)
