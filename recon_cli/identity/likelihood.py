"""THE idea: a reconstruction loss is a likelihood in disguise.

    -log p(x | mu)  =  slope * loss(x, mu)  +  offset(x)  +  gap(mu)

A :class:`Likelihood` states that line three times, independently: ``density`` (the formula, as text),
``nll`` (stable code, written from the density) and the claim (``slope``, ``offset``, ``gap``). The
proofs, the measurements and the tests are these three set against each other.
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from recon_cli.errors import ReconError
from recon_cli.identity.losses import IDENTITY, Link, Loss
from recon_cli.identity.parametric import Number, Parametric
from recon_cli.identity.regions import POSITIVE, REAL, Interval, Lattice, check
from recon_cli.identity.shapes import fitting_shapes
from recon_cli.identity.tensors import as_tensor, asks_gradient, wide

if TYPE_CHECKING:
    from typing import Self

    from torch import Generator, Tensor

Method = TypeVar("Method", bound=Callable[..., Any])


def elementwise(method: Method) -> Method:
    """Make a formula in ``x`` and ``mu`` a public method on tensors, arrays and numbers.

    The shapes must fit (no broadcasting, ever: ReconError). The formula is evaluated in float64
    and rounded once, to the floating dtype that its arguments promote to: in float32 that is
    correctly rounded wherever the formula is good to a few units of float64, values and gradients
    alike. An nll is then looked at where its data and means lie: :func:`supported`.
    """

    @functools.wraps(method)
    def evaluated(self: Likelihood, *values: Any) -> Tensor:
        import torch

        tensors = [as_tensor(value) for value in values]
        for other in tensors[1:]:
            fitting_shapes(self, tensors[0].shape, other.shape)
        dtype = functools.reduce(torch.promote_types, (tensor.dtype for tensor in tensors))
        if not dtype.is_floating_point:
            dtype = torch.get_default_dtype()
        return method(self, *map(wide, tensors)).to(dtype)

    @functools.wraps(method)
    def looked_at(self: Likelihood, x: Any, mu: Any) -> Tensor:
        return supported(self, evaluated, x, mu, REAL if "raw" in method.__name__ else self.domain)

    return looked_at if method.__name__ in ("nll", "nll_raw") else evaluated  # type: ignore[return-value]


def supported(side: Likelihood, nll: Callable[..., Tensor], x: Any, mu: Any, domain: Interval) -> Tensor:
    """``nll`` of ``x`` and ``mu``, infinite where ``x`` is outside the support: no chance at all, and never a finite number.

    What is NaN stays NaN.

    Nothing is looked at for a likelihood that is ``admitted``. Raises ReconError for means beyond the ends of the
    ``domain`` (where values cannot be asked for, as in a compiled graph, the nll is NaN there), and for counts that
    ask for a gradient.
    """
    import torch

    if side.admits or side.support == REAL == domain:
        return nll(side, x, mu)
    x, mu = as_tensor(x), as_tensor(mu)
    if side.discrete and asks_gradient(x):
        raise ReconError(
            f"{side.name} is of {side.support}, and its nll has no gradient by such data: x asks for one.",
            "Give x.detach(); the gradient is the mean's.",
        )
    value = nll(side, x, mu)
    if domain != REAL:
        beyond = domain.beyond(mu)
        try:
            left = torch.compiler.is_compiling() or bool(beyond.any())
        except RuntimeError:  # under vmap, and of tensors without values
            left = True
        else:
            if left and not torch.compiler.is_compiling():
                check(mu, domain, "the means", f"{side.name}'s mean lies in")
        if left:
            value = value.where(~beyond, math.nan)
    if side.support == REAL:
        return value
    missing = x.isnan()
    for _ in range(side.event):
        missing = missing.any(dim=-1)
    return value.where(side.support.contains(x), math.inf).where(~missing, math.nan)


def log(value: Number) -> Number:
    """The natural logarithm of a noise parameter: a number, or a tensor that is being learned."""
    return math.log(value) if isinstance(value, (int, float)) else value.log()


class Likelihood(Parametric, ABC):
    """A noise model p(x | mu), elementwise and independent, and the loss it is claimed to be.

    Subclasses are frozen dataclasses whose fields are the noise parameters (each a
    :func:`parameter`), one to a file of ``recon_cli/likelihoods``; the file's name is the name on
    the command line. Every method takes and returns tensors of one shape, in nats; but where ``x`` is
    vectors (``event``) there is one nll a vector, and where the decoder gives several numbers for an
    element (``head``), ``mu`` has them along a last axis of its own.

    aliases
        what else people call it; the words for its losses are taken for it too.
    special
        what people call it at particular parameters, and those: never taken for it at others.
    loss
        the matching loss, of ``x`` and ``mu``.
    raw_loss
        the same of the decoder's raw output, where people write it so (BCE with logits).
    impostors
        losses often taken for this likelihood's that are not; each says why (``Loss.reason``).
    density
        p(x | mu) as text in ``x``, ``mu`` and the fields. Read by ``derive`` and the tests, never by nll.
        Vectors are ``x[k]``, k from 1 to ``K``.
    calls
        what people write for the nll instead, in torch (``F``, ``distributions``) or scipy (``stats``), as
        expressions in ``x``, ``mu``, ``r`` (the raw output) and the fields; ``compare --against`` runs them.
    event
        how many trailing axes of ``x`` are one event: 1 for vectors.
    head
        the names of what the decoder gives for each element, where that is more than mu.
    support, domain
        where ``x`` and where ``mu`` may lie.
    link
        how the decoder's raw output becomes ``mu``.
    source
        where it comes from, for the derivation.
    misprints, prints
        densities that were printed for this one somewhere and are none, as a computer reads them, and in LaTeX as they
        were printed; ``derive`` refutes them.
    best_noise
        what ``fit`` finds, in words.
    relaxation
        the likelihood to measure when data leave ``support`` but not the hull of it (grey levels).
    admits
        whether nll takes data and means as they are: see ``admitted``.
    """

    name: ClassVar[str]
    aliases: ClassVar[tuple[str, ...]] = ()
    special: ClassVar[dict[str, str]] = {}
    loss: ClassVar[Loss]
    raw_loss: ClassVar[Loss | None] = None
    impostors: ClassVar[tuple[Loss, ...]] = ()
    density: ClassVar[str]
    calls: ClassVar[tuple[str, ...]] = ()
    event: ClassVar[int] = 0
    head: ClassVar[tuple[str, ...]] = ()
    support: ClassVar[Interval] = REAL
    domain: ClassVar[Interval] = REAL
    link: ClassVar[Link] = IDENTITY
    source: ClassVar[str] = ""
    misprints: ClassVar[tuple[str, ...]] = ()
    prints: ClassVar[tuple[str, ...]] = ()
    best_noise: ClassVar[str] = ""
    relaxation: ClassVar[str | None] = None
    admits: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.name = cls.__module__.rpartition(".")[2].replace("_", "-")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not all(isinstance(value, (int, float)) for value in self.parameters.values()):
            return
        try:
            slope = self.slope
        except OverflowError:
            slope = math.inf
        if not POSITIVE.contains(slope):
            raise ReconError(
                f"{self} is beyond the range of numbers: its slope is {slope:g}.", "Choose a noise in the units of the data."
            )

    # What the likelihood is.

    @abstractmethod
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        """-log p(x | mu) in nats, elementwise, written from the density; infinite outside the support. Shapes must be equal."""

    def admitted(self) -> Self:
        """The same, of data that were looked at before: its nll is the bare expression, outside the support too.

        For engines, which check data once, and train on grey levels knowing what that is.
        """
        same = copy.copy(self)
        object.__setattr__(same, "admits", True)
        return same

    def encode(self, x: Tensor, mu: Tensor) -> Tensor:
        """Data as people have them in the form that nll takes: as they are, unless overridden (labels become one-hot)."""
        return x

    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        """-log p(x | mu) where ``raw`` is the decoder's output, ``mu = link.inverse(raw)``."""
        return self.nll(x, self.link.inverse(raw))

    def total(self, x: Tensor, raw: Tensor) -> Tensor:
        """The sum of ``nll_raw`` over all elements of two tensors, in float64, in nats: what a batch costs.

        Raises ReconError where ``nll_raw`` does.
        """
        return self.nll_raw(wide(x), wide(raw)).sum()

    @abstractmethod
    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """A draw of ``x`` for every element of ``mu``."""

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
        """Mean and variance of x for every element of ``mu``; None where x has none (angles, vectors, tails too heavy).

        Sums over the levels, of grey levels; each likelihood's own elsewhere.
        """
        if not isinstance(self.support, Lattice):
            return None
        steps = int(self.support.levels) - 1
        near = mu.clamp(0, 1)
        first = second = mu.new_zeros(mu.shape)
        for k in range(steps + 1):
            x = mu.new_full(mu.shape, k / steps)
            off, share = x - near, (-self.nll(x, mu)).exp()
            first, second = first + share * off, second + share * off * off
        return near + first, second - first * first

    # What it claims.

    @property
    @abstractmethod
    def slope(self) -> Number:
        """``a`` in -log p = a * loss + b + c: the whole difference between the loss and the likelihood."""

    @property
    def normaliser(self) -> Number:
        """The logarithm of what makes the density add up to one, where that is the whole offset."""
        return 0.0

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        """``b(x)``, in nats, elementwise. It is not given mu, so it *cannot* move a gradient."""
        return x.new_zeros(x.shape[: x.ndim - self.event]) + self.normaliser

    def gap(self, mu: Tensor) -> Tensor:
        """``c(mu)``, in nats, elementwise: what the loss forgets and may not. Zero unless overridden."""
        return mu.new_zeros(mu.shape[: mu.ndim - self.event - bool(self.head)])

    # For which noise.

    @property
    def design(self) -> dict[str, Number]:
        """The parameters that are no noise but known beforehand, and never fitted: whole numbers (trials, levels)."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.metadata["domain"].whole}

    @property
    def noise(self) -> dict[str, Number]:
        """The parameters that are fitted and learned: all but the design."""
        return {name: value for name, value in self.parameters.items() if name not in self.design}

    @classmethod
    def designed(cls, x: Tensor) -> Self:
        """With the design that the data have (how many trials, how many levels), the noise as it usually is."""
        return cls()

    @classmethod
    def fit(cls, x: Tensor, mu: Tensor, **design: float) -> Self:
        """The maximum-likelihood noise given data and their means: a closed form where there is one.

        Otherwise by L-BFGS on the logarithms (logits, of a share) of the parameters, from the mean
        absolute error for a scale; in float64, gradients by autograd. Of many elements a sample first, then
        Newton-like steps on all. ``design`` is held as it is.
        """
        from recon_cli.identity.fitting import fit

        return fit(cls, x, mu, design)

    def refit(self, x: Tensor, mu: Tensor) -> Self:
        """The same likelihood with the noise that fits best, its design as it is."""
        return type(self).fit(x, mu, **self.design)

    @classmethod
    def with_slope(cls, slope: float, **own: float) -> Self:
        """The noise that a weight on the loss assumes. Raises ReconError where there is none.

        ``own`` are the loss's own numbers, where it has any (Huber's threshold); at their usual values unless given. Those
        that are called otherwise here (a width, a scale) are the noise's one for one, if there are as many.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        if not {*own} <= {*names} and len(own) == len(names):
            own = dict(zip(names, own.values(), strict=True))
        side = cls(**{name: value for name, value in own.items() if name in names})
        if slope == float(side.slope):
            return side
        raise ReconError(
            f"{cls.name} has its noise not in the slope, which is {float(side.slope):g}, never {slope:g}.",
            "A weight on this loss is a beta on the KL, not a noise.",
        )

    @property
    def discrete(self) -> bool:
        """Whether p(x | mu) is a probability, and no density: of whole numbers, or of grey levels."""
        return self.support.whole or isinstance(self.support, Lattice)

    def no_density(self, share: float) -> str:
        """The sentence, the same in every command, for data of which ``share`` leave the support and not its hull."""
        size = f"{share:.0%}" if share >= 0.005 else f"{100 * share:.2g}%"
        return (
            f"{self.name} is no likelihood of these data: {size} of the values are neither 0 nor 1, and there its expression "
            f"does not integrate to one; {self.relaxation} is the same, normalised"
        )

    @property
    def losses(self) -> dict[Loss, Number]:
        """Every loss that it claims for its own, of mu and of the raw output, and its slope."""
        return {loss: self.slope for loss in (self.loss, self.raw_loss) if loss is not None}

    def slope_of(self, loss: Loss) -> Number | None:
        """The slope of ``loss``, where that is one of its own in any form (pinball of the median is half of l1); else None."""
        every = (slope * times for own, slope in self.losses.items() if (times := own.per(loss)) is not None)
        return next(every, None)


def positive(slope: float) -> float:
    """A slope that a noise can have. Raises ReconError for any other."""
    if not (slope > 0 and math.isfinite(slope)):
        raise ReconError(f"A slope must be a positive number; found {slope!r}.", "A loss is a cost: it is minimised.")
    return slope
