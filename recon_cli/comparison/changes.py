"""What library calls silently change, by name: each a formula for what is returned instead.

A change is recognised where the formula, evaluated in float64, accounts for the difference between the call
and the density. The formulas restate what torch 2.13 documents or does; none calls it. What another version changes
otherwise is reported as unexplained, until its formula is added here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    from torch import Tensor


NORMALISED = "normalisation"
SMALL_KAPPA = (1.0, 3.5156229, 3.0899424, 1.2067492, 0.2659732, 0.0360768, 0.0045813)  # of log I0, for kappa below 3.75
LARGE_KAPPA = (
    0.39894228, 0.01328592, 0.00225319, -0.00157565, 0.00916281, -0.02057706, 0.02635537, -0.01647633, 0.00392377,
)  # fmt: skip


@dataclass(frozen=True)
class Reference:
    """A likelihood, data, means and raw outputs, and their nll, in float64. ``eps`` is of the call's own dtype."""

    likelihood: Likelihood
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
    returned: Callable[[Reference], Tensor]
    because: str


def acting(returned: Tensor, acts: Tensor) -> Tensor:
    """Return ``returned`` where a change acts; NaN elsewhere, where the call returns the density, by another rounding."""
    return returned.where(acts, math.nan)


def dropped(ref: Reference) -> Tensor:
    """Return the nll without b(x)."""
    return ref.nll - wide(ref.likelihood.offset(ref.x))


def arrangements_dropped(ref: Reference) -> Tensor:
    """Return the nll without b(x) where there is one: not where all are of one kind."""
    offset = wide(ref.likelihood.offset(ref.x))
    return acting(ref.nll - offset, offset != 0)


def half_dropped(ref: Reference) -> Tensor:
    """Return the nll without log(2 pi)/2."""
    return ref.nll - math.log(2 * math.pi) / 2


def variance_clamped(ref: Reference) -> Tensor:
    """Return the Gaussian nll at max(variance, 1e-6)."""
    if ref.likelihood.head:
        mean, variance = ref.mu.unbind(dim=-1)
    else:
        mean, variance = ref.mu, ref.mu.new_full(ref.mu.shape, float(ref.likelihood.parameters["sigma"]) ** 2)
    clamped = variance.clamp(min=1e-6)
    return acting(((ref.x - mean).square() / clamped + clamped.log() + math.log(2 * math.pi)) / 2, variance < 1e-6)


def log_clamped(ref: Reference) -> Tensor:
    """Return binary cross-entropy with each logarithm at least -100."""
    on, off = ref.mu.log(), (-ref.mu).log1p()
    return acting(-(ref.x * on.clamp(min=-100) + (1 - ref.x) * off.clamp(min=-100)), (on < -100) | (off < -100))


def shares(ref: Reference) -> Tensor:
    """Return mu as probabilities of success, as torch.distributions takes them."""
    likelihood, mu = ref.likelihood, ref.mu
    if likelihood.name == "negative-binomial":
        share = likelihood.parameters["dispersion"] * mu
        return share / (1 + share)
    return mu / likelihood.parameters.get("count", 1.0)


def probabilities_clamped(ref: Reference) -> Tensor:
    """Return the nll at probabilities kept one rounding away from 0 and 1."""
    likelihood, share = ref.likelihood, shares(ref)
    clamped, moved = share.clamp(ref.eps, 1 - ref.eps), (share < ref.eps) | (share > 1 - ref.eps)
    if likelihood.name == "negative-binomial":
        return acting(likelihood.nll(ref.x, clamped / (1 - clamped) / likelihood.parameters["dispersion"]), moved)
    if likelihood.event:
        return acting(-(ref.x * clamped.log()).sum(dim=-1), moved.any(dim=-1))
    if likelihood.name == "continuous-bernoulli":
        return acting(likelihood.nll(ref.x, clamped), moved)
    count = likelihood.parameters.get("count", 1.0)
    successes = ref.x * (shares(ref).log() - clamped.log()).where(ref.x > 0, 0)
    failures = (count - ref.x) * ((-shares(ref)).log1p() - (-clamped).log1p()).where(ref.x < count, 0)
    return acting(likelihood.nll(ref.x, ref.mu) + successes + failures, moved)


def normaliser_clamped(ref: Reference) -> Tensor:
    """Return cross-entropy as it is, with log C at probabilities kept one rounding away from 0 and 1."""
    share = shares(ref)
    clamped = share.clamp(ref.eps, 1 - ref.eps)
    return acting(ref.nll - wide(ref.likelihood.gap(ref.mu)) + wide(ref.likelihood.gap(clamped)), clamped != share)


def stirling(ref: Reference) -> Tensor:
    """Return the nll with log x! as x log x - x + log(2 pi x)/2, and 0 up to 1."""
    from recon_cli.numerics.stable import stirling_error

    counts = ref.x.clamp(min=1)
    return ref.nll - (stirling_error(counts) * (ref.x > 1))


def inside_log(ref: Reference) -> Tensor:
    """Return the nll with log(mu + 1e-8) for log mu."""
    return ref.nll - ref.x * (1e-8 / ref.mu).log1p().where(ref.x > 0, 0)


def both(*parts: Callable[[Reference], Tensor]) -> Callable[[Reference], Tensor]:
    """Return the function of several changes at once, each independent of the others."""
    return lambda ref: ref.nll + sum(part(ref) - ref.nll for part in parts)


