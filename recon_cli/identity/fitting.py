"""Noise as free parameters, to be learned; and maximum likelihood where there is no closed form."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import math
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from recon_cli.errors import ReconError

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood
    from recon_cli.identity.parametric import Number

L = TypeVar("L", bound="Likelihood")
BLOCK = 1 << 16  # elements in float64 at a time
SAMPLE = 1 << 16  # events that stand for all at first
GOLDEN = (math.sqrt(5) - 1) / 2
CLOSE = 1e-9  # as the logarithm of a parameter: the step from there is good to rounding
ENDLESS = 1e30  # times what they begin with, or a part: numbers that go so far would go on
FLAT = 1e-9  # nats an event: less curvature is rounding's, or that of a likelihood which grows without end


class Free(nn.Module, Generic[L]):
    """The numbers of a likelihood without bounds: logarithms of positive ones, logits of those between two; tensors too."""

    def __init__(self, start: L, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.family = type(start)
        self.design = start.design
        domains = {field.name: field.metadata["domain"].bounds for field in dataclasses.fields(start)}
        self.bounds: dict[str, tuple[float, float]] = {name: ends for name, ends in domains.items() if ends}
        values = {name: torch.as_tensor(value, dtype=torch.float64, device="cpu") for name, value in start.noise.items()}
        free = {name: self.share(name, value).logit() if name in self.bounds else value.log() for name, value in values.items()}
        self.free = nn.ParameterDict({name: nn.Parameter(value.to(dtype)) for name, value in free.items()})

    def forward(self) -> L:
        """Return the likelihood as it is now, differentiable in the free parameters."""
        noise = {name: self.within(name, t) if name in self.bounds else t.exp() for name, t in self.free.items()}
        return self.family(**noise, **self.design)

    def share(self, name: str, value: Tensor) -> Tensor:
        """Return how far a number is on its way between its bounds."""
        low, high = self.bounds[name]
        return value if (low, high) == (0, 1) else (value - low) / (high - low)

    def within(self, name: str, t: Tensor) -> Tensor:
        """Return the number between its bounds of a logit."""
        low, high = self.bounds[name]
        return t.sigmoid() if (low, high) == (0, 1) else low + (high - low) * t.sigmoid()


def resized(likelihood: Likelihood, size: Number) -> Likelihood:
    """Return the likelihood with another size of its noise; one that has none as it is."""
    name = likelihood.level_name
    return type(likelihood)(**{**likelihood.parameters, name: size}) if name else likelihood


def start(usual: L, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> L:
    """Return the likelihood to look from: the mean absolute error for a scale, the rest as it is usually."""
    name = usual.level_name
    if name not in ("sigma", "scale"):
        return usual
    if weights is None:
        size = (x.double() - mu.double()).abs().mean().item()
    else:
        size = (((x.double() - mu.double()).abs() * weights.double()).sum() / weights.double().sum()).item()
    return dataclasses.replace(usual, **{name: size}) if size > 0 else usual


def fit(likelihood: L, x: Tensor, mu: Tensor, weights: Tensor | None = None) -> L:
    """Return ``likelihood`` with the noise that makes ``x`` given ``mu`` most likely, its design as it is.

    With ``weights``, one an event: that of the least weighted mean nll.

    Of many elements a few, evenly spread, say nearly where; quasi-Newton steps on all of them say exactly where. Of
    few, or where those steps do not close in, L-BFGS on all of them from the start. Float64 throughout. (scipy.optimize
    moves the numbers no better, and would copy them from and to the device at each step.) Raises
    ReconError where the likelihood grows without end, as when some families meet values reconstructed exactly.
    """
    usual = type(likelihood)(**likelihood.design)
    if not usual.noise:
        return usual
    if x.device.type == "mps":  # which has no float64
        x, mu = x.cpu(), mu.cpu()
    alone = x.ndim - usual.event
    x, mu = x.reshape(-1, *x.shape[alone:]), mu.reshape(-1, *mu.shape[alone:])
    if weights is not None:
        shares = weights.double().flatten() / weights.double().sum()
        known = usual.at_mean_loss(lambda: (usual.loss(x.double(), mu.double()) * shares).sum().item())
        if known is not None:
            return known
    first = start(usual, x, mu, weights)
    noise = Free(first, torch.float64).to(x.device)
    sample = SAMPLE // 32 if usual.costly else SAMPLE
    if not (len(x) > 4 * sample and nearby(noise, x, mu, weights, sample=sample)):
        noise = Free(first, torch.float64).to(x.device)
        descend(noise, x, mu, weights)
    with torch.no_grad():
        numbers = {name: float(value) for name, value in noise().noise.items()}
    began = {name: float(value) for name, value in first.noise.items()}
    if not all(began[name] / ENDLESS < value < began[name] * ENDLESS for name, value in numbers.items()):
        raise ReconError(
            f"No noise of {usual.name} makes these data most likely: the likelihood grows without end.",
            "Some values may be reconstructed exactly; give the noise yourself.",
        )
    return dataclasses.replace(usual, **numbers)


class Lost(ArithmeticError):
    """A search has gone where numbers are none, and stays there."""


class Cost(Generic[L]):
    """The (weighted) mean nll of events, nats, as a function of the free numbers of ``noise``, a block of events at a time."""

    def __init__(self, noise: Free[L], x: Tensor, mu: Tensor, weights: Tensor | None = None) -> None:
        rows = max(1, BLOCK // max(1, x[0].numel()))
        self.noise, self.free = noise, [*noise.parameters()]
        self.count = len(x) if weights is None else weights.sum().item()
        shares = [None] * -(-len(x) // rows) if weights is None else [*weights.double().flatten().split(rows)]
        self.blocks = [*zip(x.split(rows), mu.split(rows), shares, strict=True)]

    @torch.enable_grad()
    def __call__(self) -> Tensor:
        """Return the value where the numbers are now, its gradient left in theirs. What is NaN stays so, block after block.

        Raises Lost where all the numbers are NaN themselves: no search comes back from there, and torch's would not end.
        """
        if all(number.isnan() for number in self.free):
            raise Lost
        self.noise.zero_grad()
        total = self.here.new_zeros(())
        for some, means, share in self.blocks:
            nll = self.noise().admitted().nll(some.double(), means.double())
            mean = (nll if share is None else nll * share).sum() / self.count
            mean.backward()
            total += mean.detach()
            if total.isnan() and all(slope.isnan() for slope in self.slopes):
                break
        return total

    @property
    def slopes(self) -> list[Tensor]:
        """The derivatives that the last call left in the numbers."""
        return [number.grad for number in self.free if number.grad is not None]

    @property
    def here(self) -> Tensor:
        """The numbers as they are now."""
        return torch.stack([number.detach().clone() for number in self.free])

    @torch.no_grad()
    def move(self, by: Tensor) -> None:
        """Set the numbers to ``by``."""
        for number, value in zip(self.free, by, strict=True):
            number.copy_(value)

    def slope(self, by: Tensor) -> Tensor:
        """Return the gradient at ``by``, where it leaves the numbers."""
        self.move(by)
        self()
        return torch.stack([slope.clone() for slope in self.slopes])

    def hessian(self, step: float) -> Tensor:
        """Return the matrix of second derivatives, by central differences of gradients."""
        here = self.here
        steps = step * torch.eye(len(here), dtype=here.dtype, device=here.device)
        rows = torch.stack([(self.slope(here + move) - self.slope(here - move)) / (2 * step) for move in steps])
        self.move(here)
        return (rows + rows.T) / 2


class Search(torch.optim.LBFGS):
    """L-BFGS without torch's compiler, which every optimiser imports in order to hide from it: that takes a second and more."""

    def add_param_group(self, param_group: dict[str, Any]) -> None:
        """Add parameters, as an optimiser does."""
        inspect.unwrap(torch.optim.Optimizer.add_param_group)(self, param_group)


