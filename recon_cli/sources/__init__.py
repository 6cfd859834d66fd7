"""One origin of data, or of reconstructions of data, per file.

On the command line a source is a path, whose ending says which file reads it (``x.npy``), or a name
with what it needs after a colon (``digits``, ``pca:16``, ``npy:x.dat``). What is chosen inside a file
follows another colon (``x.npz:images``).
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ClassVar, TypeVar

import numpy

from recon_cli import looks, registry
from recon_cli.arrays import real
from recon_cli.errors import ReconError, listed, unknown
from recon_cli.losses import shapes_differ, spell
from recon_cli.stored import Lazy, Made, regular

Array = numpy.ndarray
WHOLE = 1 << 25  # bytes: a smaller file is read at once
FITTED = 1 << 32  # bytes: from a larger one no reconstruction is made
Found = TypeVar("Found")
# Types that torch has too, in the machine's own byte order; any other number becomes a float64.
TORCH_KNOWS = {name: numpy.dtype(name) for name in ("u1", "i1", "i2", "i4", "i8", "f2", "f4", "f8")}


class Source(ABC):
    """An origin of arrays whose first axis counts the samples. Each file here defines one.

    argument
        what follows the name on the command line, or the path.
    seed
        of its random draws, if it makes any.
    takes
        what the argument may be; nothing where it is empty.
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
    """

    takes: ClassVar[str] = ""
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
        return bool(cls.takes) and Path(path).suffix[1:].lower() == cls.__module__.rpartition(".")[2]

    @abstractmethod
    def read(self) -> Array | Lazy:
        """Every sample, shape (N, ...), at once or when asked for. Raises ReconError for what cannot be read."""

    def beside(self, data: Source) -> Array:
        """Its samples where they stand for the reconstructions of ``data``; the same, unless overridden."""
        return self.read()

    def describe(self) -> str:
        """What it is, for people; empty where the path says all."""
        return ""


class Given(Source):
    """Arrays that are at hand already: nothing is left to read."""

    def read(self) -> Array:
        raise ReconError("There is nothing to read.", "Give a source that has a name.")


class Reconstruction(Source):
    """Stands in for a model: makes the means of samples that it has not seen.

    trust
        whether code that it brings may be run.
    """

    trust: bool = False

    @abstractmethod
    def reconstruct(self, x: Array, train: Array, seed: int) -> Array:
        """The means of the ``target`` of ``x``, in its shape, after looking at ``train`` (other samples of the same kind)."""

    def target(self, x: Array) -> Array:
        """What of the samples it makes the means of: the samples themselves, unless overridden."""
        return x

    def variance(self, x: Array, train: Array, seed: int) -> Array:
        """The variance of each element of ``x``: the mean squared residual over ``train``, unless overridden."""
        off = self.target(train).astype(numpy.float64) - self.reconstruct(train, train, seed)
        level = (off**2).mean(axis=0)
        return numpy.maximum(level, 1e-3 * level.mean() or 1.0)

    def rate_and_distortion(self, x: Array, seed: int) -> tuple[float, float] | None:
        """What the codes of ``x`` cost in nats, and the squared error of what is made of draws of them, both per sample.

        None, unless overridden: where nothing is coded, or it costs no finite number of nats.
        """
        return None

    def divide(self, values: Array, fraction: float, word: str) -> tuple[Array, Array]:
        """What to look at, and what to reconstruct: training and held-out samples, unless overridden."""
        return split(values, fraction, word)

    def read(self) -> Array:
        raise ReconError(
            f"{type(self).__module__.rpartition('.')[2]} makes reconstructions of data; it has none of its own.",
            "Give it to --recon, and to --data a file or 'digits'.",
        )


@dataclass(frozen=True)
class Pair:
    """Data and their reconstructions, sample by sample.

    fitted
        whether recon made the means, so that it may keep them inside a likelihood's domain.
    variance
        where it made them, of each element: the model's own, or the mean squared residual over what it looked at.
    rate_and_distortion
        where it made them: see :class:`Reconstruction`.
    remarks
        what may be taken for something else in either: see :class:`Source`.
    """

    x: Array | Lazy
    mu: Array | Lazy
    fitted: bool
    described: str
    named: str
    variance: Callable[[], Array] | None = None
    rate_and_distortion: Callable[[], tuple[float, float] | None] = lambda: None
    remarks: tuple[str, ...] = ()

    def outputs(self, head: Sequence[str]) -> Array:
        """What a decoder of these outputs would have given: the means; and the variances, where it is to give them too."""
        if not head or self.variance is None:
            return self.mu
        return numpy.stack([self.mu, numpy.broadcast_to(self.variance(), self.mu.shape)], axis=-1)


def names() -> list[str]:
    """Every source there is, by listing this folder."""
    return registry.names("sources")


def parse(word: str, seed: int = 0) -> Source:
    """From the command line's spelling to the source. Raises ReconError naming the nearest."""
    name, _, argument = word.partition(":")
    if name not in names():
        path, argument = divided(word)[0], word
        name = next((name for name in names() if kind(name).reads(path)), "")
        if not path or (not name and not Path(path).suffix and not os.path.exists(path)):
            raise unknown("file or source", word, names())
        if not name:
            raise ReconError(
                f"recon cannot tell what {path!r} holds from its ending.",
                f"Known sources: {', '.join(names())}; name one in front, as in npy:{path}.",
            )
    return kind(name)(argument, seed)


