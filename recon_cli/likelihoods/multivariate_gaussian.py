"""Vectors under one full covariance for all of them, known or fitted: the likelihood that Mahalanobis distance is."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar

import numpy

from recon_cli.errors import ReconError
from recon_cli.identity.arrays import as_array
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood, log, positive
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import Number, class_or_instance, computed, parameter
from recon_cli.identity.tensors import wide
from recon_cli.identity.vectors import REAL_VECTORS
from recon_cli.likelihoods._vectors import HALF_LOG_TAU, whitened
from recon_cli.runtime.files import read_file

if TYPE_CHECKING:
    from typing import Self

    from numpy.typing import ArrayLike, NDArray
    from torch import Generator, Tensor

    Array = NDArray[numpy.float64]

COLUMNS = 64  # of a table whose covariance is fitted unasked
FEW = 4  # components whose covariance is written out in a name
MOST = 4096  # components that a covariance is fitted of
NEARLY = 1e-13  # of the largest eigenvalue: a smaller one is rounding's


class SquaredMahalanobis(Loss):
    """(x - mu)' C^-1 (x - mu), C a covariance, the identity unless it is given."""

    matrix: ClassVar[bytes] = b""

    name = "squared-mahalanobis"
    aliases = ("mahalanobis",)
    formula = computed(lambda self: f"({quadratic(self.matrix)})")
    torch = "((x - mu) @ inv(cholesky(C)).T).square().sum(dim=-1)"
    condition = "C the covariance"
    event = 1
    support = REAL_VECTORS
    domain = REAL_VECTORS
    convention = 0.5

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; by the root of the covariance, which is never inverted."""
        return white(x - prediction, self.matrix).square().sum(dim=-1)


@dataclass(frozen=True)
class MultivariateGaussian(Likelihood):
    """-log p(x | mu) = (x - mu)' C^-1 (x - mu)/(2 scale^2) + log det(2 pi scale^2 C)/2, for real vectors.

    The covariance is scale^2 C. x and mu have shape (..., D), the nll (...). C is the identity unless it is given,
    ``MultivariateGaussian.of(covariance)``, on the command line ``multivariate-gaussian:covariance=FILE.npy``; then scale is 1,
    and so the slope 1/2. ``fit`` finds all D (D + 1)/2 numbers, scale^2 being the mean variance: the mean of (x - mu)(x - mu)',
    its maximum-likelihood estimate (Anderson 2003, section 3.2); where C is given, scale alone. Nothing is inverted: by the root
    of C and forward substitution.

    >>> MultivariateGaussian.of([[1.0, 0.6], [0.6, 1.0]]).nll([1.0, 0.0], [0.5, 0.5])
    tensor(2.2397, dtype=torch.float64)
    >>> MultivariateGaussian.of([[1.0, 0.6], [0.6, 1.0]]).slope
    0.5
    """

    scale: float = parameter(1.0, "the root of what C is multiplied by")

    matrix: ClassVar[bytes] = b""

    loss = SquaredMahalanobis()
    aliases = ("full-covariance", "full-gaussian")
    event = 1
    support = REAL_VECTORS
    domain = REAL_VECTORS
    source = "one covariance for all vectors"
    best_noise = "the root of the mean squared Mahalanobis distance, over the length of a vector"
    calls = computed(lambda self: (f"-distributions.MultivariateNormal(mu, scale**2*{self._torch_matrix()}).log_prob(x)",))

    @classmethod
    def of(cls, covariance: ArrayLike) -> MultivariateGaussian:
        """Return the one of this covariance, (D, D). Raises ReconError for what is none: not symmetric, not positive definite."""
        return of_matrix(checked(covariance))()

    @property
    def covariance(self) -> Array:
        """scale^2 C, (D, D). Raises ReconError where C is the identity of any size."""
        if not self.matrix:
            raise ReconError("The covariance is the identity times scale^2, of vectors of any length.", "Fit it, or give one.")
        return float(self.scale) ** 2 * matrix_of(self.matrix)

    @computed
    def density(self) -> str:
        """Return a Gaussian's, the inverse of C written out where it is given."""
        return f"exp(-({quadratic(self.matrix)})/(2*scale**2))/((sqrt(2*pi)*scale)**K*{determinant(self.matrix)})"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        z = white(x - mu, self.matrix) * (1 / self.scale)
        return z.square().sum(dim=-1) / 2 + self._constant(x)

    def _constant(self, x: Tensor) -> Tensor:
        """Return log det(2 pi scale^2 C)/2."""
        size = x.shape[-1]
        return x.new_zeros(x.shape[:-1]) + (size * (log(self.scale) + HALF_LOG_TAU) + log_root(self.matrix))

    @property
    def slope(self) -> Number:
        return 0.5 / self.scale / self.scale

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        return self._constant(x)

    def _torch_matrix(self) -> str:
        """Return C as people write it for torch."""
        rows = matrix_of(self.matrix).tolist() if self.matrix else None
        return "torch.eye(x.shape[-1], dtype=x.dtype)" if rows is None else f"torch.tensor({rows}, dtype=x.dtype)"

    @property
    def length(self) -> int | None:
        return len(lower_of(self.matrix)) if self.matrix else None

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the one that ``covariance=FILE.npy,scale=2`` says; or its numbers are written, ``covariance=1 0.6; 0.6 1``."""
        parts = [part for part in text.split(",") if part.strip()]
        given = [part.partition("=")[2].strip() for part in parts if part.partition("=")[0].strip() == "covariance"]
        rest = ",".join(part for part in parts if part.partition("=")[0].strip() != "covariance")
        if not given:
            return super().parse(rest)
        if len(given) > 1:
            raise ReconError(f"{cls.name} is given covariance twice.", "Give it once.")
        kind: Any = of_matrix(checked(read(given[0])))
        parsed: Self = kind.parse(rest) if rest else kind()
        return parsed

    def spelled(self, exact: bool = False) -> str:
        """Return it as on the command line; a covariance of many components by its size, unless that is to be ``exact``."""
        own = super().spelled(exact)
        if not self.matrix:
            return own
        matrix = matrix_of(self.matrix)
        rows = "; ".join(" ".join(repr(float(value)) if exact else f"{value:g}" for value in row) for row in matrix)
        return f"{own},covariance={rows if exact or len(matrix) <= FEW else f'<{len(matrix)}x{len(matrix)}>'}"

    @classmethod
    def unasked(cls, x: Tensor) -> str:
        """Return why so many numbers are not fitted to data unless they are asked for; nothing where they are few."""
        size = x.shape[-1] if x.ndim else 1
        if x.ndim == 2 and size <= COLUMNS and len(x) >= 10 * size:
            return ""
        return f"of vectors of {size:,} its covariance has {size * (size + 1) // 2:,} numbers: it is fitted where it is named"

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> MultivariateGaussian:
        """Return the one of the covariance that makes the data most likely; of a given C, of the scale.

        Raises ReconError where the covariance is singular.
        """
        return self.refit(x, mu) if self.matrix else fitted(wide(x) - wide(mu))

    def at_mean_loss(self, loss: Callable[[], float]) -> MultivariateGaussian | None:
        """Return the one of scale^2 = loss/D, D known where C is given."""
        return replace(self, scale=math.sqrt(loss() / self.length)) if self.length else None

    def weighted_fit(self, x: Tensor, mu: Tensor, weights: Tensor) -> MultivariateGaussian:
        """Return the same of vectors that count as ``weights`` say."""
        if self.matrix:
            return self.refit(x, mu, weights)
        shares = wide(weights).reshape(-1)
        error = (wide(x) - wide(mu)).reshape(-1, x.shape[-1])
        return fitted(error * (shares * (len(error) / shares.sum())).sqrt().unsqueeze(-1))

    def refit(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> MultivariateGaussian:
        """Return the one of the scale that fits best, C as it is."""
        squares = self.loss(wide(x), wide(mu)).flatten()
        shares = squares.new_ones(len(squares)) if weights is None else wide(weights).flatten()
        return replace(self, scale=math.sqrt(float((squares * shares).sum() / shares.sum()) / x.shape[-1]))

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> MultivariateGaussian:
        """Return the one of scale^2 = 1/(2 slope), the covariance that of the loss."""
        kind = cls if loss is None else of_matrix(getattr(loss, "matrix", b""))
        return kind(scale=math.sqrt(0.5 / positive(slope)))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        draw = mu.new_empty(mu.shape).normal_(generator=generator) * self.scale
        return mu + (draw @ root_like(self.matrix, draw).mT if self.matrix else draw)

    def __reduce__(self) -> Any:
        """Return how to make it again: the class of a covariance has no name by which it could be found."""
        if type(self) is not of_matrix(self.matrix):
            return super().__reduce__()
        return _again, (self.matrix, self.scale), {**vars(self)}


def _again(matrix: bytes, scale: Number) -> MultivariateGaussian:
    """Return a likelihood as it was written."""
    return of_matrix(matrix)(scale=scale)  # type: ignore[arg-type]


@functools.lru_cache(256)
def of_matrix(matrix: bytes) -> type[MultivariateGaussian]:
    """Return the class of likelihoods of this C, as bytes: the same class for the same numbers."""
    if not matrix:
        return MultivariateGaussian
    own: Any = type("SquaredMahalanobis", (SquaredMahalanobis,), {"matrix": matrix, "__doc__": SquaredMahalanobis.__doc__})
    space = {
        "matrix": matrix,
        "loss": own(),
        "__doc__": MultivariateGaussian.__doc__,
        "__module__": MultivariateGaussian.__module__,
    }
    kind: Any = type("MultivariateGaussian", (MultivariateGaussian,), space)
    own.name = SquaredMahalanobis.name
    family: type[MultivariateGaussian] = kind
    return family


def checked(covariance: ArrayLike) -> bytes:
    """Return a covariance as bytes. Raises ReconError, one sentence, for what is no covariance."""
    values = numpy.array(as_array(covariance, "The covariance"), dtype=numpy.float64)
    way = "Give the (D, D) matrix of variances and covariances of x - mu, as numpy.cov((x - mu).T) makes it."
    if values.ndim != 2 or values.shape[0] != values.shape[1] or not len(values):
        raise ReconError(f"A covariance is a square matrix, and this has shape {values.shape}.", way)
    if not numpy.isfinite(values).all():
        raise ReconError("The covariance has numbers that are not finite.", way)
    if (off := float(abs(values - values.T).max())) > 1e-6 * abs(values).max():
        raise ReconError(f"A covariance is symmetric, and this is off by {off:.3g}.", way)
    values = (values + values.T) / 2
    least, most = numpy.linalg.eigvalsh(values)[[0, -1]]
    if not least > NEARLY * max(most, 0):
        raise ReconError(
            f"The covariance is not positive definite: its eigenvalues run from {least:.3g} to {most:.3g}.",
            "No density has it: leave out columns that others determine, or add a little to its diagonal.",
        )
    return bytes(values.tobytes())


def fitted(errors: Tensor) -> MultivariateGaussian:
    """Return the likelihood whose covariance is the mean of e e', scale^2 being the mean variance."""
    rows = errors.reshape(-1, errors.shape[-1])
    count, size = rows.shape
    if size > MOST:
        raise ReconError(f"A full covariance of {size:,} numbers is not fitted, of {MOST:,} at most.", "Take low-rank-gaussian.")
    moments = (rows.mT @ rows / count).cpu().double().numpy()
    variance = float(numpy.trace(moments)) / size
    if not 0 < variance < math.inf:
        raise ReconError(
            "No covariance makes these data most likely: every vector is reconstructed exactly.", "Give the noise yourself."
        )
    try:
        return of_matrix(checked(moments / variance))(scale=math.sqrt(variance))
    except ReconError as error:
        few = f", of {count:,} vectors of {size:,} numbers" if count <= size else ""
        raise ReconError(
            f"No covariance makes these data most likely{few}: {error.message[0].lower()}{error.message[1:]}",
            "The likelihood grows without end along residuals that are always 0: leave out columns that others determine.",
        ) from error


