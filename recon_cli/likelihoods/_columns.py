"""Columns of several kinds, as a table has them: a product of families, each of so many columns beside one another."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Link, Loss
from recon_cli.identity.parametric import Parametric, class_or_instance, computed
from recon_cli.identity.regions import Region

if TYPE_CHECKING:
    from torch import Generator, Tensor

GROUP = r"[a-z][a-z_-]*(?:\*\d{1,6})?"
WORD = re.compile(rf"{GROUP}(?:\+{GROUP})+")


class Group(NamedTuple):
    """A family, and its columns: from ``first`` to ``last``, the latter not among them."""

    family: type[Likelihood]
    first: int
    last: int

    def of(self, values: Tensor) -> Tensor:
        """Return its columns."""
        return values[..., self.first : self.last]

    @property
    def words(self) -> str:
        """Its columns and its family, for a sentence."""
        which = f"column {self.first}" if self.last == self.first + 1 else f"columns {self.first} to {self.last - 1}"
        return f"{which} ({self.family.name})"


@dataclass(frozen=True)
class Columns(Region):
    """Rows of a table, along the last axis, each group of columns in a region of its own."""

    groups: tuple[tuple[Group, Region], ...] = ()

    axes: ClassVar[int] = 1
    unit: ClassVar[str] = "rows"
    inset: ClassVar[str] = "each column in its own way"

    def each(self, look: Callable[[Region, Tensor], Tensor], values: Tensor, every: bool) -> Tensor:
        """Return whether what ``look`` sees holds in ``every`` column, or in any."""
        seen = [look(region, group.of(values)) for group, region in self.groups]
        masks = [mask if group.family.event else mask.all(-1) if every else mask.any(-1) for mask, (group, _) in
                 zip(seen, self.groups, strict=True)]  # fmt: skip
        return functools.reduce(lambda a, b: a & b if every else a | b, masks)

    def contains(self, values: Tensor) -> Tensor:
        return self.each(lambda region, part: region.contains(part), values, True)

    def beyond(self, values: Tensor) -> Tensor:
        return self.each(lambda region, part: region.beyond(part), values, False)

    def keep(self, values: Tensor) -> Tensor:
        """Return every column, kept where it may lie."""
        import torch

        return torch.cat([region.keep(group.of(values)) for group, region in self.groups], dim=-1)

    def odd(self, values: Tensor) -> tuple[Group, Region]:
        """Return the first group that some values are outside of."""
        return next((pair for pair in self.groups if not pair[1].contains(pair[0].of(values)).all()), self.groups[0])

    def fault(self, values: Tensor, outside: Tensor) -> str:
        del outside
        group, region = self.odd(values)
        part = group.of(values)
        return f"{group.words}: {region.fault(part, ~region.contains(part))}"

    def hint(self, values: Tensor) -> str:
        group, region = self.odd(values)
        return region.hint(group.of(values))

    def __str__(self) -> str:
        return "; ".join(f"{region} in {group.words}" for group, region in self.groups)


@dataclass(frozen=True)
class Grouped(Parametric):
    """Groups of columns, and the numbers of each group's family: those of the second end in 2."""

    groups: ClassVar[tuple[Group, ...]] = ()

    @property
    def parts(self) -> list[tuple[Group, Likelihood]]:
        """Each group with its likelihood."""
        return [(group, group.family(**self.own(group, i))) for i, group in enumerate(self.groups, 1)]

    def own(self, group: Group, i: int) -> dict[str, Any]:
        """Return the numbers of the i-th group."""
        return {field.name: getattr(self, f"{field.name}{i}") for field in dataclasses.fields(group.family)}

    def added(self, method: str, *values: Tensor) -> Tensor:
        """Return the sum over the columns of what a method of each group's likelihood returns."""
        sums = []
        for group, likelihood in self.parts:
            value: Tensor = getattr(likelihood.admitted(), method)(*(group.of(part) for part in values))
            sums.append(value if group.family.event else value.sum(dim=-1))
        return functools.reduce(lambda a, b: a + b, sums)

    def beside(self, function: Callable[[Likelihood, Tensor], Tensor], values: Tensor) -> Tensor:
        """Return what a function makes of each group's columns, beside one another."""
        import torch

        return torch.cat([function(likelihood, group.of(values)) for group, likelihood in self.parts], dim=-1)


class ProductLoss(Grouped, Loss):
    """The sum over the columns of each one's nll."""

    torch = formula = "the sum over the columns of each one's nll"
    event = 1
    support = computed(lambda self: Columns(groups=tuple((group, one.support) for group, one in self.parts)))
    domain = computed(lambda self: Columns(groups=tuple((group, one.domain) for group, one in self.parts)))

    @elementwise
    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        return self.added("nll", x, prediction)


