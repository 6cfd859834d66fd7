"""34: a framework's hooks: a handler of partial outputs, the reduction from a configuration."""

from dataclasses import dataclass

import torch
from torch.nn import functional as F


@dataclass
class cfg:
    loss_reduction: str = "mean"
    beta: float = 0.003


def reduce(values, reduction):
    if reduction == "mean":
        return values.mean()
    if reduction == "mean_sum":
        return values.reshape(len(values), -1).sum(dim=1).mean()
    raise KeyError(reduction)


class ReconHandler:
    def __init__(self, reduction="mean"):
        self.reduction = reduction

    def compute_loss_from_partial(self, x_partial, x_targ):
        return reduce(F.mse_loss(x_partial, x_targ, reduction="none"), self.reduction)


class BetaVae:
    def __init__(self, loss_reduction="mean", beta=0.003):
        self.cfg = cfg(loss_reduction, beta)
        self.recon_handler = ReconHandler(loss_reduction)

    def compute_loss(self, x_partial, x_targ, posterior):
        recon_loss = self.recon_handler.compute_loss_from_partial(x_partial, x_targ)
        prior = torch.distributions.Normal(torch.zeros_like(posterior.loc), torch.ones_like(posterior.loc))
        kl = reduce(torch.distributions.kl_divergence(posterior, prior), self.cfg.loss_reduction)
        return recon_loss + self.cfg.beta * kl, {"recon_loss": float(recon_loss), "kl_loss": float(kl)}
