"""One origin of data, or of reconstructions of data, per file.

On the command line a source is a path, whose ending says which file reads it (``x.npy``), or a name
with what it needs after a colon (``digits``, ``pca:16``, ``npy:x.dat``). What is chosen inside a file
follows another colon (``x.npz:images``).
"""

from __future__ import annotations

from recon_cli.sources._base import Array, Reconstruction, Source, Values
from recon_cli.sources._objects import Given, in_order, pairs, source_of
from recon_cli.sources._pair import Pair, pair, prepared, read, samples
from recon_cli.sources._reading import ReadKeywords, ReadOptions
from recon_cli.sources._registry import kind, names, parse
from recon_cli.sources._split import held_out, scattered, split
from recon_cli.sources._totals import shares
from recon_cli.sources._values import binarized, numbers, observed, scaled

__all__ = [
    "Array",
    "Given",
    "Pair",
    "ReadOptions",
    "ReadKeywords",
    "Reconstruction",
    "Source",
    "Values",
    "binarized",
    "held_out",
    "in_order",
    "kind",
    "names",
    "numbers",
    "observed",
    "pair",
    "pairs",
    "parse",
    "prepared",
    "read",
    "samples",
    "scaled",
    "scattered",
    "shares",
    "source_of",
    "split",
]
