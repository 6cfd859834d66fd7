"""A likelihood as a loss of torch's: an ``nn.Module`` of (input, target) whose noise is learned with the network."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from recon_cli.errors import ReconError, unknown
from recon_cli.identity.fitting import Free
from recon_cli.identity.losses import REDUCTIONS, as_reduction
from recon_cli.identity.regions import Region
from recon_cli.identity.shapes import fitting_shapes

if TYPE_CHECKING:
    from recon_cli.identity.likelihood import Likelihood

WAYS = {"none": None, **{reduction.name: reduction for reduction in REDUCTIONS}}


class LossModule(nn.Module):
    """-log p(target | input) in nats, of every part: the constants too, without which no noise could be learned.

    input, target
        what the decoder gives (the mean; where ``raw``, its raw output) and the data, of equal shapes, in torch's order.
    reduction
        mean over everything, sum, batch-mean (a sum over each sample, averaged over the batch), or none.
    learned
        whether the noise is trained. It is in the ``state_dict`` either way, as the logarithm (of a share the logit) of each
        number, ``noise.free.sigma``.

    Raises ReconError for a target outside the support, which no input can have made (so do arguments that are the wrong
    way round), and for an input outside the domain; a compiled graph cannot look, and gives inf and NaN.

    >>> from recon_cli.likelihoods.gaussian import Gaussian
    >>> loss = Gaussian(sigma=0.5).module("sum")
    >>> loss(torch.tensor([0.25, 0.5]), torch.tensor([0.0, 1.0]))
    tensor(1.0766, grad_fn=<DivBackward0>)
    >>> loss.likelihood
    Gaussian(sigma=0.5)
    """

    def __init__(self, likelihood: Likelihood, reduction: str = "mean", *, raw: bool = False, learned: bool = True) -> None:
        super().__init__()
        if (reduction := as_reduction(reduction)) not in WAYS:
            raise unknown("reduction", reduction, WAYS)
        self.reduction, self.raw = reduction, raw
        self.family = likelihood
        self.noise = Free(likelihood).requires_grad_(learned)

    @property
    def likelihood(self) -> Likelihood:
        """The likelihood with its noise as it is now, in numbers."""
        now = {name: float(torch.as_tensor(value).detach()) for name, value in self.noise().noise.items()}
        return type(self.family)(**now, **self.family.design)

    def forward(self, input: Tensor, target: Tensor) -> Tensor:
        """Return the loss."""
        likelihood = self.noise().admitted()
        target = likelihood.encode(target, input)
        fitting_shapes(likelihood, target.shape, input.shape)
        if not torch.compiler.is_compiling():
            self.look(target, likelihood.mixtures or likelihood.support, "target")
            if not self.raw:
                self.look(input, likelihood.domain, "input")
        nll = likelihood.nll_raw(target, input) if self.raw else likelihood.nll(target, input)
        way = WAYS[self.reduction]
        return nll if way is None else way(nll)

    def look(self, values: Tensor, allowed: Region, what: str) -> None:
        """Raise ReconError unless every value is ``allowed``."""
        inside = allowed.contains(values.detach()) if what == "target" else ~allowed.beyond(values.detach())
        if not bool(inside.all()):
            raise ReconError(
                f"{int((~inside).sum()):,} of {inside.numel():,} {allowed.unit} of the {what} are outside what "
                f"{self.family.name} allows, {allowed}: {allowed.fault(values.detach(), ~inside)}",
                f"The arguments are (input, target), as torch's: what the decoder gives first, then the data. "
                f"{allowed.hint(values.detach())}",
            )

    def extra_repr(self) -> str:
        """Return what ``print`` shows."""
        return f"{self.family.name}, reduction={self.reduction!r}{', raw=True' * self.raw}"
