"""The losses people write, each as formula and as function.

A loss is the right-hand side of the identity: ``-log p(x | mu) = slope * loss(x, mu) + offset + gap``.
Here it is what a training script calls, torch's own functional, elementwise (but for those that
lose their digits); the three reductions of torch and of the VAE literature are :data:`REDUCTIONS`.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.parametric import Number, Parametric, parameter
from recon_cli.identity.regions import REAL, UNIT, Region
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import none_below, product

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Link:
    """How a decoder's raw output ``r`` becomes ``mu``: ``mu = inverse(r)``.

    formula is ``inverse`` as text in ``r``, for the derivations.
    """

    name: str
    formula: str
    forward: Callable[[Tensor], Tensor] = field(repr=False, compare=False)
    inverse: Callable[[Tensor], Tensor] = field(repr=False, compare=False)


def raw_names(count: int) -> list[str]:
    """Return what the raw outputs are called in a link's formula, where there are several numbers for an element: r, s, t..."""
    return [*"rstuvw"[:count]] if count <= 6 else [f"r{k}" for k in range(1, count + 1)]


def _same(value: Tensor) -> Tensor:
    return value


IDENTITY = Link("identity", "r", _same, _same)
LOG = Link("log", "exp(r)", lambda mu: mu.log(), lambda raw: raw.exp())
LOGIT = Link("logit", "1/(1 + exp(-r))", lambda mu: mu.logit(), lambda raw: raw.sigmoid())


