"""Vectors whose components go together in a few ways, the decoder giving mean, variances and factors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss, raw_names
from recon_cli.identity.parametric import Parametric, computed, parameter
from recon_cli.identity.regions import POSITIVE, REAL, Interval, Region
from recon_cli.identity.vectors import REAL_VECTORS, VectorOutputs
from recon_cli.likelihoods._vectors import HALF_LOG_TAU, factored_cost

if TYPE_CHECKING:
    from torch import Generator, Tensor


@dataclass(frozen=True)
class OfRank(Parametric):
    """For each component of a vector a mean, a variance of its own, and ``rank`` factors: S = diag(var) + F F'."""

    rank: float = parameter(1.0, "in how many ways the components go together", Interval(1, whole=True))

    sized_by: ClassVar[str] = "rank"
    event: ClassVar[int] = 1
    support: ClassVar[Region] = REAL_VECTORS

    def _names(self) -> tuple[str, ...]:
        return ("mu", "var", *(f"factor{i}" for i in range(1, int(self.rank) + 1)))

    head: ClassVar[tuple[str, ...]] = computed(lambda self: self._names())
    domain: ClassVar[Region] = computed(
        lambda self: VectorOutputs(parts=tuple((name, POSITIVE if name == "var" else REAL) for name in self._names()))
    )

    def product(self, a: str, b: str, i: int) -> str:
        """Return a' S_i^-1 b as text, S_i of the first ``i`` factors: each takes something off (Sherman and Morrison 1950)."""
        if not i:
            return f"Sum({a}*{b}/var[k], (k, 1, K))"
        f = f"factor{i}[k]"
        along = f"{self.product(a, f, i - 1)}**2" if a == b else f"{self.product(a, f, i - 1)}*{self.product(b, f, i - 1)}"
        return f"({self.product(a, b, i - 1)} - {along}/{self.growth(i)})"

    def growth(self, i: int) -> str:
        """Return as text by what the i-th factor multiplies the determinant."""
        return f"(1 + {self.product(f'factor{i}[k]', f'factor{i}[k]', i - 1)})"

    def square(self) -> str:
        """Return (x - mu)' S^-1 (x - mu) as text."""
        return self.product("(x[k] - mu[k])", "(x[k] - mu[k])", int(self.rank))

    def growths(self) -> list[str]:
        """Return as text what the factors multiply the determinant of diag(var) by, one after another."""
        return [self.growth(i) for i in range(1, int(self.rank) + 1)]


class LowRankGaussianNLL(OfRank, Loss):
    """((x - mu)' S^-1 (x - mu) + log det S)/2, S = diag(var) + F F'."""

    name = "low-rank-gaussian-nll"
    formula = computed(
        lambda self: f"({self.square()} + {' + '.join(['Sum(log(var[k]), (k, 1, K))', *(f'log{g}' for g in self.growths())])})/2"
    )
    torch = "-LowRankMultivariateNormal(mu, factor, var).log_prob(x) - D*log(2*pi)/2"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own is a difference of squares, without a digit where a vector lies along its factors."""
        return factored_cost(x - prediction[..., 0], prediction[..., 1].log(), prediction[..., 1].rsqrt(), prediction[..., 2:])


@dataclass(frozen=True)
class LowRankGaussian(OfRank, Likelihood):
    """-log p(x | mu, var, F) = ((x - mu)' S^-1 (x - mu) + log det(2 pi S))/2, S = diag(var) + F F', for real vectors.

    x has shape (..., D), the nll (...). What the decoder gives is, along a last axis, for each component its mean, a variance of
    its own and its ``rank`` factors, (..., D, 2 + rank): S has D (1 + rank) numbers where a full one has D (D + 1)/2. Its raw
    output is mean, logarithm of the variance, factors. Factor analysis, as of Ghahramani and Hinton (1997), its numbers by a
    network; the inverse by Woodbury (1950).

    >>> LowRankGaussian().nll([1.0, 0.0], [[0.5, 1.0, 0.5], [0.5, 1.0, -0.5]])
    tensor(2.2073, dtype=torch.float64)
    """

    aliases = ("lowrankmultivariatenormal", "low-rank-multivariate-normal", "factor-analysis")
    loss = computed(lambda self: LowRankGaussianNLL(self.rank))
    calls = ("-distributions.LowRankMultivariateNormal(mu, factor, var).log_prob(x)",)
    source = "factor analysis, its numbers the decoder's"

    @computed
    def density(self) -> str:
        """Return a Gaussian's, the inverse and the determinant one factor after another."""
        return f"exp(-{self.square()}/2)/sqrt((2*pi)**K*Product(var[k], (k, 1, K))*{'*'.join(self.growths())})"

    @computed
    def link(self) -> Link:
        """Return the logarithm of the variance, all else as it is."""
        import torch

        names = raw_names(2 + int(self.rank))
        texts = [f"exp({name}[k])" if i == 1 else f"{name}[k]" for i, name in enumerate(names)]

        def forward(mu: Tensor) -> Tensor:
            return torch.cat([mu[..., :1], mu[..., 1:2].log(), mu[..., 2:]], dim=-1)

        def inverse(raw: Tensor) -> Tensor:
            return torch.cat([raw[..., :1], raw[..., 1:2].exp(), raw[..., 2:]], dim=-1)

        return Link("log variance", "; ".join(texts), forward, inverse)

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return factored_cost(x - mu[..., 0], mu[..., 1].log(), mu[..., 1].rsqrt(), mu[..., 2:]) + x.shape[-1] * HALF_LOG_TAU

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return factored_cost(x - raw[..., 0], raw[..., 1], (-raw[..., 1] / 2).exp(), raw[..., 2:]) + x.shape[-1] * HALF_LOG_TAU

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-1], x.shape[-1] * HALF_LOG_TAU)

    def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return mean and variance of each component, and no factors."""
        import torch

        return torch.stack([mean, spread.square(), *[torch.zeros_like(mean)] * int(self.rank)], dim=-1)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw each component's own part, and how much there is of each factor."""
        own = mu.new_empty(mu.shape[:-1]).normal_(generator=generator) * mu[..., 1].sqrt()
        common = mu.new_empty((*mu.shape[:-2], int(self.rank), 1)).normal_(generator=generator)
        return mu[..., 0] + own + (mu[..., 2:] @ common).squeeze(-1)
