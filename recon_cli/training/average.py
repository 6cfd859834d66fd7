"""The weights averaged over the last steps of a run, in which those of single batches cancel."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import nn

from recon_cli.errors import ReconError

if TYPE_CHECKING:
    from torch import Tensor

KEEPS_STATISTICS = nn.modules.batchnorm._BatchNorm


class Average:
    """The mean of network and noise after each of the last steps, ``share`` of them all.

    Polyak and Juditsky (1992); of networks Izmailov and others (2018), stochastic weight averaging. The noise is averaged as
    it is trained, a sigma by its logarithm. Raises ReconError for a network that keeps statistics of its batches: they would
    be of other weights.

    mean
        the parameters' means so far, by name; empty before the first of those steps.
    """

    def __init__(self, model: nn.Module, noise: nn.Module, share: float, steps: int) -> None:
        self.sides = {"network": model, "noise": noise}
        self.first = steps - max(1, round(share * steps)) if share else steps
        self.mean: dict[str, Tensor] = {}
        for part in model.modules() if share else ():
            if isinstance(part, KEEPS_STATISTICS):
                raise ReconError(
                    f"The model has a {type(part).__name__}, whose statistics are of the weights of the last steps, and not of "
                    f"their average.",
                    "Leave --average out, or give a model without it.",
                )

    @property
    def parts(self) -> dict[str, Tensor]:
        """The parameters as they are, by name."""
        named = ((side, part) for side, module in self.sides.items() for part in module.named_parameters())
        return {f"{side}.{name}": value.detach() for side, (name, value) in named}

    def __call__(self, done: int) -> None:
        """Take in the parameters after ``done`` steps of the run."""
        if done <= self.first:
            return
        if not self.mean:
            self.mean = {name: value.clone() for name, value in self.parts.items()}
        else:
            for name, value in self.parts.items():
                self.mean[name].lerp_(value, 1 / (done - self.first))

    def restore(self) -> bool:
        """Give network and noise their means, and return whether there are any."""
        for name, value in self.parts.items() if self.mean else ():
            value.copy_(self.mean[name])
        return bool(self.mean)

    def unpack(self, mean: dict[str, Tensor]) -> None:
        """Go on from these means. Raises ValueError for those of another model."""
        here = self.parts
        if mean and {name: value.shape for name, value in mean.items()} != {name: value.shape for name, value in here.items()}:
            raise ValueError("its averages are of another model")
        self.mean = {name: mean[name].to(value) for name, value in here.items()} if mean else {}
