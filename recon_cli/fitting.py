"""Maximum likelihood where there is no closed form."""

from __future__ import annotations

import dataclasses
from typing import Any

import torch

from recon_cli.parametric import SHARE


def fit(kind: Any, x: torch.Tensor, mu: torch.Tensor) -> Any:
    """The noise of ``kind``, a Likelihood class, that makes ``x`` given ``mu`` most likely.

    L-BFGS with strong Wolfe steps on free parameters t: a positive one is e^t, a share is sigmoid(t).
    """
    fields = dataclasses.fields(kind)
    if not fields:
        return kind()
    x, mu = x.double(), mu.double()
    size = (x - mu).abs().mean().clamp(min=torch.finfo(torch.float64).tiny)
    links = [torch.sigmoid if field.metadata["domain"] == SHARE else torch.exp for field in fields]
    starts = [size if field.name in ("scale", "sigma") else torch.tensor(field.default).double() for field in fields]
    free = [
        (start.logit() if link is torch.sigmoid else start.log()).clone().requires_grad_()
        for start, link in zip(starts, links, strict=True)
    ]
    search = torch.optim.LBFGS(free, max_iter=200, tolerance_grad=1e-13, tolerance_change=1e-16, line_search_fn="strong_wolfe")

    def noise() -> dict[str, torch.Tensor]:
        return {field.name: link(value) for field, link, value in zip(fields, links, free, strict=True)}

    def cost() -> torch.Tensor:
        search.zero_grad()
        mean = kind(**noise()).nll(x, mu).mean()
        mean.backward()
        return mean

    search.step(cost)
    return kind(**{name: value.item() for name, value in noise().items()})
