"""Handwritten digits, downloaded once; and what other data sets of the same four files have in common with it."""

from __future__ import annotations

import os
from typing import ClassVar

from recon_cli.errors import unknown
from recon_cli.identity.shapes import spell
from recon_cli.sources._base import Source, Values
from recon_cli.sources._download import fetch
from recon_cli.sources.idx import Idx

FILES = {
    "test": "t10k-images-idx3-ubyte.gz",
    "train": "train-images-idx3-ubyte.gz",
    "test-labels": "t10k-labels-idx1-ubyte.gz",
    "train-labels": "train-labels-idx1-ubyte.gz",
}


class Mnist(Source):
    """``mnist``, ``mnist:test``: the 10,000 test images of MNIST, 28 x 28; ``mnist:train``, the 60,000 others; or their labels.

    Y. LeCun, C. Cortes and C. Burges (1998). ``mnist:train:URL`` takes the files from a mirror that has them in
    its folder URL; the environment's RECON_MIRROR names one that has a folder for each data set.

    homes
        where the four files are, the first that answers.
    checksums
        of each, sha256, as TensorFlow Datasets publishes them.
    """

    takes = "test, train, test-labels or train-labels"
    levels = True
    what: ClassVar[str] = "handwritten digits (LeCun, Cortes and Burges)"
    homes: ClassVar[tuple[str, ...]] = (
        "https://ossci-datasets.s3.amazonaws.com/mnist",
        "https://storage.googleapis.com/cvdf-datasets/mnist",
    )
    checksums: ClassVar[dict[str, str]] = {
        "test": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "train": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "test-labels": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
        "train-labels": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    }
    by_ending = False
    about = ""

    @classmethod
    def name(cls) -> str:
        """Return its name as on the command line."""
        return cls.__module__.rpartition(".")[2].replace("_", "-")

    def read(self) -> Values:
        part, _, mirror = self.argument.partition(":")
        if mirror.startswith("//"):
            part, mirror = "", self.argument
        part, name = part or "test", self.name()
        if part not in FILES:
            raise unknown(f"part of {name}", part, FILES)
        if not mirror and os.environ.get("RECON_MIRROR"):
            mirror = f"{os.environ['RECON_MIRROR'].rstrip('/')}/{name}"
        urls = [f"{home.rstrip('/')}/{FILES[part]}" for home in ([mirror] if mirror else self.homes)]
        file = Idx(str(fetch(urls, f"{name}/{FILES[part]}", f"sha256:{self.checksums[part]}")))
        values = file.read()
        self.levels = file.levels
        shape = f"{spell(values.shape[1:])} grey levels" if self.levels else "whole numbers"
        self.about = f"{name}: {len(values):,} {part.replace('-', ' ')} samples of {shape}, {self.what}"
        return values

    def describe(self) -> str:
        return self.about
