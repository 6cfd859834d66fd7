"""Mixtures: several components of one family, their locations, scales and weights the decoder's."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli import registry
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss, raw_names
from recon_cli.identity.parametric import Parametric, computed, parameter
from recon_cli.identity.regions import POSITIVE, Interval, Outputs, Region
from recon_cli.identity.tensors import nobody_asks, wide

if TYPE_CHECKING:
    from torch import Generator, Tensor

COMPONENTS = parameter(3.0, "how many components there are", Interval(1, whole=True))


def family(name: str) -> type[Likelihood]:
    """Return a family of the registry, to be that of every component."""
    return registry.only_class(registry.load("likelihoods", name), Likelihood)


@dataclass(frozen=True)
class Components(Parametric):
    """K components, of each of which the decoder gives a location, a scale and a weight: 3 K numbers along a last axis.

    All locations come first, then all scales, then all weights: (mu1, ..., muK, scale1, ..., scaleK, weight1, ..., weightK).
    Weights are positive, and count by their shares of their sum; the raw outputs are those of the locations, and logarithms.
    """

    components: float = COMPONENTS

    component: ClassVar[type[Likelihood]]
    sized_by: ClassVar[str] = "components"
    derived: ClassVar[tuple[str, ...]] = ("_part", "_size", "_domain")

    def __post_init__(self) -> None:
        super().__post_init__()
        part = self.component(**{name: value for name, value in self.parameters.items() if name != self.sized_by}).admitted()
        object.__setattr__(self, "_part", part)
        object.__setattr__(self, "_size", str(part.level_name))
        object.__setattr__(self, "_domain", Outputs(parts=self._parts()))

    @property
    def part(self) -> Likelihood:
        """A component, at its usual scale."""
        part: Likelihood = self.__dict__["_part"]
        return part

    @property
    def size(self) -> str:
        """What the component calls its scale."""
        size: str = self.__dict__["_size"]
        return size

    @property
    def count(self) -> int:
        """K."""
        return int(self.components)

    def at(self, scales: Tensor) -> Likelihood:
        """Return a component of these scales; without looking at its numbers again, which a compiler could not."""
        return self.part.with_unchecked(**{self.size: wide(scales)}, admits=True)

    def _parts(self) -> tuple[tuple[str, Region], ...]:
        """Return the names of what the decoder gives for an element, and where each may lie."""
        kinds = (("mu", self.part.domain), (self.size, POSITIVE), ("weight", POSITIVE))
        return tuple((f"{name}{k}", region) for name, region in kinds for k in range(1, self.count + 1))

    def _density(self) -> str:
        """Return the density: the component's own text at each location and scale, by weight."""
        weights = [f"weight{k}" for k in range(1, self.count + 1)]
        own = [re.sub(rf"\b(mu|{self.size})\b", rf"\g<1>{k}", self.part.density) for k in range(1, self.count + 1)]
        return f"({' + '.join(f'{w}*({p})' for w, p in zip(weights, own, strict=True))})/({' + '.join(weights)})"

    def _link(self) -> Link:
        """Return the link: the components' own of each location, the exponential of each scale and weight."""
        import torch

        names, inner = raw_names(3 * self.count), self.part.link
        locations = [re.sub(r"\br\b", name, inner.formula) for name in names[: self.count]]

        def forward(mu: Tensor) -> Tensor:
            return torch.cat([inner.forward(mu[..., : self.count]), mu[..., self.count :].log()], dim=-1)

        def inverse(raw: Tensor) -> Tensor:
            return torch.cat([inner.inverse(raw[..., : self.count]), raw[..., self.count :].exp()], dim=-1)

        return Link(
            "log scales and log weights", ", ".join([*locations, *(f"exp({n})" for n in names[self.count :])]), forward, inverse
        )

    head: ClassVar[tuple[str, ...]] = computed(lambda self: tuple(name for name, _ in self._parts()))
    support: ClassVar[Region] = computed(lambda self: self.part.support)
    domain: ClassVar[Region] = computed(lambda self: self.__dict__["_domain"])

    def each(self, x: Tensor, locations: Tensor, scales: Tensor) -> Tensor:
        """Return the nll of every component, along a last axis."""
        return self.at(scales).nll(x.unsqueeze(-1).expand(locations.shape), locations)

    def split(self, mu: Tensor) -> tuple[Tensor, ...]:
        """Return locations, scales and weights, (..., K) each."""
        parts: tuple[Tensor, ...] = mu.split(self.count, dim=-1)
        return parts


