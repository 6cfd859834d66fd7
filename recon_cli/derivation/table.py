"""The table of proofs: what depends on nothing of the call, proved by recon's tests, for as long as they are of this code.

An entry of ``proofs.json`` is of the sources that it was proved of, to the last bit, and of what is in memory: of another
likelihood, or of one that was changed, there is none, and it is proved when it is asked for. ``recon derive --prove`` proves all
anew. ``tests/derivation/test_derivation.py`` proves every entry, and with ``--update-readme`` writes the table.
"""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from recon_cli import derivation, likelihoods
from recon_cli.derivation import movable, records
from recon_cli.derivation.records import Record
from recon_cli.identity import losses
from recon_cli.identity.likelihood import Likelihood
from recon_cli.report import Formula, Report, installed
from recon_cli.runtime.checksums import digest

ROOT = Path(likelihoods.__file__).parents[1]
PLACE = Path(__file__).with_name("proofs.json")
ENGINE = (
    "derivation/*.py",
    "identity/*.py",
    "numerics/*.py",
    "likelihoods/_*.py",
)  # what every proof rests on; not this file, which shows it
WITH = ("sympy", "mpmath", "torch")  # libraries that prove and check
DEFAULT = ("gaussian", "bernoulli")
CLASSES = (
    Record, records.IdentityRow, records.StepRow, records.Listed, records.Impostor, Formula,
    movable.Density, movable.Number, movable.Misprint,
)  # fmt: skip


def report(choices: Sequence[Likelihood | type[Likelihood]], shape: Sequence[int] | None = None, anew: bool = False) -> Report:
    """Return the report of ``recon derive``: of the table where all is in it, else (and where ``anew``) proved now."""
    choices = [*dict.fromkeys(choices)]
    kinds = [choice if isinstance(choice, type) else None for choice in choices] or [*map(likelihoods.find, DEFAULT)]
    entries = [stored(kind) if kind else None for kind in kinds]
    before = [entry for entry in entries if entry]
    if len(before) == len(kinds) and shape is None and not anew:
        return records.report_of(before, [origin()])
    result = derivation.derive(*choices, shape=shape)
    now = [each.record for each in result.results]
    return records.report_of(now, [*result.notes, *beside(now, entries)] if anew else result.notes)


def catalogue(anew: bool = False) -> Report:
    """Return the report of ``recon derive --list``, of the table where all is in it."""
    kinds = [*map(likelihoods.find, likelihoods.names())]
    entries = [stored(kind) for kind in kinds]
    before = [entry for entry in entries if entry]
    if len(before) == len(kinds) and not anew:
        return records.catalogue_of(before, [origin()])
    from recon_cli.derivation.proving import derived

    now = [each.record for each in derived(kinds)]
    return records.catalogue_of(now, [*beside(now, entries)] if anew else ())


def origin() -> str:
    """Return the note that says where proofs of the table come from."""
    return f"Proved by recon's tests, of this very code, with {versions(table()['with'])}; --prove proves it here and now."


def beside(now: Sequence[Record], entries: Sequence[Record | None]) -> Iterator[str]:
    """Yield notes on how proofs made anew compare with those of the table."""
    here = {name: installed(name) or "?" for name in WITH}
    pairs = [(one.identity.likelihood, one, before) for one, before in zip(now, entries, strict=True) if before]
    if alike := [name for name, one, before in pairs if records.verdicts(one) == records.verdicts(before)]:
        yield f"Proved here and now with {versions(here)}, as in the table of proofs: {', '.join(alike)}."
    if other := [name for name, *_ in pairs if name not in alike]:
        theirs = versions(table()["with"])
        yield f"Proved here and now with {versions(here)}, otherwise than in the table of proofs ({theirs}): {', '.join(other)}."


def versions(libraries: dict[str, str]) -> str:
    """Return names and versions of libraries as a list in words."""
    *most, last = (f"{name} {version}" for name, version in libraries.items())
    return f"{', '.join(most)} and {last}" if most else last


