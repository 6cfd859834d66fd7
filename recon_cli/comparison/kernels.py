"""Values and gradients reduced in one pass over the data: by a kernel that is made once for a claim at any noise, and kept.

On a CPU the expression is traced, with the numbers of likelihood and loss as one more input, and compiled ahead of time into a
library (:mod:`recon_cli.runtime.kernels`), for any number of events; elsewhere torch's compiler does it within the process.
"""

from __future__ import annotations

import functools
import math
import operator
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from recon_cli.comparison.claim import Claim, replaceable
from recon_cli.comparison.tally import PIECE, Ratios, Values, chunks, has_quotient, measured_dtype, reduced
from recon_cli.runtime import kernels
from recon_cli.runtime.devices import Uncompiled, compiled, vector_options
from recon_cli.runtime.kernels import Kernel

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from torch.fx import GraphModule

    from recon_cli.comparison.cases import ComparisonCase
    from recon_cli.comparison.tally import Reduction

SOURCES = ("identity", "likelihoods", "numerics", "comparison/claim.py", "comparison/tally.py", "comparison/kernels.py")
FEW_NUMBERS = 4  # of an element: mean and noises. Those of a mixture, more, are taken several at a time
SHORT = 16  # components of a vector: of longer ones the compiler fills its lanes with one vector's
VECTORS = 1 << 17  # numbers: of vectors with several numbers a component so many at a time
LONG = 100  # operations: the compiler puts what takes more than these, of its own accord 30, into memory and reads it again
Say = Callable[[str], None]


