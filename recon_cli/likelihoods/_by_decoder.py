"""A noise that the decoder gives: any family whose noise has a size, or is one number, that a second output for every element."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss
from recon_cli.identity.regions import POSITIVE, SHARE, Outputs, inside

if TYPE_CHECKING:
    from torch import Generator, Tensor

SUFFIX = "-by-network"
PRECISE = ("shape", "precision", "kappa")  # levels that grow without end as the noise vanishes
SLIGHTLY = 1e-3  # above the floor: where a level below it begins


def by_network(likelihood: Likelihood) -> Likelihood:
    """Return ``likelihood`` with a level of its own for each element of each sample; its other numbers as they are.

    The levels are what :func:`levels_by_network` names: sigma or scale, or all numbers of a noise that has no such.

    What the decoder gives is mu and the levels along a last axis, (..., 2) of one; its raw output that of mu, and each level's
    logarithm (of a share the logit).

    >>> from recon_cli.likelihoods.laplace import Laplace
    >>> by_network(Laplace()).nll([1.0], [[0.5, 0.2]])
    tensor([1.5837], dtype=torch.float64)
    """
    names = levels_by_network(likelihood)
    shares = {field.name for field in dataclasses.fields(likelihood) if field.metadata["domain"] == SHARE}
    outputs = Outputs(parts=(("mu", likelihood.domain), *((name, SHARE if name in shares else POSITIVE) for name in names)))

    def forward(mu: Tensor) -> Tensor:
        levels = (mu[..., i].logit() if name in shares else mu[..., i].log() for i, name in enumerate(names, 1))
        return torch.stack([likelihood.link.forward(mu[..., 0]), *levels], dim=-1)

    def inverse(raw: Tensor) -> Tensor:
        levels = (raw[..., i].sigmoid() if name in shares else raw[..., i].exp() for i, name in enumerate(names, 1))
        return torch.stack([likelihood.link.inverse(raw[..., 0]), *levels], dim=-1)

    def at(mu: Tensor) -> Likelihood:
        return dataclasses.replace(likelihood, **{name: mu[..., i] for i, name in enumerate(names, 1)})

    def usual(name: str, mean: Tensor, spread: Tensor) -> Tensor:
        if name in ("sigma", "scale"):
            return spread
        moments = likelihood.moments(mean) if name in PRECISE else None
        level = torch.full_like(spread, 0.5 if name in shares else 1.0) if moments is None else moments[1]
        return (level / spread.square()).clamp(0.01, 1e4) if name in PRECISE else level

    class Nll(Loss):
        """-log p itself: with a noise that moves there is no other loss."""

        name = f"{likelihood.name}-nll"
        formula = torch = f"-log p(x | mu, {', '.join(names)})"
        support = likelihood.support
        head = ("mu", *names)
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
        link = Link(f"log {' and '.join(names)}", "", forward, inverse)

        @elementwise
        def nll(self, x: Tensor, mu: Tensor) -> Tensor:
            return at(mu).admitted().nll(x, mu[..., 0])

        @elementwise
        def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
            return self.nll(x, self.link.inverse(raw))

        def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
            mean = inside(mean, likelihood.domain)[0]
            return torch.stack([mean, *(usual(name, mean, spread) for name in names)], dim=-1)

        def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
            return at(mu).moments(mu[..., 0])

        def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
            return at(mu).sample(mu[..., 0], generator)

    ByNetwork.name = likelihood.name + SUFFIX
    return ByNetwork()


def levels_by_network(likelihood: Likelihood) -> tuple[str, ...]:
    """Return the names of the numbers that a decoder may give for each element: that of the size, or all of the noise.

    None of vectors, and where the decoder gives several numbers already.
    """
    if likelihood.head or likelihood.event:
        return ()
    return (likelihood.level_name,) if likelihood.level_name else tuple(likelihood.noise)


def spread_out(likelihood: Likelihood, x: Sequence[int], mu: Sequence[int]) -> Likelihood:
    """Return ``likelihood`` by its network where ``mu``, of shapes, has a last axis for its levels beside x's; else as it is."""
    names = levels_by_network(likelihood)
    return by_network(likelihood) if names and tuple(mu) == (*x, 1 + len(names)) else likelihood


def sized(likelihood: Likelihood, x: Sequence[int], mu: Sequence[int]) -> Likelihood:
    """Return ``likelihood`` of as many components as ``mu``, (..., n) beside x's (...), has numbers for, unless it says."""
    by = likelihood.sized_by
    if by and likelihood.event and tuple(mu[:-1]) == tuple(x) and likelihood == type(likelihood)():
        own = len(likelihood.head) - likelihood.parameters[by]  # numbers that there are of any
        count = mu[-1] - own
        return dataclasses.replace(likelihood, **{by: float(count)}) if count >= 1 else likelihood
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
    if at.start == at.stop:
        raise ReconError(
            f"A floor keeps a size from running to 0, and the noise of {likelihood.name} is a matrix.", "Leave --sigma-floor out."
        )
    name = likelihood.head[at.start]
    if isinstance(likelihood.domain, Outputs) and likelihood.domain.parts[at.start][1] == SHARE:
        raise ReconError(f"A floor keeps a noise from running to 0, and {name} is a share.", "Leave --sigma-floor out.")
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