def descend(noise: Free[L], x: Tensor, mu: Tensor, weights: Tensor | None = None) -> None:
    """Move the numbers to a minimum by L-BFGS with strong Wolfe steps, then by Newton's.

    Because a search by values stops at half their digits.
    """
    cost = Cost(noise, x, mu, weights)
    close = (1e-7, 1e-10) if noise.family.costly else (1e-13, 1e-16)  # Newton's steps are few
    search = Search(cost.free, max_iter=200, tolerance_grad=close[0], tolerance_change=close[1], line_search_fn="strong_wolfe")
    with contextlib.suppress(Lost):
        search.step(cost)  # type: ignore[no-untyped-call]
        polish(cost)


def polish(cost: Cost[L], step: float = 1e-4) -> None:
    """Move numbers near a minimum by a few of Newton's steps.

    They stay where they are where that is no minimum: a Hessian that is not positive, or a step that leads away.
    """
    here = cost.here
    factor, failed = torch.linalg.cholesky_ex(cost.hessian(step))
    for _ in range(4):
        move = here * math.nan if failed else torch.cholesky_solve(cost.slope(here)[:, None], factor)[:, 0]
        size = move.abs().max().item()
        if not size < step:
            break
        here = here - move
        if size < CLOSE:
            break
    cost.move(here)


def nearby(
    noise: Free[L], x: Tensor, mu: Tensor, weights: Tensor | None = None, reach: float = 0.25, sample: int = SAMPLE
) -> bool:  # fmt: skip
    """Return whether the minimum over all events was found, to rounding, from that over a sample of them.

    The sample is a Weyl sequence's, multiples of the golden ratio modulo one: as even as a stride, in step with no
    image's width. Its Hessian guides the steps on all events, corrected by what their gradients show (the symmetric
    rank-one formula: Nocedal and Wright, Numerical Optimization, 6.24). Each step must be shorter than half the last,
    the first than ``reach``, and the curvature positive throughout: else there is no minimum near.
    """
    spread = torch.arange(sample, dtype=torch.float64, device="cpu") * GOLDEN % 1 * len(x)
    places = spread.long().sort().values.to(x.device)
    few = x[places], mu[places], None if weights is None else weights[places]
    descend(noise, *few)
    least = Cost(noise, *few)
    here = least.here
    if not (here.isfinite().all() and (hessian := least.hessian(1e-4)).isfinite().all()):
        return False
    cost = Cost(noise, x, mu, weights)
    slope = cost.slope(here)
    for _ in range(16):
        if not (torch.linalg.eigvalsh(hessian) > FLAT).all():
            return False
        move = -torch.linalg.solve(hessian, slope)
        size = move.abs().max().item()
        if not size < reach:
            return False
        here, before, reach = here + move, slope, size / 2
        slope = cost.slope(here)
        if size < CLOSE:
            return True
        missed = slope - before - hessian @ move
        if abs(missed @ move) > 1e-8 * missed.norm() * move.norm():
            hessian = hessian + missed.outer(missed) / (missed @ move)
    return False
