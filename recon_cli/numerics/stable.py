"""Formulas whose gradient loses digits on the way through the chain rule, each with the one that keeps them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from recon_cli.identity.parametric import Number
from recon_cli.identity.tensors import asks_gradient, beside

OF_COUNTS = (  # Stirling's errors of 1 to 15
    0.0, 0.08106146679532726, 0.0413406959554093, 0.02767792568499834, 0.020790672103765093, 0.016644691189821193,
    0.013876128823070748, 0.01189670994589177, 0.010411265261972096, 0.009255462182712733, 0.00833056343336287,
    0.007573675487951841, 0.00694284010720953, 0.006408994188004207, 0.0059513701127588475, 0.005554733551962801,
)  # fmt: skip

OF_BEND = (  # the polynomial through (atanh(v)/v - 1)/v^2 at Chebyshev's points of v^2 in [0, 0.31]
    0.3333333333333333, 0.19999999999999976, 0.14285714285721313, 0.11111111110253748, 0.09090909145836756,
    0.07692305562874213, 0.0666672093941998, 0.05881394819676907, 0.052752743855432854, 0.04649838974824736,
    0.051140187214177436, 0.0012241579074912738, 0.18101508726124563, -0.349037300901528, 0.7331342851935804,
    -0.7723739926944294, 0.4876531601316802,
)  # fmt: skip

OF_STIRLING = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


OF_STEPS = (17, 12, 10, 9, 8, 7, 6, 6)  # how many terms of atanh(v)/v - 1 count at v up to 1/3, 1/5, 1/7, ...


class WithGradient(torch.autograd.Function):
    """``value``, whose derivative by ``point`` is ``slope``: both given. See :func:`with_derivatives`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(value: Tensor, slope: Tensor, point: Tensor) -> Tensor:
        """Return the value as it is."""
        del slope, point
        return value.clone()

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the slope."""
        ctx.save_for_backward(inputs[1])
        ctx.shape, ctx.size = inputs[2].shape, output.shape

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[None, None, Tensor]:
        """Return what comes in times the slope, for the point alone."""
        slope: Tensor = ctx.saved_tensors[0]
        product = (grad.unsqueeze(-1) if slope.ndim > grad.ndim else grad) * slope
        return None, None, product.sum_to_size(ctx.shape)


class WithBothGradients(WithGradient):
    """The same in forward mode too, for ``torch.func.jvp`` and ``hessian``; the compiler takes no such function."""

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Keep the slope, for either mode."""
        WithGradient.setup_context(ctx, inputs, output)
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def jvp(ctx: Any, value: object, slope: object, point: Tensor) -> Tensor:
        """Return the slope times how the point moves."""
        del value, slope
        saved: Tensor = ctx.saved_tensors[0]
        product = saved * point
        return product.sum(dim=-1) if saved.ndim > len(ctx.size) else product


def with_derivatives(value: Tensor, *slopes: tuple[Tensor | Callable[[], Tensor], Number]) -> Tensor:
    """Return ``value``, constant but for these derivatives: pairs of a slope and the point that it is the derivative by.

    A point has the shape of the value, or an axis more (a vector for each value), or none (one noise for
    all; where that is a plain number there is nothing to differentiate). A slope may depend on its point
    through autograd, and then there are second derivatives too; one that is costly may be a function, which is called where
    somebody asks for a derivative.
    """
    total = value = value.detach()
    function = WithGradient if torch.compiler.is_compiling() else WithBothGradients
    for i, (slope, point) in enumerate(slopes):
        if isinstance(point, Tensor) and (torch.compiler.is_compiling() or asks_gradient(point)):
            derivative = slope if isinstance(slope, Tensor) else slope()
            part: Tensor = function.apply(value if i == 0 else torch.zeros_like(value), derivative, point)  # type: ignore[no-untyped-call]
            total = part if i == 0 else total + part
    return total


def power(base: Tensor, exponent: Number) -> Tensor:
    """Return base^exponent for base >= 0, its derivative exponent * base^exponent/base: exponent - 1 is never rounded.

    At the cusp of an exponent below 1, where it has none, 0 of its subgradients: so that training goes on.
    """
    if not isinstance(exponent, (int, float)):
        positive = base > 0
        values: Tensor = base.where(positive, 1) ** exponent
        return values.where(positive, 0)
    value: Tensor = base**exponent
    if exponent == 1:
        return value
    slope = (exponent * value / base).where(base > 0, 0)
    return with_derivatives(value, (slope, base))


