"""The samples of one source, and of two beside one another: data and their reconstructions."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import shapes_differ, spell
from recon_cli.runtime.lazy_arrays import Array, Lazy, Values
from recon_cli.sources import _remarks
from recon_cli.sources._base import Reconstruction, Source
from recon_cli.sources._objects import in_order, source_of
from recon_cli.sources._reading import ReadOptions
from recon_cli.sources._totals import shares
from recon_cli.sources._values import binarized, loaded, observed

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood

FITTED = 1 << 32  # bytes: from a larger one no reconstruction is made


@dataclass(frozen=True)
class Pair:
    """Data and their reconstructions, sample by sample.

    fitted
        whether recon made the means, so that it may keep them inside a likelihood's domain.
    several
        where its model gives several numbers for each element: all of them, along a last axis.
    variance
        where it made them, of each element: the model's own, or the mean squared residual over what it looked at.
    rate_and_distortion
        where it made them: see :class:`Reconstruction`.
    remarks
        what may be taken for something else in either: see :class:`Source`.
    partial
        whether NaN in ``x`` is a value that is not there.
    weights
        how much each value counts, of x's shape, or each sample, (N,); None where all count alike.
    likelihood
        that the model of a run was trained under, with the noise that training left; None of any other reconstruction.
    """

    x: Values
    mu: Values
    fitted: bool
    described: str
    named: str
    variance: Callable[[], Array] | None = None
    several: Callable[[], Array | None] = lambda: None
    rate_and_distortion: Callable[[], tuple[float, float] | None] = lambda: None
    remarks: tuple[str, ...] = ()
    partial: bool = False
    weights: Array | None = None
    likelihood: Likelihood | None = None

    def outputs(self, head: Sequence[str]) -> Values:
        """Return what a decoder with the outputs ``head`` would have given: the means; or all that the model of a run gives.

        And the variances, where recon made the means of another.
        """
        if self.likelihood is not None and head and self.likelihood.head == tuple(head) and (own := self.several()) is not None:
            return own
        if tuple(head) != ("mu", "var") or self.variance is None:
            return self.mu
        return numpy.stack([self.mu, numpy.broadcast_to(self.variance(), self.mu.shape)], axis=-1)


def read(word: Any, scale: float | None = None, reading: ReadOptions | None = None) -> Array:
    """Return the samples of a source as finite numbers, shape (N, ...). Raises ReconError for what is wrong with them."""
    source, word = source_of(word, reading=reading)
    return numpy.asarray(samples(source, word, scale)[0])


def samples(source: Source, word: str, scale: float | None = None) -> tuple[Values, str]:
    """Return the samples of a source as finite numbers, and what they are and what was done to them, for people.

    What they may be instead is then among the source's ``remarks``.
    """
    values = loaded(source.read())
    about = source.describe()
    values, done = observed(source, values, word, scale)
    if not about:
        about, done = f"{word}: {len(values):,} samples of shape {spell(values.shape[1:])}", done or "taken as they are"
    return values, f"{about}, {done}" if done else about


def prepared(source: Source, word: str, scale: float | None, binarize: str | None) -> tuple[Values, str]:
    """Return the same, made 0 or 1 as ``binarize`` says, by the source's own seed."""
    values, about = samples(source, word, scale)
    return binarized(values, binarize, source.seed, word), about


def pair(
    data: Any,
    recon: Any,
    *,
    seed: int = 0,
    binarize: str | None = None,
    scale: float | None = None,
    recon_scale: float | None = None,
    recon_offset: float = 0.0,
    fraction: float = 0.2,
    known: tuple[Source, Values, str] | None = None,
    trust: bool = False,
    reading: ReadOptions | None = None,
) -> Pair:
    """Return data and reconstructions from two words of the command line, or objects (:func:`source_of`).

    A file is taken whole. A :class:`Reconstruction` is fitted on the training split and makes the means
    of the held-out one. ``scale`` divides the data, ``recon_scale`` the reconstructions in a file, less
    ``recon_offset``; with None each source has its own.
    ``known`` are the data's source and what :func:`prepared` gives of it, where they are at hand.
    With ``trust`` the code of a run's own model may be run. ``reading`` is how the data are read; images among
    reconstructions are read alike.
    """
    reading = reading or ReadOptions()
    same = isinstance(data, (str, Path)) and isinstance(recon, (str, Path)) and str(data) == str(recon)
    other, recon = source_of(recon, "the reconstruction", seed)
    if not math.isfinite(recon_offset):
        raise ReconError(f"--recon-offset must be a finite number; found {recon_offset!r}.", "Try --recon-offset -1.")
    other.reading = replace(reading.bare(other.heeds), offset=recon_offset)
    source, data = (known[0], str(data)) if known else source_of(data, "data", seed, reading)
    source, whole, about = known or (source, *prepared(source, data, scale, binarize))
    named = Path(data).name + {None: "", "threshold": " > 1/2", "sample": ", sampled"}[binarize]
    if not isinstance(other, Reconstruction):
        mu, done = observed(other, other.beside(source), recon, recon_scale, source.levels)
        in_order(source, other)
        if reading.totals is not None:
            mu = shares(mu, whole, str(recon))
        if len(mu) != len(whole):
            raise shapes_differ(whole.shape, mu.shape)
        apart = _remarks.unit_remarks(whole, mu, scale is None and recon_scale is None and not recon_offset)
        remarks = (*source.remarks, *(each for each in other.remarks if not same), *apart)
        described = f"{about}; reconstructions from {recon}{done and ', '}{done}."
        return Pair(whole, mu, False, described, named, remarks=remarks, partial=source.partial, weights=source.weights)
    if isinstance(whole, Lazy) and whole.nbytes > FITTED:
        raise ReconError(
            f"{data} takes {whole.nbytes / 1e9:.3g} GB, and {recon} is made from data that fit in memory.",
            "Give the reconstructions of your model: --recon xhat.npy.",
        )
    if recon_scale is not None or recon_offset:
        option = "--recon-offset" if recon_scale is None else "--recon-scale"
        raise ReconError(f"{recon} is made on the scale of the data, so {option} means nothing.", "Leave it out.")
    if source.partial:
        raise ReconError(
            f"{recon} is made from the data, and some of their values are not there.",
            "Give the reconstructions of your model: --recon xhat.npy; or train one on what is there: recon train --missing nan.",
        )
    if source.weights is not None:
        raise ReconError(
            f"{recon} cannot be made of weighted data.",
            "Give the reconstructions of your model: --recon xhat.npy.",
        )
    if reading.totals is not None and not other.trained_under:
        raise ReconError(
            f"{recon} is made from the data, and of counts out of totals it makes no shares.",
            "Give the reconstructions of your model, shares between 0 and 1: --recon p.npy.",
        )
    other.trust = trust
    train, x = other.divide(numpy.asarray(whole), fraction, data)
    mu = other.reconstruct(x, train, seed)
    which = f"{len(x):,} held out" if len(x) < len(whole) else "all of them"
    described = f"{about}; {which}, reconstructed by {other.describe()}."
    variance, costs = partial(other.variance, x, train, seed), partial(other.rate_and_distortion, x, seed)
    return Pair(
        other.target(x), mu, True, described, named, variance, partial(other.several, x), costs, source.remarks,
        likelihood=other.trained_under,
    )  # fmt: skip
