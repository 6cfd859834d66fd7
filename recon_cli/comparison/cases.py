"""Data admitted to a likelihood: encoded, of shapes that fit, inside its support; or refused in a sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recon_cli import likelihoods
from recon_cli.errors import ReconError
from recon_cli.likelihood import Likelihood
from recon_cli.losses import Loss, fitting_shapes
from recon_cli.regions import check, inside

if TYPE_CHECKING:
    from torch import Tensor


class Refused(ReconError):
    """Data that are none of a likelihood's own."""


@dataclass(frozen=True)
class Case:
    """Data and means that a likelihood takes, on their device, in their dtype.

    claim is the likelihood that was asked for, side the one that the data are measured with: its relaxation,
    where they leave the claim's own support.
    """

    claim: Likelihood
    side: Likelihood
    loss: Loss
    x: Tensor
    mu: Tensor
    data: str
    notes: tuple[str, ...]


def admit(claim: Likelihood, loss: Loss | None, x: Tensor, mu: Tensor, device: Any, dtype: Any, data: str, clip: bool) -> Case:
    """The case of ``claim`` and ``loss`` (its own, if None). Raises ReconError for data that they do not take."""
    loss = loss or claim.loss
    notes: list[str] = []
    x = claim.encode(x, mu)
    fitting_shapes(claim, x.shape, mu.shape)
    if (loss.event, loss.head) != (claim.event, claim.head):
        raise ReconError(
            f"{loss.name} takes other shapes than {claim.name}: one of them is of vectors, or of several numbers an element.",
            f"{claim.name}'s own loss is {claim.loss.name}.",
        )
    x, mu = (part.reshape(1, *part.shape) if x.ndim == claim.event else part for part in (x, mu))
    side = claim
    if claim.relaxation and not claim.support.contains(x).all():
        relaxed = likelihoods.parse(claim.relaxation)
        if relaxed.support.contains(x).all():
            side, data = relaxed, f"{data} (grey levels)"
            notes.append(_no_density(claim, relaxed, loss, x))
    x, mu = x.to(device, dtype), mu.to(device, dtype)
    for rule in (side, loss):
        check(x, rule.support, f"the data ({data})", f"{rule.name} allows")
        if clip and (rule is side or rule.domain != side.domain):
            mu, moved = inside(mu, rule.domain)
            if moved:
                where = f"{rule.name}'s {rule.domain}, {rule.domain.kept}"
                notes.append(f"{moved:,} of {mu.numel():,} reconstructed means were kept inside {where}.")
        check(mu, rule.domain, "the reconstruction", f"{rule.name}'s mean lies in")
    if loss.reason:
        notes.append(f"{loss.name} is no likelihood's loss: {loss.reason}.")
    return Case(claim, side, loss, x, mu, data, tuple(notes))


def _no_density(claim: Likelihood, relaxed: Likelihood, loss: Loss, x: Tensor) -> str:
    share = 1 - claim.support.contains(x).double().mean().item()
    gap = f"; the gap is what {loss.name} leaves out" if loss in claim.losses else ""
    return (
        f"{claim.name} is no likelihood of these data: {share:.0%} of the values are neither 0 nor 1, and there its "
        f"expression does not integrate to one. The row measures {relaxed.name}, the same expression normalised{gap}. "
        f"Either minimise the nll of {relaxed.name} (recon train --likelihood {relaxed.name}), which closes it, "
        f"or make the data 0 or 1: --binarize threshold, or --binarize sample."
    )
