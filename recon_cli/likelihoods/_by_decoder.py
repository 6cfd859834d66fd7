"""A noise that the decoder gives: any family whose noise has a size, or is one number, that a second output for every element."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss
from recon_cli.identity.regions import POSITIVE, Outputs, inside

if TYPE_CHECKING:
    from torch import Generator, Tensor

SUFFIX = "-by-network"
PRECISE = ("shape", "precision", "kappa")  # levels that grow without end as the noise vanishes
SLIGHTLY = 1e-3  # above the floor: where a level below it begins


def by_network(likelihood: Likelihood) -> Likelihood:
    """Return ``likelihood`` with a level of its own for each element of each sample; its other numbers as they are.

    The level is what :func:`level_by_network` names: sigma or scale, or the only number that the noise has.

    What the decoder gives is mu and the level along a last axis, (..., 2); its raw output that of mu, and the level's logarithm.

    >>> from recon_cli.likelihoods.laplace import Laplace
    >>> by_network(Laplace()).nll([1.0], [[0.5, 0.2]])
    tensor([1.5837], dtype=torch.float64)
    """
    size = likelihood.level_name or ""
    outputs = Outputs(parts=(("mu", likelihood.domain), (size, POSITIVE)))

    def forward(mu: Tensor) -> Tensor:
        return torch.stack([likelihood.link.forward(mu[..., 0]), mu[..., 1].log()], dim=-1)

    def inverse(raw: Tensor) -> Tensor:
        return torch.stack([likelihood.link.inverse(raw[..., 0]), raw[..., 1].exp()], dim=-1)

    def at(mu: Tensor) -> Likelihood:
        return dataclasses.replace(likelihood, **{size: mu[..., 1]})

    class Nll(Loss):
        """-log p itself: with a noise that moves there is no other loss."""

        name = f"{likelihood.name}-nll"
        formula = torch = f"-log p(x | mu, {size})"
        support = likelihood.support
        head = ("mu", size)
        domain = outputs

        @elementwise
        def values(self, x: Tensor, prediction: Tensor) -> Tensor:
            return at(prediction).admitted().nll(x, prediction[..., 0])

    @dataclass(frozen=True)
    class ByNetwork(Likelihood):
        """The family of ``likelihood``, its level the decoder's."""

        loss = Nll()
        density = likelihood.density
        head = Nll.head
        support = likelihood.support
        domain = outputs
        link = Link(f"log {size}", "", forward, inverse)

        @elementwise
        def nll(self, x: Tensor, mu: Tensor) -> Tensor:
            return at(mu).admitted().nll(x, mu[..., 0])

        @elementwise
        def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
            return self.nll(x, self.link.inverse(raw))

        def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
            mean = inside(mean, likelihood.domain)[0]
            level = spread if size in ("sigma", "scale") else torch.ones_like(spread)
            if size in PRECISE:
                moments = likelihood.moments(mean)
                level = ((level if moments is None else moments[1]) / spread.square()).clamp(0.01, 1e4)
            return torch.stack([mean, level], dim=-1)

        def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
            return at(mu).moments(mu[..., 0])

        def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
            return at(mu).sample(mu[..., 0], generator)

    ByNetwork.name = likelihood.name + SUFFIX
    return ByNetwork()


def level_by_network(likelihood: Likelihood) -> str | None:
    """Return the name of the number that a decoder may give for each element: above 0, and not of vectors; None without one."""
    name = likelihood.level_name
    if name is None or likelihood.head or likelihood.event:
        return None
    (field,) = (field for field in dataclasses.fields(likelihood) if field.name == name)
    return name if field.metadata["domain"].low >= 0 and field.metadata["domain"].high > 1 else None


def spread_out(likelihood: Likelihood, x: Sequence[int], mu: Sequence[int]) -> Likelihood:
    """Return ``likelihood`` by its network where ``mu`` has a last axis of two more than ``x``, of shapes; else as it is."""
    return by_network(likelihood) if tuple(mu) == (*x, 2) and level_by_network(likelihood) else likelihood


def sized(likelihood: Likelihood, x: Sequence[int], mu: Sequence[int]) -> Likelihood:
    """Return ``likelihood`` of as many components as ``mu``, (..., n) beside x's (...), has numbers for, unless it says."""
    by = likelihood.sized_by
    if not by or likelihood.parameters[by] != type(likelihood)().parameters[by] or tuple(mu[:-1]) != tuple(x):
        return likelihood
    count, left = divmod(mu[-1] * int(likelihood.parameters[by]), len(likelihood.head))
    return likelihood if left or not count else dataclasses.replace(likelihood, **{by: float(count)})


def floored(likelihood: Likelihood, floor: float) -> Likelihood:
    """Return ``likelihood``, whose decoder gives the level, with that (the root of a variance) above ``floor``.

    It is the floor and an exponential, so that a gradient can always raise it again. A level that grows as the noise vanishes
    is kept below 1/floor^2, by its inverse: a variance in units of a noise of level 1.

    >>> from recon_cli.likelihoods.heteroscedastic_gaussian import HeteroscedasticGaussian
    >>> import torch
    >>> floored(HeteroscedasticGaussian(), 0.1).link.inverse(torch.tensor([0.5, -30.0]))
    tensor([0.5000, 0.0100])
    """
    family: Any = type(likelihood)
    at = likelihood.spreads
    name = likelihood.head[at.start]
    least, way = floor * floor if name in ("var", *PRECISE) else floor, -1 if name in PRECISE else 1

    def forward(mu: Tensor) -> Tensor:
        raw = likelihood.link.forward(mu).clone()
        raw[..., at] = way * (mu[..., at] ** way - least).clamp(min=least * SLIGHTLY).log()
        return raw

    def inverse(raw: Tensor) -> Tensor:
        mu = likelihood.link.inverse(raw)
        return torch.cat([mu[..., : at.start], ((way * raw[..., at]).exp() + least) ** way, mu[..., at.stop :]], dim=-1)

    class Floored(family):  # type: ignore[misc]  # a base that is known at run time only
        """The family of ``likelihood``, its level above the floor."""

        raw_loss = None
        link = Link(f"log ({name} - {least:g})" if way > 0 else f"log of {name} below {1 / least:g}", "", forward, inverse)

        @elementwise
        def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
            nll: Tensor = self.nll(x, self.link.inverse(raw))
            return nll

    Floored.name = likelihood.name
    return Floored(**likelihood.parameters)
