"""What is in a source: its shape, its range, and which likelihoods its values allow."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy

from recon_cli import likelihoods, sources
from recon_cli.identity.shapes import spell
from recon_cli.identity.tensors import as_tensor
from recon_cli.likelihoods._grey_levels import levels
from recon_cli.report import Column, Report, Table
from recon_cli.runtime.images import MOST, gallery
from recon_cli.runtime.lazy_arrays import Lazy
from recon_cli.runtime.torch_state import in_default_state

SOME = 1 << 20  # elements looked at for how many values differ
SOURCE = (
    Column("source", "source", "*"),
    Column("samples", "samples", ""),
    Column("shape", "shape of one", ""),
    Column("dtype", "type", ""),
    Column("least", "least", ""),
    Column("most", "most", ""),
    Column("mean", "mean", ""),
    Column("distinct", "different values", ""),
    Column("levels", "levels k/(n - 1)", ""),
)
ALLOWED = (
    Column("likelihood", "likelihood", "*"),
    Column("allowed", "ok"),
    Column("takes", "takes"),
    Column("outside", "outside", None),
)


@in_default_state
def survey(word: str, scale: float | None = None, progress: Callable[[int, str], None] | None = None) -> Report:
    """Describe a source named as on the command line: a row for it, a row for each likelihood, a few samples as a picture.

    A likelihood with a design (trials, levels) is asked with the one that the data have; ``outside`` is the share of
    values (of vectors, where it takes vectors) that it does not take. ``distinct``, ``levels`` and the design are those
    of a million evenly spread values where the data lie in a large file, else ``distinct`` and ``levels`` of the first
    million; None where they are too many, or none.
    """
    import torch

    source = sources.parse(word)
    values, about = sources.samples(source, word, scale)
    large = isinstance(values, Lazy)
    some = values.spread(SOME) if large else values
    few = torch.unique(as_tensor(some).flatten()[:SOME])
    sides = [likelihoods.find(name).designed(as_tensor(some)) for name in likelihoods.names()]
    least, most, mean, outside, done = math.inf, -math.inf, 0.0, [0.0] * len(sides), 0
    for block in values.blocks(SOME) if large else pieces(values):
        x = as_tensor(block)
        least, most = min(least, x.min().item()), max(most, x.max().item())
        part = x.double().sum().item() / values.size
        mean += part if math.isfinite(part) else (x.double() / values.size).sum().item()
        beyond = ((~side.support.contains(x)).double().mean().item() for side in sides)
        outside = [sum_ + share * x.numel() / values.size for sum_, share in zip(outside, beyond, strict=True)]
        done += x.numel()
        (progress or (lambda done, words: None))(100 * done // values.size, word)
    row = {
        "source": word,
        "samples": len(values),
        "shape": spell(values.shape[1:]),
        "dtype": str(values.dtype),
        "least": least,
        "most": most,
        "mean": mean,
        "distinct": len(few) if len(few) <= 1 << 16 else None,
        "levels": levels(few) if len(few) <= 1 << 16 else None,
    }
    rows = []
    for side, share in zip(sides, outside, strict=True):
        design = ",".join(f"{key}={float(value):g}" for key, value in side.design.items())
        named = f"{side.name}:{design}" if design else side.name
        rows.append({"likelihood": named, "allowed": not share, "takes": str(side.support), "outside": share or None})
    good = [each["likelihood"] for each in rows if each["allowed"]]
    each = math.prod(values.shape[1:])
    shown = (
        gallery("the first samples", [("x", values[:MOST].reshape(-1, each))], values.shape[1:] or (1,)) if each <= SOME else None
    )
    tables = [Table("source", SOURCE, [row]), Table("likelihoods", ALLOWED, rows)]
    verdict = f"{len(good)} of {len(rows)} likelihoods allow these data"
    return Report("data", tables, [f"{about}.", *source.remarks], verdict, True, [shown] if shown else [])


def pieces(values: numpy.ndarray) -> list[numpy.ndarray]:
    """The same numbers, some at a time, vectors along the last axis whole: temporaries of all of them would fill the memory."""
    if values.size <= SOME or values.ndim < 2:
        return [values]
    vectors = values.reshape(-1, values.shape[-1])
    return numpy.array_split(vectors, min(len(vectors), -(-values.size // SOME)))
