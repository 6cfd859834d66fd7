"""Vectors whose components go together in any way, the decoder giving the mean and the root of the covariance."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss, raw_names
from recon_cli.identity.parametric import Parametric, computed, parameter
from recon_cli.identity.regions import POSITIVE, REAL, Interval, Region
from recon_cli.identity.vectors import REAL_VECTORS, VectorOutputs
from recon_cli.likelihoods._vectors import HALF_LOG_TAU, half_square, of_length, whitened

if TYPE_CHECKING:
    from torch import Generator, Tensor

FEW = 16  # components that a kernel takes one after another
WRITTEN = 5  # components of a vector whose formula is written out at most


@dataclass(frozen=True)
class CholeskyRows(VectorOutputs):
    """For each component a mean, and its row of a lower triangle: positive on the diagonal, of no effect right of it."""

    def of(self, k: int) -> tuple[tuple[str, Region], ...]:
        return tuple((name, POSITIVE if i == k + 1 else region) for i, (name, region) in enumerate(self.parts))

    def each(self, values: Tensor) -> Tensor:
        """Return whether the numbers of each component are finite, and that on the diagonal above 0."""
        inside: Tensor = super().each(values)
        return inside & (values[..., 1:].diagonal(dim1=-2, dim2=-1) > 0)

    def beyond(self, values: Tensor) -> Tensor:
        past: Tensor = super().beyond(values)
        return past | (values[..., 1:].diagonal(dim1=-2, dim2=-1) < 0).any(dim=-1)

    def __str__(self) -> str:
        return "mu in the real numbers, the rest a lower triangle that is positive on its diagonal"


@dataclass(frozen=True)
class OfTriangle(Parametric):
    """For each of ``size`` components a mean and a row of L, the covariance being L L'."""

    size: float = parameter(2.0, "how many components a vector has", Interval(1, whole=True))

    sized_by: ClassVar[str] = "size"
    event: ClassVar[int] = 1
    support: ClassVar[Region] = REAL_VECTORS

    def _names(self) -> tuple[str, ...]:
        return ("mu", *(f"row{j}" for j in range(1, int(self.size) + 1)))

    head: ClassVar[tuple[str, ...]] = computed(lambda self: self._names())
    domain: ClassVar[Region] = computed(lambda self: CholeskyRows(parts=tuple((name, REAL) for name in self._names())))

    def white(self, k: int) -> str:
        """Return the k-th component of L^-1 (x - mu) as text, by forward substitution."""
        before = "".join(f" - row{j}[{k}]*{self.white(j)}" for j in range(1, k))
        return f"((x[{k}] - mu[{k}]{before})/row{k}[{k}])"

    def places(self) -> range:
        """Return 1, 2, ... for the components. Raises ReconError for too many to be written out."""
        if self.size > WRITTEN:
            raise ReconError(
                f"{self.name}'s formula is written out for {WRITTEN} components at most, and not for {self.size:g}.",
                f"It is the same for any number: take size={WRITTEN}.",
            )
        return range(1, int(self.size) + 1)

    def square(self) -> str:
        """Return |L^-1 (x - mu)|^2 as text."""
        return f"({' + '.join(f'{self.white(k)}**2' for k in self.places())})"


