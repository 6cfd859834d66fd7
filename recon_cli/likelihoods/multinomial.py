"""Counts of several kinds whose total is known, as words of a text or what one user clicked: cross-entropy with counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from recon_cli.identity.alike import double
from recon_cli.identity.elementwise import elementwise
from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import Loss
from recon_cli.identity.parametric import parameter
from recon_cli.identity.regions import COUNT_VECTORS, SIMPLEX, Interval
from recon_cli.identity.some import pieces
from recon_cli.identity.tensors import but_one, none_below, wide
from recon_cli.likelihoods._counts import poisson_rest
from recon_cli.likelihoods._softmax import SOFTMAX, cross_entropy_of_logits
from recon_cli.numerics.compensated import two_product

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Generator, Tensor

SHORT = 2.0**29  # times a number of float32 it is one of float64
FEW = 16  # kinds
NO_COUNT = 1e-20  # in the place of 0 in a quotient: its logarithm is a number, and 0 times that is 0


class CrossEntropyOfCounts(Loss):
    """-sum_k x_k log mu_k, of counts x and probabilities mu."""

    name = "cross-entropy-of-counts"
    aliases: ClassVar[tuple[str, ...]] = ("multinomial-nll",)
    formula = "-Sum(x[k]*log(mu[k]), (k, 1, K))"
    torch = "-(x*log(mu)).sum(dim=-1)"
    event = 1
    support = COUNT_VECTORS
    domain = SIMPLEX

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Of the logarithm of the probability."""
        return -(x * but_one(prediction, lambda: x <= 0).log()).sum(dim=-1)


class CrossEntropyOfCountsWithLogits(CrossEntropyOfCounts):
    """The same of logits."""

    name = "cross-entropy-of-counts-with-logits"
    aliases = ()
    torch = "-(x*log_softmax(r, dim=-1)).sum(dim=-1)"
    link = SOFTMAX

    def values(self, x: Tensor, prediction: Tensor) -> Tensor:
        """Torch's logarithm of a softmax is of a sum that 1 dominates: dead beyond 17 in float32."""
        return cross_entropy_of_logits(x, prediction)


