"""Which source a word of the command line names."""

from __future__ import annotations

import os
from pathlib import Path

from recon_cli import registry
from recon_cli.errors import ReconError, unknown
from recon_cli.sources import _foreign as foreign
from recon_cli.sources._base import Source
from recon_cli.sources._files import path_and_choice
from recon_cli.sources._reading import ReadOptions


def names() -> list[str]:
    """Return the name of every source there is, by listing this folder."""
    return registry.names("sources")


def parse(word: str, seed: int = 0, reading: ReadOptions | None = None) -> Source:
    """Return the source that a word of the command line names, to be read so. Raises ReconError naming the nearest."""
    name, _, argument = word.partition(":")
    if name not in names():
        path, argument = path_and_choice(word)[0], word
        name = reader(path)
        if not path or (not name and not Path(path).suffix and not os.path.exists(path)):
            raise unknown("file or source", word, names())
        if not name:
            raise foreign.refusal(path)
    reading = reading or ReadOptions()
    if reading.choice:
        if argument and path_and_choice(argument)[1]:
            raise ReconError(f"{word} names columns, and {reading.choice} are asked for too.", "Name them once.")
        argument = f"{argument}:{reading.choice}"
    source = kind(name)(argument, seed)
    reading.check(word, source.heeds)
    source.reading = reading
    return source


def reader(path: str) -> str:
    """Return the name of the source that reads a path: the first that knows its ending, or else what it begins with."""
    if foreign.known(path):
        return ""
    by_ending = (name for name in names() if kind(name).reads(path))
    return next(by_ending, "") or foreign.by_content(path)


def kind(name: str) -> type[Source]:
    """Return the class of a source by its name."""
    return registry.only_class(registry.load("sources", name), Source)
