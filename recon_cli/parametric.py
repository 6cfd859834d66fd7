"""Things with named numbers: a likelihood with its noise, a loss with its threshold.

A :class:`Parametric` is a frozen dataclass whose fields are the numbers, so parsing, help, equality and
``repr`` are free; each field knows the :class:`Interval` its value lies in.
"""

from __future__ import annotations

import dataclasses
import math
import numbers
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from recon_cli.errors import ReconError, nearest

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

Number: TypeAlias = "float | Tensor"


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
SHARE = Interval(0, 1, closed=False)
BINARY = Interval(0, 1, whole=True)
COUNT = Interval(0, whole=True)


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
    import torch

    margin = (domain.high - domain.low) * max(1e-3, 4 * torch.finfo(mu.dtype).eps)
    kept = mu.clamp(domain.low + margin, domain.high - margin)
    return kept, int((kept != mu).sum())


def parameter(default: float, meaning: str, domain: Interval = POSITIVE) -> Any:
    """A named number: a dataclass field that knows where its value may lie and what it means."""
    return dataclasses.field(default=default, metadata={"domain": domain, "meaning": meaning})


class Parametric:
    """Something whose fields, each a :func:`parameter`, are numbers: checked, spelled and read back.

    A field may also hold a tensor that is being learned, or a symbol: those are not checked.
    """

    name: ClassVar[str]

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):  # type: ignore[arg-type]
            value, domain = getattr(self, field.name), field.metadata["domain"]
            if isinstance(value, str):
                value = as_number(f"{self.name}'s {field.name}", value)
            if isinstance(value, (str, numbers.Real)):
                object.__setattr__(self, field.name, value := float(value))
            if isinstance(value, float) and not domain.contains(value):
                raise ReconError(
                    f"{self.name} cannot have {field.name} = {value!r}: "
                    f"{field.name} ({field.metadata['meaning']}) lies in {domain}.",
                    f"Write {self.name}:{field.name}={field.default:g}, say.",
                )

    @property
    def parameters(self) -> dict[str, Number]:
        """The numbers by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Self:
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
        raise ReconError(f"{what} must be a finite number; found {text!r}.", "Give one, such as 0.5.")
    return number


def _ways_out(name: str, key: str, known: list[str]) -> str:
    if not known:
        return f"It takes none: write {name}."
    meant = nearest(key, known) or known[0]
    return f"It takes {', '.join(known)}: write {name}:{meant}=0.5, say."
