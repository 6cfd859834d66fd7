"""What the config.json of a run says, each entry of the kind that it must be; and which run it is."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from recon_cli.errors import ReconError, nearest
from recon_cli.report import version as own_version
from recon_cli.runtime.checksums import KEY, digest

Rule = tuple[str, Callable[[Any], bool]]  # what a value must be, in words, and whether one is
MOST = 1 << 63
MOVES = ("version", "data", "device", "epochs", "checkpoint_every", "tensorboard")  # and the run is the same


def whole(least: int, most: float = MOST) -> Rule:
    """A whole number in that range."""
    upper = "" if most == MOST else f" to {most:,}"
    said = f"a whole number from {least}{upper or ' up'}"
    return said, lambda value: isinstance(value, int) and not isinstance(value, bool) and least <= value < most + 1


def number(said: str, inside: Callable[[float], bool]) -> Rule:
    """A finite number, ``inside`` a range."""

    def right(value: Any) -> bool:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e308 and inside(value)

    return said, right


def choice(*words: str) -> Rule:
    """One of some words."""
    return " or ".join(words), lambda value: value in words


def either(*rules: Rule) -> Rule:
    """One of some kinds."""
    return " or ".join(said for said, _ in rules), lambda value: any(right(value) for _, right in rules)


NOTHING: Rule = ("null", lambda value: value is None)
WORD: Rule = ("a word", lambda value: isinstance(value, str) and len(value) > 0 and "\0" not in value)
TRUTH: Rule = ("true or false", lambda value: isinstance(value, bool))
POSITIVE = number("a positive number", lambda value: value > 0)
FROM_0 = number("a number from 0 up", lambda value: value >= 0)
FRACTION = number("a number from 0 to below 1", lambda value: 0 <= value < 1)
SIZES: Rule = (
    "a list of whole numbers from 1 up",
    lambda value: isinstance(value, (list, tuple)) and 0 < len(value) <= 64 and all(map(whole(1)[1], value)),
)
WIDEST = 1 << 32  # of a layer: more is no network

FIELDS: dict[str, Rule] = {
    "version": WORD, "data": WORD, "shape": SIZES, "rows": WORD,
    "binarize": either(NOTHING, choice("threshold", "sample")), "scale": either(NOTHING, POSITIVE),
    "likelihood": WORD, "sigma": either(NOTHING, POSITIVE, WORD), "noise": choice("fixed", "learned", "optimal", "per-element"),
    "holdout": FRACTION, "epochs": whole(1), "batch_size": whole(1), "latent": whole(0, WIDEST), "hidden": whole(0, WIDEST),
    "lr": POSITIVE, "optimizer": WORD, "beta": FROM_0, "seed": whole(0), "model": WORD, "target": either(NOTHING, WORD),
    "loss": either(NOTHING, WORD), "exact": TRUTH, "validation": FRACTION, "patience": whole(0), "schedule": WORD,
    "momentum": either(NOTHING, FROM_0), "nesterov": TRUTH, "weight_decay": either(NOTHING, FROM_0),
    "eps": either(NOTHING, FROM_0), "sigma_floor": FROM_0, "checkpoint_every": FROM_0, "compile": TRUTH, "bf16": TRUTH,
    "iwae": whole(0), "tensorboard": TRUTH, "kl_warmup": whole(0), "free_bits": FROM_0, "device": WORD,
}  # fmt: skip
SOMETIMES: dict[str, Rule] = {"model_sha256": either(NOTHING, WORD)}  # of a user's own model


def of_this_version(folder: str, found: Any) -> None:
    """Raise ReconError where a run says that it is of another version of recon."""
    version = found.get("version") if isinstance(found, dict) else None
    if isinstance(version, str) and version.split(".")[:2] != own_version().split(".")[:2]:
        raise ReconError(
            f"{folder} is a run of recon {_shown(version)[1:-1]}, and this is {own_version()}, whose network may be another.",
            "Train it again, or use that version of recon.",
        )


def checked(path: str, found: Any) -> dict[str, Any]:
    """The entries of ``found``, read from the file at ``path``, its checksum left out.

    Raises ReconError for the first that is missing, that recon does not know, or whose value no run can have.
    """
    hint = "Train it again, or give another run."
    if not isinstance(found, dict):
        raise ReconError(f"{path} holds {_shown(found)}, and not the settings of a run by their names.", hint)
    found, known = {name: value for name, value in found.items() if name != KEY}, {**FIELDS, **SOMETIMES}
    for name in FIELDS:
        if name not in found:
            raise ReconError(f"{path} says no {name}, so it is none that recon train writes.", hint)
    for name, value in found.items():
        if name not in known:
            meant = nearest(name, known)
            also = f" Did it say {meant!r}?" if meant else ""
            raise ReconError(f"{path} has {_shown(name)}, which no run of recon {own_version()} has.", f"{hint}{also}")
        said, right = known[name]
        if not right(value):
            raise ReconError(f"{path} has {name} {_shown(value)}, which must be {said}.", hint)
    return {**found, "shape": tuple(found["shape"])}


def identity(config: Mapping[str, Any]) -> str:
    """Which run it is: a digest of what can never change in it."""
    kept = {name: value for name, value in config.items() if name not in (*MOVES, KEY)}
    return digest(json.dumps(kept, sort_keys=True).encode())


def _shown(value: Any) -> str:
    """A value as JSON has it, its beginning where it is long."""
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
