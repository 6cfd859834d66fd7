"""44: a loss module on tuples; a KL of shape [B, 1] is added to a reconstruction of shape [B, T]."""

import torch


class VAELoss(torch.nn.modules.loss._Loss):
    def __init__(self, size_average=None, reduce=None, reduction: str = "mean"):
        super().__init__(size_average, reduce, reduction)

    def forward(self, predictions, targets, *args, **kwargs):
        z_mean, z_std, x_mean, x_std = predictions[:4]
        (y,) = targets
        nll = torch.nn.functional.gaussian_nll_loss(x_mean, y, x_std.square(), reduction="none").sum(-1)
        kl = -0.5 * torch.sum(1 + torch.log(z_std.square()) - z_mean.square() - z_std.square(), dim=-1, keepdim=True)
        final_loss = nll + kl
        if self.reduction == "none":
            return final_loss
        if self.reduction == "mean":
            return torch.mean(final_loss)
        return torch.sum(final_loss)
