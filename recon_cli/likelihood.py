"""THE idea: a reconstruction loss is a likelihood in disguise.

    -log p(x | mu)  =  slope * loss(x, mu)  +  offset(x)  +  gap(mu)

A :class:`Likelihood` states that line three times, independently: ``density`` (the formula, as text),
``nll`` (stable code, written from the density) and the claim (``slope``, ``offset``, ``gap``). The
proofs, the measurements and the tests are these three set against each other.
"""

from __future__ import annotations

import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar

from recon_cli.errors import ReconError, nearest
from recon_cli.losses import IDENTITY, Link, Loss, shapes_differ

if TYPE_CHECKING:
    from torch import Generator, Tensor

Number: TypeAlias = "float | Tensor"
Method = TypeVar("Method", bound=Callable[..., Any])


@dataclass(frozen=True)
class Interval:
    """Where a value may lie: from ``low`` to ``high``, an infinite end always open.

    closed
        whether finite ends belong to it.
    whole
        whether only whole numbers do (``Interval(0, 1, whole=True)`` is {0, 1}).
    """

    low: float = -math.inf
    high: float = math.inf
    closed: bool = True
    whole: bool = False

    def contains(self, value: Any) -> Any:
        """Whether ``value`` lies inside: a bool for a number, a mask of the same shape for a tensor."""
        inside = (value >= self.low) & (value <= self.high) & (abs(value) < math.inf)
        if not self.closed:
            inside = inside & (value > self.low) & (value < self.high)
        return inside & (value % 1 == 0) if self.whole else inside

    def __str__(self) -> str:
        if self.whole:
            return "{0, 1}" if self.high == 1 else "the whole numbers from " + f"{self.low:g} up"
        if self.low == -math.inf and self.high == math.inf:
            return "the real numbers"
        left = "[" if self.closed and self.low > -math.inf else "("
        right = "]" if self.closed and self.high < math.inf else ")"
        return f"{left}{self.low:g}, {self.high:g}{right}"


REAL = Interval()
POSITIVE = Interval(0, closed=False)
UNIT = Interval(0, 1)
BINARY = Interval(0, 1, whole=True)


def check(values: Tensor, allowed: Interval, what: str, rule: str) -> None:
    """Raise ReconError unless every value is ``allowed``, saying how many are not and where the first is."""
    bad = ~allowed.contains(values)
    if bad.any():
        first = tuple(bad.nonzero()[0].tolist())
        raise ReconError(
            f"{int(bad.sum()):,} of {values.numel():,} values of {what} are outside what {rule}, {allowed}: "
            f"they run from {values.min().item():g} to {values.max().item():g}, "
            f"the first at index {first} is {values[first].item():g}.",
            "Scale the values, or choose a likelihood for real numbers (gaussian, laplace).",
        )


def inside(mu: Tensor, domain: Interval) -> tuple[Tensor, int]:
    """Means moved inside a bounded domain, a thousandth of its width from the ends, and how many moved."""
    if not math.isfinite(domain.high - domain.low):
        return mu, 0
    margin = (domain.high - domain.low) / 1000
    kept = mu.clamp(domain.low + margin, domain.high - margin)
    return kept, int((kept != mu).sum())


def parameter(default: float, meaning: str, domain: Interval = POSITIVE) -> Any:
    """A noise parameter: a dataclass field that knows where its value may lie and what it means."""
    return dataclasses.field(default=default, metadata={"domain": domain, "meaning": meaning})


def elementwise(method: Method) -> Method:
    """Make a formula in ``x`` and ``mu`` a public method on tensors, arrays and numbers.

    The shapes must be equal (no broadcasting, ever: ReconError). The formula is evaluated in float64
    and rounded once, to the floating dtype that its arguments promote to: in float32 that is
    correctly rounded wherever the formula is good to a few units of float64, values and gradients
    alike.
    """

    @functools.wraps(method)
    def evaluated(self: Likelihood, *values: Any) -> Tensor:
        import torch

        tensors = [as_tensor(value) for value in values]
        for other in tensors[1:]:
            if other.shape != tensors[0].shape:
                raise shapes_differ(tensors[0].shape, other.shape)
        dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        if not dtype.is_floating_point:
            dtype = torch.get_default_dtype()
        return method(self, *map(wide, tensors)).to(dtype)

    return evaluated  # type: ignore[return-value]


def as_tensor(value: Any) -> Tensor:
    """A tensor as it is; numbers, lists and arrays in the precision they have (a float is float64)."""
    import numpy
    import torch

    return value if isinstance(value, torch.Tensor) else torch.from_numpy(numpy.asarray(value))


def wide(value: Tensor) -> Tensor:
    """In float64 (in float32 on Apple's GPUs, which have no float64)."""
    import torch

    return value.to(torch.float32 if value.device.type == "mps" else torch.float64)


def log(value: Number) -> Number:
    """The natural logarithm of a noise parameter: a number, or a tensor that is being learned."""
    return math.log(value) if isinstance(value, (int, float)) else value.log()


