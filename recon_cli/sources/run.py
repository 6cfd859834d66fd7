"""Reconstructions of a model that recon has trained."""

from __future__ import annotations

import math
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recon_cli import likelihoods, models
from recon_cli.errors import ReconError, unknown
from recon_cli.identity.shapes import spell
from recon_cli.models import _references as references
from recon_cli.models import _saved as saved
from recon_cli.models._options import is_own
from recon_cli.runtime import checksums
from recon_cli.runtime.files import read_file, unreadable
from recon_cli.runtime.lazy_arrays import Array
from recon_cli.sources._files import path_and_choice
from recon_cli.sources._split import split
from recon_cli.sources._trained import Trained

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.models._base import Model


FILES = ("config.json", "model.safetensors")


class Run(Trained):
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

    @cached_property
    def kind(self) -> type[Model]:
        """The class of its model."""
        return models.kind(self.config["model"])

    @cached_property
    def network(self) -> tuple[Model, Likelihood]:
        """The trained network and its likelihood, from the file that holds both."""
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

    @property
    def trained_under(self) -> Likelihood | None:
        """The run's likelihood; None where every element has a noise of its own, which no other data have."""
        likelihood = self.likelihood
        return likelihood if all(isinstance(value, (int, float)) for value in likelihood.parameters.values()) else None

    @property
    def is_supervised(self) -> bool:
        return self.kind.supervised

    def _load(self, content: bytes) -> tuple[Model, Likelihood]:
        from safetensors.torch import load

        from recon_cli.likelihoods import _by_decoder

        config = self.config
        tensors, about = load(checksums.verify(content)), checksums.metadata(content)
        if about.get("run") != saved.identity(config):
            raise ValueError("it is the model of another run than that of config.json")
        word = about["likelihood"]
        for own in (word, config["likelihood"]):
            if likelihoods.is_own(own):
                name, checksum = likelihoods.parts(own)[0], config.get("likelihood_sha256")
                references.check_trust(name, checksum, self.trust, self.folder, "likelihood")
        if word.endswith(_by_decoder.SUFFIX):  # whose name is none of the registry's
            likelihood = _by_decoder.by_network(likelihoods.parse(config["likelihood"]))
        else:
            likelihood = likelihoods.parse(word)
        if likelihood.head and (floor := config.get("sigma_floor")):
            likelihood = _by_decoder.floored(likelihood, floor)
        numbers = {name.partition(".")[2]: value for name, value in tensors.items() if name.startswith("likelihood.")}
        likelihood = type(likelihood)(**{**likelihood.parameters, **numbers}) if numbers else likelihood
        if is_own(config["model"]):
            references.check_trust(config["model"], config.get("model_sha256"), self.trust, self.folder)
        model = self.kind.from_saved(tensors, likelihood, config)
        if model.elements != math.prod(config["shape"]):
            raise ValueError(f"its network is of {model.elements} elements, and config.json says {spell(config['shape'])}")
        return model, likelihood

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

    def describe(self) -> str:
        data = " ".join([self.config["data"], *self._options()])
        return f"the {self.model.noun} of {self.folder}, {self.likelihood}, trained on {data}"


def folder_of(folder: str, *needed: str) -> str:
    """Return the same, if it is a folder that holds what is ``needed``. Raises ReconError, naming the first that is missing."""
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

    Raises ReconError where recon did not write it so, or another version did.
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
