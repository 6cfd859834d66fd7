"""Things with named numbers: a likelihood with its noise, a loss with its threshold.

A :class:`Parametric` is a frozen dataclass whose fields are the numbers, so parsing, help, equality and
``repr`` are free; each field knows the :class:`Interval` that its value lies in.
"""

from __future__ import annotations

import copy
import dataclasses
import math
import numbers
from collections.abc import Callable
from dataclasses import dataclass
from types import MethodType
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias, TypeVar, cast

from recon_cli.errors import ReconError, nearest
from recon_cli.identity.regions import POSITIVE, Interval

if TYPE_CHECKING:
    from typing import Self

    from torch import Tensor

Number: TypeAlias = "float | Tensor"
Owner = TypeVar("Owner")
Value = TypeVar("Value")


class class_or_instance:
    """Make a method one of the class too: ``Gaussian.fit(x, mu)`` is ``Gaussian().fit(x, mu)``, at the usual numbers."""

    def __init__(self, method: Callable[[Any, Tensor, Tensor], Any]) -> None:
        self.method = method
        self.__doc__ = method.__doc__

    def __get__(self, instance: Owner | None, owner: type[Owner]) -> Callable[[Tensor, Tensor], Owner]:
        return MethodType(self.method, owner() if instance is None else instance)


def computed(value: Callable[[Any], Value]) -> Value:
    """Return, for a class variable that depends on an instance's numbers, the property with that ``value``."""
    return cast("Value", property(value))


def parameter(default: float, meaning: str, domain: Interval = POSITIVE, exponent: bool = False) -> Any:
    """Return a named number: a dataclass field that knows where its value may lie, what it means, and if it is an exponent."""
    return dataclasses.field(default=default, metadata={"domain": domain, "meaning": meaning, "exponent": exponent})


@dataclass(frozen=True)
class Parametric:
    """Something whose fields, each a :func:`parameter`, are numbers: checked, spelled and read back.

    A field may also hold a tensor that is being learned, or a symbol: those are not checked. ``sized_by`` is the field that
    says how many numbers a decoder gives for an element, where one does; ``derived`` are attributes made of the fields.
    """

    name: ClassVar[str]
    sized_by: ClassVar[str] = ""
    derived: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (str, numbers.Real)):
                continue
            if isinstance(value, str):
                value = as_number(f"{self.name}'s {field.name}", value, example(field))
            object.__setattr__(self, field.name, value := float(value))
            if not (domain := field.metadata["domain"]).contains(value):
                raise ReconError(
                    f"{self.name} cannot have {field.name} = {value!r}: "
                    f"{field.name} ({field.metadata['meaning']}) lies in {domain}.",
                    f"Write {self.name}:{field.name}={field.default:g}, say.",
                )

    def with_unchecked(self, **values: object) -> Self:
        """Return the same with other values for some attributes, which are not looked at: a compiler could not."""
        if not type(self).__module__.startswith("recon_cli."):  # somebody's own class, which may keep anything
            same = copy.copy(self)
        else:  # attribute by attribute, for torch's compiler knows no copy before torch 2.12
            same = object.__new__(type(self))
            for name in (*(field.name for field in dataclasses.fields(self)), *self.derived):
                object.__setattr__(same, name, getattr(self, name))
        for name, value in values.items():
            object.__setattr__(same, name, value)
        return same

    def usual(self, x: Tensor, mu: Tensor) -> Tensor | None:
        """Return which elements a kernel is for, where others are computed otherwise and are few; None where it is for all."""

    @property
    def parameters(self) -> dict[str, Number]:
        """The numbers by name."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    @property
    def factors(self) -> dict[str, Number]:
        """The numbers that formulas name: all but the one that says how long they are."""
        return {name: value for name, value in self.parameters.items() if name != self.sized_by}

    @classmethod
    def parse(cls, text: str) -> Self:
        """Return the one that ``name=value,name=value`` says, as after the colon on the command line."""
        examples = {field.name: example(field) for field in dataclasses.fields(cls)}
        values: dict[str, float] = {}
        for part in filter(None, text.split(",")):
            key, _, value = (piece.strip() for piece in part.partition("="))
            if key not in examples:
                raise ReconError(f"{cls.name} has no parameter {key!r}.", _ways_out(cls.name, key, examples))
            if key in values:
                raise ReconError(f"{cls.name} is given {key} twice.", "Give it once.")
            values[key] = as_number(f"{cls.name}'s {key}", value, examples[key])
        return cls(**values)

    def __str__(self) -> str:
        """As on the command line: ``laplace:scale=0.2``."""
        return self.spelled()

    def spelled(self, exact: bool = False) -> str:
        """Return it as on the command line; where ``exact`` with all digits, and the place of a class of somebody's own."""
        numbers = {key: size(value) for key, value in self.parameters.items()}
        values = ",".join(f"{key}={value!r}" if exact else f"{key}={value:g}" for key, value in numbers.items())
        name = (getattr(self, "word", "") if exact else "") or self.name
        return f"{name}:{values}" if values else name


def size(value: Number) -> float:
    """Return a number; of a tensor of several (an element's each) their root mean square."""
    return float(value.double().square().mean().sqrt()) if getattr(value, "ndim", 0) else float(value)  # type: ignore[union-attr]


def as_number(what: str, text: str, example: str = "0.5") -> float:
    """Return ``text`` as a finite number, or a ReconError that says ``what`` it was meant for, with an ``example``."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise ReconError(f"{what} must be a finite number; found {text!r}.", f"Give one, such as {example}.")
    return number


def as_whole(text: str) -> int | None:
    """Return ``text`` as a whole number from 0 up to 2^63 - 1, or None: Python itself refuses to read 5000 digits."""
    number = int(text) if text.isdecimal() and len(text) < 20 else None
    return None if number is None or number >= 2**63 else number


def example(field: dataclasses.Field[Any]) -> str:
    """Return a value that a field can have: 0.5, or its usual one where that is a whole number or larger."""
    domain = field.metadata["domain"]
    return "0.5" if domain.contains(0.5) and not domain.whole else f"{field.default:g}"


def _ways_out(name: str, key: str, examples: dict[str, str]) -> str:
    if not examples:
        return f"It takes none: write {name}."
    meant = nearest(key, examples) or next(iter(examples))
    return f"It takes {', '.join(examples)}: write {name}:{meant}={examples[meant]}, say."
