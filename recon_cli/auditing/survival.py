"""Beside real data: which likelihoods allow them, and how many latents would survive under the sigma that was found?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from recon_cli import likelihoods, sources
from recon_cli.auditing.probes import generator
from recon_cli.identity.tensors import as_tensor
from recon_cli.numerics.spectrum import Blocks, Eigenvalues, eigenvalues, point
from recon_cli.runtime.lazy_arrays import Values

if TYPE_CHECKING:
    from recon_cli.auditing.judgement import Row
    from recon_cli.auditing.measurements import Term


GREY, UNIT = 255, 2.0  # the largest grey level; a range up to which data are as people scale them


@dataclass(frozen=True)
class Beside:
    """Data as a loss has to do with them.

    about
        what was read, in words.
    outside
        of families that do not allow some of the values: in words, what has no density; the share of them, and what is allowed.
    spectrum
        the eigenvalues of their covariance, where a Gaussian's latents are to be counted.
    ends
        the least and the largest of them.
    """

    word: str
    about: tuple[str, ...]
    outside: dict[str, tuple[str, float, str]] = field(default_factory=dict)
    spectrum: Eigenvalues | None = None
    ends: tuple[float, float] = (0.0, 1.0)


@dataclass(frozen=True)
class Data:
    """What a source holds: the word for it, its values, what is to be said of them."""

    word: str
    values: Values
    about: tuple[str, ...]

    def some(self, count: int) -> Tensor:
        """Return some of the values, the least and the largest among them."""
        flat = as_tensor(self.values).flatten().double()
        picked = flat[torch.randint(len(flat), (count - 2,), generator=generator(3))]
        return torch.cat([flat.aminmax().min[None], flat.aminmax().max[None], picked])


def read(data: str, scale: float | None) -> Data:
    """Return the data of a source."""
    source = sources.parse(data)
    values, about = sources.samples(source, data, scale)
    return Data(data, values, (f"{about}.", *source.remarks))


def beside(terms: Sequence[Term], data: Data) -> Beside:
    """Return the data as these reconstructions have to do with them."""
    x = as_tensor(data.values)
    families = {term.rec.match.family for term in terms if term.rec.match is not None}
    are_vectors = any(term.classes == "last-hot" for term in terms)
    outside = {}
    for name in sorted(families & {*likelihoods.names()}):
        likelihood = likelihoods.find(name).designed(x)
        if likelihood.head or (likelihood.event and not are_vectors):
            continue
        if share := (~(likelihood.mixtures or likelihood.support).contains(x)).double().mean().item():
            others = vectors_of(x) if likelihood.event else ""
            outside[name] = likelihood.no_density(share), share, f"{likelihood.support}{others}"
    spectrum = eigenvalues(Blocks(data.values)) if "gaussian" in families else None
    return Beside(data.word, data.about, outside, spectrum, (float(x.min()), float(x.max())))


def vectors_of(x: Tensor) -> str:
    """Return which likelihoods of vectors allow these, in words; nothing where none does."""
    kinds = (likelihoods.find(name) for name in likelihoods.names())
    names = [kind.name for kind in kinds if kind.event and not kind.head and kind.designed(x).support.contains(x).all()]
    return f"; {' and '.join(names)} allow{'s' * (len(names) == 1)} them" if names else ""


def remarks(data: Beside, rows: Sequence[Row], latents: int) -> list[str]:
    """Return what the data say of the rows, and is no defect."""
    notes, (low, high) = [*data.about], data.ends
    for row in rows:
        if row.sigma and row.family in ("gaussian", "laplace") and high - low > UNIT:
            name, grey = "sigma" if row.family == "gaussian" else "the scale", low >= 0 and GREY / 2 < high <= GREY
            width, of = (
                (GREY, f"grey levels, of 0 to {GREY}") if grey else (high - low, f"units of the data, of {low:g} to {high:g}")
            )
            notes.append(f"There {name} = {row.sigma:.6g} is in {of}: in units of that range it is {row.sigma / width:.6g}.")
        if row.family in data.outside and row.family != "bernoulli":
            _, share, allowed = data.outside[row.family]
            unit = likelihoods.find(row.family)().support.unit
            notes.append(f"{share:.1%} of the {unit} of {data.word} are outside what {row.family} allows, {allowed}.")
        if row.family == "gaussian" and row.tradeoff and data.spectrum is not None:
            alive = point(data.spectrum, row.tradeoff, latents).active
            notes.append(
                f"With sigma^2 = {row.tradeoff:.6g}, {alive} of {latents} latents would survive in a linear VAE on these data: "
                f"{data.spectrum.above(row.tradeoff)} of the covariance's eigenvalues are above it, the largest is "
                f"{data.spectrum.values[0]:.6g}."
            )
    return notes