@dataclass(frozen=True)
class MixtureLoss(Components, Loss):
    """-log p itself: a sum of components has no other loss."""

    formula = computed(lambda self: f"-log({self._density()})")

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; as people write it, a logarithm of shares that add up to nearly one has no digits."""
        locations, scales, weights = self.split(prediction)
        return mixed(self.each(x, locations, scales), weights.log(), weights, 1 / weights)


@dataclass(frozen=True)
class Mixture(Components, Likelihood):
    """Everything that a mixture needs but the family of its components."""

    density = computed(lambda self: self._density())
    link = computed(lambda self: self._link())

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        locations, scales, weights = self.split(mu)
        return mixed(self.each(x, locations, scales), weights.log(), weights, 1 / weights)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        locations, scales, logits = self.split(raw)
        return mixed(self.each(x, self.part.link.inverse(locations), scales.exp()), logits, logits, 1.0)

    @property
    def locations(self) -> int:
        return self.count

    @property
    def spreads(self) -> slice:
        return slice(self.count, 2 * self.count)

    def shares(self, mu: Tensor) -> Tensor:
        """Return the share of each component, (..., K)."""
        weights = self.split(mu)[2]
        return weights / weights.sum(dim=-1, keepdim=True)

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return the mean of the components' means, and the mean of their variances and that of their means; None without any."""
        locations, scales, _ = self.split(mu)
        own = self.at(scales).moments(locations)
        if own is None:
            return None
        mean = (self.shares(mu) * own[0]).sum(dim=-1)
        return mean, (self.shares(mu) * (own[1] + (own[0] - mean.unsqueeze(-1)).square())).sum(dim=-1)

    def centre(self, mu: Tensor) -> Tensor:
        moments = self.moments(mu)
        return (self.shares(mu) * self.split(mu)[0]).sum(dim=-1) if moments is None else moments[0]

    def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return locations evenly spread over two standard deviations about the mean, scales so that the whole is as wide."""
        import torch

        turn = torch.linspace(-1, 1, self.count, dtype=mean.dtype, device=mean.device) if self.count > 1 else mean.new_zeros(1)
        width = spread.unsqueeze(-1)
        scales = width * (1 - turn.square().mean()).clamp(min=0.25).sqrt()
        locations = self.part.domain.keep(mean.unsqueeze(-1) + width * turn)
        return torch.cat([locations, scales.expand(locations.shape), torch.ones_like(locations)], dim=-1)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw a component by its share, and from it."""
        import torch

        shares = self.shares(mu)
        chosen = torch.multinomial(shares.reshape(-1, self.count), 1, generator=generator).reshape(*shares.shape[:-1], 1)
        location, scale = (part.gather(-1, chosen).squeeze(-1) for part in self.split(mu)[:2])
        return self.at(scale).sample(location, generator)


def mixed(each: Tensor, logits: Tensor, point: Tensor, unit: Tensor | float) -> Tensor:
    """Return -log sum_k s_k e^-each_k, s the softmax of the ``logits``, which move by ``unit`` times how ``point`` does.

    Where that is small, by log1p of sum_k s_k (e^-each_k - 1): a sum of shares is one.
    """
    from recon_cli.numerics.stable import with_derivatives

    logs = logits.log_softmax(dim=-1)
    costs = each - logs
    shares = logs.exp()
    off = (shares * (-each).clamp(max=0.5).expm1()).sum(dim=-1)
    small = (each > -0.5).all(dim=-1) & (off > -0.5)
    value = (-off.where(small, 0).log1p()).where(small, -(-costs).logsumexp(dim=-1))
    if nobody_asks(each, point):
        return value
    taken = (-costs).softmax(dim=-1)  # the share of each component in the whole
    return with_derivatives(value, (taken, each), (lambda: (shares - taken) * unit, point))