def stored(kind: type[Likelihood]) -> Record | None:
    """Return what the table has of a likelihood; None where it has nothing, or of another state of the code."""
    entry = table()["proofs"].get(kind.name) if is_of_registry(kind) else None
    return entry["record"] if entry and entry["of"] == state(kind) else None


def is_of_registry(kind: type[Likelihood]) -> bool:
    """Return whether a likelihood is one of recon's own."""
    return (
        kind.__module__.startswith(likelihoods.__name__)
        and kind.name in likelihoods.names()
        and likelihoods.find(kind.name) is kind
    )


@functools.cache
def table() -> dict[str, Any]:
    """Return the table: what it was proved ``with``, and ``proofs`` by likelihood; of no file an empty one."""
    try:
        content: dict[str, Any] = json.loads(PLACE.read_text(encoding="utf-8"), object_hook=revived)
    except (OSError, ValueError):
        return {"with": {}, "proofs": {}}
    return content


def revived(value: dict[str, Any]) -> Any:
    """Return the object of the dataclass that has fields of these names, its lists as tuples; any other dictionary as it is."""
    kind = next((kind for kind in CLASSES if {field.name for field in dataclasses.fields(kind)} == {*value}), None)
    return kind(**{name: as_tuple(part) for name, part in value.items()}) if kind else value


def as_tuple(value: Any) -> Any:
    """Return a list, and those in it, as tuples."""
    return tuple(map(as_tuple, value)) if isinstance(value, list) else value


def written(proofs: Sequence[Record]) -> str:
    """Return the table of these proofs as a file, a step a line."""
    entries = {
        each.identity.likelihood: {"of": state(likelihoods.find(each.identity.likelihood)), "record": dataclasses.asdict(each)}
        for each in proofs
    }
    return spread({"with": {name: installed(name) for name in WITH}, "proofs": entries}, 5) + "\n"


def spread(value: Any, levels: int) -> str:
    """Return a value as JSON, the parts of that many levels a line each."""
    if not levels or not isinstance(value, (dict, tuple)) or not value:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    if isinstance(value, tuple):
        return "[\n" + ",\n".join(spread(part, levels - 1) for part in value) + "]"
    return "{\n" + ",\n".join(f"{json.dumps(name)}: {spread(part, levels - 1)}" for name, part in value.items()) + "}"


def state(kind: type[Likelihood]) -> str:
    """Return a checksum of all that a likelihood's proof rests on: the files, and what its classes are in memory."""
    relaxed = [likelihoods.find(kind.relaxation)] if kind.relaxation else []
    own = [ROOT / "likelihoods" / f"{each.__module__.rpartition('.')[2]}.py" for each in (kind, *relaxed)]
    classes = [*kind.__mro__, *(each for one in relaxed for each in one.__mro__), *vars(losses).values()]
    memory = [in_memory(each) for each in classes if isinstance(each, type)]
    return digest(engine().encode(), *(file.read_bytes() for file in own), *(text.encode() for text in memory))


@functools.cache
def engine() -> str:
    """Return a checksum of the files that every proof rests on."""
    files = sorted(file for pattern in ENGINE for file in ROOT.glob(pattern) if file != Path(__file__))
    return digest(*(file.name.encode() + file.read_bytes() for file in files))


def in_memory(kind: type) -> str:
    """Return a class's texts and numbers, and where its functions come from: not those of its file where they were replaced."""
    parts = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    return f"{kind.__qualname__}: " + ", ".join(f"{name} = {spelled(value)}" for name, value in sorted(parts.items()))


def spelled(value: object) -> str:
    """Return what a member of a class is: of a function its module and name, else itself."""
    inner: Any = next((each for name in ("fget", "func", "method", "__func__") if (each := getattr(value, name, None))), value)
    if hasattr(inner, "__qualname__"):
        return f"{inner.__module__}.{inner.__qualname__}"
    text = repr(inner)
    return type(inner).__qualname__ if " at 0x" in text else text
