"""What library calls silently change, by name: each a formula for what is returned instead.

A change is recognised where the formula, evaluated in float64, accounts for the difference between the call
and the density. The formulas restate what torch 2.13 documents or does; none calls it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from torch import Tensor


NORMALISED = "normalisation"


@dataclass(frozen=True)
class Seen:
    """One side and its numbers, in float64: where a call is looked into. ``eps`` is of the call's own dtype."""

    side: Likelihood
    x: Tensor
    mu: Tensor
    raw: Tensor
    nll: Tensor
    eps: float


@dataclass(frozen=True)
class Change:
    """A silent change: its name, in which calls it is looked for (a pattern), what is returned, and why."""

    name: str
    calls: str
    returned: Callable[[Seen], Tensor]
    because: str


def acting(returned: Tensor, acts: Tensor) -> Tensor:
    """What a change returns where it acts; NaN elsewhere, where it is the density again, by another rounding."""
    return returned.where(acts, math.nan)


def dropped(seen: Seen) -> Tensor:
    """The nll without b(x)."""
    return seen.nll - wide(seen.side.offset(seen.x))


def half_dropped(seen: Seen) -> Tensor:
    """The nll without log(2 pi)/2."""
    return seen.nll - math.log(2 * math.pi) / 2


def variance_clamped(seen: Seen) -> Tensor:
    """The Gaussian nll at max(variance, 1e-6)."""
    if seen.side.head:
        mean, variance = seen.mu.unbind(dim=-1)
    else:
        mean, variance = seen.mu, seen.mu.new_full(seen.mu.shape, float(seen.side.parameters["sigma"]) ** 2)
    kept = variance.clamp(min=1e-6)
    return acting(((seen.x - mean).square() / kept + kept.log() + math.log(2 * math.pi)) / 2, variance < 1e-6)


def log_clamped(seen: Seen) -> Tensor:
    """Binary cross-entropy with each logarithm at least -100."""
    on, off = seen.mu.log(), (-seen.mu).log1p()
    return acting(-(seen.x * on.clamp(min=-100) + (1 - seen.x) * off.clamp(min=-100)), (on < -100) | (off < -100))


def shares(seen: Seen) -> Tensor:
    """mu as probabilities, within one rounding of 0 and 1, as torch.distributions keeps them."""
    side, mu = seen.side, seen.mu
    if side.name == "negative-binomial":
        share = side.parameters["dispersion"] * mu
        return share / (1 + share)
    return mu / side.parameters.get("count", 1.0)


def probabilities_clamped(seen: Seen) -> Tensor:
    """The nll at probabilities within one rounding of 0 and 1."""
    side, share = seen.side, shares(seen)
    kept, moved = share.clamp(seen.eps, 1 - seen.eps), (share < seen.eps) | (share > 1 - seen.eps)
    if side.name == "negative-binomial":
        return acting(side.nll(seen.x, kept / (1 - kept) / side.parameters["dispersion"]), moved)
    if side.event:
        return acting(-(seen.x * kept.log()).sum(dim=-1), moved.any(dim=-1))
    if side.name == "continuous-bernoulli":
        return acting(side.nll(seen.x, kept), moved)
    count = side.parameters.get("count", 1.0)
    found = side.nll(seen.x, seen.mu) + seen.x * (shares(seen).log() - kept.log()).where(seen.x > 0, 0) + (count - seen.x) * (
        (-shares(seen)).log1p() - (-kept).log1p()
    ).where(seen.x < count, 0)  # fmt: skip
    return acting(found, moved)


def normaliser_clamped(seen: Seen) -> Tensor:
    """Cross-entropy as it is, log C at probabilities within one rounding of 0 and 1."""
    share = shares(seen)
    kept = share.clamp(seen.eps, 1 - seen.eps)
    return acting(seen.nll - wide(seen.side.gap(seen.mu)) + wide(seen.side.gap(kept)), kept != share)


def stirling(seen: Seen) -> Tensor:
    """log x! as x log x - x + log(2 pi x)/2, and 0 up to 1."""
    from recon_cli.numerics.stable import stirling_error

    counts = seen.x.clamp(min=1)
    return seen.nll - (stirling_error(counts) * (seen.x > 1))


