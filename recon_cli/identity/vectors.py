"""Where vectors of real numbers may lie, and what a decoder gives for each of their components."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from recon_cli.identity.regions import Outputs, Region, first_of

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class RealVector(Region):
    """Vectors of real numbers, along the last axis."""

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "vectors"
    way_out: ClassVar[str] = "Leave out the vectors that are not finite."

    def contains(self, values: Tensor) -> Tensor:
        inside: Tensor = (abs(values) < math.inf).all(-1)
        return inside

    def beyond(self, values: Tensor) -> Tensor:
        """Return false throughout: the real numbers have no ends."""
        return super().beyond(values).any(dim=-1)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        first = first_of(outside)
        odd = first_of(~(abs(values[first]) < math.inf))
        return f"the first, at index {first}, has {values[first][odd].item():g} at {odd[0]}."

    def __str__(self) -> str:
        return "vectors of real numbers"


REAL_VECTORS = RealVector()


@dataclass(frozen=True)
class VectorOutputs(Outputs):
    """What a decoder gives for each component of a vector, along the last axis; the components are the axis before it."""

    axes: ClassVar[int] = 2
    unit: ClassVar[str] = "vectors"
    way_out: ClassVar[str] = "Give every one of these numbers for each component, along a last axis."

    def of(self, k: int) -> tuple[tuple[str, Region], ...]:
        """Return names and regions of what is given for the k-th component, counted from 0."""
        del k
        return self.parts

    def contains(self, values: Tensor) -> Tensor:
        return self.each(values).all(dim=-1)

    def beyond(self, values: Tensor) -> Tensor:
        return super().beyond(values).any(dim=-1)

    def each(self, values: Tensor) -> Tensor:
        """Return whether what is given for each component lies inside."""
        return super().contains(values)

    def fault(self, values: Tensor, outside: Tensor) -> str:
        first = first_of(outside)
        (k,) = first_of(~self.each(values[first]))
        wrong = [f"{name} = {values[first][k, i].item():g}" for i, (name, region) in enumerate(self.of(k))
                 if not bool(region.contains(values[first][k, i]))]  # fmt: skip
        return f"the first, at index {first}, has {', '.join(wrong)} for component {k}."
