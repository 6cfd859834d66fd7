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
from recon_cli.sources._base import Array, Reconstruction
from recon_cli.sources._files import divided
from recon_cli.sources._split import split

if TYPE_CHECKING:
    from torch import Tensor

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

    @classmethod
    def reads(cls, path: str) -> bool:
        return False

    @cached_property
    def folder(self) -> str:
        """The run's folder, with what it needs inside."""
        folder, which = divided(self.argument)
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
        return self.config["model"] == "regression"

    @cached_property
    def model(self) -> Vae | Regression:
        """The trained network."""
        from safetensors.torch import load as unpacked

        from recon_cli.likelihoods import _by_decoder
        from recon_cli.models import user
        from recon_cli.models.regression import Regression
        from recon_cli.models.vae import Vae

        path = os.path.join(self.folder, FILES[1])

        def load() -> Vae | Regression:
            tensors, about = unpacked(checksums.verify(content)), checksums.metadata(content)
            if about.get("run") != saved.identity(self.config):
                raise ValueError("it is the model of another run than that of config.json")
            word = about["likelihood"]
            other = word.endswith(_by_decoder.SUFFIX)  # whose name is none of the registry's
            self.claim = likelihoods.parse(self.config["likelihood"] if other else word)
            self.claim = _by_decoder.by_network(self.claim) if other else self.claim
            if self.claim.head and (floor := self.config.get("sigma_floor")):
                self.claim = _by_decoder.floored(self.claim, floor)
            how = {name: self.config[name] for name in ("latent", "hidden", "shape", "model")}
            how["deterministic"] = self.config["beta"] == 0
            each = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith("likelihood.")}
            self.claim = dataclasses.replace(self.claim, **each)
            if self.regresses:
                found: Any = Regression.load(tensors, self.claim)
            elif "model_sha256" in self.config:
                word, checksum = how.pop("model"), self.config["model_sha256"]
                user.allowed(word, checksum, self.trust, self.folder)
                found = user.load(tensors, self.claim, word, **how)
            else:
                found = Vae.load(tensors, self.claim, self.config["shape"][-1], **how)
            elements = len(found.mean) + (len(found.y_columns) if self.regresses else 0)
            if elements != math.prod(self.config["shape"]):
                raise ValueError(f"its network is of {elements} elements, and config.json says {spell(self.config['shape'])}")
            return found

        content = read_file(path, Path(path).read_bytes)
        try:
            return load()
        except MemoryError:
            raise
        except ReconError as error:
            raise ReconError(f"{path} cannot be used: {error.message}", error.hint) from error
        except Exception as error:
            raise unreadable(path, error) from error

    def divide(self, values: Array, fraction: float, word: str) -> tuple[Array, Array]:
        mine, shape = self.config, values.shape[1:] or (1,)
        if shape != mine["shape"]:
            how = "".join(f" --{name} {mine[name]}" for name in ("scale", "binarize") if mine.get(name) is not None)
            raise ReconError(
                f"{self.folder} reconstructs samples of shape {spell(mine['shape'])}, and those of {word} have {spell(shape)}.",
                f"It was trained on {mine['data']}: --data {mine['data']}{how}.",
            )
        if divided(self.argument)[1] or word != mine["data"] or not mine["holdout"]:
            return values, values
        return split(values, mine["holdout"], word)

    def _rows(self, x: Array) -> Iterator[Tensor]:
        """``x`` as the network takes it, some samples at a time."""
        import torch

        flat, most = x.reshape(len(x), -1), max(1, CHUNK // max(1, x[0].size))
        return (torch.from_numpy(flat[i : i + most].astype(numpy.float32)) for i in range(0, len(x), most))

    def _outputs(self, x: Array) -> Array:
        """What the model gives for ``x``, (N, D, ...)."""
        import torch

        with torch.no_grad():
            made = torch.cat([self.model.outputs(rows) for rows in self._rows(x)]).numpy()
        if not numpy.isfinite(made).all():
            raise ReconError(
                f"The model of {self.folder} makes values of these samples that are not finite.",
                "Train it again, or scale the data.",
            )
        return made

    def target(self, x: Array) -> Array:
        import torch

        if not self.regresses:
            return x
        y = self.model.target(torch.from_numpy(x)).numpy()
        return y.reshape(len(x), *y.shape[2:]) if self.model.event else y

    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        made = self._outputs(x)
        return (made[..., 0] if self.model.several else made).reshape(self.target(x).shape)

    def variance(self, x: Array, train: Array, seed: int) -> Array:
        shape = self.target(x).shape
        if self.model.several and self.claim.head[1] == "var":
            return self._outputs(x)[..., 1].reshape(shape)
        sigma = self.claim.parameters.get("sigma")
        if getattr(sigma, "ndim", 0):  # a Gaussian's, of each element
            return sigma.square().numpy().reshape(shape[1:])  # type: ignore[union-attr]
        return super().variance(x, train, seed)

    def rate_and_distortion(self, x: Array, seed: int) -> tuple[float, float] | None:
        """KL(q(z | x) || p(z)) and the squared error of mu(z) with z from q(z | x), means over the samples.

        None of a regression, which codes nothing, and of a deterministic autoencoder, whose code without noise costs no
        finite number of nats.
        """
        if self.regresses or self.model.deterministic:
            return None
        import torch

        from recon_cli.models.vae import divergence, draw

        generator, rate, error = torch.Generator().manual_seed(seed), 0.0, 0.0
        with torch.no_grad():
            for rows in self._rows(x):
                code = self.model.encode(rows)
                rate += wide(divergence(*code)).sum().item()
                for _ in range(DRAWS):
                    error += wide(self.model.mu(draw(*code, generator)) - rows).square().sum().item()
        return rate / len(x), error / DRAWS / len(x)

    def describe(self) -> str:
        how = [f"{name} {self.config[name]}" for name in ("scale", "binarize") if self.config.get(name) is not None]
        kind = "regression" if self.regresses else "autoencoder" if self.model.deterministic else "VAE"
        return f"the {kind} of {self.folder}, {self.claim}, trained on {' '.join([self.config['data'], *how])}"


def folder_of(folder: str, *needed: str) -> str:
    """The same, if it is a folder that holds what is ``needed``. Raises ReconError, naming the first that is missing."""
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
    """What a run was asked to do, from its config.json. Raises ReconError where recon did not write it so, or another version."""
    path = os.path.join(folder_of(folder, FILES[0]), FILES[0])

    content = read_file(path, Path(path).read_bytes)
    try:
        found = checksums.parse_json(content)
        saved.of_this_version(folder, found)
        checksums.verify(content)
    except ValueError as error:
        raise ReconError(
            f"{path} cannot be read: {error}.", "Give back the file that recon wrote; or train again, or give another run."
        ) from error
    return saved.checked(path, found)