def inside_log(seen: Seen) -> Tensor:
    """log(mu + 1e-8)."""
    return seen.nll - seen.x * (1e-8 / seen.mu).log1p().where(seen.x > 0, 0)


def both(*parts: Callable[[Seen], Tensor]) -> Callable[[Seen], Tensor]:
    """Several changes at once, each independent of the others."""
    return lambda seen: seen.nll + sum(part(seen) - seen.nll for part in parts)


def nothing(seen: Seen) -> Tensor:
    """0 for what is small and positive."""
    return seen.nll.new_zeros(seen.nll.shape).where(seen.nll < 64 * seen.eps, math.nan)


def lost_logarithm(seen: Seen) -> Tensor:
    """The largest logit less that of the class: log1p of the rest lost."""
    if seen.side.event:
        return (seen.raw.amax(dim=-1, keepdim=True) - seen.raw).where(seen.x > 0, 0).sum(dim=-1)
    return seen.raw.clamp(min=0) - seen.x * seen.raw


def linear(seen: Seen) -> Tensor:
    """softplus(r) = r above 20."""
    return acting(seen.nll - (-seen.raw.abs()).exp().log1p(), seen.raw > 20)


def norms_clamped(seen: Seen) -> Tensor:
    """The cosine over norms of at least 1e-8."""
    lengths = [part.norm(dim=-1) for part in (seen.x, seen.raw)]
    cosine = (seen.x * seen.raw).sum(dim=-1) / lengths[0].clamp(min=1e-8) / lengths[1].clamp(min=1e-8)
    return acting(seen.side.slope * (1 - cosine), (lengths[0] < 1e-8) | (lengths[1] < 1e-8))


def bessel_by_polynomial(seen: Seen) -> Tensor:
    """kappa (1 - cos) + log(2 pi I0), I0 by the polynomials of Abramowitz and Stegun (1964), 9.8.1 and 9.8.2."""
    kappa = float(seen.side.parameters["kappa"])
    if kappa < 3.75:
        terms = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)
        bessel = math.log(sum(term * (kappa / 3.75) ** (2 * n) for n, term in enumerate(terms)))
    else:
        terms = (0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377)
        bessel = kappa - math.log(kappa) / 2 + math.log(sum(term * (3.75 / kappa) ** n for n, term in enumerate(terms)))
    return seen.nll - wide(seen.side.offset(seen.x)) + math.log(2 * math.pi) + bessel - kappa


def bins(seen: Seen, cdf: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """The distribution function at the upper and at the lower edge of a level's bin, the end bins no wider than the others."""
    scale, half = seen.side.parameters["scale"], 0.5 / (seen.side.parameters["levels"] - 1)
    return cdf((seen.x - seen.mu + half) / scale), cdf((seen.x - seen.mu - half) / scale)


def closed_ends(seen: Seen) -> Tensor:
    """-log of the mass in a closed bin."""
    import torch

    upper, lower = bins(seen, torch.special.ndtr if "gaussian" in seen.side.name else torch.sigmoid)
    return -(upper - lower).log()


def cancelled(call: str, seen: Seen) -> Tensor:
    """How far -log p moves in float64, where p is a bin's: a difference of numbers of [0, 1], each a few roundings off."""
    return 16 * 2**-52 * seen.nll.exp() * ("levels" in call)


def approximate_cdf(seen: Seen) -> Tensor:
    """-log of the mass in a bin, the end ones open, by a hyperbolic tangent."""
    upper, lower = bins(seen, lambda z: 0.5 * (1 + (math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)).tanh()))
    return -(upper.where(seen.x < 1, 1) - lower.where(seen.x > 0, 0)).clamp(min=1e-12).log()


def normalised(seen: Seen) -> Tensor:
    """-x/mu + 1/sum of mu."""
    return -seen.x / seen.mu + 1 / seen.mu.sum(dim=-1, keepdim=True)


def gradient_clamped(seen: Seen) -> Tensor:
    """(mu - x)/max(mu (1 - mu), 1e-12)."""
    steep = seen.mu * (1 - seen.mu)
    return acting((seen.mu - seen.x) / steep.clamp(min=1e-12), steep < 1e-12)