@dataclass(frozen=True)
class Multinomial(Likelihood):
    """-log p(x | mu) = -sum_k x_k log mu_k - log n! + sum_k log x_k!, n = sum_k x_k, for counts x and probabilities mu.

    x and mu have shape (..., K), the nll (...): one vector of counts an event, as the words of a text are. Each vector brings its
    own total n, which is known and not modelled; at n = 1 this is the categorical. The decoder's raw output is the logits, mu
    their softmax: Liang and others (2018), equation 2. ``count`` is the total of what is drawn, and of nothing else. Computed as
    sum_k x_k log(x_k/(n mu_k)) and Stirling's errors, which do not cancel at large counts (Loader 2000).

    >>> Multinomial().nll([2.0, 0.0, 1.0], [0.5, 0.25, 0.25])
    tensor(1.6740, dtype=torch.float64)
    """

    count: float = parameter(1.0, "the total of what is drawn; data bring their own", Interval(1, whole=True))

    loss = CrossEntropyOfCounts()
    raw_loss = CrossEntropyOfCountsWithLogits()
    density = "factorial(Sum(x[k], (k, 1, K)))*Product(mu[k]**x[k]/factorial(x[k]), (k, 1, K))"
    calls = (
        "-(x*F.log_softmax(r, -1)).sum(-1)",
        "-stats.multinomial.logpmf(x, x.sum(-1), mu)",
        "-(x*special.log_softmax(r, axis=-1)).sum(-1)",
    )
    event = 1
    support = COUNT_VECTORS
    domain = SIMPLEX
    link = SOFTMAX
    source = "Liang and others 2018 (multinomial VAE), equation 2"

    @elementwise
    def nll(self, x: Tensor, mu: Tensor) -> Tensor:
        """By log(n mu/x), of a quotient that is rounded, and what the rounding lost, which counts where it is near 1."""
        from recon_cli.numerics.stable import with_derivatives
        from recon_cli.numerics.tables import once

        kinds = once(counted_kinds, x)
        if kinds.places is not None and not none_below(mu, 0, 1):
            kinds = every_kind(x)
        some, total, count = kinds.of(mu.detach()), kinds.total, kinds.positive
        quotient = total / count * some
        lost = less(some, total, count).sub_((quotient - 1).mul_(count)).div_(quotient.clamp(min=0.5).mul_(count))
        deviance = -kinds.summed(quotient.log_().add_(lost).mul_(kinds.x))
        return with_derivatives(deviance, (lambda: -x / but_one(mu, lambda: x <= 0), mu)) + once(rest, x)

    @elementwise
    def nll_raw(self, x: Tensor, raw: Tensor) -> Tensor:
        return cross_entropy_of_logits(x, raw) + self.offset(x)

    @elementwise
    def offset(self, x: Tensor) -> Tensor:
        """Return sum_k log x_k! - log n!: the nll of mu = x/n less the loss there."""
        from recon_cli.numerics.tables import once

        kinds = once(counted_kinds, x)
        entropy = kinds.summed((kinds.total / kinds.positive).log_().mul_(kinds.x))
        return (once(rest, x) - entropy).where(entropy > 0, 0)  # of one kind alone there is nothing to choose

    @classmethod
    def designed(cls, x: Tensor) -> Multinomial:
        """Return the one that draws as many as the largest total of the vectors."""
        parts = pieces(x) if x.ndim > 1 else [x] if x.ndim else []
        return cls(count=max([1.0, *(float(double(part).sum(-1).max()) // 1 for part in parts)]))

    def sample(self, mu: Tensor, generator: Generator | None = None) -> Tensor:
        """Draw ``count`` times, one kind after another: each binomial of what is left."""
        import torch

        left, share = mu.new_full(mu.shape[:-1], self.count), mu.new_ones(mu.shape[:-1])
        counts = []
        for part in mu[..., :-1].unbind(dim=-1):
            chance = (part / share.clamp(min=torch.finfo(mu.dtype).tiny)).clamp(0, 1)
            counts.append(torch.binomial(left, chance, generator=generator))
            left, share = left - counts[-1], share - part
        return torch.stack([*counts, left], dim=-1)


class Kinds(NamedTuple):
    """Counts as a formula takes them, the same as ``positive`` and the ``total`` of each one's vector, none below NO_COUNT.

    All of them, in vectors; or, in one row, those that are not zero, which are at these ``places``: texts have few. ``summed``
    returns the sum of each vector, of values beside these counts; ``totals`` are those of the counts.
    """

    x: Tensor
    positive: Tensor
    total: Tensor
    totals: Tensor
    summed: Callable[[Tensor], Tensor]
    places: Tensor | None = None

    def of(self, mu: Tensor) -> Tensor:
        """Return the probabilities of these kinds."""
        return but_one(mu, lambda: self.x <= 0) if self.places is None else mu.reshape(-1).index_select(0, self.places)


def every_kind(x: Tensor) -> Kinds:
    """Return all counts."""
    totals = x.sum(dim=-1)
    return Kinds(x, x.clamp(min=NO_COUNT), totals.unsqueeze(-1).clamp(min=NO_COUNT), totals, lambda values: values.sum(dim=-1))


def counted_kinds(x: Tensor) -> Kinds:
    """Return the counts that are not zero, where they are few; else all."""
    from recon_cli.numerics.tables import present

    if (places := present(x)) is None:
        return every_kind(x)
    shape, vectors = x.shape, places // x.shape[-1]

    def summed(values: Tensor) -> Tensor:
        """Return the sum of each vector; of long ones by torch's sum, which rounds less than one number after another."""
        if shape[-1] > FEW:
            return values.new_zeros(shape.numel()).index_copy_(0, places, values).reshape(shape).sum(dim=-1)
        return values.new_zeros(shape[:-1].numel()).index_add_(0, vectors, values).reshape(shape[:-1])

    some = x.reshape(-1).index_select(0, places)
    totals = summed(some)
    return Kinds(some, some, totals.reshape(-1).index_select(0, vectors), totals, summed, places)


def less(mu: Tensor, total: Tensor, count: Tensor) -> Tensor:
    """Return n mu - x, of which nothing is lost where they are near: of an n that is not large by halves of mu, exact times n."""
    if none_below(-total, -SHORT):
        high = wide(mu.float())
        return (total * high).sub_(count).add_((mu - high).mul_(total))
    mean, lost = two_product(mu, total)
    return mean.sub_(count).add_(lost)


def rest(x: Tensor) -> Tensor:
    """Return the nll of the likeliest mu, x/n: Stirling's errors and log(2 pi x)/2, of each kind less of all."""
    from recon_cli.numerics.tables import looked_up, once

    kinds = once(counted_kinds, x)
    return kinds.summed(looked_up(poisson_rest, kinds.x)) - looked_up(poisson_rest, kinds.totals, beyond=True)
