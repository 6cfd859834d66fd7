"""The events that are there and count, of data in which NaN is not there or that have weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recon_cli.errors import ReconError
from recon_cli.identity.shapes import fitting_shapes

if TYPE_CHECKING:
    from torch import Tensor

    from recon_cli.identity.likelihood import Likelihood


def events_there(likelihood: Likelihood, x: Tensor, mu: Tensor, weights: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return the events that are there and count, one after another: data, means, and the weight of each, if they have any.

    x
        as it is given, before :meth:`Likelihood.encode`: labels too. An event that lacks any of its numbers is not there.
    weights
        of x's shape, or (N,): one a sample. Raises ReconError for those of single numbers where events are vectors.
    """
    shape = mu.shape[: mu.ndim - bool(likelihood.head)]
    lead, labels = shape[: len(shape) - likelihood.event], x.shape != shape
    if labels and x.shape != lead:
        fitting_shapes(likelihood, x.shape, mu.shape)
    there = ~x.isnan() if x.is_floating_point() else x.new_ones(x.shape).bool()
    if likelihood.event and not labels:
        there = there.all(dim=-1)
    if weights is not None:
        if weights.ndim > 1 and weights.shape != lead:
            raise ReconError(
                f"{likelihood.name} takes vectors, and the weights are of single numbers.", "Give a weight for each sample."
            )
        weights = weights.reshape(-1, *(1,) * (len(lead) - 1)).expand(lead) if weights.ndim == 1 else weights
        there = there & (weights > 0).to(there.device)
        weights = weights[there.to(weights.device)].to(mu.device)
    return x[there], mu[there.to(mu.device)], weights
