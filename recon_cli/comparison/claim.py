"""A claim, and both sides of it evaluated: nll and loss of each event, their gradients, and where these have no digits."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import Field, dataclass, fields, replace
from typing import TYPE_CHECKING, NamedTuple, TypeVar, cast

from recon_cli.identity.likelihood import Likelihood
from recon_cli.identity.losses import IDENTITY, Loss
from recon_cli.identity.parametric import Number
from recon_cli.identity.regions import Outputs
from recon_cli.identity.tensors import wide

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Part = TypeVar("Part", Likelihood, Loss)
PROPORTIONAL = 64.0  # gradients are proportional if their ratio varies by fewer units of rounding than this


@dataclass(frozen=True)
class Claim:
    """What is put to the test: -log p of ``measured`` is slope * ``loss`` + offset + gap, these three as ``likelihood`` has them.

    ``measured`` is the likelihood itself, or its relaxation for data that leave its support. ``slope`` is NaN for a loss that
    is not the likelihood's own: then only values and gradients are measured.
    """

    likelihood: Likelihood
    loss: Loss
    measured: Likelihood
    slope: float

    @classmethod
    def of(cls, likelihood: Likelihood, loss: Loss | None = None, measured: Likelihood | None = None) -> Claim:
        """Return the claim of a likelihood about ``loss`` (its own, unless given), tested on its nll or that of ``measured``."""
        loss = loss or likelihood.loss
        slope = likelihood.slope_of(loss)
        return cls(likelihood, loss, measured or likelihood, math.nan if slope is None else float(slope))

    @property
    def own(self) -> bool:
        """Whether the loss is the likelihood's own, so that there is a slope."""
        return not (isinstance(self.slope, float) and math.isnan(self.slope))

    @property
    def known(self) -> bool:
        """Whether all of it is of recon's own classes: what these return is new, and nobody else's."""
        return all(type(part).__module__.startswith("recon_cli.") for part in self.parts)

    @property
    def uneven(self) -> bool:
        """Whether the gradients' ratio is no one number: the loss is not the likelihood's own, or leaves out a gap."""
        has_gap = type(self.likelihood).gap is not Likelihood.gap
        return not self.own or has_gap or self.measured is not self.likelihood

    @property
    def cancels(self) -> bool:
        """Whether a gradient may lose its digits where the claim is true: it is uneven, or by the size of a noise.

        That of a Gaussian is (1 - z^2)/2: at z = 1 the ratio of two such is any number.
        """
        return self.uneven or bool(self.measured.head)

    @property
    def parts(self) -> tuple[Likelihood | Loss, ...]:
        """Likelihood and loss, and what is measured where that is another."""
        return (self.likelihood, self.loss, *([] if self.measured is self.likelihood else [self.measured]))

    @property
    def numbers(self) -> tuple[float, ...]:
        """The numbers that :meth:`with_numbers` takes others for: the slope, and those of the parts."""
        return (self.slope, *(getattr(part, name) for part in self.parts for name in replaceable(part)))

    def with_numbers(self, numbers: Sequence[Number]) -> Claim:
        """Return the same claim at other numbers, which may be tensors: then one expression is that of every noise."""
        slope, *others = numbers
        left = iter(others)
        likelihood, loss = with_fields(self.likelihood, left).admitted(), with_fields(self.loss, left)
        measured = likelihood if self.measured is self.likelihood else with_fields(self.measured, left).admitted()
        return Claim(likelihood, loss, measured, cast(float, slope) if self.own else self.slope)

    def nll(self, x: Tensor, point: Tensor) -> Tensor:
        """Return -log p(x) of each event at ``point``, which is what the loss takes: mu, or a raw output."""
        if self.loss.link == self.measured.link:
            return self.measured.nll_raw(x, point)
        return self.measured.nll(x, self.loss.link.inverse(point))


def replaceable(part: Likelihood | Loss) -> list[str]:
    """Return which fields of a likelihood, or of a loss, may be tensors: no whole numbers, none that torch's functional takes.

    Nor a whole exponent: a kernel multiplies then, which takes a tenth of the time that logarithms do.
    """
    if isinstance(part, Loss) and type(part).values is Loss.values:
        return []

    def is_whole(field: Field[float]) -> bool:
        return bool(field.metadata["domain"].whole or (field.metadata["exponent"] and getattr(part, field.name) % 1 == 0))

    return [field.name for field in fields(part) if not is_whole(field)]


def with_fields(part: Part, numbers: Iterator[Number]) -> Part:
    """Return a likelihood, or a loss, with the next of ``numbers`` in its replaceable fields."""
    return replace(part, **{name: next(numbers) for name in replaceable(part)})