class Likelihood(ABC):
    """A noise model p(x | mu), elementwise and independent, and the loss it is claimed to be.

    Subclasses are frozen dataclasses whose fields are the noise parameters (each a
    :func:`parameter`), one to a file of ``recon_cli/likelihoods``; the file's name is the name on
    the command line. Every method takes and returns tensors of one shape, in nats.

    loss
        the matching loss, of ``x`` and ``mu``.
    raw_loss
        the same of the decoder's raw output, where people write it so (BCE with logits).
    density
        p(x | mu) as text in ``x``, ``mu`` and the fields. Read by ``derive`` and the tests, never by nll.
    support, domain
        where ``x`` and where ``mu`` may lie.
    link
        how the decoder's raw output becomes ``mu``.
    misprints
        densities that were printed for this one somewhere and are none; ``derive`` refutes them.
    best_noise
        what ``fit`` finds, in words.
    relaxation
        the likelihood to measure when data leave ``support`` but not the hull of it (grey levels).
    """

    name: ClassVar[str]
    loss: ClassVar[Loss]
    raw_loss: ClassVar[Loss | None] = None
    density: ClassVar[str]
    support: ClassVar[Interval] = REAL
    domain: ClassVar[Interval] = REAL
    link: ClassVar[Link] = IDENTITY
    misprints: ClassVar[tuple[str, ...]] = ()
    best_noise: ClassVar[str] = ""
    relaxation: ClassVar[str | None] = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__module__.rpartition(".")[2].replace("_", "-")

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, domain = getattr(self, field.name), field.metadata["domain"]
            if isinstance(value, (int, float)) and not domain.contains(value):
                raise ReconError(
                    f"{self.name} cannot have {field.name} = {value!r}: "
                    f"{field.name} ({field.metadata['meaning']}) lies in {domain}."
                )

    # What the likelihood is.

    @abstractmethod
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        """-log p(x | mu) in nats, elementwise, written from the density. Shapes must be equal."""

    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        """-log p(x | mu) where ``raw`` is the decoder's output, ``mu = link.inverse(raw)``."""
        return self.nll(x, self.link.inverse(raw))

    @abstractmethod
    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """A draw of ``x`` for every element of ``mu``."""

    # What it claims.

    @property
    @abstractmethod
    def slope(self) -> Number:
        """``a`` in -log p = a * loss + b + c: the whole difference between the loss and the likelihood."""

    @abstractmethod
    def offset(self, x: Tensor) -> Tensor:
        """``b(x)``, in nats, elementwise. It is not given mu, so it *cannot* move a gradient."""

    def gap(self, mu: Tensor) -> Tensor:
        """``c(mu)``, in nats, elementwise: what the loss forgets and may not. Zero unless overridden."""
        return mu.new_zeros(mu.shape)

    # For which noise.

    @classmethod
    def fit(cls, x: Tensor, mu: Tensor) -> Likelihood:
        """The maximum-likelihood noise given data and their means. Nothing to fit without parameters."""
        return cls()

    @classmethod
    def with_slope(cls, slope: float) -> Likelihood:
        """The noise that a weight on the loss assumes. Raises ReconError where there is none."""
        if slope == 1:
            return cls()
        raise ReconError(
            f"{cls.name} has no noise parameter: its slope is always 1, never {slope:g}.",
            "A weight on this loss is a beta on the KL, not a noise.",
        )

    # How it is spelled.

    @property
    def parameters(self) -> dict[str, Number]:
        """The noise parameters by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Likelihood:
        """From ``name=value,name=value``, as after the colon on the command line."""
        known = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
        values: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            key, _, value = (piece.strip() for piece in part.partition("="))
            if key not in known:
                raise ReconError(f"{cls.name} has no parameter {key!r}.", _ways_out(cls.name, key, known))
            if key in values:
                raise ReconError(f"{cls.name} is given {key} twice.", "Give it once.")
            values[key] = as_number(f"{cls.name}'s {key}", value)
        return cls(**values)

    @property
    def losses(self) -> tuple[Loss, ...]:
        """Every loss that it claims for its own: of mu, and of the raw output."""
        return tuple(loss for loss in (self.loss, self.raw_loss) if loss is not None)

    def __str__(self) -> str:
        """As on the command line: ``laplace:scale=0.2``."""
        values = ",".join(f"{key}={float(value):g}" for key, value in self.parameters.items())
        return f"{self.name}:{values}" if values else self.name


def as_number(what: str, text: str) -> float:
    """``text`` as a finite number, or a ReconError that says ``what`` it was meant for."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ReconError(f"{what} must be a finite number; found {text!r}.")
    return number


def positive(slope: float) -> float:
    """A slope that a noise can have. Raises ReconError for any other."""
    if not (slope > 0 and math.isfinite(slope)):
        raise ReconError(f"A slope must be a positive number; found {slope!r}.", "A loss is a cost: it is minimised.")
    return slope


def _ways_out(name: str, key: str, known: list[str]) -> str:
    if not known:
        return f"It takes none: write {name}."
    meant = nearest(key, known) or known[0]
    return f"It takes {', '.join(known)}: write {name}:{meant}=0.5, say."
