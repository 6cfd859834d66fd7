"""What can be wrong with a loss: one defect a file, whose name is its code.

Each file says in its docstring what it is, what comes of it and what mends it (``recon explain CODE`` shows that), how grave
it is (``GRAVITY``, one of ``GRAVITIES``), and ``find(subject)`` yields it with its evidence. The evidence is measured already:
no defect calls the loss.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

from recon_cli import registry
from recon_cli.errors import unknown

if TYPE_CHECKING:
    from recon_cli.auditing.defects._subject import Findings, Subject

FOLDER = "auditing/defects"
# no likelihood of independent elements; wrong whatever the weights; wrong somewhere; moves with the sizes; no reason to fail
GRAVITIES = ("no-likelihood", "wrong", "spoiling", "moving", "noted")


class Defect(Protocol):
    """A file of this folder."""

    GRAVITY: str

    def find(self, subject: Subject) -> Findings:
        """Yield what is wrong with one reconstruction, or with what is beside it."""
        raise NotImplementedError


def codes() -> list[str]:
    """Return the code of every defect there is, by listing this folder."""
    return registry.names(FOLDER)


@functools.cache
def load_all() -> dict[str, Defect]:
    """Return every defect by its code."""
    return {code: cast(Defect, registry.load(FOLDER, code)) for code in codes()}


def gravity(code: str) -> str:
    """Return how grave a defect is."""
    return load_all()[code].GRAVITY


def explanation(code: str) -> str:
    """Return what the file of a defect says of it, without importing it. Raises ReconError, naming the nearest, for no code."""
    if code not in codes():
        raise unknown("defect", code, codes())
    file = Path(__file__).parent / f"{code.replace('-', '_')}.py"
    return ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or ""
