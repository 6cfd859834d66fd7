"""The losses people write, each as formula and as function.

A loss is the right-hand side of the identity: ``-log p(x | mu) = slope * loss(x, mu) + offset + gap``.
Here it is what a training script calls, torch's own functional, elementwise (but for the one that
loses its digits); the three reductions of torch and of the VAE literature are :data:`REDUCTIONS`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from recon_cli.errors import ReconError, unknown

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


def _same(value: Tensor) -> Tensor:
    return value


IDENTITY = Link("identity", "r", _same, _same)
LOGIT = Link("logit", "1/(1 + exp(-r))", lambda mu: mu.logit(), lambda raw: raw.sigmoid())


@dataclass(frozen=True)
class Loss:
    """A loss between data ``x`` and what a decoder predicts, elementwise.

    name, aliases
        what it is called on the command line.
    formula
        text in ``x`` and ``mu``, read by ``derive`` and by the tests.
    torch
        what people call: the name in ``torch.nn.functional``.
    link
        what the second argument is: ``mu`` itself (identity), or a raw output such as logits.
    convention
        the factor that the literature puts in front (1/2 for squared error).
    function
        in place of torch's, where that is no good rendering of the formula.
    """

    name: str
    formula: str
    torch: str
    aliases: tuple[str, ...] = ()
    link: Link = IDENTITY
    convention: float = 1.0
    function: Callable[[Tensor, Tensor], Tensor] | None = field(default=None, repr=False, compare=False)

    def __call__(self, x: Tensor, prediction: Tensor) -> Tensor:
        """The loss of every element: shape of ``x``, which must be that of ``prediction``.

        Raises ReconError where the shapes differ: torch would broadcast.
        """
        from torch.nn import functional

        if x.shape != prediction.shape:
            raise shapes_differ(x.shape, prediction.shape)
        if self.function is not None:
            return self.function(x, prediction)
        return getattr(functional, self.torch)(prediction, x, reduction="none")


def _with_logits(x: Tensor, logits: Tensor) -> Tensor:
    """Torch's own computes (1 - x) l - logsigmoid(l): dead beyond 17 in float32, gradient and all."""
    from torch.nn.functional import logsigmoid

    return -(x * logsigmoid(logits) + (1 - x) * logsigmoid(-logits))


SQUARED_ERROR = Loss("squared-error", "(x - mu)**2", "mse_loss", ("mse", "sse", "l2"), convention=0.5)
ABSOLUTE_ERROR = Loss("absolute-error", "Abs(x - mu)", "l1_loss", ("l1", "mae"))
BINARY_CROSS_ENTROPY = Loss("binary-cross-entropy", "-x*log(mu) - (1 - x)*log(1 - mu)", "binary_cross_entropy", ("bce",))
BINARY_CROSS_ENTROPY_WITH_LOGITS = Loss(
    "binary-cross-entropy-with-logits",
    "-x*log(mu) - (1 - x)*log(1 - mu)",
    "binary_cross_entropy_with_logits",
    ("bce-with-logits",),
    link=LOGIT,
    function=_with_logits,
)

LOSSES = (SQUARED_ERROR, ABSOLUTE_ERROR, BINARY_CROSS_ENTROPY, BINARY_CROSS_ENTROPY_WITH_LOGITS)


@dataclass(frozen=True)
class Reduction:
    """What turns a batch of B samples of D elements into one number: ``sum / divisor``."""

    name: str
    divisor: str
    meaning: str

    def count(self, samples: int, elements: int) -> int:
        """What the sum over B = ``samples`` of D = ``elements`` each is divided by."""
        return {"1": 1, "B": samples, "B*D": samples * elements}[self.divisor]

    def __call__(self, values: Tensor) -> Tensor:
        """One number from elementwise values of shape (B, ...)."""
        samples = len(values)
        return values.sum() / self.count(samples, values.numel() // samples)


REDUCTIONS = (
    Reduction("sum", "1", "summed over everything"),
    Reduction("mean", "B*D", "averaged over everything, torch's default"),
    Reduction("batch-mean", "B", "summed over a sample's elements, averaged over the batch"),
)


def find(word: str) -> Loss:
    """The loss called ``word`` (its name or an alias). Raises ReconError naming the nearest."""
    spelled = word.lower().replace("_", "-")
    for loss in LOSSES:
        if spelled == loss.name or spelled in loss.aliases:
            return loss
    raise unknown("loss", word, [name for loss in LOSSES for name in (loss.name, *loss.aliases)])


def shapes_differ(x: tuple[int, ...], mu: tuple[int, ...]) -> ReconError:
    """The error for shapes that differ: recon never broadcasts."""
    return ReconError(
        f"x has shape {spell(x)} and its reconstruction {spell(mu)}; they must be equal.",
        "recon never broadcasts: give one reconstruction for every element of the data.",
    )


def spell(shape: tuple[int, ...]) -> str:
    """A shape as people write it on the command line: ``359x8x8``."""
    return "x".join(str(size) for size in shape) or "scalar"