def kind(name: str) -> type[Source]:
    """The class of a source by its name."""
    return registry.only_class(registry.load("sources", name), Source)


def divided(word: str) -> tuple[str, str]:
    """A path and what is chosen inside it, ``x.npz`` and ``images``. Paths may have colons: what exists decides."""
    ends = [len(word), *(i for i, letter in enumerate(word) if letter == ":" and i)]
    end = next((end for end in ends if os.path.exists(word[:end])), min(ends[1:] or ends))
    return word[:end], word[end + 1 :]


def choose(path: str, wanted: str, known: Sequence[str], what: str) -> str:
    """Which of the arrays in a file is ``wanted``; its name may be left out where it is the only one."""
    if wanted and wanted not in known:
        raise unknown(what, wanted, known)
    if wanted and known.count(wanted) > 1:
        raise ReconError(f"{path} holds {known.count(wanted)} {what}s named {wanted!r}.", "Give each a name of its own.")
    if not wanted and len(known) != 1:
        raise ReconError(
            f"{path} holds {len(known):,} {what}s: {listed(known) or 'none'}.",
            f"Choose one, as in {path}:{known[0]}." if known else "Give another file.",
        )
    return wanted or known[0]


def excluding(wanted: str, known: Sequence[str]) -> bool:
    """Whether columns are named to leave them out, ``-a,-b``."""
    return all(word.strip().startswith("-") and word.strip() not in known for word in wanted.split(","))


def picked(wanted: str, known: Sequence[str], place: Callable[[str], int]) -> list[int]:
    """Which columns are ``wanted``: ``a,b`` in that order, or ``-a,-b``, all but these; ``place`` finds one of them."""
    words = [word.strip() for word in wanted.split(",")]
    if excluding(wanted, known):
        out = {place(word[1:]) for word in words}
        if len(out) == len(known):
            raise ReconError(f"{wanted} leaves no column.", f"There are {len(known)}: {listed(known)}.")
        return [at for at in range(len(known)) if at not in out]
    return [place(word) for word in words]


def guarded(path: str, read: Callable[[], Found]) -> Found:
    """What ``read`` makes of a file, or a ReconError: on a damaged file libraries raise nearly anything."""
    try:
        if not regular(path):
            raise ValueError("it has no bytes")
        return read()
    except (MemoryError, ReconError):
        raise
    except FileNotFoundError:
        raise ReconError(f"There is no file {path!r}.", f"recon looked in {Path.cwd()}.") from None
    except Exception as error:
        raise unreadable(path, error) from error


def unreadable(path: str, error: Exception) -> ReconError:
    """The error for a file that is there and cannot be read."""
    said = getattr(error, "strerror", None) or str(error).partition("\n")[0].strip(" .:") or type(error).__name__
    return ReconError(f"{path} cannot be read: {said}.", "It may be damaged, cut short, or of another format.")


def read(word: str, scale: float | None = None) -> Array:
    """The samples of a source as finite numbers, shape (N, ...), or a ReconError that says what is wrong."""
    return numpy.asarray(samples(parse(word), word, scale)[0])


def samples(source: Source, word: str, scale: float | None = None) -> tuple[Array | Lazy, str]:
    """The samples of a source as finite numbers, and what they are and what was done to them, for people.

    What they may be instead is then among the source's ``remarks``.
    """
    values = source.read()
    if isinstance(values, Lazy) and values.nbytes <= WHOLE:
        values = numpy.asarray(values)
    about = source.describe()
    values, done = observed(source, values, word, scale)
    if not about:
        about, done = f"{word}: {len(values):,} samples of shape {spell(values.shape[1:])}", done or "taken as they are"
    return values, f"{about}, {done}" if done else about