def nothing(ref: Reference) -> Tensor:
    """Return 0 for an nll that is small and positive."""
    return ref.nll.new_zeros(ref.nll.shape).where(ref.nll < 64 * ref.eps, math.nan)


def lost_logarithm(ref: Reference) -> Tensor:
    """Return the largest logit less that of the class: log1p of the rest lost."""
    if ref.likelihood.event:
        return (ref.raw.amax(dim=-1, keepdim=True) - ref.raw).where(ref.x > 0, 0).sum(dim=-1)
    return ref.raw.clamp(min=0) - ref.x * ref.raw


def linear(ref: Reference) -> Tensor:
    """Return the nll with softplus(r) = r above 20."""
    return acting(ref.nll - (-ref.raw.abs()).exp().log1p(), ref.raw > 20)


def norms_clamped(ref: Reference) -> Tensor:
    """Return the nll by the cosine over norms of at least 1e-8."""
    lengths = [part.norm(dim=-1) for part in (ref.x, ref.raw)]
    cosine = (ref.x * ref.raw).sum(dim=-1) / lengths[0].clamp(min=1e-8) / lengths[1].clamp(min=1e-8)
    return acting(ref.likelihood.slope * (1 - cosine), (lengths[0] < 1e-8) | (lengths[1] < 1e-8))


def bessel_by_polynomial(ref: Reference) -> Tensor:
    """Return kappa (1 - cos) + log(2 pi I0), I0 by the polynomials of Abramowitz and Stegun (1964), 9.8.1 and 9.8.2."""
    kappa = float(ref.likelihood.parameters["kappa"])
    if kappa < 3.75:
        bessel = math.log(sum(term * (kappa / 3.75) ** (2 * n) for n, term in enumerate(SMALL_KAPPA)))
    else:
        bessel = kappa - math.log(kappa) / 2 + math.log(sum(term * (3.75 / kappa) ** n for n, term in enumerate(LARGE_KAPPA)))
    return ref.nll - wide(ref.likelihood.offset(ref.x)) + math.log(2 * math.pi) + bessel - kappa


def bins(ref: Reference, cdf: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Return the distribution function at the upper and lower edge of a level's bin, the end bins no wider than the others."""
    scale, half = ref.likelihood.parameters["scale"], 0.5 / (ref.likelihood.parameters["levels"] - 1)
    return cdf((ref.x - ref.mu + half) / scale), cdf((ref.x - ref.mu - half) / scale)


def closed_ends(ref: Reference) -> Tensor:
    """Return -log of the mass in a closed bin."""
    import torch

    upper, lower = bins(ref, torch.special.ndtr if "gaussian" in ref.likelihood.name else torch.sigmoid)
    return -(upper - lower).log()


def cancelled(call: str, ref: Reference) -> Tensor:
    """Return how far -log p moves in float64, where p is a bin's: a difference of numbers of [0, 1], each a few roundings off."""
    return 16 * 2**-52 * ref.nll.exp() * ("levels" in call)


def approximate_cdf(ref: Reference) -> Tensor:
    """Return -log of the mass in a bin, the end ones open, by a hyperbolic tangent."""
    upper, lower = bins(ref, lambda z: 0.5 * (1 + (math.sqrt(2 / math.pi) * (z + 0.044715 * z**3)).tanh()))
    return -(upper.where(ref.x < 1, 1) - lower.where(ref.x > 0, 0)).clamp(min=1e-12).log()


def normalised(ref: Reference) -> Tensor:
    """Return the gradient -x/mu + 1/sum of mu."""
    return -ref.x / ref.mu + 1 / ref.mu.sum(dim=-1, keepdim=True)


def gradient_clamped(ref: Reference) -> Tensor:
    """Return the gradient (mu - x)/max(mu (1 - mu), 1e-12)."""
    steep = ref.mu * (1 - ref.mu)
    return acting((ref.mu - ref.x) / steep.clamp(min=1e-12), steep < 1e-12)


def floor(least: float) -> Callable[[Reference], Tensor]:
    """Return the function that is the nll with a probability of at least ``least`` in the logarithm."""
    return lambda ref: acting(ref.nll.clamp(max=-math.log(least)), ref.nll > -math.log(least))


CHANGES = (
    Change("variance clamp", r"gaussian_nll_loss.*full=True", variance_clamped, "the variance is taken as at least 1e-6"),
    Change("constant dropped", r"gaussian_nll_loss", half_dropped, "log(2 pi)/2, which moves no gradient, is left out"),
    Change("constant dropped", r"poisson_nll_loss", dropped,
           "log x!, which moves no gradient, is left out: the value is no -log p"),
    Change("constant dropped", r"x\*(F|special)\.log_softmax", arrangements_dropped,
           "log n! and log x!, which move no gradient, are left out: the value is no -log p"),
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


def changes_in(call: str, changes: tuple[Change, ...] = CHANGES) -> Iterator[Change]:
    """Yield the changes that are looked for in a call."""
    return (change for change in changes if re.search(change.calls, call))


def within(returned: Tensor, expected: Tensor, off: Tensor, eps: float) -> Tensor:
    """Return where ``expected`` accounts for what is ``returned``: all but a hundredth of ``off``, or to rounding."""
    return (returned - expected).abs() <= 0.01 * off + 16 * eps * expected.abs()
