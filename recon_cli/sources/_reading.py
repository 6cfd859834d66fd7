"""How a source is read, beside what it is divided by: as the command line and the Python functions ask for it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from numbers import Real
from typing import TYPE_CHECKING, Any, TypedDict

from recon_cli.errors import ReconError, unknown

if TYPE_CHECKING:
    from typing import Self

COLOURS = ("grey", "rgb")
MISSING = ("nan",)
WHOSE = {
    "size": "images", "colour": "images", "skip_bad": "folders, zips and tars of files",
    "columns": "tables", "drop": "tables",
}  # fmt: skip


class ReadKeywords(TypedDict, total=False):
    """The same as :class:`ReadOptions`, as keyword arguments: for type checkers."""

    offset: float
    size: tuple[int, int] | None
    colour: str | None
    skip_bad: bool
    columns: str
    drop: str
    missing: str | None
    mask: Any
    weights: Any
    totals: Any


@dataclass(frozen=True)
class ReadOptions:
    """How a source is read: what its own reader does (the first five), and what is then done with its values.

    offset
        is subtracted before anything is divided: (x - offset)/scale.
    size, colour
        (height, width) that images are cut and resized to, and ``grey`` or ``rgb``.
    skip_bad
        whether files that cannot be read are left out, counted and said, instead of an error.
    columns, drop
        of a table, by name or number, with commas between.
    missing
        ``nan``: NaN is a value that is not there.
    mask
        a source, or an array: 0 (or False) where a value is not there.
    weights
        a source, an array, or ``a=1,b=2``: how much each element, sample or class counts.
    totals
        a source, or an array: out of how many each value counts, for a binomial.
    """

    offset: float = 0.0
    size: tuple[int, int] | None = None
    colour: str | None = None
    skip_bad: bool = False
    columns: str = ""
    drop: str = ""
    missing: str | None = None
    mask: Any = None
    weights: Any = None
    totals: Any = None

    def __post_init__(self) -> None:
        for name, words in (("colour", COLOURS), ("missing", MISSING)):
            if (word := getattr(self, name)) is not None and word not in words:
                raise unknown(f"choice of --{name}", str(word), words)
        if isinstance(self.offset, bool) or not isinstance(self.offset, Real) or not math.isfinite(self.offset):
            raise ReconError(f"--offset must be a finite number; found {self.offset!r}.", "Try --offset -1.")
        if self.size is not None:
            sizes = tuple(self.size) if isinstance(self.size, (tuple, list)) else ()
            if len(sizes) != 2 or not all(isinstance(side, int) and 0 < side < 1 << 15 for side in sizes):
                raise ReconError(f"--size must be a height and a width; found {self.size!r}.", "Try --size 64x64.")
        if self.columns and self.drop:
            raise ReconError(
                "--columns and --drop do not go together.", "Name the columns that are wanted, or those that are not."
            )

    @classmethod
    def names(cls) -> list[str]:
        """Return the names of all of them."""
        return [field.name for field in dataclasses.fields(cls)]

    @classmethod
    def asked(cls, keywords: Mapping[str, Any]) -> Self:
        """Return the one of those of ``keywords`` that are about reading, where they are given."""
        return cls(**{name: keywords[name] for name in cls.names() if keywords.get(name) is not None})

    @property
    def partial(self) -> bool:
        """Whether some values may not be there, or count otherwise than others."""
        return self.missing is not None or self.mask is not None or self.weights is not None

    @property
    def choice(self) -> str:
        """What the columns that are asked for are behind a path and a colon; empty where none are."""
        return self.columns or ",".join(f"-{name.strip()}" for name in self.drop.split(",") if name.strip())

    @property
    def words(self) -> dict[str, Any]:
        """What a run's config.json says of it: what is asked for, by name; of an array that it is one."""
        values = ((field, getattr(self, field.name)) for field in dataclasses.fields(self))
        plain = (str, int, float, bool, tuple)
        return {
            field.name: value if isinstance(value, plain) else str(value) if hasattr(value, "__fspath__") else "an array"
            for field, value in values
            if not (isinstance(value, plain) and value == field.default) and value is not None
        }

    def check(self, source: object, heeds: frozenset[str]) -> None:
        """Raise ReconError for what the reader of a source does not heed; ``heeds`` are the names that it does."""
        for name, whose in WHOSE.items():
            if getattr(self, name) and name not in heeds:
                raise ReconError(f"--{name.replace('_', '-')} is of {whose}, and {source} is none.", "Leave it out.")

    def bare(self, heeds: frozenset[str]) -> ReadOptions:
        """Return the same for a reconstruction, whose reader ``heeds`` so much: read alike, of its own scale, with no mask."""
        return ReadOptions(**{name: getattr(self, name) for name in ("size", "colour") if name in heeds})
