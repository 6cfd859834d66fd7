"""Which columns of a table a model predicts: by name, by number, or as the y of a pair (x, y)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy
import torch
from numpy.typing import ArrayLike

from recon_cli.errors import ReconError, unknown
from recon_cli.identity.arrays import as_array
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.parametric import as_whole
from recon_cli.identity.regions import ONE_HOT
from recon_cli.identity.shapes import spell
from recon_cli.runtime.lazy_arrays import Array

MOST = 1 << 28  # numbers of one-hot vectors


class Labelled(NamedTuple):
    """Samples, which of their columns are targets, the columns' names, and what was made of labels, in words."""

    values: Array
    targets: tuple[int, ...]
    columns: tuple[str, ...]
    about: str


def joined(data: tuple[ArrayLike, ...], asked: str | None) -> tuple[Array, str]:
    """Return (x, y) as the columns of one table, and which of them are y. Raises ReconError where they are not as many."""
    if len(data) != 2:
        raise ReconError(f"A regression takes (x, y), and this tuple has {len(data)} parts.", "Give two arrays, or one table.")
    parts = [as_array(part, "data") for part in data]
    x, y = (part.reshape(len(part), -1) if part.ndim else part.reshape(1, 1) for part in parts)
    if len(x) != len(y):
        raise ReconError(f"x has {len(x):,} samples and y {len(y):,}.", "Give a y for every x, and an x for every y.")
    targets = ",".join(str(x.shape[1] + column) for column in range(y.shape[1]))
    if asked not in (None, targets):
        raise ReconError(f"y is given, and --target {asked} too.", "Leave target out, or give one table and no y.")
    return numpy.concatenate([x, y], axis=1), targets


def targets_of(asked: str | None, names: Sequence[str], values: Array, word: str) -> tuple[int, ...]:
    """Return the places of the columns ``asked`` for, by name or counted from 0; of the last one, where none is.

    Raises ReconError for rows that are no table, for a column that is not there, and where no x is left or all are alike.
    """
    if values.ndim != 2 or values.shape[1] < 2:
        raise ReconError(
            f"A regression takes a table, x and y in each row; {word} has samples of shape {spell(values.shape[1:] or (1,))}.",
            "Give at least two columns, as in --data table.csv --target price.",
        )
    count = values.shape[1]
    words = [str(count - 1)] if asked is None else [asked] if asked in names else [part.strip() for part in asked.split(",")]
    places = [place(one, names, count, word) for one in words]
    if len({*places}) < len(places):
        raise ReconError(f"--target {asked} names a column twice.", "Name each column of y once.")
    if len(places) == count:
        raise ReconError(f"--target takes all {count} columns of {word}, and leaves no x.", "Leave a column to predict from.")
    x = numpy.delete(values, places, axis=1)
    if len(x) > 1 and (x == x[0]).all():
        raise ReconError(
            f"All {len(values):,} rows of {word} have the same x.", "Give rows that differ in what is predicted from."
        )
    return tuple(places)


def one_hot(likelihood: Likelihood, values: Array, targets: tuple[int, ...], columns: Sequence[str], word: str) -> Labelled:
    """Return samples with one-hot vectors where a likelihood of classes meets whole-number labels: of the targets, or of all.

    What it was is said. Raises ReconError for more classes than there can be outputs for.
    """
    labels = values[:, targets[0]] if len(targets) == 1 else values if not targets else None
    same = Labelled(values, targets, (*columns,), "")
    if likelihood.support != ONE_HOT or labels is None or not ((labels >= 0) & (labels % 1 == 0)).all():
        return same
    if not targets and labels.ndim > 1 and ONE_HOT.holds(torch.from_numpy(labels)):
        return same
    classes = int(labels.max()) + 1
    if classes < 2 or classes * labels.size > MOST:
        raise ReconError(
            f"{word} has labels up to {classes - 1:,}, and there would be {classes * labels.size:,} numbers of classes.",
            "Give labels 0, 1, 2, ..., of at least two classes.",
        )
    hot = (labels[..., None] == numpy.arange(classes)).astype(numpy.float32)
    about = f"{word}: its labels 0 to {classes - 1} are one-hot vectors of {classes} classes."
    if not targets:
        return Labelled(hot[:, 0] if labels.shape[1:] == (1,) else hot, (), (), about)
    rest = [at for at in range(values.shape[1]) if at not in targets]
    names = [columns[at] for at in rest] + [f"{columns[targets[0]]}={k}" for k in range(classes)] if columns else []
    return Labelled(
        numpy.concatenate([values[:, rest], hot], axis=1), tuple(range(len(rest), len(rest) + classes)), (*names,), about
    )


def place(one: str, names: Sequence[str], count: int, word: str) -> int:
    """Return where a column is, by its name or counted from 0."""
    if one in names:
        return [*names].index(one)
    if (number := as_whole(one)) is not None and number < count:
        return number
    if not names:
        raise ReconError(
            f"{word} has no column {one!r}: it has {count}, and no names for them.", f"Count them from 0 to {count - 1}."
        )
    raise unknown(f"column of {word}", one, names)


def labels(names: Sequence[str], count: int) -> list[str]:
    """Return a name for every column: its own, or its number."""
    return [*names] or [f"column {at}" for at in range(count)]


def others(names: Sequence[str], targets: Sequence[int]) -> str:
    """Return the names of the columns that are not predicted, in words."""
    return listed([name for at, name in enumerate(names) if at not in targets])


def listed(names: Sequence[str]) -> str:
    """Return a few names, and how many more there are."""
    few = ", ".join(names[:4])
    return few if len(names) <= 4 else f"{few} and {len(names) - 4} more"
