"""Library calls that people write for an nll: which there are, and what each returns."""

from __future__ import annotations

import contextlib
import functools
import math
import re
import warnings
from typing import TYPE_CHECKING, Any

from recon_cli.errors import ReconError
from recon_cli.identity.likelihood import Likelihood
from recon_cli.runtime.torch_state import ProcessSetting

if TYPE_CHECKING:
    from torch import Tensor

LIBRARIES = {"torch": r"(?<![.\w])(F|distributions|torch)\.", "scipy": r"(?<![.\w])(stats|special)\."}


def calls(likelihood: Likelihood, library: str) -> list[str]:
    """Return what people write for a likelihood in a library."""
    if library not in (*LIBRARIES,):
        raise ReconError(f"There is nothing known of {library!r}.", f"Known: {' and '.join(LIBRARIES)}.")
    return [call for call in likelihood.calls if re.search(LIBRARIES[library], call)]


def takes_raw(call: str) -> bool:
    """Return whether a call is of the raw output, r, and not of mu."""
    return re.search(r"\br\b", call) is not None


def evaluate(likelihood: Likelihood, call: str, x: Tensor, point: Tensor, of_raw: bool) -> Tensor:
    """Return what a call does at ``point``, mu or the raw output; scipy's with numpy arrays, in the dtype of ``x``."""
    import torch

    words: dict[str, Any] = {"x": x, "r" if of_raw else "mu": point}
    for i, name in enumerate(() if of_raw else likelihood.head):
        words[name] = point[..., i]
        if name[-1] == "1" and likelihood.sized_by:  # mu1, mu2, ... as mu
            group = name.rstrip("1")
            words[group] = point[..., i : i + sum(each.rstrip("0123456789") == group for each in likelihood.head)]
    of_scipy = not re.search(LIBRARIES["torch"], call)
    if of_scipy:
        words = {name: value.detach().cpu().numpy() for name, value in words.items()}
    checked = contextlib.nullcontext() if of_scipy else argument_checks().at(True)
    with warnings.catch_warnings(), checked:
        warnings.simplefilter("ignore")
        returned = eval(call, _library(of_scipy), {**likelihood.parameters, **words})
    return torch.as_tensor(returned).to(x.device, x.dtype)


@functools.cache
def argument_checks() -> ProcessSetting[bool]:
    """Return whether torch's distributions check their arguments: on out of the box, turned off for good by torch's compiler."""
    from torch.distributions import Distribution

    return ProcessSetting(lambda: Distribution._validate_args, Distribution.set_default_validate_args)


def _library(of_scipy: bool) -> dict[str, Any]:
    """Return the names that calls are written in."""
    if not of_scipy:
        import torch
        from torch import distributions
        from torch.nn import functional

        return {"torch": torch, "F": functional, "distributions": distributions, "math": math}
    from scipy import special, stats

    return {"stats": stats, "special": special, "math": math}
