"""Data as functions of a number of the whole line: what an integral over them runs in."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = "np.ndarray[Any, Any]"


@dataclass(frozen=True)
class Coordinate:
    """Data x as a function of a number u of the whole line, from the edges that pieces begin with.

    log_width
        of u, log dx/du, and as_x: the same in words, as a function of x.
    tilt
        the power of dx/du that e^-loss is weighed with: 1 where dx counts, 0 where du does.
    about
        whether x is laid about each prediction's mean.
    """

    name: str
    x: Callable[[Array], Array]
    log_width: Callable[[Array], Array]
    edges: tuple[float, ...]
    as_x: str = ""
    tilt: float = 1.0
    about: bool = False

    def log_measure(self, u: Array) -> Array:
        """Return the logarithm of what du counts."""
        return np.asarray(self.tilt * self.log_width(u))

    @property
    def base(self) -> str:
        """b(x) in words, where e^-loss is weighed with an e^-b(x) that is not 1."""
        many = round(1 - self.tilt, 6)
        words = f"({self.as_x})" if "+" in self.as_x and many != 1 else self.as_x
        return f"{'' if many == 1 else '-' if many == -1 else f'{many:g} '}{words}" if many else ""


def log_cosh(u: Array) -> Array:
    """Return log cosh u."""
    return np.logaddexp(u, -u) - math.log(2)


def expit(u: Array) -> Array:
    """Return 1/(1 + e^-u)."""
    with np.errstate(over="ignore"):
        return np.asarray(1 / (1 + np.exp(-u)))


def log_cubed(u: Array) -> Array:
    """Return log of d sinh(u)^3 / du."""
    with np.errstate(all="ignore"):
        return np.asarray(math.log(3) + 2 * np.log(np.abs(np.sinh(u))) + log_cosh(u))


NEAR, FAR = np.arange(-13.0, 14.0), np.arange(16.0, 41.0, 3)
# By the cube a root of the residual is smooth enough.
LINE = Coordinate("the real numbers", lambda u: np.sinh(u) ** 3, log_cubed, (*-FAR[::-1], *NEAR, *FAR), about=True)
HALF = Coordinate("x > 0", np.exp, lambda u: u, (*-2 * FAR[::-1], *2 * NEAR, *2 * FAR), "log x")
UNIT = Coordinate(
    "x from 0 to 1", expit, lambda u: -2 * log_cosh(u / 2) - math.log(4), (*np.arange(-16.0, 17.0),), "log x + log(1 - x)"
)
