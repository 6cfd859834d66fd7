"""What every source is: an origin of samples, or of reconstructions of samples."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy

from recon_cli.errors import ReconError
from recon_cli.runtime.lazy_arrays import Array, Values
from recon_cli.sources._reading import ReadOptions
from recon_cli.sources._split import split

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood

__all__ = ["Array", "Reconstruction", "Source", "Values"]


class Source(ABC):
    """An origin of arrays whose first axis counts the samples. Each file of this folder defines one.

    argument
        what follows the name on the command line, or the path.
    seed
        of its random draws, if it makes any.
    takes
        what the argument may be; nothing where it is empty.
    by_ending
        whether a path whose ending is the source's name is one that it reads.
    levels
        whether its unsigned whole numbers are grey levels, so that the largest of their type (255) means 1.
    columns
        of a table that was read, the names of its columns, where they have any.
    without
        of such a table, what leaves a column out where its name follows (``x.csv:-``); None where they were chosen.
    remarks
        sentences on what was read and may be something else than it was taken for, each with a way out.
    labels
        whether labels are wanted among its columns, as what is predicted.
    reading
        how it is to be read; ``heeds`` are those names of it that only some readers know.
    partial
        whether NaN among its values is a value that is not there.
    weights
        once it was read, how much each of its values counts, where that was asked for: (N, ...), or (N,) where
        every value of a sample counts alike.
    """

    takes: ClassVar[str] = ""
    by_ending: ClassVar[bool] = True
    heeds: ClassVar[frozenset[str]] = frozenset()
    reading: ReadOptions = ReadOptions()
    partial: bool = False
    weights: Array | None = None
    levels: bool = False
    columns: Sequence[str] = ()
    without: str | None = ""
    remarks: tuple[str, ...] = ()
    labels: bool = False

    def __init__(self, argument: str = "", seed: int = 0) -> None:
        name = type(self).__module__.rpartition(".")[2]
        if argument and not self.takes:
            raise ReconError(f"{name} takes nothing after a colon; found {argument!r}.", f"Write {name}.")
        self.argument = argument
        self.seed = seed

    @classmethod
    def reads(cls, path: str) -> bool:
        """Whether it reads ``path`` without being named: where the ending is its name, unless overridden."""
        return bool(cls.takes) and cls.by_ending and Path(path).suffix[1:].lower() == cls.__module__.rpartition(".")[2]

    @abstractmethod
    def read(self) -> Values:
        """Return every sample, shape (N, ...), at once or when asked for. Raises ReconError for what cannot be read."""

    def beside(self, data: Source) -> Values:
        """Return its samples as the reconstructions of ``data``: those of :meth:`read`, unless overridden."""
        del data
        return self.read()

    def describe(self) -> str:
        """Return what it is, for people; empty where the path says all."""
        return ""


class Reconstruction(Source):
    """Stands in for a model: makes the means of samples that it has not seen.

    trust
        whether code that it brings may be run.
    """

    trust: bool = False

    @abstractmethod
    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        """Return the means of the ``target`` of ``x``, in its shape, after looking at ``train``, other samples of its kind."""

    @property
    def trained_under(self) -> Likelihood | None:
        """The likelihood that it was trained under, with the noise that training left; None, unless overridden."""
        return None

    def target(self, x: Array) -> Array:
        """Return what of the samples it makes the means of: the samples themselves, unless overridden."""
        return x

    def several(self, x: Array) -> Array | None:
        """Return what a decoder of several numbers for each element gives, along a last axis; None of any other."""
        del x
        return None

    def variance(self, x: Array, train: Array, seed: int) -> Array:
        """Return the variance of each element of ``x``: the mean squared residual over ``train``, unless overridden."""
        del x
        residuals = self.target(train).astype(numpy.float64) - self.reconstruct(train, train, seed)
        level: Array = (residuals**2).mean(axis=0)
        variance: Array = numpy.maximum(level, 1e-3 * level.mean() or 1.0)
        return variance

    def rate_and_distortion(self, x: Array, seed: int) -> tuple[float, float] | None:
        """Return what the codes of ``x`` cost in nats, and the squared error of what draws of them decode to, both per sample.

        None, unless overridden: where nothing is coded, or it costs no finite number of nats.
        """
        del x, seed
        return None

    def divide(self, values: Array, fraction: float, word: str) -> tuple[Array, Array]:
        """Return what to look at, and what to reconstruct: training and held-out samples, unless overridden."""
        return split(values, fraction, word)

    def read(self) -> Array:
        raise ReconError(
            f"{type(self).__module__.rpartition('.')[2]} makes reconstructions of data; it has none of its own.",
            "Give it to --recon, and to --data a file or 'digits'.",
        )
