"""THE idea: a reconstruction loss is a likelihood in disguise.

    -log p(x | mu)  =  slope * loss(x, mu)  +  offset(x)  +  gap(mu)

A :class:`Likelihood` states that line three times, independently: ``density`` (the formula, as text),
``nll`` (stable code, written from the density) and the claim (``slope``, ``offset``, ``gap``). The
proofs, the measurements and the tests are these three set against each other.
"""

from __future__ import annotations

import dataclasses
import math
import re
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar

from recon_cli.errors import ReconError
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.losses import IDENTITY, Link, Loss
from recon_cli.identity.parametric import Number, Parametric, class_or_instance, computed
from recon_cli.identity.regions import POSITIVE, REAL, Interval, Lattice, Region, inside
from recon_cli.identity.tensors import Values, wide

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Self

    from torch import Generator, Tensor

    from recon_cli.identity.modules import LossModule


def log(value: Number) -> Number:
    """Return the natural logarithm of a noise parameter: a number, or a tensor that is being learned."""
    return math.log(value) if isinstance(value, (int, float)) else value.log()


@dataclasses.dataclass(frozen=True)
class Likelihood(Parametric, ABC):
    """A noise model p(x | mu), elementwise and independent, and the loss it is claimed to be.

    Subclasses are frozen dataclasses whose fields are the noise parameters (each a
    :func:`parameter`), one to a file of ``recon_cli/likelihoods``; the file's name is the name on
    the command line. Every method takes and returns tensors of one shape, in nats; but where ``x`` is
    vectors (``event``) there is one nll a vector, and where the decoder gives several numbers for an
    element (``head``), ``mu`` has them along a last axis of its own.

    word
        what the command line calls a class of somebody's own: ``FILE.py:Class``.
    aliases
        what else people call it; the words for its losses are taken for it too.
    special
        what people call it at particular parameters, and those: never taken for it at others.
    raw_loss
        the loss of the decoder's raw output, where people write it so (BCE with logits).
    impostors
        losses often taken for this likelihood's that are not; each says why (``Loss.reason``).
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
    mixtures
        where data may lie that are shares of several values in the support, as soft labels are: the nll is linear in them.
    relaxation
        the likelihood to measure when data leave ``support`` but not the hull of it (grey levels).
    atoms
        values of x that have a chance of their own, which nll is of there, where the rest is a density.
    costly
        whether an nll takes so long that a fit looks at few events first.
    admits
        whether nll takes data and means unchecked: see ``admitted``.
    of_residual
        None, or the data apart from which -log p depends on x - mu alone: no data of a Gaussian, the end levels of grey levels.
    """

    name: ClassVar[str]
    word: ClassVar[str] = ""
    aliases: ClassVar[tuple[str, ...]] = ()
    special: ClassVar[dict[str, str]] = {}
    raw_loss: ClassVar[Loss | None] = None
    impostors: ClassVar[tuple[Loss, ...]] = ()
    calls: ClassVar[tuple[str, ...]] = ()
    event: ClassVar[int] = 0
    head: ClassVar[tuple[str, ...]] = ()
    support: ClassVar[Region] = REAL
    domain: ClassVar[Region] = REAL
    link: ClassVar[Link] = IDENTITY
    source: ClassVar[str] = ""
    misprints: ClassVar[tuple[str, ...]] = ()
    prints: ClassVar[tuple[str, ...]] = ()
    best_noise: ClassVar[str] = ""
    mixtures: ClassVar[Region | None] = None
    relaxation: ClassVar[str | None] = None
    atoms: ClassVar[tuple[float, ...]] = ()
    costly: ClassVar[bool] = False
    admits: ClassVar[bool] = False
    of_residual: ClassVar[tuple[float, ...] | None] = None

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        folder, _, file = cls.__module__.rpartition(".")
        if folder.endswith(".likelihoods"):
            cls.name = file.replace("_", "-")
        else:  # in a file of one's own, which may hold several
            cls.name = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", cls.__name__).lower()

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

    @computed
    @abstractmethod
    def density(self) -> str:
        """Return p(x | mu) as text in ``x``, ``mu`` and the fields. Read by ``derive`` and the tests, never by nll.

        Vectors are ``x[k]``, k from 1 to ``K``.
        """

    @computed
    @abstractmethod
    def loss(self) -> Loss:
        """Return the matching loss, of ``x`` and ``mu``: a class attribute, or a property where it has numbers of its own."""

    @abstractmethod
    def nll(self, x: Values, mu: Values) -> Tensor:
        """Return -log p(x | mu) in nats, elementwise, written from the density; infinite outside the support.

        Shapes must be equal.
        """

    def admitted(self) -> Self:
        """Return the same likelihood whose nll checks nothing: it is the bare expression, outside the support too.

        For engines, which check data once themselves, and train on grey levels knowing what that is.
        """
        return self.with_unchecked(admits=True)

    @property
    def part(self) -> Likelihood:
        """What this is a mixture of: itself, unless it is one."""
        return self

    @property
    def locations(self) -> int:
        """How many of the numbers that the decoder gives for an element are in the units of x: the first so many."""
        return 1

    @property
    def spreads(self) -> slice:
        """Which of the numbers that the decoder gives are the size of the noise: the second of two."""
        return slice(1, 2)

    @property
    def length(self) -> int | None:
        """How many components a vector has, where the likelihood's numbers say that."""
        return None

    def of_vectors(self, length: int) -> Likelihood:
        """Return the likelihood of vectors of this length: as it is, unless its numbers say how long they are."""
        del length
        return self

    def centre(self, mu: Tensor) -> Tensor:
        """Return one number for each element of what the decoder gives, near which data lie: the mean, or first of several."""
        return mu[..., 0] if self.head else mu

    def usual_outputs(self, mean: Tensor, spread: Tensor) -> Tensor:
        """Return what a decoder gives that knows nothing, from mean and standard deviation of each element, above 0."""
        del spread
        return inside(mean, self.domain)[0]

    def encode(self, x: Tensor, mu: Tensor) -> Tensor:
        """Return the data in the form that nll takes: as they are, unless overridden (labels become one-hot vectors)."""
        del mu
        return x

    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        """Return -log p(x | mu) where ``raw`` is the decoder's output, ``mu = link.inverse(raw)``."""
        return self.nll(x, self.link.inverse(raw))

    def total(self, x: Tensor, raw: Tensor) -> Tensor:
        """Return the sum of ``nll_raw`` over all elements of two tensors, in float64, in nats: what a batch costs.

        Raises ReconError where ``nll_raw`` does.
        """
        return self.nll_raw(wide(x), wide(raw)).sum()

    @abstractmethod
    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw ``x`` for every element of ``mu``."""

    def moments(self, mu: Tensor) -> tuple[Tensor, Tensor] | None:
        """Return mean and variance of x for every element of ``mu``; None where x has none (angles, vectors, tails too heavy).

        Sums over the levels, where there is an end of them; each likelihood's own elsewhere.
        """
        if isinstance(self.support, Lattice):
            levels = [k / (int(self.support.levels) - 1) for k in range(int(self.support.levels))]
        elif isinstance(self.support, Interval) and self.support.whole and self.support.high < math.inf:
            levels = [float(k) for k in range(int(self.support.low), int(self.support.high) + 1)]
        else:
            return None
        width = (levels[-1] - levels[0]) / (len(levels) - 1)  # from the nearest level: a small variance is no difference then
        near = levels[0] + ((mu.clamp(levels[0], levels[-1]) - levels[0]) / width).round() * width
        first = second = mu.new_zeros(mu.shape)
        for level in levels:
            x = mu.new_full(mu.shape, level)
            off, share = x - near, (-self.nll(x, mu)).exp()
            first, second = first + share * off, second + share * off * off
        return near + first, second - first * first

    # What it claims.

    @property
    def slope(self) -> Number:
        """``a`` in -log p = a * loss + b + c: the whole difference between the loss and the likelihood. One unless overridden."""
        return 1.0

    @property
    def normaliser(self) -> Number:
        """The logarithm of what makes the density add up to one, where that is the whole offset."""
        return 0.0

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        """Return ``b(x)``, in nats, elementwise. It is not given mu, so it *cannot* move a gradient."""
        return x.new_zeros(x.shape[: x.ndim - self.event]) + self.normaliser

    def gap(self, mu: Tensor) -> Tensor:
        """Return ``c(mu)``, in nats, elementwise: what the loss forgets and may not. Zero unless overridden."""
        return mu.new_zeros(mu.shape[: mu.ndim - self.event - bool(self.head)])

    # For which noise.

    @property
    def design(self) -> dict[str, Number]:
        """The parameters that are no noise but known beforehand, and never fitted: whole numbers (trials, levels)."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self) if field.metadata["domain"].whole}

    @property
    def level_name(self) -> str | None:
        """What the size of the noise is called: sigma or scale, or the only number that there is; None without one."""
        names = [*self.noise]
        return next((name for name in ("sigma", "scale") if name in names), names[0] if len(names) == 1 else None)

    @property
    def noise(self) -> dict[str, Number]:
        """The parameters that are fitted and learned: all but the design."""
        return {name: value for name, value in self.parameters.items() if name not in self.design}

    @classmethod
    def designed(cls, x: Tensor) -> Self:
        """Return the usual likelihood with the design that the data have (how many trials, how many levels)."""
        del x
        return cls()

    @classmethod
    def unasked(cls, x: Tensor) -> str:
        """Return why calibrate and compare leave it out of these data unless it is named; nothing where they do not."""
        del x
        return ""

    @class_or_instance
    def fit(self, x: Tensor, mu: Tensor) -> Likelihood:
        """Return the same likelihood with the maximum-likelihood noise given data and their means, its design as it is.

        By a closed form where there is one. Otherwise by L-BFGS on the logarithms (logits, of a share) of the
        parameters, from the mean absolute error for a scale; in float64, gradients by autograd. Of many elements a
        sample first, then Newton-like steps on all. ``Gaussian.fit(x, mu)`` is ``Gaussian().fit(x, mu)``.
        """
        from recon_cli.identity.fitting import fit

        return fit(self, x, mu)

    def weighted_fit(self, x: Tensor, mu: Tensor, weights: Tensor) -> Likelihood:
        """Return what ``fit`` does where each event counts as much as its weight."""
        from recon_cli.identity.fitting import fit

        return fit(self, x, mu, weights)

    def refit(self, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> Likelihood:
        """Return the same likelihood with its parameters as they fit best, and whatever else it has as it is: a covariance."""
        return self.fit(x, mu) if weights is None else self.weighted_fit(x, mu, weights)

    def at_mean_loss(self, loss: Callable[[], float]) -> Self | None:
        """Return the same likelihood with the noise that fits data of this mean loss; None where that says too little."""
        del loss
        return None

    def module(self, reduction: str = "mean", *, raw: bool = False, learned: bool = True) -> LossModule:
        """Return the nll as a loss of torch's, ``loss(input, target)``, its noise a parameter: :class:`LossModule`."""
        from recon_cli.identity.modules import LossModule

        return LossModule(self, reduction, raw=raw, learned=learned)

    @classmethod
    def with_slope(cls, slope: float, loss: Loss | None = None) -> Self:
        """Return the likelihood whose noise a weight ``slope`` on ``loss`` assumes. Raises ReconError where there is none.

        ``loss`` gives its own numbers, where it has any (Huber's threshold); they have their usual values without one. Those
        that are called otherwise here (a width, a scale) are the noise's one for one, if there are as many.
        """
        names = [field.name for field in dataclasses.fields(cls)]
        numbers = loss.parameters if loss else {}
        if not {*numbers} <= {*names} and len(numbers) == len(names):
            numbers = dict(zip(names, numbers.values(), strict=True))
        likelihood = cls(**{name: value for name, value in numbers.items() if name in names})
        if slope == float(likelihood.slope):
            return likelihood
        raise ReconError(
            f"{cls.name} has its noise not in the slope, which is {float(likelihood.slope):g}, never {slope:g}.",
            "A weight on this loss is a beta on the KL, not a noise.",
        )

    @property
    def discrete(self) -> bool:
        """Whether p(x | mu) is a probability, and no density: of whole numbers, or of grey levels."""
        return self.support.whole or isinstance(self.support, Lattice)

    def no_density(self, share: float) -> str:
        """Return the sentence, the same in every command, for data of which ``share`` leave the support and not its hull."""
        size = f"{share:.0%}" if share >= 0.005 else f"{100 * share:.2g}%"
        return (
            f"{self.name} is no likelihood of these data: {size} of the values are neither 0 nor 1, and there its expression "
            f"does not integrate to one; {self.relaxation} is the same, normalised"
        )

    def below_zero(self, nll: float, elements: float) -> str:
        """Return the sentence, the same in every command, on an nll below 0 of so many elements; empty for any other.

        The least that a density of real numbers around its mean can cost is its nll at the mean, -log of its height: for a
        Gaussian D/2 log(2 pi sigma^2).
        """
        if not nll < 0 or self.discrete:
            return ""
        sentence = "An nll below 0 is no mistake: it is minus the logarithm of a density, which may exceed one"
        plain = not self.event and not self.head and all(isinstance(value, (int, float)) for value in self.parameters.values())
        if not plain or self.support is not REAL or self.domain is not REAL:
            return f"{sentence}."
        least = float(self.normaliser)  # the loss is zero there
        named = "D/2 log(2 pi sigma^2)" if self.name == "gaussian" else "D times the nll at x = mu"
        floor = f"{named} = {elements * least:.6g} nats a sample, {least / math.log(2):.4g} bits per dimension"
        return f"{sentence}. The least that {self} allows is {floor}."

    @property
    def losses(self) -> dict[Loss, Number]:
        """Every loss that it claims for its own, of mu and of the raw output, and its slope."""
        return {loss: self.slope for loss in (self.loss, self.raw_loss) if loss is not None}

    def slope_of(self, loss: Loss) -> Number | None:
        """Return the slope of ``loss`` where that is one of its own in any form (pinball of the median is half of l1)."""
        every = (slope * times for own, slope in self.losses.items() if (times := own.per(loss)) is not None)
        return next(every, None)


def number_of(loss: Loss | None, name: str, usual: float) -> float:
    """Return a number of the loss's own; the ``usual`` one without a loss. Raises ReconError for a loss without it."""
    if loss is None:
        return usual
    if name not in loss.parameters:
        raise ReconError(f"{loss.name} has no {name}, and this likelihood's own loss has.", "Give the likelihood's own loss.")
    return float(loss.parameters[name])


def positive(slope: float) -> float:
    """Return a slope that a noise can have. Raises ReconError for any other."""
    if not (slope > 0 and math.isfinite(slope)):
        raise ReconError(f"A slope must be a positive number; found {slope!r}.", "A loss is a cost: it is minimised.")
    return slope