@dataclass(frozen=True)
class Loss(Parametric):
    """A loss between data ``x`` and what a decoder predicts, elementwise. Its fields are its own numbers.

    name, aliases
        what it is called on the command line.
    formula
        text in ``x``, ``mu`` and the fields, read by ``derive`` and by the tests.
    torch
        what people call: the name in ``torch.nn.functional``, or what they write where it has none.
    condition
        what torch's function must be given to be this, or where it is not; what letters of theirs stand for; else empty.
    support, domain
        where ``x`` and where ``mu`` may lie.
    link
        what the second argument is: ``mu`` itself (identity), or a raw output such as logits.
    convention
        the factor that the literature puts in front (1/2 for squared error).
    event, head
        as the likelihood's: of vectors, and of several numbers for each element.
    reason
        why it is no likelihood, where it is none.
    """

    aliases: ClassVar[tuple[str, ...]] = ()
    formula: ClassVar[str]
    torch: ClassVar[str]
    condition: ClassVar[str] = ""
    support: ClassVar[Region] = REAL
    domain: ClassVar[Region] = REAL
    link: ClassVar[Link] = IDENTITY
    convention: ClassVar[float] = 1.0
    event: ClassVar[int] = 0
    head: ClassVar[tuple[str, ...]] = ()
    reason: ClassVar[str] = ""

    def __call__(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Return the loss of every element: shape of ``x``, which must be that of ``prediction``.

        Raises ReconError where the shapes differ: torch would broadcast.
        """
        fitting_shapes(self, x.shape, prediction.shape)
        return self.values(x, prediction)

    def canonical(self) -> tuple[Loss, Number]:
        """Return the loss that this one is, whatever ``x`` and ``mu``, but for a factor, and the factor: itself, by default."""
        return self, 1.0

    def per(self, other: Loss) -> Number | None:
        """Return how many times ``other`` this loss is, whatever ``x`` and ``mu``; None where no number is."""
        (mine, factor), (theirs, divisor) = self.canonical(), other.canonical()
        if type(mine) is not type(theirs):
            return None
        pairs = zip(mine.parameters.values(), theirs.parameters.values(), strict=True)
        return factor / divisor if all(a is b or _equal(a, b) for a, b in pairs) else None

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Return torch's own functional, elementwise, unless overridden."""
        from torch.nn import functional

        loss: Tensor = getattr(functional, self.torch)(prediction, x, reduction="none", **self.parameters)
        return loss


def _equal(one: Number, other: Number) -> bool:
    """Return whether two numbers are equal, to a few roundings of the product that one of them may be; of tensors none is."""
    return all(isinstance(value, (int, float)) for value in (one, other)) and math.isclose(one, other, rel_tol=1e-15)


class SquaredError(Loss):
    """(x - mu)^2."""

    name = "squared-error"
    aliases = ("mse", "sse", "l2")
    formula = "(x - mu)**2"
    torch = "mse_loss"
    convention = 0.5


class AbsoluteError(Loss):
    """|x - mu|."""

    name = "absolute-error"
    aliases = ("l1", "mae", "l1-norm")
    formula = "Abs(x - mu)"
    torch = "l1_loss"


def likely(x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
    """Return mu for the logarithm of mu and for that of 1 - mu, neither infinite where it counts for nothing.

    1 where x = 0, and 0 where x = 1: 0 log 0 = 0, in the gradient too.
    """
    import torch

    limits = torch.finfo(mu.dtype)
    if none_below(mu, limits.tiny, 1 - limits.eps / 2):
        return mu, mu
    return mu.where(x > 0, 1), mu.where(x < 1, 0)


def coin_entropy(x: Tensor, mu: Tensor) -> Tensor:
    """Return -x log mu - (1 - x) log(1 - mu), where what is multiplied by 0 counts for nothing."""
    on, off = likely(x, mu)
    return product(x, on.log(), (x - 1) * (-off).log1p_(), -1)


class BinaryCrossEntropy(Loss):
    """-x log mu - (1 - x) log(1 - mu)."""

    name = "binary-cross-entropy"
    aliases = ("bce",)
    formula = "-x*log(mu) - (1 - x)*log(1 - mu)"
    torch = "binary_cross_entropy"
    condition = "but that it stops logarithms at -100"
    support = UNIT
    domain = UNIT

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own clamps the logarithm at -100 and the gradient's p(1 - p) at 1e-12."""
        return coin_entropy(x, prediction)


class BinaryCrossEntropyWithLogits(BinaryCrossEntropy):
    """The same of the logit of mu."""

    name = "binary-cross-entropy-with-logits"
    aliases = ("bce-with-logits",)
    torch = "binary_cross_entropy_with_logits"
    link = LOGIT

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's own computes (1 - x) l - logsigmoid(l): dead beyond 17 in float32, gradient and all."""
        from torch.nn.functional import logsigmoid

        return -(x * logsigmoid(prediction).where(x > 0, 0) + (1 - x) * logsigmoid(-prediction).where(x < 1, 0))


@dataclass(frozen=True)
class LogCosh(Loss):
    """log cosh((x - mu)/scale): quadratic near zero, linear in the tails."""

    scale: float = parameter(1.0, "where it turns from quadratic to linear")

    name = "log-cosh"
    aliases = ("logcosh",)
    formula = "log(cosh((x - mu)/scale))"
    torch = "log(cosh((x - mu)/scale))"

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; written as people write it, log(cosh(z)) is infinite beyond 89 in float32."""
        return log_cosh((prediction - x) / self.scale)


def log_cosh(z: Tensor) -> Tensor:
    """Return log cosh z: by sinh near zero, where cosh z - 1 would lose every digit; by its tail away from it."""
    size = z.abs()
    small = size < 1
    near, far = size.clamp(max=1), size.clamp(min=1)
    middle = (2 * (near / 2).sinh().square()).log1p()
    return middle.where(small, far - math.log(2) + (-2 * far).exp().log1p())


@dataclass(frozen=True)
class Lorentzian(Loss):
    """log(1 + ((x - mu)/width)^2): Cauchy's at df = 1, of redescending influence."""

    width: float = parameter(1.0, "where it turns from quadratic to logarithmic")

    name = "lorentzian"
    aliases = ("cauchy",)
    formula = "log(1 + ((x - mu)/width)**2)"
    torch = "log1p(((x - mu)/width)**2)"

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch has none; log1p of the square, or of its own size where the square would overflow."""
        return log_one_plus_square((x - prediction) / self.width)


def log_one_plus_square(z: Tensor) -> Tensor:
    """log(1 + z^2), finite wherever z is."""
    size = z.abs()
    small = size < 1e8
    near, far = size.where(small, 0), size.where(~small, 1)
    return (near * near).log1p().where(small, 2 * far.log())


@dataclass(frozen=True)
class Reduction:
    """What turns a batch of B samples of D elements into one number: ``sum / divisor``."""

    name: str
    divisor: str
    meaning: str

    def count(self, samples: int, elements: int) -> int:
        """Return what the sum over B = ``samples`` of D = ``elements`` each is divided by."""
        return {"1": 1, "B": samples, "B*D": samples * elements}[self.divisor]

    def __call__(self, values: Tensor) -> Tensor:
        """Return one number from elementwise values of shape (B, ...)."""
        samples = len(values)
        return values.sum() / self.count(samples, values.numel() // samples)


REDUCTIONS = (
    Reduction("sum", "1", "summed over everything"),
    Reduction("mean", "B*D", "averaged over everything, torch's default"),
    Reduction("batch-mean", "B", "summed over a sample's elements, averaged over the batch"),
)


def as_reduction(word: str) -> str:
    """Return the name of a reduction in this vocabulary: torch's ``batchmean`` and others' ``mean_batch`` are ``batch-mean``."""
    name = word.strip().lower().replace("_", "-")
    return re.sub("mean-batch|batchmean", "batch-mean", name)
