"""recon: a reconstruction loss is a likelihood in disguise.

    -log p(x | mu)  =  slope * loss(x, mu)  +  offset(x)  +  gap(mu)

``derive`` proves that line, ``compare`` measures it on data, ``calibrate`` asks for which noise, ``audit``
says whose a loss is, ``train`` shows what it changes. Each returns a typed result with ``.report()``. Importing
this package imports neither torch nor sympy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from recon_cli.auditing import audit
    from recon_cli.calibration import calibrate
    from recon_cli.comparison import compare
    from recon_cli.derivation import derive
    from recon_cli.training import train

    __version__: str

ENGINES = {
    "derive": "derivation",
    "compare": "comparison",
    "calibrate": "calibration",
    "audit": "auditing",
    "train": "training",
}

__all__ = ["__version__", "audit", "calibrate", "compare", "derive", "train"]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from recon_cli.report import version

        return version()
    if name not in ENGINES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{ENGINES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *ENGINES, "__version__"})
