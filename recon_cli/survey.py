"""What is in a source: its shape, its range, and which likelihoods its values allow."""

from __future__ import annotations

import numpy

from recon_cli import likelihoods, sources
from recon_cli.lattices import levels
from recon_cli.likelihood import as_tensor
from recon_cli.losses import spell
from recon_cli.pictures import gallery
from recon_cli.report import Column, Report, Table

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


def survey(word: str, scale: float | str | None = None) -> Report:
    """Describe a source named as on the command line: a row for it, a row for each likelihood, a few samples as a picture.

    A likelihood with a design (trials, levels) is asked with the one that the data have; ``outside`` is the share of
    values (of vectors, where it takes vectors) that it does not take. ``distinct`` and ``levels`` are of the first
    million elements; None where they are too many, or none.
    """
    import torch

    values, about = sources.samples(sources.parse(word), word, scale)
    x = as_tensor(values)
    few = torch.unique(x.flatten()[:SOME])
    row = {
        "source": word,
        "samples": len(values),
        "shape": spell(values.shape[1:]),
        "dtype": str(values.dtype),
        "least": x.min().item(),
        "most": x.max().item(),
        "mean": float(values.mean(dtype=numpy.float64)),
        "distinct": len(few) if len(few) <= 1 << 16 else None,
        "levels": levels(few) if len(few) <= 1 << 16 else None,
    }
    rows = []
    for name in likelihoods.names():
        side = likelihoods.find(name).designed(x)
        design = ",".join(f"{key}={float(value):g}" for key, value in side.design.items())
        outside = (~side.support.contains(x)).double().mean().item()
        named = f"{name}:{design}" if design else name
        rows.append({"likelihood": named, "allowed": not outside, "takes": str(side.support), "outside": outside or None})
    good = [each["likelihood"] for each in rows if each["allowed"]]
    shown = gallery("the first samples", [("x", values.reshape(len(values), -1))], values.shape[1:] or (1,))
    tables = [Table("source", SOURCE, [row]), Table("likelihoods", ALLOWED, rows)]
    verdict = f"{len(good)} of {len(rows)} likelihoods allow these data"
    return Report("data", tables, [f"{about}."], verdict, True, [shown] if shown else [])