class Evaluation(NamedTuple):
    """Each event's nll in float64, and its loss as it comes, at ``point``: what the loss takes. ``x`` are the data in float64."""

    x: Tensor
    point: Tensor
    nll: Tensor
    loss: Tensor


class Gradients(NamedTuple):
    """d nll and d loss by what the loss takes, in the dtype of the data."""

    nll: Tensor
    loss: Tensor


def evaluate(claim: Claim, x: Tensor, mu: Tensor) -> Evaluation:
    """Return nll and loss of each event, without gradients."""
    import torch

    with torch.no_grad():
        point = claim.loss.link.forward(mu)
        data = wide(x)  # once, for nll and offset: what looks them up in a table looks at them once too
        return Evaluation(data, point, claim.nll(data, wide(point)), claim.loss(x, point))


def evaluate_with_gradients(claim: Claim, x: Tensor, mu: Tensor) -> tuple[Evaluation, Gradients]:
    """Return nll and loss of each event, and the gradients of both by what the loss takes."""
    import torch

    def with_gradient(function: Callable[[Tensor], Tensor], point: Tensor) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_compiling():

            def sum_and_values(point: Tensor) -> tuple[Tensor, Tensor]:
                values = function(point)
                return values.sum(), values

            gradient, values = torch.func.grad(sum_and_values, has_aux=True)(point)
            return gradient, values
        point = point.detach().requires_grad_()
        values = function(point)
        return torch.autograd.grad(values.sum(), point)[0], values.detach()

    point, data = claim.loss.link.forward(mu), wide(x)
    of_nll, nll = with_gradient(lambda point: claim.nll(data, point), wide(point))
    of_loss, loss = with_gradient(lambda point: claim.loss(x, point), point)
    if isinstance(claim.measured.domain, Outputs) and claim.loss.link == IDENTITY:
        unit = claim.measured.domain.unit_of(wide(point))
        of_nll, of_loss = unit * of_nll, unit * wide(of_loss)
    return Evaluation(data, point, nll, loss), Gradients(of_nll.to(x.dtype), of_loss.to(x.dtype))


def all_counted(gradients: Gradients, claim: Claim) -> bool:
    """Return whether every gradient of the loss keeps its digits, so that nothing is :func:`excluded`; asked of plain numbers."""
    import torch

    if type(gradients.loss) is not torch.Tensor or gradients.loss.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    small = torch.finfo(gradients.loss.dtype).tiny * (max(1.0, 1 / claim.slope) if claim.own else 1.0)
    return bool(gradients.loss.abs().amin() >= small)


def excluded(gradients: Gradients, claim: Claim) -> Tensor:
    """Return where both gradients are zero, or below the smallest normal number, where a gradient has lost its digits."""
    import torch

    if not claim.own:
        return (gradients.nll == 0) & (gradients.loss == 0)
    limits, slope = torch.finfo(gradients.loss.dtype), claim.slope
    if isinstance(slope, (int, float)):
        small = limits.tiny * max(1.0, 1 / slope)
        return (gradients.loss.abs() < small) & (gradients.nll.abs() < min(2 * slope * small, limits.max))
    least = limits.tiny * (1 / slope).clamp(min=1)
    return (gradients.loss.abs() < least) & (gradients.nll.abs() < (2 * slope * least).clamp(max=limits.max))


def finite(evaluation: Evaluation, gradients: Gradients) -> Tensor:
    """Return for each event whether values and gradients are finite."""
    moved = gradients.nll.isfinite() & gradients.loss.isfinite()
    if moved.shape != evaluation.nll.shape:
        moved = moved.reshape(*evaluation.nll.shape, -1).all(dim=-1)
    return evaluation.nll.isfinite() & evaluation.loss.isfinite() & moved


def underflown(evaluation: Evaluation, gradients: Gradients, slope: float) -> Tensor:
    """Return for each event whether its loss is below the smallest normal number, and the digits lost count for the nll."""
    import torch

    nll, loss = evaluation.nll, evaluation.loss
    limits = torch.finfo(loss.dtype)
    moved = (gradients.nll != 0) | (gradients.loss != 0)
    moved = moved if moved.shape == nll.shape else moved.reshape(*nll.shape, -1).any(dim=-1)
    return moved & (loss.abs() < limits.tiny) & (slope * limits.tiny > limits.eps * nll.abs().clamp(min=1))


def drift(of_nll: Tensor, of_loss: Tensor, slope: float, dtype: torch.dtype) -> float:
    """Return the largest |d nll - slope * d loss| beyond what rounding the element's own gradient allows."""
    import torch

    if math.isnan(slope):
        return 0.0
    off = (of_nll - slope * of_loss).abs() - PROPORTIONAL * torch.finfo(dtype).eps * of_nll.abs()
    return float(off.amax().clamp(min=0))