@dataclass(frozen=True)
class Kind:
    """What a kernel is made for: a claim, at any noise, on any number of events, of shape ``event``, numbers of a dtype.

    A claim with a class of somebody's own is traced at its own numbers, and its kernel is not kept: nobody knows what else
    such a class depends on.
    """

    claim: Claim
    dtype: torch.dtype
    event: tuple[int, ...] = ()

    @classmethod
    def of(cls, case: ComparisonCase) -> Kind:
        """Return what a case takes."""
        measured, shape = case.claim.measured, tuple(case.mu.shape)
        shape = shape[: len(shape) - bool(measured.head)]
        return cls(case.claim, measured_dtype(case.dtype), shape[len(shape) - measured.event :])

    @property
    def is_known(self) -> bool:
        """Whether all of it is recon's own, and the ratio of its gradients a number of its dtype."""
        return self.claim.known and has_quotient(self.claim, self.dtype)

    @property
    def apart(self) -> bool:
        """Whether the kernel takes the numbers of an element one kind after another, (k, n), not side by side."""
        return 0 < len(self.claim.measured.head) <= FEW_NUMBERS and not self.event

    @property
    def by_component(self) -> bool:
        """Whether the kernel takes data and means of vectors so too, one component after another: then each lane has a vector."""
        return len(self.event) == 1 and self.event[0] <= SHORT and not self.claim.measured.head

    def laid_out(self, x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor]:
        """Return data and means as the kernel takes them."""
        from recon_cli.comparison.parts import apart

        return apart(x) if self.by_component else x, apart(mu) if self.apart or self.by_component else mu

    @property
    def description(self) -> dict[str, object]:
        """Everything that the kernel depends on, in words: also what recon, torch and the processor are."""
        claim = self.claim
        fixed = [
            [name, value] for part in claim.parts for name, value in part.parameters.items() if name not in replaceable(part)
        ]
        return {
            "likelihood": claim.likelihood.name, "loss": claim.loss.name, "dtype": str(self.dtype)[6:],
            "measured": [part.name for part in claim.parts[2:]], "own": claim.own, "event": list(self.event), "fixed": fixed,
            "source": kernels.source(*SOURCES), **kernels.surroundings(),
        }  # fmt: skip

    def examples(self) -> tuple[Tensor, Tensor]:
        """Return data and means of such a kind, zeros: a piece of them, by whose size the compiler chooses how to go about it."""
        import torch

        head = len(self.claim.measured.head)
        shape = (PIECE // max(1, math.prod(self.event) * (head or 1)), *self.event)
        return torch.zeros(shape, dtype=self.dtype), torch.zeros((*shape, head) if head else shape, dtype=self.dtype)


class Found(NamedTuple):
    """How to reduce pieces: with what (None: as they are), whether of any size, and what there is to say of it."""

    reduction: Reduction | None = None
    any_size: bool = False
    notes: tuple[str, ...] = ()


def is_kept(kind: Kind) -> bool:
    """Return whether a kernel of such a kind was kept, be it unfit by now."""
    return kind.is_known and os.path.lexists(kernels.folder() / kernels.name_of(kind.description))


def find(case: ComparisonCase, say: Say) -> Found:
    """Return how to reduce a case's pieces: by the kernel that is kept, or that is made now. Raises Uncompiled."""
    from recon_cli.numerics.tables import FEW

    if case.device.type != "cpu":
        return Found(_compiled())
    kind = Kind.of(case)
    kernel, notes = made_or_loaded(kind, say)
    others = others_of(kind)

    def reduction(claim: Claim, x: Tensor, mu: Tensor) -> Tensor:
        del claim  # that of the case
        if others.tables and not (x.amin() >= 0 and x.amax() < FEW):
            return x.new_full((len(Values._fields) + len(Ratios._fields),), math.nan)  # a doubt: so without the kernel
        return kernel(*kind.laid_out(x, mu), *others.numbers, *others.tables)

    return Found(reduction, True, notes)


def divided(
    claim: Claim, x: Tensor, mu: Tensor, reduction: Reduction
) -> Iterator[tuple[tuple[Tensor, Tensor], Reduction | None]]:
    """Yield the events of a piece that a kernel is for, with it; and all others, chunk by chunk, without.

    Vectors of several numbers a component go to it some at a time: what it writes and reads again stays in the cache.
    """
    from recon_cli.numerics.tables import places

    if x.device.type != "cpu":
        yield (x, mu), reduction
        return
    conditions = [condition for part in claim.parts if (condition := part.usual(x, mu)) is not None]
    kinds: list[tuple[Tensor, Tensor, Reduction | None]] = [(x, mu, reduction)]
    if conditions:
        usual = functools.reduce(operator.and_, conditions)
        kinds = [
            (x.index_select(0, some), mu.index_select(0, some), by)
            for condition, by in ((usual, reduction), (~usual, None))
            if (some := places(condition)) is not None and len(some)
        ]
    most = VECTORS if claim.measured.event and claim.measured.head else mu.numel()
    for of_data, of_means, by in kinds:
        for part in chunks(claim.measured, of_data, of_means, most if by is not None else 0):
            yield part, by if len(part[0]) > 1 else None  # what was compiled takes no single one


def made_or_loaded(kind: Kind, say: Say) -> tuple[Kernel, tuple[str, ...]]:
    """Return the kernel of a kind, loaded or made and kept; and, in sentences, why it was not loaded or is not kept."""
    if not kind.is_known:
        say("making a kernel")
        return kernels.load_fresh(make(kind)), ()

    def library() -> bytes:
        say("making a kernel, which is kept")
        return make(kind)

    return kernels.loaded_or_made(kind.description, library, kind.claim.measured.name)


class Others(NamedTuple):
    """What a kernel takes beside data and means: the numbers of its claim, where any will do, and tables of counts."""

    numbers: list[Tensor]
    tables: list[Tensor]


def others_of(kind: Kind) -> Others:
    """Return what a kernel of this kind takes beside data and means, at the claim's own numbers."""
    import torch

    from recon_cli.numerics.tables import tables

    x, mu = (part[:1] for part in kind.examples())
    with tables() as known:
        reduced(kind.claim, x, mu + 0.5)
    return Others([torch.tensor(kind.claim.numbers, dtype=torch.float64)] if kind.is_known else [], known.made)


def make(kind: Kind) -> bytes:
    """Return the library that torch's compiler makes of :func:`tally.reduced` for a kind. Raises Uncompiled where that fails."""
    import torch
    from torch.fx.experimental.proxy_tensor import make_fx

    from recon_cli.comparison.parts import together, unstack
    from recon_cli.numerics.tables import tables

    others = others_of(kind)

    def at_numbers(x: Tensor, mu: Tensor, *rest: Tensor) -> Tensor:
        claim = kind.claim.with_numbers(rest[0].unbind()) if kind.is_known else kind.claim
        with tables(rest[len(others.numbers) :]):
            if kind.by_component:
                return reduced(claim, x.movedim(0, -1), mu.movedim(0, -1))
            return reduced(claim, x, together(mu), parts=True) if kind.apart else reduced(claim, x, mu)

    inputs = (*kind.laid_out(*kind.examples()), *others.numbers, *others.tables)
    events = torch.export.Dim("events")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = make_fx(at_numbers, tracing_mode="symbolic")(*inputs)
            check_any_size(graph, int(kind.by_component))
            if kind.apart:
                unstack(graph)
            graph.graph.eliminate_dead_code()  # what was looked at on the way, and could not be
            axes = int(kind.by_component), int(kind.apart or kind.by_component)
            dynamic = (*[{axis: events} for axis in axes], *[None] * (len(inputs) - 2))
            module = torch.export.export(graph, inputs, dynamic_shapes=dynamic).module()
            # Whether counts are within their tables is known before; of somebody's own class nothing is.
            options = {"realize_opcount_threshold": LONG, "assert_indirect_indexing": not kind.is_known}
            return kernels.compiled_ahead(module, inputs, {**options, **vector_options()})
    except Exception as error:
        raise Uncompiled(error) from error


def check_any_size(graph: GraphModule, axis: int = 0) -> None:
    """Raise ValueError where what was traced is of one number of events only, or has asked how many there are."""
    size, shapes = next(iter(graph.graph.nodes)).meta["val"].shape[axis], graph.shape_env
    asked = {symbol for guard in (shapes.guards if shapes else ()) for symbol in guard.expr.free_symbols}
    if isinstance(size, int) or size.node.expr in asked or not size.node.expr.is_symbol:
        raise ValueError("what it computes depends on how many events there are")


@functools.cache
def _compiled() -> Reduction:
    return compiled(reduced)
