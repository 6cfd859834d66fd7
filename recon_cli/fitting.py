"""Noise as free parameters, to be learned; and maximum likelihood where there is no closed form."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from torch import Tensor, nn

from recon_cli.errors import ReconError
from recon_cli.regions import SHARE


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

    L-BFGS with strong Wolfe steps on :class:`Free` parameters, in float64. Raises ReconError where the
    likelihood grows without end, as when some families meet values reconstructed exactly.
    """
    if not (side := kind(**design)).noise:
        return side
    if x.device.type == "mps":  # which has no float64
        x, mu = x.cpu(), mu.cpu()
    x, mu = x.double(), mu.double()
    noise = Free(start(kind, x, mu, design), torch.float64).to(x.device)
    search = torch.optim.LBFGS(
        noise.parameters(), max_iter=200, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe"
    )

    def cost() -> Tensor:
        search.zero_grad()
        mean = noise().nll(x, mu).mean()
        mean.backward()
        return mean

    search.step(cost)
    found = {name: value.item() for name, value in noise().noise.items()}
    if not all(math.isfinite(value) and value > 0 for value in found.values()):
        raise ReconError(
            f"No noise of {kind.name} makes these data most likely: the likelihood grows without end.",
            "Some values may be reconstructed exactly; give the noise yourself.",
        )
    return kind(**found, **design)
