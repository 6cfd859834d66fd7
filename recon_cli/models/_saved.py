"""What the config.json of a run says, each entry of the kind that it must be; and which run it is."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

from recon_cli.errors import ReconError, nearest
from recon_cli.models._options import NOTHING, TRUTH, WORD, Domain, choice, domains, either, number, whole
from recon_cli.report import version as own_version
from recon_cli.runtime.checksums import KEY, digest

MOVES = ("version", "data", "device", "epochs", "checkpoint_every", "tensorboard")  # and the run is the same
POSITIVE = number("a positive number", lambda value: value > 0)
SIZES = Domain(
    "a list of whole numbers from 1 up",
    lambda value: isinstance(value, (list, tuple)) and 0 < len(value) <= 64 and all(map(whole(1).contains, value)),
)
FIELDS: dict[str, Domain] = {
    "version": WORD, "data": WORD, "shape": SIZES, "rows": WORD,
    "binarize": either(NOTHING, choice("threshold", "sample")), "scale": either(NOTHING, POSITIVE),
    "likelihood": WORD, "sigma": either(NOTHING, POSITIVE, WORD), "noise": choice("fixed", "learned", "optimal", "per-element"),
    **dict(domains()), "device": WORD,
}  # fmt: skip
# Of a user's own code; and how its data were read, where that was not as usual.
SOMETIMES: dict[str, Domain] = {
    "model_sha256": either(NOTHING, WORD), "likelihood_sha256": either(NOTHING, WORD),
    "offset": number("a number", math.isfinite), "size": SIZES,
    "colour": choice("grey", "rgb"),
    "skip_bad": TRUTH, "columns": WORD, "drop": WORD, "missing": choice("nan"), "mask": WORD, "weights": WORD,
}  # fmt: skip


def of_this_version(folder: str, config: object) -> None:
    """Raise ReconError where a run says that it is of another version of recon."""
    version = config.get("version") if isinstance(config, dict) else None
    if isinstance(version, str) and version.split(".")[:2] != own_version().split(".")[:2]:
        raise ReconError(
            f"{folder} is a run of recon {_spelled(version)[1:-1]}, and this is {own_version()}, whose network may be another.",
            "Train it again, or use that version of recon.",
        )


def checked(path: str, config: object) -> dict[str, Any]:
    """Return the entries of ``config``, read from the file at ``path``, its checksum left out.

    Raises ReconError for the first that is missing, that recon does not know, or whose value no run can have.
    """
    hint = "Train it again, or give another run."
    if not isinstance(config, dict):
        raise ReconError(f"{path} holds {_spelled(config)}, and not the settings of a run by their names.", hint)
    entries: dict[str, Any] = {name: value for name, value in config.items() if name != KEY}
    known = {**FIELDS, **SOMETIMES}
    for name in FIELDS:
        if name not in entries:
            raise ReconError(f"{path} says no {name}, so it is none that recon train writes.", hint)
    for name, value in entries.items():
        if name not in known:
            meant = nearest(name, known)
            also = f" Did it say {meant!r}?" if meant else ""
            raise ReconError(f"{path} has {_spelled(name)}, which no run of recon {own_version()} has.", f"{hint}{also}")
        if not known[name].contains(value):
            raise ReconError(f"{path} has {name} {_spelled(value)}, which must be {known[name].words}.", hint)
    return {**entries, "shape": tuple(entries["shape"])}


def identity(config: Mapping[str, Any]) -> str:
    """Return which run it is: a digest of what can never change in it."""
    lasting = {name: value for name, value in config.items() if name not in (*MOVES, KEY)}
    return digest(json.dumps(lasting, sort_keys=True).encode())


def _spelled(value: Any) -> str:
    """Return a value as JSON has it, its beginning where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
