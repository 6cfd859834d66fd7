"""Which source a word of the command line names."""

from __future__ import annotations

import os
from pathlib import Path

from recon_cli import registry
from recon_cli.errors import ReconError, unknown
from recon_cli.sources._base import Source
from recon_cli.sources._files import path_and_choice


def names() -> list[str]:
    """Return the name of every source there is, by listing this folder."""
    return registry.names("sources")


def parse(word: str, seed: int = 0) -> Source:
    """Return the source that a word of the command line names. Raises ReconError naming the nearest."""
    name, _, argument = word.partition(":")
    if name not in names():
        path, argument = path_and_choice(word)[0], word
        name = next((name for name in names() if kind(name).reads(path)), "")
        if not path or (not name and not Path(path).suffix and not os.path.exists(path)):
            raise unknown("file or source", word, names())
        if not name:
            raise ReconError(
                f"recon cannot tell what {path!r} holds from its ending.",
                f"Known sources: {', '.join(names())}; name one in front, as in npy:{path}.",
            )
    return kind(name)(argument, seed)


def kind(name: str) -> type[Source]:
    """Return the class of a source by its name."""
    return registry.only_class(registry.load("sources", name), Source)