class Product(Grouped, Likelihood):
    """-log p(x | mu), of a row: the sum over its columns of each one's nll, under the family of its group."""

    density = "a product over the columns"
    event = 1
    support = computed(lambda self: Columns(groups=tuple((group, one.support) for group, one in self.parts)))
    domain = computed(lambda self: Columns(groups=tuple((group, one.domain) for group, one in self.parts)))
    link = computed(lambda self: Link("each column's", "", self._forward, self._inverse))
    best_noise = "each column's own"

    def _forward(self, mu: Tensor) -> Tensor:
        return self.beside(lambda likelihood, part: likelihood.link.forward(part), mu)

    def _inverse(self, raw: Tensor) -> Tensor:
        return self.beside(lambda likelihood, part: likelihood.link.inverse(part), raw)

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        return self.added("nll", x, mu)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return self.added("nll_raw", x, raw)

    @property
    def discrete(self) -> bool:
        return all(likelihood.discrete for _, likelihood in self.parts)

    def encode(self, x: Tensor, mu: Tensor) -> Tensor:
        """Return rows as they are, or one-hot vectors of labels, where each categorical is a column of them.

        Raises ReconError for another number of columns.
        """
        import torch

        widths = [1 if group.family.name == "categorical" else group.last - group.first for group in self.groups]
        if x.shape[-1:] != mu.shape[-1:] and x.shape[-1:] == (sum(widths),) and mu.shape[-1:] == (self.groups[-1].last,):
            parts = []
            for (group, likelihood), part in zip(self.parts, x.split(widths, dim=-1), strict=True):
                hot = group.family.name == "categorical"
                parts.append(likelihood.encode(part[..., 0], group.of(mu)) if hot else part.to(mu.dtype))
            x = torch.cat(parts, dim=-1)
        for what, values in (("the data", x), ("the reconstructions", mu)):
            if values.shape[-1:] != (self.groups[-1].last,):
                raise ReconError(
                    f"{self.name} is of {self.groups[-1].last} columns, {', '.join(group.words for group in self.groups)}; "
                    f"{what} have {values.shape[-1] if values.ndim else 'none'}.",
                    "Say how many each family has, as in gaussian*2+categorical*3; --columns leaves some out.",
                )
        return x

    @classmethod
    def designed(cls, x: Tensor) -> Product:
        """Return the one with the design that each group's columns have."""
        numbers: dict[str, Any] = {}
        for i, group in enumerate(cls.groups, 1):
            part = group.of(x)
            usual = group.family.designed(part) if part.numel() else group.family()
            numbers |= {f"{name}{i}": value for name, value in usual.design.items()}
        return cls(**numbers)

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> Product:
        """Return the one with the noise of each group that fits its columns."""
        numbers: dict[str, Any] = {}
        for i, (group, likelihood) in enumerate(self.parts, 1):
            best = likelihood.fit(group.of(x), group.of(mu))
            numbers |= {f"{name}{i}": value for name, value in best.parameters.items()}
        return dataclasses.replace(self, **numbers)

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        return self.beside(lambda likelihood, part: likelihood.sample(part, generator), mu)


def is_product(word: str) -> bool:
    """Return whether a word names several families, as ``gaussian*2+categorical*3``."""
    return WORD.fullmatch(word) is not None


@functools.cache
def product(word: str, find: Callable[[str], type[Likelihood]]) -> type[Likelihood]:
    """Return the class that ``gaussian*2+categorical*3`` names, its families by ``find``: of five columns, in that order.

    The columns of one group have one noise: ``gaussian+gaussian`` has two. Raises ReconError for a family that takes no columns.
    """
    groups: list[Group] = []
    fields: list[tuple[str, type, Any]] = []
    for i, part in enumerate(word.split("+"), 1):
        name, _, count = part.partition("*")
        family, first = find(name), groups[-1].last if groups else 0
        if family().head:
            raise ReconError(
                f"{family.name} takes several numbers for each column, and in a product each has one.",
                "Take it for a table of its own, or the same family with one noise.",
            )
        if hasattr(family, "matrix"):
            raise ReconError(
                f"{family.name} has a covariance, which is none of a product's numbers.",
                "Take it for a table of its own, or gaussian for these columns.",
            )
        if int(count or 1) < (2 if family.event else 1):
            raise ReconError(f"{name}*{count or 1} is no group of columns.", f"Say how many, as in {name}*3.")
        groups.append(Group(family, first, first + int(count or 1)))
        fields += [(f"{field.name}{i}", float, dataclasses.field(default=field.default, metadata=field.metadata))
                   for field in dataclasses.fields(family)]  # fmt: skip
    own = {"groups": tuple(groups), "name": "nll-of-columns"}
    loss: Any = dataclasses.make_dataclass("ProductLoss", fields, bases=(ProductLoss,), namespace=own, frozen=True)
    stated = computed(lambda self: loss(**self.parameters))
    kind: Any = dataclasses.make_dataclass(
        "Product", fields, bases=(Product,), namespace={**own, "loss": stated}, frozen=True
    )  # fmt: skip
    kind.name, kind.__module__, loss.__module__ = word, __name__, __name__
    family_of_rows: type[Likelihood] = kind
    return family_of_rows
