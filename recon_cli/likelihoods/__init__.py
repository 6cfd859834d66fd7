"""One noise model per file; the file's name is the name on the command line. Its loss is there too, or in ``losses``."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterable
from typing import Any

from recon_cli import registry
from recon_cli.errors import ReconError, nearest, unknown
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.likelihoods._columns import is_product, product

OWN = re.compile(r"((?:.+\.py|\w+(?:\.\w+)+):[A-Za-z_]\w*(?:\.\w+)*)(?::(.*))?", re.DOTALL)
GROUP = "recon.likelihoods"  # of entry points: a package's own likelihoods, by their names


def names() -> list[str]:
    """Return every likelihood there is, by listing this folder."""
    return registry.names("likelihoods")


def find(name: str) -> type[Likelihood]:
    """Return the class called ``name`` (``student-t``) or as people call it (``mse``), or the one of ``FILE.py:Class``.

    A name that an installed package has for one of its own (entry points of the group ``recon.likelihoods``) too. Raises
    ReconError naming the nearest.
    """
    if is_own(name):
        return _own(*_looked_up(name))
    spelled = name.strip().lower().replace("_", "-")
    if is_product(spelled):
        return product(spelled, find)
    if spelled not in names():
        if written := next((_special()[form] for form in forms(name) if form in _special()), None):
            raise ReconError(f"{name!r} is a likelihood at particular parameters.", f"Write {written}; any others after a comma.")
        spelled = next((meant for form in forms(name) if (meant := _called().get(form))), spelled)
        if spelled not in names() and (place := _installed().get(spelled)):
            return _own(*_looked_up(place))
        if spelled not in names() and (near := nearest(forms(name)[0], _called())):  # by what people call it as well
            every = ", ".join(names())
            raise ReconError(f"There is no likelihood named {name!r}.", f"Did you mean {_called()[near]!r}? Known: {every}.")
    return registry.only_class(registry.load("likelihoods", spelled), Likelihood)


def is_own(word: str) -> bool:
    """Return whether a word names a class of somebody's own: ``FILE.py:Class`` or ``package.module:Class``, and its numbers."""
    return OWN.fullmatch(word) is not None or word.endswith(".py")


def parts(word: str) -> tuple[str, str]:
    """Return the name of the class in a word, and its parameters."""
    match = OWN.fullmatch(word)
    name, _, parameters = (match[1], "", match[2] or "") if match else word.partition(":")
    return name, parameters


def provenance(likelihood: Likelihood) -> dict[str, str]:
    """Return what a run keeps of the file of somebody's own likelihood, so as to know whether it has changed: its SHA-256."""
    return {"likelihood_sha256": _looked_up(likelihood.word)[1]} if likelihood.word else {}


def _looked_up(word: str) -> tuple[str, str]:
    from recon_cli.runtime.user_classes import looked_up

    path, checksum = looked_up(word, "recon")
    place, _, name = word.rpartition(":")
    return (f"{path.resolve()}:{name}" if place.endswith(".py") else word), checksum


@functools.cache
def _own(word: str, checksum: str) -> type[Likelihood]:
    """Return the class of a word, the same object as long as its file is as it was; raise ReconError if it is no likelihood."""
    from recon_cli.runtime.user_classes import find

    del checksum
    value: Any = find(word, "recon")[0]
    kind = as_family_or_likelihood(value)
    if not isinstance(kind, type):
        raise _neither("likelihood", kind, "laplace:scale=0.2")
    kind.word = word
    return kind


@functools.cache
def _installed() -> dict[str, str]:
    """Return the names of likelihoods that installed packages have, and where: the entry points of ``recon.likelihoods``."""
    from importlib.metadata import entry_points

    return {entry.name: entry.value for entry in entry_points(group=GROUP)}


def forms(word: str) -> list[str]:
    """Return a word's forms: without capitals, hyphens, a library's folders and empty brackets; then without what adds nothing.

    That is ``mean`` in front, and behind it ``loss``, ``nll`` or ``distribution``.
    """
    path = word.strip().lower().removesuffix("()")
    plain = re.sub(r"[-_ ]", "", path.rpartition(".")[2] if re.fullmatch(r"[a-z_]\w*(\.[a-z_]\w*)+", path) else path)
    bare = plain.removesuffix("loss")
    shorter = [bare, bare.removesuffix("nll"), re.sub("^mean|distribution$", "", bare)]
    return [plain, *dict.fromkeys(form for form in shorter if form not in ("", plain))]


@functools.cache
def _special() -> dict[str, str]:
    """Return what people call a likelihood at particular parameters, in the plainest form, and how it is written."""
    families = [find(name) for name in names()]
    return {forms(word)[0]: f"{family.name}:{value}" for family in families for word, value in family.special.items()}


@functools.cache
def _called() -> dict[str, str]:
    """Return what people call each likelihood, in the plainest form, and its name: its own words, then those of its losses."""
    families = {name: find(name) for name in names()}
    called = {forms(word)[0]: name for name, family in families.items() for word in (name, *family.aliases)}
    for name, family in families.items():
        for loss in family().losses:
            for word in (loss.name, *loss.aliases):
                called.setdefault(forms(word)[0], name)
    return called


