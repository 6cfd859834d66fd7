"""A folder is a registry: the name on the command line is the file's name.

``names`` lists a folder and imports nothing; ``load`` imports one file. Adding a likelihood, a
source, a format or a command is adding a file: there is no list to edit.
"""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache
from types import ModuleType

from recon_cli.errors import unknown

ROOT = __name__.rpartition(".")[0]


def names(folder: str) -> list[str]:
    """Return the names that ``folder`` (``likelihoods``, ``auditing/defects``) registers, sorted, as on the command line."""
    return [*_listed(tuple(f"{path}/{folder}" for path in importlib.import_module(ROOT).__path__))]


@cache
def _listed(paths: tuple[str, ...]) -> tuple[str, ...]:
    """Return the names in these folders, which are looked through once."""
    files = (file.name for file in pkgutil.iter_modules(paths))
    return tuple(sorted(name.replace("_", "-") for name in files if not name.startswith("_")))


def load(folder: str, name: str) -> ModuleType:
    """Import the file that registers ``name``. Raises ReconError, naming the nearest, if there is none."""
    registered = names(folder)
    if name not in registered:
        raise unknown(folder.rpartition("/")[2].rstrip("s"), name, registered)
    return importlib.import_module(f"{ROOT}.{folder.replace('/', '.')}.{name.replace('-', '_')}")


def only_class(module: ModuleType, base: type) -> type:
    """Return the one subclass of ``base`` that ``module`` defines."""
    classes: list[type] = [
        value
        for value in vars(module).values()
        if issubclass(type(value), type)  # isinstance is true of list[int] in Python 3.10, and it is no class
        if issubclass(value, base) and value.__module__ == module.__name__
    ]
    (subclass,) = classes
    return subclass