def read(word: str) -> Array:
    """Return the matrix of a file, npy or text, or of ``1 0.6; 0.6 1``. Raises ReconError for what is neither."""
    if not word.lower().endswith((".npy", ".csv", ".txt")):
        try:
            return numpy.array([[float(number) for number in row.split()] for row in word.strip("[] ").split(";")])
        except ValueError as error:
            raise ReconError(
                f"{word!r} is no covariance.", "Write covariance=FILE.npy, or its rows: covariance=1 0.6; 0.6 1, in quotes."
            ) from error
    if word.lower().endswith(".npy"):
        return read_file(word, lambda: numpy.load(word, allow_pickle=False))
    return read_file(word, lambda: numpy.loadtxt(word, delimiter="," if word.lower().endswith(".csv") else None, ndmin=2))


def matrix_of(matrix: bytes) -> Array:
    """Return C as an array, (D, D)."""
    values = numpy.frombuffer(matrix)
    return values.reshape(math.isqrt(len(values)), -1)


@functools.lru_cache(64)
def lower_of(matrix: bytes) -> Array:
    """Return the root of C, lower triangular, (D, D)."""
    return numpy.linalg.cholesky(matrix_of(matrix)).astype(numpy.float64)


def root_like(matrix: bytes, example: Tensor) -> Tensor:
    """Return the root as a tensor like another."""
    import torch

    return torch.tensor(lower_of(matrix), dtype=example.dtype, device=example.device)


