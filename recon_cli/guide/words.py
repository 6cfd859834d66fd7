"""What a word means: a term, a likelihood, a loss, a defect, a column of a table. ``recon explain`` and ``recon list``."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TypeVar

from recon_cli import likelihoods, registry
from recon_cli.auditing import defects
from recon_cli.errors import unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.report import Report, Table, column, columns_of

# Whose tables have columns that a program reads, by the command that prints them.
ROWS = {
    "compare": ("recon_cli.comparison.identity:Identity",),
    "calibrate": (
        "recon_cli.calibration.noise:FittedNoise",
        "recon_cli.numerics.spectrum:RateDistortion",
        "recon_cli.numerics.spectrum:Ppca",
        "recon_cli.calibration.result:ModelPoint",
        "recon_cli.calibration.weights:Weight",
    ),
    "audit": ("recon_cli.auditing.judgement:Row",),
    "train": ("recon_cli.training.figures:Epoch", "recon_cli.training.result:Result"),
    "data": ("recon_cli.sources._survey:Described", "recon_cli.sources._survey:Taken"),
}
GLOSSARY = Path(__file__).with_name("glossary.md")
# An entry of a docstring: names, and below them, further in, what they mean.
ENTRY = re.compile(r"^(?P<names>\w+(?:, \w+)*)\n(?P<meaning>(?:    .*\n?)+)", re.MULTILINE)


Numbered = TypeVar("Numbered", Likelihood, Loss)


@dataclass(frozen=True)
class Entry:
    """A word and what it is, in a few others."""

    word: str = column("word", "*", brief=True)
    kind: str = column("is a", None)
    meaning: str = column("is", brief=True)


def of_two(kind: type[Numbered]) -> Numbered:
    """Return a likelihood, or a loss, at its usual numbers; of a mixture that of two components, whose formula is short."""
    return kind(**{kind.sized_by: 2.0}) if kind.sized_by else kind()


def of_likelihoods() -> Iterator[Entry]:
    """Yield the likelihoods: the first line of each one's file."""
    for name in likelihoods.names():
        module = inspect.getmodule(likelihoods.find(name))
        yield Entry(name, "likelihood", first_line(module))


def of_losses() -> Iterator[Entry]:
    """Yield the losses by their names, with what else they are called."""
    for name, kind in likelihoods.losses().items():
        if name == kind.name:
            called = f" ({', '.join(kind.aliases)})" if kind.aliases else ""
            yield Entry(name, "loss", f"{of_two(kind).formula}{called}")


def of_defects() -> Iterator[Entry]:
    """Yield the defects that an audit finds."""
    for code in defects.codes():
        yield Entry(code, "defect", defects.explanation(code).split("\n")[0])


def of_files(folder: str) -> Callable[[], Iterator[Entry]]:
    """Return what yields the files of a registry, each with the first line of its docstring."""

    def each() -> Iterator[Entry]:
        for name in registry.names(folder):
            yield Entry(name, folder.rstrip("s"), first_line(registry.load(folder, name)))

    return each


KINDS: dict[str, Callable[[], Iterator[Entry]]] = {
    "likelihoods": of_likelihoods,
    "losses": of_losses,
    "defects": of_defects,
    "sources": of_files("sources"),
    "formats": of_files("formats"),
    "models": of_files("models"),
}


def listing(kind: str | None = None) -> Report:
    """Return the report of every word of a kind, or of how many there are of each. Raises ReconError for no kind."""
    if kind is None:
        rows = [Entry(name, "kind", ", ".join(word.word for word in words())) for name, words in KINDS.items()]
        return Report("list", [Table.of("words", Entry, rows)])
    if kind not in KINDS:
        raise unknown("kind", kind, KINDS)
    rows = [*KINDS[kind]()]
    return Report("list", [Table.of("words", Entry, rows)], verdict=f"{len(rows)} {kind}", holds=None)


def explanation(word: str) -> Report:
    """Return the report of what a word means, in every sense that it has. Raises ReconError, naming the nearest, for no word."""
    sentences = [*senses(word)]
    if not sentences:
        raise unknown("word", word, known())
    return Report("explain", [], sentences[1:], lead=sentences[:1])


def known() -> list[str]:
    """Return every word that can be explained."""
    every = [*likelihoods.names(), *likelihoods.losses(), *defects.codes(), *(key for key, _, _ in columns()), *terms()]
    return [*dict.fromkeys(every)]