class CholeskyGaussianNLL(OfTriangle, Loss):
    """|L^-1 (x - mu)|^2/2 + log det L."""

    name = "cholesky-gaussian-nll"
    formula = computed(lambda self: f"{self.square()}/2 + {' + '.join(f'log(row{k}[{k}])' for k in self.places())}")
    torch = "-MultivariateNormal(mu, scale_tril=L).log_prob(x) - D*log(2*pi)/2"

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own, without its constant."""
        lower = prediction[..., 1:]
        return cost(x - prediction[..., 0], lower, lower.diagonal(dim1=-2, dim2=-1).log())


@dataclass(frozen=True)
class CholeskyGaussian(OfTriangle, Likelihood):
    """-log p(x | mu, L) = |L^-1 (x - mu)|^2/2 + log det L + D log(2 pi)/2, L lower triangular, for real vectors of D = ``size``.

    The covariance is L L'. x has shape (..., D), the nll (...). What the decoder gives is, along a last axis, for each component
    its mean and its row of L, (..., D, 1 + D): what lies right of the diagonal counts for nothing. Its raw output has the
    logarithm on the diagonal. torch.distributions.MultivariateNormal(mu, scale_tril=L); Dorta and others (2018).

    >>> CholeskyGaussian().nll([1.0, 0.0], [[0.5, 1.0, 0.0], [0.5, 0.6, 0.8]])
    tensor(2.2397, dtype=torch.float64)
    """

    aliases = ("multivariatenormal", "multivariate-normal")
    loss = computed(lambda self: CholeskyGaussianNLL(self.size))
    calls = ("-distributions.MultivariateNormal(mu, scale_tril=row.tril()).log_prob(x)",)
    source = "Dorta and others 2018, the root of the covariance the decoder's"

    @computed
    def density(self) -> str:
        """Return a Gaussian's, the root of its covariance inverted by forward substitution."""
        return f"exp(-{self.square()}/2)/((2*pi)**(K/2)*{'*'.join(f'row{k}[{k}]' for k in self.places())})"

    @property
    def length(self) -> int:
        return int(self.size)

    def of_vectors(self, length: int) -> CholeskyGaussian:
        """Return the one of vectors of this length; the same, where it says another size than the usual one."""
        return replace(self, size=float(length)) if self.size == CholeskyGaussian().size else self

    @property
    def spreads(self) -> slice:
        """None is a size of its own: the noise is a matrix."""
        return slice(1, 1)

    @computed
    def link(self) -> Link:
        """Return the logarithm of the diagonal, all else as it is."""
        names = raw_names(1 + int(self.size))
        texts = [f"{names[0]}[k]", *(f"Piecewise((exp({name}[k]), Eq(k, {j})), ({name}[k], True))" for j, name in
                                     enumerate(names[1:], 1))]  # fmt: skip
        return Link("log of the diagonal", "; ".join(texts), lambda mu: moved(mu, "log"), lambda raw: moved(raw, "exp"))

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        of_length(self.name, self.size, x)
        lower = mu[..., 1:]
        return cost(x - mu[..., 0], lower, lower.diagonal(dim1=-2, dim2=-1).log()) + x.shape[-1] * HALF_LOG_TAU

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        of_length(self.name, self.size, x)
        lower = raw[..., 1:]
        return cost(x - raw[..., 0], moved(lower, "exp", 0), lower.diagonal(dim1=-2, dim2=-1)) + x.shape[-1] * HALF_LOG_TAU

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return x.new_full(x.shape[:-1], x.shape[-1] * HALF_LOG_TAU)

    def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return the mean, and a diagonal of standard deviations."""
        import torch

        return torch.cat([mean.unsqueeze(-1), torch.diag_embed(spread)], dim=-1)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        draw = mu.new_empty((*mu.shape[:-1], 1)).normal_(generator=generator)
        return mu[..., 0] + (mu[..., 1:].tril() @ draw).squeeze(-1)


def cost(e: Tensor, lower: Tensor, logs: Tensor) -> Tensor:
    """Return |L^-1 e|^2/2 + log det L, ``logs`` being the logarithms of L's diagonal; in a kernel, few components, by each."""
    from recon_cli.numerics.tables import in_kernel

    by_component = in_kernel() and e.shape[-1] <= FEW
    half = half_square(e, lower) if by_component else whitened(e, lower).square().sum(dim=-1) / 2
    return half + logs.sum(dim=-1)


def moved(values: Tensor, way: str, first: int = 1) -> Tensor:
    """Return a function of the diagonal, which begins at column ``first``, and all else as it is."""
    import torch

    columns = torch.arange(values.shape[-1], device=values.device)
    on = columns - first == torch.arange(values.shape[-2], device=values.device).unsqueeze(-1)
    function = torch.log if way == "log" else torch.exp
    return function(values.where(on, 1.0 if way == "log" else 0.0)).where(on, values)