def interpretations(words: Iterable[object]) -> tuple[str, ...]:
    """Return what words were taken for, a sentence each, where they are no names of the registry; of objects nothing."""
    sentences = []
    for word in words:
        name = parts(word)[0] if isinstance(word, str) and not is_own(word) else ""
        if name and name not in _installed() and (meant := find(name).name) != name.strip().lower().replace("_", "-"):
            sentences.append(f"{name} was taken for {meant}.")
    return tuple(dict.fromkeys(sentences))


def parse(word: str) -> Likelihood:
    """Return the likelihood of the command line's spelling, ``laplace:scale=0.2``."""
    name, parameters = parts(word)
    return find(name).parse(parameters)


def as_family_or_likelihood(word: str | type[Likelihood] | Likelihood) -> type[Likelihood] | Likelihood:
    """Return the class that ``laplace`` names, or the object that ``laplace:scale=0.2`` is; what is either already stays."""
    if isinstance(word, type) and issubclass(word, Likelihood):
        return _stated(word)
    if isinstance(word, str) and not parts(word)[1]:
        return find(parts(word)[0])
    return as_likelihood(word)


def _stated(kind: type[Likelihood]) -> type[Likelihood]:
    """Return a class of somebody's own, if it says all that a likelihood has to say. Raises ReconError where it does not."""
    missing = sorted(kind.__abstractmethods__)
    if missing:
        raise ReconError(
            f"{kind.__qualname__} has no {', '.join(missing)}.",
            "A likelihood has density, loss, nll, slope and sample: see recon_cli/likelihoods/laplace.py.",
        )
    fields = {field.name: field for field in dataclasses.fields(kind)}
    loose = [name for name, value in vars(kind).items() if isinstance(value, dataclasses.Field) and name not in fields]
    if loose:
        raise ReconError(
            f"{kind.__qualname__}'s {loose[0]} is no field.",
            f"Write @dataclass(frozen=True) above the class, and {loose[0]}: float.",
        )
    plain = [name for name, field in fields.items() if "domain" not in field.metadata]
    if plain:
        raise ReconError(
            f"{kind.__qualname__}'s {plain[0]} does not say where it may lie.",
            f'Write {plain[0]}: float = parameter(1.0, "what it is").',
        )
    return kind


def as_likelihood(word: str | Likelihood) -> Likelihood:
    """Return a likelihood from its spelling, or as it is; raises ReconError for anything else."""
    likelihood = parse(word) if isinstance(word, str) else word
    if not isinstance(likelihood, Likelihood):
        raise _neither("likelihood", word, "laplace:scale=0.2")
    return likelihood


def as_loss(word: str | Loss | None) -> Loss | None:
    """Return a loss from its spelling, or as it is, or none; raises ReconError for anything else."""
    found = loss(word) if isinstance(word, str) else word
    if not isinstance(found, (Loss, type(None))):
        raise _neither("loss", word, "mse")
    return found


def with_totals(words: Iterable[str | Likelihood]) -> list[Likelihood]:
    """Return what is meant where every value has a total of its own: for binomial, and for nothing, the multinomial of pairs.

    Raises ReconError for another likelihood.
    """
    meant = []
    for one in map(as_likelihood, [*words] or ["multinomial"]):
        if one.name not in ("binomial", "multinomial"):
            raise ReconError(f"Totals are a binomial's, and {one.name} has none.", "Leave --totals out, or take binomial.")
        meant.append(as_likelihood("multinomial"))
    return meant


def _neither(kind: str, word: object, example: str) -> ReconError:
    if isinstance(word, type) and kind == "likelihood":
        return ReconError(
            f"{word.__qualname__} is no subclass of recon_cli.identity.likelihood.Likelihood.",
            "recon guide likelihoods shows how to write one.",
        )
    return ReconError(f"A {type(word).__name__} is no {kind}, and no name of one.", f"Write {example!r}, say, or give an object.")


@functools.cache
def losses() -> dict[str, type[Loss]]:
    """Return every loss that some likelihood claims, or that is taken for its own, by name and by alias."""
    classes = {type(loss) for name in names() for loss in (*find(name)().losses, *find(name).impostors)}
    return {word: one for one in sorted(classes, key=lambda one: one.name) for word in (one.name, *one.aliases)}


def loss(word: str) -> Loss:
    """Return the loss of the command line's spelling, ``mse`` or ``huber:delta=0.5``. Raises ReconError naming the nearest."""
    name, _, parameters = word.partition(":")
    classes = losses()
    plain = {forms(spelled)[0]: one for spelled, one in classes.items()}
    for form in forms(name):
        if form in plain:
            return plain[form].parse(parameters)
    likelihood = next((meant for form in forms(name) if (meant := _called().get(form))), None)
    if likelihood is None:
        raise unknown("loss", name, classes)
    return type(find(likelihood)().loss).parse(parameters)