def floor(least: float) -> Callable[[Seen], Tensor]:
    """A probability of at least ``least`` in the logarithm."""
    return lambda seen: acting(seen.nll.clamp(max=-math.log(least)), seen.nll > -math.log(least))


CHANGES = (
    Change("variance clamp", r"gaussian_nll_loss.*full=True", variance_clamped, "the variance is taken as at least 1e-6"),
    Change("constant dropped", r"gaussian_nll_loss", half_dropped, "log(2 pi)/2, which moves no gradient, is left out"),
    Change("constant dropped", r"poisson_nll_loss", dropped,
           "log x!, which moves no gradient, is left out: the value is no -log p"),
    Change("constant dropped", r"huber_loss|cosine_similarity", dropped,
           "the logarithm of the normaliser, which moves no gradient of mu's but would move a learned noise's, is left out: "
           "the value is no -log p"),
    Change("variance clamp and constant dropped", r"gaussian_nll_loss\((?!.*full=True)", both(variance_clamped, half_dropped),
           "the variance is taken as at least 1e-6, and log(2 pi)/2 left out"),
    Change("log clamp at -100", r"binary_cross_entropy\(", log_clamped, "a logarithm below -100 is taken as -100"),
    Change("probability clamp", r"probs=", probabilities_clamped,
           "probabilities are kept one rounding (eps) away from 0 and 1"),
    Change("probability clamp", r"ContinuousBernoulli\(logits", normaliser_clamped,
           "the normaliser goes through probabilities kept one rounding (eps) away from 0 and 1"),
    Change("Stirling term", r"poisson_nll_loss.*full=True", stirling,
           "log x! is x log x - x + log(2 pi x)/2, without 1/(12x), and 0 up to 1"),
    Change("eps inside the log", r"poisson_nll_loss.*log_input=False.*full=True", inside_log, "the logarithm is of mu + 1e-8"),
    Change("eps inside the log and Stirling term", r"poisson_nll_loss.*log_input=False.*full=True", both(inside_log, stirling),
           "the logarithm is of mu + 1e-8, and log x! lacks 1/(12x)"),
    Change("dead zone", r"with_logits|logits=|cross_entropy|softmax", lost_logarithm,
           "log(1 + e^-|r|) is added to a number beside which it rounds away: the value is constant there, its gradient 0"),
    Change("dead zone", r"softplus|sigmoid|cosh", nothing, "a small value rounds to 0, and its gradient with it"),
    Change("softplus threshold", r"softplus", linear, "softplus(r) is r itself above 20"),
    Change("norm clamp", r"cosine_similarity", norms_clamped, "a length below 1e-8 is taken as 1e-8"),
    Change("approximate Bessel function", r"VonMises\(", bessel_by_polynomial,
           "log I0 is a polynomial, good to 1e-7 (Abramowitz and Stegun 9.8.1 and 9.8.2)"),
    Change("closed end bins", r"^(?!.*where).*(sigmoid|erf)\(.*levels", closed_ends,
           "the lowest and highest levels do not stand for all beyond, so the probabilities do not add up to one"),
    Change("approximate cdf", r"tanh.*levels", approximate_cdf, "the normal distribution function is a hyperbolic tangent's"),
    Change("probability floor", r"clamp\(min=1e-12\)|clamp\(1e-12\)", floor(1e-12),
           "a probability below 1e-12 is taken as 1e-12, and has no gradient"),
)  # fmt: skip


GRADIENTS = (
    Change("gradient clamp", r"binary_cross_entropy\(", gradient_clamped, "in the gradient p (1 - p) is taken as at least 1e-12"),
    Change(NORMALISED, r"Categorical\(probs", normalised,
           "probabilities are divided by their sum, so the gradient does not move it; on softmax's that is all the same"),
)  # fmt: skip


def known(call: str, changes: tuple[Change, ...] = CHANGES) -> Iterator[Change]:
    """The changes that are looked for in a call."""
    return (change for change in changes if re.search(change.calls, call))


def within(found: Tensor, expected: Tensor, off: Tensor, eps: float) -> Any:
    """Whether ``expected`` accounts for what was ``found``: all but a hundredth of the difference, or to rounding."""
    return (found - expected).abs() <= 0.01 * off + 16 * eps * expected.abs()
