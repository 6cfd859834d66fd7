"""Is it true? The identity proved in symbols, every step machine-checked.

``proof`` derives slope, offset and gap from density and loss; ``steps``, ``practice`` and ``counterexamples`` are the steps
of a derivation, ``proving`` puts them together; ``notation`` spells formulas. The only folder that knows sympy.
``code`` runs torch, in a process beside this one; ``mass``, ``roundings`` and ``trial`` compare formulas and code at random
points. ``records`` is what is kept of a derivation, and ``table`` shows what was proved before of sources that are still the
same: neither they nor this file import sympy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon_cli.derivation.proving import Derivation, Derived, catalogue, derive

__all__ = ["Derivation", "Derived", "catalogue", "derive"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(import_module("recon_cli.derivation.proving"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