def observed(
    source: Source, values: Array | Lazy, word: str, scale: float | None, levels: bool = False
) -> tuple[Array | Lazy, str]:
    """:func:`scaled` values of a source, whose ``remarks`` grow by what they look like; ``levels`` says that bytes are grey."""
    if isinstance(values, Lazy) and values.nbytes <= WHOLE:
        values = numpy.asarray(values)
    numeric = values.dtype.kind in "fiu" and values.shape and 0 not in values.shape
    levels = source.levels or bool(numeric and values.dtype == numpy.uint8 and (levels or looks.grey(values)))
    if numeric:  # looked at before anything is made of them, which takes memory too
        source.levels = levels
        divisor = scale or (numpy.iinfo(values.dtype).max if levels and values.dtype.kind == "u" else 1)
        found = looks.remarks(values, word, divisor, scale is not None, source.columns, source.without, source.labels)
        source.remarks = (*source.remarks, *found)
    return scaled(values, word, scale, levels)


def prepared(source: Source, word: str, scale: float | None, binarize: str | None) -> tuple[Array | Lazy, str]:
    """The same, made 0 or 1 as ``binarize`` says, by the source's own seed."""
    values, about = samples(source, word, scale)
    return binarized(values, binarize, source.seed, word), about


def scaled(values: Array | Lazy, word: str, scale: float | None = None, levels: bool = False) -> tuple[Array | Lazy, str]:
    """``values`` divided by ``scale`` as finite numbers, and words for it; empty where nothing was asked or done.

    With None, grey ``levels`` are divided by the largest of their type, and all else is taken as it is. Whole
    numbers of up to 16 bits become a float32; each quotient is rounded from float64. What is large and lies in a
    file is read, divided and checked when it is asked for.
    """
    divisor = scale
    if scale is None:
        divisor = numpy.iinfo(values.dtype).max if levels and values.dtype.kind == "u" else 1
    if divisor == 1 or values.dtype.kind not in "fiub":
        divisor, done = 1, "" if scale is None else "taken as they are"
    else:
        done = f"divided by {divisor:g}"
    if not isinstance(values, Lazy) or values.nbytes <= WHOLE:
        return divided_by(numpy.asarray(values), divisor, word), done
    kind = divided_by(numpy.zeros(1, values.dtype), divisor, word).dtype
    each, plain = math.prod(values.shape[1:]), divisor == 1 and kind == values.dtype and kind.kind == "f"
    return Made(values, kind, lambda rows, place: divided_by(rows, divisor, word, place // each), plain), done


def divided_by(values: Array, divisor: float, word: str, first: int = 0) -> Array:
    """``values`` divided, if they are finite numbers, at least one; ``first`` is which sample they begin with."""
    if divisor == 1:
        return numbers(values, word, first)
    made = numpy.empty(values.shape, numpy.result_type(values.dtype, numpy.float32))
    try:
        with numpy.errstate(over="raise", divide="raise"):
            numpy.divide(values, divisor, out=made, dtype=numpy.float64, casting="same_kind")
    except FloatingPointError:
        raise ReconError(f"{word} divided by {divisor:g} leaves the range of {made.dtype}.", "Choose another --scale.") from None
    return numbers(made, word, first)


def numbers(values: Array, word: str, first: int = 0) -> Array:
    """``values`` if they are finite numbers, at least one; in an error ``word`` names them, and ``first`` samples come before."""
    values = real(values, word)
    if values.dtype == bool:
        values = values.astype(numpy.uint8)
    if values.dtype.kind in "fiu":
        values = values.astype(TORCH_KNOWS.get(values.dtype.str[1:], numpy.float64), copy=False)
    if values.ndim == 0:
        raise ReconError(f"{word} holds a single number.", "The first axis counts samples: give an array of at least one axis.")
    if values.size == 0:
        raise ReconError(
            f"{word} is empty: its shape is {spell(values.shape)}.", "The first axis counts samples; give at least one."
        )
    with numpy.errstate(over="ignore", invalid="ignore"):  # what is not finite spoils the sum; else no mask is made
        if values.dtype.kind == "f" and not numpy.isfinite(values.sum()) and not (finite := numpy.isfinite(values)).all():
            bad = tuple(int(i) for i in numpy.argwhere(~finite)[0])
            among = f" among samples {first:,} to {first + len(values) - 1:,}" * bool(first)
            raise ReconError(
                f"{word} has {numpy.isnan(values).sum():,} NaN and {numpy.isinf(values).sum():,} infinite values{among}, "
                f"the first at index {(bad[0] + first, *bad[1:])}.",
                "Every value must be finite: mend the file or drop those samples.",
            )
    return values


def held_out(count: int, fraction: float) -> Array:
    """Which of ``count`` samples are kept back: a mask that never changes, whatever the count or machine.

    Sample i is kept back where a hash of i falls into the lowest ``fraction`` of its range, so order and periods in
    the file do not matter.
    """
    return scattered(numpy.arange(1, count + 1)).astype(numpy.float64) < fraction * 2.0**64


def scattered(places: Array) -> Array:
    """A hash of whole numbers, 64 bits each: SplitMix64's finaliser (Steele, Lea and Flood, 2014)."""
    mixed = places.astype(numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> numpy.uint64(shift))) * numpy.uint64(factor)
    return mixed ^ (mixed >> numpy.uint64(31))


def split(values: Array, fraction: float, word: str) -> tuple[Array, Array]:
    """Training samples and held-out samples. Raises ReconError where one of them would be empty."""
    kept = held_out(len(values), fraction)
    if kept.all() or (fraction > 0 and not kept.any()):
        count = f"{len(values)} sample{'s' * (len(values) != 1)}"
        raise ReconError(
            f"{word} has {count}: too few to keep a fraction of {fraction:g} back and fit on the rest.",
            "Give more samples; or reconstructions of your own (compare --recon FILE), or keep none back (train --holdout 0).",
        )
    return values[~kept], values[kept]


def binarized(values: Array | Lazy, how: str | None, seed: int, word: str) -> Array | Lazy:
    """Grey levels made 0 or 1: ``threshold`` (1 above one half) or ``sample`` (1 with that probability).

    Raises ReconError unless every value is in [0, 1]. With None the values stay as they are.
    """
    if how is None:
        return values
    if isinstance(values, Lazy):
        kind = numpy.result_type(values.dtype, numpy.float32)
        return Made(values, kind, lambda rows, place: made_binary(rows, how, seed, word, place))
    return made_binary(values, how, seed, word)


def made_binary(values: Array, how: str, seed: int, word: str, place: int = 0) -> Array:
    """The same of some of the values, ``place`` numbers from the first: each draw has its place in the sequence."""
    if values.min() < 0 or values.max() > 1:
        raise ReconError(
            f"{word} cannot be binarised: its values run from {values.min():g} to {values.max():g}.",
            "Only grey levels in [0, 1] can be made 0 or 1: scale them first.",
        )
    draws = numpy.random.Generator(numpy.random.PCG64(seed).advance(place))
    level = 0.5 if how == "threshold" else draws.random(values.shape)
    return (values > level).astype(numpy.result_type(values.dtype, numpy.float32))


def pair(
    data: str,
    recon: str,
    *,
    seed: int = 0,
    binarize: str | None = None,
    scale: float | None = None,
    recon_scale: float | None = None,
    fraction: float = 0.2,
    known: tuple[Source, Array | Lazy, str] | None = None,
    trust: bool = False,
) -> Pair:
    """Data and reconstructions from two words of the command line.

    A file is taken whole. A :class:`Reconstruction` is fitted on the training split and makes the means
    of the held-out one. ``scale`` divides the data, ``recon_scale`` the reconstructions in a file; with
    None each source has its own. ``known`` are the data's source and what :func:`prepared` gives of it, where they are at hand.
    With ``trust`` the code of a run's own model may be run.
    """
    source, other = parse(data, seed), parse(recon, seed)
    source, whole, about = known or (source, *prepared(source, data, scale, binarize))
    named = Path(data).name + {None: "", "threshold": " > 1/2", "sample": ", sampled"}[binarize]
    if not isinstance(other, Reconstruction):
        mu, done = observed(other, other.beside(source), recon, recon_scale, source.levels)
        if len(mu) != len(whole):
            raise shapes_differ(whole.shape, mu.shape)
        told = looks.units(whole, mu, scale is None and recon_scale is None)
        remarks = (*source.remarks, *(each for each in other.remarks if recon != data), *told)
        described = f"{about}; reconstructions from {recon}{done and ', '}{done}."
        return Pair(whole, mu, False, described, named, remarks=remarks)
    if isinstance(whole, Lazy) and whole.nbytes > FITTED:
        raise ReconError(
            f"{data} takes {whole.nbytes / 1e9:.3g} GB, and {recon} is made from data that fit in memory.",
            "Give the reconstructions of your model: --recon xhat.npy.",
        )
    if recon_scale is not None:
        raise ReconError(f"{recon} is made on the scale of the data, so --recon-scale means nothing.", "Leave it out.")
    other.trust = trust
    train, x = other.divide(numpy.asarray(whole), fraction, data)
    mu = other.reconstruct(x, train, seed)
    which = f"{len(x):,} held out" if len(x) < len(whole) else "all of them"
    described = f"{about}; {which}, reconstructed by {other.describe()}."
    variance, costs = partial(other.variance, x, train, seed), partial(other.rate_and_distortion, x, seed)
    return Pair(other.target(x), mu, True, described, named, variance, costs, source.remarks)
