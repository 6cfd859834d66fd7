"""Reconstructions of a model that was trained elsewhere: a class of one's own, and its weights."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.arrays import as_array
from recon_cli.likelihoods import parse
from recon_cli.models._options import Options
from recon_cli.runtime.lazy_arrays import Array
from recon_cli.sources._files import path_and_choice
from recon_cli.sources._trained import Trained
from recon_cli.sources._weights import put

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.models._base import Model


class TrainedModel(Trained):
    """``model:FILE.py:Class:WEIGHTS``: what a module of your own makes of the data, at the mean of q(z | x), without training.

    The class has ``encode`` and ``decode``, as for ``recon train --model``; the weights are a .safetensors file, or what
    torch saved of its state_dict. Without them, the module as its class makes it. Its raw output is taken for the mean.
    """

    takes = "FILE.py:Class:WEIGHTS"
    by_ending = False

    @cached_property
    def named(self) -> tuple[str, str]:
        """What names the class, and the path of the weights."""
        path, rest = path_and_choice(self.argument)
        name, _, weights = rest.partition(":")
        if not name:
            hint = f"Write model:{path or 'FILE.py'}:Class:W.safetensors."
            raise ReconError(f"model takes a class of a file, and {self.argument!r} names none.", hint)
        return f"{path}:{name}", weights

    @cached_property
    def folder(self) -> str:
        return self.named[0]

    @cached_property
    def network(self) -> tuple[Model, Likelihood]:
        import torch

        from recon_cli.models._base import Task
        from recon_cli.models._user import Own, own_sizes

        word, weights = self.named
        options, likelihood = Options(model=word, beta=1.0, **own_sizes(word)), parse("gaussian")
        shape = self.samples.shape[1:] or (1,)
        rows = torch.from_numpy(self.samples[:64].reshape(min(64, len(self.samples)), -1).astype(numpy.float32))
        model = Own.begin(Task(rows, likelihood, shape, (), word), options)
        if weights:
            put(model.module, weights, word)
        return model, likelihood

    def divide(self, values: Array, fraction: float, word: str) -> tuple[Array, Array]:
        del fraction, word
        self.samples = as_array(values, "the data")
        return self.samples, self.samples

    def describe(self) -> str:
        word, weights = self.named
        return f"{word}, with the weights of {weights}" if weights else f"{word}, as its class makes it"