def senses(word: str) -> Iterator[str]:
    """Yield paragraphs on a word: of the glossary, of a defect, a likelihood, a loss, columns."""
    for name, meaning in terms().items():
        if word == name or (len(name) > 1 and folded(word) == folded(name)):
            yield f"{name}: {meaning}."
    if word in defects.codes():
        title, *paragraphs = defects.explanation(word).split("\n\n")
        yield f"{word}: {title}"
        yield from (" ".join(text.split()) for text in paragraphs)
    if (family := family_of(word)) is not None:
        yield from of_likelihood(family, word)
    elif (loss := likelihoods.losses().get(word)) is not None:
        yield from of_loss(loss)
    for key, command, meaning in columns():
        if key == word:
            yield f"{word}, a column of recon {command}: {meaning}"


def family_of(word: str) -> type[Likelihood] | None:
    """Return the likelihood that a word is a name of; the words of losses are losses."""
    if word not in likelihoods.names() and word in likelihoods.losses():
        return None
    try:
        return likelihoods.find(word)
    except Exception:
        return None


def of_likelihood(kind: type[Likelihood], word: str) -> Iterator[str]:
    """Yield what a likelihood is: its density, its loss, its noise, where it may be used."""
    usual = of_two(kind)
    also = [*kind.aliases, *kind.special]
    taken = f" ({word} was taken for {kind.name})" if word != kind.name else ""
    yield f"{kind.name}: {first_line(inspect.getmodule(kind))}{taken}"
    yield f"Density p(x | mu) = {usual.density}, x in {usual.support}, mu in {usual.domain}, link {usual.link.name}."
    noise = [f"{name} ({field.metadata['meaning']})" for name, field in kind.__dataclass_fields__.items() if field.metadata]
    yield f"Parameters: {', '.join(noise)}." if noise else "It has no parameters of its own."
    yield f"Its loss is {usual.loss.name}, {usual.loss.formula}; in torch {usual.loss.torch or 'written by hand'}."
    yield from (f"{other.name} is taken for its loss and is not: {other.reason}." for other in kind.impostors)
    if usual.noise:
        best = kind.best_noise
        yield f"The best noise for given data is {best}." if best else "Its best noise is found numerically."
    yield f"Also called {', '.join(also)}." if also else ""
    yield f"recon derive {kind.name} proves it; recon compare --likelihood {kind.name} measures it."


def of_loss(kind: type[Loss]) -> Iterator[str]:
    """Yield what a loss is, and whose."""
    yield f"{kind.name}: {of_two(kind).formula}; in torch {kind().torch or 'written by hand'}."
    owners = [name for name in likelihoods.names() if kind in map(type, likelihoods.find(name)().losses)]
    yield f"It is the loss of {' and '.join(owners)}." if owners else f"It is no likelihood's loss: {kind().reason}."
    yield f"Also called {', '.join(kind.aliases)}." if kind.aliases else ""


def folded(word: str) -> str:
    """Return a term without the differences of spelling: ``posterior-collapse`` is ``Posterior collapse``."""
    return re.sub("[-_ ]+", " ", word).casefold()


@cache
def terms() -> dict[str, str]:
    """Return the terms of the glossary, each by all of its names, with what they mean."""
    rows = re.findall(r"^\| (?!term |---)(.+?) \| (.+?) \|$", GLOSSARY.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: meaning.replace("`", "") for names, meaning in rows for name in names.split(", ")}


def columns() -> Iterator[tuple[str, str, str]]:
    """Yield the columns of the tables of every command: the key, the command, what it means."""
    for command, places in ROWS.items():
        for place in places:
            module, _, name = place.partition(":")
            kind = getattr(importlib.import_module(module), name)
            meanings = {key: meaning for base in reversed(kind.__mro__[:-1]) for key, meaning in entries(base)}
            for each in columns_of(kind):
                unit = f"; {each.panel}" if each.panel and each.panel != "*" else ""
                yield each.key, command, meanings.get(each.key, f"{each.title}{unit}").rstrip(".") + "."


def entries(kind: type) -> Iterator[tuple[str, str]]:
    """Yield what the docstring of a class says of each of its fields."""
    for match in ENTRY.finditer(inspect.cleandoc(vars(kind).get("__doc__") or "")):
        for name in match["names"].split(", "):
            yield name, " ".join(match["meaning"].split())


def first_line(thing: object) -> str:
    """Return the first line of a docstring."""
    return (inspect.getdoc(thing) or "").partition("\n")[0]
