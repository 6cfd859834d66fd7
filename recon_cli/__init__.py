"""recon: a reconstruction loss is a likelihood in disguise.

    -log p(x | mu)  =  slope * loss(x, mu)  +  offset(x)  +  gap(mu)

``derive`` proves that line, ``compare`` measures it on data, ``calibrate`` asks for which noise, ``audit``
says whose a loss is, ``train`` shows what it changes. Each returns a typed result with ``.report()``. The likelihoods
are here too: ``recon_cli.Gaussian`` is ``recon_cli.likelihoods.gaussian.Gaussian``, imported when it is asked for.
Importing this package imports neither torch nor sympy.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from recon_cli import registry

if TYPE_CHECKING:
    from recon_cli.auditing import audit
    from recon_cli.auditing.reach.watch import watch
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

__all__ = ["__version__", "audit", "calibrate", "compare", "derive", "train", "watch"]


def _likelihoods() -> dict[str, str]:
    """Return the name of each likelihood by that of its class: ``student-t`` by ``StudentT``."""
    return {name.title().replace("-", ""): name for name in registry.names("likelihoods")}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from recon_cli.report import version

        return version()
    if name == "watch":
        return import_module(f"{__name__}.auditing.reach.watch").watch
    if name in ENGINES:
        return getattr(import_module(f"{__name__}.{ENGINES[name]}"), name)
    if likelihood := _likelihoods().get(name):
        return getattr(registry.load("likelihoods", likelihood), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *ENGINES, *_likelihoods(), "__version__", "watch"})