def white(e: Tensor, matrix: bytes) -> Tensor:
    """Return what ``e`` is in units of the root. Raises ReconError for vectors of another length."""
    if not matrix:
        return e
    root = root_like(matrix, e)
    if e.shape[-1] != len(root):
        raise ReconError(
            f"The covariance is of vectors of {len(root)} numbers, and these have {e.shape[-1]} along the last axis.",
            "Give the covariance of these vectors.",
        )
    return whitened(e, root)


def log_root(matrix: bytes) -> float:
    """Return log det C/2."""
    return math.fsum(numpy.log(lower_of(matrix).diagonal())) if matrix else 0.0


def quadratic(matrix: bytes) -> str:
    """Return (x - mu)' C^-1 (x - mu) as text: of a few components with the root's numbers, by forward substitution."""
    if not matrix:
        return "Sum((x[k] - mu[k])**2, (k, 1, K))"
    root = lower_of(matrix)
    if len(root) > FEW + 1:
        raise ReconError(
            f"A covariance of {len(root)} components is not written out, of {FEW + 1} at most.",
            "The formula is the same for any.",
        )
    parts: list[str] = []
    for k, row in enumerate(root):
        before = "".join(f" - {written(row[j])}*{parts[j]}" for j in range(k))
        parts.append(f"((x[{k + 1}] - mu[{k + 1}]{before})/{written(row[k])})")
    return " + ".join(f"{part}**2" for part in parts)


def determinant(matrix: bytes) -> str:
    """Return the root of det C as text."""
    return "*".join(written(value) for value in lower_of(matrix).diagonal()) if matrix else "1"


def written(value: float) -> str:
    """Return a number exactly, as a fraction that formulas can hold."""
    top, bottom = float(value).as_integer_ratio()
    return f"({top}/{bottom})" if bottom > 1 else f"({top})"
