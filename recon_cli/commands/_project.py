"""The defaults that a project gives its commands: ``[tool.recon]`` and ``[tool.recon.COMMAND]`` of its pyproject.toml."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

from recon_cli.errors import ReconError, nearest

FILE = "pyproject.toml"
NEVER = ("help", "version", "output", "trust")  # what is of one call, and what nobody may say for the user


def project_file() -> Path | None:
    """Return the nearest pyproject.toml, in the working directory or above it."""
    here = Path.cwd()
    return next((folder / FILE for folder in (here, *here.parents) if (folder / FILE).is_file()), None)


def defaults(command: click.Command) -> tuple[dict[str, Any], list[str]]:
    """Return the defaults that the project gives a command, by its parameters' names, and a note that says which.

    Raises ReconError for a file that cannot be read, and for an entry that the command has no option for.
    """
    path = project_file()
    if path is None or b"tool.recon" not in (content := path.read_bytes()):
        return {}, []
    table = parsed(path, content).get("tool", {}).get("recon", {})
    options = {spelling: param for param in command.params for spelling in spellings(param)}
    chosen: dict[str, Any] = {}
    notes: list[str] = []
    for entries, is_own in ((table, False), (table.get(command.name or "", {}), True)):
        if not isinstance(entries, Mapping):
            raise ReconError(
                f"{path} has tool.recon.{command.name} = {entries!r}.", f"Write a table, [tool.recon.{command.name}]."
            )
        for name, value in entries.items():
            param = options.get(name.replace("_", "-"))
            if param is not None and not isinstance(value, Mapping):
                chosen[param.name or ""] = as_words(value, param)
                notes.append(f"{name} = {value}")
            elif is_own:
                meant = nearest(name, options)
                raise ReconError(
                    f"{path}: recon {command.name} has no option {name!r}.",
                    f"Did you mean {meant!r}?" if meant else "Take it out.",
                )
    return chosen, [f"From {path.name}: {', '.join(notes)}."] if notes else []


def parsed(path: Path, content: bytes) -> Mapping[str, Any]:
    """Return what a TOML file says. Raises ReconError where it is none."""
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    try:
        return tomllib.loads(content.decode("utf-8"))
    except ValueError as error:
        raise ReconError(f"{path} cannot be read: {error}.", "Its [tool.recon] gives options their defaults.") from error


def spellings(param: click.Parameter) -> Iterator[str]:
    """Yield how an option may be named: as on the command line, without its dashes."""
    if isinstance(param, click.Option) and param.name not in NEVER:
        yield from (word.lstrip("-") for word in param.opts if word.startswith("--"))


def as_words(value: Any, param: click.Parameter) -> Any:
    """Return a value as click takes a default: words, that go through what the command line's do; truths stay."""
    several = isinstance(param, click.Option) and param.multiple
    if isinstance(value, list):
        return [str(item) for item in value] if several else ",".join(map(str, value))
    if isinstance(value, bool):
        return value
    return [str(value)] if several else str(value)
