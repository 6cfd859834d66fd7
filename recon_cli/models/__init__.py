"""What can be trained: a model a file, its name the file's."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon_cli import registry
from recon_cli.errors import unknown
from recon_cli.models._options import is_own

if TYPE_CHECKING:
    from recon_cli.models._base import Model


def kind(word: str) -> type[Model]:
    """Return the class of models of that name; for ``FILE.py:Class`` and its like the one that trains a user's own module.

    Raises ReconError for a name that there is not.
    """
    from recon_cli.models._base import Model
    from recon_cli.models._user import Own

    if is_own(word):
        return Own
    if word not in registry.names("models"):
        raise unknown("model", word, registry.names("models"))
    return registry.only_class(registry.load("models", word), Model)
