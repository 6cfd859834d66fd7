"""One noise model per file; the file's name is the name on the command line."""

from __future__ import annotations

from recon_cli import registry
from recon_cli.likelihood import Likelihood


def names() -> list[str]:
    """Every likelihood there is, by listing this folder."""
    return registry.names("likelihoods")


def find(name: str) -> type[Likelihood]:
    """The class called ``name`` (``student-t``). Raises ReconError naming the nearest."""
    return registry.only_class(registry.load("likelihoods", name.replace("_", "-")), Likelihood)


def parse(word: str) -> Likelihood:
    """From the command line's spelling, ``laplace:scale=0.2``, to the object."""
    name, _, parameters = word.partition(":")
    return find(name).parse(parameters)