def deviance(k: Number, mu: Tensor, over: Tensor | None = None) -> Tensor:
    """Return k log(k/mu) + mu - k for k >= 0 and mu > 0, without cancelling where they are near: Loader (2000), bd0.

    With v = (k - mu)/(k + mu) it is (k - mu + 2 k (atanh(v)/v - 1)) v, taken for |v| < 1/2. ``over`` is
    k - mu, where that is known better than from mu.
    """
    over = k - mu if over is None else over
    v = over / (k + mu)
    near = v.abs() < 0.5
    v = v.clamp(-0.5, 0.5)
    bent = bend(v * v)
    inside = torch.addcmul(over, k, bent, value=2) if isinstance(k, Tensor) else over + 2 * k * bent
    ratio = (k / mu).clamp(min=torch.finfo(mu.dtype).tiny)  # 0 log 0 = 0
    return (inside * v).where(near, k * ratio.log() - over)


def bend(square: Tensor) -> Tensor:
    """Return atanh(v)/v - 1 = v^2/3 + v^4/5 + ... of v^2 = ``square``: to 1e-17 up to 0.31, by a polynomial."""
    return square * polynomial(square, OF_BEND)


def polynomial(x: Tensor, coefficients: Sequence[Number]) -> Tensor:
    """Return the polynomial in ``x`` of these ``coefficients``, two at least, that of 1 first; they may be tensors too.

    By Horner's rule; in place where nobody looks back, for what is new goes through memory.
    """
    value = x * coefficients[-1] + coefficients[-2]
    for part in coefficients[-3::-1]:
        value = value * x + part if value.requires_grad else value.mul_(x).add_(part)
    return value


def stirling_error(k: Tensor, more: Number | None = None) -> Tensor:
    """Return log Gamma(n + 1) - (n + 1/2) log n + n - log(2 pi)/2 at n = k + more > 0, k = 0, 1, 2, ...: Loader (2000).

    scipy.special has it with no gradient. From n = 16 up by the series 1/(12n) - 1/(360n^3) + 1/(1260n^5) - ..., below by what
    each step down from there adds, (n + 1/2) log(1 + 1/n) - 1 = bend((2n + 1)^-2); by lgamma near zero.
    """
    if isinstance(more, Tensor) and more.ndim:  # a noise of its own for each element
        return stirling_error_of(k + more)
    if more is None:
        n, table = k, beside(k, OF_COUNTS)
    else:
        n, steps = k + more, torch.arange(17, dtype=k.dtype, device=k.device) + more
        added = bend((2 * steps[:16] + 1) ** -2)
        small = steps[:16].clamp(max=0.4)
        near = (1 + small).lgamma() + small - small * small.log() - (2 * math.pi * small).log() / 2
        table = (_stirling_series(steps[16]) + added.flip(0).cumsum(0).flip(0)).where(steps[:16] > 0.4, near)
    errors = table.index_select(0, k.clamp(0, 15).long().reshape(-1)).reshape(k.shape)
    return errors.where(k < 16, _stirling_series(n.clamp(min=16)))


def stirling_error_of(n: Tensor) -> Tensor:
    """Return Stirling's error of any n > 0, which :func:`stirling_error` has of whole numbers, a number more: by eight steps up.

    Its derivative, digamma(n) + 1/(2n) - log n, is that of torch's digamma.
    """
    at = n.detach()
    small, large = at.clamp(max=1), at.clamp(min=8)
    near = (1 + small).lgamma() + small - small * small.log() - (2 * math.pi * small).log() / 2
    between = at.clamp(1, 8)
    middle = _stirling_series(between + 8)
    for step, terms in enumerate(OF_STEPS):
        square = (2 * between + (2 * step + 1)).square().reciprocal()
        middle = middle.addcmul(square, polynomial(square, [1 / (2 * k + 3) for k in range(terms)]))
    value = near.where(at < 1, middle.where(at < 8, _stirling_series(large)))
    return with_derivatives(value, (lambda: digamma_less_log(n) + 1 / (2 * n), n))


def digamma_less_log(n: Tensor) -> Tensor:
    """Return digamma(n) - log n, which vanishes as -1/(2n)."""
    large = n.clamp(min=1e5)
    return (n.digamma() - n.log()).where(n < 1e5, -(1 / (2 * large) + 1 / (12 * large * large)))


def _stirling_series(n: Tensor) -> Tensor:
    return polynomial(1 / (n * n), OF_STIRLING) / n


def log1p_over(t: Tensor) -> Tensor:
    """Return log(1 + t)/t, which is 1 at t = 0."""
    some = t.abs() > 1e-30
    far = t.where(some, 1)
    return (far.log1p() / far).where(some, 1)


def lowest(value: Tensor) -> float:
    """Return what a mean below is as good as zero, but for its logarithm: the root of the smallest normal number."""
    return math.sqrt(torch.finfo(value.dtype).tiny)
