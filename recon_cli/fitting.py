"""Noise as free parameters, to be learned; and maximum likelihood where there is no closed form."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from recon_cli.errors import ReconError
from recon_cli.regions import SHARE

BLOCK = 1 << 18  # elements in float64 at a time


class Free(nn.Module):
    """The numbers of a likelihood without bounds: the logarithm of a positive one, the logit of a share."""

    def __init__(self, start: Any, dtype: torch.dtype = torch.float32) -> None:
        super().__init__()
        self.kind = type(start)
        self.design = start.design
        self.shares = {field.name for field in dataclasses.fields(start) if field.metadata["domain"] == SHARE}
        values = {name: torch.tensor(float(value), dtype=torch.float64) for name, value in start.noise.items()}
        free = {name: value.logit() if name in self.shares else value.log() for name, value in values.items()}
        self.free = nn.ParameterDict({name: nn.Parameter(value.to(dtype)) for name, value in free.items()})

    def forward(self) -> Any:
        """The likelihood as it is now, differentiable in the free parameters."""
        noise = {name: t.sigmoid() if name in self.shares else t.exp() for name, t in self.free.items()}
        return self.kind(**noise, **self.design)


def level(side: Any) -> str | None:
    """The number that is the size of the noise: sigma or scale, or the only one there is; None without one."""
    names = [*side.noise]
    return next((name for name in ("sigma", "scale") if name in names), names[0] if len(names) == 1 else None)


def start(kind: Any, x: Tensor, mu: Tensor, design: dict[str, float]) -> Any:
    """Where to look from: the mean absolute error for a scale, the rest as it is by default."""
    side = kind(**design)
    name = level(side)
    if name not in ("sigma", "scale"):
        return side
    size = (x.double() - mu.double()).abs().mean().item()
    return dataclasses.replace(side, **{name: size}) if size > 0 else side


def fit(kind: Any, x: Tensor, mu: Tensor, design: dict[str, float]) -> Any:
    """The noise of ``kind``, a Likelihood class, that makes ``x`` given ``mu`` most likely.

    L-BFGS with strong Wolfe steps on :class:`Free` parameters, in float64, a block of samples at a time; then
    Newton's steps, because a search by values stops at half their digits. Raises ReconError where the likelihood
    grows without end, as when some families meet values reconstructed exactly.
    """
    if not (side := kind(**design)).noise:
        return side
    if x.device.type == "mps":  # which has no float64
        x, mu = x.cpu(), mu.cpu()
    noise = Free(start(kind, x, mu, design), torch.float64).to(x.device)
    search = torch.optim.LBFGS(
        noise.parameters(), max_iter=200, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )
    rows = max(1, BLOCK // max(1, x[0].numel()))
    blocks = [*zip(x.split(rows), mu.split(rows), strict=True)] if x.ndim > kind.event else [(x, mu)]
    count = max(1, x.numel() // (x.shape[-1] if kind.event else 1))

    @torch.enable_grad()
    def cost() -> Tensor:
        search.zero_grad()
        total = torch.zeros((), dtype=torch.float64, device=x.device)
        for some, means in blocks:
            mean = noise().nll(some.double(), means.double()).sum() / count
            mean.backward()
            total += mean.detach()
        return total

    search.step(cost)
    polish([*noise.parameters()], cost)
    found = {name: value.item() for name, value in noise().noise.items()}
    if not all(math.isfinite(value) and value > 0 for value in found.values()):
        raise ReconError(
            f"No noise of {kind.name} makes these data most likely: the likelihood grows without end.",
            "Some values may be reconstructed exactly; give the noise yourself.",
        )
    return kind(**found, **design)


def polish(free: list[Tensor], cost: Callable[[], Tensor], step: float = 1e-4) -> None:
    """A few of Newton's steps on numbers near a minimum, the Hessian by central differences of gradients.

    They stay where they are where that is no minimum: a Hessian that is not positive, or a step that leads away.
    """

    def slope(by: Tensor) -> Tensor:
        with torch.no_grad():
            for number, value in zip(free, by, strict=True):
                number.copy_(value)
        cost()
        return torch.stack([number.grad.clone() for number in free])  # type: ignore[union-attr]

    here = torch.stack([number.detach().clone() for number in free])
    sides = step * torch.eye(len(free), dtype=here.dtype, device=here.device)
    hessian = torch.stack([(slope(here + side) - slope(here - side)) / (2 * step) for side in sides])
    factor, failed = torch.linalg.cholesky_ex((hessian + hessian.T) / 2)
    for _ in range(4):
        move = here * math.nan if failed else torch.cholesky_solve(slope(here)[:, None], factor)[:, 0]
        if not (move.abs() < step).all():
            break
        here = here - move
    slope(here)
